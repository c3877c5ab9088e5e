"""The register of upstreams: named ones and those that `proxy_pass ADDRESS` implies, in order of first mention.

The rules are those of ngx_http_upstream_add: names compare without case, a named upstream takes no port, and a name may
be used before its upstream{} is read.  A position in `drafts` is the position in Config.upstreams.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from lb.config.address import AddressError, Url
from lb.config.errors import Refused
from lb.config.scope import Kind, Scope, UpstreamScope
from lb.config.tree import Node
from lb.config.upsync import complete
from lb.config.values import ascii_lower
from lb.model import Server

if TYPE_CHECKING:
    from lb.config.reader import Reader


class Upstreams:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.drafts: list[UpstreamScope] = []
        self._by_host: dict[tuple[Kind, str], list[int]] = {}  # lower case host -> positions in drafts

    def define(self, kind: Kind, name: str, node: Node, parent: Scope) -> UpstreamScope:
        """The upstream of an upstream{} block."""
        draft = next((self.drafts[position] for position in self._named(kind, name)), None)
        if draft is not None and draft.defined:
            raise Refused(f'duplicate upstream "{name}"')
        if draft is not None and not draft.url.no_port and draft.node is not None:
            draft.defined = True  # no complaint about the same name as a host
            message = f'upstream "{name}" may not have port {draft.url.port}'
            raise Refused(message, file=draft.node.file, line=draft.node.line)
        if draft is None:
            draft = self._append(kind, Url(name, 0, no_port=True), node)
        draft.name, draft.node, draft.defined, draft.parent = name, node, True, parent
        draft.url = replace(draft.url, port=0)
        return draft

    def use(self, kind: Kind, url: Url, text: str, node: Node) -> int:
        """The position of the upstream that a proxy_pass means; `text` names it if it is an implicit one."""
        for position in self._named(kind, url.host):
            draft = self.drafts[position]
            if draft.defined and not url.no_port:
                raise Refused(f'upstream "{url.host}" may not have port {url.port}')
            if draft.url.port and url.port and draft.url.port != url.port:
                continue
            return position
        draft = self._append(kind, url, node)
        draft.name = text
        return len(self.drafts) - 1

    def finish(self, kind: Kind) -> None:
        """At the end of http{} or stream{}: resolve the implicit ones, check the named ones."""
        for draft in self.drafts:
            if draft.kind != kind or draft.node is None:
                continue
            if draft.defined:
                self._check(draft, draft.node)
            else:
                self._resolve(draft, draft.node)

    def _named(self, kind: Kind, host: str) -> list[int]:
        return self._by_host.setdefault((kind, ascii_lower(host)), [])

    def _append(self, kind: Kind, url: Url, node: Node) -> UpstreamScope:
        draft = UpstreamScope("upstream" if kind == "http" else "stream upstream", self.reader)
        draft.kind, draft.url, draft.node = kind, url, node
        self._named(kind, url.host).append(len(self.drafts))
        self.drafts.append(draft)
        return draft

    def _check(self, draft: UpstreamScope, node: Node) -> None:
        if draft.upsync is not None:  # http{} may have set more of it after the upstream
            try:
                draft.upsync = complete(draft, draft.upsync)
            except Refused as refused:
                self.reader.refuse(refused.message, node, refused.hint)
        if draft.servers and all(server.backup for server in draft.servers):
            self.reader.refuse(f'no servers in upstream "{draft.name}"', node)

    def _resolve(self, draft: UpstreamScope, node: Node) -> None:
        names = [other.name for other in self.drafts if other.defined and other.kind == draft.kind]
        close = difflib.get_close_matches(draft.url.host, names, 1)
        hint = f'did you mean upstream "{close[0]}"?' if close else ""
        if draft.kind == "stream" and draft.url.no_port:
            self.reader.refuse(f'no port in upstream "{draft.url.host}"', node, hint)
            return
        try:
            addresses = self.reader.resolver.addresses(draft.url)
        except AddressError as error:
            self.reader.refuse(f'{error} in upstream "{draft.url.host}"', node, hint)
            return
        draft.servers = [Server(str(address), address) for address in addresses]
