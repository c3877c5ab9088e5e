"""The unfinished configuration: one scope for each block, filled by the table's functions while the file is read.

Scopes are mutable and live only during a load; `compile.py` makes the frozen model of them.  `values` holds what a
block sets itself, by directive name; inheritance is looking it up outwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lb.config.address import Url
from lb.model import (
    Address,
    Balancer,
    Check,
    Condition,
    ErrorLog,
    Handler,
    Match,
    Op,
    Regex,
    Server,
    Set,
    Upsync,
    Value,
)
from lb.model.acme import AcmeOrder

if TYPE_CHECKING:
    from lb.config.directive import Context
    from lb.config.reader import Reader
    from lb.config.tree import Node

Kind = Literal["http", "stream"]


@dataclass(slots=True)
class Scope:
    """A block (or the file itself) and what its directives set."""

    context: Context
    reader: Reader
    parent: Scope | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def inherited(self, name: str, default: Any) -> Any:
        """The value set here or in the nearest block around."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return default


@dataclass(slots=True)
class MainScope(Scope):
    error_logs: list[ErrorLog] = field(default_factory=list)
    status_listen: list[tuple[Address, Node]] = field(default_factory=list)
    status_hosts: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class HttpScope(Scope):
    servers: list[HttpServerScope] = field(default_factory=list)


@dataclass(slots=True)
class StreamScope(Scope):
    servers: list[StreamServerScope] = field(default_factory=list)


@dataclass(slots=True)
class UpstreamScope(Scope):
    """A named upstream, or the implicit one of an address in proxy_pass."""

    kind: Kind = "http"
    name: str = ""
    url: Url = field(default_factory=lambda: Url("", 0))  # what proxy_pass asked for; port 0: any
    node: Node | None = None  # the directive that registered it first
    defined: bool = False  # by upstream{}
    servers: list[Server] = field(default_factory=list)
    lines: list[Node] = field(default_factory=list)  # where each of `servers` stands
    backup_lines: list[Node] = field(default_factory=list)
    balancer: Balancer | None = None
    hash_key: Value = ()
    hash_consistent: bool = False
    random_two: bool = False
    least_time: Literal["connect", "header", "last_byte"] = "last_byte"
    least_time_inflight: bool = False
    upsync: Upsync | None = None
    check: Check | None = None


@dataclass(slots=True)
class IssuerScope(Scope):
    """An acme_issuer{}."""

    node: Node = field(kw_only=True)
    name: str = ""
    contacts: list[str] = field(default_factory=list)
    state_path: str = ""
    orders: dict[tuple[tuple[str, ...], str], AcmeOrder] = field(default_factory=dict)


@dataclass(slots=True)
class HttpServerScope(Scope):
    node: Node | None = None
    names: list[str] = field(default_factory=list)
    locations: list[LocationScope] = field(default_factory=list)
    ops: list[OpDraft] = field(default_factory=list)
    regexes: list[Regex] = field(default_factory=list)
    listens: bool = False  # a listen directive was seen, good or bad
    content: Handler | None = None  # where no location matches
    tls: int = -1  # place in Reader.tls; -1: none of its own
    tls_checked: bool = False


@dataclass(slots=True)
class LocationScope(Scope):
    """A location{}, or the implicit one of an if{} or limit_except{} (match "none")."""

    node: Node | None = None
    match: Match = "prefix"
    pattern: str = ""
    regex: Regex | None = None
    locations: list[LocationScope] = field(default_factory=list)
    ops: list[OpDraft] = field(default_factory=list)
    content: Handler | None = None
    internal: bool = False
    except_methods: tuple[str, ...] = ()
    except_scope: LocationScope | None = None


@dataclass(slots=True)
class ServerIfScope(Scope):
    """An if{} in server{}: operations only."""

    ops: list[OpDraft] = field(default_factory=list)


@dataclass(slots=True)
class IfDraft:
    condition: Condition
    scope: LocationScope | ServerIfScope


OpDraft = Op | IfDraft


@dataclass(slots=True)
class StreamServerScope(Scope):
    node: Node | None = None
    upstream: int = -1
    target: Value | None = None
    text: Value | None = None
    show: bool = False
    sets: list[Set] = field(default_factory=list)
    listens: bool = False
    tls: int = -1
    tls_checked: bool = False


@dataclass(slots=True)
class ListenerDraft:
    """One address to bind while the servers that share it are being read."""

    address: Address
    text: str
    kind: Kind
    node: Node
    backlog: int = 511
    reuseport: bool = False
    ipv6only: bool = True
    sndbuf: int = 0
    rcvbuf: int = 0
    so_keepalive: tuple[int, int, int] | bool | None = None
    fastopen: int = 0
    proxy_protocol: bool = False
    multipath: bool = False
    ssl: bool = False  # some `listen` of it says so
    http2: bool = False  # some `listen` of it says so
    options_set: bool = False  # by one `listen`; a second one that sets options is refused
    servers: list[HttpServerScope] = field(default_factory=list)
    default: HttpServerScope | None = None
    stream: StreamServerScope | None = None
