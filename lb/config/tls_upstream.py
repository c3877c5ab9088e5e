"""What locations of `proxy_pass https://` and servers of `proxy_ssl on` say of TLS to their servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lb.config import tls, tls_keys, tls_sessions
from lb.config.errors import Problem, Refused
from lb.config.scope import Scope, StreamServerScope
from lb.config.tls_lazy import DATA
from lb.config.tree import Node
from lb.model import Value
from lb.model.tls import Certificate, TlsClient

if TYPE_CHECKING:
    from lb.config.reader import Reader

_FIELDS = {  # field of the model -> directive
    "protocols": "proxy_ssl_protocols",
    "ciphers": "proxy_ssl_ciphers",
    "verify": "proxy_ssl_verify",
    "verify_depth": "proxy_ssl_verify_depth",
    "session_reuse": "proxy_ssl_session_reuse",
    "alpn": "proxy_ssl_alpn",
    "key_log": "proxy_ssl_key_log",
    "lazy_cache": "proxy_ssl_certificate_cache",
}


def check(reader: Reader) -> None:
    """Make the TLS of every proxy_pass that has some. Adds to the reader's problems."""
    for draft in reader.listeners.drafts.values():
        scope = draft.stream
        if scope is not None and scope.inherited("proxy_ssl", False) and not scope.text and not scope.show:
            reader.tls_proxies.append((scope, scope.node or draft.node))
    for place, node in reader.tls_proxies:
        try:
            made = _made(place)
        except Refused as refused:
            where = (refused.file, refused.line) if refused.file else (node.file, node.line)
            reader.problems.append(Problem(refused.message, *where, refused.hint))
            continue
        reader.tls_at[id(place)] = reader.tls_up.setdefault(made, len(reader.tls_up))


def _made(scope: Scope) -> TlsClient:
    from lb._fast import tls_certificates, tls_check, tls_crls  # here, because the engine itself imports lb.model

    trusted: tuple[str, Node] | None = scope.inherited("proxy_ssl_trusted_certificate", None)
    crl: tuple[str, Node] | None = scope.inherited("proxy_ssl_crl", None)
    if scope.inherited("proxy_ssl_verify", False) and trusted is None:
        raise Refused("no proxy_ssl_trusted_certificate for proxy_ssl_verify")
    certificates, lazy = _pair(scope)
    values = {field: scope.inherited(name, None) for field, name in _FIELDS.items()}
    made = TlsClient(
        certificates,
        trusted=_read(trusted, tls_certificates),
        crls=_read(crl, tls_crls),
        conf_commands=tls_sessions.commands(scope, "proxy_ssl_conf_command"),
        lazy=lazy,
        in_stream=isinstance(scope, StreamServerScope),
        **{field: value for field, value in values.items() if value is not None},
    )
    if made.key_log:
        scope.reader.log_paths.add(made.key_log)
    if made not in scope.reader.tls_up:
        try:
            tls_check(made, [tls_keys.kept[one.key_digest] for one in certificates])
        except ValueError as error:
            raise Refused(str(error)) from None
    return made


def _pair(scope: Scope) -> tuple[tuple[Certificate, ...], tuple[tuple[Value, Value], ...]]:
    """proxy_ssl_certificate and its key: loaded now, or, with variables, for each handshake."""
    pair: tuple[str, Node] | None = scope.inherited("proxy_ssl_certificate", None)
    key: tuple[str, Node] | None = scope.inherited("proxy_ssl_certificate_key", None)
    if pair is None or not pair[0]:
        return (), ()
    if key is None or not key[0]:
        message = f'no "proxy_ssl_certificate_key" is defined for certificate "{pair[0]}"'
        raise Refused(message, file=pair[1].file, line=pair[1].line)
    if not any("$" in text or text.startswith(DATA) for text, _ in (pair, key)):
        return (tls.pair(scope, pair, key, "proxy_ssl_password_file"),), ()
    values = (scope.inherited(f"{name} value", ()) for name in ("proxy_ssl_certificate", "proxy_ssl_certificate_key"))
    return (), (tuple(values),)


def _read(file: tuple[str, Node] | None, parse: Callable[[bytes], tuple[bytes, ...]]) -> tuple[bytes, ...]:
    from lb.config.tls_files import BadFile, read

    if file is None:
        return ()
    name, node = file
    try:
        return read(name, f'cannot load certificates "{name}"', parse)
    except BadFile as bad:
        raise Refused(str(bad), bad.hint, file=node.file, line=node.line) from None
