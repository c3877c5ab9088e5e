"""ACME: `acme_issuer`, what stands in it, and `acme_certificate`."""

from __future__ import annotations

import base64
import binascii
import importlib.metadata
import re
from typing import Final
from urllib.parse import urlsplit

from lb.config import acme
from lb.config.directive import AS_NGINX, Context, Directive, flag, full_path, once, path
from lb.config.errors import Refused
from lb.config.scope import HttpScope, HttpServerScope, IssuerScope, Scope
from lb.config.tree import Node
from lb.config.values import parse_size

KEY_KINDS: Final = {"ecdsa": ("256", "384", "521"), "rsa": ("2048", "3072", "4096")}
CHALLENGES: Final = {"http": "http-01", "http-01": "http-01", "tls-alpn": "tls-alpn-01", "tls-alpn-01": "tls-alpn-01"}
PACKAGES: Final = ("acme", "josepy", "cryptography")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ISSUER_NAME: Final = re.compile(r"[^/\s]+")


def issuer(scope: HttpScope, node: Node) -> None:
    name = node.args[0]
    if name in scope.reader.acme_issuers:
        raise Refused(f'"{node.name}" directive is duplicate')
    if not _ISSUER_NAME.fullmatch(name):
        raise Refused(f'invalid issuer name "{name}"')
    for package in PACKAGES:
        if not _is_installed(package):
            raise Refused(f'"{node.name}" needs the Python package {package}', "pip install 'lb[acme]'")
    draft = IssuerScope("acme_issuer", scope.reader, None, node=node, name=name)
    draft.state_path = scope.reader.full_name(f"acme_{name}")
    clean = scope.reader.walk_block(node, draft)
    scope.reader.acme_issuers[name] = draft
    if clean and "uri" not in draft.values:
        raise Refused(f'"{node.name}": "uri" is missing')


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def uri(scope: Scope, node: Node) -> None:
    once(scope, node)
    try:
        parts = urlsplit(node.args[0])
        good = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Refused(
            f'"{node.name}" directive invalid value', "it is the URL of the ACME server's directory: https://..."
        )
    scope.values[node.name] = node.args[0]


def kind_of_key(text: str) -> str:
    """ecdsa:256 of `ecdsa`; "": it is none of the kinds. Raises Refused: of no such size."""
    kind, colon, size = text.partition(":")
    if kind not in KEY_KINDS:
        return ""
    if colon and size not in KEY_KINDS[kind]:
        raise Refused(f'invalid key size "{text}"', f"{kind}: {', '.join(KEY_KINDS[kind])}")
    return f"{kind}:{size or KEY_KINDS[kind][0]}"


def account_key(scope: Scope, node: Node) -> None:
    from lb._fast import tls_key  # here, because the engine itself imports lb.model
    from lb.config.tls_files import BadFile, read

    once(scope, node)
    kind = kind_of_key(node.args[0])
    if not kind:
        kind = full_path(scope, node.args[0])
        try:
            read(kind, f'cannot load certificate key "{kind}"', tls_key)
        except BadFile as bad:
            raise Refused(str(bad), bad.hint) from None
    scope.values[node.name] = kind


def challenge(scope: Scope, node: Node) -> None:
    once(scope, node)
    if node.args[0] not in CHALLENGES:
        raise Refused(f"unsupported challenge: {node.args[0]}", "http-01 and tls-alpn-01 are there")
    scope.values[node.name] = CHALLENGES[node.args[0]]


def contact(scope: IssuerScope, node: Node) -> None:
    """Several may stand."""
    text = node.args[0]
    if not text or not text.isascii() or not text.isprintable():
        raise Refused(f'"{node.name}" directive invalid value')
    scope.contacts.append(text if _SCHEME.match(text) else f"mailto:{text}")


def external_account_key(scope: Scope, node: Node) -> None:
    """KID FILE, or KID data:KEY."""
    once(scope, node)
    kid, text = node.args
    if not kid or not text:
        raise Refused(f'"{node.name}" directive invalid value')
    if text.startswith(acme.DATA):
        key = text.removeprefix(acme.DATA)
    else:
        name = full_path(scope, text)
        try:
            with open(name, "rb") as stream:
                key = stream.read(4096).decode("ascii", "replace")
        except OSError as error:
            raise Refused(f'open() "{name}" failed ({error.errno}: {error.strerror})') from None
    key = key.strip().rstrip("=")
    try:
        good = bool(base64.b64decode(key + "=" * (-len(key) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error):
        good = False
    if not good:
        raise Refused(f'"{node.name}" directive invalid base64url encoded value')
    scope.values[node.name] = (kid, key)


def preferred_chain(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = node.args[0]


def profile(scope: Scope, node: Node) -> None:
    once(scope, node)
    if not node.args[0]:
        raise Refused(f'"{node.name}" directive invalid value')
    if node.args[1:] not in ((), ("require",)):
        raise Refused(f'invalid parameter "{node.args[1]}"')
    scope.values[node.name] = (node.args[0], len(node.args) == 2)


def trusted(scope: Scope, node: Node) -> None:
    from lb._fast import tls_certificates  # here, because the engine itself imports lb.model
    from lb.config.tls_files import BadFile, read

    path(scope, node)
    name = scope.values[node.name]
    try:
        read(name, f'cannot load certificate "{name}"', tls_certificates)
    except BadFile as bad:
        raise Refused(str(bad), bad.hint) from None


def state_path(scope: IssuerScope, node: Node) -> None:
    once(scope, node)
    off = node.args[0] == "off"
    scope.values[node.name] = True
    scope.state_path = acme.in_memory(scope.reader, scope.name) if off else full_path(scope, node.args[0]).rstrip("/")


def accept_terms(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = True


def certificate(scope: HttpServerScope, node: Node) -> None:
    """ISSUER [IDENTIFIER ...] [key=KIND]. The names of the server are known later (lb.config.acme)."""
    once(scope, node)
    key = "ecdsa:256"
    if not node.args[0]:
        raise Refused(f'"{node.name}" directive "issuer" is missing')
    for word in node.args[1:]:
        if word.startswith("key="):
            key = kind_of_key(word.removeprefix("key="))
            if not key:
                raise Refused(f'"{node.name}" directive invalid "key" value')
        else:
            acme.identifiers(word)
    scope.values[node.name] = key
    scope.reader.acme_wanted.append((scope, node))


def shared_zone(scope: Scope, node: Node) -> None:
    once(scope, node)
    name, equals, rest = node.args[0].partition("=")
    if name != "zone" or not equals:
        raise Refused(f'"{node.name}" must have "zone" parameter')
    zone, colon, size = rest.partition(":")
    if not zone or not colon or not parse_size(size):
        raise Refused(f'invalid zone size "{rest}"')
    scope.values[node.name] = True


_ISSUER: tuple[Context, ...] = ("acme_issuer",)
DIRECTIVES = (
    Directive(
        "acme_issuer",
        ("http",),
        "NAME { ... }",
        (1, 1),
        "",
        "An ACME server that issues certificates, and our account there: doc/tls.md. Needs `pip install 'lb[acme]'`.",
        AS_NGINX,
        issuer,
        True,
    ),
    Directive(
        "acme_certificate",
        ("server",),
        "ISSUER [IDENTIFIER ...] [key=ecdsa[:256|384|521] | key=rsa[:2048|3072|4096]]",
        (1, None),
        "",
        "The server's certificate is issued by ISSUER and renewed in time: `ssl_certificate $acme_certificate; "
        "ssl_certificate_key $acme_certificate_key;`. Without identifiers it is for the names of `server_name`; "
        "`.NAME` is www.NAME and NAME.",
        "differs: a wildcard is refused, since it cannot be issued by the challenges that are there",
        certificate,
    ),
    Directive(
        "acme_shared_zone",
        ("http",),
        "zone=NAME:SIZE",
        (1, 1),
        "",
        "The size of memory of nginx's module. lb keeps certificates in no such zone: SIZE is checked and not used.",
        "differs: not used",
        shared_zone,
    ),
    Directive(
        "uri", _ISSUER, "URL", (1, 1), "", "The URL of the ACME server's directory. It must be there.", AS_NGINX, uri
    ),
    Directive(
        "account_key",
        _ISSUER,
        "ecdsa[:256|384|521] | rsa[:2048|3072|4096] | FILE",
        (1, 1),
        "ecdsa:256",
        "The account's private key: made once and kept below state_path, or that of FILE.",
        AS_NGINX,
        account_key,
    ),
    Directive(
        "challenge",
        _ISSUER,
        "http-01 | tls-alpn-01",
        (1, 1),
        "http-01",
        "How the names are proved to be ours: by an answer on port 80, or by a handshake on port 443. Both may be "
        "written without -01.",
        AS_NGINX,
        challenge,
    ),
    Directive(
        "contact",
        _ISSUER,
        "URL | ADDRESS",
        (1, 1),
        "",
        "Whom the ACME server may write to; `mailto:` is put before an address. Several may be given.",
        AS_NGINX,
        contact,
    ),
    Directive(
        "external_account_key",
        _ISSUER,
        "KID FILE | KID data:KEY",
        (2, 2),
        "",
        "Binds the account to one that the ACME server's operator knows (RFC 8555 section 7.3.4): its identifier and "
        "its key in base64url.",
        AS_NGINX,
        external_account_key,
    ),
    Directive(
        "preferred_chain",
        _ISSUER,
        "NAME",
        (1, 1),
        "",
        "Of several chains the one whose last certificate was issued by this common name; else the first.",
        AS_NGINX,
        preferred_chain,
    ),
    Directive(
        "profile",
        _ISSUER,
        "NAME [require]",
        (1, 2),
        "",
        "The profile of the certificates. An ACME server without it is asked for none, or with `require` not at all.",
        AS_NGINX,
        profile,
    ),
    Directive(
        "ssl_trusted_certificate",
        _ISSUER,
        "FILE",
        (1, 1),
        "the system's authorities",
        "Authorities in PEM that the ACME server's own certificate is verified with.",
        AS_NGINX,
        trusted,
    ),
    Directive(
        "ssl_verify",
        _ISSUER,
        "on | off",
        (1, 1),
        "on",
        "Verifies the ACME server's own certificate.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "state_path",
        _ISSUER,
        "DIRECTORY | off",
        (1, 1),
        "acme_NAME",
        "Where keys, certificates and the account lie, each in a file that only lb's master can read. Several lb "
        "machines may share it: one of them orders. `off`: in memory, until lb ends.",
        "differs: names and form of the files",
        state_path,
    ),
    Directive(
        "accept_terms_of_service",
        _ISSUER,
        "",
        (0, 0),
        "",
        "Agrees to the terms of service of the ACME server, whose address the log names.",
        AS_NGINX,
        accept_terms,
    ),
)
