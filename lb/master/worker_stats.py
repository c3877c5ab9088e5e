"""Counters of all workers together, over deaths and reloads.

A worker writes its block of shared memory; the block of a dead worker is added to the sum before the slot is used
again, so that no counter ever goes back.  Gauges (what is open now) come from the living only.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from lb import _fast
from lb.model import Config

GAUGES: Final = frozenset(one.name for one in _fast.COUNTERS if one.kind == "gauge")  # what is there now
PRIVATE: Final = frozenset(one.name for one in _fast.COUNTERS if one.kind == "private")  # a sum says nothing
# everything else in read_stats() only grows


class WorkerStats:
    def __init__(self) -> None:
        self._dead: Counter[str] = Counter()

    def reap(self, stats: Mapping[str, int]) -> None:
        """Keep the counters of a worker that is dead."""
        for name, value in stats.items():
            if name not in GAUGES and name not in PRIVATE:
                self._dead[name] += value

    def sum(self, living: Iterable[Mapping[str, int]]) -> dict[str, int]:
        """All counters since the start of the master, and the gauges of now."""
        total = Counter(self._dead)
        for stats in living:
            for name, value in stats.items():
                total[name] += value
        for name in PRIVATE:
            total.pop(name, None)
        return dict(total)


def new_block(config: Config) -> mmap.mmap:
    """Shared memory of one generation, inherited over fork: counters, then limit_req's zones, then what checks say."""
    zones = sum(zone.size for zone in config.limit_zones)
    return mmap.mmap(-1, layout(config)[1] + zones + config.check_memory)


def layout(config: Config) -> tuple[int, int]:
    """(processes, bytes of their counters): where in its block each of them writes. The master keeps it by itself."""
    return config.processes, _fast.stats_size(config.processes, len(config.upstreams))
