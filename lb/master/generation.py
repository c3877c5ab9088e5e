"""One generation of workers: the processes that serve one configuration, each in its slot.

It knows who lives, who is ready, who has to be forked again and when, who was told to stop and by when it must be
gone.  It forks through the function it is given and kills by pid; it never waits.  Dead processes are reaped by the
arbiter (one waitpid for all children), which tells the generation.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from lb._fast import STOP_NOW, STOP_QUIT, STOP_RELOAD, Compiled
from lb.master import worker_stats
from lb.model import Config, ErrorLog
from lb.process.channel import ChannelError, Endpoint
from lb.process.identity import Identity
from lb.process.logfiles import Files, close_all
from lb.process.loop import doubled

YOUNG_S: Final = 5.0  # a worker that dies before this age counts as part of a crash loop
START_DELAY_S: Final = 0.5  # after the first death before "ready"; doubles with each
START_DELAY_MAX_S: Final = 30.0
READY_DELAY_S: Final = 0.1  # after the second death of a young worker that had been ready; doubles with each
READY_DELAY_MAX_S: Final = 0.8  # a worker that has served is always back within a second
KILL_AFTER_S: Final = 5.0  # TERM: how long a worker may take to close everything before it is killed

SOFT_TO_HARD: Final = (STOP_RELOAD, STOP_QUIT, STOP_NOW)


@dataclass(slots=True, eq=False)
class Worker:
    """One live process."""

    pid: int
    slot: int
    generation: int  # number of the generation
    channel: Endpoint
    born: float  # time.monotonic()
    ready: bool = False
    kill_at: float | None = None
    beat: int = 0  # heartbeat at the last look (heartbeat.py)
    missed: int = 0  # looks in a row without a new one
    disk: int = 0  # looks in a row without a new one when it waited for a disk: they are not missed
    killed: bool = False  # by heartbeat.py: it will be reaped
    checker: bool = False  # it asks the servers, and serves nobody

    @property
    def what(self) -> str:
        return "checker process" if self.checker else "worker process"

    def kill(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may be dead and not reaped yet
            os.kill(self.pid, number)


@dataclass(slots=True)
class Slot:
    """The place of a worker: it outlives the process in it."""

    number: int
    worker: Worker | None = None
    deaths: int = 0  # in a row, each soon after the fork
    fork_at: float | None = 0.0  # time.monotonic(); None: nothing to fork


def delay_after_death(deaths: int, was_ready: bool) -> float:
    """Seconds until the next fork, after `deaths` early deaths in a row (0: it had lived long enough)."""
    if not was_ready:
        return doubled(START_DELAY_S, deaths - 1, START_DELAY_MAX_S)
    if deaths < 2:
        return 0.0
    return doubled(READY_DELAY_S, deaths - 2, READY_DELAY_MAX_S)


@dataclass(slots=True, eq=False)
class Generation:
    """The workers of one generation, and what they are forked with. `fork` makes a process, or raises OSError."""

    number: int
    config: Config  # without the servers of its listeners:
    compiled: Compiled  # they are here, for all workers
    identity: Identity | None  # whom the workers run as
    error_logs: tuple[ErrorLog, ...]
    files: Files  # the logs; owned: closed by `close`
    shm: mmap.mmap  # the workers' counters, one block a slot
    fork: Callable[[Generation, Slot], Worker]
    slots: list[Slot] = field(init=False)
    checker: Slot | None = None  # the place of the process that asks the servers; None: none is checked
    layout: tuple[int, int] = field(init=False)  # of shm: worker_stats.layout
    # slot -> position of an upstream -> what the first worker there starts with
    learned: dict[int, dict[int, Any]] = field(default_factory=dict)
    stopping: int | None = None  # STOP_*: the hardest way to stop that it was told

    def __post_init__(self) -> None:
        self.layout = worker_stats.layout(self.config)
        self.slots = [Slot(number) for number in range(self.config.worker_processes)]
        if self.config.check_memory:
            self.checker = Slot(self.config.worker_processes)

    def __iter__(self) -> Iterator[Worker]:
        return (slot.worker for slot in self.slots if slot.worker is not None)

    @property
    def places(self) -> list[Slot]:
        """Those of the workers, and the checker's."""
        return [*self.slots, *([self.checker] if self.checker is not None else [])]

    def processes(self) -> Iterator[Worker]:
        """The live workers and the checker."""
        return (slot.worker for slot in self.places if slot.worker is not None)

    @property
    def ready(self) -> bool:
        """Whether every slot has a worker that serves."""
        return all(slot.worker is not None and slot.worker.ready for slot in self.slots)

    @property
    def gone(self) -> bool:
        return self.stopping is not None and not any(True for _ in self.processes())

    def spawn_due(self, now: float) -> list[Worker]:
        """Fork what is to be forked by now. Raises OSError (EAGAIN, ENOMEM) after postponing the slot."""
        born = []
        for slot in self.places:
            if slot.fork_at is None or now < slot.fork_at:
                continue
            slot.fork_at = now + START_DELAY_S  # should fork fail
            slot.worker = self.fork(self, slot)
            slot.fork_at = None
            born.append(slot.worker)
        return born

    def reaped(self, worker: Worker, now: float) -> float | None:
        """`worker` is dead. The delay until it is replaced; None: it is not replaced."""
        slot = self.places[worker.slot]
        slot.worker = None
        if self.stopping is not None:
            return None
        early = not worker.ready or now - worker.born < YOUNG_S
        slot.deaths = slot.deaths + 1 if early else 0
        delay = delay_after_death(slot.deaths, worker.ready)
        slot.fork_at = now + delay
        return delay

    def stop(self, mode: int, now: float) -> None:
        """Tell every worker to stop: STOP_*. A softer way after a harder one changes nothing."""
        if self.stopping is not None and SOFT_TO_HARD.index(self.stopping) >= SOFT_TO_HARD.index(mode):
            return
        self.stopping = mode
        for slot in self.places:
            slot.fork_at = None
        for worker in self.processes():
            _stop(worker, mode, now)

    def kill_overdue(self, now: float) -> list[Worker]:
        """SIGKILL for those that did not stop in time."""
        late = [worker for worker in self.processes() if worker.kill_at is not None and worker.kill_at <= now]
        for worker in late:
            worker.kill_at = None
            worker.kill(signal.SIGKILL)
        return late

    def close(self) -> None:
        """Every worker is gone: give back files, counters, and (unless a later generation has it too) `compiled`."""
        close_all(self.files)
        self.shm.close()
        del self.compiled

    def deadline(self) -> float | None:
        """time.monotonic() of the next thing to do here."""
        times = [slot.fork_at for slot in self.places if slot.fork_at is not None]
        times += [worker.kill_at for worker in self.processes() if worker.kill_at is not None]
        return min(times, default=None)


def _stop(worker: Worker, mode: int, now: float) -> None:
    if mode == STOP_NOW:
        worker.kill_at = now + KILL_AFTER_S
        worker.kill(signal.SIGTERM)
        return
    try:
        worker.channel.send({"cmd": "stop", "mode": mode})
    except (OSError, ChannelError):  # it is dying, or does not talk any more
        worker.kill(signal.SIGQUIT)
