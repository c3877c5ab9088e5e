"""Files and directories in places where others may write, as /tmp: what is there is looked at before it is used.

A link is followed if root or we have made it: of anybody else's it would let him choose which file root reads or
replaces.  What is opened is what is looked at (fstat of the descriptor), so nobody can put something else there in
between.  Directories on the way are not looked at: who can change those has what is below them anyhow.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

MAX_LINKS: Final = 40  # as the kernel
FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # no fifo holds us up


class Untrusted(Exception):
    """Somebody else may have put it there. The text says why."""


def open_to_read(path: str, flags: int = 0) -> int:
    """A descriptor of what the name leads to. Raises OSError, Untrusted (a link of another user)."""
    return _walk(path, flags, refuse=True)[1]


def end_of_links(path: str) -> str:
    """The name that is behind the links of root's and ours; that of another user's link is itself one to replace.

    Raises OSError: ELOOP for a link that leads to itself.
    """
    name, fd = _walk(path, os.O_PATH, refuse=False)
    if fd >= 0:
        os.close(fd)
    return name


def _walk(path: str, flags: int, *, refuse: bool) -> tuple[str, int]:
    """(last name, descriptor). Without `refuse` it ends at a link of another user or a name without a file: -1."""
    for _ in range(MAX_LINKS + 1):
        target = _link(path)
        if target is None:
            try:
                return path, os.open(path, FLAGS | flags)
            except OSError as error:
                if error.errno == errno.ELOOP:  # it has just become a link
                    continue
                if refuse or error.errno != errno.ENOENT:
                    raise
                return path, -1
        try:
            _check_link(target[1])
        except Untrusted:
            if refuse:
                raise
            return path, -1
        path = os.path.join(os.path.dirname(path), target[0])
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _link(path: str) -> tuple[str, int] | None:
    """(target, owner) if it is a link now. Raises OSError, but for a name that is not there."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        return (os.readlink("", dir_fd=fd), status.st_uid) if stat.S_ISLNK(status.st_mode) else None
    finally:
        os.close(fd)


def _check_link(owner: int) -> None:
    if owner not in (0, os.geteuid()):
        raise Untrusted(f"a link of user {owner}: neither root's nor ours")


def check_file(fd: int) -> None:
    """Could nobody but root and us have written it? Raises Untrusted."""
    status = os.fstat(fd)
    if status.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"it belongs to user {status.st_uid}: only files of root and of the master's user are read")
    if status.st_mode & stat.S_IWOTH:
        raise Untrusted(f"anybody may write to it (mode {stat.S_IMODE(status.st_mode):04o})")
    if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
        raise Untrusted(f"group {status.st_gid} may write to it (mode {stat.S_IMODE(status.st_mode):04o})")


def shared(directory: str) -> bool:
    """May everybody make files in it? Raises OSError."""
    return bool(os.stat(directory).st_mode & stat.S_IWOTH)
