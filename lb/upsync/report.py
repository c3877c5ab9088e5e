"""What a worker tells the master about one upstream: the list that it uses now, where it is from, and what is wrong.

Sent over the control channel at each change (never at a mere passing of time), without the list itself: its size and
its digest, and what has changed since the list before (a Delta).  The master, which writes the dump, shows it all on
the status port and hands it to new workers at a reload, asks one worker for a list that it neither knows by its digest
nor can make from the Delta (lb.master.reports): 64 workers do not send 64 times 5,000 servers, and mostly none does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

from lb.model import Address, Server
from lb.upsync.indexed_list import IndexedList, Key, key_of

Origin = Literal["consul", "dump", "file"]
_ORIGINS = ("consul", "dump", "file")
_MASK = (1 << 62) - 1
MOST_CHANGES: Final = 1000  # servers in a Delta; with more, the list itself is sent


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
    def from_json(cls, data: dict[str, Any]) -> Self:
        gone = tuple(Address(*row) for row in data["gone"])
        return cls(int(data["of"]), gone, tuple(map(_unpack, data["head"])), tuple(map(_unpack, data["altered"])))


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
            if data["source"] not in _ORIGINS:
                raise ValueError(f"unknown source {data['source']!r}")
            return cls(
                upstream=int(data["upstream"]),
                source=data["source"],
                index=int(data["index"]),
                at=float(data["at"]),
                servers=tuple(_unpack(row) for row in data.get("servers", ())),
                error=str(data["error"]),
                skipped=tuple(str(text) for text in data["skipped"]),
                watched=str(data["watched"]),
                held=str(data.get("held", "")),
                next_try=float(data.get("next_try", 0.0)),
                count=int(data.get("count", -1)),
                digest=int(data.get("digest", -1)),
                delta=Delta.from_json(data["delta"]) if "delta" in data else None,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a report: {error!r}") from error


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
        *([server.written] if server.written else []),
    ]


def _unpack(row: list[Any]) -> Server:
    name, family, host, port, weight, max_fails, fail_timeout_s, max_conns, backup, down, *written = row
    address = Address(family, host, port)
    return Server(name, address, weight, max_fails, fail_timeout_s, max_conns, backup, down, *written)
