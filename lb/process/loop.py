"""The master's loop: descriptors with callbacks, and a wait that ends at the next deadline.

It owns the selector and nothing else.  A callback takes the ready events (selectors.EVENT_READ | EVENT_WRITE) and
must not wait.  Deadlines are not stored here: before each wait everyone is asked for theirs, after it everyone
looks at the clock.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator
from typing import Final, Protocol

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE
LONGEST_WAIT_S: Final = 60.0  # nobody needs this; a forgotten deadline is late instead of lost

Callback = Callable[[int], None]


class HasFd(Protocol):
    def fileno(self) -> int: ...


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, source: HasFd, events: int, callback: Callback) -> None:
        """Call `callback` when `source` is ready; replaces an earlier watch. No events: stop watching."""
        known = source.fileno() in self._selector.get_map()
        if not events:
            self.forget(source)
        elif known:
            self._selector.modify(source.fileno(), events, callback)
        else:
            self._selector.register(source.fileno(), events, callback)

    def forget(self, source: HasFd) -> None:
        """Stop watching. Call it before the descriptor is closed."""
        if source.fileno() in self._selector.get_map():
            self._selector.unregister(source.fileno())

    def turn(self, seconds: float) -> Iterator[tuple[Callback, int]]:
        """Wait up to `seconds`, then give what is ready as (callback, events).

        A descriptor that an earlier callback of this turn has changed or forgotten is passed over.
        """
        ready = self._selector.select(max(0.0, min(seconds, LONGEST_WAIT_S)))
        for key, events in ready:
            if self._selector.get_map().get(key.fd) is key:
                yield key.data, events

    def close(self) -> None:
        self._selector.close()


def doubled(seconds: float, times: int, longest: float) -> float:
    """Exponential back-off: `seconds` doubled `times` times (none if negative), at most `longest`."""
    return min(seconds * 2.0 ** min(max(times, 0), 64), longest)
