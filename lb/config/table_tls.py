"""TLS to clients: certificates, versions, ciphers."""

from __future__ import annotations

from pathlib import Path

from lb.config.directive import AS_NGINX, LB_ONLY, Context, Directive, enum, flag, full_path, msec, once, size
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tls_lazy import named
from lb.config.tree import Node

_WHERE: tuple[Context, ...] = ("http", "server", "stream", "stream server")
_HTTP: tuple[Context, ...] = ("http", "server")
_STREAM: tuple[Context, ...] = ("stream", "stream server")
_PROTOCOLS = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


def file_of_pair(scope: Scope, node: Node) -> None:
    """One of several, in file order."""
    scope.values.setdefault(node.name, []).append((named(scope, node.args[0]), node))


def password_file(scope: Scope, node: Node) -> None:
    once(scope, node)
    name = full_path(scope, node.args[0])
    try:
        lines = Path(name).read_bytes().splitlines()
    except OSError as error:
        raise Refused(f'open() "{name}" failed ({error.errno}: {error.strerror})') from None
    scope.values[node.name] = [line for line in lines if line]
    scope.values[f"{node.name} name"] = name


def protocols(scope: Scope, node: Node) -> None:
    once(scope, node)
    for word in node.args:
        if word not in _PROTOCOLS:
            raise Refused(f'invalid value "{word}"')
    scope.values[node.name] = tuple(sorted(set(node.args), key=_PROTOCOLS.index))
    scope.values[f"{node.name} node"] = node


def old_switch(scope: Scope, node: Node) -> None:
    flag(scope, node)
    scope.reader.warn('the "ssl" directive is deprecated, use the "listen ... ssl" directive instead', node)


def text(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = node.args[0]


def curve(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = "" if node.args[0] == "auto" else node.args[0]


DIRECTIVES = (
    Directive(
        "ssl_certificate",
        _WHERE,
        "FILE | data:TEXT",
        (1, 1),
        "",
        "The server's certificate in PEM, with its intermediate certificates behind it; several for several kinds of "
        "keys. With variables: loaded during the handshake, with the worker's rights; data:TEXT is the PEM itself.",
        AS_NGINX,
        file_of_pair,
    ),
    Directive(
        "ssl_certificate_key",
        _WHERE,
        "FILE | data:TEXT",
        (1, 1),
        "",
        "The private key of the certificate of the same place in the order.",
        AS_NGINX,
        file_of_pair,
    ),
    Directive(
        "ssl_password_file",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "Passwords of private keys, one on a line; each is tried.",
        AS_NGINX,
        password_file,
    ),
    Directive(
        "ssl_protocols",
        _WHERE,
        "[SSLv3] [TLSv1] [TLSv1.1] [TLSv1.2] [TLSv1.3]",
        (1, None),
        "TLSv1.2 TLSv1.3",
        "The versions of TLS, for each server of an address by the name that a client asks for.",
        AS_NGINX,
        protocols,
    ),
    Directive(
        "ssl_ciphers",
        _WHERE,
        "TEXT",
        (1, 1),
        "HIGH:!aNULL:!MD5",
        "The cipher suites up to TLS 1.2, as OpenSSL writes them.",
        AS_NGINX,
        text,
    ),
    Directive(
        "ssl_prefer_server_ciphers",
        _WHERE,
        "on | off",
        (1, 1),
        "off",
        "The server's order of cipher suites counts, not the client's.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "ssl_ecdh_curve",
        _WHERE,
        "NAME[:NAME]... | auto",
        (1, 1),
        "auto",
        "The groups of key exchanges, as OpenSSL writes them; auto: OpenSSL's own.",
        AS_NGINX,
        curve,
    ),
    Directive(
        "ssl_buffer_size",
        _HTTP,
        "SIZE",
        (1, 1),
        "16k",
        "The most bytes of a response that go into one record.",
        AS_NGINX,
        size,
    ),
    Directive(
        "ssl",
        _HTTP,
        "on | off",
        (1, 1),
        "off",
        "TLS on every address whose default server says so. Files of before 2018 have it; nginx has none since 1.25.1. "
        "Write `listen ... ssl` instead.",
        AS_NGINX,
        old_switch,
    ),
    Directive(
        "ssl_reject_handshake",
        _WHERE,
        "on | off",
        (1, 1),
        "off",
        "Refuses handshakes for the names of this server with the alert unrecognized_name.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "ssl_record_engine",
        _WHERE,
        "lb | openssl",
        (1, 1),
        "lb",
        "Who seals and opens records after the handshake: lb itself (AES-GCM and ChaCha20-Poly1305 of TLS 1.2 and 1.3; "
        "13 kB less for an idle connection), or OpenSSL, as for all other suites.",
        LB_ONLY,
        enum("lb", "openssl"),
    ),
    Directive(
        "ssl_handshake_timeout",
        _STREAM,
        "TIME",
        (1, 1),
        "60s",
        "How long a handshake may take.",
        AS_NGINX,
        msec,
    ),
)
