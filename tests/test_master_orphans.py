"""A killed master: its workers serve on, a new start says who they are, and `lb -s` or their time ends them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lb.master import holders
from lb.master.holders import Holder
from lb.model import Address
from tests.harness.backend import Reply
from tests.harness.lb import Lb
from tests.harness.wait import free_port, is_listening, wait_for
from tests.master_tools import workers

TWO = "worker_processes 2;\nhttp { access_log off; server { listen 127.0.0.1:@http@; return 200 one; } }"
GONE = "the master is gone, the worker serves on"


def kill_master(lb: Lb, said: int = 2) -> list[psutil.Process]:
    """kill -9 of the master. Its workers, when they have noticed it."""
    orphans = workers(lb)
    lb.expect_log(GONE)
    lb.master.kill()
    wait_for(lambda: lb.log.count(GONE) == said)
    wait_for(lambda: lb.process is not None and lb.process.poll() is not None)
    return orphans


@pytest.mark.parametrize("word", ["quit", "stop"])
def test_a_new_start_names_the_orphans_and_s_ends_them(run_lb, word: str) -> None:
    lb = run_lb(TWO)
    orphans = kill_master(lb)
    lb.expect_log("Address already in use", "still could not bind", "is held by", "whose master is gone")
    assert lb.spawn().wait(30) == 1
    pids = ", ".join(str(pid) for pid in sorted(one.pid for one in orphans))
    assert f"127.0.0.1:{lb.port('http')} is held by {pids} (lb: worker process)" in lb.log
    assert 'these are 2 worker processes whose master is gone: end them with "lb -s quit"' in lb.log
    assert lb.client().request().body == b"one"  # nobody has touched them

    done = lb.command("-s", word)
    assert (done.returncode, "kill(" in done.stderr) == (0, False)
    assert not psutil.wait_procs(orphans, timeout=30)[1]
    assert not is_listening(lb.port("http"))
    lb.spawn()
    lb.wait_ready()
    assert lb.client().request().body == b"one"
    assert (lb.directory / "lb.pid").read_text() == f"{lb.master.pid}\n"
    assert lb.command("-s", "quit").returncode == 0  # there is a master again: it is the one that is told
    assert lb.process is not None and lb.process.wait(30) == 0


def test_orphans_finish_what_runs(run_lb, http_backend, connect) -> None:
    release = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"late", wait=release))
    lb = run_lb(
        "http { access_log off; server { listen 127.0.0.1:@http@; location / { proxy_pass http://@back@; } } }",
        back=backend.address,
    )
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    orphans = kill_master(lb, said=1)
    assert lb.command("-s", "quit").returncode == 0
    wait_for(lambda: not is_listening(lb.port("http")))
    release.set()
    assert client.response().body == b"late"
    client.close()
    assert not psutil.wait_procs(orphans, timeout=30)[1]


def test_they_leave_by_themselves_after_their_time(run_lb, http_backend, connect) -> None:
    release = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"late", wait=release))
    lb = run_lb(
        "worker_processes 2;\nworker_orphan_timeout 100ms;\n"
        "http { access_log off; server { listen 127.0.0.1:@http@; location / { proxy_pass http://@back@; } } }",
        back=backend.address,
    )
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    orphans = kill_master(lb, said=2)
    wait_for(lambda: lb.log.count("no master for 0.1 s, gracefully shutting down") == 2)
    wait_for(lambda: not is_listening(lb.port("http")))
    release.set()
    assert client.response().body == b"late"
    client.close()
    assert not psutil.wait_procs(orphans, timeout=30)[1]
    lb.spawn()
    lb.wait_ready()


def test_an_orphan_that_is_told_to_stop_does_not_wait_for_its_time(run_lb) -> None:
    lb = run_lb(f"worker_orphan_timeout 1h;\n{TWO}")
    orphans = kill_master(lb)
    assert "serves on for 3600 s" in lb.log
    for one in orphans:
        one.send_signal(signal.SIGQUIT)
    assert not psutil.wait_procs(orphans, timeout=30)[1]
    assert "no master for" not in lb.log


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate()


def test_a_pid_that_is_another_processs_by_now(run_lb, stranger: subprocess.Popen[bytes]) -> None:
    lb = run_lb(TWO)
    orphans = kill_master(lb)
    (lb.directory / "lb.pid").write_text(f"{stranger.pid}\n")
    assert lb.command("-s", "stop").returncode == 0
    assert not psutil.wait_procs(orphans, timeout=30)[1]
    assert stranger.poll() is None


def test_only_orphans_of_this_configuration(run_lb) -> None:
    """Neither the workers of another lb without a master, nor those of one that lives on the same addresses."""
    other, living = run_lb(TWO), run_lb(TWO)
    orphans = kill_master(other)
    other.expect_log(r"kill\(\d+, 3\) failed")
    lb = Lb(other.directory)
    lb.file = other.directory / "third.conf"
    lb.write(TWO.replace("@http@", "@third@"))  # the same pid file, another address
    done = lb.command("-s", "quit")
    assert done.returncode == 1 and "kill(" in done.stderr
    assert all(one.is_running() for one in orphans)
    lb.write(TWO, http=living.port("http"))
    assert lb.command("-s", "quit").returncode == 1
    assert living.client().request().body == b"one"
    for one in orphans:
        one.terminate()
    assert not psutil.wait_procs(orphans, timeout=30)[1]


# Who holds an address


def held_by_child(code: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", f"import socket, sys\n{code}\ns.listen()\nprint('up', flush=True)\nsys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stdout.readline() == b"up\n"
    return child


INET, INET6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX


@pytest.mark.parametrize(
    ("bound", "wanted", "found"),
    [
        ((INET, "127.0.0.1"), (INET, "127.0.0.1"), True),
        ((INET, "0.0.0.0"), (INET, "127.0.0.1"), True),
        ((INET, "127.0.0.1"), (INET, "0.0.0.0"), True),
        ((INET, "127.0.0.2"), (INET, "127.0.0.1"), False),
        ((INET6, "::"), (INET, "127.0.0.1"), True),  # takes both
        ((INET6, "::1"), (INET6, "::1"), True),
        ((INET6, "::"), (INET6, "::1"), True),
        ((INET6, "::1"), (INET, "127.0.0.1"), False),
    ],
)
def test_who_holds_an_address(bound: tuple[int, str], wanted: tuple[int, str], found: bool) -> None:
    port = free_port()
    child = held_by_child(f"s = socket.socket({int(bound[0])}); s.bind(({bound[1]!r}, {port}))")
    try:
        address = Address(wanted[0], wanted[1], port)
        held = holders.find([address])
        assert [one.pid for one in held.get(address) or ()] == ([child.pid] if found else [])
        assert not any(one.orphan for some in held.values() for one in some or ())
    finally:
        child.kill()
        child.communicate()


def test_who_holds_a_path(tmp_path: Path) -> None:
    path = f"{tmp_path}/a b.sock"
    child = held_by_child(f"s = socket.socket(socket.AF_UNIX); s.bind({path!r})")
    try:
        address = Address(UNIX, path)
        (holder,) = holders.find([address])[address] or ()
        assert holder.pid == child.pid
        said = holders.told(address, [holder])
        assert re.fullmatch(rf"unix:.*/a b.sock is held by {child.pid} \(\S+ -c .*\)", said, re.DOTALL)
    finally:
        child.kill()
        child.communicate()


def test_our_own_sockets_are_not_in_the_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert holders.find([Address(INET, *own.getsockname())]) == {}


def test_what_the_log_says() -> None:
    address = Address(INET, "127.0.0.1", 80)
    many = [Holder(pid, "lb: worker process") for pid in range(1, 12)]
    assert holders.told(address, [*many, Holder(99, "nginx: master process x")]) == (
        "127.0.0.1:80 is held by 1, 2, 3, 4, 5, 6, 7, 8 and 3 more (lb: worker process); 99 (nginx: master process x)"
    )
    assert "may not look at" in holders.told(address, None)


def test_no_orphan_is_signalled_twice_nor_a_process_that_is_none() -> None:
    assert not holders.end(Holder(os.getpid(), "lb: worker process"), signal.SIGKILL)
