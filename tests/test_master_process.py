"""The master and its workers: start, signals, deaths, back-off, logs, the end."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lb import __version__, _fast
from tests.harness.backend import Reply
from tests.harness.client import Client
from tests.harness.lb import Lb, title_of
from tests.harness.wait import free_port, is_listening, wait_for
from tests.harness.world import World
from tests.master_tools import listening_inodes, messages, pids, wait_replaced, workers

SIMPLE = "http { access_log off; server { listen 127.0.0.1:@http@; return 200 one; } }"
TWO = f"worker_processes 2;\n{SIMPLE}"
PROXY = (
    "http { access_log off; server { listen 127.0.0.1:@http@; location / { proxy_pass http://127.0.0.1:@back@; } } }"
)


# Start and end


def test_start_lines_and_pid_file(run_lb) -> None:
    lb = run_lb(TWO)
    assert (lb.directory / "lb.pid").read_text() == f"{lb.master.pid}\n"
    said = messages(lb)
    limits = "{}:{}".format(*resource.getrlimit(resource.RLIMIT_NOFILE))
    assert said[:4] == [
        f"[notice] lb/{__version__} as nginx/{_fast.NGINX_VERSION}",
        f"[notice] OS: Linux {os.uname().release}",
        f"[notice] getrlimit(RLIMIT_NOFILE): {limits}",
        "[notice] start worker processes",
    ]
    assert {f"[notice] start worker process {pid}" for pid in pids(lb)} == set(said[4:6])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGTERM, "signal 15 (SIGTERM) received from {}, exiting"),
        (signal.SIGINT, "signal 2 (SIGINT) received from {}, exiting"),
        (signal.SIGQUIT, "signal 3 (SIGQUIT) received from {}, shutting down"),
    ],
)
def test_ends_with_nginxs_words(run_lb, number: signal.Signals, words: str) -> None:
    lb = run_lb(TWO)
    old = pids(lb)
    assert lb.stop(number) == 0
    said = messages(lb)
    assert f"[notice] {words.format(os.getpid())}" in said
    for pid in old:
        assert f"[notice] worker process {pid} exited with code 0" in said
    assert said[-1] == "[notice] exit"
    graceful = "[notice] gracefully shutting down"
    assert said.count(graceful) == (2 if number == signal.SIGQUIT else 0)
    assert said.count("[notice] exiting") == 2
    assert said.count("[notice] exit") == 3
    assert not (lb.directory / "lb.pid").exists()
    assert not is_listening(lb.port("http"))


def test_quit_finishes_what_is_in_flight(run_lb, http_backend, connect) -> None:
    release = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"late", wait=release))
    lb = run_lb(PROXY, back=backend.port)
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    lb.signal(signal.SIGQUIT)
    wait_for(lambda: not is_listening(lb.port("http")))
    release.set()
    assert client.response().body == b"late"
    client.expect_closed()
    assert lb.stop(signal.SIGQUIT) == 0


def test_term_during_quit_ends_at_once(run_lb, http_backend, connect) -> None:
    backend = http_backend(lambda _: Reply(wait=threading.Event()))
    lb = run_lb(PROXY, back=backend.port)
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    lb.signal(signal.SIGQUIT)
    lb.wait_log("gracefully shutting down")
    assert lb.stop(signal.SIGTERM) == 0
    client.expect_closed()


def test_stuck_worker_is_killed_at_the_end(run_lb) -> None:
    lb = run_lb(SIMPLE)
    (worker,) = workers(lb)
    worker.suspend()
    lb.expect_log(rf"\[alert\] .* worker process {worker.pid} has not ended within 5 s: killed", "exited on signal 9")
    assert lb.stop(signal.SIGTERM) == 0


def test_unix_socket_is_made_for_all_and_removed(run_lb, tmp_path: Path) -> None:
    path = tmp_path / "lb.sock"
    lb = run_lb(
        "http { access_log off; server { listen 127.0.0.1:@http@; listen unix:@path@; return 200 one; } }", path=path
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert lb.stop() == 0
    assert not path.exists()


def test_unix_socket_of_a_killed_lb_is_taken_over(world: World, tmp_path: Path) -> None:
    path = tmp_path / "lb.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    lb = world.run_lb("http { access_log off; server { listen unix:@path@; return 200 one; } }", path=path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
    assert lb.stop() == 0


def test_unix_socket_in_use_is_not_taken(world: World, tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        lb = world.new_lb()
        lb.write("http { access_log off; server { listen unix:@path@; return 200 one; } }", path=path)
        done = lb.command()
    assert done.returncode == 1
    assert f"lb: [emerg] bind() to unix:{path} failed (98: Address already in use)" in done.stderr
    assert path.exists()


# What keeps it from starting


def test_taken_port(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        lb = world.new_lb()
        lb.write(SIMPLE, http=port)
        done = lb.command()
    line = f"lb: [emerg] bind() to 127.0.0.1:{port} failed (98: Address already in use)\n"
    assert (done.returncode, done.stdout) == (1, "")
    tries, _, rest = done.stderr.partition("lb: [emerg] still could not bind()\n")
    assert tries == line * 5
    assert f" 127.0.0.1:{port} is held by {os.getpid()} (" in rest
    assert not (lb.directory / "lb.pid").exists()
    assert f"[emerg] bind() to 127.0.0.1:{port} failed (98: Address already in use)" in messages(lb)


def test_port_that_is_free_in_time(world: World) -> None:
    """The five tries are there for the end of a former lb."""
    port = free_port()
    lb = world.new_lb()
    lb.write(SIMPLE, http=port)
    with socket.create_server(("127.0.0.1", port)):
        lb.spawn()
        lb.wait_log("Address already in use")
    lb.expect_log(r"bind\(\) to .* failed \(98")
    lb.wait_ready()
    assert lb.client().request().body == b"one"


@pytest.mark.parametrize("line", ["pid /nonexistent/lb.pid;", "error_log /nonexistent/error.log;"])
def test_file_that_cannot_be_opened(world: World, line: str) -> None:
    lb = world.new_lb()
    lb.write(f"{line}\n{SIMPLE}")
    done = lb.command()
    path = line.split()[1].rstrip(";")
    assert (done.returncode, done.stderr) == (1, f'lb: [emerg] open() "{path}" failed (2: No such file or directory)\n')
    assert not is_listening(lb.port("http"))


# Daemon


@pytest.fixture
def daemon(world: World) -> Iterator[Lb]:
    """An lb with `daemon on` that the test starts by command()."""
    lb = world.new_lb()
    lb.write(f"daemon on;\n{TWO}")
    yield lb
    if (lb.directory / "lb.pid").exists():
        master = psutil.Process(int((lb.directory / "lb.pid").read_text()))
        children = master.children()
        for process in [master, *children]:
            process.kill()
        raise AssertionError(f"the daemon was still there:\n{lb.log}")


def stop_daemon(lb: Lb, how: str) -> None:
    master = psutil.Process(int((lb.directory / "lb.pid").read_text()))
    everybody = [master, *master.children()]
    done = lb.command("-s", how)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    gone = psutil.wait_procs(everybody, timeout=60)[1]
    assert not gone


def test_daemon_is_up_when_the_command_returns(daemon: Lb) -> None:
    """So that `lb && lb -s reload` works."""
    done = daemon.command()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_listening(daemon.port("http"))
    master = psutil.Process(int((daemon.directory / "lb.pid").read_text()))
    assert os.getsid(master.pid) not in (os.getsid(0), master.pid)
    assert master.terminal() is None
    assert {os.readlink(f"/proc/{master.pid}/fd/{fd}") for fd in (0, 1)} == {"/dev/null"}
    assert os.readlink(f"/proc/{master.pid}/fd/2") == str(daemon.directory / "error.log")
    with Client(daemon.port("http")) as client:
        assert client.request().body == b"one"
    stop_daemon(daemon, "quit")
    assert not (daemon.directory / "lb.pid").exists()


def test_daemon_that_cannot_start_says_so_to_the_caller(daemon: Lb) -> None:
    with socket.create_server(("127.0.0.1", daemon.port("http"))):
        done = daemon.command()
    assert done.returncode == 1
    assert "lb: [emerg] still could not bind()\n" in done.stderr


def test_winch_stops_the_workers_and_hup_brings_new_ones(daemon: Lb) -> None:
    assert daemon.command().returncode == 0
    master = psutil.Process(int((daemon.directory / "lb.pid").read_text()))
    old = master.children()
    master.send_signal(signal.SIGWINCH)
    assert not psutil.wait_procs(old, timeout=60)[1]
    daemon.wait_log(rf"signal 28 \(SIGWINCH\) received from {os.getpid()}, stop accepting connections")
    assert master.is_running() and is_listening(daemon.port("http"))  # the backlog takes clients
    with Client(daemon.port("http")) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        master.send_signal(signal.SIGHUP)
        assert client.response().body == b"one"
    stop_daemon(daemon, "stop")


def test_winch_of_a_terminal_is_ignored(run_lb) -> None:
    lb = run_lb(SIMPLE)
    old = pids(lb)
    lb.signal(signal.SIGWINCH)
    lb.wait_log(rf"signal 28 \(SIGWINCH\) received from {os.getpid()}$")
    assert pids(lb) == old and lb.client().request().status == 200


# Deaths


def test_killed_worker_is_replaced(run_lb) -> None:
    lb = run_lb(TWO)
    victim, other = workers(lb)
    victim.kill()
    lb.expect_log(rf"\[alert\] {lb.master.pid}#0: worker process {victim.pid} exited on signal 9")
    new = wait_for(lambda: len(pids(lb)) == 2 and victim.pid not in pids(lb) and pids(lb))
    assert other.pid in new
    lb.wait_ready()
    assert lb.client().request().body == b"one"


def test_worker_that_is_killed_again_and_again_comes_back(run_lb) -> None:
    """One that had served is back within a second, however often it dies."""
    lb = run_lb(SIMPLE)
    lb.expect_log("exited on signal 9")
    for _ in range(4):
        assert lb.client().request().body == b"one"  # it has served
        old = pids(lb)
        workers(lb)[0].kill()
        wait_replaced(lb, old, 1)
        lb.wait_ready()
    delays = [float(delay) for delay in re.findall(r"next in ([\d.]+) s", lb.log)]
    assert delays == [0.1, 0.2, 0.4]


def test_workers_that_die_at_start_are_backed_off(run_lb, world: World) -> None:
    lb = world.new_lb()
    lb.write(f"worker_rlimit_nofile 8;\n{SIMPLE}")  # not enough for the engine
    lb.expect_log(r"\[emerg\] .*the worker cannot go on", "Traceback", r"\[emerg\] ", "exited with code 1")
    lb.spawn()
    lb.wait_log("died 3 times in a row soon after its start, next in 2 s")
    delays = re.findall(r"died (\d) times in a row soon after its start, next in ([\d.]+) s", lb.log)
    assert delays[:3] == [("1", "0.5"), ("2", "1"), ("3", "2")]
    assert is_listening(lb.port("http"))
    lb.write(SIMPLE)  # the operator repairs it
    lb.signal(signal.SIGHUP)
    wait_for(lambda: len(pids(lb)) == 1)
    lb.wait_ready()
    assert lb.client().request().body == b"one"


def test_workers_serve_on_without_their_master(run_lb) -> None:
    lb = run_lb(TWO)
    orphans = workers(lb)
    lb.master.kill()
    lb.expect_log("the master is gone, the worker serves on")
    wait_for(lambda: lb.log.count("the master is gone") == 2)
    for _ in range(4):
        assert lb.client().request().body == b"one"
    orphans[0].send_signal(signal.SIGQUIT)
    orphans[1].send_signal(signal.SIGTERM)
    assert not psutil.wait_procs(orphans, timeout=60)[1]
    assert messages(lb).count("[notice] exit") == 2


# What workers have and have not


def test_worker_has_nothing_of_the_masters(run_lb, connect) -> None:
    """Also one that is forked while the status port has a client."""
    lb = run_lb(f"status_listen 127.0.0.1:@status@;\n{TWO}")
    client = connect(lb.port("status"))
    assert client.request(target="/healthz").status == 200
    victim = workers(lb)[0]
    victim.kill()
    lb.expect_log("exited on signal 9")
    wait_replaced(lb, {victim.pid}, 2)
    lb.wait_ready()
    lb.baseline.clear()  # the first worker's was taken without
    lb.remember_workers()
    counts = set()
    for worker in workers(lb):
        local = {item.laddr.port for item in worker.net_connections(kind="inet")}
        assert local == {lb.port("http")}
        links = [os.readlink(f"/proc/{worker.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{worker.pid}/fd")]
        counts.add(len(links))
        assert sum(link.startswith("socket:") for link in links) == 2  # the listener and the channel
        assert sum("signalfd" in link for link in links) == 1
    assert len(counts) == 1
    assert client.request(target="/healthz").status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
def test_workers_run_as_the_user(run_lb) -> None:
    lb = run_lb(f"user nobody nogroup;\nworker_rlimit_nofile 5000;\n{SIMPLE}")
    (worker,) = workers(lb)
    status = Path(f"/proc/{worker.pid}/status").read_text()
    assert re.search(r"^Uid:\s+65534\s+65534\s+65534\s+65534$", status, re.MULTILINE)
    assert re.search(r"^Gid:\s+65534\s+65534\s+65534\s+65534$", status, re.MULTILINE)
    assert re.search(r"^Groups:\s+65534\s*$", status, re.MULTILINE)
    assert re.search(r"^Max open files +5000 +5000 ", Path(f"/proc/{worker.pid}/limits").read_text(), re.MULTILINE)
    assert lb.client().request().body == b"one"


def test_reuseport_is_one_socket_a_worker(run_lb) -> None:
    lb = run_lb(TWO.replace("@http@", "@http@ reuseport"))
    inodes = listening_inodes(lb.port("http"))
    assert len(inodes) == 2
    for worker in workers(lb):
        links = {os.readlink(f"/proc/{worker.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{worker.pid}/fd")}
        assert len([inode for inode in inodes if f"socket:[{inode}]" in links]) == 1


# Logs


def test_usr1_reopens_every_log_in_every_process(run_lb) -> None:
    lb = run_lb(
        "worker_processes 2;\nhttp { access_log access.log; server { listen 127.0.0.1:@http@; return 200 one; } }"
    )
    lb.client().request()
    for name in ("error.log", "access.log"):
        (lb.directory / name).rename(lb.directory / f"{name}.1")
    lb.signal(signal.SIGUSR1)
    access = lb.directory / "access.log"
    wait_for(lambda: access.exists())
    old = f"{lb.directory}/error.log.1", f"{lb.directory}/access.log.1"
    processes = [lb.master, *workers(lb)]

    def still_open() -> list[str]:
        links = [
            os.readlink(f"/proc/{one.pid}/fd/{fd}") for one in processes for fd in os.listdir(f"/proc/{one.pid}/fd")
        ]
        return [link for link in links if link in old]

    wait_for(lambda: not still_open(), lambda: f"the old files to be closed: {still_open()}")
    lb.client().request()
    wait_for(lambda: access.read_text().count("\n") == 1)
    assert (lb.directory / "access.log.1").read_text().count("\n") == 1
    rotated = (lb.directory / "error.log.1").read_text()
    assert f"signal 10 (SIGUSR1) received from {os.getpid()}, reopening logs" in rotated
    assert (rotated + lb.log).count("] reopening logs") == 0
    assert len(re.findall(r"#0: reopening logs$", rotated + lb.log, re.MULTILINE)) == 3


def test_tracebacks_go_to_the_error_log(run_lb) -> None:
    """stderr of every process is the error log."""
    lb = run_lb(SIMPLE)
    for process in [lb.master, *workers(lb)]:
        assert os.readlink(f"/proc/{process.pid}/fd/2") == str(lb.directory / "error.log")


def test_titles(run_lb) -> None:
    pytest.importorskip("setproctitle")
    lb = run_lb(SIMPLE)
    assert title_of(lb.master).startswith("lb: master process ")
    assert title_of(lb.master).endswith(f" -c {lb.file}")
    assert [title_of(worker) for worker in lb.workers] == ["lb: worker process"]


def test_one_thread_forks(world: World) -> None:
    """And Python knows it: since 3.12 it looks for the number of threads behind the name, and warns."""
    lb = world.new_lb()
    lb.env["PYTHONWARNINGS"] = "always"
    lb.start(SIMPLE)
    lb.reload()
    assert lb.master.num_threads() == 1
    assert "multi-threaded" not in lb.log
    for process in [lb.master, *workers(lb)]:
        assert Path(f"/proc/{process.pid}/comm").read_text() == "lb\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
def test_workers_of_root_run_as_nobody(world: World, http_backend) -> None:
    """nginx's compiled-in default. They were given what they need: logs, a dump that only root can read."""
    backend = http_backend(lambda _: Reply(body=b"dumped"))
    dump = f"server 127.0.0.1:{backend.port};\n"
    text = """http { access_log access.log; upstream u { server 127.0.0.1:1;
        upsync 127.0.0.1:1/v1/kv/u upsync_type=consul strong_dependency=off; upsync_dump_path private/u.conf; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }"""
    lb = world.new_lb()
    private = lb.directory / "private"
    private.mkdir(mode=0o700)
    (private / "u.conf").write_text(dump)
    lb.expect_log("is lost")
    lb.start(text)
    (worker,) = workers(lb)
    assert set(worker.uids()) == {65534} and set(worker.gids()) == {65534}
    assert lb.client().request().body == b"dumped"
    wait_for(lambda: (lb.directory / "access.log").read_text().count("\n") == 1)
    assert (lb.directory / "error.log").stat().st_uid == 0
