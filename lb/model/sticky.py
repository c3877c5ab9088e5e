"""The part of the model that is about sticky sessions: which server a client is bound to, and how lb knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lb.model import Value

ROUTE_MOST = 32  # bytes of a server's route, as nginx; the MD5 that stands for it has as many


@dataclass(frozen=True, slots=True)
class Sticky:
    """One `sticky`. Of `lookup` and of `create` the first value that is not empty counts."""

    kind: Literal["cookie", "route", "learn"]
    lookup: tuple[Value, ...] = ()  # what names the route, or (learn) the session; of `cookie` the cookie does
    # cookie
    name: str = ""
    expires_s: int = -1  # -1: no expires, -2: max
    domain: Value = ()
    httponly: bool = False
    secure: bool = False
    samesite: Value = ()
    path: str = ""
    # learn
    create: tuple[Value, ...] = ()
    zone: str = ""
    size: int = 0
    timeout_ms: int = 600_000
    header: bool = False  # as soon as the answer's head is there, not when it is whole
