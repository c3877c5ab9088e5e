"""TLS to servers: `proxy_ssl_*`."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, Context, Directive, flag, full_path, number, once
from lb.config.scope import Scope, StreamServerScope
from lb.config.table_tls import password_file, protocols, text
from lb.config.tree import Node
from lb.config.variables import compile_value

_WHERE: tuple[Context, ...] = ("http", "server", "location", "stream", "stream server")
_STREAM: tuple[Context, ...] = ("stream", "stream server")


def one_file(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = (full_path(scope, node.args[0]), node)


def name(scope: Scope, node: Node) -> None:
    once(scope, node)
    stream = scope.context == "stream" or isinstance(scope, StreamServerScope)
    scope.values[node.name] = compile_value(node.args[0], "stream" if stream else "http")


def _file(directive: str, doc: str) -> Directive:
    return Directive(directive, _WHERE, "FILE", (1, 1), "", doc, AS_NGINX, one_file)


def _flag(directive: str, default: str, doc: str, where: tuple[Context, ...] = _WHERE) -> Directive:
    return Directive(directive, where, "on | off", (1, 1), default, doc, AS_NGINX, flag)


DIRECTIVES = (
    _flag("proxy_ssl", "off", "Connections to servers speak TLS.", _STREAM),
    _flag("proxy_ssl_server_name", "off", "Tells servers the name that they are asked for (SNI)."),
    _flag(
        "proxy_ssl_verify", "off", "The server's certificate must be of a trusted authority, and of its name; else 502."
    ),
    _flag("proxy_ssl_session_reuse", "on", "Sessions of a server are used for its next connections."),
    Directive(
        "proxy_ssl_name",
        _WHERE,
        "VALUE",
        (1, 1),
        "$proxy_host",
        "The name that proxy_ssl_verify looks for and proxy_ssl_server_name tells; a port is left out. "
        "In stream{} its default is the host of proxy_pass.",
        AS_NGINX,
        name,
    ),
    Directive(
        "proxy_ssl_verify_depth",
        _WHERE,
        "NUMBER",
        (1, 1),
        "1",
        "The longest chain of intermediate certificates.",
        AS_NGINX,
        number,
    ),
    Directive(
        "proxy_ssl_protocols",
        _WHERE,
        "[SSLv3] [TLSv1] [TLSv1.1] [TLSv1.2] [TLSv1.3]",
        (1, None),
        "TLSv1.2 TLSv1.3",
        "The versions of TLS to servers.",
        AS_NGINX,
        protocols,
    ),
    Directive(
        "proxy_ssl_ciphers",
        _WHERE,
        "TEXT",
        (1, 1),
        "DEFAULT",
        "The cipher suites up to TLS 1.2, as OpenSSL writes them.",
        AS_NGINX,
        text,
    ),
    Directive(
        "proxy_ssl_password_file",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "Passwords of private keys, one on a line; each is tried.",
        AS_NGINX,
        password_file,
    ),
    _file("proxy_ssl_certificate", "The certificate that lb shows to servers that ask for one."),
    _file("proxy_ssl_certificate_key", "Its private key."),
    _file("proxy_ssl_trusted_certificate", "Certificates of the authorities that proxy_ssl_verify trusts."),
    _file("proxy_ssl_crl", "Revoked certificates, as lists of their authorities."),
)
