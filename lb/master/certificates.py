"""ssl_certificate_watch: certificates whose files change are used by new handshakes, without a reload of anything else.

Once a second the files are looked at (stat; no descriptor, no thread).  What differs from what was read, and has not
changed since the look before, is read and checked by a child, which is all that may wait.  What is good goes to every
worker over its channel, in memory that has no name; workers that are forked later have it from the master.  What does
not load changes nothing, and is said once.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from lb import _fast
from lb.config import tls_warnings
from lb.config.tls_files import stamp
from lb.config.tls_renew import Renewed, renew
from lb.log import Log
from lb.master.child import Child
from lb.master.generation import Generation
from lb.model.tls import Certificate, Stamp, TlsServer
from lb.process.loop import Loop

LOOK_S: Final = 1.0
READ_WITHIN_S: Final = 30.0
CHILD_NAME: Final = "reading certificates"
SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

Stamps = tuple[Stamp, ...]
Hand = Callable[[Generation, int], None]  # give the memory to all workers of a generation


@dataclass(slots=True)
class Watched:
    """One place of Config.tls whose files are looked at."""

    read: Stamps  # of what was read last, good or bad
    seen: Stamps  # at the last look
    error: str = ""  # why what is there now is not used
    since: float = 0.0  # Unix time of it


@dataclass(slots=True)
class Reading:
    """A child at work."""

    child: Child
    fd: int
    generation: Generation
    due: dict[int, Stamps] = field(default_factory=dict)


class CertificateWatch:
    """Owns what is known of the watched files of the current generation, and the child that reads them."""

    def __init__(self, loop: Loop, log: Log, hand: Hand) -> None:
        self._loop = loop
        self._log = log
        self._hand = hand
        self._generation: Generation | None = None
        self._watched: dict[int, Watched] = {}
        self._reading: Reading | None = None
        self._look_at = 0.0
        self.renewals = 0  # since the start of lb
        self.failures = 0

    def follow(self, generation: Generation) -> None:
        """A new configuration serves: its files were read with it."""
        self._stop_reading()
        self._generation = generation
        self._watched = {}
        for place, server in enumerate(generation.config.tls):
            if server.watch and (server.certificates or server.awaited):
                stamps = _read_stamps(server)
                self._watched[place] = Watched(stamps, stamps)
        self._look_at = time.monotonic() + LOOK_S

    def deadline(self) -> float | None:
        if self._reading is not None:
            return self._reading.child.give_up_at
        return self._look_at if self._watched else None

    def step(self, now: float) -> None:
        if self._reading is not None:
            self._take(self._reading, now)
        elif self._watched and now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look(now)

    def error(self, place: int) -> tuple[str, float]:
        """Why the files of this place of Config.tls, as they are now, are not used, and since when; "": they are."""
        found = self._watched.get(place)
        return (found.error, found.since) if found is not None else ("", 0.0)

    def close(self) -> None:
        self._stop_reading()

    def close_copies(self) -> None:
        """In a forked worker, whose loop is closed."""
        if self._reading is not None:
            self._reading.child.close_copy()
            os.close(self._reading.fd)

    # Looking

    def _look(self, now: float) -> None:
        assert self._generation is not None
        due = {}
        for place, one in self._watched.items():
            stamps = _stamps(self._generation.config.tls[place])
            if stamps != one.read and stamps == one.seen:
                due[place] = stamps
            one.seen = stamps
        if due:
            self._begin(self._generation, due, now)

    def _begin(self, generation: Generation, due: dict[int, Stamps], now: float) -> None:
        servers = [(place, generation.config.tls[place]) for place in due]
        fd = -1
        try:
            fd = os.memfd_create("lb-keys", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            child = Child(self._loop, partial(renew, servers, fd), CHILD_NAME, now + READ_WITHIN_S, (fd,))
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            self._log.alert(f"certificates cannot be read anew: {error}")
            return
        self._reading = Reading(child, fd, generation, due)

    # Taking

    def _take(self, reading: Reading, now: float) -> None:
        reading.child.check(now)
        outcome = reading.child.outcome
        if outcome is None:
            return
        self._look_at = now + LOOK_S
        try:
            if outcome.error:
                self._log.alert(outcome.error)
                found = [Renewed(place, error=outcome.error.splitlines()[-1]) for place in reading.due]
            else:
                found = outcome.value
            self._use(reading, found)
        finally:
            self._stop_reading()

    def _use(self, reading: Reading, found: list[Renewed]) -> None:
        generation = reading.generation
        fcntl.fcntl(reading.fd, fcntl.F_ADD_SEALS, SEALS)  # no worker can change what another reads
        for place, server, keys in _fast.tls_renewal_read(reading.fd) if any(one.server for one in found) else ():
            generation.compiled.renew(place, server, keys)
            while keys:
                _fast.tls_forget(keys.pop())
        good = {one.place: one.server for one in found if one.server is not None}
        old = generation.config.tls
        generation.config = replace(
            generation.config, tls=tuple(good.get(place, server) for place, server in enumerate(old))
        )
        if good:
            self._hand(generation, reading.fd)
        for one in found:
            watched = self._watched[one.place]
            if one.server is not None:
                watched.read, watched.error = _read_stamps(one.server), ""
                self.renewals += 1
                self._tell_good(old[one.place], one.server)
                for warning in one.warnings:
                    self._log.warn(warning)
            else:
                watched.read, watched.since = reading.due[one.place], time.time()
                watched.error = one.error
                self.failures += 1
                self._log.error(f"a certificate has changed and is not used, the old one stays: {one.error}")

    def _tell_good(self, old: TlsServer, new: TlsServer) -> None:
        for one in new.certificates:
            if one in old.certificates:
                continue
            what = "was issued" if any(one.file == before.file for before in old.awaited) else "has changed"
            self._log.notice(f'the certificate "{one.file}" {what}, new handshakes use it: {_told(one)}')
            for warning in tls_warnings.of_certificate(one, time.time()):
                self._log.warn(f"{warning} in {one.where}")

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.child.cancel("not needed any more")
            os.close(self._reading.fd)
            self._reading = None


def _told(one: Certificate) -> str:
    end = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.facts.not_after))
    return f"serial {one.facts.serial}, until {end}"


def _files(server: TlsServer) -> Iterator[str]:
    for one in (*server.certificates, *server.awaited):
        yield one.file
        yield one.key_file


def _stamps(server: TlsServer) -> Stamps:
    """Of the files as they are now."""
    return tuple(stamp(file) for file in _files(server))


def _read_stamps(server: TlsServer) -> Stamps:
    """Of the files as they were read."""
    return tuple(of for one in (*server.certificates, *server.awaited) for of in one.stamps)
