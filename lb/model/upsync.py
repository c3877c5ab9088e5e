"""Where the servers of an upstream come from, when they come from Consul."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class UpsyncTls:
    """https to Consul: the `upsync_ssl_*` directives of one upstream. Paths are absolute; "": not given."""

    ca: str = ""  # of the system, without it
    certificate: str = ""  # of lb
    key: str = ""  # in the certificate's file, without it
    name: str = ""  # in Consul's certificate, if it is not the host
    verify: bool = True


@dataclass(frozen=True, slots=True)
class ShrinkGuard:
    """`upsync_shrink_guard`: hold back what would take away more than `percent` of the usable servers at once."""

    percent: int
    for_ms: int | None = None  # until it has lasted so long; None: until it is confirmed


@dataclass(frozen=True, slots=True)
class Upsync:
    """The `upsync` directive and `upsync_dump_path` of one upstream."""

    host: str
    port: int
    path: str  # as written, with the leading slash: /v1/kv/upstreams/test
    kind: Literal["consul", "consul_services", "consul_health"]
    timeout_ms: int = 360_000
    interval_ms: int = 5_000
    strong_dependency: bool = False
    dump_path: str = ""  # absolute; never empty after the reader: default /tmp/servers_<upstream>.conf
    where: str = ""
    others: tuple[tuple[str, int], ...] = ()  # more (host, port) of the same cluster, for when the first is lost
    health: Literal["strict", "warning", "passing"] = "strict"  # consul_health: which services are used
    token: str = field(default="", repr=False)  # as read when the configuration was; never shown
    token_file: str = ""  # read again when it changes
    tls: UpsyncTls | None = None  # https
    guard: ShrinkGuard | None = None
    slow_start_s: int = 0  # of servers that name none; 0: at once
    resolve_ms: int = 30_000  # how often host names among the servers are looked up; 0: they are skipped
