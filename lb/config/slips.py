"""Slips of the pen behind a refusal, for its hint: a missing `;`, a unit in another spelling."""

from __future__ import annotations

import re
from typing import Final

from crossplane.analyzer import DIRECTIVES

from lb.config.tree import Node

_WORDS: Final = {"timeout", "status", "match", "state", "protocol", "mail", "api", "pass", "use", "internal", "zone"}
_UNITS: Final = {  # of a time, of a size
    "ms": r"ms(ecs?)?|millis(econds?)?",
    "s": r"s(ecs?)?|seconds?",
    "m": r"mins?|minutes?",
    "h": r"h(rs?)?|hours?",
    "d": r"d|days?",
    "k": r"k(i?b)?|kilobytes?",
    "M": r"m(i?b)?|megabytes?",
    "g": r"g(i?b)?|gigabytes?",
}


def slip(node: Node, message: str) -> str:
    """What was probably meant, or ""."""
    for word, line in node.begins:
        if (word in DIRECTIVES and word not in _WORDS) or word.startswith(("upsync", "check")):
            return f'is the ";" of "{node.name}" missing at the end of line {line}?'
    return _unit(node) if "invalid" in message else ""


def _unit(node: Node) -> str:
    for word in node.args:
        found = re.fullmatch(r"(?:\w+=)?(\d+)\s*([A-Za-z]{2,})", word)
        if found is None:
            continue
        for right, spelt in _UNITS.items():
            if right != found[2] and re.fullmatch(spelt, found[2], re.IGNORECASE):
                return f'"{found[0]}" is written {found[1]}{right.lower()}'
    return ""
