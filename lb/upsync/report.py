"""What a worker tells the master about one upstream: the list that it uses now, where it is from, and what is wrong.

Sent over the control channel at each change (never at a mere passing of time), kept by the master, which writes the
dump from it, shows it on the status port, and hands it to new workers at a reload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from lb.config.model import Address, Server

Origin = Literal["consul", "dump", "file"]
_ORIGINS = ("consul", "dump", "file")


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

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; a server is a short list, for there may be thousands."""
        return {
            "upstream": self.upstream,
            "source": self.source,
            "index": self.index,
            "at": self.at,
            "servers": [_pack(server) for server in self.servers],
            "error": self.error,
            "skipped": list(self.skipped),
            "watched": self.watched,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse. Raises ValueError for anything that to_json() did not make."""
        try:
            if data["source"] not in _ORIGINS:
                raise ValueError(f"unknown source {data['source']!r}")
            return cls(
                upstream=int(data["upstream"]),
                source=data["source"],
                index=int(data["index"]),
                at=float(data["at"]),
                servers=tuple(_unpack(row) for row in data["servers"]),
                error=str(data["error"]),
                skipped=tuple(str(text) for text in data["skipped"]),
                watched=str(data["watched"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a report: {error!r}") from error


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
    ]


def _unpack(row: list[Any]) -> Server:
    name, family, host, port, weight, max_fails, fail_timeout_s, max_conns, backup, down = row
    address = Address(family, host, port)
    return Server(name, address, weight, max_fails, fail_timeout_s, max_conns, backup, down)
