"""Whether the path of a silent connection is still there: a byte of the next request now and then, and whether it is
acknowledged.

    wait for an answer: ... period ... a byte -> acknowledged -> ... a byte -> not acknowledged in time: TimeoutError

A blocking query is silent for a minute, and so is a peer that vanished without FIN.  The kernel's keep-alive counts
whole seconds: too slow for an `upsync_interval` of 500 ms.  HTTP/1.1 lets a client send its next request before the
answer has come (pipelining, RFC 9112 section 9.3.2), so its first bytes can go one by one: the beginning of the target,
which the next query will have, too, then the parameter `pulse` with as many dots as were needed.  What the kernel of
the peer acknowledges has arrived; its program need not do anything, and does not before it has answered.

A server that closes the connection after each answer (HTTP/1.0) would reset it instead, because of bytes that it has
not read, and the answer would be lost on its way.  So bytes are sent only to one whose last answer left it open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import termios
import time
from typing import Any, Final

NAME: Final = "pulse"  # of the parameter
MOST: Final = 4000  # bytes of a request line, which servers limit; then the connection goes without
LEAST_PERIOD_S: Final = 0.1
DELAYED_ACK_S: Final = 0.2  # the longest that a kernel keeps an acknowledgement back
_RTT: Final = (68, 72)  # place of tcpi_rtt (microseconds) in struct tcp_info


class PathProbe:
    """Of one connection. `period_s`: between two bytes; a path that is dead is found within two of them.

    `ahead`: what has been sent of the request after the one that is under way.
    """

    def __init__(self, period_s: float) -> None:
        self.period_s = max(period_s, LEAST_PERIOD_S)
        self.ahead = b""
        self._start = b""
        self._sent_at = 0.0

    def begin(self, start: bytes) -> None:
        """A request is out; the next begins with `start`, up to where a parameter may follow; empty: not allowed."""
        self._start = start and start + f"{NAME}=".encode()
        self._sent_at = time.monotonic()

    def beat(self, sock: Any) -> None:
        """Look at the last byte, send the next. Raises TimeoutError, OSError."""
        unseen = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        now = time.monotonic()
        if unseen:
            if now - self._sent_at >= self._patience_s(sock):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            return
        at = len(self.ahead)
        if self._start and at < MOST:
            byte = self._start[at : at + 1] or b"."
            sock.send(byte)
            self.ahead += byte
            self._sent_at = now

    def _patience_s(self, sock: Any) -> float:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT[1])
        rtt_s: float = struct.unpack_from("I", info, _RTT[0])[0] / 1e6
        return max(0.9 * self.period_s, DELAYED_ACK_S + 4 * rtt_s)


def parameter(ahead: int, start: int) -> list[tuple[str, str]]:
    """What a request must have behind its start of `start` bytes when `ahead` bytes of it have been sent."""
    return [(NAME, "." * max(ahead - start - len(NAME) - 1, 0))] if ahead else []
