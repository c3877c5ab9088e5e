"""Deadlines instead of sleeps, and loopback ports that nothing else takes."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 60.0  # seconds: long enough for a machine that does other things; never what is measured


def wait_for(condition: Callable[[], T], what: str | Callable[[], str] = "", timeout: float = DEADLINE) -> T:
    """Call `condition` until it is true, and return what it said; fail with `what` at the deadline.

    A `what` that is a function is asked at the deadline: for text that shows how far it came.
    """
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            text = what() if callable(what) else what
            raise AssertionError(f"after {timeout:g} s still not: {text or condition}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


_handed_out: set[int] = set()


def free_port() -> int:
    """A loopback port that is free for IPv4 and IPv6, TCP and UDP, and that this process gets only once.

    It lies below the range that the kernel gives to outgoing connections (32768 and up): nothing takes it between
    this call and the bind.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        if port not in _handed_out and all(_can_bind(port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            _handed_out.add(port)
            return port


def _can_bind(port: int, kind: socket.SocketKind) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", port))
        return True
    return False


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a listener is there, by the kernel's table: no connection is made, so nothing is counted or logged."""
    wanted = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"
    anywhere = f"00000000:{port:04X}"
    with open("/proc/net/tcp") as table:
        return any(row.split()[1] in (wanted, anywhere) and row.split()[3] == "0A" for row in table.readlines()[1:])
