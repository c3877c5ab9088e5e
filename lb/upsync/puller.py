"""The thread that follows Consul for one worker: asks a source, again and again, and gives each answer to the
followers.

One per worker and upstream today; it already takes its followers as a list, so that upstreams whose keys share a
prefix can share one query.  It is made after the fork, is a daemon, and ends within a moment of stop(), also in the
middle of a query.

What it makes sure of: an index is kept only after its list was applied; after any error, and when the index went
back, the next query is a full read; one log line when Consul is lost (the second failure in a row: the first is
answered by a fresh connection) and one when it is back.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from lb.config.model import Upstream, Upsync
from lb.log import Log
from lb.upsync.consul_kv import ConsulKV
from lb.upsync.follower import Apply, Follower, Tell
from lb.upsync.pace import Pace
from lb.upsync.report import Report
from lb.upsync.source import Answer, Source, SourceError
from lb.upsync.start import STRONG_S, WEAK_S
from lb.upsync.stop import Stop, Stopped

SOURCES: Final = {"consul": ConsulKV}  # by Upsync.kind


class Puller(threading.Thread):
    """Pulls one upstream's servers.

    `current`: what the worker serves now (start.initial).  `apply` and `report` are called from this thread.  `first`
    is set when the first answer was applied or, without strong_dependency, when Consul did not answer.
    """

    def __init__(self, upstream: Upstream, current: Report, apply: Apply, report: Tell, log: Log) -> None:
        super().__init__(name=f"upsync-{upstream.name}", daemon=True)
        if upstream.upsync is None:
            raise ValueError(f'upstream "{upstream.name}" has no upsync')
        self.first = threading.Event()
        self.patience_s = STRONG_S if upstream.upsync.strong_dependency else WEAK_S
        self._upsync: Upsync = upstream.upsync
        self._followers = [Follower(upstream, current, apply, report, log)]
        self._log = log
        self._pace = Pace(self._upsync.interval_ms / 1000)
        self._ending = Stop()
        self._index = 0  # of the last answer that was applied; 0: the next query is a full read
        self._lost_at: float | None = None

    def stop(self) -> None:
        """End soon. Any thread, any number of times; join() to see it."""
        self._ending.set()

    def run(self) -> None:
        try:
            for follower in self._followers:
                follower.begin()
            self._follow()
        except Stopped:
            pass
        except Exception:
            self._log.traceback("alert", f"{self._names()}: not followed any more")
        finally:
            self.first.set()
            self._ending.close()

    def _follow(self) -> None:
        try:
            source: Source = SOURCES[self._upsync.kind](self._upsync, self._ending)
        except ValueError as error:  # no time will make it right
            self._log.emerg(f"{self._names()}: {error}, in {self._upsync.where or self._upsync.path}")
            self._tell_error(str(error))
            return
        try:
            while True:
                self._ending.sleep(self._pace.delay(time.monotonic()))
                self._query(source)
        finally:
            source.close()

    def _query(self, source: Source) -> None:
        self._pace.started(time.monotonic())
        try:
            answer = source.watch(self._index) if self._index else source.read()
            self._use(source, answer)
        except SourceError as error:
            self._failed(source, str(error), error.busy)
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
        for follower in self._followers:
            listing = None if answer.entries is None else source.listing(answer, self._upsync)
            follower.take(listing, answer.index)
        self._pace.answered(now, changed=answer.index != self._index or not answer.index)
        self._index = answer.index
        self._found(source, now)

    def _found(self, source: Source, now: float) -> None:
        if self._lost_at is not None:
            self._log.notice(f"upsync: Consul {source.name} is back after {now - self._lost_at:.1f} s, {self._names()}")
            self._lost_at = None
        self.first.set()

    def _failed(self, source: Source, error: str, busy: bool) -> None:
        now = time.monotonic()
        self._index = 0
        self._pace.failed(now, busy)
        if self._pace.failures == 1 and not busy:
            self._log.info(f"upsync: Consul {source.name}: {error}; asking on a fresh connection, {self._names()}")
            return
        if self._lost_at is None:
            self._lost_at = now
            held = ", ".join(f"{follower} keeps {follower.holds()}" for follower in self._followers)
            self._log.error(f"upsync: Consul {source.name} is lost: {error}; {held}")
        self._tell_error(f"Consul {source.name}: {error}")

    def _tell_error(self, error: str) -> None:
        for follower in self._followers:
            follower.lost(error)
        if not self._upsync.strong_dependency:
            self.first.set()

    def _names(self) -> str:
        return ", ".join(str(follower) for follower in self._followers)
