"""TLS made for operations: certificates that change while lb runs."""

from __future__ import annotations

from lb.config.directive import LB_ONLY, Directive, flag

DIRECTIVES = (
    Directive(
        "ssl_certificate_watch",
        ("http", "server", "stream", "stream server"),
        "on | off",
        (1, 1),
        "off",
        "New handshakes use a certificate and its key as soon as their files have changed, without a reload: "
        "doc/operating.md.",
        LB_ONLY,
        flag,
    ),
)
