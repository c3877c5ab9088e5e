"""From a configuration file to a running master: everything that can still fail in front of the operator.

Errors go to stderr (`lb: [emerg] ...`) and to the error log, and the exit code is 1.  When `start` forks away or enters
the loop, every socket listens, every log is open and the pid file is written.
"""

from __future__ import annotations

import errno
import os
import resource
import time

from lb import __version__, _fast
from lb.config import Problem
from lb.config.excerpt import explain
from lb.log import Log, Target, print_error, targets
from lb.master import child, daemon, doubts, holders, inherit, pidfile, sockets, ticket_keys
from lb.master.arbiter import Master
from lb.master.inherit import Inherited
from lb.master.reload import CHILD_NAME, Loaded, Prepared, prepare, read, read_and_compile
from lb.master.sockets import BindError, Binding, Want
from lb.model import Config
from lb.process import logfiles, title
from lb.process.identity import Identity
from lb.process.source import Source


def early_log(source: Source) -> Log:
    """The log until the configuration names one: stderr, and the file of -e where it can be opened."""
    log = Log(console=True)
    if source.error_log == "stderr":
        return log
    try:
        fd = os.open(source.error_log, logfiles.FLAGS, logfiles.MODE)
    except OSError as error:
        if source.error_log_given:
            print_error(f"lb: [alert] could not open error log file: {logfiles.failed(error)}")
        return log
    log.targets = (Target(fd, "error"),)
    return log


def load(source: Source, log: Log) -> Loaded | None:
    """Read the configuration and say what is wrong with it; None if it cannot be used."""
    return _said(read(source), log)


def load_compiled(source: Source, log: Log) -> tuple[Loaded, _fast.Compiled] | None:
    """`load` in a child, as a reload does it: the model of the servers is never in the master, or in what it forks."""
    try:
        compiled = _fast.Compiled()
        outcome = child.run(lambda: read_and_compile(source, compiled), CHILD_NAME, compiled.descriptors())
        loaded = _said(outcome.value, log) if not outcome.error else None
        while loaded is not None and not compiled.step((*loaded.config.tls, *loaded.config.tls_up)):
            pass
    except OSError as error:
        log.emerg(logfiles.failed_call(error))
        return None
    if outcome.error:
        log.emerg(outcome.error)
    return (loaded, compiled) if loaded is not None else None


def _said(loaded: Loaded | tuple[Problem, ...], log: Log) -> Loaded | None:
    if not isinstance(loaded, Loaded):
        for problem in loaded:
            log.write("emerg", str(problem), shown=explain(problem))
        return None
    for warning in loaded.config.warnings:
        log.warn(warning)
    return loaded


def start(source: Source) -> int:
    """Run a master until it ends. Returns the exit code; with `daemon on` only in the daemon."""
    log = early_log(source)
    inherited = inherit.collect()
    ticket_keys.collect()
    prepared = _prepare(source, inherited, log)
    if prepared is None:
        return 1
    _use(log, prepared)
    try:
        _bind(prepared.binding)
    except BindError:
        _say_who_is_there(prepared.config, log)
        prepared.abandon()
        return 1
    return _serve(source, prepared, inherited, log)


def _prepare(source: Source, inherited: Inherited, log: Log) -> Prepared | None:
    made = load_compiled(source, log)
    if made is None:
        return None
    loaded, compiled = made
    return prepare(loaded, compiled, source, inherited.take(sockets.wants(loaded.config)), log)


def _use(log: Log, prepared: Prepared) -> None:
    """From here on the configuration's own logs."""
    for target in log.targets:
        if target.fd > 2:
            os.close(target.fd)
    log.targets = targets(prepared.error_logs, prepared.files)


def _bind(binding: Binding) -> None:
    """The one place that sleeps: nobody is served yet. Raises BindError."""
    while not binding.done:
        binding.step(time.monotonic())
        if not binding.done:
            time.sleep(max(0.0, binding.retry_at - time.monotonic()))


def _say_who_is_there(config: Config, log: Log) -> None:
    """Which processes have our addresses, and what to do about them."""
    found = holders.find(want.address for want in sockets.wants(config))
    for address, some in found.items():
        log.emerg(holders.told(address, some))
    left = sorted({one.pid for some in found.values() for one in some or () if one.orphan})
    if left:
        log.emerg(
            f"these are {len(left)} worker processes whose master is gone: "
            'end them with "lb -s quit" (or stop), and the -c and -p of this start'
        )


def _serve(source: Source, prepared: Prepared, inherited: Inherited, log: Log) -> int:
    config = prepared.config
    if inherited.text:
        log.notice(f'using inherited sockets from "{inherited.text}"')
    log.notice(f"lb/{__version__} as nginx/{_fast.NGINX_VERSION}")
    system = os.uname()
    log.notice(f"OS: {system.sysname} {system.release}")
    log.notice("getrlimit(RLIMIT_NOFILE): {}:{}".format(*resource.getrlimit(resource.RLIMIT_NOFILE)))
    detached = bool(inherited.text)  # by the old binary
    parent = daemon.detach() if config.daemon and not detached else None
    master = Master(source, log, inherited, daemonized=config.daemon or detached)
    try:
        master.adopt(prepared)
    except OSError as error:
        log.emerg(logfiles.failed(error))
        prepared.abandon()
        return 1
    log.console = False
    title.show_master()
    if parent is not None:
        parent.release()
    return master.run()


# lb -t


def check(source: Source, config: Config, identity: Identity | None, log: Log) -> bool:
    """Whether lb could start with this: pid file and logs can be opened, addresses can be bound. As nginx -t.

    It also warns about places on the disk that could give trouble later.
    """
    wanted = logfiles.paths(config, logfiles.error_logs(config, source))
    logfiles.make_directory(config, source, wanted)
    try:
        pidfile.touch(config.pid)
        logfiles.close_all(logfiles.open_all(wanted))
    except OSError as error:
        log.emerg(logfiles.failed(error))
        return False
    for doubt in doubts.of(config, identity):
        log.warn(doubt)
    return not [want for want in sockets.wants(config) if not _can_bind(want, log)]  # each failure is said


def _can_bind(want: Want, log: Log) -> bool:
    try:
        sock = sockets.bind(want)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # most likely by the lb that runs
            return True
        log.emerg(sockets.failed(error))
        return False
    sockets.close({want.key: [sock]})
    return True
