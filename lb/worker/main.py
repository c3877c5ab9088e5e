"""A worker from the fork to its exit.

The main thread sets up, then runs the engine, which holds no GIL.  Around it: one control thread, and a puller
thread for each query to Consul (upstreams whose keys share a directory share one).  All three meet only in the
engine's thread-safe calls (publish, stop, reopen).
Every upstream's list is published before the first connection is accepted.
"""

from __future__ import annotations

import ctypes
import encodings.idna  # noqa: F401  names are encoded with it later, when files may not be readable any more
import gc
import mmap
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn

from lb import _fast
from lb.config import consul_tls
from lb.log import Log, targets
from lb.model import Config, ErrorLog
from lb.process import logfiles, staples, title
from lb.process.identity import Identity
from lb.process.signals import worker_mask
from lb.upsync import query_groups, start
from lb.upsync.puller import Puller
from lb.upsync.report import Report
from lb.upsync.resolver import Resolver
from lb.upsync.upstream_sync import UpstreamSync
from lb.worker import surroundings
from lb.worker.control import Control, Orders
from lb.worker.temp import make_temp_dirs

GC_OBJECTS: Final = 200_000  # made and not freed, between two runs of the collector
CHECKS_S: Final = 1.0  # how long a start waits for the first checks
PASSWORD_THREADS: Final = 2  # with auth_basic
JOIN_S: Final = 2.0  # for all pullers together, at the end
BUILDS_WITH_ATEXIT: Final = ("coverage", "profile", "asan")  # their runtime writes its findings in exit(3)


@dataclass(slots=True)
class Job:
    """What a worker gets from the master. The descriptors are the worker's own copies."""

    config: Config  # without the servers of its listeners:
    compiled: _fast.Compiled  # they are here
    slot: int
    shm: mmap.mmap
    listeners: list[int | None]  # one for each of config.listeners; None: not ours
    files: logfiles.Files  # every log of the configuration
    error_logs: tuple[ErrorLog, ...]
    channel: socket.socket
    known: dict[int, Report]  # position of an upstream -> what the master knows of it
    learned: dict[int, Any]  # position of an upstream -> what the worker before us had learned (Engine.learned)
    identity: Identity | None
    log: Log
    checker: bool = False  # it asks the servers of upstreams with `check`, and serves nobody


def become_worker(make_job: Callable[[], Job], log: Log, checker: bool = False) -> NoReturn:
    """In the forked child: be a worker until the end. Never returns into the master's code."""
    code = 1
    try:
        worker_mask()
        title.show_worker(checker=checker)
        job = make_job()
        log.targets = targets(job.error_logs, job.files)
        code = Worker(job).run()
    except BaseException:
        log.traceback("emerg", "the worker cannot go on")
    finally:
        _exit(code)


def _exit(code: int) -> NoReturn:
    """End without running what the master registered; instrumented builds need the C library's exit."""
    if _fast.BUILD in BUILDS_WITH_ATEXIT:
        ctypes.CDLL(None).exit(code)
    os._exit(code)


class Worker:
    """One worker process at work."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._log = job.log
        surroundings.set_limits(job)
        self._lists = self._first_lists()  # a dump, or a key, may lie where only root can read
        consul_tls.keep(one.upsync.tls for one in job.config.upstreams if one.upsync is not None)
        self._make_temp_dirs()
        if job.identity is not None:
            job.identity.assume(job.config.transparent)
        surroundings.settle(job)
        access, error_fd = self._files_of_engine()
        self._engine = _fast.Engine(
            job.compiled,
            job.config,
            job.listeners,
            worker=job.slot,
            shm=job.shm,
            logs=access,
            error_fd=error_fd,
            checker=job.checker,
        )
        self._control = Control(
            job.channel,
            Orders(self._stop, self._reopen, self._engine.learned, self._renew, self._send_list, self._staple),
            job.log,
            job.config.worker_orphan_timeout_ms / 1000,
        )
        self._pullers: list[Puller] = []
        self._names = Resolver()
        self._told: dict[int, Report] = {}  # the last report of each upstream
        self._telling = threading.Lock()  # what is posted last is what was told last: a list takes time to pack
        self._graceful = False  # the master has asked for a graceful stop

    def run(self) -> int:
        """Serve. Returns the exit code."""
        self._control.start()
        gc.freeze()  # what the fork brought lives as long as the worker, and lists of servers make no cycles:
        gc.set_threshold(GC_OBJECTS)  # the collector took half the time of reading one
        self._start_lists()
        self._engine.start_with(self._job.learned)
        start.wait(self._pullers)
        self._wait_for_checks()
        self._control.post("ready", {"say": "ready"})
        passwords = self._start_passwords()
        self._engine.run()
        self._engine.passwords_end()
        if self._graceful:  # the engine has said that it stops; for a hard stop it used this word
            self._log.notice("exiting")
        self._stop_pullers()
        for thread in passwords:
            thread.join(JOIN_S)  # a hash may take longer: its thread ends with the process
        self._control.finish()
        self._check_handles()
        self._log.notice("exit")
        return 0

    def _start_passwords(self) -> list[threading.Thread]:
        """Who works out the hashes of auth_basic: an event loop must not."""
        if not self._job.config.passwords or self._job.checker:
            return []
        threads = [
            threading.Thread(target=self._engine.passwords, name=f"passwords {number}", daemon=True)
            for number in range(PASSWORD_THREADS)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _wait_for_checks(self) -> None:
        """A start, or a reload with new servers, should not answer 502 because the first checks are under way."""
        until = time.monotonic() + CHECKS_S
        while not self._job.checker and self._engine.unchecked() and time.monotonic() < until:
            time.sleep(0.01)

    def _make_temp_dirs(self) -> None:
        """Every worker sees to them, before it needs them; one says what is wrong."""
        problems = make_temp_dirs(self._job.config, self._job.identity)
        for problem in problems if self._job.slot == 0 else ():
            self._log.error(f"{problem}: a larger body gets 500")

    # Upsync

    def _first_lists(self) -> list[Report]:
        """What each upstream begins with."""
        known = self._job.known
        return [start.initial(one, known.get(number), number) for number, one in enumerate(self._job.config.upstreams)]

    def _start_lists(self) -> None:
        """Publish what is known of every upstream, and start following Consul."""
        syncs: dict[int, UpstreamSync] = {}
        tell = self._report if not self._job.checker else _to_nobody  # what serves is what the master wants to know
        for number, upstream in enumerate(self._job.config.upstreams):
            report = self._lists[number]
            publish = partial(self._engine.publish, number)
            publish(*start.published(upstream, report))
            if upstream.upsync is not None:
                note = partial(self._engine.consul, number)
                syncs[number] = UpstreamSync(upstream, report, publish, tell, self._log, self._names, note)
        upsyncs = [(number, sync.upsync) for number, sync in syncs.items()]
        queries = query_groups.groups(upsyncs, self._job.config.worker_processes)
        self._pullers = [Puller([syncs[number] for number in numbers], self._log) for numbers in queries]
        for puller in self._pullers:
            puller.start()

    def _report(self, report: Report) -> None:
        """Without the list: the master asks one worker for it, if it has not seen it."""
        with self._telling:
            self._told[report.upstream] = report
            self._control.post(f"report {report.upstream}", {"say": "report", "report": report.brief()})

    def _send_list(self, upstream: int) -> None:
        with self._telling:
            report = self._told.get(upstream)
            if report is not None:
                self._control.post(f"report {upstream}", {"say": "report", "report": report.to_json()})

    def _stop_pullers(self) -> None:
        self._names.stop()
        for puller in self._pullers:
            puller.stop()
        for puller in self._pullers:
            puller.join(JOIN_S / len(self._pullers))

    # Orders of the master, in the control thread

    def _stop(self, mode: int) -> None:
        for puller in self._pullers:  # no query of an old worker may live on: Consul counts it
            puller.stop()
        self._names.stop()
        if mode != _fast.STOP_NOW:
            self._graceful = True
            title.show_worker(stopping=True, checker=self._job.checker)
        self._engine.stop(mode)

    def _reopen(self, opened: dict[str, int]) -> None:
        self._log.notice("reopening logs")
        logfiles.replace(self._job.files, opened)
        logfiles.redirect_stderr(self._job.config, self._job.error_logs, self._job.files)
        self._log.targets = targets(self._job.error_logs, self._job.files)
        access, error_fd = self._files_of_engine()
        self._engine.reopen(access, error_fd)

    def _renew(self, fd: int) -> None:
        try:
            renewals = _fast.tls_renewal_read(fd)
        finally:
            os.close(fd)
        for place, server, keys in renewals:
            try:
                self._engine.renew(place, server, keys)
            except ValueError as error:
                self._log.alert(f"a new certificate is not used: {error}")
            while keys:
                _fast.tls_forget(keys.pop())

    def _staple(self, rows: Any) -> None:
        for place, digest, response, until in staples.rows_of(rows):
            self._engine.staple(place, digest, response, until)

    # Logs and handles

    def _files_of_engine(self) -> tuple[dict[str, int], int]:
        """The engine's own copies (it closes them): every log by path, and the first error log."""
        first = self._job.error_logs[0]
        error_fd = -1
        if first.syslog is None:
            error_fd = _stderr() if first.path == "stderr" else os.dup(self._job.files[first.path])
        paths = set(logfiles.paths(self._job.config, self._job.error_logs)) - {first.path}
        fds = {one: os.dup(self._job.files[one]) for one in paths}
        if first.path != "stderr":
            fds["stderr"] = _stderr()
        return fds, error_fd

    def _check_handles(self) -> None:
        left = {kind: count for kind, count in self._engine.open_handles().items() if count}
        if left:
            self._log.alert(f"open handles at exit: {left}")


def _to_nobody(report: Report) -> None:
    pass


def _stderr() -> int:
    """A description of its own for stderr: one that never waits, where the kernel lets us open it anew."""
    try:
        return os.open("/proc/self/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a socket, or not ours
        return os.dup(2)
