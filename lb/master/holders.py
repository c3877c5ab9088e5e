"""Who listens on an address that we want, and which of them are workers whose master is gone.

/proc/net tells the sockets, /proc/PID/fd whose they are.  (psutil names one process for each socket; workers share
theirs.)  It takes some milliseconds, so it is for the start and for `lb -s`, not for the master's loop.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lb.model import Address
from lb.process import title

_LISTENS: Final = "0A"  # TCP_LISTEN
_ACCEPTS: Final = 0x10000  # __SO_ACCEPTCON, the flag of a listening unix socket
_WILDCARDS: Final[dict[int, str]] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_TABLES: Final = ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6"))
PIDS_SAID: Final = 8  # of one address: there may be a thousand workers


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with a socket that listens. `title`: its command line, or "" for one that we may not look at."""

    pid: int
    title: str

    @property
    def orphan(self) -> bool:
        """A worker of lb whose parent is no master of lb."""
        return title.is_worker(self.title) and not title.is_master(title.of(_parent(self.pid)))


def find(addresses: Iterable[Address]) -> dict[Address, list[Holder] | None]:
    """For each address that is taken: by whom, without this process. None: by one of another user's, most likely."""
    listening = list(_listening())
    inodes = {address: _in_the_way(address, listening) for address in addresses}
    wanted = set().union(*inodes.values())
    pids = _pids(wanted) if wanted else {}
    found: dict[Address, list[Holder] | None] = {}
    for address, some in inodes.items():
        own = any(os.getpid() in pids.get(inode, ()) for inode in some)
        all_pids = sorted({pid for inode in some for pid in pids.get(inode, ())} - {os.getpid()})
        if all_pids:
            found[address] = [Holder(pid, title.of(pid)) for pid in all_pids]
        elif some and not own:
            found[address] = None
    return found


def orphans(addresses: Iterable[Address]) -> list[Holder]:
    """The workers without a master that listen on any of these."""
    holders = {one.pid: one for some in find(addresses).values() for one in some or ()}
    return [one for one in holders.values() if one.orphan]


def end(holder: Holder, number: signal.Signals) -> bool:
    """Signal an orphan, if it still is one. Raises OSError when we may not."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(holder.pid)
        try:
            if Holder(holder.pid, title.of(holder.pid)).orphan:
                signal.pidfd_send_signal(fd, number)
                return True
        finally:
            os.close(fd)
    return False


def told(address: Address, holders: list[Holder] | None) -> str:
    """A line for the log: `127.0.0.1:80 is held by 12, 13 (lb: worker process)`."""
    if holders is None:
        return f"{address} is held by a process that this user may not look at"
    by_title: dict[str, list[str]] = {}
    for one in holders:
        by_title.setdefault(one.title or "?", []).append(str(one.pid))
    texts = []
    for name, pids in by_title.items():
        more = f" and {len(pids) - PIDS_SAID} more" if len(pids) > PIDS_SAID else ""
        texts.append(f"{', '.join(pids[:PIDS_SAID])}{more} ({name})")
    return f"{address} is held by {'; '.join(texts)}"


# The kernel's tables


def _listening() -> Iterator[tuple[Address, int]]:
    """Every listening stream socket of this network namespace, with its inode."""
    for family, name in _TABLES:
        for row in _rows(name):
            if row[3] == _LISTENS:
                host, port = row[1].split(":")
                yield Address(family, _host(family, host), int(port, 16)), int(row[9])
    for row in _rows("unix"):
        if len(row) > 7 and int(row[3], 16) & _ACCEPTS:
            yield Address(socket.AF_UNIX, row[7]), int(row[6])


def _rows(name: str) -> list[list[str]]:
    try:
        text = Path(f"/proc/net/{name}").read_text(errors="surrogateescape")
    except OSError:  # no IPv6
        return []
    return [line.split(maxsplit=7 if name == "unix" else -1) for line in text.splitlines()[1:]]


def _host(family: int, text: str) -> str:
    """An address as the kernel prints it: 32-bit words in the machine's order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def _in_the_way(address: Address, listening: list[tuple[Address, int]]) -> set[int]:
    """The inodes of sockets because of which this address cannot be bound."""
    same = {inode for one, inode in listening if _collide(address, one)}
    if same or address.family != socket.AF_INET:
        return same
    both = Address(socket.AF_INET6, "::", address.port)  # it may take IPv4 too
    return {inode for one, inode in listening if one == both}


def _collide(one: Address, other: Address) -> bool:
    if one.family != other.family or one.port != other.port:
        return False
    return one.host == other.host or _WILDCARDS.get(one.family) in (one.host, other.host)


# Processes


def _pids(inodes: set[int]) -> dict[int, set[int]]:
    """Inode of a socket -> the processes that have it open."""
    found: dict[int, set[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            for inode in _sockets(entry) & inodes:
                found.setdefault(inode, set()).add(int(entry))
    return found


def _sockets(pid: str) -> set[int]:
    """The inodes of a process's sockets; none when it is gone or not ours to see."""
    found = set()
    with contextlib.suppress(OSError):
        for fd in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd.path))
                if match:
                    found.add(int(match[1]))
    return found


def _parent(pid: int) -> int:
    """0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
