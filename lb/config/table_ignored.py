"""Directives about memory, system calls and protocols that lb does without, which common files hold all the same.

They are checked as nginx checks them and have no effect, because what they are about does not exist in lb: each says so
in the reference.  A directive whose effect could be missed does not belong here.
"""

from __future__ import annotations

from lb.config.directive import Context, Directive, flag, full_path, once, size
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_number

_LEVELS: tuple[Context, ...] = ("http", "server", "location")


def temp_path(scope: Scope, node: Node) -> None:
    """PATH [LEVEL [LEVEL [LEVEL]]]"""
    once(scope, node)
    full_path(scope, node.args[0])
    for text in node.args[1:]:
        level = parse_number(text)
        if not level or level > 3:
            raise Refused(f'"{node.name}" directive invalid value')
    scope.values[node.name] = True


def pool_size(scope: Scope, node: Node) -> None:
    size(scope, node)


def _temp(protocol: str) -> Directive:
    return Directive(
        f"{protocol.lower()}_temp_path",
        _LEVELS,
        "DIRECTORY [LEVEL1 [LEVEL2 [LEVEL3]]]",
        (1, 4),
        "",
        f"Where nginx keeps temporary files for {protocol} servers. lb has none: it is read and not used.",
        "differs: not used",
        temp_path,
    )


DIRECTIVES = (
    *(
        Directive(
            name,
            ("http", "server"),
            "SIZE",
            (1, 1),
            "",
            "The size of nginx's memory pools. lb takes a request's memory from blocks of fixed sizes: SIZE is checked "
            "and not used.",
            "differs: not used",
            pool_size,
        )
        for name in ("connection_pool_size", "request_pool_size", "http2_pool_size")
    ),
    *(
        Directive(
            name,
            _LEVELS,
            "on | off",
            (1, 1),
            "",
            f"{what} It is checked and not used.",
            "differs: not used",
            flag,
        )
        for name, what in (
            ("sendfile", "lb sends files of more than 16 KiB with sendfile(2), always."),
            ("tcp_nopush", "How nginx packs the heads of files (with sendfile)."),
        )
    ),
    _temp("FastCGI"),
    _temp("uwsgi"),
    _temp("SCGI"),
)
