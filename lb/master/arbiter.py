"""The master: one loop that looks after everything and waits for nothing.

A turn: wait until something is ready or the next deadline, run the callbacks, act on signals, reap the dead, then
manage whatever is due.  Each verb returns at once; what takes time is a deadline that a later turn looks at, or a
child's work (child).  All state of the master is changed here and in what it owns, in this one thread.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Final

from lb import _fast
from lb.log import Log, targets
from lb.master import pidfile, sockets, upgrade, worker_stats
from lb.master.acme import Acme
from lb.master.certificates import CertificateWatch
from lb.master.generation import Generation, Worker
from lb.master.generations import Generations, exit_text
from lb.master.heartbeat import Heartbeats
from lb.master.inherit import Inherited
from lb.master.reload import Loaded, Prepared, Reload, prepare
from lb.master.reports import Dumps, Key, Reports, key_of
from lb.master.stapling import Stapling
from lb.master.systemd import Notifier, status_line
from lb.master.ticket_keys import TicketKeys, descriptor
from lb.master.view import make_health, make_view
from lb.model import Upstream
from lb.process import logfiles
from lb.process.loop import READ, Loop
from lb.process.signals import Caught, SignalQueue
from lb.process.source import Source
from lb.status.pages import View
from lb.status.server import StatusServer
from lb.upsync.report import Report

DUMPS_AT_END_S: Final = 5.0  # how long the end waits for a dump that is being written
AFTER_BUG_S: Final = 0.1  # between turns that fail: a bug must not become a busy loop

STOPS: Final = {signal.SIGTERM: _fast.STOP_NOW, signal.SIGINT: _fast.STOP_NOW, signal.SIGQUIT: _fast.STOP_QUIT}
ACTIONS: Final = {
    signal.SIGHUP: ", reconfiguring",
    signal.SIGINT: ", exiting",
    signal.SIGQUIT: ", shutting down",
    signal.SIGTERM: ", exiting",
    signal.SIGUSR1: ", reopening logs",
    signal.SIGUSR2: ", changing binary",
    signal.SIGWINCH: ", stop accepting connections",
}
IGNORED: Final = {signal.SIGUSR2: ", ignoring"}


@dataclass(frozen=True, slots=True)
class LastReload:
    """The last SIGHUP that is over. `error` is empty when it went well."""

    at: float  # Unix time
    error: str


class Master:
    """Owns the loop, the generations with their sockets, the reports, the dumps, the pid file and the status port."""

    def __init__(self, source: Source, log: Log, inherited: Inherited, *, daemonized: bool) -> None:
        """Blocks the signals: to be made in the process that stays (after daemon.detach)."""
        self.log = log
        self.reports = Reports()
        self.last_reload: LastReload | None = None
        self.reloads = 0  # that are over
        self.reloads_failed = 0  # of them
        self.stopping: int | None = None  # STOP_*: the master ends when no worker is left
        self._source = source
        self._inherited = inherited
        self._successor: int | None = None  # pid of the new binary, while it runs
        self._daemonized = daemonized
        self._loop = Loop()
        self._signals = SignalQueue()
        self._caught: list[Caught] = []
        self._loop.watch(self._signals, READ, lambda _: self._caught.extend(self._signals.read()))
        self.generations = Generations(
            self._loop, log, self.reports, self._on_report, self._on_death, self._release, self._alone
        )
        self.started = self.generations.server_stats.started
        self.heartbeats = Heartbeats(self.generations, log)
        self.dumps = Dumps(self._loop, log)
        self.ticket_keys = TicketKeys(log)
        self.acme = Acme(self._loop, log, lambda: self._inherited.has_parent)
        self.certificates = CertificateWatch(self._loop, log, self._renewed)
        self.stapling = Stapling(self._loop, log, self.generations.staple)
        self._systemd = Notifier(log)
        self._announced = False  # systemd knows that the current configuration is served
        self._status = StatusServer(self._loop, self.view, self.health, log)
        self._reload: Reload | None = None
        self._reload_again = False  # a SIGHUP came during a reload
        self._pid_path = ""
        self._followed: dict[Key, Upstream] = {}  # the upstreams of the current configuration that have upsync
        self._dumps_until = float("inf")

    # The loop

    def run(self) -> int:
        """Serve until told to stop. Returns the exit code."""
        while not self._over():
            try:
                self._turn()
            except Exception:
                self.log.traceback("alert", "the master goes on after an error of its own")
                time.sleep(AFTER_BUG_S)
        self._end()
        return 0

    def _turn(self) -> None:
        for callback, events in self._loop.turn(self._deadline() - time.monotonic()):
            callback(events)
        while self._caught:
            self._on_signal(self._caught.pop(0))
        now = time.monotonic()
        self.generations.reap(now)
        self._manage(now)

    def _deadline(self) -> float:
        reload = self._reload.deadline() if self._reload is not None else None
        if self._reload is not None and self._reload.prepared is not None:
            reload = self.generations.told_by()
        stop = self._dumps_until if self.stopping is not None else None
        own = (self.generations.deadline(), self.heartbeats.deadline(), self.dumps.deadline(), self._status.deadline())
        deadlines = (
            *own,
            self.ticket_keys.deadline(),
            self._systemd.deadline(),
            self.certificates.deadline(),
            self.acme.deadline(),
            self.stapling.deadline(),
            reload,
            stop,
        )
        return min((at for at in deadlines if at is not None), default=float("inf"))

    def _manage(self, now: float) -> None:
        self._step_reload(now)
        self.ticket_keys.step(now)
        self.generations.step(now)
        self.heartbeats.step(now)
        self._tell_systemd(now)
        self.dumps.step(now)
        self.certificates.step(now)
        self.acme.step(now)
        self.stapling.step(now)
        self._status.step(now)

    # Signals

    def _on_signal(self, caught: Caught) -> None:
        number = signal.Signals(caught.number)
        ignored = self._is_ignored(caught)
        action = IGNORED if ignored else ACTIONS
        self.log.notice(f"{caught}{action.get(number, '')}")
        if number in STOPS:
            self.stop(STOPS[number])
        elif number == signal.SIGHUP:
            self.reconfigure()
        elif number == signal.SIGUSR1:
            self.reopen()
        elif number == signal.SIGUSR2 and ignored:
            self.log.alert(upgrade.REFUSED)
        elif number == signal.SIGUSR2:
            self.change_binary()
        elif number == signal.SIGWINCH and not ignored:
            self.generations.stop(_fast.STOP_QUIT, time.monotonic(), ending=False)

    def _is_ignored(self, caught: Caught) -> bool:
        if caught.number == signal.SIGWINCH:  # a terminal sends it when its size changes
            return not self._daemonized and (self._successor is None or not caught.sender)
        busy = self._successor is not None or self._inherited.has_parent or self.stopping is not None
        return caught.number == signal.SIGUSR2 and busy

    def stop(self, mode: int) -> None:
        """Begin to end: STOP_NOW, or STOP_QUIT to finish what is in flight first."""
        if self._successor is not None:
            self._systemd.hand_to(self._successor)
        elif not self._inherited.has_parent:
            self._systemd.stopping()
        self.stopping = mode
        self.acme.close()
        self._reload_again = False
        if self._reload is not None:
            self._reload.cancel()
            self._reload = None
        self.generations.stop(mode, time.monotonic(), ending=True)

    def reopen(self) -> None:
        self.log.notice("reopening logs")
        self.generations.reopen()
        self._use_logs()

    # Configurations

    def adopt(self, prepared: Prepared) -> None:
        """Serve this configuration from now on. Raises OSError (pid file): then nothing has changed."""
        shm = worker_stats.new_block(prepared.config)
        path = prepared.config.pid
        if path != self._pid_path and self._successor is None:
            pidfile.create(path, os.getpid())
            if self._pid_path:
                pidfile.remove(self._pid_path, os.getpid())
            self._pid_path = path
        self.acme.follow(prepared.config.acme)
        self.generations.adopt(prepared, shm)
        self.ticket_keys.adopt(prepared.config, has_parent=self._inherited.has_parent)
        self.certificates.follow(self.generations.current)
        self.stapling.follow(self.generations.current)
        self._use_logs()
        self.reports.keep_only(prepared.config)
        self._followed = {key_of(one): one for one in prepared.config.upstreams if one.upsync is not None}
        self.dumps.keep_only({one.upsync.dump_path for one in self._followed.values() if one.upsync is not None})
        for key in self._followed:  # the path of a dump may be new
            self._want_dump(key)
        self._show_status()
        self.log.notice("start worker processes")

    def _renewed(self, generation: Generation, fd: int) -> None:
        self.generations.renew(generation, fd)
        self.stapling.follow(generation)

    def _use_logs(self) -> None:
        generation = self.generations.current
        self.log.targets = targets(generation.error_logs, generation.files)
        logfiles.redirect_stderr(generation.config, generation.error_logs, generation.files)

    def reconfigure(self) -> None:
        """Start a reload; during one, start another when it is over."""
        if self.stopping is not None:
            return
        if self._reload is not None:
            self._reload_again = True
            return
        if self._successor is not None:
            self._revive()
            return
        self.log.notice("reconfiguring")
        self._systemd.reloading()
        self._announced = False
        try:
            self._reload = Reload(self._source, self.generations.sockets, self._loop, self.log, time.monotonic())
        except OSError as error:
            self._reloaded(logfiles.failed_call(error))
            return
        self.generations.ask(time.monotonic())

    def _step_reload(self, now: float) -> None:
        reload = self._reload
        if reload is None:
            return
        reload.step(now)
        if reload.failed:
            self._reloaded(reload.failed)
        elif reload.prepared is not None and now >= self.generations.told_by():
            self._reloaded(self._try_adopt(reload.prepared))
        else:
            return
        self._reload = None
        if self._reload_again:
            self._reload_again = False
            self.reconfigure()

    def _try_adopt(self, prepared: Prepared) -> str:
        try:
            self.adopt(prepared)
        except OSError as error:
            prepared.abandon()
            text = logfiles.failed(error)
            self.log.emerg(text)
            return text
        for warning in prepared.config.warnings:
            self.log.warn(warning)
        return ""

    def _reloaded(self, error: str) -> None:
        self.last_reload = LastReload(time.time(), error)
        self.reloads += 1
        self.reloads_failed += bool(error)
        if error:
            self.log.error(f"the configuration stays as it was: {error}")

    # Another binary (upgrade)

    def change_binary(self) -> None:
        """Start the new binary beside us."""
        self.log.notice("changing binary")
        old = self._pid_path + upgrade.OLD
        try:
            os.rename(self._pid_path, old)
        except OSError as error:
            self.log.alert(f"rename {self._pid_path} to {old} failed ({error.errno}: {error.strerror})")
            return
        try:
            members = [sock for some in self.generations.sockets.values() for sock in some]
            self._successor = upgrade.spawn((sock.fileno() for sock in members), descriptor())
        except OSError as error:
            self.log.alert(f"fork() failed while spawning the new binary ({error.errno}: {error.strerror})")
            os.rename(old, self._pid_path)
            return
        self.log.notice(f"start new binary process {self._successor}")
        self._show_status()

    def _alone(self) -> bool:
        """Nobody else uses our sockets: the files of unix ones go with them."""
        return self._successor is None and not self._inherited.has_parent and not self._inherited.keeps_files

    def _show_status(self) -> None:
        """Answer on the status port, unless the new binary does."""
        config = self.generations.current.config
        listening = self._successor is None
        addresses = config.status_listen if listening else ()
        self._status.listen(sockets.with_role(self.generations.sockets, "status", addresses), config.status_hosts)

    def _on_death(self, pid: int, status: int) -> None:
        """A child that is no worker: one that works for the master, or the new binary."""
        if pid != self._successor:
            self.acme.reaped(pid, status)
            return
        self.log.write(*exit_text("new binary process", pid, status))
        self._successor = None
        try:
            os.rename(self._pid_path + upgrade.OLD, self._pid_path)
        except OSError as error:
            self.log.alert(f"rename of {self._pid_path}{upgrade.OLD} failed ({error.errno}: {error.strerror})")
        self._show_status()
        if self.stopping is None and self.generations.current.stopping is not None:
            self._revive()

    def _revive(self) -> None:
        """After WINCH: workers again, with the configuration as it was."""
        generation = self.generations.current
        if generation.stopping is None:
            self.log.notice("the new binary runs: the configuration is not read again")
            return
        prepared = prepare(
            Loaded(generation.config, generation.identity),
            generation.compiled,
            self._source,
            self.generations.sockets,
            self.log,
        )
        if prepared is not None:
            prepared.binding.step(time.monotonic())  # every socket is there
            self._try_adopt(prepared)

    # What workers report

    def _on_report(self, worker: Worker, upstream: Upstream, report: Report) -> None:
        self.reports.take(worker.pid, upstream, report, worker.generation)
        self._want_dump(key_of(upstream))

    def _want_dump(self, key: Key) -> None:
        """Dump what is known of it where the current configuration says, which may be newer than the worker's."""
        upstream = self._followed.get(key)
        known = self.reports.known(upstream) if upstream is not None else None
        if upstream is not None and upstream.upsync is not None and known is not None and known.source == "consul":
            self.dumps.want(upstream.upsync.dump_path, known.servers)

    def view(self) -> View:
        """What the status port shows, now."""
        return make_view(self)

    def health(self) -> View:
        """The part of it that says whether lb is well: cheap."""
        return make_health(self)

    # systemd

    def _tell_systemd(self, now: float) -> None:
        if not self._systemd.on or self._inherited.has_parent or self.stopping is not None:
            return
        if not self._announced and self._reload is None and self.generations.current.ready:
            self._announced = True
            self._systemd.ready()
            self._systemd.keep(self.generations.sockets)
        if self._systemd.due(now):
            self._systemd.step(now, self._status_line(), self.heartbeats.fresh)

    def _status_line(self) -> str:
        said = [list(self.reports.by_worker(upstream).values()) for upstream in self._followed.values()]
        states = [
            (
                bool(some) and all(one.source == "consul" and not one.error for one in some),
                max((one.index for one in some), default=0) - min((one.index for one in some), default=0),
            )
            for some in said
        ]
        ready = sum(worker.ready for worker in self.generations.current)
        return status_line(ready, states, self.last_reload.error if self.last_reload is not None else "")

    # The end

    def _over(self) -> bool:
        if self.stopping is None or self.generations.all:
            return False
        now = time.monotonic()
        self._dumps_until = min(self._dumps_until, now + DUMPS_AT_END_S)
        return self.dumps.idle or now >= self._dumps_until

    def _end(self) -> None:
        self._status.close()
        self.dumps.close()
        self.certificates.close()
        self.stapling.close()
        sockets.close(self.generations.sockets, self._alone())
        if self._alone():
            self.acme.forget()
        pidfile.remove(self._pid_path + (upgrade.OLD if self._successor is not None else ""), os.getpid())
        self.log.notice("exit")

    def _release(self) -> None:
        """In a new worker: close what is the master's alone."""
        self._loop.close()
        self._signals.close()
        self._status.close()
        self.dumps.close_copy()
        self.certificates.close_copies()
        self.acme.close_copy()
        self.stapling.close_copies()
        if self._reload is not None:
            self._reload.close_copies()
