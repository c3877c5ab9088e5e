"""What servers and upstreams have counted, over all workers, reloads and deaths; and since when a server is what it is.

Workers count in their tallies (lb/fast/tally.pxd); here they are summed: what the dead had counted (`_base`), and what
the living have.  An upstream is known by its kind and name, which a reload keeps; a server by its address.  The sums
of an upstream never fall.  Those of a server begin again when it was gone and its worker with it.

A snapshot is made at most once a second: with 10,000 servers it takes some hundredths of one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from lb import _fast
from lb.config.model import Config
from lb.master.crew import Crew, Worker

UpstreamKey = tuple[str, str]  # kind and name
Rows = dict[bytes, bytearray]  # address -> row of tallies_add; b"": the upstream
Sums = dict[UpstreamKey, Rows]

FRESH_S: Final = 1.0  # how long a snapshot is good enough
DIRECT: Final = ("direct", "")  # servers of addresses that variables of proxy_pass gave

UP, DOWN, FAILED, REMOVED = range(4)  # Condition of tally.pxd
STATES: Final = ("up", "down", "failed", "draining")
_CONDITIONS: Final = _fast.TALLY_ROW - 17  # where they begin in a row


@dataclass(slots=True)
class Standing:
    """What a server is, all serving workers together. `since`: Unix time; `retry_at`: of the next try, 0: none."""

    state: str
    since: float
    retry_at: float = 0.0


@dataclass(slots=True)
class Snapshot:
    """All sums of one moment."""

    at: float  # time.monotonic()
    sums: Sums = field(default_factory=dict)
    standing: dict[UpstreamKey, dict[bytes, Standing]] = field(default_factory=dict)


class Ledger:
    def __init__(self, started: float) -> None:
        """`started`: Unix time since which a server is what it is when nothing else is known."""
        self.started = started
        self._base: Sums = {}
        self._standing: dict[UpstreamKey, dict[bytes, Standing]] = {}
        self._last: Snapshot | None = None
        self._looked_at = 0.0  # time.monotonic()

    def bury(self, workers: Iterable[tuple[Crew, Worker]], current: Crew, crew: Crew, worker: Worker) -> None:
        """Keep what a dead worker had counted; `workers` has it still, for what it knew of the servers."""
        if time.monotonic() - self._looked_at >= FRESH_S:
            self.snapshot(workers, current)
        _fast.tallies_add(crew.shm, worker.slot, _tables(self._base, crew.config), dead=True)
        self._last = None

    def snapshot(self, workers: Iterable[tuple[Crew, Worker]], current: Crew) -> Snapshot:
        """The sums of now, or of a second ago at most."""
        now = time.monotonic()
        if self._last is not None and now - self._last.at < FRESH_S:
            return self._last
        made = Snapshot(now, {key: _copy(rows) for key, rows in self._base.items()})
        known = {(one.kind, one.name) for one in current.config.upstreams} | {DIRECT}
        for crew, worker in workers:
            known.update((one.kind, one.name) for one in crew.config.upstreams)
            serving = crew is current or not current.ready
            _fast.tallies_add(crew.shm, worker.slot, _tables(made.sums, crew.config), serving=serving)
        self._forget(made, known, settled=current.ready)
        made.standing = self._standing = {
            key: self._stand(key, rows) for key, rows in made.sums.items() if key in known
        }
        self._last = made
        self._looked_at = now
        return made

    def _forget(self, made: Snapshot, known: set[UpstreamKey], *, settled: bool) -> None:
        """Of upstreams in no configuration, and of servers that no worker has any more."""
        for sums in (self._base, made.sums):
            for key in [key for key in sums if key not in known]:
                del sums[key]
        if not settled:  # a worker that starts has not its servers yet
            return
        for key, rows in made.sums.items():
            gone = [name for name, row in rows.items() if name not in (b"", _fast.TALLY_OTHER) and not _seen(row)]
            base = self._base.get(key, {})
            for name in gone:
                del rows[name]
                base.pop(name, None)

    def _stand(self, key: UpstreamKey, rows: Rows) -> dict[bytes, Standing]:
        before = self._standing.get(key, {})
        found = {}
        for name, row in rows.items():
            if name not in (b"", _fast.TALLY_OTHER):
                view = memoryview(row).cast("Q")
                standing = self._one(view, before.get(name)) or before.get(name)
                if standing is not None:
                    found[name] = standing
        return found

    def _one(self, row: memoryview, before: Standing | None) -> Standing | None:
        """None: no serving worker has it. One worker that takes it for failed is enough to say so."""
        state = next((one for one in (FAILED, UP, DOWN, REMOVED) if row[_CONDITIONS + 4 * one]), None)
        if state is None and row[0]:  # only workers that are finishing use it
            was = before is not None and before.state == STATES[REMOVED]
            return before if was else Standing(STATES[REMOVED], time.time())
        if state is None:
            return None
        _, unknown, first, last = row[_CONDITIONS + 4 * state : _CONDITIONS + 4 * state + 4]
        since = (first if state == FAILED else last) / 1000
        if before is not None and before.state == STATES[state] and unknown:
            since = min(before.since, since or before.since) if state == FAILED else max(before.since, since)
        retry_at = row[_CONDITIONS + 16] / 1000 if state == FAILED else 0.0
        return Standing(STATES[state], since or self.started, retry_at)


def _seen(row: bytearray) -> bool:
    """Some serving worker has this server, or someone still uses it."""
    view = memoryview(row).cast("Q")
    return bool(view[0]) or any(view[_CONDITIONS + 4 * one] for one in range(4))


def _copy(rows: Rows) -> Rows:
    return {name: bytearray(row) for name, row in rows.items()}


def _tables(sums: Sums, config: Config) -> list[Rows]:
    """Those of each upstream by its number in this configuration, and of the direct ones."""
    keys = [*((one.kind, one.name) for one in config.upstreams), DIRECT]
    return [sums.setdefault(key, {}) for key in keys]
