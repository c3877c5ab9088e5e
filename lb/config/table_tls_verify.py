"""TLS to clients: their certificates, and OCSP of ours."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, Context, Directive, enum, flag, full_path, number, once
from lb.config.scope import Scope
from lb.config.tree import Node

_WHERE: tuple[Context, ...] = ("http", "server", "stream", "stream server")


def file(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = (full_path(scope, node.args[0]), node)


def word(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = node.args[0]


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
        "Sends the OCSP response of each certificate to clients that ask for it: that of ssl_stapling_file, or one "
        "that is fetched from the certificate's responder (http), at the start, then hourly and before its nextUpdate. "
        "While the responder is away the last good one is sent, until its nextUpdate. The certificate's issuer is "
        "taken from its chain or ssl_trusted_certificate.",
        "differs: nginx fetches when a client asks, for the next one; it asks the servers of `resolver` for the "
        "responder's name, lb the system's resolver",
        flag,
    ),
    Directive(
        "ssl_stapling_verify",
        _WHERE,
        "on | off",
        (1, 1),
        "off",
        "A fetched OCSP response must be signed by the certificate's issuer or by whom it has charged with it, and "
        "ssl_trusted_certificate must have the rest of that chain, with its root. off: any signer's; clients verify.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "ssl_stapling_responder",
        _WHERE,
        "URL",
        (1, 1),
        "",
        "The OCSP responder (http://...) that is asked instead of those that the certificates name.",
        AS_NGINX,
        word,
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
