"""Lines of the Python parts as datagrams to a syslog server: RFC 3164 in nginx's form (the engine's: fast/syslog.pyx).

A line that the socket does not take at once is lost: nothing here waits.  A server that was started anew is found
again.
"""

from __future__ import annotations

import socket
import time

from lb.model import Syslog

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def head_text(syslog: Syslog) -> str:
    """What stands between the date and the message."""
    host = f" {socket.gethostname().lower()}" if syslog.hostname else ""
    return f"{host} {syslog.tag}: "


def head(syslog: Syslog, severity: int) -> str:
    """`<PRI>Nov 22 15:00:00 host tag: `; the month's name is English whatever the locale."""
    now = time.localtime()
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"<{syslog.facility * 8 + severity}>{MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {clock}{head_text(syslog)}"


class Datagrams:
    """A socket to one syslog server, made when it is needed. Any thread may send."""

    def __init__(self, syslog: Syslog) -> None:
        self._syslog = syslog
        self._sock: socket.socket | None = None

    def send(self, severity: int, line: bytes) -> bool:
        """False: the line is lost."""
        data = head(self._syslog, severity).encode("utf-8", "surrogateescape") + line.rstrip(b"\n")
        return self._try(data) or self._try(
            data
        )  # the first failure may tell of an earlier datagram, or of an old server

    def _try(self, data: bytes) -> bool:
        try:
            sock = self._sock or self._connect()
            if sock is None:
                return False
            sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            self._drop()
            return False
        return True

    def _connect(self) -> socket.socket | None:
        sock = socket.socket(self._syslog.address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._syslog.address.sockaddr())
        except OSError:
            sock.close()
            return None
        self._sock = sock
        return sock

    def _drop(self) -> None:
        """Another thread may still be in `send` with it: the last one to let go closes it."""
        self._sock = None
