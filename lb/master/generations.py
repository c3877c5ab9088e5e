"""All worker processes: generations one after the other, their channels, and the sockets and files they inherit.

The last generation is the current one.  The older ones serve until every worker of the current one is ready, then they
are told to finish.  A generation is forgotten when its last process is reaped.  The listening sockets of the older
ones stay open until then, so that a worker of theirs that dies meanwhile can be replaced.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from lb import _fast
from lb.log import Log
from lb.master import sockets, worker_stats
from lb.master.generation import KILL_AFTER_S, Generation, Slot, Worker
from lb.master.handover import Handover
from lb.master.reload import Prepared
from lb.master.reports import Reports
from lb.master.server_stats import ServerStats
from lb.model import Upstream
from lb.process import logfiles
from lb.process.channel import ChannelError, Endpoint, Frame
from lb.process.loop import READ, WRITE, Loop
from lb.process.staples import Row
from lb.upsync.report import Report
from lb.worker.main import Job, become_worker

DEATHS: Final = 10  # of workers, that the status port tells of

OnReport = Callable[[Worker, Upstream, Report], None]
OnDeath = Callable[[int, int], None]  # pid and wait status of a child that is no worker


class Generations:
    """Owns the generations, their channels and the listening sockets."""

    def __init__(
        self,
        loop: Loop,
        log: Log,
        reports: Reports,
        on_report: OnReport,
        on_death: OnDeath,
        release: Callable[[], None],
        alone: Callable[[], bool],
    ) -> None:
        """`alone`: no other master uses our sockets, so the files of unix ones are removed with them.

        `release` is called in each new worker: it closes what is the master's and not the generations'.
        """
        self.all: list[Generation] = []  # those with processes, oldest first
        self.current: Generation  # from the first `adopt` on
        self.sockets: sockets.Sockets = {}
        self.totals = worker_stats.WorkerStats()
        self.server_stats = ServerStats(time.time())
        self._loop = loop
        self._log = log
        self._reports = reports
        self._on_report = on_report
        self._on_death = on_death
        self._release = release
        self.alone = alone
        self._handover = Handover()
        self._count = 0
        self.restarts = 0  # workers that died and had to be replaced
        self.deaths: deque[tuple[float, int, str]] = deque(maxlen=DEATHS)  # of these: Unix time, slot, how
        self._ending = False  # the master stops: forget the current generation too when it is gone
        self._prune = False  # sockets of an older configuration may be open

    def workers(self) -> Iterator[tuple[Generation, Worker]]:
        """Every live process with its generation, oldest first."""
        return ((generation, worker) for generation in self.all for worker in generation)

    def processes(self) -> Iterator[tuple[Generation, Worker]]:
        """The same with the checkers."""
        return ((generation, worker) for generation in self.all for worker in generation.processes())

    # Generations

    def ask(self, now: float) -> None:
        """A reload begins: let the workers that serve say what they have learned."""
        asked = [worker for worker in self.current if worker.ready]
        self._handover.begin(self.current, {worker.slot for worker in asked}, now)
        for worker in asked:
            try:
                worker.channel.send({"cmd": "tell"})
                self._watch(self.current, worker)
            except (OSError, ChannelError) as error:
                self._log.alert(f"worker process {worker.pid} cannot be asked what it has learned: {error}")

    def told_by(self) -> float:
        """time.monotonic() until which a reload waits for what they say; 0: they have said it."""
        return self._handover.until()

    def adopt(self, prepared: Prepared, shm: mmap.mmap) -> None:
        """A new current generation. Its workers are forked by the next `step`; takes what `prepared` owns."""
        if self.all:  # what the old workers know of the servers: the new ones do not know since when
            self.server_stats.snapshot(self.workers(), self.current)
        self._count += 1
        self.sockets = prepared.binding.commit()
        self._prune = True
        self.current = Generation(
            self._count,
            prepared.config,
            prepared.compiled,
            prepared.identity,
            prepared.error_logs,
            prepared.files,
            shm,
            self._fork,
        )
        del prepared.compiled  # it goes with its generation, and who has started us still has `prepared`
        self.current.learned = self._handover.give(prepared.config)
        self._carry_checks()
        self.all.append(self.current)

    def _carry_checks(self) -> None:
        """What the checks of the generation before have found."""
        if not self.all:
            return
        old, new = self.all[-1], self.current
        places = {(one.kind, one.name): number for number, one in enumerate(new.config.upstreams) if one.check}
        numbers = {
            number: places[one.kind, one.name]
            for number, one in enumerate(old.config.upstreams)
            if (one.kind, one.name) in places
        }
        _fast.health_carry(new.shm, new.config.check_memory, old.shm, old.config.check_memory, numbers)

    def step(self, now: float) -> None:
        """Fork, hand over, kill: whatever is due."""
        for generation in self.all:
            self._spawn(generation, now)
            for worker in generation.kill_overdue(now):
                self._log.alert(f"{worker.what} {worker.pid} has not ended within {KILL_AFTER_S:.0f} s: killed")
        self._hand_over(now)
        for generation in [generation for generation in self.all if generation.gone]:
            if generation is not self.current:
                self.all.remove(generation)
                generation.close()
            elif self._ending:  # its files stay open: the master writes to them until the end
                self.all.remove(generation)

    def _spawn(self, generation: Generation, now: float) -> None:
        try:
            for worker in generation.spawn_due(now):
                self._log.notice(f"start {worker.what} {worker.pid}")
        except OSError as error:
            self._log.alert(f"fork() failed while spawning a worker ({error.errno}: {error.strerror})")

    def _hand_over(self, now: float) -> None:
        """When the current generation serves, the older ones finish."""
        if not self._prune or not self.current.ready:
            return
        self._prune = False
        for generation in self.all[:-1]:
            generation.stop(_fast.STOP_RELOAD, now)
        sockets.prune(self.sockets, sockets.wants(self.current.config), self.alone())

    def stop(self, mode: int, now: float, *, ending: bool) -> None:
        """Tell all workers to stop (STOP_*); nothing is forked any more in these generations. `ending`: for good.

        In the end clients are refused at once, instead of waiting in a backlog that nobody reads.
        """
        for generation in self.all:
            generation.stop(mode, now)
        if ending:
            self._ending = True
            status = [want for want in sockets.wants(self.current.config) if want.key[0] == "status"]
            sockets.prune(self.sockets, status, self.alone())

    def deadline(self) -> float | None:
        return min((at for generation in self.all if (at := generation.deadline()) is not None), default=None)

    # Processes

    def _fork(self, generation: Generation, slot: Slot) -> Worker:
        ours, theirs = socket.socketpair()
        _fast.clear_stats(generation.shm, slot.number, generation.layout)
        gc.freeze()  # the worker's collector shall not write to what it shares with us
        try:
            pid = os.fork()
        except OSError:
            gc.unfreeze()
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            become_worker(lambda: self._job(generation, slot, ours, theirs), self._log, slot is generation.checker)
        gc.unfreeze()
        theirs.close()
        generation.learned.pop(slot.number, None)  # it is old news for whoever comes next in this slot
        worker = Worker(pid, slot.number, generation.number, Endpoint(ours, takes_fds=False), time.monotonic())
        worker.checker = slot is generation.checker
        self._loop.watch(worker.channel, READ, partial(self._on_channel, generation, worker))
        return worker

    def _job(self, generation: Generation, slot: Slot, ours: socket.socket, theirs: socket.socket) -> Job:
        """In the worker: close what is not its own, collect what is."""
        self._release()
        ours.close()
        for _, worker in self.processes():
            worker.channel.close()
        # The engine owns its listeners from here on: a Python object must not close them.
        fds: list[int | None] = [None] * len(generation.config.listeners)  # the checker's
        if slot is not generation.checker:
            fds = [sock.detach() for sock in sockets.members_of(self.sockets, generation.config, slot.number)]
        sockets.close_copies(self.sockets)
        for other in self.all:
            if other is not generation:
                other.close()
        return Job(
            config=generation.config,
            compiled=generation.compiled,
            slot=slot.number,
            shm=generation.shm,
            listeners=fds,
            files=generation.files,
            error_logs=generation.error_logs,
            channel=theirs,
            known=self._reports.for_start(generation.config),
            learned=generation.learned.get(slot.number, {}),
            identity=generation.identity,
            log=self._log,
            checker=slot is generation.checker,
        )

    def reap(self, now: float) -> None:
        """Reap every child that has died."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            found = [(generation, worker) for generation, worker in self.processes() if worker.pid == pid]
            for generation, worker in found:
                self._reap(generation, worker, status, now)
            if not found:
                self._on_death(pid, status)

    def _reap(self, generation: Generation, worker: Worker, status: int, now: float) -> None:
        self._drain(generation, worker)  # its last reports
        level, text = exit_text(worker.what, worker.pid, status)
        self._log.write(level, text)
        self._close_channel(worker)
        self._reports.forget(worker.pid)
        self._ask_for_lists()
        if not worker.checker:
            self.server_stats.reap(self.workers(), self.current, generation, worker)
            self.totals.reap(_fast.read_stats(generation.shm, worker.slot))
        _fast.clear_stats(generation.shm, worker.slot, generation.layout)
        _fast.tls_sessions_release(worker.pid)
        delay = generation.reaped(worker, now)
        if delay is not None:
            self.restarts += 1
            self.deaths.append((time.time(), worker.slot, text))
        if delay:
            deaths = generation.places[worker.slot].deaths
            name = "the checker" if worker.checker else f"worker {worker.slot}"
            self._log.warn(f"{name} died {deaths} times in a row soon after its start, next in {delay:g} s")

    # Channels

    def _on_channel(self, generation: Generation, worker: Worker, events: int) -> None:
        try:
            if events & WRITE:
                worker.channel.flush()
            if events & READ:
                self._receive(generation, worker)
            self._watch(generation, worker)
        except (OSError, ChannelError, ValueError) as error:
            self._log.alert(f"the channel of worker process {worker.pid} is broken: {error}")
            self._close_channel(worker)
            worker.kill(signal.SIGTERM)  # it could not be told anything any more

    def _receive(self, generation: Generation, worker: Worker) -> bool:
        frames, is_open = worker.channel.receive()
        for frame in frames:
            self._on_frame(generation, worker, frame)
        if not is_open:  # dead, or soon: waitpid will tell
            self._close_channel(worker)
        return bool(frames) and is_open

    def _drain(self, generation: Generation, worker: Worker) -> None:
        """What a dead worker had still said."""
        try:
            while worker.channel.fileno() >= 0 and self._receive(generation, worker):
                pass
        except (OSError, ChannelError, ValueError) as error:
            self._log.alert(f"the channel of worker process {worker.pid} is broken: {error}")

    def _on_frame(self, generation: Generation, worker: Worker, frame: Frame) -> None:
        """Raises ValueError for what no worker says."""
        say = frame.body.get("say")
        if say == "ready":
            worker.ready = True
        elif say == "report":
            report = Report.from_json(frame.body.get("report", {}))
            if not 0 <= report.upstream < len(generation.config.upstreams):
                raise ValueError(f"report of upstream {report.upstream}")
            self._on_report(worker, generation.config.upstreams[report.upstream], report)
            self._ask_for_lists()
        elif say == "learned":
            self._handover.take(generation.number, worker.slot, frame.body.get("upstreams"))
        else:
            raise ValueError(f"unknown message {say!r}")

    def _ask_for_lists(self) -> None:
        """Each list that is new comes from one worker."""
        wanted = self._reports.to_ask()
        workers = {worker.pid: (generation, worker) for generation, worker in self.workers()} if wanted else {}
        for pid, upstream in wanted:
            if pid in workers and workers[pid][1].channel.fileno() >= 0:
                generation, worker = workers[pid]
                try:
                    worker.channel.send({"cmd": "list", "upstream": upstream})
                    self._watch(generation, worker)
                except (OSError, ChannelError) as error:
                    self._log.alert(f"worker process {pid} cannot be asked for a list: {error}")

    def _watch(self, generation: Generation, worker: Worker) -> None:
        if worker.channel.fileno() >= 0:
            events = READ | (WRITE if worker.channel.wants_write else 0)
            self._loop.watch(worker.channel, events, partial(self._on_channel, generation, worker))

    def _close_channel(self, worker: Worker) -> None:
        if worker.channel.fileno() >= 0:
            self._loop.forget(worker.channel)
            worker.channel.close()

    # Certificates

    def renew(self, generation: Generation, fd: int) -> None:
        """Give what lb.master.certificates has read to the workers that serve with it; those to come have it."""
        for worker in generation:
            try:
                worker.channel.send({"cmd": "certificates"}, [fd])
                self._watch(generation, worker)
            except (OSError, ChannelError) as error:
                self._log.alert(f"worker process {worker.pid} cannot be given new certificates: {error}")

    def staple(self, generation: Generation, rows: list[Row]) -> None:
        """Give new OCSP responses to the workers that serve with it."""
        for worker in generation:
            try:
                worker.channel.send({"cmd": "staples", "staples": rows})
                self._watch(generation, worker)
            except (OSError, ChannelError) as error:
                self._log.alert(f"worker process {worker.pid} cannot be given OCSP responses: {error}")

    # Logs

    def reopen(self) -> None:
        """Open every log anew, and give the new files to all workers, also to those that are finishing."""
        for generation in self.all:
            try:
                logfiles.reopen(generation.files)
            except OSError as error:
                self._log.emerg(logfiles.failed(error))
                continue
            for worker in generation.processes():
                self._send_files(generation, worker)

    def _send_files(self, generation: Generation, worker: Worker) -> None:
        paths = list(generation.files)
        try:
            worker.channel.send({"cmd": "reopen", "paths": paths}, [generation.files[path] for path in paths])
            self._watch(generation, worker)
        except (OSError, ChannelError) as error:
            self._log.alert(f"worker process {worker.pid} cannot be told to reopen its logs: {error}")


def exit_text(what: str, pid: int, status: int) -> tuple[str, str]:
    """(level, text) of nginx for a process that has ended. An exit code other than 0 is our alert."""
    if os.WIFSIGNALED(status):
        core = " (core dumped)" if os.WCOREDUMP(status) else ""
        return "alert", f"{what} {pid} exited on signal {os.WTERMSIG(status)}{core}"
    code = os.waitstatus_to_exitcode(status)
    return "notice" if code == 0 else "alert", f"{what} {pid} exited with code {code}"
