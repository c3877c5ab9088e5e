"""The command line: nginx's switches, texts and exit codes.

Everything but -T and -V's details goes to stderr, as nginx does.  Relative names start from the prefix (-p), whose
default is /usr/local/lb/; the default configuration is conf/lb.conf below it, the default error log logs/error.log.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from lb import __version__, _fast
from lb.config.consul_path import hide_tokens
from lb.inspect import show as inspect
from lb.log import Log, print_error, targets
from lb.master import boot, holders, pidfile, sockets
from lb.master.reload import Loaded
from lb.model import Config
from lb.process import logfiles, title
from lb.process.source import Source

PREFIX: Final = "/usr/local/lb/"
CONF: Final = "conf/lb.conf"
ERROR_LOG: Final = "logs/error.log"
LIBRARIES: Final = ("crossplane", "h11", "prometheus-client", "psutil", "py-consul", "setproctitle")

SIGNALS: Final = {
    "stop": signal.SIGTERM,
    "quit": signal.SIGQUIT,
    "reopen": signal.SIGUSR1,
    "reload": signal.SIGHUP,
}
ENDING: Final = (signal.SIGTERM, signal.SIGQUIT)
NEEDS: Final = {"p": "directory name", "e": "file name", "c": "file name", "g": "parameter", "s": "parameter"}

HELP: Final = f"""\
Usage: lb [-?hvVtTq] [-s signal] [-p prefix]
          [-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: {PREFIX})
  -e filename   : set error log file (default: {ERROR_LOG})
  -c filename   : set configuration file (default: {CONF})
  -g directives : set global directives out of configuration file

lb inspect PID | CORE : connections and requests of a worker, of a master's workers, or of a core

A relative -c that is not there below the default prefix is taken from the working directory, then the prefix.
"""

WORDS: Final = {"--help": "-h", "help": "-h", "--version": "-v", "version": "-v", "-version": "-v"}  # what people type
SIGNAL_HELP: Final = {
    "start": "lb is started without -s",
    "restart": "-s reload takes a new configuration without a pause; a new lb: kill -USR2, as nginx",
    "status": "the status port says how lb is (status_listen)",
}


class UsageError(Exception):
    """A command line that nginx would refuse; the text is nginx's."""


@dataclass(slots=True)
class Options:
    """The switches as given."""

    help: bool = False
    version: bool = False
    build: bool = False
    test: bool = False
    dump: bool = False
    quiet: bool = False
    signal: str = ""
    prefix: str = ""
    error_log: str = ""
    conf: str = ""
    globals: str = ""


_FLAGS: Final = {
    "?": ("version", "help"),
    "h": ("version", "help"),
    "v": ("version",),
    "V": ("version", "build"),
    "t": ("test",),
    "T": ("test", "dump"),
    "q": ("quiet",),
}
_VALUES: Final = {"p": "prefix", "e": "error_log", "c": "conf", "g": "globals", "s": "signal"}


def parse(arguments: list[str]) -> Options:
    """nginx's own reading: letters may be joined (-tq), a value may follow its letter at once. Raises UsageError."""
    options = Options()
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            raise UsageError(f'invalid option: "{argument}"')
        letters = argument[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _FLAGS:
                for name in _FLAGS[letter]:
                    setattr(options, name, True)
            elif letter in _VALUES:
                setattr(options, _VALUES[letter], _value(letter, letters or next(rest, None)))
                break
            else:
                raise UsageError(f'invalid option: "{letter}"')
    return options


def _value(letter: str, value: str | None) -> str:
    if value is None:
        raise UsageError(f'option "-{letter}" requires {NEEDS[letter]}')
    if letter == "s" and value not in SIGNALS:
        hint = SIGNAL_HELP.get(value, f"it is one of: {', '.join(SIGNALS)}")
        raise UsageError(f'invalid option: "-s {value}"\n{hint}')
    return value


def main(argv: list[str] | None = None) -> int:
    """Run lb. Returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    arguments = [WORDS.get(word, word) for word in arguments[:1]] + arguments[1:]
    if arguments[:1] == ["inspect"]:
        return inspect.run(arguments[1:])
    try:
        options = parse(arguments)
    except UsageError as error:
        print_error(f"lb: {error}")
        return 1
    if options.version:
        _show_version(options)
        if not options.test:
            return 0
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the master reads its signals, Ctrl-C just ends it
    return _run(options)


def _show_version(options: Options) -> None:
    print_error(f"lb version: lb/{__version__}")
    if options.help:
        print_error(HELP)
    if options.build:
        print_error(_build())


def _build() -> str:
    libraries = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    return (
        f"built with {platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}\n"
        f"engine built by {_compiler()}, Cython {_fast.BUILT['cython']}\n"
        f"built with {_fast.BUILT['openssl']}{_other_openssl()}\n"
        f"extension mode: {_fast.BUILD}, flags: {_fast.BUILT['flags']}\n"
        f"libraries: {libraries}\n"
        f"configure arguments: --prefix={PREFIX} --conf-path={CONF} --error-log-path={ERROR_LOG}"
    )


def _other_openssl() -> str:
    """As nginx: said only where another one runs."""
    runs = _fast.BUILT["openssl_runs"]
    return "" if runs == _fast.BUILT["openssl"] else f" (running with {runs})"


def _compiler() -> str:
    text = _fast.BUILT["compiler"]
    return text if text.lower().startswith("clang") else f"gcc {text}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _run(options: Options) -> int:
    prefix = _prefix(options)
    error_log = options.error_log or ERROR_LOG
    source = Source(
        path=_below(prefix, options.conf or CONF),
        prefix=prefix,
        globals=options.globals,
        error_log=error_log if error_log == "stderr" else _below(prefix, error_log),
        error_log_given=bool(options.error_log),
    )
    if options.test:
        return _test(source, options)
    if options.signal:
        return _send(source, SIGNALS[options.signal])
    return boot.start(source)


def _directory(name: str) -> str:
    return f"{Path.cwd() / name}".rstrip("/") + "/"  # pathlib: "." is the working directory itself


def _below(prefix: str, name: str) -> str:
    """nginx's full name; not pathlib, which would change how the path is shown."""
    return name if name.startswith("/") else prefix + name


def _prefix(options: Options) -> str:
    """nginx's; but a relative -c that is here and not there is what a person at a shell means."""
    if options.prefix or not options.conf or Path(_below(PREFIX, options.conf)).exists():
        return _directory(options.prefix or PREFIX)
    return _directory("." if Path(options.conf).exists() and not options.conf.startswith("/") else PREFIX)


# -t, -T


def _test(source: Source, options: Options) -> int:
    log = boot.early_log(source)
    loaded = boot.load(source, log)
    if loaded is not None and not options.quiet:
        print_error(f"lb: the configuration file {source.path} syntax is ok")
    if loaded is None or not boot.check(source, loaded.config, loaded.identity, log):
        print_error(f"lb: configuration file {source.path} test failed")
        return 1
    if not options.quiet:
        print_error(f"lb: configuration file {source.path} test is successful")
    if options.dump:
        _dump(loaded)
    return 0


def _dump(loaded: Loaded) -> None:
    """Every file that was read, once, to stdout: byte for byte, but for ACL tokens of Consul."""
    out = sys.stdout.buffer
    for name in loaded.config.files:
        out.write(f"# configuration file {name}:\n".encode("utf-8", "surrogateescape"))
        out.write(hide_tokens(Path(name).read_bytes()) + b"\n")
    out.flush()


# -s


def _send(source: Source, number: signal.Signals) -> int:
    """Signal the master that the pid file of the configuration names."""
    log = boot.early_log(source)
    loaded = boot.load(source, log)
    if loaded is None:
        return 1
    _use_logs(loaded, source, log)
    log.notice("signal process started")
    if number in ENDING and _end_orphans(loaded.config, number, log):
        return 0
    return _signal_master(loaded.config.pid, number, log)


def _signal_master(path: str, number: signal.Signals, log: Log) -> int:
    try:
        pid = pidfile.read(path)
    except OSError as error:
        log.error(logfiles.failed(error))
        return 1
    except ValueError as error:
        log.error(f'invalid PID number "{error}" in "{path}"')
        return 1
    try:
        os.kill(pid, number)
    except OSError as error:
        log.alert(f"kill({pid}, {number.value}) failed ({error.errno}: {os.strerror(error.errno or 0)})")
        return 1
    return 0


def _end_orphans(config: Config, number: signal.Signals, log: Log) -> bool:
    """Signal the workers that a killed master has left on our addresses. False: there is a master, or nobody is left.

    A pid file that names no master of lb (its number may be another process's by now) is stale.
    """
    with contextlib.suppress(OSError, ValueError):
        name = title.of(pidfile.read(config.pid))
        if title.is_master(name):
            return False
    found = holders.orphans(want.address for want in sockets.wants(config))
    try:
        ended = [str(one.pid) for one in found if holders.end(one, number)]
    except OSError as error:
        log.alert(f"the workers of a killed master cannot be signalled: {error.strerror}")
        return False
    if ended:
        text = f"signal {number.value} sent to the workers that it has left, {', '.join(ended)}"
        log.notice(f'the master of "{config.pid}" is gone: {text}')
    return bool(ended)


def _use_logs(loaded: Loaded, source: Source, log: Log) -> None:
    """The error logs of the configuration, where this user may write to them."""
    logs = logfiles.error_logs(loaded.config, source)
    with contextlib.suppress(OSError):
        log.targets = targets(logs, logfiles.open_all(logfiles.error_paths(logs)))
