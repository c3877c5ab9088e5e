"""Who a client is, and whether it may come in: `set_real_ip_from` and its kin, `allow` and `deny`."""

from __future__ import annotations

from lb.config import networks
from lb.config.address import AddressError, parse
from lb.config.directive import AS_NGINX, Context, Directive, flag, once
from lb.config.errors import Refused
from lb.config.scope import Scope, StreamServerScope
from lb.config.tree import Node
from lb.config.values import ascii_lower
from lb.model.clients import AccessRule, Network, RealIp

_CONTEXTS: tuple[Context, ...] = ("http", "server", "location", "limit_except", "stream", "stream server")


def rule(scope: Scope, node: Node) -> None:
    rules: list[AccessRule] = scope.values.setdefault("access", [])
    rules += [AccessRule(node.name == "allow", network) for network in _networks(scope, node)]


def _networks(scope: Scope, node: Node) -> tuple[Network, ...]:
    if node.args[0] == "all":
        return networks.EVERY
    found = network(scope, node)
    if found is None:
        raise Refused(f'invalid parameter "{node.args[0]}"')
    return (found,)


def network(scope: Scope, node: Node) -> Network | None:
    text = node.args[0]
    if text == "unix:":
        return networks.UNIX
    found = networks.parse(text)
    if found is not None and found[1]:
        scope.reader.warn(f"low address bits of {text} are meaningless", node)
    return found[0] if found else None


# ---- realip


def set_real_ip_from(scope: Scope, node: Node) -> None:
    proxies: list[Network] = scope.values.setdefault("set_real_ip_from", [])
    found = network(scope, node)
    proxies += [found] if found is not None else named(scope, node)


def named(scope: Scope, node: Node, wrong: str = "") -> list[Network]:
    """Every address of the host that stands where a network may; `wrong`: the one text of all its errors."""
    name = node.args[0]
    try:
        url = parse(name, default_port=0)
        if not url.no_port:
            raise AddressError("invalid host")
        return [networks.of_address(address) for address in scope.reader.resolver.addresses(url)]
    except AddressError as error:
        raise Refused(f'{wrong or error} in {node.name} "{name}"') from None


def real_ip_header(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = ascii_lower(node.args[0])


def realip(scope: Scope) -> RealIp | None:
    """For compile.py: what holds on this level. A stream server believes the PROXY header alone."""
    proxies = tuple(scope.inherited("set_real_ip_from", ()))
    if not proxies:
        return None
    if isinstance(scope, StreamServerScope):
        return RealIp(proxies, "proxy_protocol")
    return RealIp(proxies, scope.inherited("real_ip_header", "x-real-ip"), scope.inherited("real_ip_recursive", False))


_ACCESS = tuple(
    Directive(
        name,
        _CONTEXTS,
        "ADDRESS | ADDRESS/BITS | unix: | all",
        (1, 1),
        "",
        f"{what} The first `allow` or `deny` that fits a client decides; one that none fits may. A level that has any "
        "does not inherit those of the levels around it.",
        AS_NGINX,
        rule,
    )
    for name, what in (
        ("allow", "Clients of this network, of unix sockets (unix:), or all, may use what stands here."),
        ("deny", "These clients may not: http answers 403, stream closes the connection."),
    )
)

_HTTP: tuple[Context, ...] = ("http", "server", "location")

DIRECTIVES = (
    *_ACCESS,
    Directive(
        "set_real_ip_from",
        (*_HTTP, "stream", "stream server"),
        "ADDRESS | ADDRESS/BITS | HOST | unix:",
        (1, 1),
        "",
        "Proxies in front of lb that are believed about the client's address; may be repeated. In http real_ip_header "
        "says what they are asked, in stream it is the PROXY header. Everything that knows the client's address then "
        "knows that one: logs, variables, ip_hash, allow and deny.",
        AS_NGINX,
        set_real_ip_from,
    ),
    Directive(
        "real_ip_header",
        _HTTP,
        "FIELD | X-Real-IP | X-Forwarded-For | proxy_protocol",
        (1, 1),
        "X-Real-IP",
        "Where a trusted proxy tells the client's address: a field of the request, or the PROXY header. Of several "
        "addresses it is the last.",
        AS_NGINX,
        real_ip_header,
    ),
    Directive(
        "real_ip_recursive",
        _HTTP,
        "on | off",
        (1, 1),
        "off",
        "Takes the last address of the field that is not itself a trusted proxy's.",
        AS_NGINX,
        flag,
    ),
)
