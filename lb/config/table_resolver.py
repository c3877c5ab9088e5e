"""`resolver`: read where lb asks the system's resolver instead, refused where nginx's own would be missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lb.config.address import AddressError, parse
from lb.config.directive import Context, Directive, msec, once
from lb.config.errors import Refused
from lb.config.nginx import reason
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_flag, parse_seconds

if TYPE_CHECKING:
    from lb.config.reader import Reader

_WHERE: tuple[Context, ...] = ("http", "server", "location", "stream", "stream server")
_PORT = 53


def resolver(scope: Scope, node: Node) -> None:
    """ADDRESS... [valid=TIME] [ipv4=on|off] [ipv6=on|off]"""
    once(scope, node)
    servers, off = 0, set()
    for word in node.args:
        name, equals, text = word.partition("=")
        if equals and name == "valid":
            if parse_seconds(text) is None:
                raise Refused(f"invalid parameter: {word}")
        elif equals and name in ("ipv4", "ipv6"):
            value = parse_flag(text)
            if value is None:
                raise Refused(f"invalid parameter: {word}")
            if not value:
                off.add(name)
        elif not (equals and name == "status_zone"):
            _server(word)
            servers += 1
    if len(off) == 2:
        raise Refused('"ipv4" and "ipv6" cannot both be "off"')
    if not servers:
        raise Refused("no name servers defined")
    scope.values[node.name] = node


def _server(text: str) -> None:
    try:
        parse(text, default_port=_PORT)
    except AddressError as error:
        raise Refused(f'{error} in resolver "{text}"') from None


def check(reader: Reader) -> None:
    """What would need it: a host that variables make, other than an upstream's name or an address."""
    told = set()
    for scope, target in reader.open_targets:
        node: Node | None = scope.inherited("resolver", None)
        if node is None or id(node) in told or not _needs(reader, target):
            continue
        told.add(id(node))
        reader.refuse(f'unknown directive "{node.name}"', node, reason(node.name))


def _needs(reader: Reader, target: str) -> bool:
    rest = target.partition("://")[2] or target
    ends = [at for at in map(rest.find, ("/", "?", "#", "$request_uri", "$uri")) if at >= 0]
    host = rest[: min(ends, default=len(rest))]
    if "$" in host:
        return True
    try:
        url = parse(host, default_port=80)
    except AddressError:
        return False
    return url.literal is None and url.host.lower() not in {draft.url.host.lower() for draft in reader.upstreams.drafts}


DIRECTIVES = (
    Directive(
        "resolver",
        _WHERE,
        "ADDRESS ... [valid=TIME] [ipv4=on | off] [ipv6=on | off]",
        (1, None),
        "",
        "The name servers that nginx asks while it runs. lb asks the system's resolver for names of OCSP responders "
        "(ssl_stapling): the line is checked and not used. It is refused where proxy_pass may get a host name from "
        "variables, which nginx would ask these servers for.",
        "differs: not used",
        resolver,
    ),
    Directive(
        "resolver_timeout",
        _WHERE,
        "TIME",
        (1, 1),
        "30s",
        "How long nginx waits for them. It is checked and not used, as resolver.",
        "differs: not used",
        msec,
    ),
)
