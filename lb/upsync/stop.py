"""A flag that ends a thread, also while it waits for a socket: an Event with a descriptor that poll() can watch.

Made by the puller in its worker (after the fork), set by any thread, closed by the thread that it ends.
"""

from __future__ import annotations

import os
import select
import threading


class Stopped(Exception):
    """The flag was set: unwind, nothing went wrong."""


class Stop:
    """Set once, never cleared."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        """Any thread, any number of times, also after close()."""
        with self._lock:
            # Without the lock the descriptor could be closed, and be a client's connection, when it is written to.
            if not self._set and self._fd >= 0:
                os.eventfd_write(self._fd, 1)
            self._set = True

    def is_set(self) -> bool:
        return self._set

    def check(self) -> None:
        """Raises Stopped when set."""
        if self._set:
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait so long; raises Stopped when set before or meanwhile."""
        self._poll(None, 0, seconds)

    def wait_fd(self, fd: int, events: int, seconds: float) -> bool:
        """Wait for poll(2) events on `fd`. False: not within `seconds`. Raises Stopped."""
        return self._poll(fd, events, seconds)

    def _poll(self, fd: int | None, events: int, seconds: float) -> bool:
        self.check()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if fd is not None:
            poll.register(fd, events)
        ready = poll.poll(max(seconds, 0.0) * 1000)
        self.check()
        return bool(ready)

    def close(self) -> None:
        """Give the descriptor back: only the thread that waits, when it will wait no more."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
