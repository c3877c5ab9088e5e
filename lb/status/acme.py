"""Certificates that ACME servers issue, as /metrics tells of them. What is known of each: lb.acme.process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lb.status.pages import View

Sample = tuple[tuple[tuple[str, str], ...], float]


def _labels(one: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Two orders of one issuer may begin with the same name: the file's is theirs alone."""
    return ("issuer", one["issuer"]), ("name", one["file"].rpartition("/")[2].removesuffix(".pem"))


def waiting(view: View) -> Iterator[Sample]:
    return ((_labels(one), float(one["not_after"] is None)) for one in view.acme)


def failures(view: View) -> Iterator[Sample]:
    return ((_labels(one), one["failures"]) for one in view.acme)


def next_attempt(view: View) -> Iterator[Sample]:
    return ((_labels(one), one["next"]) for one in view.acme)
