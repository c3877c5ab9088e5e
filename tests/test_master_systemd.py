"""What systemd hears and gives: a real notify socket, passed sockets, kept sockets; and the health of workers."""

from __future__ import annotations

import array
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lb.master.systemd import status_line
from tests.harness.client import Client
from tests.harness.consul import KeySpace
from tests.harness.lb import BINARY, Lb, environment
from tests.harness.wait import DEADLINE, is_listening, wait_for
from tests.harness.world import World
from tests.master_tools import listening_inodes, pids, wait_replaced, workers
from tests.test_master_upgrade import Pair

ONE = "http { access_log off; server { listen 127.0.0.1:@http@; return 200 one; } }"
TWO = f"worker_processes 2;\nstatus_listen 127.0.0.1:@status@;\n{ONE}"


class Systemd:
    """The other end of sd_notify, as the service manager has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.settimeout(60)
        self.fds: dict[str, list[int]] = {}  # FDSTORE
        self.heard: list[dict[str, str]] = []

    def read(self) -> dict[str, str]:
        size = socket.CMSG_SPACE(64 * 4)
        data, control, _, _ = self.sock.recvmsg(65536, size)
        message = dict(line.split("=", 1) for line in data.decode().splitlines())
        fds = array.array("i", control[0][2]) if control else array.array("i")
        if "FDSTORE" in message:
            self.fds.setdefault(message["FDNAME"], []).extend(fds)
        if "FDSTOREREMOVE" in message:
            for fd in self.fds.pop(message["FDNAME"]):
                os.close(fd)
        self.heard.append(message)
        return message

    def wait(self, **wanted: str) -> dict[str, str]:
        """Read until a message says this; values are patterns."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            message = self.read()
            if all(name in message and re.search(value, message[name]) for name, value in wanted.items()):
                return message
        raise AssertionError(f"not said: {wanted}, but {self.heard}")

    def drain(self) -> None:
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.read()
        self.sock.settimeout(60)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path / "notify")
    yield made
    made.sock.close()
    for fds in made.fds.values():
        for fd in fds:
            os.close(fd)


def start(world: World, systemd: Systemd, text: str = TWO, **env: str) -> Lb:
    lb = world.new_lb()
    lb.env = {"NOTIFY_SOCKET": str(systemd.path), **env}
    return lb.start(text)


# Workers that are stuck


def test_stuck_worker_is_replaced(run_lb) -> None:
    """The others serve on; the status port tells; the master has a bounded time for it."""
    lb = run_lb(TWO)
    stuck, other = workers(lb)
    lb.expect_log(rf"\[alert\] .*worker process {stuck.pid} is stuck: no heartbeat for \d+ s: killed", "on signal 9")
    stuck.suspend()

    def health() -> str:
        with lb.client("status") as client:
            return client.request(target="/healthz").body.decode()

    wait_for(lambda: health() == "ok, 1 of 2 workers ready, 1 stuck\n", health)
    for _ in range(3):
        with lb.client() as client:
            client.sock.settimeout(1)
            with contextlib.suppress(TimeoutError):  # the kernel may have given it to the one that sleeps
                assert client.request().body == b"one"
    found = wait_replaced(lb, {stuck.pid}, 2)
    assert other.pid in found
    wait_for(lambda: health() == "ok, 2 of 2 workers ready\n", health)


def test_worker_that_pauses_for_a_moment_is_left_alone(run_lb) -> None:
    lb = run_lb(ONE)
    (worker,) = workers(lb)
    for _ in range(3):
        worker.suspend()
        time.sleep(0.5)
        worker.resume()
    assert pids(lb) == {worker.pid} and lb.client().request().body == b"one"


def test_worker_that_never_gets_ready_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the master: 30 s after its fork."""
    import mmap
    from types import SimpleNamespace

    from lb import _fast
    from lb.master import heartbeat

    shm = mmap.mmap(-1, _fast.stats_size(1))
    killed: list[int] = []
    said: list[str] = []
    worker = SimpleNamespace(
        pid=7,
        slot=0,
        ready=False,
        born=100.0,
        killed=False,
        beat=0,
        missed=0,
        what="worker process",
        kill=killed.append,
    )
    generation = SimpleNamespace(shm=shm, stopping=None)
    generations = SimpleNamespace(
        processes=lambda: [(generation, worker)], workers=lambda: [(generation, worker)]
    )
    one = heartbeat.Heartbeats(generations, SimpleNamespace(alert=said.append))  # type: ignore[arg-type]
    for second in range(100, 130):
        one.step(float(second))
    assert not killed and not one.fresh
    one.step(130.0)
    one.step(131.0)
    assert killed == [signal.SIGKILL] and said == ["worker process 7 is not ready after 30 s: killed"]


# States


def test_states(world: World, systemd: Systemd) -> None:
    lb = start(world, systemd)
    systemd.wait(READY="1", MAINPID=f"^{lb.master.pid}$")
    systemd.wait(STATUS="^2 workers$")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    lb.signal(signal.SIGHUP)
    said = systemd.wait(RELOADING="1")
    assert before <= int(said["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.wait(READY="1")
    good = lb.file.read_text()
    lb.file.write_text("broken")
    lb.expect_log(r"\[emerg\]", "stays as it was")
    lb.signal(signal.SIGHUP)
    systemd.wait(RELOADING="1")
    systemd.wait(READY="1")
    systemd.wait(STATUS="^2 workers, last reload failed: unexpected end of file")
    lb.file.write_text(good)
    lb.signal(signal.SIGTERM)
    systemd.wait(STOPPING="1")
    assert lb.stop() == 0


def test_status_line() -> None:
    assert status_line(4, [(True, 0)] * 12, "") == "4 workers, 12 of 12 upstreams in sync, Consul index lag 0"
    assert status_line(1, [(True, 0), (False, 7)], "") == "1 worker, 1 of 2 upstreams in sync, Consul index lag 7"
    assert status_line(2, [], "no\nluck") == "2 workers, last reload failed: no luck"


@pytest.mark.consul
def test_status_of_upstreams(world: World, systemd: Systemd, consul: KeySpace) -> None:
    consul.put("u", "127.0.0.1:9")
    text = f"""http {{ access_log off; upstream u {{ server 127.0.0.1:1;
        upsync {consul.path("u")} upsync_type=consul; upsync_dump_path u.conf; }}
        server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://u; }} }} }}"""
    start(world, systemd, text)
    systemd.wait(STATUS="^1 worker, 1 of 1 upstreams in sync, Consul index lag 0$")


def test_watchdog_is_fed_only_while_every_worker_lives(world: World, systemd: Systemd) -> None:
    lb = start(world, systemd, WATCHDOG_USEC="600000")
    for _ in range(3):
        systemd.wait(WATCHDOG="1")
    stuck = workers(lb)[0]
    lb.expect_log("is stuck", "on signal 9")
    stuck.suspend()
    systemd.drain()
    before = len(systemd.heard)
    lb.wait_log("is stuck")
    systemd.drain()
    told = [one for one in systemd.heard[before:] if "WATCHDOG" in one]
    systemd.wait(WATCHDOG="1")  # the new worker lives
    assert stuck.pid not in pids(lb)
    assert len(told) < 9  # until its missing heartbeat is seen, and no longer: 4 s would be 13


def test_watchdog_of_another_process_is_not_fed(world: World, systemd: Systemd) -> None:
    start(world, systemd, WATCHDOG_USEC="600000", WATCHDOG_PID="1")
    systemd.wait(STATUS=".")
    time.sleep(1.5)  # longer than between two looks
    systemd.drain()
    assert not [one for one in systemd.heard if "WATCHDOG" in one]


def test_no_systemd_no_fuss(world: World, tmp_path: Path) -> None:
    lb = world.new_lb()
    lb.env = {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    lb.start(ONE)
    lb.wait_log("systemd cannot be told: No such file")
    assert lb.client().request().body == b"one"


def test_new_binary_becomes_the_service(world: World, systemd: Systemd) -> None:
    lb = start(world, systemd)
    pair = Pair(lb)
    old, new = pair.upgrade()
    systemd.drain()
    assert not [one for one in systemd.heard if one.get("MAINPID") == str(new.pid)]
    old.send_signal(signal.SIGQUIT)
    systemd.wait(MAINPID=f"^{new.pid}$")
    systemd.wait(READY="1", MAINPID=f"^{new.pid}$")
    assert not [one for one in systemd.heard if "STOPPING" in one]
    assert pair.ask() == b"one"
    pair.end(new)
    systemd.wait(STOPPING="1")


# Sockets


def pass_sockets(lb: Lb, fds: list[int], systemd: Systemd | None = None) -> subprocess.Popen[bytes]:
    """Start lb with these descriptors from 3 on, as systemd does."""
    script = """
import os, sys
fds = [int(text) for text in sys.argv[1].split()]
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for fd in fds:
    os.close(fd)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=":".join("x" * len(fds)))
os.execv(sys.argv[2], sys.argv[2:])
"""
    env = environment() | ({"NOTIFY_SOCKET": str(systemd.path)} if systemd else {})
    command = [sys.executable, "-c", script, " ".join(map(str, fds)), str(BINARY)]
    with (lb.directory / "stderr.log").open("ab") as stderr:
        lb.process = subprocess.Popen(
            [*command, "-p", f"{lb.directory}/", "-c", str(lb.file)],
            cwd=lb.directory, env=env, pass_fds=fds, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
        )  # fmt: skip
    return lb.process


def test_socket_activation(world: World, tmp_path: Path) -> None:
    """A client that came before lb is answered; a socket that nobody asks for is closed; no file is removed."""
    lb = world.new_lb()
    path = tmp_path / "activated.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(str(path))
        local.listen()
        port, spare = tcp.getsockname()[1], other.getsockname()[1]
        lb.write(ONE.replace("return", "listen unix:@path@; return"), http=port, path=path)
        early = Client(port).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        pass_sockets(lb, [sock.fileno() for sock in (tcp, other, local)])
    with early:
        assert early.response().body == b"one"
    lb.wait_ready()
    assert not is_listening(spare)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert lb.stop() == 0
    assert path.exists()


def test_listeners_are_kept_over_a_crash(world: World, systemd: Systemd) -> None:
    """No connection attempt is lost between the death of the service and its next start."""
    text = ONE.replace("return", "listen 127.0.0.1:@more@ reuseport; return")
    lb = start(world, systemd, f"worker_processes 2;\n{text}")
    port, more = lb.port("http"), lb.port("more")
    names = {f"traffic-127.0.0.1-{port}": 1, f"traffic-127.0.0.1-{more}": 2}
    while {name: len(fds) for name, fds in systemd.fds.items()} != names:
        systemd.read()
    inodes = listening_inodes(port)
    everybody = [lb.master, *workers(lb)]
    for process in everybody:
        process.kill()
    assert lb.process is not None
    lb.process.wait()
    psutil.wait_procs(everybody[1:], timeout=60)
    lb.expected = ["the master is gone"] if "the master is gone" in lb.log else []  # when a worker still had the time
    with Client(port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # nobody is there, and yet
        kept = [fd for fds in systemd.fds.values() for fd in fds]
        systemd.fds.clear()
        pass_sockets(lb, kept, systemd)
        for fd in kept:
            os.close(fd)
        assert client.response().body == b"one"
    lb.wait_ready()
    assert listening_inodes(port) == inodes
    while {name: len(fds) for name, fds in systemd.fds.items()} != names:  # and kept again
        systemd.read()
    lb.reload(f"worker_processes 2;\n{ONE}")
    systemd.wait(FDSTOREREMOVE="1", FDNAME=f"-{more}$")
