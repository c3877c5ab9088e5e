"""TLS to servers: `proxy_ssl_*`."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, Apply, Context, Directive, flag, full_path, number, once, path
from lb.config.scope import Kind, Scope, StreamServerScope
from lb.config.table_tls import password_file, protocols, text
from lb.config.table_tls_sessions import alpn, command
from lb.config.tls_lazy import cache, named
from lb.config.tree import Node
from lb.config.variables import compile_value

_WHERE: tuple[Context, ...] = ("http", "server", "location", "stream", "stream server")
_STREAM: tuple[Context, ...] = ("stream", "stream server")


def one_file(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = (full_path(scope, node.args[0]), node)


def file_of_pair(scope: Scope, node: Node) -> None:
    """Its name, and what its variables are; an empty one ends what the level around says."""
    once(scope, node)
    name = named(scope, node.args[0]) if node.args[0] else ""
    scope.values[node.name] = (name, node)
    scope.values[f"{node.name} value"] = compile_value(name, _kind(scope))


def name(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = compile_value(node.args[0], _kind(scope))


def _kind(scope: Scope) -> Kind:
    return "stream" if scope.context == "stream" or isinstance(scope, StreamServerScope) else "http"


def _one(directive: str, syntax: str, default: str, doc: str, apply: Apply, differs: str = AS_NGINX) -> Directive:
    return Directive(directive, _WHERE, syntax, (1, 1), default, doc, differs, apply)


def _flag(directive: str, default: str, doc: str, where: tuple[Context, ...] = _WHERE) -> Directive:
    return Directive(directive, where, "on | off", (1, 1), default, doc, AS_NGINX, flag)


DIRECTIVES = (
    _flag("proxy_ssl", "off", "Connections to servers speak TLS.", _STREAM),
    _flag("proxy_ssl_server_name", "off", "Tells servers the name that they are asked for (SNI)."),
    _flag("proxy_ssl_verify", "off", "The server's certificate must be of a trusted authority, and of its name."),
    _flag("proxy_ssl_session_reuse", "on", "Sessions of a server are used for its next connections."),
    _one(
        "proxy_ssl_name",
        "VALUE",
        "$proxy_host",
        "The name that proxy_ssl_verify looks for and proxy_ssl_server_name tells; a port is left out. In stream{} its "
        "default is the host of proxy_pass.",
        name,
        "differs: an IP address is looked for among the certificate's addresses; a kept connection or session serves "
        "no other name",
    ),
    _one("proxy_ssl_verify_depth", "NUMBER", "1", "The longest chain of intermediate certificates.", number),
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
    _one("proxy_ssl_ciphers", "TEXT", "DEFAULT", "The cipher suites up to TLS 1.2, as OpenSSL writes them.", text),
    _one(
        "proxy_ssl_certificate",
        'FILE | data:TEXT | ""',
        "",
        "The certificate that lb shows to servers that ask for one. With variables it is loaded for each handshake "
        "(proxy_ssl_certificate_cache); one that cannot be loaded is 500, a name that comes to nothing shows none.",
        file_of_pair,
        "differs: a kept connection or session serves no other certificate",
    ),
    _one(
        "proxy_ssl_certificate_key",
        "FILE | data:TEXT",
        "",
        "Its private key.",
        file_of_pair,
        "differs: no password for keys that variables name",
    ),
    Directive(
        "proxy_ssl_certificate_cache",
        _WHERE,
        "off | max=N [inactive=TIME] [valid=TIME]",
        (1, 3),
        "off",
        "Keeps certificates that variables name: at most N in a worker, for 10 s without use and 60 s in all.",
        AS_NGINX,
        cache,
    ),
    _one("proxy_ssl_password_file", "FILE", "", "Passwords of keys, one on a line; each is tried.", password_file),
    _one(
        "proxy_ssl_trusted_certificate",
        "FILE",
        "",
        "Certificates of the authorities that proxy_ssl_verify trusts.",
        one_file,
    ),
    _one("proxy_ssl_crl", "FILE", "", "Revoked certificates, as lists of their authorities.", one_file),
    Directive(
        "proxy_ssl_conf_command",
        _WHERE,
        "NAME VALUE",
        (2, 2),
        "",
        "A command of OpenSSL's configuration (SSL_CONF_cmd), after all other settings.",
        AS_NGINX,
        command,
    ),
    _one(
        "proxy_ssl_key_log",
        "FILE",
        "",
        "Secrets of connections to servers are written there, for Wireshark (SSLKEYLOGFILE). Who reads it can read all "
        "that these connections carry.",
        path,
    ),
    Directive(
        "proxy_ssl_alpn",
        _STREAM,
        "PROTOCOL...",
        (1, None),
        "",
        "Protocols that servers are offered (ALPN).",
        AS_NGINX,
        alpn,
    ),
)
