"""TLS made for operations: certificates that change while lb runs."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, LB_ONLY, Directive, flag
from lb.config.tls_lazy import cache

DIRECTIVES = (
    Directive(
        "ssl_certificate_cache",
        ("http", "server", "stream", "stream server"),
        "off | max=N [inactive=TIME] [valid=TIME]",
        (1, 3),
        "off",
        "Keeps certificates that variables name: at most N in a worker, for 10 s without use and 60 s in all.",
        AS_NGINX,
        cache,
    ),
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
