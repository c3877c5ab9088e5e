"""Ticket keys of TLS: the master's ring is rotated, files of `ssl_session_ticket_key` are read when they change.

The ring is memory that all workers have from their fork (lb/fast/tls/tickets.pyx): what is written here holds for them
at once.  A new binary (SIGUSR2) inherits it as a descriptor that LB_TICKET_KEYS names; the old one goes on with
rotating while it lives.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import MutableMapping
from typing import Final

from lb import _fast
from lb.log import Log
from lb.model import Config

VARIABLE: Final = "LB_TICKET_KEYS"
LEAST_S: Final = 3600  # between two keys
LOOK_S: Final = 1.0  # at the files
PATIENCE_S: Final = 60  # that a new binary leaves the old one to rotate

Stamp = tuple[tuple[int, int, int], ...]  # of each file: inode, mtime in ns, bytes


def collect(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take the ring of the binary before us, where there is one."""
    text = environ.pop(VARIABLE, "")
    if not text.isdecimal():
        return
    fd = int(text)
    try:
        if not os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:lb-ticket-keys"):
            return
        if os.fstat(fd).st_size != _fast.TICKET_RING_SIZE or not fcntl.fcntl(fd, fcntl.F_GETFD) >= 0:
            return
        os.set_inheritable(fd, False)
        _fast.TlsRing.adopt(fd)
    except OSError:  # then the sessions of the old binary end with it
        return


def descriptor() -> int:
    """Of the ring, for the next binary; -1: there is none."""
    ring = _fast.TlsRing.made()
    return ring.fd if ring is not None else -1


class TicketKeys:
    """`step` when `deadline` is over, `adopt` with each new configuration."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._timeout = 0  # the longest session of the configuration; 0: no TLS
        self._rings: dict[tuple[str, ...], _fast.TlsRing] = {}  # by the files that they come from
        self._stamps: dict[tuple[str, ...], Stamp] = {}
        self._look_at = float("inf")
        self._late = 0

    @property
    def _every(self) -> int:
        return max(self._timeout // 3, LEAST_S) + self._late

    def adopt(self, config: Config, *, has_parent: bool) -> None:
        self._late = PATIENCE_S if has_parent else 0
        self._timeout = max((one.session_timeout_s for one in config.tls), default=0)
        files = {one.ticket_keys for one in config.tls if one.ticket_keys}
        self._rings = {names: _fast.TlsRing.of_files(names) for names in files}
        self._stamps = {names: self._stamps.get(names) or () for names in files}
        self._look_at = 0.0 if files else float("inf")

    def step(self, now: float) -> None:
        ring = _fast.TlsRing.made()
        if ring is not None and self._timeout:
            ring.rotate(int(now), self._every, self._timeout)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            for names in self._rings:
                self._look(names)

    def _look(self, names: tuple[str, ...]) -> None:
        try:
            stamp = tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in map(os.stat, names))
        except OSError:  # it is being replaced, or gone: the keys stay
            return
        if stamp == self._stamps[names]:
            return
        first = not self._stamps[names]
        self._stamps[names] = stamp
        try:
            self._rings[names].load(names)
        except ValueError as error:
            self._log.error(f"the ticket keys stay as they were: {error}")
            return
        if not first:
            self._log.notice(f'ticket keys read from "{names[0]}"' + (", ..." if len(names) > 1 else ""))

    def deadline(self) -> float:
        """time.monotonic()"""
        ring = _fast.TlsRing.made()
        due = ring.due(self._every) if ring is not None and self._timeout else float("inf")
        return min(due, self._look_at)
