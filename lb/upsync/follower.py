"""One upstream's list in one worker: takes answers, decides what changes, gives it to the engine, tells the master.

Owned by one puller thread.  What it last told is its whole state (a Report).  It logs what is wrong with entries
once, when that changes, and never replaces a list by an empty one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from lb.config.model import Server, Upstream
from lb.log import Log
from lb.upsync.entries import Listing
from lb.upsync.order import merge
from lb.upsync.report import Report
from lb.upsync.start import published

Apply = Callable[[Sequence[Server], bytes], None]  # Engine.publish for one upstream
Tell = Callable[[Report], None]


class Follower:
    """`current` is what the engine serves now (start.initial)."""

    def __init__(self, upstream: Upstream, current: Report, apply: Apply, tell: Tell, log: Log) -> None:
        self.upstream = upstream
        self._now = current
        self._apply = apply
        self._tell = tell
        self._log = log

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

    def take(self, listing: Listing | None, index: int) -> None:
        """An answer. None: the prefix does not exist. Raises whatever the engine raises; then nothing has changed."""
        problems = listing.problems if listing is not None else ()
        self._log_new(problems)
        if listing is None or not listing.servers:
            self._keep("does not exist" if listing is None else "has no usable server", problems)
            return
        servers = merge(self._now.servers, listing.servers, from_file=self._now.source == "file")
        report = dataclasses.replace(
            self._now, source="consul", index=index, at=time.time(), servers=servers, error="", skipped=problems
        )
        if servers != self._now.servers:
            self._apply(*published(self.upstream, report))
            self._log_change(report)
        self._say(report)

    def lost(self, error: str) -> None:
        """No answer: the list stays, and the master hears why."""
        self._say(dataclasses.replace(self._now, error=error))

    def _keep(self, reason: str, problems: tuple[str, ...]) -> None:
        error = f"the key prefix {reason}"
        if error != self._now.error:
            self._log.warn(f"{self}: {error}: keeping {self.holds()}")
        self._say(dataclasses.replace(self._now, error=error, skipped=problems))

    def _say(self, report: Report) -> None:
        """Tell the master, unless it knows all but the time."""
        before, self._now = self._now, report
        if dataclasses.replace(report, at=before.at) != before:
            self._tell(report)

    def _log_new(self, problems: tuple[str, ...]) -> None:
        for problem in set(problems).difference(self._now.skipped):
            self._log.error(f"{problem}, {self}")

    def _log_change(self, report: Report) -> None:
        before = {server.address: server for server in self._now.servers}
        after = {server.address: server for server in report.servers}
        added, removed = len(after.keys() - before.keys()), len(before.keys() - after.keys())
        altered = sum(1 for address, server in after.items() if before.get(address, server) != server)
        counts = f"{added} added, {removed} removed, {altered} altered"
        self._log.notice(f"{self}: {len(after)} servers at index {report.index}: {counts}")
