"""Who may come in: `allow` and `deny`, in http and in stream."""

from __future__ import annotations

from lb.config import networks
from lb.config.directive import AS_NGINX, Context, Directive
from lb.config.errors import Refused
from lb.config.model import AccessRule, Network
from lb.config.scope import Scope
from lb.config.tree import Node

_CONTEXTS: tuple[Context, ...] = ("http", "server", "location", "limit_except", "stream", "stream server")


def rule(scope: Scope, node: Node) -> None:
    rules: list[AccessRule] = scope.values.setdefault("access", [])
    rules += [AccessRule(node.name == "allow", network) for network in _networks(scope, node)]


def _networks(scope: Scope, node: Node) -> tuple[Network, ...]:
    text = node.args[0]
    if text == "all":
        return networks.EVERY
    if text == "unix:":
        return (networks.UNIX,)
    found = networks.parse(text)
    if found is None:
        raise Refused(f'invalid parameter "{text}"')
    if found[1]:
        scope.reader.warn(f"low address bits of {text} are meaningless", node)
    return (found[0],)


DIRECTIVES = tuple(
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
