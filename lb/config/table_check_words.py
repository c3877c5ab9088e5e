"""Words that the lines of checks share: times, and texts with values of the server."""

from __future__ import annotations

import re

from lb.config.errors import Refused
from lb.config.values import parse_msec, parse_number

_VALUE = re.compile(r"\$(check_addr|check_host|check_port|check_upstream)\b")


def milliseconds(word: str, text: str) -> int:
    """A plain number is milliseconds, as in the module; nginx's units are taken, too."""
    number = parse_number(text)
    if number is None:
        number = parse_msec(text)
    if not number:
        raise Refused(f'invalid parameter "{word}"')
    return number


def pieces(text: str) -> tuple[bytes | str, ...]:
    """Texts, and names of values of the server: `$check_addr` and its brothers. Any other `$` is one."""
    found: list[bytes | str] = []
    for i, part in enumerate(_VALUE.split(text)):
        if i % 2:
            found.append(part)
        elif part:
            found.append(part.encode("utf-8", "surrogateescape"))
    return tuple(found)
