"""One lb under test: the real `.venv/bin/lb`, its workers, its log, and what the kernel knows about them.

A configuration text may hold `@name@`: a value given by the test, or else a free port, the same at each place.  What
every test needs (daemon off, pid, error_log, worker_processes) is put before it, where it does not say so itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import termios
from pathlib import Path
from signal import SIGHUP, SIGTERM, Signals

import psutil

from tests.harness import tls_socket
from tests.harness.client import Client
from tests.harness.wait import DEADLINE, free_port, is_listening, wait_for

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / ".venv/bin/lb"

PREAMBLE = {
    "daemon": "daemon off;",
    "pid": "pid lb.pid;",
    "error_log": "error_log error.log info;",
    "worker_processes": "worker_processes 1;",
    "events": "events { worker_connections 4096; }",
}
TROUBLE = re.compile(r"Traceback|\[alert\]|\[emerg\]|AddressSanitizer|runtime error:|BUG_ON|Exception ignored|\[crit\]")
PIPES_KEPT = 32  # by each worker: lb/fast/io/splice.pyx
EPOLL_WAITS = {"232", "281", "441"}  # epoll_wait, epoll_pwait, epoll_pwait2 on x86-64


def complete(text: str) -> str:
    """`text` with the lines of PREAMBLE that it lacks."""
    lines = [line for name, line in PREAMBLE.items() if not re.search(rf"^\s*{name}\b", text, re.MULTILINE)]
    return "\n".join([*lines, text, ""])


def build_mode() -> str:
    with contextlib.suppress(OSError):
        return (ROOT / "build/mode").read_text().strip()
    return "release"


def environment() -> dict[str, str]:
    """The environment for lb: a sanitized extension needs its library loaded before Python."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if build_mode() == "asan":
        library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        env["LD_PRELOAD"] = library.stdout.strip()
        env["PYTHONMALLOC"] = "malloc"
        # Python itself does not free everything at exit
        env["ASAN_OPTIONS"] = "detect_leaks=0:abort_on_error=0:exitcode=99"
    return env


class Lb:
    """start(), reload(), stop(); `port(name)` of a placeholder; `log`; `workers`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "lb.conf"
        (directory / "logs").mkdir(exist_ok=True)  # the default access log, as in nginx's prefix
        self.process: subprocess.Popen[bytes] | None = None
        self.values: dict[str, str] = {}
        self.expected: list[str] = []
        self.host = "127.0.0.1"  # where its ports are
        self.inside: list[str] = []  # what its command begins with: another machine's (netns)
        self.env: dict[str, str] = {}  # for start() and spawn(), besides the test's own
        self.seen: dict[int, psutil.Process] = {}  # every worker pid that this lb was seen with
        self.baseline: dict[int, int] = {}  # worker pid -> open fds when it was ready

    # --- configuration ---

    def write(self, text: str, **values: object) -> None:
        """Write the configuration file; placeholders keep the values they had before."""
        self.values.update({name: str(value) for name, value in values.items()})
        for name in re.findall(r"@(\w+)@", text):
            self.values.setdefault(name, str(free_port()))
        filled = re.sub(r"@(\w+)@", lambda match: self.values[match[1]], complete(text))
        self.file.write_text(tls_socket.over_tls(filled) if tls_socket.ENGINE else filled)

    def port(self, name: str) -> int:
        return int(self.values[name])

    def client(self, name: str = "http", **options: object) -> Client:
        return Client(self.port(name), **options)  # type: ignore[arg-type]

    # --- life ---

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the command without waiting for anything."""
        command = [*self.inside, str(BINARY), "-p", f"{self.directory}/", "-c", str(self.file), *arguments]
        with (self.directory / "stderr.log").open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**environment(), **self.env},
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        return self.process

    def start(self, text: str, **values: object) -> Lb:
        """Write the file, start lb, wait until every listener is there and every worker is in its loop."""
        self.write(text, **values)
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        wait_for(self._is_ready, lambda: f"lb to be ready:\n{self.log}")
        self.remember_workers()

    def remember_workers(self) -> None:
        """Note the workers there are now, and the open fds of those that are new."""
        for worker in self.workers:
            self.seen[worker.pid] = worker
            self.baseline.setdefault(worker.pid, len(open_fds(worker.pid)))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `lb -p ... -c ... ARGUMENTS` and wait for it: -t, -s reload."""
        command = [str(BINARY), "-p", f"{self.directory}/", "-c", str(self.file), *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )

    def reload(self, text: str | None = None, **values: object) -> None:
        """HUP, with a new file if there is one; wait until new workers serve (old ones may still finish)."""
        old = {worker.pid for worker in self.workers}
        if text is not None:
            self.write(text, **values)
        self.signal(SIGHUP)
        count = self.worker_count
        wait_for(
            lambda: sum(is_in_loop(worker) for worker in self.workers if worker.pid not in old) >= count,
            lambda: f"new workers after HUP:\n{self.log}",
        )
        self.remember_workers()

    def signal(self, number: Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: Signals = SIGTERM, timeout: float = DEADLINE) -> int:
        """Signal the master; wait until it and every worker are gone. The master's exit code."""
        assert self.process is not None
        self.remember_workers_quietly()
        if self.process.poll() is None:
            self.signal(number)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"lb did not end {timeout:g} s after {number.name}:\n{self.log}") from None
        try:
            wait_for(lambda: not self.alive(), lambda: f"workers to end after their master: {self.alive()}")
        finally:
            self.kill()
        return code

    def remember_workers_quietly(self) -> None:
        with contextlib.suppress(psutil.Error):
            self.seen.update({worker.pid: worker for worker in self.workers})

    def alive(self) -> list[psutil.Process]:
        return [w for w in self.seen.values() if w.is_running() and w.status() != psutil.STATUS_ZOMBIE]

    def kill(self) -> None:
        """SIGKILL to what this object started and is still there."""
        assert self.process is not None
        for process in self.alive():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # --- what it looks like ---

    @property
    def master(self) -> psutil.Process:
        assert self.process is not None
        if self.process.poll() is not None:  # its pid may be another's by now
            raise psutil.NoSuchProcess(self.process.pid)
        return psutil.Process(self.process.pid)

    @property
    def workers(self) -> list[psutil.Process]:
        """The master's workers that live, oldest first: by their title, since it has other children too."""
        found = []
        for child in self.master.children():
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE and is_worker(child):
                    found.append(child)
        return sorted(found, key=lambda child: (child.create_time(), child.pid))

    @property
    def worker_count(self) -> int:
        match = re.search(r"^\s*worker_processes\s+(\w+)\s*;", self.file.read_text(), re.MULTILINE)
        assert match is not None
        return len(os.sched_getaffinity(0)) if match[1] == "auto" else int(match[1])

    @property
    def log(self) -> str:
        """The error log and what went to stdout and stderr."""
        return self._read("stderr.log") + self._read("error.log")

    def _read(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_log(self, pattern: str, timeout: float = DEADLINE) -> re.Match[str]:
        """Wait for a line in the log."""
        return wait_for(
            lambda: re.search(pattern, self.log), lambda: f"{pattern!r} in the log:\n{self.log[-3000:]}", timeout
        )  # type: ignore[return-value]

    def listen_ports(self) -> list[int]:
        """The TCP ports on loopback or any address that the file listens on."""
        pattern = r"^[^#\n]*?\b(?:status_)?listen\s+(?:[\d.]+:)?(\d+)[^;]*;"
        found = re.findall(pattern, self.file.read_text(), re.MULTILINE)
        return [int(port) for port in found]

    def _is_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"lb ended with {code}:\n{self.log}"
        workers = self.workers
        return (
            len(workers) >= self.worker_count
            and all(is_listening(port) for port in self.listen_ports())
            and all(is_in_loop(worker) for worker in workers)
        )

    # --- the end of a test ---

    def expect_log(self, *patterns: str) -> None:
        """These lines of trouble belong to the test; that each came is checked at its end."""
        self.expected.extend(patterns)

    def check_log(self) -> None:
        lines = [line for line in self.log.splitlines() if TROUBLE.search(line)]
        trouble = [line for line in lines if not any(re.search(pattern, line) for pattern in self.expected)]
        assert not trouble, "trouble in the log:\n" + "\n".join(trouble) + f"\n--- whole log:\n{self.log[-6000:]}"
        for pattern in self.expected:
            assert re.search(pattern, self.log), f"expected {pattern!r} in the log:\n{self.log[-3000:]}"

    def check_quiet(self, ignore_ports: frozenset[int] = frozenset()) -> None:
        """When clients and backends are gone: no connection is left, and fds are what they were at the start.

        `ignore_ports`: remote ports that a worker talks to on its own account (Consul).
        """
        for worker in self.workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                wait_for(
                    lambda w=worker: not connections(w, ignore_ports),  # type: ignore[misc]
                    lambda w=worker: f"worker {w.pid} to close {connections(w, ignore_ports)}\n{self.log[-3000:]}",  # type: ignore[misc]
                )
                if not ignore_ports and worker.pid in self.baseline:
                    self._check_fds(worker)

    def _check_fds(self, worker: psutil.Process) -> None:
        limit = self.baseline[worker.pid]
        wait_for(
            lambda: len(open_fds(worker.pid)) <= limit,
            lambda: f"worker {worker.pid} to come back to {limit} fds: {sorted(open_fds(worker.pid))}",
        )
        pipes = pipe_fill(worker.pid)
        assert len(pipes) <= PIPES_KEPT, f"worker {worker.pid} keeps {len(pipes)} pipes"
        assert not any(pipes.values()), f"worker {worker.pid} has bytes in pooled pipes: {pipes}"


def is_worker(process: psutil.Process) -> bool:
    """Not a new binary, nor a child that reads a file for the master."""
    return title_of(process).startswith("lb: worker process")


def title_of(process: psutil.Process) -> str:
    """What the process says of itself; "" when it has just died.

    Not psutil's cmdline(): that splits a title at its spaces when no more than one NUL follows it, which depends on how
    long the command line was that it took the place of.
    """
    try:
        raw = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.partition(b"\0")[0].decode(errors="replace")


def is_in_loop(worker: psutil.Process) -> bool:
    """Whether the main thread sleeps in epoll_wait: the worker serves, and has nothing to do."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{worker.pid}/task/{worker.pid}/syscall").read_text().split()[0] in EPOLL_WAITS
    return False


def connections(process: psutil.Process, ignore_ports: frozenset[int] = frozenset()) -> list[str]:
    """TCP connections of a process that are not listeners: "local -> remote STATE"."""
    found = []
    for item in process.net_connections(kind="tcp"):
        if item.status == psutil.CONN_LISTEN or (item.raddr and {item.raddr.port, item.laddr.port} & ignore_ports):
            continue
        found.append(f"{item.laddr} -> {item.raddr} {item.status}")
    return found


def open_fds(pid: int) -> list[str]:
    """ "fd:what it is"; without pipes, of which the engine keeps some for splice (see `pipe_fill`)."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(f"{fd}:{os.readlink(f'/proc/{pid}/fd/{fd}')}")
    return [name for name in found if ":pipe:" not in name]


def pipe_fill(pid: int) -> dict[str, int]:
    """The pipes of a process, and the bytes that lie in each."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            name = os.readlink(f"/proc/{pid}/fd/{fd}")
            if name.startswith("pipe:") and name not in found:
                end = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
                try:
                    found[name] = int.from_bytes(fcntl.ioctl(end, termios.FIONREAD, bytes(4)), "little")
                finally:
                    os.close(end)
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, from the scheduler's nanoseconds."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9
