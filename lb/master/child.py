"""Work that may wait (files to read, names to resolve), done in a child so that the master never does.

A Child forks, runs one function, and sends back its result, pickled, over a pipe; the pipe's end of file says that
it is complete.  The master's loop reads it; a child that takes too long is killed.  What the child breaks, leaks or
changes dies with it.  Only our own child writes to the pipe: that is why pickle is safe here; of one that talks to
strangers it is not, and JSON is read (`plain`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from lb.process import title
from lb.process.loop import READ, Loop

READ_SIZE: Final = 1 << 16
PLAIN_MOST: Final = 1 << 20  # bytes of a plain result


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: `value` if the function returned, `error` (a traceback, or how the child died) if not."""

    value: Any = None
    error: str = ""


class Child:
    """One child at work. `outcome` is None until it is over."""

    def __init__(
        self,
        loop: Loop,
        work: Callable[[], Any],
        name: str,
        give_up_at: float,
        keep: Iterable[int] = (),
        *,
        plain: bool = False,
    ) -> None:
        """Fork and start `work`; after `give_up_at` (time.monotonic()) it is killed. Raises OSError.

        `keep`: descriptors that `work` needs. `plain`: it talks to strangers, so its result is taken as JSON only.
        """
        self.name = name
        self.give_up_at = give_up_at
        self.outcome: Outcome | None = None
        self._loop = loop
        self._data = bytearray()
        self._plain = plain
        read_end, write_end = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(read_end)
            os.close(write_end)
            raise
        if self.pid == 0:
            _child(work, name, write_end, keep, plain)
        os.close(write_end)
        os.set_blocking(read_end, False)
        self._pipe: int | None = read_end
        loop.watch(self, READ, self._on_data)

    def fileno(self) -> int:
        return -1 if self._pipe is None else self._pipe

    def _on_data(self, _events: int) -> None:
        data = os.read(self.fileno(), READ_SIZE)
        if data:
            self._data += data
            if self._plain and len(self._data) > PLAIN_MOST:
                self.cancel(f"{self.name} says too much")
        else:
            self._finish((_unpack_plain if self._plain else _unpack)(bytes(self._data)))

    def check(self, now: float) -> None:
        """Kill the child if its time is over."""
        if self.outcome is None and now >= self.give_up_at:
            self.cancel(f"{self.name} takes too long")

    def cancel(self, reason: str) -> None:
        """End the child now. The arbiter reaps it."""
        if self.outcome is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._finish(Outcome(error=reason))

    def _finish(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.close()

    def close(self) -> None:
        if self._pipe is not None:
            self._loop.forget(self)
            self.close_copy()

    def close_copy(self) -> None:
        """In a forked worker, whose loop is closed: only the descriptor."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def _unpack(data: bytes) -> Outcome:
    try:
        outcome = pickle.loads(data)
    except (EOFError, pickle.UnpicklingError, ValueError):  # nothing, or cut off
        return Outcome(error="the process that did it died")
    return outcome if isinstance(outcome, Outcome) else Outcome(error="not an outcome")


def _unpack_plain(data: bytes) -> Outcome:
    try:
        value, error = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return Outcome(error="the process that did it died")
    return Outcome(value, str(error))


def run(work: Callable[[], Any], name: str, keep: Iterable[int] = ()) -> Outcome:
    """Do it in a child and wait for it: before there is a loop. Raises OSError."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as pipe:
        pid = os.fork()
        if pid == 0:
            _child(work, name, write_end, keep)
        os.close(write_end)
        data = pipe.read()
    os.waitpid(pid, 0)
    return _unpack(data)


def _child(work: Callable[[], Any], name: str, pipe: int, keep: Iterable[int], plain: bool = False) -> None:
    """Never returns."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        begin(name, (pipe, *keep))
        try:
            outcome = Outcome(value=work())
        except Exception:
            outcome = Outcome(error=traceback.format_exc())
        with open(pipe, "wb") as file:
            file.write(json.dumps([outcome.value, outcome.error]).encode() if plain else pickle.dumps(outcome))
    finally:
        os._exit(0)


def begin(name: str, keep: Iterable[int]) -> None:
    """In the child: no listener of the master may stay open because a disk is slow."""
    first = 3
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    title.show_child(name)


def detach() -> None:
    """A log that was rotated away must not stay open in a child that lives for long."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)
