"""The blocks of stream{} and what its servers take."""

from __future__ import annotations

from lb.config.address import AddressError, parse
from lb.config.directive import AS_NGINX, Context, Directive, msec, once
from lb.config.errors import Refused
from lb.config.scope import Scope, StreamScope, StreamServerScope
from lb.config.tree import Node

_LEVELS: tuple[Context, ...] = ("stream", "stream server")


def stream(scope: Scope, node: Node) -> None:
    once(scope, node)
    inner = StreamScope("stream", scope.reader, scope)
    scope.values["stream"] = inner
    scope.reader.walk_block(node, inner)
    if not scope.reader.syntax_error:
        scope.reader.upstreams.finish("stream")


def server(scope: StreamScope, node: Node) -> None:
    inner = StreamServerScope("stream server", scope.reader, scope, node=node)
    scope.servers.append(inner)
    clean = scope.reader.walk_block(node, inner)
    if not clean:
        return
    if not inner.listens:
        raise Refused('no "listen" is defined for server')
    if inner.upstream is None:
        raise Refused("no handler for server")


def proxy_pass(scope: StreamServerScope, node: Node) -> None:
    once(scope, node)
    scope.values["proxy_pass"] = True
    text = node.args[0]
    if "$" in text:
        raise Refused(f'invalid host in upstream "{text}"', "variables in proxy_pass are not there yet")
    try:
        url = parse(text, default_port=0, base=scope.reader.prefix)
    except AddressError as error:
        raise Refused(f'{error} in upstream "{text}"') from None
    scope.upstream = scope.reader.upstreams.use("stream", url, text, node)


DIRECTIVES = (
    Directive(
        "stream", ("main",), "{ ... }", (0, 0), "", "The block for TCP servers and upstreams.", AS_NGINX, stream, True
    ),
    Directive("server", ("stream",), "{ ... }", (0, 0), "", "A TCP server.", AS_NGINX, server, True),
    Directive(
        "proxy_pass",
        ("stream server",),
        "UPSTREAM | ADDRESS:PORT | unix:PATH",
        (1, 1),
        "",
        "Passes connections to an upstream or an address.",
        "differs: no variables; a host name is resolved once, when the file is read",
        proxy_pass,
    ),
    Directive(
        "proxy_connect_timeout",
        _LEVELS,
        "TIME",
        (1, 1),
        "60s",
        "The longest wait for a connection to a server; then the next server is tried.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "proxy_timeout",
        _LEVELS,
        "TIME",
        (1, 1),
        "10m",
        "The longest pause between two reads or writes in either direction; then both connections are closed.",
        AS_NGINX,
        msec,
    ),
)
