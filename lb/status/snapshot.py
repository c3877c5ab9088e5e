"""What the status port is given of the servers' counters: all sums of one moment. The master makes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lb._fast import HealthRow

UpstreamKey = tuple[str, str]  # kind and name
Rows = dict[bytes, bytearray]  # address -> row of server_stats_add; b"": the upstream
Sums = dict[UpstreamKey, Rows]

DIRECT: Final = ("direct", "")  # servers of addresses that variables of proxy_pass gave

STATES: Final = ("up", "down", "failed", "draining")  # of SERVER_STATS_STATE, from 1 on
SHOWN: Final = (*STATES, "unhealthy", "unchecked")  # and what checks make of a server that is up or failed


@dataclass(slots=True)
class Snapshot:
    """All sums of one moment."""

    at: float  # time.monotonic()
    sums: Sums = field(default_factory=dict)
    checks: dict[UpstreamKey, dict[str, HealthRow]] = field(default_factory=dict)  # of those that have any, by address
