"""One configuration on one server, lb or nginx: its ports, its backends, what it answers, what it logs.

A configuration names its ports 8000 to 8999, as if nothing else ran here; each server gets free ones for them, and what
it answers and logs is written with the names again.  `%%dir%%` is the server's own directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from tests.harness.lb import BINARY as LB
from tests.harness.lb import environment
from tests.harness.nginx import BINARY as NGINX
from tests.harness.wait import DEADLINE, free_port, wait_for

PORT = re.compile(r"(?<![\w.%])8\d\d\d(?![\d%])")
TEMPORARY = ("client_body", "fastcgi", "proxy", "uwsgi", "scgi")
MODULES = Path("/usr/lib/nginx/modules")
Handler = Callable[[socket.socket], None]


class Daemon:
    """A backend that is a function: called with each connection, in a thread of its own."""

    def __init__(self, port: int, handler: Handler) -> None:
        self.handler = handler
        self.sock = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        with contextlib.suppress(OSError), sock:
            self.handler(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class Side:
    """start(), send(), log(), stop(). `kind`: "lb" or "nginx"."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.directory = directory
        self.ports: dict[str, int] = {}
        self.daemons: list[Daemon] = []
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, text: str, daemons: dict[int, Handler] | None = None) -> Side:
        for port in sorted(set(PORT.findall(text)) | {str(port) for port in daemons or ()}):
            self.ports[port] = free_port()
        for port, handler in (daemons or {}).items():
            self.daemons.append(Daemon(self.ports[str(port)], handler))
        (self.directory / "nginx.conf").write_text(self._globals(text) + self._filled(text))
        binary = str(LB if self.kind == "lb" else NGINX)
        command = [binary, "-p", f"{self.directory}/", "-c", "nginx.conf", "-e", "error.log"]
        with (self.directory / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(command, env=environment(), stdout=stderr, stderr=stderr)
        wait_for(self._is_up, lambda: f"{self.kind} to start:\n{self.read('stderr')}{self.read('error.log')}")
        return self

    def _globals(self, text: str) -> str:
        lines = [] if re.search(r"^\s*daemon\s", text, re.MULTILINE) else ["daemon off;"]
        lines += [f"pid {self.directory}/nginx.pid;", f"error_log {self.directory}/error.log debug;"]
        if os.geteuid() == 0:
            lines.append("user root;")  # the directory is root's alone
        if self.kind == "nginx" and re.search(r"^\s*stream\s*{", text, re.MULTILINE):
            lines.insert(0, f"load_module {MODULES}/ngx_stream_module.so;")
        return "\n".join([*lines, ""])

    def _filled(self, text: str) -> str:
        text = PORT.sub(lambda match: str(self.ports[match[0]]), text)
        http = [f"root {self.directory};", f"access_log {self.directory}/access.log;"]
        http += [f"{name}_temp_path {self.directory}/{name}_temp;" for name in TEMPORARY]
        return text.replace("%%http%%", "\n".join(http)).replace("%%dir%%", str(self.directory))

    def _is_up(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"{self.kind} ended with {code}:\n{self.read('stderr')}"
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / "nginx.pid").read_text()) > 0
        return False

    def send(self, data: bytes, port: int = 8080, quiet: float = 0.4) -> bytes:
        """What comes back on one connection until its end, or until `quiet` seconds pass without a byte."""
        with socket.create_connection(("127.0.0.1", self.ports[str(port)]), DEADLINE) as sock:
            sock.sendall(self._real(data))
            return self.named(self.receive(sock, quiet))

    def _real(self, data: bytes) -> bytes:
        return re.sub(rb"%%(8\d\d\d)%%", lambda match: b"%d" % self.ports[match[1].decode()], data)

    @staticmethod
    def receive(sock: socket.socket, quiet: float) -> bytes:
        parts = []
        sock.settimeout(quiet)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def named(self, data: bytes) -> bytes:
        """`data` with the names of the ports, and without what differs from one run or version to the next."""
        for name, port in self.ports.items():
            data = re.sub(rb"(?<!\d)%d(?!\d)" % port, name.encode(), data)
        data = data.replace(str(self.directory).encode(), b"%%dir%%")
        data = re.sub(rb"\b(?:nginx|lb)/[\d.]+", b"SERVER", data)
        return re.sub(rb"^Date: [^\r]+", b"Date: DATE", data, flags=re.MULTILINE)

    def read(self, name: str) -> str:
        with contextlib.suppress(OSError):
            return self.named((self.directory / name).read_bytes()).decode("latin-1")
        return ""

    def stop(self) -> int:
        for daemon in self.daemons:
            daemon.close()
        if self.process is None:
            return 0
        with contextlib.suppress(OSError):
            self.process.terminate()
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            os.kill(self.process.pid, 9)
            return self.process.wait()
