"""What holds for one upstream of the directives in table_consul, inherited from http{} or stream{}."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

from lb.config import consul_tls
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.model import Upsync, UpsyncTls


def complete(scope: Scope, upsync: Upsync) -> Upsync:
    """With what holds in this upstream."""
    token_file, token = scope.inherited("upsync_token_file", ("", ""))
    return replace(
        upsync,
        guard=scope.inherited("upsync_shrink_guard", None),
        token_file="" if upsync.token else token_file,  # one in the path is nearer
        token=upsync.token or token,
        tls=_tls(scope),
        slow_start_s=scope.inherited("upsync_slow_start", upsync.slow_start_s),
        resolve_ms=scope.inherited("upsync_resolve", upsync.resolve_ms),
    )


def _tls(scope: Scope) -> UpsyncTls | None:
    def value(name: str, default: Any = "") -> Any:
        return scope.inherited(f"upsync_ssl{name}", default)

    if not value("", False):
        return None
    made = UpsyncTls(
        ca=value("_trusted_certificate"),
        certificate=value("_certificate"),
        key=value("_certificate_key"),
        name=value("_name"),
        verify=value("_verify", True),
    )
    try:
        consul_tls.read(made)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        files = ", ".join(name for name in (made.ca, made.certificate, made.key) if name)
        raise Refused(f"upsync_server: cannot use {files} for https: {reason}") from None
    return made
