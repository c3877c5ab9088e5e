"""A TCP proxy between two parties that spoils their talk on demand: before Consul, before a backend, before lb.

`mode` holds for new bytes and new connections from the moment it is set; `break_all` ends what is open.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

from tests.harness.backend import Listener
from tests.harness.client import reset

Mode = Literal[
    "pass",  # relay
    "reset",  # RST to a new connection, and to an old one at its next byte
    "stall",  # accept, read, forward nothing
    "garbage",  # answer the client's first bytes with `garbage` instead of the server's answer, then close
    "truncate",  # relay `keep` bytes of the server's answer, then close
]


class FaultProxy(Listener):
    """Relays to 127.0.0.1:`target`, as `mode` says."""

    def __init__(self, target: int, port: int | None = None) -> None:
        self.target = target
        self.mode: Mode = "pass"
        self.garbage = b"\x00\xff\x16\x03garbage\r\n\r\n"
        self.keep = 0
        self._changed = threading.Condition()
        self._broken: set[socket.socket] = set()
        super().__init__(port)

    def set(self, mode: Mode, *, keep: int = 0, garbage: bytes | None = None) -> None:
        with self._changed:
            self.mode, self.keep = mode, keep
            self.garbage = self.garbage if garbage is None else garbage
            self._changed.notify_all()

    def break_all(self) -> None:
        """RST on every open connection, to its client."""
        with self._lock:
            for sock in list(self._open):
                self._broken.add(sock)
                with contextlib.suppress(OSError):
                    # shutdown wakes the thread that reads; linger makes its close a RST
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                    sock.shutdown(socket.SHUT_RD)

    def stop(self) -> None:
        self.set("reset")
        super().stop()

    def serve(self, sock: socket.socket, number: int) -> None:
        if self.mode == "reset":
            reset(sock)
            return
        if self.mode == "garbage":
            sock.recv(65536)
            sock.sendall(self.garbage)
            return
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upward = threading.Thread(target=self._copy, args=(sock, server, False), daemon=True)
            upward.start()
            self._copy(server, sock, True)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
            upward.join()

    def _copy(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        """Relay one direction until its end; `target` gets FIN or RST as `mode` says."""
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._changed:
                    self._changed.wait_for(lambda: self.mode != "stall")
                if self.mode == "reset":
                    for sock in (source, target):
                        reset(sock)
                    return
                if self.mode == "truncate" and is_answer:
                    target.sendall(data[: max(self.keep - sent, 0)])
                    sent += len(data)
                    if sent >= self.keep:
                        break
                    continue
                target.sendall(data)
                sent += len(data)
        with contextlib.suppress(OSError):
            if source in self._broken:
                target.shutdown(socket.SHUT_RDWR)  # ends the other direction too
            elif target not in self._broken:
                target.shutdown(socket.SHUT_WR)
