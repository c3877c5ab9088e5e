"""The register of addresses to bind, shared by all `listen` of one address (the rules of ngx_http_add_listen).

It owns the drafts of the listeners; each refers to the server scopes behind it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lb.config.errors import Refused
from lb.config.scope import HttpServerScope, Kind, ListenerDraft, StreamServerScope
from lb.config.tree import Node
from lb.model import Address

if TYPE_CHECKING:
    from lb.config.reader import Reader

_WILDCARDS = ("0.0.0.0", "::")


@dataclass(slots=True)
class ListenOptions:
    """The parameters of one `listen`."""

    default_server: bool = False
    backlog: int = 511
    reuseport: bool = False
    ipv6only: bool = True
    sndbuf: int = 0
    rcvbuf: int = 0
    so_keepalive: tuple[int, int, int] | bool | None = None
    fastopen: int = 0
    proxy_protocol: bool = False
    multipath: bool = False
    ssl: bool = False
    http2: bool = False
    given: bool = False  # any of the socket's options was written


class Listeners:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.drafts: dict[Address, ListenerDraft] = {}

    def add_http(self, address: Address, server: HttpServerScope, options: ListenOptions, node: Node) -> None:
        draft = self._draft(address, "http", node)
        if draft.servers and draft.servers[-1] is server:  # a server's listens come one after the other
            raise Refused(f"a duplicate listen {draft.text}")
        if options.given and draft.options_set:
            raise Refused(f"duplicate listen options for {draft.text}")
        draft.servers.append(server)
        self._set_options(draft, options)
        if options.default_server and draft.default is not None:
            raise Refused(f"a duplicate default server for {draft.text}")
        if options.default_server:
            draft.default = server

    def add_stream(self, address: Address, server: StreamServerScope, options: ListenOptions, node: Node) -> None:
        if address in self.drafts and self.drafts[address].kind == "stream":
            raise Refused(f'duplicate "{address}" address and port pair')
        draft = self._draft(address, "stream", node)
        draft.stream = server
        self._set_options(draft, options)

    def _draft(self, address: Address, kind: Kind, node: Node) -> ListenerDraft:
        draft = self.drafts.setdefault(address, ListenerDraft(address, str(address), kind, node))
        if draft.kind != kind:
            raise Refused(f"the address {draft.text} is used by http and by stream", f"first in {draft.node.where}")
        return draft

    def _set_options(self, draft: ListenerDraft, options: ListenOptions) -> None:
        draft.proxy_protocol |= options.proxy_protocol
        draft.ssl |= options.ssl
        draft.http2 |= options.http2
        if options.given:
            draft.backlog, draft.reuseport = options.backlog, options.reuseport
            draft.ipv6only, draft.options_set = options.ipv6only, True
            draft.sndbuf, draft.rcvbuf = options.sndbuf, options.rcvbuf
            draft.so_keepalive, draft.fastopen = options.so_keepalive, options.fastopen
            draft.multipath = options.multipath

    def warn_of_conflicts(self) -> None:
        """At the end of http{}: names that a second server of one address repeats."""
        for draft in self.drafts.values():
            seen: set[str] = set()
            for name in (name for server in draft.servers for name in server.names or [""]):
                if name in seen and len(draft.servers) > 1:
                    self.reader.warn(f'conflicting server name "{name}" on {draft.text}, ignored')
                seen.add(name)

    def check_overlap(self, status: list[tuple[Address, Node]]) -> None:
        """Addresses that the kernel would not let us bind side by side: a wildcard with another of the same port.

        nginx binds only the wildcard then and looks at each connection's own address; with reuseport on both, the
        kernel does the same for us.
        """
        for address, node in status:
            if address in self.drafts:
                first = self.drafts[address].node.where
                self.reader.refuse(f'"status_listen {address}" is the address of a "listen"', node, f"first in {first}")
        bound = [(d.address, d.reuseport, d.node) for d in self.drafts.values()]
        bound += [(address, False, node) for address, node in status if address not in self.drafts]
        for wildcard, shared, wildcard_node in bound:
            for address, node in _covered(wildcard, shared, bound):
                message = f"the addresses {wildcard} and {address} cannot be bound together"
                hint = f'{wildcard} stands in {wildcard_node.where}; "reuseport" on both makes it possible'
                self.reader.refuse(message, node, hint)


def _covered(
    wildcard: Address, shared: bool, bound: list[tuple[Address, bool, Node]]
) -> Iterator[tuple[Address, Node]]:
    if wildcard.host not in _WILDCARDS or wildcard.family == socket.AF_UNIX:
        return
    for address, reuseport, node in bound:
        same_port = address.family == wildcard.family and address.port == wildcard.port
        if same_port and address.host != wildcard.host and not (shared and reuseport):
            yield address, node
