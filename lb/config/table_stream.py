"""The blocks of stream{} and what its servers take."""

from __future__ import annotations

from lb.config import regexes
from lb.config.address import AddressError, parse
from lb.config.directive import AS_NGINX, AS_UPSYNC, Context, Directive, enum, flag, msec, once, size
from lb.config.errors import Refused
from lb.config.scope import Scope, StreamScope, StreamServerScope
from lb.config.tree import Node
from lb.config.variables import compile_value
from lb.model import Set

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
    if inner.upstream < 0 and inner.target is None and inner.text is None and not inner.show:
        raise Refused("no handler for server")


def proxy_pass(scope: StreamServerScope, node: Node) -> None:
    once(scope, node)
    scope.values["proxy_pass"] = True
    scope.text, scope.show = None, False  # as nginx: the last of these counts
    text = node.args[0]
    if "$" in text:
        scope.target = compile_value(text, "stream")
        scope.reader.open_targets.append((scope, text))
        return
    try:
        url = parse(text, default_port=0, base=scope.reader.prefix)
    except AddressError as error:
        raise Refused(f'{error} in upstream "{text}"') from None
    scope.upstream = scope.reader.upstreams.use("stream", url, text, node)


def return_(scope: StreamServerScope, node: Node) -> None:
    once(scope, node)
    scope.values["return"] = True
    scope.text, scope.show = compile_value(node.args[0], "stream"), False


def upstream_show(scope: StreamServerScope, node: Node) -> None:
    scope.show = True


def set_(scope: StreamServerScope, node: Node) -> None:
    name = regexes.define(scope.reader, regexes.variable_name(node.args[0]), "stream")
    scope.sets.append(Set(name, compile_value(node.args[1], "stream")))


proxy_protocol = enum("on", "v2", "off")


DIRECTIVES = (
    Directive(
        "stream", ("main",), "{ ... }", (0, 0), "", "The block for TCP servers and upstreams.", AS_NGINX, stream, True
    ),
    Directive("server", ("stream",), "{ ... }", (0, 0), "", "A TCP server.", AS_NGINX, server, True),
    Directive(
        "proxy_pass",
        ("stream server",),
        "UPSTREAM | ADDRESS:PORT | unix:PATH | VALUE",
        (1, 1),
        "",
        "Passes connections to an upstream or an address; a VALUE with variables must become one of them.",
        "differs: a host name is resolved once, when the file is read; in a VALUE it must be an upstream's",
        proxy_pass,
    ),
    Directive(
        "return",
        ("stream server",),
        "VALUE",
        (1, 1),
        "",
        "Sends VALUE to the client and closes the connection.",
        AS_NGINX,
        return_,
    ),
    Directive(
        "upstream_show",
        ("stream server",),
        "",
        (0, 0),
        "",
        "Answers every connection, without waiting for a request, with the servers of all upstreams of stream{}, as an "
        "answer of HTTP/1.0.",
        AS_UPSYNC,
        upstream_show,
    ),
    Directive(
        "set",
        ("stream server",),
        "$VARIABLE VALUE",
        (2, 2),
        "",
        "Sets a variable when a connection has been accepted.",
        AS_NGINX,
        set_,
    ),
    Directive(
        "proxy_buffer_size",
        _LEVELS,
        "SIZE",
        (1, 1),
        "64k",
        "The most that one read takes, of the client or of the server. Larger transfers are spliced in the kernel "
        "and need no buffer.",
        "differs: nginx's default is 16k; lb has one buffer for all connections, of 64k",
        size,
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
    Directive(
        "proxy_protocol",
        _LEVELS,
        "on | v2 | off",
        (1, 1),
        "off",
        "Sends a PROXY header with the client's address to the server before anything else: of version 1 (on), or of "
        "version 2 with a CRC32c.",
        AS_NGINX,
        proxy_protocol,
    ),
    Directive(
        "proxy_protocol_timeout",
        _LEVELS,
        "TIME",
        (1, 1),
        "30s",
        "How long a client of `listen ... proxy_protocol` may take for its PROXY header.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "ssl_preread",
        _LEVELS,
        "on | off",
        (1, 1),
        "off",
        "Reads the client's ClientHello before a server is chosen, for $ssl_preread_server_name and its like; nothing "
        "is decrypted, and the server gets the bytes as they came. `set` runs before it.",
        "differs: $bytes_received counts these bytes, too",
        flag,
    ),
    Directive(
        "preread_buffer_size",
        _LEVELS,
        "SIZE",
        (1, 1),
        "16k",
        "The most that is read to find a whole ClientHello; a session with a longer one ends with status 400.",
        AS_NGINX,
        size,
    ),
    Directive(
        "preread_timeout",
        _LEVELS,
        "TIME",
        (1, 1),
        "30s",
        "How long a client may take for its ClientHello; then the session is closed, with status 200.",
        AS_NGINX,
        msec,
    ),
)
