"""Leaving the terminal: double fork with setsid, and a caller who waits until the master is really up.

nginx's parent exits before the pid file is written, so `nginx && nginx -s reload` is a race.  Here the parent waits
on a pipe: one byte means "up", an end of file without it means that the start failed (the reason went to stderr).
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

_UP: Final = b"+"


class Parent:
    """The daemon's line to the process that the operator started."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def release(self) -> None:
        """The start has succeeded: let the caller exit with 0."""
        if self._fd is not None:
            with contextlib.suppress(BrokenPipeError):  # the caller may have been killed meanwhile
                os.write(self._fd, _UP)
            os.close(self._fd)
            self._fd = None


def detach() -> Parent:
    """Go on as a daemon: own session, no terminal, stdin and stdout on /dev/null. stderr stays for the caller's log.

    Returns only in the daemon. The process that called exits with 0 after Parent.release, with 1 if that never comes.
    Must be called before anything that a fork does not carry over: threads, locks, signalfd, epoll.
    """
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        os._exit(0 if os.read(read_end, 1) == _UP else 1)
    os.close(read_end)
    os.setsid()
    if os.fork():  # the session's leader goes, so that no terminal can ever become ours
        os._exit(0)
    os.umask(0o022)  # nginx takes 0; nothing that lb writes should be writable by all
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    if null > 2:
        os.close(null)
    return Parent(write_end)
