"""Fields of TlsServer that come from files or need OpenSSL's opinion: ticket keys, DH parameters, commands; ALPN.

Each is tried by itself, so that an error has the line of its own directive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lb.config.errors import Refused
from lb.config.scope import HttpServerScope, Scope

if TYPE_CHECKING:
    from lb.config.tree import Node

MOST_KEYS = 32  # TICKET_KEYS of lb/fast/tls/tickets.pxd
HTTP_ALPN = ("http/1.1", "http/1.0", "http/0.9")
_GROUPS = ("groups", "curves")  # commands that a chosen server's context cannot carry: they become its field


def values(scope: Scope) -> dict[str, Any]:
    """Raises Refused with the place of the directive."""
    found: dict[str, Any] = {
        "alpn": _http_alpn(scope) if isinstance(scope, HttpServerScope) else scope.inherited("ssl_alpn", ())
    }
    keys = scope.inherited("ssl_session_ticket_key", [])
    for name, node in keys:
        _tried(node, partial(_ticket_key, name))
    if len(keys) > MOST_KEYS:
        node = keys[MOST_KEYS][1]
        raise Refused(f"more than {MOST_KEYS} ticket keys", file=node.file, line=node.line)
    found["ticket_keys"] = tuple(name for name, _ in keys)
    params = scope.inherited("ssl_dhparam", None)
    if params is not None:
        found["dh_params"] = _tried(params[1], partial(_dh_params, params[0]))
    found["conf_commands"] = commands(scope, "ssl_conf_command")
    groups = [value for name, value, _ in found["conf_commands"] if name.lower() in _GROUPS]
    if groups:
        found["groups"] = groups[-1]
    return found


def _http_alpn(scope: HttpServerScope) -> tuple[str, ...]:
    """HTTP/2 by its own word, or by that of an address (`listen ... http2`)."""
    drafts = scope.reader.listeners.drafts.values()
    by_listen = any(draft.http2 for draft in drafts if scope in draft.servers)
    return ("h2", *HTTP_ALPN) if by_listen or scope.inherited("http2", False) else HTTP_ALPN


def commands(scope: Scope, directive: str) -> tuple[tuple[str, str, bytes], ...]:
    """What OpenSSL's commands of this directive come to. Raises Refused with the place of the one that is wrong."""
    found = scope.inherited(directive, [])
    return tuple(_tried(node, partial(_command, scope, name, value)) for name, value, node in found)


def _tried(node: Node, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValueError as error:
        raise Refused(str(error), file=node.file, line=node.line) from None


def _ticket_key(name: str) -> None:
    from lb._fast import tls_forget, tls_ticket_file  # here, because the engine itself imports lb.model

    tls_forget(tls_ticket_file(name))


def _dh_params(name: str) -> bytes:
    from lb._fast import tls_dh_check

    try:
        pem = Path(name).read_bytes()
    except OSError as error:
        raise ValueError(f'BIO_new_file("{name}") failed ({error.errno}: {error.strerror})') from None
    tls_dh_check(pem, name)
    return pem


def _command(scope: Scope, name: str, value: str) -> tuple[str, str, bytes]:
    from lb._fast import tls_command_check, tls_command_type

    kind = tls_command_type(name)
    if kind:
        value = scope.reader.full_name(value)
    tls_command_check(name, value)
    digest = b""
    if kind == "file":  # another content is another context
        digest = hashlib.sha256(Path(value).read_bytes()).digest()
    return name, value, digest
