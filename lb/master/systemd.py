"""What systemd is told (sd_notify(3)), when it listens: states, a status line, the watchdog, sockets to keep.

One datagram a message to $NOTIFY_SOCKET, never waiting: one that does not fit is lost, as with libsystemd.  While an
old binary is still our parent it speaks and we do not: it is the service's main process.
"""

from __future__ import annotations

import array
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lb.log import Log
from lb.master.sockets import Key, Sockets

STATUS_S: Final = 1.0  # between looks at what the status line should say
FDS_A_MESSAGE: Final = 250


class Notifier:
    """The socket, and what was said on it last."""

    def __init__(self, log: Log, environ: Mapping[str, str] = os.environ) -> None:
        self._log = log
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._watchdog_s = _watchdog_s(environ) if self._address else 0.0
        self._fed_at = 0.0
        self._status = ""
        self._look_at = 0.0
        self._stored: dict[str, tuple[int, ...]] = {}  # name -> inodes of what systemd keeps
        self._failed = False
        self.on = bool(self._address)

    def send(self, *lines: str, fds: Sequence[int] = ()) -> None:
        if not self._address:
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendmsg(["\n".join(lines).encode()], rights, socket.MSG_NOSIGNAL, self._address)
        except OSError as error:
            if not self._failed:
                self._log.warn(f"systemd cannot be told: {error.strerror}")
            self._failed = True

    # States

    def ready(self) -> None:
        """The workers of the current configuration serve. The pid: `daemon on` has changed it."""
        self.send("READY=1", f"MAINPID={os.getpid()}")
        self._status = ""
        self._look_at = 0.0

    def reloading(self) -> None:
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self.send("STOPPING=1", "STATUS=stopping")

    def hand_to(self, pid: int) -> None:
        """The new binary is the service from here on."""
        self.send(f"MAINPID={pid}")

    # Once in a while

    def due(self, now: float) -> bool:
        """Whether `step` wants a status line: it is not worked out for nothing."""
        return now >= self._look_at

    def step(self, now: float, status: str, fresh: bool) -> None:
        """`fresh`: every worker is alive, the only state in which the watchdog is fed."""
        self._look_at = now + STATUS_S
        if status != self._status:
            self._status = status
            self.send(f"STATUS={status}")
        if fresh and self._watchdog_s and now - self._fed_at >= min(self._watchdog_s / 3, STATUS_S):
            self._fed_at = now
            self.send("WATCHDOG=1")

    def deadline(self) -> float | None:
        return self._look_at if self.on else None

    # The listening sockets

    def keep(self, sockets: Sockets) -> None:
        """Let systemd hold these too, and no others: a service that is started again loses no connection attempt.

        Unix sockets are left out: their files go with us.
        """
        wanted = {name(key): members for key, members in sockets.items() if key[1].family != socket.AF_UNIX}
        for gone in [known for known in self._stored if known not in wanted]:
            self._drop(gone)
        for known, members in wanted.items():
            inodes = tuple(os.fstat(sock.fileno()).st_ino for sock in members)
            if self._stored.get(known) == inodes:
                continue
            if known in self._stored:
                self._drop(known)
            self._stored[known] = inodes
            self._store(known, [sock.fileno() for sock in members])

    def _store(self, known: str, fds: list[int]) -> None:
        for first in range(0, len(fds), FDS_A_MESSAGE):
            self.send("FDSTORE=1", f"FDNAME={known}", "FDPOLL=0", fds=fds[first : first + FDS_A_MESSAGE])

    def _drop(self, known: str) -> None:
        del self._stored[known]
        self.send("FDSTOREREMOVE=1", f"FDNAME={known}")


def name(key: Key) -> str:
    """A name that systemd takes: no colon, at most 255 bytes."""
    role, address = key
    return f"{role}-{address.host.replace(':', '_')}-{address.port}"


def status_line(ready: int, states: Iterable[tuple[bool, int]], reload_error: str) -> str:
    """`states`: of each upstream that follows Consul, whether it is in sync, and how far its last worker is behind."""
    known = list(states)
    text = f"{ready} worker{'' if ready == 1 else 's'}"
    if known:
        synced, lag = sum(good for good, _ in known), max(lag for _, lag in known)
        text += f", {synced} of {len(known)} upstreams in sync, Consul index lag {lag}"
    if reload_error:
        text += f", last reload failed: {reload_error}"
    return " ".join(text.split())


def _address(text: str) -> str:
    """A path, or with @ an abstract name; another kind (vsock) is not ours to speak to."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """0: no watchdog, or another process feeds it."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    return int(usec) / 1e6 if usec.isdigit() and pid in ("", str(os.getpid())) else 0.0
