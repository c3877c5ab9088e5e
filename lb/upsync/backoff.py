"""When the next query may start: at once after quiet, paced by cost in a burst, ever more rarely while nothing answers.

Pure: the caller gives the time (monotonic seconds).  The rules:

* After an answer that brought a change the next query waits for REST times what that answer cost in CPU (a long
  list in a burst takes one part in REST + 1 of a core), at least LEAST_REST_S, and never longer than
  `upsync_interval`: a few changes one after the other are seen one by one, a flood is fetched in batches.
* After an answer without change the next query may start at once if the registry has waited as it was
  asked to, else not sooner than one interval after the last start (a proxy that ignores `wait` must not make a busy
  loop).
* An error is followed by one try at once, on a fresh connection; then the waits double, with jitter, up to a
  bound of one interval (within 0.5 s and 15 s), so that a registry that is back is seen within one interval.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

REST: Final = 20  # times its cost: about 5 % of a core
LEAST_REST_S: Final = 0.005
FIRST_S: Final = 0.1  # the wait after the second failure in a row
LEAST_BOUND_S: Final = 0.5
MOST_BOUND_S: Final = 15.0
WAITED: Final = 0.9  # of the wait asked for: it was waited


class Backoff:
    """The clockwork of one source. `failures`: errors in a row, 0 after an answer."""

    def __init__(self, interval_s: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self.failures = 0
        self._interval = interval_s
        self._bound = min(max(interval_s, LEAST_BOUND_S), MOST_BOUND_S)
        self._uniform = uniform
        self._started = 0.0
        self._next = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the next query may start."""
        return max(self._next - now, 0.0)

    def started(self, now: float) -> None:
        self._started = now

    def answered(self, now: float, changed: bool, wait_s: float = 0.0, cost_s: float = float("inf")) -> None:
        """`wait_s`: how long the registry was asked to wait for a change. `cost_s`: CPU time of this answer."""
        self.failures = 0
        if changed:
            self._next = now + min(max(cost_s * REST, LEAST_REST_S), self._interval)
        else:
            waited = wait_s > 0 and now - self._started >= wait_s * WAITED
            self._next = now if waited else self._started + self._interval

    def doubted(self, now: float) -> None:
        """An answer came that cannot be relied on: ask again at once, but not twice in a row."""
        self._next = now

    def failed(self, now: float, busy: bool = False) -> None:
        """`busy`: no immediate second try."""
        self.failures += 1
        if self.failures == 1 and not busy:
            self._next = now
            return
        doublings = min(max(self.failures - 2, 0), 16)
        wait = self._bound if busy else min(FIRST_S * 2**doublings, self._bound)
        self._next = now + self._uniform(wait / 2, wait)
