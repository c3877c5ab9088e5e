"""The compiled configuration: made once a generation, shared by its workers, gone with it (compile/compiled.pyx)."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from lb import _fast
from lb.config import load
from lb.model import ErrorLog
from tests.harness.lb import Lb, open_fds
from tests.harness.wait import wait_for
from tests.lone_engine import in_child
from tests.master_tools import pids, wait_replaced

ARENA = "lb-configuration"
CONF = r"""http {
    map $arg_m $mapped { default none; ~^a(?<rest>.*)$ $rest; b two; }
    limit_req_zone $binary_remote_addr zone=z:128k rate=1000r/s;
    server { listen 127.0.0.1:@http@; server_name ~^(?<who>\w+)\.test$ *.wild.test; access_log off;
             location ~ ^/re/(\d+) { return 200 "$who $1 $mapped"; }
             location / { limit_req zone=z; return 200 one; } }
    server { listen 127.0.0.1:@http@; server_name many.test; access_log @dir@/a.log; return 200 many; }
}"""
MANY = "http {{ access_log off; {} }}"
SERVER = """server {{ listen 127.0.0.1:@http@; server_name s{}.test; proxy_set_header X-A $host;
            location / {{ proxy_pass http://127.0.0.1:9; }} location /b {{ return 200 b{}; }} }}\n"""


def arenas(pid: int) -> set[str]:
    """Inodes of the compiled configurations that a process has mapped."""
    return set(re.findall(rf" (\d+) +/memfd:{ARENA}", Path(f"/proc/{pid}/maps").read_text()))


def executable(pid: int) -> int:
    """Bytes of machine code that belong to no file: PCRE2's."""
    found = re.findall(r"^(\w+)-(\w+) .wx. 00000000 00:00 0 *$", Path(f"/proc/{pid}/maps").read_text(), re.M)
    return sum(int(end, 16) - int(start, 16) for start, end in found)


def memfds(pid: int) -> list[str]:
    return [link for link in open_fds(pid) if ARENA in link or "memfd:lb-keys" in link]


def private_kb(pid: int) -> int:
    said = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"^Private_\w+: +(\d+) kB", said, re.M))


def test_workers_and_master_share_one(run_lb, tmp_path) -> None:
    lb = run_lb(f"worker_processes 3;\n{CONF}", dir=tmp_path)
    shared = arenas(lb.master.pid)
    assert len(shared) == 1
    assert all(arenas(pid) == shared for pid in pids(lb))
    assert all(memfds(pid) == [] for pid in {lb.master.pid, *pids(lb)})


def test_all_of_it_works_in_a_worker(run_lb, tmp_path) -> None:
    """What was compiled in another process: JIT code, captures, maps, names, zones, logs."""
    lb = run_lb(CONF, dir=tmp_path)
    with lb.client() as client:
        assert client.request(target="/re/12?m=axy", headers="Host: bob.test\r\n").body == b"bob 12 xy"
        assert client.request(target="/re/7?m=b", headers="Host: bob.test\r\n").body == b"bob 7 two"
        assert client.request(headers="Host: x.wild.test\r\n").body == b"one"
        assert client.request(headers="Host: many.test\r\n").body == b"many"
    wait_for(lambda: "GET / HTTP/1.1" in (tmp_path / "a.log").read_text())


def test_a_dead_worker_is_forked_again_from_it(run_lb, tmp_path) -> None:
    lb = run_lb(CONF, dir=tmp_path)
    shared, old = arenas(lb.master.pid), pids(lb)
    good = lb.file.read_text()
    lb.file.write_text("this is no configuration")  # it is not read for this
    lb.expect_log("exited on signal 9")
    os.kill(old.copy().pop(), signal.SIGKILL)
    (new,) = wait_replaced(lb, old, 1)
    lb.file.write_text(good)  # the harness reads it
    lb.wait_ready()
    assert arenas(new) == shared
    assert lb.client().request(target="/re/12?m=b", headers="Host: bob.test\r\n").body == b"bob 12 two"


def test_a_bad_file_leaves_nothing(run_lb, tmp_path) -> None:
    lb = run_lb(CONF, dir=tmp_path)
    shared, old = arenas(lb.master.pid), pids(lb)
    lb.write("http { listen 1; }")
    lb.expect_log("listen")
    lb.signal(signal.SIGHUP)
    lb.wait_log("the configuration stays as it was: ")
    assert arenas(lb.master.pid) == shared
    assert memfds(lb.master.pid) == []
    assert pids(lb) == old


def test_death_of_the_child_that_compiles(run_lb, tmp_path) -> None:
    """It waits for a FIFO; meanwhile a worker is forked, which must not keep what the reload holds."""
    lb = run_lb(CONF, dir=tmp_path)
    shared, old = arenas(lb.master.pid), pids(lb)
    os.mkfifo(tmp_path / "fifo")
    good = lb.file.read_text()
    lb.write(f"include {tmp_path}/fifo;")
    lb.signal(signal.SIGHUP)
    reader = wait_for(lambda: [one for one in lb.master.children() if memfds(one.pid)])[0]
    assert len(memfds(lb.master.pid)) == 2
    lb.expect_log("exited on signal 9", "the process that did it died", "stays as it was", "asked|did it died")
    os.kill(old.copy().pop(), signal.SIGKILL)
    (new,) = wait_for(lambda: {w.pid for w in lb.workers} - old - {reader.pid})
    wait_for(lambda: arenas(new) == shared)
    wait_for(lambda: memfds(new) == [])
    reader.kill()
    lb.wait_log("the configuration stays as it was: ")
    assert arenas(lb.master.pid) == shared
    assert memfds(lb.master.pid) == []
    lb.file.write_text(good)
    lb.signal(signal.SIGHUP)
    wait_replaced(lb, {new}, 1)


def test_many_servers_are_not_in_each_worker(run_lb) -> None:
    """Each worker had the model of all servers, and its own compilation of it: 20 MB for these."""

    def private(count: int) -> int:
        lb = run_lb(MANY.format("".join(SERVER.format(i, i) for i in range(count))))
        answer = lb.client().request(target="/b", headers=f"Host: s{count - 1}.test\r\n")
        assert answer.body == f"b{count - 1}".encode()
        return private_kb(pids(lb).pop())

    assert private(1000) - private(1) < 2048


@pytest.mark.unsanitized("what is freed stays in quarantine: resident memory says nothing")
def test_reloads_do_not_grow_the_master(run_lb, tmp_path) -> None:
    lb = run_lb(CONF, dir=tmp_path)

    def reload(times: int) -> tuple[int, int]:
        for _ in range(times):
            done = lb.log.count("start worker processes")
            lb.signal(signal.SIGHUP)
            wait_for(lambda done=done: lb.log.count("start worker processes") > done, lambda: lb.log[-2000:])
        wait_for(lambda: len(lb.workers) == 1 and len(arenas(lb.master.pid)) == 1)  # one generation, one arena
        return lb.master.memory_info().rss, executable(lb.master.pid)

    rss, code = reload(20)
    assert code > 0
    later, code_later = reload(100)
    assert later - rss < 1 << 20
    assert code_later <= code + (1 << 16)  # one block of the allocator
    assert len(memfds(lb.master.pid)) == 0


def test_temporary_directories_of_nested_locations(run_lb, tmp_path) -> None:
    """Only those of a server's own locations were made."""
    inner = f"client_body_temp_path {tmp_path}/nested; proxy_pass http://127.0.0.1:9;"
    run_lb(
        f"""http {{ access_log off; server {{ listen 127.0.0.1:@http@;
            location /a {{ return 204; location /a/b {{ {inner} }} }} }} }}"""
    )
    assert (tmp_path / "nested").is_dir()


# ---- the object


def config_of(directory: Path, servers: int = 3):
    text = MANY.format("".join(SERVER.format(i, i) for i in range(servers))).replace("@http@", "8080")
    stream = "stream { server { listen 127.0.0.1:8081; return $remote_addr; } }"
    (directory / "c").write_text(f"events {{}} {text} {stream}")
    return load(str(directory / "c"), prefix=str(directory))


def finish(compiled: _fast.Compiled) -> None:
    while not compiled.step():
        pass


def _makes_memory_only(directory: Path) -> None:
    config = config_of(directory)
    compiled = _fast.Compiled()
    before = sorted(os.listdir("/proc/self/fd"))
    arena, keys = compiled.descriptors()
    assert memfds(os.getpid()) == [f"{arena}:/memfd:{ARENA} (deleted)", f"{keys}:/memfd:lb-keys (deleted)"]
    compiled.fill(config, (ErrorLog("stderr"),))
    assert sorted(os.listdir("/proc/self/fd")) == before
    finish(compiled)
    assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1
    assert compiled.descriptors() == (-1, -1)
    assert memfds(os.getpid()) == []
    assert _fast.arena_bytes() > 0
    del compiled
    gc.collect()
    assert _fast.arena_bytes() == 0
    assert arenas(os.getpid()) == set()


def test_it_is_memory_only(tmp_path) -> None:
    in_child(_makes_memory_only, tmp_path)


def _several_at_once(directory: Path) -> None:
    """While an Engine runs, which is what the loop's state belongs to."""
    config = config_of(directory, 1)
    kept = [_fast.Compiled() for _ in range(3)]
    for compiled in kept:
        compiled.fill(config, (ErrorLog("stderr"),))
        finish(compiled)
    assert len(arenas(os.getpid())) == 3
    sizes = _fast.arena_bytes()
    compiled = kept.pop()
    del compiled
    assert _fast.arena_bytes() == sizes // 3 * 2
    with pytest.raises(RuntimeError):
        kept[0].fill(config, (ErrorLog("stderr"),))


def test_several_live_side_by_side(tmp_path) -> None:
    in_child(_several_at_once, tmp_path)


def _unfinished(directory: Path) -> None:
    config = config_of(directory, 1)
    empty = _fast.Compiled()
    with pytest.raises(ValueError):
        empty.step()
    filled = _fast.Compiled()
    filled.fill(config, (ErrorLog("stderr"),))
    with socket.socket() as sock, pytest.raises(RuntimeError), memoryview(bytearray(1 << 20)) as shm:
        _fast.Engine(filled, config, [sock.fileno(), None], worker=0, shm=shm, logs={}, error_fd=2)


def test_what_is_not_filled_is_not_used(tmp_path) -> None:
    in_child(_unfinished, tmp_path)


def _few_addresses(directory: Path) -> None:
    config = config_of(directory, 1)
    have = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (have + (200 << 20), resource.RLIM_INFINITY))
    small = _fast.Compiled()
    small.fill(config, (ErrorLog("stderr"),))
    finish(small)
    others = [_fast.Compiled()]
    with pytest.raises(OSError, match=r"mmap\(\)"):
        others.extend(_fast.Compiled() for _ in range(10))


def test_few_addresses(tmp_path) -> None:
    in_child(_few_addresses, tmp_path)


def _too_large(directory: Path) -> None:
    have = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (have + (200 << 20), resource.RLIM_INFINITY))
    compiled = _fast.Compiled()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    text = "x" * 1_000_000
    (directory / "c").write_text("events {} http { server { listen 8080; } }")
    config = load(str(directory / "c"), prefix=str(directory))
    logs = tuple(ErrorLog(f"{text}{i}") for i in range(150))
    with pytest.raises(MemoryError, match="too large"):
        compiled.fill(config, logs)


def test_too_large(tmp_path) -> None:
    in_child(_too_large, tmp_path)


def test_memory_that_cannot_be_had(run_lb, tmp_path) -> None:
    """The reload fails in one line, and the next one goes through."""
    lb: Lb = run_lb(CONF, dir=tmp_path)
    old = pids(lb)
    lb.master.rlimit(psutil.RLIMIT_AS, (lb.master.memory_info().vms, -1))
    lb.expect_log(r"mmap\(\) failed \(12: ")
    lb.signal(signal.SIGHUP)
    lb.wait_log(r"the configuration stays as it was: mmap\(\) failed \(12: Cannot allocate memory\)")
    lb.master.rlimit(psutil.RLIMIT_AS, (-1, -1))
    assert pids(lb) == old
    lb.signal(signal.SIGHUP)
    wait_replaced(lb, old, 1)
