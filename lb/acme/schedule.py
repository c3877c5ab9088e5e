"""When a certificate is renewed, and when something that failed is tried again. Pure; times are Unix seconds.

Failures are of four kinds. `away`: the server did not answer, or answered with 5xx: soon again, a little later each
time. `limited`: the server has said when. `refused`: everything else, which costs us of the server's limits: the steps
of nginx's module. `ours`: what an operator has to mend, and nothing was asked for: the same steps.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

from lb.process.loop import doubled

Kind = Literal["", "away", "limited", "refused", "ours"]

AWAY_FIRST_S: Final = 5.0
AWAY_LONGEST_S: Final = 600.0
REFUSED_S: Final = (60.0, 600.0, 6000.0, 86400.0)
LIMITED_S: Final = 3600.0  # where the server does not say
LIMITED_LEAST_S: Final = 1.0
LIMITED_MOST_S: Final = 7 * 86400.0
AGAIN_S: Final = 60.0  # after a reload or a start: what was refused is tried as soon as this is over
RENEW_AT: Final = 2 / 3  # of its life
JITTER: Final = 0.02
ASK_S: Final = (600.0, 86400.0)  # the least and the most between two questions when to renew
ASK_AGAIN_S: Final = 6 * 3600.0  # when there was no answer


@dataclass(frozen=True, slots=True)
class Failures:
    """What has gone wrong since the last certificate. Lies below state_path, for a restart and for other machines."""

    kind: Kind = ""
    count: int = 0  # in a row
    error: str = ""
    at: float = 0.0  # of the last
    next: float = 0.0  # not before

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


NONE: Final = Failures()


@dataclass(frozen=True, slots=True)
class Life:
    """Of a certificate."""

    serial: int = 0
    not_before: float = 0.0
    not_after: float = field(default=0.0)

    def renew_at(self) -> float:
        """The same on every machine that has it."""
        life = self.not_after - self.not_before
        dice = int.from_bytes(hashlib.sha256(str(self.serial).encode()).digest()[:4], "big") / 2**32
        return self.not_before + life * (RENEW_AT + JITTER * (2 * dice - 1))


def failed(before: Failures, kind: Kind, error: str, now: float, retry_after: float | None = None) -> Failures:
    """One more."""
    count = before.count + 1 if before.kind == kind else 1
    if kind == "away":
        wait = doubled(AWAY_FIRST_S, count - 1, AWAY_LONGEST_S)
    elif kind == "limited":
        wait = min(max(LIMITED_S if retry_after is None else retry_after, LIMITED_LEAST_S), LIMITED_MOST_S)
    else:
        wait = REFUSED_S[min(count, len(REFUSED_S)) - 1]
    if kind != "limited" and retry_after is not None:
        wait = max(wait, min(retry_after, LIMITED_MOST_S))
    return Failures(kind, count, error, now, now + wait * (1 + JITTER * random.random()))


def after_start(known: Failures, now: float) -> float:
    """When to try after a start or a reload, which may have mended it. A limit of the server stays."""
    if known.kind == "limited":
        return known.next
    if known.kind in ("away", "ours"):
        return now
    return min(known.next, known.at + AGAIN_S)


def ask_at(told: float, now: float) -> float:
    """When to ask the ACME server again how soon it wants a certificate renewed; `told`: what it says."""
    least, most = ASK_S
    return min(max(told, now + least), now + most)


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds, of a Retry-After (RFC 9110 section 10.2.3)."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
