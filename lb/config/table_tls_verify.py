"""TLS to clients: their certificates, and OCSP of ours."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, Context, Directive, enum, flag, full_path, number, once
from lb.config.scope import Scope
from lb.config.tree import Node

_WHERE: tuple[Context, ...] = ("http", "server", "stream", "stream server")


def file(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = (full_path(scope, node.args[0]), node)


DIRECTIVES = (
    Directive(
        "ssl_verify_client",
        _WHERE,
        "on | off | optional | optional_no_ca",
        (1, 1),
        "off",
        "Asks clients for a certificate. on: one that is good, or 400 (495, 496 for error_page), in stream{} the end "
        "of the session; optional: good if there is one; optional_no_ca: whoever issued it ($ssl_client_verify tells).",
        AS_NGINX,
        enum("on", "off", "optional", "optional_no_ca"),
    ),
    Directive(
        "ssl_verify_depth",
        _WHERE,
        "NUMBER",
        (1, 1),
        "1",
        "How many intermediate certificates a client's chain may have.",
        AS_NGINX,
        number,
    ),
    Directive(
        "ssl_client_certificate",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "Certificates of the authorities that clients' certificates may come from; their names are sent to clients.",
        AS_NGINX,
        file,
    ),
    Directive(
        "ssl_trusted_certificate",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "More such authorities, whose names are not sent.",
        AS_NGINX,
        file,
    ),
    Directive(
        "ssl_crl",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "Revoked certificates, as lists of every authority of a chain.",
        AS_NGINX,
        file,
    ),
    Directive(
        "ssl_stapling",
        _WHERE,
        "on | off",
        (1, 1),
        "off",
        "Sends the OCSP response of ssl_stapling_file to clients that ask for it.",
        "differs: nginx also fetches the response from the certificate's responder; lb refuses to start then",
        flag,
    ),
    Directive(
        "ssl_stapling_file",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "An OCSP response in DER for the server's certificate, which something else keeps current; read at each "
        "reload.",
        AS_NGINX,
        file,
    ),
)
