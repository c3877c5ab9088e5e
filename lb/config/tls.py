"""What the servers of `listen ... ssl` say of TLS: files are read, pairs checked, the model made.

Everything is tried with OpenSSL itself when the file is checked, so that `lb -t` and a reload refuse what a worker
could not use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lb.config import acme, tls_keys, tls_lazy, tls_sessions, tls_verify
from lb.config.errors import Refused
from lb.config.scope import HttpServerScope, Scope, StreamServerScope
from lb.model.tls import Certificate, TlsServer

if TYPE_CHECKING:
    from lb.config.reader import Reader
    from lb.config.scope import ListenerDraft
    from lb.config.tree import Node

_FIELDS = {  # field of the model -> directive
    "protocols": "ssl_protocols",
    "ciphers": "ssl_ciphers",
    "prefer_server_ciphers": "ssl_prefer_server_ciphers",
    "groups": "ssl_ecdh_curve",
    "buffer_size": "ssl_buffer_size",
    "handshake_timeout_ms": "ssl_handshake_timeout",
    "reject_handshake": "ssl_reject_handshake",
    "session_cache": "ssl_session_cache",
    "session_timeout_s": "ssl_session_timeout",
    "session_tickets": "ssl_session_tickets",
    "early_data": "ssl_early_data",
    "record_engine": "ssl_record_engine",
    "verify_client": "ssl_verify_client",
    "verify_depth": "ssl_verify_depth",
    "watch": "ssl_certificate_watch",
    "lazy_cache": "ssl_certificate_cache",
}


def check(reader: Reader) -> None:
    """Make `tls` of every server behind an `ssl` address. Adds to the reader's problems."""
    for draft in reader.listeners.drafts.values():
        old = not draft.ssl and _switched_on(draft)
        draft.ssl |= old
        if not draft.ssl:
            continue
        servers: list[HttpServerScope | StreamServerScope] = [*draft.servers]
        if draft.stream is not None:
            servers.append(draft.stream)
        for scope in servers:
            _server(reader, scope)
        default = draft.default or servers[0]
        if default.tls < 0 and not reader.problems:
            message = f'no "ssl_certificate" is defined for the "{"ssl" if old else "listen ... ssl"}" directive'
            reader.refuse(message, default.node if default.node else draft.node)
    if reader.tls and not reader.problems:
        _warn(reader)


def _switched_on(draft: ListenerDraft) -> bool:
    """`ssl on` of the address's default server, which old files have instead of `listen ... ssl`."""
    scope = draft.default or (draft.servers[0] if draft.servers else None)
    return scope is not None and bool(scope.inherited("ssl", False))


def _warn(reader: Reader) -> None:
    from lb.config import tls_warnings  # here, because the engine itself imports lb.model

    models = list(reader.tls)
    tls_warnings.check(reader, [(scope, models[scope.tls]) for scope in _scopes(reader) if scope.tls >= 0])


def _scopes(reader: Reader) -> list[HttpServerScope | StreamServerScope]:
    """Every server behind an `ssl` address, once."""
    found: dict[int, HttpServerScope | StreamServerScope] = {}
    for draft in reader.listeners.drafts.values():
        if draft.ssl:
            found |= {id(scope): scope for scope in draft.servers}
            if draft.stream is not None:
                found[id(draft.stream)] = draft.stream
    return list(found.values())


def users(reader: Reader) -> tuple[tuple[str, ...], ...]:
    """Config.tls_users: for the page."""
    found: list[dict[str, None]] = [{} for _ in reader.tls]
    for draft in reader.listeners.drafts.values():
        for scope in draft.servers if draft.ssl else ():
            if scope.tls >= 0:
                found[scope.tls].update(dict.fromkeys([name for name in scope.names if name] or [draft.text]))
        if draft.ssl and draft.stream is not None and draft.stream.tls >= 0:
            found[draft.stream.tls][draft.text] = None
    return tuple(map(tuple, found))


def _server(reader: Reader, scope: HttpServerScope | StreamServerScope) -> None:
    if scope.tls >= 0 or scope.tls_checked:
        return
    scope.tls_checked = True
    try:
        made = _made(scope)
    except Refused as refused:
        node = scope.node
        where = (refused.file, refused.line) if refused.file else (node.file, node.line) if node else ("", 0)
        reader.problems.append(_problem(refused, *where))
        return
    if made is not None:
        scope.tls = reader.tls.setdefault(made, len(reader.tls))


def _problem(refused: Refused, file: str, line: int) -> Any:
    from lb.config.errors import Problem

    return Problem(refused.message, file, line, refused.hint)


def _made(scope: Scope) -> TlsServer | None:
    """None: the server has no certificate of its own, and takes handshakes as the default server does."""
    from lb._fast import tls_check  # here, because the engine itself imports lb.model

    pairs: list[tuple[str, Node]] = scope.inherited("ssl_certificate", [])
    keys: list[tuple[str, Node]] = scope.inherited("ssl_certificate_key", [])
    reject = scope.inherited("ssl_reject_handshake", False)
    if not pairs and not reject:
        return None
    if len(keys) < len(pairs):
        name, node = pairs[-1]
        message = f'no "ssl_certificate_key" is defined for certificate "{name}"'
        raise Refused(message, file=node.file, line=node.line)
    issued, awaited, pairs, keys = acme.take(scope, pairs, keys)
    lazy = tls_lazy.pairs(scope, pairs, keys)
    read = () if lazy else tuple(pair(scope, *both) for both in zip(pairs, keys, strict=False))
    certificates = (*issued, *read)
    values = {field: scope.inherited(name, None) for field, name in _FIELDS.items()} | tls_sessions.values(scope)
    given = {field: value for field, value in values.items() if value is not None}
    given |= tls_verify.read(scope, certificates)
    if issued or awaited:
        given["watch"] = True
    made = TlsServer(certificates, lazy=lazy, awaited=tuple(awaited), **given)
    if made in scope.reader.tls:
        return made
    try:
        tls_check(made, [tls_keys.kept[one.key_digest] for one in certificates])
    except ValueError as error:
        place = _place(str(error), pairs, keys)
        raise Refused(str(error), file=place.file if place else "", line=place.line if place else 0) from None
    return made


def _place(message: str, pairs: list[tuple[str, Node]], keys: list[tuple[str, Node]]) -> Node | None:
    """Of the pair whose file a message of OpenSSL is about; a key that does not fit is the key's fault."""
    for name, node in [*keys, *pairs]:
        if f'"{name}"' in message:
            return node
    return pairs[0][1] if pairs else None


def pair(
    scope: Scope, certificate: tuple[str, Node], key: tuple[str, Node], passwords_of: str = "ssl_password_file"
) -> Certificate:
    """Read a certificate with its chain, and its key. Raises Refused with the place of the directive."""
    from lb.config.tls_files import BadFile, read_pair

    file, node = certificate
    known = scope.reader.tls_files.get((file, key[0]))
    if known is not None:
        return known
    passwords = scope.inherited(passwords_of, ())
    try:
        made = read_pair(file, key[0], scope.inherited(f"{passwords_of} name", ""), passwords, node.where)
    except BadFile as bad:
        place = key[1] if bad.key else node
        raise Refused(str(bad), bad.hint, file=place.file, line=place.line) from None
    scope.reader.tls_files[file, key[0]] = made
    return made
