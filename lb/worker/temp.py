"""The directories of client_body_temp_path and proxy_temp_path, made or taken over while the worker may still be root.

As nginx at its start: a directory that is there becomes the worker's user's, and its owner may do everything in it.
Not so one that all users share (sticky, as /tmp): there the worker can write anyhow.  A directory that cannot be made
is no reason not to serve: whoever needs it gets an error, and the log says why; so does `lb -t`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable

from lb import trusted
from lb.model import Config
from lb.process.identity import Identity

MODE = stat.S_IRWXU


def make_temp_dirs(config: Config, identity: Identity | None) -> list[str]:
    """What went wrong: a text for each directory."""
    return [problem for path in config.temp_paths if (problem := _make(path, identity))]


def unwritable(config: Config, identity: Identity | None) -> list[str]:
    """The directories in which a worker, as whom a child of ours looks, could not make a file."""
    paths = config.temp_paths
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _look(paths, identity, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        marks = pipe.read()
    os.waitpid(pid, 0)
    return [path for path, mark in zip(paths, marks, strict=False) if mark == ord("n")]


def _look(paths: Iterable[str], identity: Identity | None, write: int) -> None:
    """In the child: y or n for each."""
    try:
        if identity is not None:
            identity.assume()
        os.write(write, b"".join(b"y" if os.access(path, os.W_OK | os.X_OK) else b"n" for path in paths))
    finally:
        os._exit(0)


def _make(path: str, identity: Identity | None) -> str:
    """What went wrong, or nothing."""
    call = "mkdir"
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, MODE)
        call = "chown"
        fd = trusted.open_to_read(path, os.O_DIRECTORY)
        try:
            _take(fd, identity)
        finally:
            os.close(fd)
    except trusted.Untrusted as error:
        return f'"{path}" is not used: {error}'
    except OSError as error:
        if call == "chown" and identity is None:  # ours, or not ours to change
            return ""
        return f'{call}() "{path}" failed ({error.errno}: {error.strerror})'
    return ""


def _take(fd: int, identity: Identity | None) -> None:
    status = os.fstat(fd)
    if status.st_mode & stat.S_ISVTX:
        return
    if identity is not None and status.st_uid != identity.uid:
        os.fchown(fd, identity.uid, -1)
    if status.st_mode & MODE != MODE:
        os.fchmod(fd, stat.S_IMODE(status.st_mode) | MODE)
