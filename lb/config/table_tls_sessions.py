"""TLS to clients: sessions, early data, and the rest of what a handshake is made of."""

from __future__ import annotations

import resource

from lb.config.directive import AS_NGINX, Context, Directive, flag, full_path, once, path
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_number, parse_seconds, parse_size
from lb.model.tls import SessionCache

_WHERE: tuple[Context, ...] = ("http", "server", "stream", "stream server")
_HTTP: tuple[Context, ...] = ("http", "server")
_STREAM: tuple[Context, ...] = ("stream", "stream server")
_BUILTIN = 20480  # sessions, as OpenSSL
_SESSION = 256  # bytes of one in a cache of our own


def session_cache(scope: Scope, node: Node) -> None:
    """`off` and `none` count whatever stands beside them; `shared` does the work of `builtin`, too."""
    own, shared = SessionCache(), None
    for word in node.args:
        kind, colon, rest = word.partition(":")
        if word == "off":
            own = SessionCache("off")
        elif word == "none":
            own = SessionCache("none")
        elif kind == "builtin":
            own = _builtin(word, rest if colon else str(_BUILTIN))
        elif kind == "shared" and colon:
            shared = _shared(scope, word, rest)
        else:
            raise Refused(f'invalid session cache "{word}"')
    given = any(word in ("off", "none") for word in node.args) and own.kind != "builtin"
    scope.values[node.name] = own if given or shared is None else shared


def _builtin(word: str, text: str) -> SessionCache:
    count = parse_number(text)
    if count is None:
        raise Refused(f'invalid session cache "{word}"')
    return SessionCache("builtin", "", max((count or _BUILTIN) * _SESSION, 1 << 16))


def _shared(scope: Scope, word: str, rest: str) -> SessionCache:
    name, colon, text = rest.partition(":")
    size = parse_size(text, "km") if colon else None
    if not name or size is None:
        raise Refused(f'invalid session cache "{word}"')
    if size < 8 * resource.getpagesize():
        raise Refused(f'session cache "{word}" is too small')
    use = "stream" if scope.context.startswith("stream") else "http"
    before = scope.reader.tls_caches.setdefault(name, (size, use))
    if before[1] != use or name in scope.reader.limit_zones or name in scope.reader.sticky_zones:
        raise Refused(f'the shared memory zone "{name}" is already declared for a different use')
    if before[0] != size:
        raise Refused(
            f'the size {size} of shared memory zone "{name}" conflicts with already declared size {before[0]}'
        )
    return SessionCache("shared", f"{use}:{name}", size)


def session_timeout(scope: Scope, node: Node) -> None:
    once(scope, node)
    value = parse_seconds(node.args[0])
    if value is None:
        raise Refused(f'"{node.name}" directive invalid value')
    scope.values[node.name] = value


def files(scope: Scope, node: Node) -> None:
    scope.values.setdefault(node.name, []).append((full_path(scope, node.args[0]), node))


def dh_file(scope: Scope, node: Node) -> None:
    path(scope, node)
    scope.values[node.name] = (scope.values[node.name], node)


def command(scope: Scope, node: Node) -> None:
    scope.values.setdefault(node.name, []).append((node.args[0], node.args[1], node))


def alpn(scope: Scope, node: Node) -> None:
    once(scope, node)
    for word in node.args:
        if len(word.encode()) > 255:
            raise Refused(f'"{node.name}" directive protocol too long')
    scope.values[node.name] = tuple(node.args)


DIRECTIVES = (
    Directive(
        "ssl_session_cache",
        _WHERE,
        "off | none | [builtin[:COUNT]] [shared:NAME:SIZE]",
        (1, 2),
        "none",
        "Where sessions with an id are kept (TLS 1.2 without tickets, TLS 1.3 with ssl_session_tickets off): in memory "
        "that all workers share, or each worker's own; off: a server shows no ids. Tickets do not need it.",
        "differs: with `builtin` and `shared` together all sessions are in the shared one",
        session_cache,
    ),
    Directive(
        "ssl_session_timeout",
        _WHERE,
        "TIME",
        (1, 1),
        "5m",
        "How long a client may resume a session.",
        AS_NGINX,
        session_timeout,
    ),
    Directive(
        "ssl_session_tickets",
        _WHERE,
        "on | off",
        (1, 1),
        "on",
        "Sessions by tickets, which the client keeps. Their keys are the master's: the same for all workers, kept over "
        "reloads and a change of the binary, and new each third of ssl_session_timeout, one hour at least.",
        "differs: nginx makes the keys anew at each start and reload, for each server",
        flag,
    ),
    Directive(
        "ssl_session_ticket_key",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "A ticket key of 48 or 80 bytes, for several machines that share an address. The first of several encrypts. "
        "Read again when the file changes.",
        "differs: nginx reads it with the configuration only; at most 32 keys",
        files,
    ),
    Directive(
        "ssl_early_data",
        _HTTP,
        "on | off",
        (1, 1),
        "off",
        "Takes requests in early data of TLS 1.3 (0-RTT). Whoever has recorded them can send them again: "
        "`proxy_set_header Early-Data $ssl_early_data` tells the server, which may answer 425.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "ssl_dhparam",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "Parameters of DHE cipher suites in PEM; without it there are none of them.",
        AS_NGINX,
        dh_file,
    ),
    Directive(
        "ssl_conf_command",
        _WHERE,
        "NAME VALUE",
        (2, 2),
        "",
        "A command of OpenSSL's configuration (SSL_CONF_cmd), after all other settings.",
        AS_NGINX,
        command,
    ),
    Directive(
        "ssl_alpn",
        _STREAM,
        "PROTOCOL...",
        (1, None),
        "",
        "Protocols of ALPN, the first that the client has too is taken; a client with others is refused.",
        AS_NGINX,
        alpn,
    ),
)
