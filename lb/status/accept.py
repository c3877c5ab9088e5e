"""The Accept field (RFC 9110 12.5.1): which of two kinds of content a client would rather have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Range(NamedTuple):
    """One media range. `kind` in lower case, without parameters, `text` with them; `q` from 0 (not wanted) to 1."""

    kind: str
    text: str
    q: float


def ranges(accept: str) -> list[Range]:
    """What the field names, in its order."""
    found = []
    for text in accept.split(","):
        kind, *parameters = (part.strip() for part in text.split(";"))
        if kind:
            found.append(Range(kind.lower(), ";".join([kind.lower(), *parameters]), _q(parameters)))
    return found


def _q(parameters: Iterable[str]) -> float:
    """The weight; a text that is no weight counts as none, which is 1."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                q = float(value)
            except ValueError:
                return 1.0
            return q if 0.0 <= q <= 1.0 and not math.isnan(q) else 1.0
    return 1.0


def prefers(accept: str, kind: str, default: str) -> bool:
    """Whether a client of this field wants `kind` more than `default`.

    With equal weights it gets what it names, and of two that it names the first; without a reason, the default.
    """
    named = ranges(accept)
    wanted, other = _quality(named, kind), _quality(named, default)
    if wanted != other or not wanted:
        return wanted > other
    first = next((one.kind for one in named if one.kind in (kind, default)), default)
    return first == kind


def _quality(named: list[Range], kind: str) -> float:
    """The weight of a kind: what names it beats TYPE/*, and that beats */*. Several that name it differ in their
    parameters (versions): the best counts."""
    for pattern in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        weights = [one.q for one in named if one.kind == pattern]
        if weights:
            return max(weights)
    return 0.0


def of_kind(accept: str, kind: str) -> Iterator[str]:
    """The ranges that name this kind and want it, the most wanted first."""
    named = [one for one in ranges(accept) if one.kind == kind and one.q]
    return (one.text for one in sorted(named, key=lambda one: -one.q))
