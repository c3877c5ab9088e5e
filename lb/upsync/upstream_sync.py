"""One upstream's list in one worker: takes answers, decides what changes, gives it to the engine, tells the master.

A puller thread brings answers, a resolver thread says that a host name has other addresses; a lock keeps them apart.
What it last told (a Report) and the last answer are its whole state, but for the guard's and what makes it quick: a
Listing that follows the one that is served changes an Order, and the engine is told what has changed.  It logs what is
wrong with entries once, when that changes, and never replaces a list by an empty one.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence

from lb.log import Log
from lb.model import Server, Upstream, Upsync
from lb.upsync.entries import Listing
from lb.upsync.expand import expand, lost_hosts
from lb.upsync.guard import Confirmed, Guard
from lb.upsync.merge import Change, Order, change
from lb.upsync.report import MOST_CHANGES, Delta, Report, digest_changed
from lb.upsync.resolver import Resolver
from lb.upsync.start import by_place, published

Apply = Callable[[Sequence[Server], bytes, Change | None], None]  # Engine.publish for one upstream
Tell = Callable[[Report], None]
RESOLVE_S = (0.2, 1.5)  # that an answer waits for host names that are new, without and with strong_dependency
Note = Callable[[bool], None]  # Engine.consul for one upstream: a query has ended, well or not


class UpstreamSync:
    """`current` is what the engine serves now (start.initial)."""

    def __init__(
        self,
        upstream: Upstream,
        current: Report,
        apply: Apply,
        tell: Tell,
        log: Log,
        names: Resolver | None = None,
        note: Note | None = None,
    ) -> None:
        if upstream.upsync is None:
            raise ValueError(f'upstream "{upstream.name}" has no upsync')
        self.upstream = upstream
        self.upsync: Upsync = upstream.upsync
        self._now = current
        self._as_in_file = current.source == "file"  # the list has gained and lost nothing yet: see lb.upsync.merge
        self._apply = apply
        self._tell = tell
        self._log = log
        self.note: Note = note or (lambda good: None)
        self._guard = Guard(self.upsync.guard) if self.upsync.guard is not None else None
        self._names = names or Resolver()
        self._lock = threading.Lock()
        self._taken: tuple[Listing | None, int] = (None, 0)  # the last answer and its index
        self._lost = False  # Consul has not answered since
        self._mark: object = None  # of the Listing that is served; None: none, or one with host names
        self._order: Order | None = None  # what is served, made when a Listing follows this one
        self._backups = frozenset([one.address for one in upstream.servers if one.backup])
        self._in_step = True  # the engine has the list of `_now`

    def begin(self) -> None:
        """Say, to the log and the master, what the worker starts with."""
        if self._now.error:
            self._log.error(f"{self}: {self._now.error}")
        self._log.notice(f"{self}: starts with {self.holds()}")
        self._tell(self._now)

    def __str__(self) -> str:
        return f'upsync: upstream "{self.upstream.name}"'

    def holds(self) -> str:
        """What is served, for messages: "3 servers from Consul (index 42)"."""
        source = {"consul": f"Consul (index {self._now.index})", "dump": "the dump", "file": "the configuration"}
        count = len(self._now.servers)
        return f"{count} server{'' if count == 1 else 's'} from {source[self._now.source]}"

    def patience_s(self, now: float) -> float:
        """How long the next query may wait: a held update is looked at again soon."""
        if self._guard is None or self._guard.since is None:
            return float("inf")
        left = self._guard.left_s(now)
        return min(self.upsync.interval_ms / 1000, float("inf") if left is None else left)

    def take(self, listing: Listing | None, index: int, confirmed: Confirmed = lambda: None) -> None:
        """An answer. None: the prefix does not exist. Raises whatever the engine raises; then nothing has changed."""
        hosts = listing.hosts if listing is not None and self.upsync.resolve_ms else frozenset()
        self._names.want(self, hosts, self.upsync.resolve_ms / 1000, self.resolved)
        self._names.wait(hosts, RESOLVE_S[self.upsync.strong_dependency])
        with self._lock:
            self._taken = listing, index
            self._lost = False
            self._settle(listing, index, confirmed)

    def resolved(self) -> None:
        """A host name of the list has other addresses now, or none. Called by a resolver thread."""
        with self._lock:
            listing, index = self._taken
            if listing is None:
                return
            before = self._now
            try:
                self._settle(listing, index, lambda: None)
            except Exception:  # a fault of ours; the next answer is tried again
                self._log.traceback("alert", f"{self}: addresses not applied")
            if self._lost:
                self._say(dataclasses.replace(self._now, error=before.error, next_try=before.next_try))

    def _settle(self, listing: Listing | None, index: int, confirmed: Confirmed) -> None:
        problems = listing.problems if listing is not None else ()
        servers = listing.servers if listing is not None else ()
        if listing is not None and listing.hosts:
            servers, more = expand(listing, self._names.known, self._now.servers, bool(self.upsync.resolve_ms))
            problems += more
        self._log_new(problems)
        if not servers:
            self._keep("does not exist" if listing is None else "has no usable server", problems)
            return
        plan = self._plan(listing)
        done = change(self._now.servers, servers, from_file=self._as_in_file) if plan is None else plan
        held = self._held(done, confirmed, planned=plan is not None)
        if held:
            self._hold(held, index, problems)
            return
        self._mark, mark = None, listing.mark if listing is not None and not listing.hosts else None
        told = {"source": "consul", "index": index, "at": time.time(), "error": "", "skipped": problems, "held": ""}
        report = dataclasses.replace(self._now, **told, next_try=0.0)  # type: ignore[arg-type]
        if plan is None:
            self._order = None
        elif self._order is not None:
            done = self._order.take(done)
        if done or report.source != self._now.source or done.servers != self._now.servers:
            report = report.with_servers(done.servers, self._digest(done), self._delta(done))
            self._publish(report, done)
            self._log_change(done, index)
        self._mark = mark
        self._say(report)

    def lost(self, error: str, next_try: float = 0.0) -> None:
        """No answer: the list stays, and the master hears why, and when Consul is asked again (Unix time)."""
        with self._lock:
            self._lost = True
            self._say(dataclasses.replace(self._now, error=error, next_try=next_try))

    def _plan(self, listing: Listing | None) -> Change | None:
        """What a Listing changes that follows the one that is served. None: it does not, so all of it is looked at."""
        if listing is None or self._mark is None or self._as_in_file:
            return None
        if listing.mark is self._mark:
            return Change(self._now.servers)
        if listing.since is not self._mark:
            return None
        if self._order is None:
            self._order = Order(self._now.servers)
        return self._order.plan(listing.gone, listing.fresh)

    def _publish(self, report: Report, done: Change) -> None:
        """To the engine, with what has changed since the last list that it took, if it is just that."""
        touched = [*done.added, *done.removed, *[now for _, now in done.altered]]
        turned = self._as_in_file and bool(done.added or done.removed)
        same = self._in_step and not turned and self._backups.isdisjoint([one.address for one in touched])
        same = same and not by_place(self.upstream)
        servers, text = published(self.upstream, report, self._order)
        self._in_step = False
        self._apply(servers, text, done if same else None)
        self._in_step = True
        self._as_in_file = self._as_in_file and not turned

    def _digest(self, done: Change) -> int:
        removed = [*done.removed, *(was for was, _ in done.altered)]
        added = [*done.added, *(now for _, now in done.altered)]
        return digest_changed(self._now.digest, removed, added)

    def _delta(self, done: Change) -> Delta | None:
        """For the master; not when the file's list is turned around."""
        moved = len(done.added) + len(done.removed)
        if (self._as_in_file and moved) or moved + len(done.altered) > MOST_CHANGES:
            return None
        gone = tuple(one.address for one in done.removed)
        return Delta(self._now.digest, gone, tuple(reversed(done.added)), tuple(now for _, now in done.altered))

    def _held(self, done: Change, confirmed: Confirmed, *, planned: bool) -> tuple[int, int] | None:
        """The guard's word on a change; the file's own servers are not worth guarding."""
        if self._guard is None or self._now.source == "file":
            return None
        if not planned:
            return self._guard.holds(self._now.servers, done.servers, confirmed, time.monotonic())
        lost, won = Order.balance(done)
        usable = 0 if self._order is None else self._order.usable  # None: nothing has changed
        return self._guard.weighs(lost, usable, usable - lost + won, confirmed, time.monotonic())

    def _hold(self, held: tuple[int, int], index: int, problems: tuple[str, ...]) -> None:
        lost, count = held
        text = f"it would take away {lost} of {count} usable servers"
        if not self._now.held:
            key = f"lb/confirm/{self.upstream.name}"
            self._log.warn(
                f"{self}: update at index {index} is held: {text}; keeping {self.holds()}, until it is confirmed by a"
                f" number of servers in the key {key}{self._time_of_hold()}"
            )
        text = f"update at index {index}: {text}"
        self._say(dataclasses.replace(self._now, held=text, error="", skipped=problems, next_try=0.0))

    def _time_of_hold(self) -> str:
        for_ms = self._guard.rule.for_ms if self._guard is not None else None
        return "" if for_ms is None else f", or for {for_ms / 1000:g} s"

    def _keep(self, reason: str, problems: tuple[str, ...]) -> None:
        what = "key prefix" if self.upsync.kind == "consul" else "service"
        error = f"the {what} {reason}"
        if error != self._now.error:
            self._log.warn(f"{self}: {error}: keeping {self.holds()}")
        if self._guard is not None:
            self._guard.since = None
        self._say(dataclasses.replace(self._now, error=error, skipped=problems, held="", next_try=0.0))

    def _say(self, report: Report) -> None:
        """Tell the master, unless it knows all but the time."""
        before, self._now = self._now, report
        if dataclasses.replace(report, at=before.at) != before:
            self._tell(report)

    def _log_new(self, problems: tuple[str, ...]) -> None:
        """A line for each problem that is new, and one for each host name that is found again."""
        for problem in set(problems).difference(self._now.skipped):
            self._log.error(f"{problem}, {self}")
        for host in sorted(lost_hosts(self._now.skipped) - lost_hosts(problems)):
            self._log.notice(f"upsync: host {host} is found, {self}")

    def _log_change(self, done: Change, index: int) -> None:
        count = len(done.servers)
        counts = f"{len(done.added)} added, {len(done.removed)} removed, {len(done.altered)} altered"
        self._log.notice(f"{self}: {count} server{'' if count == 1 else 's'} at index {index}: {counts}")
