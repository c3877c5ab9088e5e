"""The dump file: the last good list on disk, in the module's format, so that `include` in nginx and a start of lb
can read it.

The master writes it (once per change), a worker that starts without Consul reads it.  One line a server: `server
NAME weight=N max_fails=N fail_timeout=Ns[ max_conns=N][ slow_start=Ns][ backup][ down];` (upsync-behaviour 4.1; the
module
writes neither max_conns nor backup); behind an address that was found for a host name follows ` # NAME:PORT`.  A
file is written whole or not at all, and read whole or not at all.  The default is in /tmp: only a file that nobody but
root and the master's user can have written is read (lb.trusted).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lb import trusted
from lb.model import Server
from lb.upsync.address import AddressError, parse_dumped
from lb.upsync.values import INT_MAX, printable

MODE: Final = 0o644  # the module: 0646, writable by everybody
MAX_BYTES: Final = 16 << 20  # of a file that is read
_NUMBER: Final = re.compile(r"([a-z_]+)=([0-9]{1,10})(s?)")
_NAMES: Final = ("weight", "max_fails", "fail_timeout", "max_conns", "slow_start")
_SHOWN: Final = 80  # characters of a bad line in a message


class DumpError(Exception):
    """The file exists and cannot be used; the text says which line and why."""


def data(servers: Iterable[Server]) -> bytes:
    """What `read` makes the same list of."""
    return b"".join(map(line, servers))


def line(one: Server) -> bytes:
    """With its LF."""
    limit = f" max_conns={one.max_conns}" if one.max_conns else ""
    limit += f" slow_start={one.slow_start_s}s" if one.slow_start_s else ""
    flags = (" backup" if one.backup else "") + (" down" if one.down else "")
    written = f" # {one.written}" if one.written else ""
    numbers = f"weight={one.weight} max_fails={one.max_fails} fail_timeout={one.fail_timeout_s}s{limit}"
    return f"server {one.name} {numbers}{flags};{written}\n".encode("utf-8", "surrogateescape")


def write(path: str, servers: Iterable[Server]) -> None:
    """Replace the file by the dump of this list: see `replace`."""
    replace(path, data(servers))


def replace(path: str, content: bytes) -> None:
    """Replace the file in one step; after a crash it is the old or the new one, whole.

    Raises OSError (full or read-only disk, no directory, a link to itself), ValueError for an empty list: nothing could
    start from it.
    """
    if not content:
        raise ValueError(f"{path}: an empty server list is not written")
    target = Path(trusted.end_of_links(path))  # a link stays, its target is replaced
    fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, MODE)
            file.write(content)
            file.flush()
            os.fsync(fd)
        Path(temporary).rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """Make the rename last. Some file systems cannot; the file is complete all the same."""
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def read(path: str) -> tuple[Server, ...]:
    """The list in file order. Raises FileNotFoundError, DumpError (a file that cannot be read or is not whole)."""
    try:
        with os.fdopen(trusted.open_to_read(path), "rb") as file:
            trusted.check_file(file.fileno())
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except trusted.Untrusted as error:
        raise DumpError(f"{path}: {error}") from None
    except OSError as error:
        raise DumpError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DumpError(f"{path}: larger than {MAX_BYTES} bytes")
    return _parse(path, data)


def _parse(path: str, data: bytes) -> tuple[Server, ...]:
    servers: dict[object, Server] = {}
    if not data.endswith(b"\n"):  # the module's own last line has its LF too: a part is missing
        raise DumpError(f"{path}: empty or cut off")
    for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):  # people edit this file
            continue
        try:
            server = _server(line)
        except ValueError as error:
            raise DumpError(f'{path}:{number}: {error} in "{printable(line[:_SHOWN])}"') from None
        if server.address in servers:
            raise DumpError(f"{path}:{number}: {server.name} is there twice")
        servers[server.address] = server
    if not servers:
        raise DumpError(f"{path}: no servers")
    return tuple(servers.values())


def _server(line: str) -> Server:
    """One line. Raises ValueError with a reason."""
    line, _, written = line.partition(" # ")
    if not line.endswith(";"):
        raise ValueError("no semicolon at the end")
    words = line[:-1].split()
    if len(words) < 2 or words[0] != "server":
        raise ValueError("not a server")
    _, name, *parameters = words
    try:
        address = parse_dumped(name)
    except AddressError as error:
        raise ValueError(error.reason) from None
    found = _parameters(parameters)
    return Server(
        name=name,
        address=address,
        weight=found.get("weight", 1),
        max_fails=found.get("max_fails", 1),
        fail_timeout_s=found.get("fail_timeout", 10),
        max_conns=found.get("max_conns", 0),
        backup="backup" in found,
        down="down" in found,
        written=written,
        slow_start_s=found.get("slow_start", 0),
    )


def _parameters(words: list[str]) -> dict[str, int]:
    """The parameters of a line by name; flags are 1. Raises ValueError."""
    found: dict[str, int] = {}
    for word in words:
        name, value = (word, 1) if word in ("backup", "down") else _number(word)
        if name in found:
            raise ValueError(f"{name} repeats")
        found[name] = value
    return found


def _number(word: str) -> tuple[str, int]:
    match = _NUMBER.fullmatch(word)
    if match is None or match[1] not in _NAMES or bool(match[3]) != (match[1] in ("fail_timeout", "slow_start")):
        raise ValueError(f"unknown parameter {printable(word)}")
    value = int(match[2])
    if value > INT_MAX or (match[1] == "weight" and not value):
        raise ValueError(f"{printable(word)} is out of range")
    return match[1], value
