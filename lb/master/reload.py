"""A new configuration while the old one serves: read and compiled in a child, logs opened, sockets bound, handed over.

    reading -> taking -> binding -> prepared | failed

Of the servers of http{} and stream{} the master gets what the child has compiled (`_fast.Compiled`), never their
model: for thousands of servers it takes a child a second to make, and would take each worker a hundred megabytes.

Each step returns at once.  Until `prepared` is taken nothing of the running configuration is touched; `failed` leaves
nothing behind.  The reasons for a failure are in the log by then, in nginx's words.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import Final

from lb._fast import Compiled
from lb.config import ConfigError, Problem, load, tls_keys
from lb.log import Log
from lb.master.child import Child
from lb.master.sockets import BindError, Binding, Sockets, wants
from lb.model import Config, ErrorLog
from lb.process import logfiles
from lb.process.identity import Identity, UnknownName, resolve
from lb.process.loop import Loop
from lb.process.source import Source

CHILD_NAME: Final = "reading the configuration"
READ_WITHIN_S: Final = 60.0  # a configuration of thousands of names behind a slow resolver


@dataclass(frozen=True, slots=True)
class Loaded:
    config: Config  # without the servers of its listeners, once they are compiled
    identity: Identity | None


@dataclass(slots=True)
class Prepared:
    """Everything a new generation needs. Who takes it owns `files` and the new sockets."""

    config: Config
    compiled: Compiled
    identity: Identity | None
    error_logs: tuple[ErrorLog, ...]
    files: logfiles.Files
    binding: Binding

    def abandon(self) -> None:
        logfiles.close_all(self.files)
        self.binding.abandon()

    def close_copies(self) -> None:
        """In a forked worker: a port that is bound for others must not stay open here."""
        logfiles.close_all(self.files)
        self.binding.close_copies()
        del self.compiled


def read(source: Source) -> Loaded | tuple[Problem, ...]:
    """Load and look up everything that may wait. A tuple: the errors."""
    try:
        config = load(source.path, prefix=source.prefix, globals=source.globals)
        return Loaded(config, resolve(config))
    except ConfigError as error:
        return error.errors
    except UnknownName as error:
        return (Problem(str(error)),)


def read_and_compile(source: Source, compiled: Compiled) -> Loaded | tuple[Problem, ...]:
    """`read`, in a child: what is only for the engine stays in `compiled`."""
    gc.disable()  # nearly all that is made stays until the child ends: the collector took a fifth of its time
    loaded = read(source)
    if not isinstance(loaded, Loaded):
        return loaded
    config = loaded.config
    compiled.fill(config, logfiles.error_logs(config, source), tls_keys.kept)
    bare = tuple(replace(listener, http=(), stream=None) for listener in config.listeners)
    return Loaded(replace(config, listeners=bare, maps=()), loaded.identity)


def prepare(loaded: Loaded, compiled: Compiled, source: Source, have: Sockets, log: Log) -> Prepared | None:
    """Open the logs, and get ready to bind. None: a log cannot be opened; the reason is in `log`."""
    logs = logfiles.error_logs(loaded.config, source)
    wanted = logfiles.paths(loaded.config, logs)
    logfiles.make_directory(loaded.config, source, wanted)
    try:
        files = logfiles.open_all(wanted)
    except OSError as error:
        log.emerg(logfiles.failed(error))
        return None
    binding = Binding(wants(loaded.config), have, log.emerg)
    return Prepared(loaded.config, compiled, loaded.identity, logs, files, binding)


class Reload:
    """One SIGHUP on its way. `failed` and `prepared` are its two ends."""

    def __init__(self, source: Source, have: Sockets, loop: Loop, log: Log, now: float) -> None:
        """Start reading. Raises OSError: without `filename` it is of fork()."""
        self._source = source
        self._have = have
        self._log = log
        self._loaded: Loaded | None = None
        self._preparing: Prepared | None = None
        self._compiled = compiled = Compiled()
        self.child = Child(
            loop, lambda: read_and_compile(source, compiled), CHILD_NAME, now + READ_WITHIN_S, compiled.descriptors()
        )
        self.prepared: Prepared | None = None
        self.failed = ""  # why, in one line

    def step(self, now: float) -> None:
        if self.failed or self.prepared:
            return
        if self._loaded is None:
            self._take(now)
        if self._loaded is not None and self._preparing is None and not self.failed:
            self._finish(self._loaded)
        if self._preparing is not None:
            self._bind(self._preparing, now)

    def _take(self, now: float) -> None:
        self.child.check(now)
        outcome = self.child.outcome
        if outcome is None:
            return
        if outcome.error:
            self._log.alert(outcome.error)
            self.failed = outcome.error.splitlines()[-1]
        elif not isinstance(outcome.value, Loaded):
            for problem in outcome.value:
                self._log.emerg(str(problem))
            self.failed = str(outcome.value[0]).splitlines()[0]
        else:
            self._loaded = outcome.value

    def _finish(self, loaded: Loaded) -> None:
        try:
            done = self._compiled.step((*loaded.config.tls, *loaded.config.tls_up))
        except (OSError, ValueError) as error:
            self.failed = logfiles.failed_call(error) if isinstance(error, OSError) else str(error)
            self._log.alert(self.failed)
            return
        if done:
            self._preparing = prepare(loaded, self._compiled, self._source, self._have, self._log)
            self.failed = "" if self._preparing else "a log file cannot be opened"

    def _bind(self, preparing: Prepared, now: float) -> None:
        try:
            preparing.binding.step(now)
        except BindError as error:
            preparing.abandon()
            self.failed = str(error)
            return
        if preparing.binding.done:
            self.prepared = preparing

    def cancel(self) -> None:
        """The master stops: give back what this reload holds."""
        self.child.cancel("not needed any more")
        if self._preparing is not None:
            self._preparing.abandon()

    def close_copies(self) -> None:
        """In a forked worker."""
        del self._compiled
        self.child.close_copy()
        if self._preparing is not None:
            self._preparing.close_copies()

    def deadline(self) -> float:
        if self._loaded is None:
            return self.child.give_up_at
        if self._preparing is None:
            return 0.0
        return self._preparing.binding.retry_at
