"""Settings for the client side of HTTP: heads and their limits, keep-alive, how connections end."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, LB_ONLY, Context, Directive, enum, flag, msec, number, once, size
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_number, parse_size

_SERVER: tuple[Context, ...] = ("http", "server")
_LEVELS: tuple[Context, ...] = ("http", "server", "location")
_TCP: tuple[Context, ...] = ("http", "server", "location", "stream", "stream server")
MOST_HEAD = 60 << 10  # bytes of a request head, whatever the buffers: one read of the engine
MOST_FIELDS = 65535


def large_client_header_buffers(scope: Scope, node: Node) -> None:
    once(scope, node)
    count, length = parse_number(node.args[0]), parse_size(node.args[1])
    if not count or not length:
        raise Refused(f'"{node.name}" directive invalid value')
    scope.values[node.name] = (count, length)


def max_headers(scope: Scope, node: Node) -> None:
    number(scope, node)
    if not 0 < scope.values[node.name] <= MOST_FIELDS:
        raise Refused(f'"{node.name}" directive invalid value', f"it must be 1 to {MOST_FIELDS}")


def keepalive_disable(scope: Scope, node: Node) -> None:
    once(scope, node)
    found: list[str] = []
    for word in node.args:
        if word not in ("none", "msie6", "safari"):
            raise Refused(f'invalid value "{word}"')
        if word in found:
            raise Refused(f'duplicate value "{word}"')
        found.append(word)
    scope.values[node.name] = tuple(word for word in found if word != "none")


def lenient_requests(scope: Scope, node: Node) -> None:
    flag(scope, node)
    if scope.values[node.name]:
        scope.reader.warn('"lenient_requests on" takes request heads whose lines end in LF alone', node)


def server_tokens(scope: Scope, node: Node) -> None:
    enum("on", "off", "build")(scope, node)
    if scope.values[node.name] == "build":  # a build of lb has no name of its own
        scope.values[node.name] = "on"


def default_type(scope: Scope, node: Node) -> None:
    once(scope, node)
    if any(char in node.args[0] for char in "\r\n\0"):
        raise Refused(f'invalid value "{node.args[0]}"')
    scope.values[node.name] = node.args[0]


DIRECTIVES = (
    Directive(
        "client_header_buffer_size",
        _SERVER,
        "SIZE",
        (1, 1),
        "1k",
        "A request head up to SIZE is taken whatever large_client_header_buffers says. lb reads heads into one buffer "
        "and keeps of a head that is not whole only what is there.",
        AS_NGINX,
        size,
    ),
    Directive(
        "large_client_header_buffers",
        _SERVER,
        "NUMBER SIZE",
        (2, 2),
        "4 8k",
        "The longest request line (else 414) and the longest field line (else 400) is SIZE, the longest head NUMBER "
        "times SIZE (else 400).",
        f"differs: a head is never longer than {MOST_HEAD >> 10}k",
        large_client_header_buffers,
    ),
    Directive(
        "max_headers",
        _SERVER,
        "NUMBER",
        (1, 1),
        "1000",
        "The most fields of a request head, else 400.",
        AS_NGINX,
        max_headers,
    ),
    Directive(
        "ignore_invalid_headers",
        _SERVER,
        "on | off",
        (1, 1),
        "on",
        "Whether fields whose name holds anything else than letters, digits and hyphens are dropped (underscores may "
        "stay: underscores_in_headers). Names that are no token of RFC 9110 are refused with 400 in any case.",
        "differs: never lets a name through that is no token",
        flag,
    ),
    Directive(
        "underscores_in_headers",
        _SERVER,
        "on | off",
        (1, 1),
        "off",
        "Whether field names with underscores are kept though ignore_invalid_headers is on.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "lenient_requests",
        _SERVER,
        "on | off",
        (1, 1),
        "off",
        "Whether LF alone ends a line of a request head, too, as old scripts and probes send it. What is sent on ends "
        "in CRLF. Chunks, and everything else, are read as strictly as ever. lb -t names the place where it is on.",
        LB_ONLY,
        lenient_requests,
    ),
    Directive(
        "keepalive_time",
        _LEVELS,
        "TIME",
        (1, 1),
        "1h",
        "How long requests are taken on one connection of a client; it is closed after the request that passes it.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "keepalive_min_timeout",
        _LEVELS,
        "TIME",
        (1, 1),
        "0",
        "How long lb itself keeps an idle client's connection when it stops, or when connections have run out.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "lingering_close",
        _LEVELS,
        "off | on | always",
        (1, 1),
        "on",
        "Whether what a client still sends is read away before its connection is closed: never, where there may be "
        "something, or after every last response.",
        AS_NGINX,
        enum("off", "on", "always"),
    ),
    Directive(
        "lingering_time",
        _LEVELS,
        "TIME",
        (1, 1),
        "30s",
        "How long a body that nobody wants, and what comes before a close, is read away at most.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "lingering_timeout",
        _LEVELS,
        "TIME",
        (1, 1),
        "5s",
        "The longest pause of a client while what it sends is read away.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "chunked_transfer_encoding",
        _LEVELS,
        "on | off",
        (1, 1),
        "on",
        "Whether responses of unknown length go to HTTP/1.1 clients in chunks; off: they end with the connection, and "
        "there are no trailers.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "keepalive_disable",
        _LEVELS,
        "none | msie6 | safari ...",
        (1, None),
        "none",
        "Closes the connection after each response to safari (on macOS), and after a POST of msie6.",
        "differs: the default (nginx: msie6)",
        keepalive_disable,
    ),
    Directive(
        "reset_timedout_connection",
        _LEVELS,
        "on | off",
        (1, 1),
        "off",
        "Whether a connection that timed out, and one that `return 444` closes, is ended with a reset.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "default_type",
        _LEVELS,
        "TYPE",
        (1, 1),
        "text/plain",
        "The media type of files, and of the text of `return`, for which `types` has none.",
        AS_NGINX,
        default_type,
    ),
    Directive(
        "server_tokens",
        _LEVELS,
        "on | off",
        (1, 1),
        "on",
        "Whether the version stands in the Server field and on error pages.",
        "differs: no text of one's own",
        server_tokens,
    ),
    Directive(
        "tcp_nodelay",
        _TCP,
        "on | off",
        (1, 1),
        "on",
        "Whether small writes leave at once (TCP_NODELAY); for clients it is set on the address that they connect to.",
        "differs: for http the default server of the address decides",
        flag,
    ),
)
