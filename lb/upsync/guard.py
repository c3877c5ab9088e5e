"""Whether an update takes away too much at once: `upsync_shrink_guard`. Pure but for the state of one hold.

What counts are usable servers (neither down nor draining).  An update that would take away more than PERCENT of them is
held: until it has lasted `for_ms`, until one comes that takes away less, or until an operator has confirmed the number
that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lb.model import Server, ShrinkGuard

Confirmed = Callable[[], int | None]  # the number of servers that an operator has agreed to


@dataclass(slots=True)
class Guard:
    """Of one upstream in one worker. `since`: monotonic seconds at which the present hold began; None: nothing held."""

    rule: ShrinkGuard
    since: float | None = None

    def holds(
        self, before: Iterable[Server], after: Iterable[Server], confirmed: Confirmed, now: float
    ) -> tuple[int, int] | None:
        """None: the update may be applied. Else (how many it would take away, of how many)."""
        was = {server.address for server in before if not server.away}
        will = {server.address for server in after if not server.away}
        return self.weighs(len(was - will), len(was), len(will), confirmed, now)

    def weighs(self, lost: int, was: int, will: int, confirmed: Confirmed, now: float) -> tuple[int, int] | None:
        """The same, of numbers: so many usable servers go, of so many, and so many there will be."""
        if lost * 100 <= self.rule.percent * was:
            self.since = None
            return None
        self.since = now if self.since is None else self.since
        agreed = confirmed()
        if (agreed is not None and will >= agreed) or self.left_s(now) == 0.0:
            self.since = None
            return None
        return lost, was

    def left_s(self, now: float) -> float | None:
        """Seconds until the hold ends by itself; None: never, or nothing is held."""
        if self.since is None or self.rule.for_ms is None:
            return None
        return max(self.since + self.rule.for_ms / 1000 - now, 0.0)
