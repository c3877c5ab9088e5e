"""The thread that follows Consul for one worker: asks a source, again and again, and gives each answer to the
upstreams that follow it (UpstreamSync).

One for each query (query_groups.groups): upstreams whose keys share a directory have one together.  It is made
after the fork, is a daemon, and ends within a moment of stop(), also in the middle of a query.

What it makes sure of: an index is kept only after its list was applied; after any error, and when the index went
back, the next query is a full read; an index that went back during a pause, when no query was there to hear of it,
is found out soon, for the query after a pause waits a short time only; one log line when Consul is lost (the second
failure in a row: the first is answered by a fresh connection) and one when it is back.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Sequence
from typing import Final

from lb.log import Log
from lb.upsync.backoff import Backoff
from lb.upsync.consul_kv import ConsulKV
from lb.upsync.consul_services import ConsulServices
from lb.upsync.source import Answer, Source, SourceError
from lb.upsync.start import STRONG_S, WEAK_S
from lb.upsync.stop import Stop, Stopped
from lb.upsync.upstream_sync import UpstreamSync

SOURCES: Final = {"consul": ConsulKV, "consul_services": ConsulServices, "consul_health": ConsulServices}
NICE: Final = 10  # a tenth of the core, when the loop wants all of it
SOON_S: Final = 2.0  # that the query after a pause may wait, or an interval
_NAMES_SHOWN: Final = 3


class Alone(Exception):
    """The syncs need queries of their own; the text says why."""


class Puller(threading.Thread):
    """Pulls the servers of upstreams that agree in everything but their part of one query.

    They are called from this thread.  `first` is set when the first answer was applied or, without
    strong_dependency, when Consul did not answer.
    """

    def __init__(self, syncs: Sequence[UpstreamSync], log: Log) -> None:
        super().__init__(name=f"upsync-{syncs[0].upstream.name}", daemon=True)
        upsyncs = [sync.upsync for sync in syncs]
        self.first = threading.Event()
        self._strong = any(upsync.strong_dependency for upsync in upsyncs)
        self.patience_s = STRONG_S if self._strong else WEAK_S
        self._syncs = syncs
        self._log = log
        interval_s = min(upsync.interval_ms for upsync in upsyncs) / 1000
        self._pace = Backoff(interval_s)
        self._soon_s = max(interval_s, SOON_S)
        self._ending = Stop()
        self._index = 0  # of the last answer that was applied; 0: the next query is a full read
        self._lost_at: float | None = None
        self._waits_for_ours = upsyncs[0].kind == "consul"  # a query is woken by changes of our own list alone
        self._cost_at = 0.0  # thread_time() when the query began
        self._lock = threading.Lock()
        self._parts: list[Puller] = []  # instead of this one's query, when it cannot be shared

    def stop(self) -> None:
        """End soon. Any thread, any number of times; join() to see it."""
        with self._lock:
            self._ending.set()
            for part in self._parts:
                part.stop()

    def run(self) -> None:
        try:
            for sync in self._syncs:
                sync.begin()
            self.pull()
        finally:
            self.first.set()

    def pull(self) -> None:
        """Until stopped."""
        with contextlib.suppress(OSError):  # of this thread alone, in Linux: a long list must not hold up the loop
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            self._follow()
        except Stopped:
            pass
        except Alone as reason:
            self._ask_for_each(str(reason))
        except Exception:
            self._log.traceback("alert", f"{self._names()}: not followed any more")
        finally:
            self._ending.close()

    def _follow(self) -> None:
        upsyncs = [sync.upsync for sync in self._syncs]
        try:
            source: Source = SOURCES[upsyncs[0].kind](upsyncs, self._ending)
        except (ValueError, OSError) as error:  # no time will make it right
            self._log.emerg(f"{self._names()}: {error}, in {upsyncs[0].where or upsyncs[0].path}")
            self._tell_error(str(error))
            return
        try:
            while True:
                pause_s = self._pace.delay(time.monotonic())
                self._ending.sleep(pause_s)
                self._query(source, self._soon_s if pause_s else float("inf"))
        finally:
            source.close()

    def _query(self, source: Source, at_most_s: float) -> None:
        now = time.monotonic()
        self._pace.started(now)
        self._cost_at = time.thread_time()
        try:
            if self._index:
                patience_s = min(sync.patience_s(now) for sync in self._syncs)
                answer = source.watch(self._index, min(patience_s, at_most_s))
            else:
                answer = source.read()
            self._use(source, answer)
        except SourceError as error:
            if error.alone:
                raise Alone(str(error)) from error
            self._failed(error.name or source.name, error)
        except Stopped:
            raise
        except Exception as error:  # a fault of ours: say it, and try again with a full read
            self._log.traceback("alert", f"{self._names()}: answer not applied")
            self._index = 0
            self._pace.failed(time.monotonic(), busy=True)
            self._tell_error(f"answer not applied: {error!r}")

    def _use(self, source: Source, answer: Answer) -> None:
        now = time.monotonic()
        if answer.index < self._index and not answer.full:  # Consul was restored or replaced
            back = f"went back from {self._index} to {answer.index}"
            self._log.notice(f"upsync: Consul {source.name}: index {back}, reading all, {self._names()}")
            self._index = 0
            self._pace.doubted(now)
            return
        for sync in self._syncs:
            listing = source.listing(answer, sync.upsync)
            sync.note(True)
            index = source.index_of(answer, sync.upsync)
            sync.take(listing, index, lambda sync=sync: _confirmed(source, sync))  # type: ignore[misc]
        # Without an index there is nothing to wait for, and a catalog moves with all that is in it: once an interval.
        cost_s = time.thread_time() - self._cost_at if answer.index and self._waits_for_ours else math.inf
        changed = answer.index != self._index or not answer.index
        self._pace.answered(time.monotonic(), changed, answer.wait_s, cost_s)
        self._index = answer.index
        self._found(source, now)

    def _found(self, source: Source, now: float) -> None:
        if self._lost_at is not None:
            self._log.notice(f"upsync: Consul {source.name} is back after {now - self._lost_at:.1f} s, {self._names()}")
            self._lost_at = None
        self.first.set()

    def _failed(self, name: str, error: SourceError) -> None:
        now = time.monotonic()
        self._index = 0
        for sync in self._syncs:
            sync.note(False)
        self._pace.failed(now, error.busy)
        if self._pace.failures == 1 and not error.busy:
            self._log.info(f"upsync: Consul {name}: {error}; asking on a fresh connection, {self._names()}")
            return
        if self._lost_at is None:
            self._lost_at = now
            held = ", ".join(f"{sync} keeps {sync.holds()}" for sync in self._syncs[:_NAMES_SHOWN])
            self._log.error(f"upsync: Consul {name} is lost: {error}; {held}{self._more()}")
        self._tell_error(f"Consul {name}: {error}", time.time() + self._pace.delay(now))

    def _tell_error(self, error: str, next_try: float = 0.0) -> None:
        for sync in self._syncs:
            sync.lost(error, next_try)
        if not self._strong:
            self.first.set()

    def _names(self) -> str:
        return ", ".join(str(sync) for sync in self._syncs[:_NAMES_SHOWN]) + self._more()

    def _more(self) -> str:
        more = len(self._syncs) - _NAMES_SHOWN
        return f" and {more} more" if more > 0 else ""

    # When the query cannot be shared

    def _ask_for_each(self, reason: str) -> None:
        """A query for each sync, in threads of their own, until they are stopped."""
        self._log.notice(f"upsync: {reason}: a query for each of {len(self._syncs)} upstreams, {self._names()}")
        with self._lock:
            if self._ending.is_set():
                return
            self._parts = [Part([sync], self._log) for sync in self._syncs]
        for part in self._parts:
            part.start()
        for part in self._parts:
            part.first.wait(self.patience_s)
        self.first.set()
        for part in self._parts:
            part.join()


class Part(Puller):
    """A puller whose syncs have begun."""

    def run(self) -> None:
        try:
            self.pull()
        finally:
            self.first.set()


def _confirmed(source: Source, sync: UpstreamSync) -> int | None:
    """What the operator says; nothing, while it cannot be read."""
    try:
        return source.confirmed(sync.upstream.name)
    except SourceError:
        return None
