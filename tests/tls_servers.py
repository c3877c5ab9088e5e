"""Servers that speak TLS, for lb to ask: Python's ssl with a script for each connection, openssl s_server, nginx."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.lb import Lb
from tests.harness.tls_socket import VERSIONS, material
from tests.harness.wait import wait_for

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
Serve = Callable[["TlsServer", ssl.SSLSocket], None]


def heads(server: TlsServer, tls: ssl.SSLSocket) -> None:
    """Answers each head with HELLO, and keeps it."""
    while head := read_head(tls):
        server.heads.append(head)
        tls.sendall(HELLO)


def read_head(tls: ssl.SSLSocket) -> bytes:
    """b"": the end."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = tls.recv(1)
        if not byte:
            return b""
        data += byte
    return data


class TlsServer:
    def __init__(
        self,
        certificate: str = "",
        key: str = "",
        version: str = "1.3",
        serve: Serve = heads,
        raw: Callable = lambda _: None,
    ) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*((certificate, key) if certificate else material()))
        self.context.minimum_version = self.context.maximum_version = VERSIONS[version]
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        self.serve, self.raw = serve, raw  # raw: what is done on the bare socket before the handshake
        self.names: list[str | None] = []
        self.reused: list[bool] = []  # of each handshake that was done
        self.subjects: list[str] = []  # of certificates that clients have shown
        self.heads: list[bytes] = []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.sock.accept()
                self.open.append(connection)
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.raw(connection)
            with self.context.wrap_socket(connection, server_side=True) as tls:
                self.open.append(tls)
                self.reused.append(bool(tls.session_reused))
                shown = tls.getpeercert()
                self.subjects.append(dict(one[0] for one in shown["subject"])["commonName"] if shown else "")
                self.serve(self, tls)

    def close(self) -> None:
        self.sock.close()
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class OpensslServer:
    """openssl s_server: what lb sends is in `output`, what is typed goes to lb, or is one of its commands (k, K, r)."""

    def __init__(self, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        certificate, key = material()
        command = [
            "openssl",
            "s_server",
            "-cert",
            certificate,
            "-key",
            key,
            "-accept",
            f"127.0.0.1:{self.port}",
            *options,
        ]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0)
        self.output = b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait(b"ACCEPT")

    def _read(self) -> None:
        assert self.process.stdout is not None
        while more := self.process.stdout.read(65536):
            self.output += more

    def wait(self, text: bytes, count: int = 1) -> None:
        wait_for(lambda: self.output.count(text) >= count, lambda: self.output.decode(errors="replace"))

    def type(self, text: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.reader.join(30)  # it reads to the end of a pipe that must not be closed under it
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def tls_server(world) -> Iterator[Callable[..., TlsServer]]:
    made: list[TlsServer] = []

    def start(*arguments: str, **options: object) -> TlsServer:
        made.append(TlsServer(*arguments, **options))  # type: ignore[arg-type]
        world.own_remotes.add(made[-1].port)
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def s_server(world) -> Iterator[Callable[..., OpensslServer]]:
    made: list[OpensslServer] = []

    def start(*options: str) -> OpensslServer:
        made.append(OpensslServer(*options))
        world.own_remotes.add(made[-1].port)
        return made[-1]

    yield start
    for one in made:
        one.close()


def counters(lb: Lb) -> dict[str, int]:
    """Of all workers."""
    import json

    totals: dict[str, int] = json.loads(lb.client("status").request(target="/status.json").body)["totals"]
    return totals


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
