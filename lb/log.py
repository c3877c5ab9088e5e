"""The error log of the Python parts: nginx's format, one line a message, to every target whose level lets it through.

A line is one write(2) to a file that is open for appending, so several processes and threads may share it.  There is no
lock, hence nothing that a fork could copy in the locked state.  The descriptors belong to whoever opened them
(lb.process.logfiles, or the worker after `reopen`); a Log only writes to them.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Final

from lb.model import ErrorLog, Syslog
from lb.syslog import Datagrams

LEVELS: Final = {"emerg": 1, "alert": 2, "crit": 3, "error": 4, "warn": 5, "notice": 6, "info": 7, "debug": 8}
MAX_LINE: Final = 4096  # bytes; not more than PIPE_BUF, so that a line to a pipe is written whole or not at all


class Target:
    """One open log: a descriptor and the least important level that it takes."""

    __slots__ = ("fd", "level", "waits")

    def __init__(self, fd: int, level: str) -> None:
        self.fd = fd
        self.level = LEVELS[level]
        self.waits = not stat.S_ISREG(os.fstat(fd).st_mode)  # a pipe or a terminal may make write(2) wait

    def write(self, line: bytes, rank: int) -> bool:
        """Write one line, or nothing if that would wait for a reader. `rank`: of LEVELS."""
        try:
            if self.waits and not _writable(self.fd):
                return False
            os.write(self.fd, line)
        except OSError:  # a full disk must not end the process that reports it
            return False
        return True


class SyslogTarget:
    """A `syslog:`; as Target, but for the descriptor."""

    __slots__ = ("_datagrams", "fd", "level")

    def __init__(self, syslog: Syslog, level: str) -> None:
        self.fd = -1
        self.level = LEVELS[level]
        self._datagrams = Datagrams(syslog)

    def write(self, line: bytes, rank: int) -> bool:
        """Send one line with the severity of its own level."""
        return self._datagrams.send(rank - 1, line)


AnyTarget = Target | SyslogTarget


def _writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))


class Log:
    """The error log. `lost` counts lines that no target could take; any thread may write."""

    def __init__(self, targets: Iterable[AnyTarget] = (), *, console: bool = False) -> None:
        """`console`: warnings and worse also go to stderr as `lb: [warn] ...`, as nginx does before it serves."""
        self.targets: tuple[AnyTarget, ...] = tuple(targets)
        self.console = console
        self.lost = 0

    def write(self, level: str, text: str, shown: str = "") -> None:
        """A text of several lines becomes several lines of the log, each with the time. `shown`: for the console."""
        rank = LEVELS[level]
        head = f"{time.strftime('%Y/%m/%d %H:%M:%S')} [{level}] {os.getpid()}#0: "
        lines = [_line(head + line) for line in text.splitlines()]
        for target in self.targets:
            if rank <= target.level:
                self.lost += sum(not target.write(line, rank) for line in lines)
        if self.console and rank <= LEVELS["warn"] and not any(target.fd == 2 for target in self.targets):
            print_error(f"lb: [{level}] {shown or text}")

    def emerg(self, text: str) -> None:
        self.write("emerg", text)

    def alert(self, text: str) -> None:
        self.write("alert", text)

    def crit(self, text: str) -> None:
        self.write("crit", text)

    def error(self, text: str) -> None:
        self.write("error", text)

    def warn(self, text: str) -> None:
        self.write("warn", text)

    def notice(self, text: str) -> None:
        self.write("notice", text)

    def info(self, text: str) -> None:
        self.write("info", text)

    def debug(self, text: str) -> None:
        self.write("debug", text)

    def traceback(self, level: str, text: str) -> None:
        """A message about the exception being handled, and its traceback a line at a time."""
        self.write(level, f"{text}\n{traceback.format_exc()}")


def _line(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) >= MAX_LINE:
        raw = raw[: MAX_LINE - 4] + b"..."
    return raw + b"\n"


def print_error(text: str) -> None:
    """One line to stderr; a closed stderr is no reason to fail."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def targets(logs: Iterable[ErrorLog], opened: dict[str, int]) -> tuple[AnyTarget, ...]:
    """The targets of the configuration's error logs. `opened`: path -> descriptor."""
    return tuple(_target(log, opened) for log in logs)


def _target(log: ErrorLog, opened: dict[str, int]) -> AnyTarget:
    if log.syslog is not None:
        return SyslogTarget(log.syslog, log.level)
    return Target(2 if log.path == "stderr" else opened[log.path], log.level)
