"""What is doubtful about certificates and keys that work: `lb -t`, a start and a reload warn of it.

of_certificate   time, strength, chain: whatever the servers are
of_names         certificate and `server_name` that have nothing to do with each other
of_key_file      a private key that others can read
of_protocols     versions that OpenSSL will not speak
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lb._fast import tls_facts, tls_missing_issuer, tls_security_level
from lb.config.scope import HttpServerScope, Scope
from lb.model.tls import Certificate, CertificateFacts, TlsServer

if TYPE_CHECKING:
    from lb.config.reader import Reader
    from lb.config.tree import Node

SOON_S: Final = 7 * 86400
RSA_LEAST: Final = 2048
EC_LEAST: Final = 256
WEAK_HASHES: Final = ("MD5", "SHA1")
OLD: Final = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1")
SHOWN: Final = 3  # names in a message


@dataclass(slots=True)
class Use:
    """A certificate and the servers that use it."""

    certificate: Certificate
    servers: list[Scope] = field(default_factory=list)


def check(reader: Reader, made: Iterable[tuple[Scope, TlsServer]]) -> None:
    """Warn of all of them, of each once. `made`: the servers that have certificates."""
    uses: dict[tuple[str, str], Use] = {}
    protocols: dict[str, None] = {}
    for scope, server in made:
        for one in server.certificates if not server.reject_handshake else ():
            uses.setdefault((one.file, one.key_file), Use(one)).servers.append(scope)
        protocols.update(dict.fromkeys(of_protocols(scope, server)))
    for use in uses.values():
        reader.warnings += [f"{text} in {use.certificate.where}" for text in _of_use(use)]
    reader.warnings += [*protocols, *of_names(list(uses.values()))]


def _of_use(use: Use) -> Iterator[str]:
    yield from of_certificate(use.certificate, time.time())
    yield from of_key_file(use.certificate.key_file)


def of_certificate(one: Certificate, now: float) -> Iterator[str]:
    """Without a place: also for a pair that was read anew."""
    yield from _of_time(one, now)
    yield from _of_strength(one)
    missing = tls_missing_issuer(one.chain)
    if missing is not None and (missing[0] == 0 or missing[2]):  # further up it may be a root that only clients have
        yield (
            f'the chain of the certificate "{one.file}" is not whole: its issuer "{missing[1]}" is neither in the file '
            "nor trusted by this machine; clients that do not have it refuse the certificate"
        )


def _of_time(one: Certificate, now: float) -> Iterator[str]:
    facts = one.facts
    if now >= facts.not_after:
        yield f'the certificate "{one.file}" has expired on {_day(facts.not_after)}'
    elif now < facts.not_before:
        yield f'the certificate "{one.file}" is not valid before {_day(facts.not_before)}'
    elif facts.not_after - now < SOON_S:
        yield f'the certificate "{one.file}" expires soon, on {_day(facts.not_after)}'


def _day(at: int) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError):
        return "a day that no calendar has"


def _of_strength(one: Certificate) -> Iterator[str]:
    facts = one.facts
    least = {"RSA": RSA_LEAST, "EC": EC_LEAST}.get(facts.key_type, 0)
    if facts.key_bits < least:
        kind = f"{facts.key_type} of {facts.key_bits} bits"
        yield f'the key of the certificate "{one.file}" is weak: {kind}, {least} are the least that is safe'
    for place, der in enumerate(one.chain):
        of = facts if place == 0 else tls_facts(der)
        if of.signed_with in WEAK_HASHES and not of.self_signed:
            yield f'"{of.subject}" of the certificate "{one.file}" is signed with {of.signed_with}, which is not safe'


def of_key_file(file: str) -> Iterator[str]:
    """As ssh of its keys; the group may have it (ssl-cert)."""
    try:
        mode = stat.S_IMODE(os.stat(file).st_mode)
    except OSError:
        return
    if mode & stat.S_IROTH:
        yield f'the private key "{file}" can be read by every user of this machine (mode {mode:04o})'


def of_protocols(scope: Scope, server: TlsServer) -> Iterator[str]:
    node: Node | None = scope.inherited("ssl_protocols node", None)
    if node is None or not set(server.protocols) & set(OLD):
        return
    level = tls_security_level(server.ciphers)
    dead = [one for one in server.protocols if one in OLD and (level > 0 or one in OLD[:2])]
    if dead:
        verb = "have" if len(dead) > 1 else "has"
        why = f"OpenSSL refuses it at security level {level}" if level else "this OpenSSL does not know it"
        yield f'"{" ".join(dead)}" of "ssl_protocols" {verb} no effect: {why} in {node.where}'


# ---- names


def of_names(uses: list[Use]) -> Iterator[str]:
    """Certificates that no server_name of theirs uses; names of the other servers that no certificate covers."""
    idle = [use for use in uses if _is_idle(use)]
    for use in idle:
        named = [name for scope in use.servers if isinstance(scope, HttpServerScope) for name in scope.names]
        yield (
            f'the certificate "{use.certificate.file}" is for {_few(use.certificate.facts.names)}: '
            f"no server_name that uses it ({_few(named)}) is among them in {use.certificate.where}"
        )
    told = {id(scope) for use in idle for scope in use.servers}
    servers: dict[int, tuple[HttpServerScope, list[CertificateFacts]]] = {}
    for use in uses:
        for scope in use.servers:
            if isinstance(scope, HttpServerScope) and id(scope) not in told:
                servers.setdefault(id(scope), (scope, []))[1].append(use.certificate.facts)
    for scope, facts in servers.values():
        names = [name for one in facts for name in one.names]
        bare = [name for name in scope.names if not _is_covered(name, names)]
        if bare:
            where = f" in {scope.node.where}" if scope.node else ""
            yield f"no certificate of the server is for its server_name {_few(bare)}{where}"


def _is_idle(use: Use) -> bool:
    """Not of those that take whatever comes: a default, a regular expression, a stream server."""
    for scope in use.servers:
        if not isinstance(scope, HttpServerScope) or not scope.names or any(_is_open(name) for name in scope.names):
            return False
        if any(_meet(one, name) for one in use.certificate.facts.names for name in scope.names):
            return False
    return True


def _is_open(name: str) -> bool:
    return name in ("", "_") or name.startswith("~")


def _meet(certified: str, name: str) -> bool:
    """Is there a host that is both?"""
    if name.startswith(("*.", ".")):
        domain = name.lstrip("*").lstrip(".")
        return certified.removeprefix("*.") == domain or certified.endswith(f".{domain}")
    if name.endswith(".*"):
        return certified.startswith((name[:-1], "*."))
    return _is_for(certified, name)


def _is_for(certified: str, host: str) -> bool:
    """RFC 9525 section 6.3: a star is one whole label, the first."""
    if certified.startswith("*."):
        label, _, rest = host.partition(".")
        return bool(label) and rest == certified[2:]
    return certified == host


def _is_covered(name: str, certified: list[str]) -> bool:
    if _is_open(name) or name.endswith(".*"):
        return True
    if name.startswith("*."):
        return name in certified
    if name.startswith("."):
        return f"*{name}" in certified
    return any(_is_for(one, name) for one in certified)


def _few(names: Iterable[str]) -> str:
    given = list(dict.fromkeys(names))
    more = f" and {len(given) - SHOWN} more" if len(given) > SHOWN else ""
    return ", ".join(f'"{name}"' for name in given[:SHOWN]) + more if given else "no name"
