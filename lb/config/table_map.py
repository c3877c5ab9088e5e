"""`map`: a variable whose value depends on another value."""

from __future__ import annotations

from dataclasses import dataclass, field

from lb.config import regexes
from lb.config.directive import AS_NGINX, Directive
from lb.config.errors import Refused
from lb.config.lines import include_lines, walk_lines
from lb.config.reader import Reader
from lb.config.scope import HttpScope, Kind, StreamScope
from lb.config.tree import Node
from lb.config.values import ascii_lower
from lb.config.variables import compile_value
from lb.model import Map, Regex, Value


@dataclass(slots=True)
class _Draft:
    """What the lines of one map{} say."""

    reader: Reader
    kind: Kind
    default: Value | None = None
    exact: dict[str, Value] = field(default_factory=dict)
    regexes: list[tuple[Regex, Value]] = field(default_factory=list)
    hostnames: bool = False
    volatile: bool = False

    def line(self, node: Node) -> None:
        self.reader.where = node.where
        if node.block is not None:
            raise Refused('unexpected "{"')
        if node.name == "hostnames" and not node.args:
            self.hostnames = True
        elif node.name == "volatile" and not node.args:
            self.volatile = True
        elif len(node.args) != 1:
            raise Refused("invalid number of the map parameters")
        elif node.name == "include":
            include_lines(self.reader, node, self.line)
        else:
            self.pair(node.name, compile_value(node.args[0], self.kind))

    def pair(self, key: str, value: Value) -> None:
        if key == "default":
            if self.default is not None:
                raise Refused("duplicate default map parameter")
            self.default = value
        elif key.startswith("~"):
            caseless = key.startswith("~*")
            self.regexes.append((regexes.make(self.reader, key[2 if caseless else 1 :], caseless, self.kind), value))
        else:
            self.exact_pair(ascii_lower(key.removeprefix("\\")), value, key)

    def exact_pair(self, key: str, value: Value, written: str) -> None:
        if self.hostnames and ("*" in key.removeprefix("*.").removesuffix(".*") or key == "."):
            raise Refused(f'invalid hostname or wildcard "{written}"')
        if key in self.exact:
            raise Refused(f'conflicting parameter "{key}"')
        self.exact[key] = value


def map_(scope: HttpScope | StreamScope, node: Node) -> None:
    kind: Kind = "stream" if isinstance(scope, StreamScope) else "http"
    source = compile_value(node.args[0], kind)
    name = regexes.define(scope.reader, regexes.variable_name(node.args[1]), kind)
    draft = _Draft(scope.reader, kind)
    walk_lines(scope.reader, node.block or [], draft.line)
    made = Map(
        name=name,
        source=source,
        default=draft.default or (),
        exact=tuple(draft.exact.items()),
        regexes=tuple(draft.regexes),
        hostnames=draft.hostnames,
        volatile=draft.volatile,
    )
    scope.reader.maps = [one for one in scope.reader.maps if one.name != name] + [made]


DIRECTIVES = (
    Directive(
        "map",
        ("http", "stream"),
        "VALUE $VARIABLE { ... }",
        (2, 2),
        "",
        "Makes a variable, whose value is that of the line for VALUE: `KEY VALUE;` with a text (any case), ~REGEX or "
        "~*REGEX as KEY; `default VALUE;`, `hostnames;` (then *.NAME, .NAME and NAME.* are keys), `include FILE;`, "
        "`volatile;` (not kept for the request).",
        AS_NGINX,
        map_,
        True,
    ),
)
