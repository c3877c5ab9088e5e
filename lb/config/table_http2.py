"""HTTP/2 with clients: `http2` and what it may take. `listen ... http2` stands in table_listen.py."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, Apply, Context, Directive, flag, number, size
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node

_SERVER: tuple[Context, ...] = ("http", "server")
_LEVELS: tuple[Context, ...] = ("http", "server", "location")
MOST_WINDOW = 2**31 - 1  # RFC 9113 section 6.9.1
LEAST_BUFFER = 32 << 10  # a frame that is not whole, and a read behind it
MOST_BUFFER = 64 << 20
MOST_STREAMS = 65535


def chunk_size(scope: Scope, node: Node) -> None:
    size(scope, node)
    if scope.values[node.name] == 0:
        raise Refused("the http2 chunk size cannot be zero")


def preread_size(scope: Scope, node: Node) -> None:
    size(scope, node)
    if scope.values[node.name] > MOST_WINDOW:
        raise Refused(f"the maximum body preread buffer size is {MOST_WINDOW}")


def recv_buffer_size(scope: Scope, node: Node) -> None:
    size(scope, node)
    if not LEAST_BUFFER <= scope.values[node.name] <= MOST_BUFFER:
        raise Refused(f'"{node.name}" directive invalid value', f"it must be {LEAST_BUFFER} to {MOST_BUFFER}")


def max_concurrent_streams(scope: Scope, node: Node) -> None:
    number(scope, node)
    if not 0 < scope.values[node.name] <= MOST_STREAMS:
        raise Refused(f'"{node.name}" directive invalid value', f"it must be 1 to {MOST_STREAMS}")


def _obsolete(what: str) -> Apply:
    def apply(scope: Scope, node: Node) -> None:
        scope.reader.warn(f'the "{node.name}" directive is obsolete, {what}', node)

    return apply


def _replaced(name: str, contexts: tuple[Context, ...], syntax: str, by: str) -> Directive:
    what = f'use the "{by}" directive instead' if by else "ignored"
    doc = f"Of older files: a warning, no effect; `{by}` says it." if by else "Of older files: a warning, no effect."
    return Directive(name, contexts, syntax, (1, 1), "", doc, AS_NGINX, _obsolete(what))


DIRECTIVES = (
    Directive(
        "http2",
        _SERVER,
        "on | off",
        (1, 1),
        "off",
        "Speak HTTP/2 with clients that ask for it: by ALPN where TLS is spoken, for each name (SNI) by itself; in "
        "clear text by its preface, on the same port as HTTP/1.1, where the address's default server says so.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "http2_max_concurrent_streams",
        _SERVER,
        "NUMBER",
        (1, 1),
        "128",
        "Streams that a client may have open at once; those beyond it are refused (REFUSED_STREAM). Of a connection's "
        "streams the address's default server decides.",
        "differs: it must be 1 at least",
        max_concurrent_streams,
    ),
    Directive(
        "http2_chunk_size",
        _LEVELS,
        "SIZE",
        (1, 1),
        "8k",
        "The most of an answer's body in one DATA frame.",
        AS_NGINX,
        chunk_size,
    ),
    Directive(
        "http2_body_preread_size",
        _SERVER,
        "SIZE",
        (1, 1),
        "64k",
        "What of a request's body a client may send before anybody reads it; later at least 64k at a time.",
        AS_NGINX,
        preread_size,
    ),
    Directive(
        "http2_recv_buffer_size",
        ("http",),
        "SIZE",
        (1, 1),
        "256k",
        "A worker's buffer for one read of an HTTP/2 connection.",
        f"differs: {LEAST_BUFFER >> 10}k at least, {MOST_BUFFER >> 20}m at most",
        recv_buffer_size,
    ),
    _replaced("http2_idle_timeout", _SERVER, "TIME", "keepalive_timeout"),
    _replaced("http2_max_field_size", _SERVER, "SIZE", "large_client_header_buffers"),
    _replaced("http2_max_header_size", _SERVER, "SIZE", "large_client_header_buffers"),
    _replaced("http2_max_requests", _SERVER, "NUMBER", "keepalive_requests"),
    _replaced("http2_recv_timeout", _SERVER, "TIME", "client_header_timeout"),
    _replaced("http2_max_concurrent_pushes", _SERVER, "NUMBER", ""),
    _replaced("http2_push", _LEVELS, "URI | off", ""),
    _replaced("http2_push_preload", _LEVELS, "on | off", ""),
)
