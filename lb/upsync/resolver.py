"""Host names that a registry gives as servers -> addresses, for all upstreams of one worker.

A few threads ask the system's resolver (getaddrinfo, which may take many seconds and cannot be ended), never the loop
and never a puller.  They are made with the first name, after the fork.

    sync: want (the names of its list, how often, whom to call) -> known, or wait a moment for new ones
    resolver thread: the name that is due -> lookup -> Found -> calls those who want it, if the answer is another one

The last good answer of a name stays while the resolver fails; a name that nobody wants any more is forgotten.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from lb.config.address import AddressError, lookup
from lb.model import Address

THREADS: Final = 4  # lookups at a time: a dead name server holds each for seconds
AGAIN_S: Final = 5.0  # at the latest, after a failure
JITTER: Final = 0.1  # of the time until the next lookup, so that workers do not ask together

Lookup = Callable[[str], Collection[Address]]  # raises AddressError; ports do not count


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a name: its addresses (port 0), IPv4 first, in order; `error`: why the last lookup gave none."""

    addresses: tuple[Address, ...] = ()
    error: str = ""


@dataclass(slots=True)
class _Host:
    found: Found | None = None  # None: no lookup is over yet
    due: float = 0.0  # monotonic
    busy: bool = False


@dataclass(frozen=True, slots=True)
class _Want:
    hosts: frozenset[str]
    every_s: float
    changed: Callable[[], None]


class Resolver:
    """Thread-safe. `changed` is called in a resolver thread, without a lock."""

    def __init__(self, ask: Lookup = lookup) -> None:
        self._ask = ask
        self._wants: dict[object, _Want] = {}
        self._hosts: dict[str, _Host] = {}
        self._threads: list[threading.Thread] = []
        self._over = False
        self._news = threading.Condition()

    def want(self, owner: object, hosts: Collection[str], every_s: float, changed: Callable[[], None]) -> None:
        """From now on these names, instead of those that this owner wanted before."""
        if not hosts and owner not in self._wants:
            return
        with self._news:
            self._wants.pop(owner, None)
            if hosts:
                self._wants[owner] = _Want(frozenset(hosts), every_s, changed)
            wanted = set().union(*(want.hosts for want in self._wants.values()))
            for host in [host for host in self._hosts if host not in wanted]:
                del self._hosts[host]
            for host in wanted.difference(self._hosts):
                self._hosts[host] = _Host()
            self._start()
            self._news.notify_all()

    def known(self, host: str) -> Found | None:
        """None: its first lookup is not over."""
        with self._news:
            one = self._hosts.get(host)
            return one.found if one is not None else None

    def wait(self, hosts: Collection[str], seconds: float) -> None:
        """Until each has been looked up once, with or without success."""
        with self._news:
            self._news.wait_for(lambda: self._over or not any(self._pending(host) for host in hosts), seconds)

    def stop(self) -> None:
        """No further lookup. One that is on its way ends by itself."""
        with self._news:
            self._over = True
            self._news.notify_all()

    def _pending(self, host: str) -> bool:
        one = self._hosts.get(host)
        return one is not None and one.found is None

    def _start(self) -> None:
        while not self._over and len(self._threads) < min(THREADS, len(self._hosts)):
            thread = threading.Thread(target=self._run, name=f"resolver-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while (host := self._next()) is not None:
            found = self._look_up(host)
            for changed in self._store(host, found):
                changed()

    def _next(self) -> str | None:
        """Wait for a name that is due. None: it is over."""
        with self._news:
            while not self._over:
                free = {host: one.due for host, one in self._hosts.items() if not one.busy}
                host = min(free, key=free.__getitem__, default=None)
                wait_s = free[host] - time.monotonic() if host is not None else None
                if host is not None and wait_s is not None and wait_s <= 0:
                    self._hosts[host].busy = True
                    return host
                self._news.wait(wait_s)
        return None

    def _look_up(self, host: str) -> Found:
        try:
            addresses = self._ask(host)
        except AddressError as error:
            return Found(error=str(error))
        return Found(tuple(sorted({Address(one.family, one.host) for one in addresses}, key=_order)))

    def _store(self, host: str, found: Found) -> list[Callable[[], None]]:
        """Whom to tell."""
        with self._news:
            one = self._hosts.get(host)
            if one is None:  # forgotten meanwhile
                return []
            before = one.found
            if found.error and before is not None:
                found = Found(before.addresses, found.error)
            wants = [want for want in self._wants.values() if host in want.hosts]
            every_s = min(want.every_s for want in wants)
            every_s = min(every_s, AGAIN_S) if found.error else every_s
            one.found, one.busy = found, False
            one.due = time.monotonic() + every_s * random.uniform(1 - JITTER, 1 + JITTER)
            self._news.notify_all()
            return [want.changed for want in wants] if found != before else []


def _order(address: Address) -> tuple[int, str]:
    return int(address.family), address.host
