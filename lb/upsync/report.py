"""What a worker tells the master about one upstream: the list that it uses now, where it is from, and what is wrong.

Sent over the control channel at each change (never at a mere passing of time), without the list itself: its size and
its digest, and what has changed since the list before (a Delta).  The master, which writes the dump, shows it all on
the status port and hands it to new workers at a reload, asks one worker for a list that it neither knows by its digest
nor can make from the Delta (lb.master.reports): 64 workers do not send 64 times 5,000 servers, and mostly none does.

The master may be root and the worker in other hands: from_json takes nothing that could be more than one word of a
line of the dump, no number out of its range, and no control byte in a text.  Which servers there are is its word.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

from lb.model import Address, Server
from lb.upsync.address import MAX_UNIX_PATH, UNWRITABLE
from lb.upsync.indexed_list import IndexedList, Key, key_of
from lb.upsync.values import INT_MAX, printable

Origin = Literal["consul", "dump", "file"]
_ORIGINS = ("consul", "dump", "file")
_MASK = (1 << 62) - 1
MOST_CHANGES: Final = 1000  # servers in a Delta; with more, the list itself is sent
_INDEX_MAX: Final = (1 << 64) - 1
_TIME_MAX: Final = 253402300799.0  # Unix time: the end of the year 9999
_NAME_MAX: Final = 512  # characters of a server's name: a host name and a port, or `unix:` and a path
_TEXT_MAX: Final = 4096  # of an error and the like
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FAMILIES: Final = frozenset((socket.AF_UNSPEC, socket.AF_UNIX, socket.AF_INET, socket.AF_INET6))


@dataclass(frozen=True, slots=True)
class Delta:
    """From the list of digest `of` to the one reported, as lb.upsync.merge orders it."""

    of: int
    gone: tuple[Address, ...]
    head: tuple[Server, ...]  # new ones, before all others
    altered: tuple[Server, ...]  # as they are now, in their places

    def applied(self, servers: IndexedList) -> tuple[IndexedList, int]:
        """(the list after it, its digest)."""
        after: dict[Key, Server | None] = {(one.host, one.port): None for one in self.gone}
        after |= {key_of(one): one for one in self.altered}
        edits = [(at, after[key_of(servers[at])]) for at in servers.places(after.keys())] if after else []
        digest = digest_changed(self.of, [servers[at] for at, _ in edits], [*self.head, *self.altered])
        return servers.edited(self.head, edits), digest

    def to_json(self) -> dict[str, Any]:
        return {
            "of": self.of,
            "gone": [[int(one.family), one.host, one.port] for one in self.gone],
            "head": [_pack(one) for one in self.head],
            "altered": [_pack(one) for one in self.altered],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], origin: Origin = "consul") -> Self:
        gone = tuple(_address(*row) for row in data["gone"])
        return cls(_whole(data["of"]), gone, _unpacked(data["head"], origin), _unpacked(data["altered"], origin))


@dataclass(frozen=True, slots=True)
class Report:
    """`servers` are in the order that users see, without the file's backup servers (lb.upsync.start.published)."""

    upstream: int  # position in Config.upstreams of the worker that reports
    source: Origin
    index: int  # Consul's, of the last answer that agrees with `servers`; 0: none yet
    at: float  # Unix time of that answer, or of the start
    servers: tuple[Server, ...]
    error: str = ""  # why the list is not what Consul says now; empty: all is well
    skipped: tuple[str, ...] = ()  # entries that were skipped or taken with defaults, a message each
    watched: str = ""  # HOST:PORT/path that `servers` are of: a list is no start for another source
    held: str = ""  # an update that the shrink guard holds back; empty: none
    next_try: float = 0.0  # Unix time of the next query after a failure; 0: a query runs, or comes at once
    count: int = -1  # of servers; -1: len(servers)
    digest: int = -1  # of servers, in any order (digest_of), the same in all children of one master; -1: of `servers`
    delta: Delta | None = None  # from the list that was reported before

    def __post_init__(self) -> None:
        if self.count < 0:
            object.__setattr__(self, "count", len(self.servers))
        if self.digest < 0:
            object.__setattr__(self, "digest", digest_of(self.servers))

    def with_servers(self, servers: tuple[Server, ...], digest: int = -1, delta: Delta | None = None) -> Self:
        return replace(self, servers=servers, count=len(servers), digest=digest, delta=delta)

    def brief(self) -> dict[str, Any]:
        """to_json() without the list."""
        found = self._plain() | {"count": self.count, "digest": self.digest}
        return found if self.delta is None else found | {"delta": self.delta.to_json()}

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; a server is a short list, for there may be thousands."""
        return self._plain() | {"servers": [_pack(server) for server in self.servers]}

    def _plain(self) -> dict[str, Any]:
        return {
            "upstream": self.upstream,
            "source": self.source,
            "index": self.index,
            "at": self.at,
            "error": self.error,
            "skipped": list(self.skipped),
            "watched": self.watched,
            "held": self.held,
            "next_try": self.next_try,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse, also of brief(). Raises ValueError for anything that to_json() did not make."""
        try:
            origin = data["source"]
            if origin not in _ORIGINS:
                raise ValueError(f"unknown source {origin!r:.80}")
            return cls(
                upstream=_whole(data["upstream"]),
                source=origin,
                index=_whole(data["index"], high=_INDEX_MAX),
                at=_time(data["at"]),
                servers=_unpacked(data.get("servers", ()), origin),
                error=_text(data["error"]),
                skipped=tuple(map(_text, data["skipped"])),
                watched=_text(data["watched"]),
                held=_text(data.get("held", "")),
                next_try=_time(data.get("next_try", 0.0)),
                count=_whole(data.get("count", -1), low=-1),
                digest=_whole(data.get("digest", -1), low=-1),
                delta=Delta.from_json(data["delta"], origin) if "delta" in data else None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a report: {error!r:.200}") from error


def digest_of(servers: Iterable[Server]) -> int:
    """Of a set of servers. Python's hash: its seed is the master's, inherited over fork."""
    return sum(map(_hash, servers)) & _MASK


def digest_changed(digest: int, removed: Iterable[Server], added: Iterable[Server]) -> int:
    """digest_of the set after a change."""
    return (digest - sum(map(_hash, removed)) + sum(map(_hash, added))) & _MASK


def _hash(server: Server) -> int:
    """Of a text, for sums: with hashes of tuples, one that goes down and one that comes up often make no difference."""
    return hash(f"{hash(server)} {server.written}")


def _pack(server: Server) -> list[Any]:
    address = server.address
    return [
        server.name,
        int(address.family),
        address.host,
        address.port,
        server.weight,
        server.max_fails,
        server.fail_timeout_s,
        server.max_conns,
        server.backup,
        server.down,
        *([server.written] if server.written or server.slow_start_s else []),
        *([server.slow_start_s] if server.slow_start_s else []),
    ]


def _unpacked(rows: Iterable[list[Any]], origin: Origin) -> tuple[Server, ...]:
    return tuple(_unpack(row, _CONTROL if origin == "file" else UNWRITABLE) for row in rows)


def _unpack(row: list[Any], never: re.Pattern[str]) -> Server:
    """`never`: what no name may have in it: those of the file are in no dump, and may have a space."""
    name, family, host, port, weight, max_fails, fail_timeout_s, max_conns, backup, down, *rest = row
    written = rest[0] if rest else ""
    slow_start_s = rest[1] if len(rest) > 1 else 0
    for text in (name, written):
        if not _is_word(text) or never.search(text) or text.startswith("#"):  # a comment would take its line's end
            raise ValueError(f"no name of a server: {text!r:.80}")
    for number in (weight, max_fails, fail_timeout_s, max_conns, slow_start_s):
        if type(number) is not int or not 0 <= number <= INT_MAX:
            raise ValueError(f"no parameter of a server: {number!r:.80}")
    if not name or not weight or type(backup) is not bool or type(down) is not bool or len(rest) > 2:
        raise ValueError(f"no server: {row!r:.80}")
    place = _address(family, host, port)
    return Server(name, place, weight, max_fails, fail_timeout_s, max_conns, backup, down, written, slow_start_s)


def _is_word(text: Any) -> bool:
    """Short, and with a form in bytes: half a character, as JSON may have it, has none."""
    if not isinstance(text, str) or len(text) > _NAME_MAX:
        return False
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _address(family: Any, host: Any, port: Any) -> Address:
    """One that the next workers' engines can take, too."""
    if type(family) is not int or family not in _FAMILIES or not _is_word(host) or _CONTROL.search(host):
        raise ValueError(f"no address: {host!r:.80}")
    if family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            raise ValueError(f"no address: {host!r:.80}") from None
    if family == socket.AF_UNIX and len(os.fsencode(host)) > MAX_UNIX_PATH:
        raise ValueError(f"no path of a socket: {host!r:.80}")
    return Address(family, host, _whole(port, high=65535))


def _whole(value: Any, low: int = 0, high: int = _MASK) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"no number from {low} to {high}: {value!r:.80}")
    return value


def _time(value: Any) -> float:
    """Unix time; NaN is none."""
    if type(value) not in (int, float) or not 0.0 <= value <= _TIME_MAX:
        raise ValueError(f"no time: {value!r:.80}")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"no text: {value!r:.80}")
    return printable(value[:_TEXT_MAX])
