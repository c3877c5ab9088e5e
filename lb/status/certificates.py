"""The certificates that clients are shown, as the status port tells of them: /status.json, the page, /metrics.

Of keys there is nothing here but their kind and size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lb.model.tls import Certificate

if TYPE_CHECKING:
    from lb.status.pages import View

DAY_S: Final = 86400
SOON_DAYS: Final = 21  # amber
VERY_SOON_DAYS: Final = 7  # red
SERVERS_SHOWN: Final = 20

Sample = tuple[tuple[tuple[str, str], ...], float]


@dataclass(frozen=True, slots=True)
class StapleState:
    """A fetched OCSP response. `until`: Unix seconds, 0: none is sent; `error`: why the last fetch failed."""

    until: int
    error: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class CertificateView:
    """One certificate of the current configuration. `error`: why what its files are now is not used."""

    certificate: Certificate
    servers: tuple[str, ...]
    watch: bool = False
    error: str = ""
    error_since: float = 0.0
    staple: StapleState | None = None  # None: nothing is fetched


def state(view: CertificateView, now: float) -> str:
    """ok, soon (less than 21 days), very soon (less than 7), expired, or not yet valid."""
    facts = view.certificate.facts
    if now >= facts.not_after:
        return "expired"
    if now < facts.not_before:
        return "not yet valid"
    left = (facts.not_after - now) / DAY_S
    return "very soon" if left < VERY_SOON_DAYS else "soon" if left < SOON_DAYS else "ok"


def to_json(view: CertificateView, now: float) -> dict[str, Any]:
    """Shape: lb/status/state.py."""
    one, facts = view.certificate, view.certificate.facts
    return {
        "file": one.file,
        "names": list(facts.names),
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "fingerprint": facts.fingerprint,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "days_left": (facts.not_after - now) / DAY_S,
        "state": state(view, now),
        "self_signed": facts.self_signed,
        "chain": len(one.chain),
        "key_type": facts.key_type,
        "key_bits": facts.key_bits,
        "servers": list(view.servers[:SERVERS_SHOWN]),
        "servers_count": len(view.servers),
        "watch": view.watch,
        "error": view.error,
        "error_since": view.error_since or None,
        "staple": _staple(view.staple),
    }


def _staple(state: StapleState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    until = state.until if 0 < state.until < 1 << 53 else None
    return {"sent": state.until > 0, "until": until, "error": state.error, "error_since": state.since or None}


# /metrics


def _labels(view: CertificateView) -> tuple[tuple[str, str], ...]:
    facts = view.certificate.facts
    name = facts.names[0] if facts.names else facts.subject
    return ("file", view.certificate.file), ("name", name), ("serial", facts.serial)


def not_after(view: View) -> Iterator[Sample]:
    return ((_labels(one), one.certificate.facts.not_after) for one in view.certificates)


def not_before(view: View) -> Iterator[Sample]:
    return ((_labels(one), one.certificate.facts.not_before) for one in view.certificates)


def info(view: View) -> Iterator[Sample]:
    for one in view.certificates:
        facts = one.certificate.facts
        key = ("key", f"{facts.key_type} {facts.key_bits}")
        more = ("issuer", facts.issuer), key, ("fingerprint", facts.fingerprint)
        yield (*_labels(one), *more, ("watch", "on" if one.watch else "off")), 1


def failing(view: View) -> Iterator[Sample]:
    """Of those that are watched."""
    found: dict[str, bool] = {}
    for one in view.certificates:
        if one.watch:
            found[one.certificate.file] = found.get(one.certificate.file, False) or bool(one.error)
    return (((("file", file),), float(bad)) for file, bad in found.items())


def staples(view: View) -> Iterator[Sample]:
    """Of those that are fetched."""
    return ((_labels(one), float(one.staple.until > 0)) for one in view.certificates if one.staple is not None)


def all_to_json(view: View) -> list[dict[str, Any]]:
    now = time.time()
    return [to_json(one, now) for one in view.certificates]
