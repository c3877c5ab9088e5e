"""The forms of nginx's values: numbers, times, sizes, flags, names. Pure functions; None: not of that form.

Source: ngx_atoi, ngx_parse_time, ngx_parse_size and ngx_parse_offset as nginx documents them
(nginx.org/en/docs/syntax.html), checked against nginx itself in tests/test_config_values.py.
"""

from __future__ import annotations

import re

MAX_NUMBER = 2**31 - 1  # what the engine's fields hold; nginx goes to 2**63 - 1
MAX_SECONDS = MAX_NUMBER
MAX_SIZE = 2**63 - 1

_DIGITS = re.compile(r"[0-9]+")
_TIME_PART = re.compile(r"([0-9]*)(ms|[yMwdhms ]|$) *")
# Unit -> (rank, length in ms). Units come in falling order, each once.
_UNITS = {
    "y": (1, 365 * 86_400_000),
    "M": (2, 30 * 86_400_000),
    "w": (3, 7 * 86_400_000),
    "d": (4, 86_400_000),
    "h": (5, 3_600_000),
    "m": (6, 60_000),
    "s": (7, 1000),
    " ": (7, 1000),
    "ms": (8, 1),
    "": (9, 1000),  # a plain number is seconds
}
_SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_number(text: str, maximum: int = MAX_NUMBER) -> int | None:
    """Decimal digits only: no sign, no space."""
    if not _DIGITS.fullmatch(text) or len(text) > 19:
        return None
    value = int(text)
    return value if value <= maximum else None


def parse_seconds(text: str) -> int | None:
    """A time in seconds: 10, 10s, 1m30s, 1h, 1d, 1w, 1M (30 days), 1y."""
    total = _parse_time(text, first_rank=1, last_unit="s")
    return None if total is None or total // 1000 > MAX_SECONDS else total // 1000


def parse_msec(text: str) -> int | None:
    """A time in milliseconds: 500ms, 10 (seconds), 1m30s, 1s500ms, up to weeks: months and years are refused."""
    total = _parse_time(text, first_rank=3, last_unit="ms")
    return None if total is None or total > MAX_SECONDS * 1000 else total


def _parse_time(text: str, *, first_rank: int, last_unit: str) -> int | None:
    """Milliseconds of a time whose units lie between rank `first_rank` and `last_unit`."""
    if not text or len(text) > 64 or not re.search("[0-9]", text):
        return None
    total, rank, position = 0, first_rank - 1, 0
    while position < len(text):
        part = _TIME_PART.match(text, position)
        if part is None:
            return None
        unit_rank, length = _UNITS[part[2]]
        if unit_rank <= rank or (part[2] == "ms" and last_unit != "ms"):
            return None
        total += int(part[1] or 0) * length
        rank, position = unit_rank, part.end()
    return total


def parse_size(text: str, units: str = "kmg") -> int | None:
    """Bytes: 1024, 8k, 1m, 1g (g only where nginx takes an offset)."""
    unit = text[-1:].lower()
    scale = _SIZES[unit] if unit and unit in units else 1
    number = parse_number(text[:-1] if scale > 1 else text, MAX_SIZE)
    return None if number is None or number * scale > MAX_SIZE else number * scale


def parse_flag(text: str) -> bool | None:
    """on or off, in any case."""
    return {"on": True, "off": False}.get(text.lower())


def ascii_lower(text: str) -> str:
    """Lower case of ASCII letters only, as nginx."""
    return "".join(char.lower() if char.isascii() else char for char in text)
