"""Certificates and keys that variables name: they are loaded during the handshake, not when the configuration is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lb.config.directive import full_path, once
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.values import parse_number, parse_seconds
from lb.config.variables import VARIABLES, compile_value, take_unknown
from lb.model import Value, Var

if TYPE_CHECKING:
    from lb.config.scope import Kind
    from lb.config.tree import Node

DATA: Final = "data:"
NAME: Final = "ssl_server_name"
OTHERS: Final = ("engine:", "store:", "object:")  # nginx's other places of keys
KNOWN: Final = frozenset(  # before there is a request
    ("binary_remote_addr", "connection", "hostname", "msec", "nginx_version", "pid", "remote_addr", "remote_port",
     "server_addr", "server_name", "server_port", "time_iso8601", "time_local")
)  # fmt: skip
KNOWN_FAMILIES: Final = ("proxy_protocol_", "ssl_")
_NAME: Final = re.compile(rf"\${NAME}(?![A-Za-z0-9_])|\$\{{{NAME}\}}")
CACHE_INACTIVE_S: Final = 10
CACHE_VALID_S: Final = 60


def named(scope: Scope, text: str) -> str:
    """The argument of ssl_certificate or its key: a full name, with its variables as they are written."""
    if text.startswith(OTHERS):
        raise Refused(f'"{text}": keys are read from files')
    return text if text.startswith(("$", DATA)) else full_path(scope, text)


def pairs(
    scope: Scope, certificates: list[tuple[str, Node]], keys: list[tuple[str, Node]]
) -> tuple[tuple[Value, Value], ...]:
    """Of all pairs of a server if any has variables, as nginx does it; else ()."""
    if not any("$" in text or text.startswith(DATA) for text, _ in [*certificates, *keys]):
        return ()
    return tuple((_value(scope, *one), _value(scope, *two)) for one, two in zip(certificates, keys, strict=False))


def _value(scope: Scope, text: str, node: Node) -> Value:
    kind: Kind = "stream" if scope.context.startswith("stream") else "http"
    try:
        value = _compiled(text, kind)
    except Refused as refused:
        raise Refused(refused.message, refused.hint, file=node.file, line=node.line) from None
    for name in (part.name for part in value if isinstance(part, Var)):
        if not _is_known(name):
            message = f'variable "${name}" of "{node.name}" has no value during a handshake'
            raise Refused(message, file=node.file, line=node.line)
    scope.reader.unknown += [(one, node) for one in take_unknown()]
    return value


def _is_known(name: str) -> bool:
    """Those of the configuration itself are looked for later, with all others."""
    if name in KNOWN or name.startswith(KNOWN_FAMILIES):
        return True
    family = any(name.startswith(one) for one in VARIABLES if one.endswith("_"))
    return not family and name not in VARIABLES and not name.isdecimal()


def _compiled(text: str, kind: Kind) -> Value:
    """With $ssl_server_name, whoever else knows it."""
    made: list[str | Var] = []
    for number, part in enumerate(_NAME.split(text)):
        if number:
            made.append(Var(NAME))
        made += compile_value(part, kind)
    return tuple(made)


def cache(scope: Scope, node: Node) -> None:
    """off | max=N [inactive=TIME] [valid=TIME]"""
    once(scope, node)
    if node.args == ("off",):
        scope.values[node.name] = (0, 0, 0)
        return
    found = {"max": 0, "inactive": CACHE_INACTIVE_S, "valid": CACHE_VALID_S}
    for word in node.args:
        name, equals, text = word.partition("=")
        value = (parse_number(text) if name == "max" else parse_seconds(text)) if equals and name in found else None
        if value is None or (name == "max" and value < 1):
            raise Refused(f'invalid parameter "{word}"')
        found[name] = value
    if not found["max"]:
        raise Refused(f'"{node.name}" must have the "max" parameter')
    scope.values[node.name] = (found["max"], found["inactive"] * 1000, found["valid"] * 1000)
