"""Whether every worker is alive in fact: its loop writes a heartbeat each turn, at least once a second.

The master looks once a second and counts for itself how often in a row it saw no change, so that a machine that slept
(where the master saw nothing either) is not taken for stuck workers.  A worker that is stuck, or never gets ready, is
killed; its death then goes the usual way: it is replaced, and backed off if that happens again and again.

A worker that waits for a disk (state D: a throttled or dying one, NFS) gets more time: a signal would not end the wait,
and the next worker would wait for the same disk.
"""

from __future__ import annotations

import signal
from typing import Final

from lb import _fast
from lb.log import Log
from lb.master.generation import Generation, Worker
from lb.master.generations import Generations

CHECK_S: Final = 1.0
MISSED_DOUBT: Final = 2  # looks without a heartbeat: the watchdog of systemd hears nothing any more
MISSED_MOST: Final = 4  # then it is killed
DISK_MOST: Final = 30  # looks at a worker that waits for a disk, before they count as missed
MISSED_AT_END: Final = 15  # for one that stops: after its loop it ends its threads, which may take some seconds
READY_WITHIN_S: Final = 30.0  # from the fork; the wait for Consul's first lists is 2 s of it at most


class Heartbeats:
    def __init__(self, generations: Generations, log: Log) -> None:
        self._generations = generations
        self._log = log
        self._at = 0.0  # time.monotonic() of the next look

    def step(self, now: float) -> None:
        if now < self._at:
            return
        self._at = now + CHECK_S
        for generation, worker in self._generations.processes():
            if not worker.killed:
                self._look(generation, worker, now)

    def _look(self, generation: Generation, worker: Worker, now: float) -> None:
        if not worker.ready:
            if now - worker.born >= READY_WITHIN_S:
                self._kill(worker, f"is not ready after {READY_WITHIN_S:.0f} s")
            return
        beat = _fast.read_stats(generation.shm, worker.slot)["heartbeat_ms"]
        if beat != worker.beat:
            worker.missed = worker.disk = 0
        elif worker.disk < DISK_MOST and waits_for_disk(worker.pid):
            worker.disk += 1
            if worker.disk == MISSED_MOST:
                self._log.warn(f"{worker.what} {worker.pid} waits for a disk: no heartbeat for {MISSED_MOST} s")
        else:
            worker.missed += 1
        worker.beat = beat
        if worker.missed >= (MISSED_MOST if generation.stopping is None else MISSED_AT_END):
            self._kill(worker, f"is stuck: no heartbeat for {worker.missed} s")

    def _kill(self, worker: Worker, why: str) -> None:
        self._log.alert(f"{worker.what} {worker.pid} {why}: killed")
        worker.killed = True
        worker.kill(signal.SIGKILL)

    @property
    def fresh(self) -> bool:
        """Every worker that serves was alive at the last looks, and there is one."""
        serving = [worker for _, worker in self._generations.workers() if worker.ready]
        return bool(serving) and all(worker.missed < MISSED_DOUBT for worker in serving)

    def deadline(self) -> float:
        return self._at


def waits_for_disk(pid: int) -> bool:
    """Whether its main thread sleeps where no signal reaches it: state D in /proc/PID/stat, behind the name."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2].startswith(b"D")
    except OSError:  # it has just died
        return False
