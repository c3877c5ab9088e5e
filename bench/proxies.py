"""One contestant: nginx, HAProxy or lb with a configuration, in a directory of its own, pinned to the worker's core.

All three run in the foreground as our child, so that what we end is ours.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.machine import WORKER_CORE, Cpu, cpu_of, rss_bytes, version

KINDS = ("nginx", "haproxy", "lb", "floor", "other")
RIVALS = Path(__file__).resolve().parents[1] / ".cache/rivals"  # .ci/get-rivals: the newest of Debian
FLOOR = Path(__file__).resolve().parents[1] / "build/bench/floor"  # bench/floor.c: a bare relay, no rival


def free_port() -> int:
    """Below the range of outgoing connections, of which some scenarios make many."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("", port))
            return port


def wait_for(condition: Callable[[], object], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.02)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def is_scribe(process: psutil.Process) -> bool:
    """lb's child that writes dump files: no worker."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()[:1] == ["lb: writing dump files"]
    return True  # it has just ended: what it has used is not known any more


def pin(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})


def binary(kind: str) -> str | None:
    """The program of a kind: NGINX= and HAPROXY= name others than .cache/rivals or PATH has, OTHER= another lb.

    None: not installed.
    """
    if kind == "lb":
        own = os.environ.get("LB") or str(Path(sys.executable).with_name("lb"))
        return own if Path(own).exists() else None
    if kind == "other":
        return os.environ.get("OTHER")
    if kind == "floor":
        return str(FLOOR) if FLOOR.exists() else None
    newest = RIVALS / "bin" / kind
    named = os.environ.get(kind.upper()) or (str(newest) if newest.exists() else kind)
    return shutil.which(named, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def stream_module(nginx: str) -> str:
    """The line that nginx needs for stream{}: Debian's has it as a module."""
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False).stderr
    root = f"{RIVALS}/root" if nginx.startswith(str(RIVALS)) else ""
    module = f"{root}/usr/lib/nginx/modules/ngx_stream_module.so"
    return f"load_module {module};\n" if "--with-stream=dynamic" in built and Path(module).exists() else ""


class Proxy:
    """A running contestant. `port` is where its clients connect; `config` the text it was started with."""

    def __init__(self, kind: str, label: str, config: str, directory: Path, *, workers: int = 1, pinned: bool = True):
        self.kind, self.label, self.workers, self.pinned = kind, label, workers, pinned
        self.directory = directory
        self.port = free_port()
        path = binary(kind)
        assert path is not None, f"{kind} is not installed"
        self.binary = path
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "tmp").mkdir(exist_ok=True)
        self.config = config.replace("@port@", str(self.port)).replace("@dir@", str(directory))
        if kind == "nginx" and "stream {" in config:
            self.config = stream_module(path) + self.config
        self.file = directory / f"{kind}.conf"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def version(self) -> str:
        return "floor: bench/floor.c" if self.kind == "floor" else version(self.kind, self.binary)

    def command(self) -> list[str]:
        if self.kind == "floor":
            return [self.binary, *self.config.split()]
        if self.kind == "haproxy":
            return [self.binary, "-db" if not self.reloadable else "-Ws", "-f", str(self.file)]
        return [self.binary, "-p", f"{self.directory}/", "-c", str(self.file)]

    @property
    def reloadable(self) -> bool:
        """HAProxy has a master only where the scenario reloads."""
        return "master-worker" in self.config

    def start(self) -> Proxy:
        self.file.write_text(self.config)
        before = pin(WORKER_CORE) if self.pinned else None
        with (self.directory / "output.log").open("ab") as log:
            environment = {name: value for name, value in os.environ.items() if name != "NGINX"}  # sockets, to nginx
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=before,
                env=environment,
                cwd=self.directory,
            )
        try:
            wait_for(self._is_up, f"{self.label} to listen on {self.port}")
        except RuntimeError as error:
            self.stop()
            raise RuntimeError(f"{error}\n{self.log()}") from None
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.label} ended with {self.process.returncode}")
        return len(self.pids()) >= (1 if self.lone else self.workers) and answers(self.port)

    def pids(self) -> list[int]:
        """Of the workers (HAProxy without a master: its only process)."""
        assert self.process is not None
        children = [child.pid for child in psutil.Process(self.process.pid).children() if not is_scribe(child)]
        return [self.process.pid] if self.lone else children

    @property
    def lone(self) -> bool:
        """One process, no master."""
        return self.kind == "floor" or (self.kind == "haproxy" and not self.reloadable)

    def cpu(self) -> Cpu:
        return cpu_of(self.pids())

    def rss(self) -> int:
        return rss_bytes(self.pids())

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR2 if self.kind == "haproxy" else signal.SIGHUP)

    def log(self) -> str:
        names = ["output.log", "error.log"]
        text = "".join((self.directory / n).read_text(errors="replace") for n in names if (self.directory / n).exists())
        return "\n".join(line for line in text.splitlines() if not re.search(r"\[(notice|info)\]", line))[-3000:]

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        self.process.terminate()
        _, alive = psutil.wait_procs(family, timeout=10)
        for process in alive:
            process.kill()
        self.process.wait()
