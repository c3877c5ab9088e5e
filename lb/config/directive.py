"""What an entry of the table is, and the functions that several entries share.

An entry says everything about one directive: where it may stand, how many arguments it takes, what it means, how it
compares with nginx, and the function that checks and stores it.  The walker applies it; doc/directives.md prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_flag, parse_msec, parse_number, parse_size

Context = Literal[
    "main",
    "events",
    "http",
    "upstream",
    "acme_issuer",
    "server",
    "location",
    "if",  # in location
    "server if",
    "limit_except",
    "stream",
    "stream upstream",
    "stream server",
]
Apply = Callable[[Any, Node], None]  # (the scope that the context makes, the statement); raises Refused

AS_NGINX = "as nginx"
LB_ONLY = "lb only"
AS_UPSYNC = "as nginx-upsync-module"
AS_CHECK = "as nginx_upstream_check_module"


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive in the contexts where it means the same."""

    name: str
    contexts: tuple[Context, ...]
    syntax: str  # the arguments, as the reference prints them
    args: tuple[int, int | None]  # fewest and most; None: no upper limit
    default: str  # what holds without it; "": nothing
    doc: str  # one sentence
    compat: str  # AS_NGINX, LB_ONLY, AS_UPSYNC, AS_CHECK or "differs: ..."
    apply: Apply
    block: bool = False

    def takes(self, count: int) -> bool:
        fewest, most = self.args
        return fewest <= count and (most is None or count <= most)


def once(scope: Scope, node: Node) -> None:
    """Refuse a second directive of this name on one level."""
    if node.name in scope.values:
        raise Refused(f'"{node.name}" directive is duplicate')


def _slot(parse: Callable[[str], int | None], complaint: str) -> Apply:
    def apply(scope: Scope, node: Node) -> None:
        once(scope, node)
        value = parse(node.args[0])
        if value is None:
            raise Refused(f'"{node.name}" directive {complaint}')
        scope.values[node.name] = value

    return apply


msec = _slot(parse_msec, "invalid value")
number = _slot(parse_number, "invalid number")
size = _slot(parse_size, "invalid value")


def flag(scope: Scope, node: Node) -> None:
    once(scope, node)
    value = parse_flag(node.args[0])
    if value is None:
        raise Refused(f'invalid value "{node.args[0]}" in "{node.name}" directive, it must be "on" or "off"')
    scope.values[node.name] = value


def enum(*words: str) -> Apply:
    """One of a few words, stored as written."""

    def apply(scope: Scope, node: Node) -> None:
        once(scope, node)
        if node.args[0] not in words:
            raise Refused(f'invalid value "{node.args[0]}"')
        scope.values[node.name] = node.args[0]

    return apply


def path(scope: Scope, node: Node) -> None:
    """A file; a relative name starts from the prefix."""
    once(scope, node)
    scope.values[node.name] = full_path(scope, node.args[0])


def full_path(scope: Scope, name: str) -> str:
    if not name:
        raise Refused("a file name is empty")
    return scope.reader.full_name(name)
