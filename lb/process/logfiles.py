"""The log files: each path opened once by the master, for everybody who writes to it.

Workers get the descriptors by fork, and new ones over their channel when the files are reopened (SIGUSR1): they
never need the right to open a log themselves.  A log keeps its number when its file is reopened.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import Final

from lb.model import Config, ErrorLog
from lb.process.source import Source

MODE: Final = 0o644
# O_NONBLOCK: a FIFO without a reader is an error instead of a wait, and one with a slow reader loses lines
FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK

Files = dict[str, int]  # absolute path -> descriptor


def error_logs(config: Config, source: Source) -> tuple[ErrorLog, ...]:
    """The error logs of the configuration; if it names none, that of -e."""
    if source.error_log_given and not config.error_log_given:
        return (ErrorLog(source.error_log),)
    return config.error_logs


def paths(config: Config, logs: Iterable[ErrorLog]) -> list[str]:
    """The files to open: error logs, and the logs of servers and locations."""
    return sorted(error_paths(logs) | set(config.log_paths))


def error_paths(logs: Iterable[ErrorLog]) -> set[str]:
    """The files among them: stderr is always open, and syslog is no file."""
    return {log.path for log in logs if log.path != "stderr" and log.syslog is None}


def make_directory(config: Config, source: Source, wanted: Iterable[str]) -> None:
    """logs/ below the prefix, where the defaults lie. What cannot be made is told by the open() that misses it."""
    directory = source.prefix + "logs"
    if any(path.startswith(directory + "/") for path in (*wanted, config.pid)):
        with contextlib.suppress(OSError):
            os.makedirs(directory, exist_ok=True)


def open_all(wanted: Iterable[str]) -> Files:
    """Open every path for appending. Raises OSError with the path, and then leaves nothing open."""
    opened: Files = {}
    try:
        for path in wanted:
            opened[path] = os.open(path, FLAGS, MODE)
    except OSError:
        close_all(opened)
        raise
    return opened


def reopen(files: Files) -> None:
    """Open every path anew under its old number, so that no writer can meet a closed one. Raises OSError: all stay."""
    replace(files, open_all(files))


def replace(files: Files, opened: Files) -> None:
    """Put the newly opened files under the old numbers; `opened` is empty afterwards. A path that is new is added."""
    for path, fd in opened.items():
        if path in files:
            os.dup2(fd, files[path], inheritable=False)
            os.close(fd)
        else:
            files[path] = fd
    opened.clear()


def redirect_stderr(config: Config, logs: Sequence[ErrorLog], files: Files) -> None:
    """What Python or a C library prints to stderr goes to the first error log that is a file, as with nginx; not where
    some log is stderr itself."""
    first = next((log.path for log in logs if log.path in files), None)
    if first is not None and not config.uses_stderr:
        os.dup2(files[first], 2)


def close_all(files: Files) -> None:
    for fd in files.values():
        os.close(fd)
    files.clear()


def failed_call(error: OSError, call: str = "fork()") -> str:
    """nginx's words for a system call, that the error names or else is `call`."""
    return f"{error.filename or call} failed ({error.errno}: {error.strerror})"


def failed(error: OSError) -> str:
    """nginx's words for a file that cannot be opened."""
    return f'open() "{error.filename}" failed ({error.errno}: {os.strerror(error.errno or 0)})'
