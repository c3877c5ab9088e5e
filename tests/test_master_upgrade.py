"""SIGUSR2: another binary takes over, and back; with nginx's files and log lines."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness.client import Client
from tests.harness.lb import Lb, is_worker
from tests.harness.wait import is_listening, wait_for
from tests.harness.world import World
from tests.master_tools import listening_inodes

ONE = """status_listen 127.0.0.1:@status@;
http { access_log off; server { listen 127.0.0.1:@http@; listen unix:lb.sock; return 200 one; } }"""


class Pair:
    """An lb with `daemon on`, and the new binary beside it."""

    def __init__(self, lb: Lb) -> None:
        self.lb = lb
        self.path = lb.directory / "lb.pid"
        self.old_path = lb.directory / "lb.pid.oldbin"
        self.seen: dict[int, psutil.Process] = {}

    def pid(self) -> int:
        """The pid file's; 0 while there is none."""
        try:
            return int(self.path.read_text() or 0)
        except FileNotFoundError:
            return 0

    def master(self, pid: int) -> psutil.Process:
        return self.seen.setdefault(pid, psutil.Process(pid))

    def start(self, text: str = ONE, daemon: str = "on") -> psutil.Process:
        self.lb.write(f"daemon {daemon};\n{text}")
        assert self.lb.command().returncode == 0
        return self.master(self.pid())

    def upgrade(self) -> tuple[psutil.Process, psutil.Process]:
        """(old, new), when both serve."""
        old = self.master(self.pid())
        old.send_signal(signal.SIGUSR2)
        wait_for(lambda: self.old_path.exists() and self.pid() not in (0, old.pid), lambda: self.lb.log)
        new = self.master(self.pid())
        wait_for(lambda: self.workers(new), lambda: self.lb.log)
        return old, new

    def workers(self, master: psutil.Process) -> list[psutil.Process]:
        found = [child for child in master.children() if is_worker(child)]
        self.seen.update({child.pid: child for child in found})
        return found

    def alive(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            for process in list(self.seen.values()):
                self.seen.update({child.pid: child for child in process.children()})
        return [one for one in self.seen.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def ask(self) -> bytes:
        with Client(self.lb.port("http")) as client:
            return client.request().body

    def healthz(self) -> int:
        with Client(self.lb.port("status")) as client:
            return client.request(target="/healthz").status

    def ask_unix(self) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(str(self.lb.directory / "lb.sock"))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return sock.recv(4096)

    def end(self, master: psutil.Process, number: signal.Signals = signal.SIGQUIT) -> None:
        master.send_signal(number)
        assert not psutil.wait_procs([master], timeout=60)[1], self.lb.log


@pytest.fixture
def pair(world: World) -> Iterator[Pair]:
    made = Pair(world.new_lb())
    yield made
    for process in made.alive():
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(made.alive(), timeout=10)
    for process in left:
        process.kill()
    assert not left, made.lb.log
    made.lb.check_log()


def test_new_binary_takes_over(pair: Pair) -> None:
    pair.start()
    inodes = listening_inodes(pair.lb.port("http"))
    old, new = pair.upgrade()
    me, log = os.getpid(), pair.lb.log
    assert f"signal 12 (SIGUSR2) received from {me}, changing binary" in log
    assert f"{old.pid}#0: changing binary" in log
    assert f"start new binary process {new.pid}" in log
    pair.lb.wait_log(rf'{new.pid}#0: using inherited sockets from "(\d+;)+"')
    assert pair.old_path.read_text() == f"{old.pid}\n"
    assert new.ppid() == old.pid
    assert listening_inodes(pair.lb.port("http")) == inodes  # the same socket, not another one
    old.send_signal(signal.SIGWINCH)
    wait_for(lambda: not pair.workers(old))
    assert pair.ask() == b"one" and b"one" in pair.ask_unix()
    pair.end(old)
    wait_for(lambda: not pair.old_path.exists())
    assert pair.pid() == new.pid
    assert pair.ask() == b"one" and b"one" in pair.ask_unix()
    assert pair.healthz() == 200
    done = pair.lb.command("-s", "quit")
    assert done.returncode == 0
    wait_for(lambda: not new.is_running() and not (pair.lb.directory / "lb.sock").exists())


def test_way_back_after_winch(pair: Pair) -> None:
    """HUP to the old master starts its workers again, from memory; QUIT to the new one gives the pid file back."""
    pair.start()
    old, new = pair.upgrade()
    old.send_signal(signal.SIGWINCH)
    wait_for(lambda: not pair.workers(old))
    good = pair.lb.file.read_text()
    pair.lb.file.write_text("broken")
    old.send_signal(signal.SIGHUP)
    wait_for(lambda: pair.workers(old), lambda: pair.lb.log)
    pair.end(new)
    wait_for(lambda: pair.pid() == old.pid and not pair.old_path.exists())
    pair.lb.wait_log(f"new binary process {new.pid} exited with code 0")
    assert pair.ask() == b"one" and b"one" in pair.ask_unix()
    pair.lb.file.write_text(good)
    pair.upgrade()  # and another try


def test_death_of_the_new_one_brings_the_workers_back(pair: Pair) -> None:
    pair.start()
    old, new = pair.upgrade()
    old.send_signal(signal.SIGWINCH)
    wait_for(lambda: not pair.workers(old))
    pair.end(new, signal.SIGTERM)
    wait_for(lambda: pair.workers(old), lambda: pair.lb.log)
    assert pair.ask() == b"one"
    wait_for(lambda: pair.pid() == old.pid, lambda: pair.lb.log)  # a worker may serve before its master has heard so
    wait_for(lambda: pair.healthz() == 200, lambda: pair.lb.log)


def test_new_binary_that_cannot_start(pair: Pair) -> None:
    old = pair.start()
    good = pair.lb.file.read_text()
    pair.lb.file.write_text(f"lissten 1;\n{good}")
    pair.lb.expect_log('unknown directive "lissten"', r"\[alert\] .*new binary process \d+ exited with code 1")
    old.send_signal(signal.SIGUSR2)
    pair.lb.wait_log("new binary process .* exited")
    wait_for(lambda: pair.pid() == old.pid)
    assert not pair.old_path.exists() and pair.ask() == b"one"
    pair.lb.file.write_text(good)


def test_second_usr2_is_ignored(pair: Pair) -> None:
    pair.start()
    old, new = pair.upgrade()
    pair.lb.expect_log(r"\[alert\] .*the changing binary signal is ignored: you should shutdown or terminate before")
    for master in old, new:
        master.send_signal(signal.SIGUSR2)
        pair.lb.wait_log(rf"{master.pid}#0: signal 12 \(SIGUSR2\) received from {os.getpid()}, ignoring")
        pair.lb.wait_log(rf"{master.pid}#0: the changing binary signal is ignored")


def test_without_daemon(run_lb, world: World) -> None:
    """`daemon off`, as under systemd."""
    lb = run_lb(ONE)
    pair = Pair(lb)
    old, new = pair.upgrade()
    assert old.pid == lb.master.pid
    lb.signal(signal.SIGWINCH)
    wait_for(lambda: not pair.workers(old))
    assert pair.ask() == b"one"
    pair.end(new)
    wait_for(lambda: pair.workers(old))
    assert pair.ask() == b"one" and pair.pid() == old.pid


def test_shutdown_timeout_of_a_reload_and_a_quit(run_lb, http_backend, connect) -> None:
    """What a worker has not finished within worker_shutdown_timeout is closed."""
    import threading

    from tests.harness.backend import Reply

    backend = http_backend(lambda _: Reply(wait=threading.Event()))
    lb = run_lb(
        "worker_shutdown_timeout 100ms;\nhttp { access_log off; server { listen 127.0.0.1:@http@; "
        "location / { proxy_pass http://127.0.0.1:@back@; } } }",
        back=backend.port,
    )
    for number in signal.SIGHUP, signal.SIGQUIT:
        seen = len(backend.requests)
        client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda seen=seen: len(backend.requests) > seen)
        lb.signal(number)
        client.expect_closed()
    assert lb.stop(signal.SIGQUIT) == 0


def test_pid_file_of_a_stopped_pair(pair: Pair) -> None:
    """The old one may go first and at once: the new one keeps everything."""
    pair.start()
    old, new = pair.upgrade()
    pair.end(old, signal.SIGTERM)
    assert pair.pid() == new.pid and not Path(pair.old_path).exists()
    assert is_listening(pair.lb.port("http")) and pair.ask() == b"one" and b"one" in pair.ask_unix()
