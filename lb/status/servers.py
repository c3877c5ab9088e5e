"""The servers of an upstream as the status port shows them: the list, and what workers count and think of each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from lb import _fast
from lb._fast import HealthRow
from lb.model import Server
from lb.status.snapshot import STATE_NAMES, Snapshot, UpstreamKey
from lb.upsync import start

if TYPE_CHECKING:
    from lb.status.pages import UpstreamView

CELLS: Final = len(_fast.SERVER_STATS_BOUNDS) + 1
BOUNDS_S: Final = tuple(bound / 1000 for bound in _fast.SERVER_STATS_BOUNDS)
AT: Final = {one.name: one.at for one in _fast.SERVER_COUNTERS}  # name -> place in a row
EMPTY: Final = memoryview(bytes(8 * _fast.SERVER_STATS_ROW)).cast("Q")


@dataclass(slots=True)
class Shown:
    """One server. `server` is None when no list has it (any more); `row`: see _fast.server_stats_add."""

    address: str
    server: Server | None
    row: memoryview
    check: HealthRow | None = None  # what its checks say

    @property
    def state(self) -> str:
        state = self._counted
        if self.check is None or not self.check.down or state not in ("up", "failed"):
            return state
        return "unchecked" if self.check.unseen and self.check.decided != "agent" else "unhealthy"

    @property
    def _counted(self) -> str:
        """As workers see it, without its checks."""
        code = self.row[_fast.SERVER_STATS_STATE]
        if code:
            return STATE_NAMES[code - 1]
        if self.server is None or not self.server.away:
            return "up"
        return "down" if self.server.down else "draining"

    @property
    def since(self) -> float | None:
        """Unix time of the change to its state; None: no worker has said."""
        if self.check is not None and self.state == "unhealthy":
            return self.check.since or None
        return self.row[_fast.SERVER_STATS_SINCE] / 1000 if self.row[_fast.SERVER_STATS_STATE] else None

    @property
    def retry_at(self) -> float | None:
        """Unix time from which on a failed server is tried again."""
        return self.row[_fast.SERVER_STATS_RETRY] / 1000 if self.state == "failed" else None

    @property
    def slow_start(self) -> float | None:
        """How far its slow start has come, 0 to 1, in the worker where it ends last; None: it is in none."""
        until, takes = self.row[_fast.SERVER_STATS_SLOW], self.row[_fast.SERVER_STATS_SLOW + 1]
        left = until - time.time() * 1000
        return max(0.0, 1 - left / takes) if left > 0 and takes and self.state == "up" else None

    @property
    def backup(self) -> bool:
        return self.server is not None and self.server.backup

    @property
    def weight(self) -> int:
        return self.server.weight if self.server is not None else 0


def total(key: UpstreamKey, snapshot: Snapshot) -> memoryview:
    """The row of the upstream."""
    row = snapshot.sums.get(key, {}).get(b"")
    return memoryview(row).cast("Q") if row is not None else EMPTY


def shown(one: UpstreamView, snapshot: Snapshot) -> Iterator[Shown]:
    """Those of the list in its order (an address that is there twice once), then what workers have beyond it."""
    rows = snapshot.sums.get((one.upstream.kind, one.upstream.name), {})
    checks = snapshot.checks.get((one.upstream.kind, one.upstream.name), {})
    seen = {b""}
    for server in start.listed(one.upstream, one.report):
        address = str(server.address)
        name = os.fsencode(address)
        if name not in seen:
            seen.add(name)
            row = memoryview(rows[name]).cast("Q") if name in rows else EMPTY
            yield Shown(address, server, row, checks.get(address))
    for name in sorted(rows.keys() - seen):
        row = memoryview(rows[name]).cast("Q")
        if row[_fast.SERVER_STATS_STATE] or name == _fast.SERVER_STATS_OTHER:
            yield Shown(os.fsdecode(name), None, row)


def count(row: memoryview, name: str) -> int:
    value: int = row[AT[name]]
    return value


def cells(row: memoryview, name: str) -> list[int]:
    """Of a histogram: how many lie in each of the CELLS."""
    at = AT[name]
    return row[at : at + CELLS].tolist()


def quantile(counts: list[int], q: float) -> float | None:
    """In seconds: a straight line within the cell; the last bound for what is above it. None: nothing was measured."""
    upto = list(accumulate(counts))
    if not upto[-1]:
        return None
    wanted = q * upto[-1]
    at = next(i for i, n in enumerate(upto) if n >= wanted and n)
    if at == len(BOUNDS_S):
        return BOUNDS_S[-1]
    low = BOUNDS_S[at - 1] if at else 0.0
    below = upto[at] - counts[at]
    return low + (BOUNDS_S[at] - low) * (wanted - below) / counts[at]
