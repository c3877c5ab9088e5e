"""ssl_stapling: the OCSP response of each certificate, fetched before a client asks and renewed before it ends.

Each is fetched by a child (lb/master/ocsp.py), a few at a time, so that a responder that hangs holds up nobody.  A
good one goes to every worker over its channel; workers that are forked later have it from the master, and a reload
keeps what is known.  While a responder is away the last good response stays, until its nextUpdate, which the engine
watches.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from lb.log import Log
from lb.master.child import Child
from lb.master.generation import Generation
from lb.master.ocsp import WITHIN_S, Answer, Wanted, fetch, read
from lb.model.tls import TlsServer
from lb.process.loop import Loop
from lb.process.staples import Row
from lb.status.certificates import StapleState

CHILD_NAME: Final = "asking an OCSP responder"
AT_ONCE: Final = 8  # children
EVERY_S: Final = 3600.0  # nginx's three: a response is renewed so often at least,
EARLY_S: Final = 300.0  # so long before its nextUpdate,
PAUSE_S: Final = 300.0  # and not sooner than this after the last time
RETRY_S: Final = 10.0  # after a failure, and twice as long after each more, up to PAUSE_S
FOREVER: Final = (1 << 63) - 1  # nginx's for a response without nextUpdate

Hand = Callable[[Generation, list[Row]], None]  # give them to all workers of a generation


@dataclass(slots=True)
class Held:
    """What is known of one certificate's response."""

    der: bytes = b""
    until: int = 0  # Unix seconds; FOREVER
    due: float = 0.0  # time.monotonic()
    error: str = ""  # of the last time
    since: float = 0.0  # Unix time of the first of such failures
    failures: int = 0  # in a row
    child: Child | None = None
    places: list[int] = field(default_factory=list)  # of Config.tls


class Stapling:
    """`follow` each new configuration, `step` when `deadline` is over."""

    def __init__(self, loop: Loop, log: Log, hand: Hand) -> None:
        self._loop = loop
        self._log = log
        self._hand = hand
        self._generation: Generation | None = None
        self._held: dict[Wanted, Held] = {}
        self._look_at = float("inf")
        self.fetched = 0  # since the start of lb
        self.failures = 0

    def follow(self, generation: Generation) -> None:
        """A new configuration serves, or certificates of it were read anew. What is known of it goes to its workers."""
        old, self._held, self._generation = self._held, {}, generation
        for place, server in enumerate(generation.config.tls):
            for wanted in _of_server(server):
                one = self._held.get(wanted)
                if one is None:
                    one = self._held[wanted] = old.pop(wanted) if wanted in old else Held()
                    one.places = []
                one.places.append(place)
        for gone in old.values():
            _cancel(gone)
        self._look_at = 0.0 if self._held else float("inf")
        now = time.time()
        self._give({wanted: one for wanted, one in self._held.items() if one.der and one.until >= now})

    def deadline(self) -> float:
        at_work = (one.child.give_up_at for one in self._at_work() if one.child is not None)
        return min(self._look_at, min(at_work, default=float("inf")))

    def step(self, now: float) -> None:
        over = [(wanted, one) for wanted, one in self._held.items() if one.child is not None and _is_over(one, now)]
        good = {wanted: one for wanted, one in over if self._take(wanted, one, now)}
        self._give(good)
        if now >= self._look_at or over:
            self._begin_due(now)

    def state(self, server: TlsServer, certificate: int) -> StapleState | None:
        """None: nothing is fetched for it."""
        found = next((one for one in _of_server(server) if one.chain is server.certificates[certificate].chain), None)
        one = self._held.get(found) if found is not None else None
        if one is None:
            return None
        return StapleState(one.until if one.until >= time.time() else 0, one.error, one.since)

    def close(self) -> None:
        for one in self._held.values():
            _cancel(one)
        self._held, self._look_at = {}, float("inf")

    def close_copies(self) -> None:
        """In a forked worker, whose loop is closed."""
        for one in self._at_work():
            if one.child is not None:
                one.child.close_copy()

    # Fetching

    def _at_work(self) -> list[Held]:
        return [one for one in self._held.values() if one.child is not None]

    def _begin_due(self, now: float) -> None:
        """Who has waited longest first."""
        room = AT_ONCE - len(self._at_work())
        waiting = sorted((one.due, number) for number, one in enumerate(self._held.values()) if one.child is None)
        every = list(self._held.items())
        due = [number for at, number in waiting if at <= now]
        for number in due[: max(room, 0)]:
            self._begin(*every[number], now)
        later = [at for at, _ in waiting if at > now]
        self._look_at = min(later, default=float("inf"))  # for those without room the end of a child is the time

    def _begin(self, wanted: Wanted, one: Held, now: float) -> None:
        assert self._generation is not None
        try:
            work = partial(fetch, wanted, self._generation.identity)
            one.child = Child(self._loop, work, CHILD_NAME, now + WITHIN_S, plain=True)
        except OSError as error:
            self._failed(wanted, one, f"an OCSP response cannot be fetched: {error}", now)

    def _take(self, wanted: Wanted, one: Held, now: float) -> bool:
        """A child has ended. True: there is a new response."""
        child, one.child = one.child, None
        assert child is not None and child.outcome is not None
        timed_out = now >= child.give_up_at and bool(child.outcome.error)
        error = "OCSP responder timed out" if timed_out else child.outcome.error
        answer = Answer(error=error.strip().splitlines()[-1]) if error else read(child.outcome.value)
        until, left = answer.until or FOREVER, (answer.until or FOREVER) - time.time()
        if not answer.error and left <= 0:
            answer = Answer(error="the OCSP response has expired")
        if answer.error:
            self._failed(wanted, one, answer.error, now)
            return False
        one.der, one.until = answer.der, until
        one.error, one.since, one.failures = "", 0.0, 0
        one.due = now + pause(left)
        self.fetched += 1
        return True

    def _failed(self, wanted: Wanted, one: Held, error: str, now: float) -> None:
        one.due = now + min(RETRY_S * 2 ** min(one.failures, 10), PAUSE_S)
        one.error, one.since = error, one.since or time.time()
        one.failures += 1
        self.failures += 1
        self._look_at = min(self._look_at, one.due)
        host = urlsplit(wanted.url).hostname
        self._log.error(f'{error} while requesting certificate status, responder: {host}, certificate: "{wanted.file}"')

    def _give(self, new: dict[Wanted, Held]) -> None:
        """To the master's own contexts, and to the workers that serve."""
        generation, rows = self._generation, []
        if generation is None:
            return
        for wanted, one in new.items():
            digest, text = hashlib.sha256(wanted.chain[0]), base64.b64encode(one.der).decode()
            for place in one.places:
                generation.compiled.staple(place, digest.digest(), one.der, one.until)
                rows.append((place, digest.hexdigest(), one.until, text))
        if rows:
            self._hand(generation, rows)


def pause(left: float) -> float:
    """Seconds until a response that is good for `left` is renewed: nginx's rule, but never after its end."""
    return max(min(left - EARLY_S, EVERY_S), min(PAUSE_S, left / 2))


def _of_server(server: TlsServer) -> Iterator[Wanted]:
    if server.stapling is None:
        return
    verify = server.stapling.verify
    trusted = server.client_authorities + server.trusted if verify else ()
    for staple in server.stapling.staples:
        one = server.certificates[staple.certificate]
        yield Wanted(one.file, one.chain, staple.issuer, staple.url, verify, trusted, server.crls if verify else ())


def _is_over(one: Held, now: float) -> bool:
    assert one.child is not None
    one.child.check(now)
    return one.child.outcome is not None


def _cancel(one: Held) -> None:
    if one.child is not None:
        one.child.cancel("not needed any more")
        one.child = None
