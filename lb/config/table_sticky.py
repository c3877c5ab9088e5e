"""`sticky` of an upstream: cookie, route, learn. Texts of refusals are those of nginx 1.30."""

from __future__ import annotations

import re
import resource
from typing import Any

from lb.config.directive import Directive, once
from lb.config.errors import Refused
from lb.config.nginx import parameter_reason
from lb.config.scope import UpstreamScope
from lb.config.tree import Node
from lb.config.values import parse_msec, parse_seconds, parse_size
from lb.config.variables import compile_value
from lb.model import Value
from lb.model.sticky import Sticky

_SAMESITE = ("strict", "lax", "none")
_FLAGS = ("httponly", "secure")
EXPIRES_MAX = -2


def sticky(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    makers = {"cookie": _cookie, "route": _route, "learn": _learn}
    kind = node.args[0]
    if kind not in makers:
        raise Refused(f'unknown parameter "{kind}"')
    scope.values[node.name] = makers[kind](scope, node)


# ---- cookie


def _cookie(scope: UpstreamScope, node: Node) -> Sticky:
    name = node.args[1]
    if not name:
        raise Refused('"sticky" directive empty cookie name')
    found: dict[str, Any] = {}
    for word in node.args[2:]:
        key, equals, text = word.partition("=")
        if (key in _FLAGS) == bool(equals) or (equals and key not in ("expires", "domain", "samesite", "path")):
            raise Refused(f'unknown parameter "{word}"')
        if key in found:
            raise Refused(f'"sticky" directive parameter "{key}" is duplicate')
        found[key] = _cookie_parameter(key, text) if equals else True
    if "expires" in found:
        found["expires_s"] = found.pop("expires")
    return Sticky("cookie", name=name, **found)


def _cookie_parameter(key: str, text: str) -> int | str | Value:
    if key == "expires":
        seconds = EXPIRES_MAX if text == "max" else parse_seconds(text)
        if seconds is None:
            raise Refused('"sticky" directive invalid "expires" parameter value')
        return seconds
    if key == "samesite":
        value = compile_value(text)
        if not value or (text.lower() not in _SAMESITE and all(isinstance(part, str) for part in value)):
            raise Refused('"sticky" directive invalid "samesite" parameter value')
        return value
    if not text:
        raise Refused(f'"sticky" directive no value for "{key}"')
    return text if key == "path" else compile_value(text)  # nginx knows no variables in a path


# ---- route


def _route(scope: UpstreamScope, node: Node) -> Sticky:
    for word in node.args[1:]:
        if not _is_variable(word):
            raise Refused(f'invalid variable name "{word}"')
    return Sticky("route", tuple(compile_value(word) for word in node.args[1:]))


def _is_variable(word: str) -> bool:
    return re.fullmatch(r"\$[A-Za-z0-9_]+", word) is not None


# ---- learn


def _learn(scope: UpstreamScope, node: Node) -> Sticky:
    found: dict[str, Any] = {}
    values: dict[str, list[Value]] = {"create": [], "lookup": []}
    for word in node.args[1:]:
        key, equals, text = word.partition("=")
        if equals and (key == "create" or key == "lookup"):
            values[key].append(_learn_variable(key, text))
        elif equals and key == "zone":
            if "zone" in found:
                raise Refused('"sticky" directive duplicate zone')
            found["zone"], found["size"] = _learn_zone(scope, text)
        elif equals and key == "timeout":
            if "timeout_ms" in found:
                raise Refused('"sticky" directive duplicate timeout')
            found["timeout_ms"] = parse_msec(text)
            if not found["timeout_ms"]:
                raise Refused('"sticky" directive invalid timeout')
        elif word == "header":
            found["header"] = True
        else:
            raise Refused(f'unknown parameter "{word}"', parameter_reason("sticky", word))
    for key in ("create", "lookup"):
        if not values[key]:
            raise Refused(f'"sticky" directive "{key}" parameter is not specified')
    if "zone" not in found:
        raise Refused('"sticky" directive "zone" parameter is not specified')
    return Sticky("learn", tuple(values["lookup"]), create=tuple(values["create"]), **found)


def _learn_variable(key: str, text: str) -> Value:
    if not _is_variable(text):
        raise Refused(f'"sticky" directive missing variable in the "{key}" parameter')
    return compile_value(text)


def _learn_zone(scope: UpstreamScope, text: str) -> tuple[str, int]:
    name, colon, size_text = text.partition(":")
    if not colon:
        raise Refused('"sticky" directive zone size is not specified')
    if not name:
        raise Refused('"sticky" directive zone name is not specified')
    size = parse_size(size_text, "km")
    if size is None:
        raise Refused('"sticky" directive invalid zone size')
    if size < 8 * resource.getpagesize():
        raise Refused('"sticky" directive zone is too small')
    if name in scope.reader.limit_zones or name in scope.reader.tls_caches:
        raise Refused(f'the shared memory zone "{name}" is already declared for a different use')
    other, other_size = scope.reader.sticky_zones.get(name, ("", size))
    if other_size != size:
        raise Refused(
            f'the size {size} of shared memory zone "{name}" conflicts with already declared size {other_size}'
        )
    if other:
        raise Refused(f'sticky zone "{name}" is already used in upstream "{other}"')
    scope.reader.sticky_zones[name] = (scope.name, size)
    return name, size


DIRECTIVES = (
    Directive(
        "sticky",
        ("upstream",),
        "cookie NAME [expires=TIME | expires=max] [domain=DOMAIN] [httponly] [secure] "
        "[samesite=strict | lax | none | $VARIABLE] [path=PATH] | route $VARIABLE ... | learn create=$VARIABLE ... "
        "lookup=$VARIABLE ... zone=NAME:SIZE [timeout=TIME] [header]",
        (2, None),
        "",
        "Binds a client to the server that it was given first, whatever the balancing method. `cookie`: lb gives the "
        "client a cookie with the server's route. `route`: the first of the variables that is not empty names the "
        "route. `learn`: a session that `create` names in an answer is bound to its server, for requests that name "
        "it by `lookup`; it is forgotten after `timeout` (10m) without a request; with `header` it is bound when the "
        "answer's head is there, not when the answer is whole. A server's route is its `route=`, else the MD5 of its "
        "address. A server that cannot take the request (down, failed, max_conns, gone) is replaced by the method's. "
        "Details: doc/sticky.md.",
        "differs: the method may also stand after it (nginx then forgets `sticky`); a zone holds 40 sessions a KB "
        "and at its fill forgets the longest unused",
        sticky,
    ),
)
