"""The value of a key -> the attributes of a server, by the rules that the module gets from cJSON and ngx_atoi.

Source: upsync-behaviour section 1.4, observed.  Names are matched in any case and the first of two counts; what
follows the JSON value is ignored; strings hold decimal digits only; a missing attribute is the default, not what it
was before.  Beyond the module: `backup`, `max_conns` and `slow_start` are used, a size limit instead of an overrun, and
an out-of-range number, which the module replaces silently, is said.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

MAX_VALUE: Final = 16384  # bytes of JSON that are read (the module's buffer: 1024, then it overran)
INT_MAX: Final = 2**31 - 1  # the module's `int`
_SHOWN: Final = 200  # characters of a bad value in a message
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Attributes:
    """The module's defaults (max_fails 2, where nginx's own `server` line has 1)."""

    weight: int = 1
    max_fails: int = 2
    fail_timeout_s: int = 10
    max_conns: int = 0
    down: bool = False
    backup: bool = False
    slow_start_s: int = 0


@dataclass(frozen=True, slots=True)
class _Rule:
    """One attribute: its name in JSON and in Attributes, and the range that it may have."""

    name: str
    field: str
    default: int
    low: int = 0
    high: int = INT_MAX


_RULES: Final = (
    _Rule("weight", "weight", 1, low=1),
    _Rule("max_fails", "max_fails", 2),
    _Rule("fail_timeout", "fail_timeout_s", 10),
    _Rule("max_conns", "max_conns", 0),
    _Rule("slow_start", "slow_start_s", 0),
    _Rule("down", "down", 0, high=1),
    _Rule("backup", "backup", 0, high=1),
)
DEFAULTS: Final = Attributes()


def attributes(value: bytes | None) -> tuple[Attributes, tuple[str, ...]]:
    """The attributes that a value gives, and what is wrong with it (the module's messages, without the key)."""
    if not value:
        return DEFAULTS, ()
    if len(value) > MAX_VALUE:
        return DEFAULTS, (f"upsync_parse_json: value is {len(value)} bytes long, more than {MAX_VALUE}: not read",)
    try:
        parsed = _parse(value)
    except (ValueError, RecursionError):
        return DEFAULTS, (f"upsync_parse_json: parse '{printable(value[:_SHOWN])}' failed",)
    return _from_object(parsed) if isinstance(parsed, _Object) else (DEFAULTS, ())


def _from_object(members: _Object) -> tuple[Attributes, tuple[str, ...]]:
    found: dict[str, Any] = {}
    problems = []
    for rule in _RULES:
        if rule.name not in members:
            continue
        number = _integer(members[rule.name])
        if number is None or not rule.low <= number <= rule.high:
            problems.append(f'upsync_parse_json: "{rule.name}" value is invalid, setting default value {rule.default}')
            number = rule.default
        found[rule.field] = bool(number) if rule.high == 1 else number
    return Attributes(**found), tuple(problems)


class _Object(dict[str, Any]):
    """The members of a JSON object by lower-case name; of two with one name the first, as cJSON finds it."""


def _members(pairs: list[tuple[str, Any]]) -> _Object:
    members = _Object()
    for name, value in pairs:
        members.setdefault(name.lower(), value)
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant, strict=False)


def _parse(value: bytes) -> Any:
    """The first JSON value of the text; the rest is not looked at. Raises ValueError, RecursionError."""
    text = value.decode("utf-8", "replace").lstrip(" \t\r\n")
    return _DECODER.raw_decode(text)[0]


def _integer(value: Any) -> int | None:
    """What the module takes a JSON value for: ngx_atoi for strings, cJSON's `valueint` for the rest. None: invalid."""
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if abs(value) <= INT_MAX else None
    if isinstance(value, int):  # true is 1, false is 0
        return int(value)
    return 0  # null, an array or an object


def printable(text: str | bytes) -> str:
    """Foreign text for a log line: what a terminal or a line-based reader could trip over is escaped.

    ascii() knows Python's escapes without a codec: one that is imported late may not be readable for a worker's user.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
