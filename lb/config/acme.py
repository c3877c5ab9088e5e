"""ACME as a whole: what the servers want of the issuers, and what `$acme_certificate` stands for.

An order's certificate lies in one file below state_path, with its key. Where it is there it is read as any other;
where it is not, the server waits for it (TlsServer.awaited) and refuses handshakes, as with nginx's module.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from typing import TYPE_CHECKING, Final

from lb.config.errors import Refused
from lb.config.scope import HttpServerScope, IssuerScope, Scope
from lb.model.acme import AcmeIssuer, AcmeOrder
from lb.model.tls import Certificate

if TYPE_CHECKING:
    from lb.config.reader import Reader
    from lb.config.tree import Node

Pairs = list[tuple[str, "Node"]]

DATA: Final = "data:"
VARIABLE: Final = ("$acme_certificate", "${acme_certificate}")
KEY_VARIABLE: Final = ("$acme_certificate_key", "${acme_certificate_key}")
MOST_IDENTIFIERS: Final = 100  # of Let's Encrypt; and each has a challenge (lb/fast/acme/board.pyx)
IN_MEMORY: Final = ("/run", "/dev/shm")  # of root; of others
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")


def check(reader: Reader) -> None:
    """Every acme_certificate with its names. Adds to the reader's problems and warnings. Before lb.config.tls."""
    paths: dict[str, str] = {}
    for issuer in reader.acme_issuers.values():
        if paths.setdefault(issuer.state_path, issuer.name) != issuer.name:
            message = f'issuers "{paths[issuer.state_path]}" and "{issuer.name}" have one state_path'
            reader.refuse(message, issuer.node, "each has an account and a lock of its own there")
    for scope, node in reader.acme_wanted:
        try:
            _order(reader, scope, node)
        except Refused as refused:
            reader.refuse(refused.message, node, refused.hint)
    http = reader.main.values.get("http")
    line: Node | None = http.values.get("resolver") if http is not None else None
    if line is not None and reader.acme_issuers:
        reader.warn(f'"{line.name}" is not used: lb asks the system\'s resolver for the name of an ACME server', line)


def _order(reader: Reader, scope: HttpServerScope, node: Node) -> None:
    issuer = reader.acme_issuers.get(node.args[0])
    if issuer is None:
        raise Refused(
            f'issuer "{node.args[0]}" is missing', f"acme_issuer {node.args[0]} {{ ... }} of http{{}} defines it"
        )
    given = [word for word in node.args[1:] if not word.startswith("key=")]
    key = scope.values[node.name]
    names = dict.fromkeys(one for word in given or _server_names(reader, scope, node) for one in identifiers(word))
    if not names:
        raise Refused(f'"{node.name}": no name of the server can be an identifier', "identifiers may follow the issuer")
    if len(names) > MOST_IDENTIFIERS:
        raise Refused(f'"{node.name}": {len(names)} identifiers, {MOST_IDENTIFIERS} are the most of a certificate')
    order = AcmeOrder(tuple(names), key, _file(issuer, tuple(names), key), node.where)
    reader.acme_orders[id(scope)] = issuer.orders.setdefault((order.identifiers, key), order)


def _server_names(reader: Reader, scope: HttpServerScope, node: Node) -> list[str]:
    """Those that may be identifiers, as nginx's module takes them."""
    for name in scope.names:
        if name.startswith("~"):
            reader.warn(f'"{node.name}": unsupported regular expression in server_name: {name}', node)
    return [name for name in scope.names if name and not name.startswith("~")]


def identifiers(word: str) -> tuple[str, ...]:
    """One, or for `.NAME` www.NAME and NAME. Raises Refused."""
    try:
        return (str(ipaddress.ip_address(word.strip("[]"))),)
    except ValueError:
        pass
    name = word.lower()
    if name.startswith("*."):
        raise Refused(
            f'"{word}": a wildcard needs the challenge dns-01, which lb does not have', "list the names instead"
        )
    bare = name.removeprefix(".")
    if bare == "_" or len(bare) > 253 or not _NAME.fullmatch(bare):
        raise Refused(f'invalid server name: "{word}"', "identifiers may follow the issuer in acme_certificate")
    return (f"www.{bare}", bare) if name.startswith(".") else (bare,)


def _file(issuer: IssuerScope, names: tuple[str, ...], key: str) -> str:
    digest = hashlib.sha256("\0".join((*names, key)).encode()).hexdigest()[:16]
    first = names[0].replace(":", "-")
    return f"{issuer.state_path}/{first[:100]}-{digest}.pem"


def in_memory(reader: Reader, name: str) -> str:
    """Where `state_path off` keeps what must outlive a reload; it goes with the master (lb.master.acme)."""
    of = hashlib.sha256(f"{reader.path}\0{reader.prefix}\0{name}".encode()).hexdigest()[:16]
    root = os.geteuid() == 0
    return f"{IN_MEMORY[0 if root else 1]}/lb-acme-{os.geteuid()}-{of}"


def issuers(reader: Reader) -> tuple[AcmeIssuer, ...]:
    """Config.acme: those of which something is wanted."""
    return tuple(_issuer(scope) for scope in reader.acme_issuers.values() if scope.orders)


def _issuer(scope: IssuerScope) -> AcmeIssuer:
    values = scope.values
    kid, eab = values.get("external_account_key", ("", ""))
    profile, required = values.get("profile", ("", False))
    return AcmeIssuer(
        name=scope.name,
        uri=values["uri"],
        state_path=scope.state_path,
        in_memory=scope.state_path == in_memory(scope.reader, scope.name),
        orders=tuple(scope.orders.values()),
        account_key=values.get("account_key", "ecdsa:256"),
        challenge=values.get("challenge", "http-01"),
        contacts=tuple(scope.contacts),
        eab_kid=kid,
        eab_key=eab,
        preferred_chain=values.get("preferred_chain", ""),
        profile=profile,
        profile_required=required,
        trusted=values.get("ssl_trusted_certificate", ""),
        verify=values.get("ssl_verify", True),
        accept_terms="accept_terms_of_service" in values,
        where=scope.node.where,
    )


# ---- ssl_certificate $acme_certificate


def take(scope: Scope, pairs: Pairs, keys: Pairs) -> tuple[list[Certificate], list[Certificate], Pairs, Pairs]:
    """(issued, awaited, the other pairs, their keys). Raises Refused."""
    found: dict[str, Certificate] = {}
    others: tuple[Pairs, Pairs] = ([], [])
    for one, key in zip(pairs, keys, strict=False):
        if (one[0] in VARIABLE) != (key[0] in KEY_VARIABLE):
            place = one[1] if one[0] in VARIABLE else key[1]
            message = f'"{VARIABLE[0]}" and "{KEY_VARIABLE[0]}" belong together'
            raise Refused(message, file=place.file, line=place.line)
        if one[0] in VARIABLE:
            wanted = _wanted(scope, one[1])
            found[wanted.file] = wanted
        else:
            others[0].append(one)
            others[1].append(key)
    if found and any("$" in text or text.startswith(DATA) for text, _ in [*others[0], *others[1]]):
        node = others[0][0][1]
        raise Refused(f'"{VARIABLE[0]}" cannot stand beside other variables', file=node.file, line=node.line)
    read = {file: _read(scope, one) for file, one in found.items()}
    issued = [one for one in read.values() if one is not None]
    return issued, [one for file, one in found.items() if read[file] is None], *others


def _wanted(scope: Scope, node: Node) -> Certificate:
    order = scope.reader.acme_orders.get(id(scope))
    if order is None:
        message = f'"{VARIABLE[0]}" has no value: the server has no "acme_certificate"'
        raise Refused(message, file=node.file, line=node.line)
    return Certificate(order.file, order.file, (), b"", stamps=((), ()), where=node.where)


def _read(scope: Scope, one: Certificate) -> Certificate | None:
    """None: it is not issued yet, or of no use: another will be asked for."""
    from lb.config.tls_files import BadFile, read_pair  # here, because the engine itself imports lb.model

    if not os.path.exists(one.file) or not _is_ours(os.path.dirname(one.file)):
        return None
    try:
        return read_pair(one.file, one.key_file, "", (), one.where)
    except BadFile as bad:
        scope.reader.warnings.append(f"{bad} in {one.where}; another one will be asked for")
        return None


def _is_ours(directory: str) -> bool:
    """In a directory that all may write to (`state_path off`) somebody else may have been before us."""
    shared = any(directory.startswith(f"{one}/lb-acme-") for one in IN_MEMORY)
    return not shared or os.stat(directory).st_uid == os.geteuid()
