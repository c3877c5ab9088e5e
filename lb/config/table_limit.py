"""How often requests may come: `limit_req_zone`, `limit_req` and its kin."""

from __future__ import annotations

import re
import resource

from lb.config.directive import AS_NGINX, Context, Directive, enum, flag, once
from lb.config.errors import Refused
from lb.config.scope import HttpScope, Scope
from lb.config.tree import Node
from lb.config.values import parse_number, parse_size
from lb.config.variables import compile_value
from lb.model.clients import LimitRule, LimitZone

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
_NO_DELAY = 2**31 - 1
_MOST = 2**31 // 1000 - 1


def limit_req_zone(scope: HttpScope, node: Node) -> None:
    key = compile_value(node.args[0])
    name, size, rate = "", 0, 1000
    for word in node.args[1:]:
        if word.startswith("zone="):
            name, size = _zone(word)
        elif word.startswith("rate="):
            rate = _rate(word)
        else:
            raise Refused(f'invalid parameter "{word}"')
    if not name:
        raise Refused(f'"{node.name}" must have "zone" parameter')
    if name in scope.reader.sticky_zones:
        raise Refused(f'the shared memory zone "{name}" is already declared for a different use')
    if name in scope.reader.limit_zones:
        raise Refused(f'{node.name} "{name}" is already bound to key "{scope.reader.limit_zones[name][1]}"')
    scope.reader.limit_zones[name] = (LimitZone(name, key, rate, size), node.args[0])


def _zone(word: str) -> tuple[str, int]:
    name, colon, text = word.removeprefix("zone=").partition(":")
    size = parse_size(text, "km") if colon else None
    if size is None:
        raise Refused(f'invalid zone size "{word}"')
    if size < 8 * resource.getpagesize():
        raise Refused(f'zone "{word}" is too small')
    return name, size


def _rate(word: str) -> int:
    """Requests in 1,000 seconds, of N, Nr/s or Nr/m."""
    match = re.fullmatch(r"rate=([0-9]+?)(r/s|r/m)?", word)
    number = parse_number(match[1], _MOST) if match else None
    if match is None or not number:
        raise Refused(f'invalid rate "{word}"')
    return number * 1000 // (60 if match[2] == "r/m" else 1)


def limit_req(scope: Scope, node: Node) -> None:
    zone, burst, delay = "", 0, 0
    for word in node.args:
        if word.startswith("zone="):
            zone = word.removeprefix("zone=")
        elif word.startswith("burst="):
            burst = _number(word, "burst")
        elif word.startswith("delay="):
            delay = _number(word, "delay")
        elif word == "nodelay":
            delay = _NO_DELAY
        else:
            raise Refused(f'invalid parameter "{word}"')
    if not zone:
        raise Refused(f'"{node.name}" must have "zone" parameter')
    rules: list[LimitRule] = scope.values.setdefault("limit_req", [])
    if any(rule.zone == zone for rule in rules):
        raise Refused(f'"{node.name}" directive is duplicate')
    scope.reader.limits_used.append(zone)
    rules.append(LimitRule(zone, burst, delay))


def _number(word: str, name: str) -> int:
    number = parse_number(word.removeprefix(f"{name}="), _MOST)
    if not number:
        raise Refused(f'invalid {name} value "{word}"')
    return number * 1000


def limit_req_status(scope: Scope, node: Node) -> None:
    once(scope, node)
    status = parse_number(node.args[0])
    if status is None:
        raise Refused(f'"{node.name}" directive invalid number')
    if not 400 <= status <= 599:
        raise Refused("value must be between 400 and 599")
    scope.values[node.name] = status


DIRECTIVES = (
    Directive(
        "limit_req_zone",
        ("http",),
        "KEY zone=NAME:SIZE rate=Nr/s | rate=Nr/m",
        (3, 3),
        "",
        "Memory that all workers share, and in it how often requests with each value of KEY have come. A request whose "
        "KEY is empty is not counted.",
        "differs: a key that finds no room takes that of the one seen longest ago; a reload begins with empty zones",
        limit_req_zone,
    ),
    Directive(
        "limit_req",
        _LEVELS,
        "zone=NAME [burst=NUMBER] [nodelay | delay=NUMBER]",
        (1, 3),
        "",
        "Holds requests back to the zone's rate: up to `burst` of them wait (from the first, after `delay` of them, or "
        "with `nodelay` not at all), more are refused. Several may stand on one level: the strictest counts.",
        AS_NGINX,
        limit_req,
    ),
    Directive(
        "limit_req_status",
        _LEVELS,
        "CODE",
        (1, 1),
        "503",
        "What is answered to a request that limit_req refuses.",
        AS_NGINX,
        limit_req_status,
    ),
    Directive(
        "limit_req_log_level",
        _LEVELS,
        "info | notice | warn | error",
        (1, 1),
        "error",
        "The level of the line about a refused request; that about a delayed one has the next lower one.",
        AS_NGINX,
        enum("info", "notice", "warn", "error"),
    ),
    Directive(
        "limit_req_dry_run",
        _LEVELS,
        "on | off",
        (1, 1),
        "off",
        "Counts and logs, but neither delays nor refuses.",
        AS_NGINX,
        flag,
    ),
)
