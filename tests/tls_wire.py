"""Ends of TLS that send what they like behind a good handshake: OpenSSL's, then a record layer of the probe."""

from __future__ import annotations

import contextlib
import ctypes
import socket
from collections.abc import Callable
from pathlib import Path

from tests import _probe
from tests.openssl_pair import Side, crypto
from tests.tls_layers import ALERT, DATA, HANDSHAKE, take_over

SUITES = {"TLSv1.3": "TLS_AES_128_GCM_SHA256", "TLSv1.2": "ECDHE-ECDSA-AES128-GCM-SHA256"}


class Wire:
    """A client (or, with a certificate, a server) whose records are ours to spoil: `layer` seals, `send` sends them."""

    def __init__(self, sock: socket.socket, version: str, certificate: Path | None = None) -> None:
        self.sock = sock
        self.side = Side(version, SUITES[version], certificate, 0)
        while not self.side.handshake():
            sock.sendall(self.side.take())
            self.side.give(sock.recv(65536))
        sock.sendall(self.side.take())
        room = ctypes.create_string_buffer(65536)  # what came with the end of the handshake
        came = crypto.BIO_read(self.side.input, room, len(room))
        self.unread = room.raw[: max(came, 0)]
        self.layer: _probe.TlsLayer = take_over(self.side, version, certificate is not None)

    def send(self, content: bytes, kind: int = DATA) -> None:
        self.sock.sendall(self.layer.seal(content, kind))

    def record(self) -> tuple[int, bytes]:
        """The next one: type, content. Raises EOFError."""
        while (found := self.layer.open(self.unread)) is None:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.unread += data
        used, kind, content = found
        self.unread = self.unread[used:]
        return kind, content

    def data(self, until: Callable[[bytes], bool] = lambda _: False) -> tuple[bytes, list[bytes]]:
        """(data, alerts) up to the end, or until data is enough."""
        data, alerts = b"", []
        with contextlib.suppress(EOFError, ConnectionError):
            while not until(data):
                kind, content = self.record()
                if kind == DATA:
                    data += content
                elif kind == ALERT:
                    alerts.append(content)
                else:
                    assert kind == HANDSHAKE
        return data, alerts


def client(port: int, version: str) -> Wire:
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Wire(sock, version)
