"""What locations of `proxy_pass https://` and servers of `proxy_ssl on` say of TLS to their servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lb.config import tls, tls_keys
from lb.config.errors import Problem, Refused
from lb.config.scope import Scope, StreamServerScope
from lb.config.tree import Node
from lb.model.tls import TlsClient

if TYPE_CHECKING:
    from lb.config.reader import Reader

_FIELDS = {  # field of the model -> directive
    "protocols": "proxy_ssl_protocols",
    "ciphers": "proxy_ssl_ciphers",
    "verify": "proxy_ssl_verify",
    "verify_depth": "proxy_ssl_verify_depth",
    "session_reuse": "proxy_ssl_session_reuse",
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

    pair: tuple[str, Node] | None = scope.inherited("proxy_ssl_certificate", None)
    key: tuple[str, Node] | None = scope.inherited("proxy_ssl_certificate_key", None)
    trusted: tuple[str, Node] | None = scope.inherited("proxy_ssl_trusted_certificate", None)
    crl: tuple[str, Node] | None = scope.inherited("proxy_ssl_crl", None)
    if pair is not None and key is None:
        message = f'no "proxy_ssl_certificate_key" is defined for certificate "{pair[0]}"'
        raise Refused(message, file=pair[1].file, line=pair[1].line)
    if scope.inherited("proxy_ssl_verify", False) and trusted is None:
        raise Refused("no proxy_ssl_trusted_certificate for proxy_ssl_verify")
    certificates = (
        (tls.pair(scope, pair, key, "proxy_ssl_password_file"),) if pair is not None and key is not None else ()
    )
    values = {field: scope.inherited(name, None) for field, name in _FIELDS.items()}
    made = TlsClient(
        certificates,
        trusted=_read(trusted, tls_certificates),
        crls=_read(crl, tls_crls),
        in_stream=isinstance(scope, StreamServerScope),
        **{field: value for field, value in values.items() if value is not None},
    )
    if made not in scope.reader.tls_up:
        try:
            tls_check(made, [tls_keys.kept[one.key_digest] for one in certificates])
        except ValueError as error:
            raise Refused(str(error)) from None
    return made


def _read(file: tuple[str, Node] | None, parse: Callable[[bytes], tuple[bytes, ...]]) -> tuple[bytes, ...]:
    from lb.config.tls_files import BadFile, read

    if file is None:
        return ()
    name, node = file
    try:
        return read(name, f'cannot load certificates "{name}"', parse)
    except BadFile as bad:
        raise Refused(str(bad), bad.hint, file=node.file, line=node.line) from None
