"""The part of the model that says who may have an answer, beyond allow and deny."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lb.model import Value


@dataclass(frozen=True, slots=True)
class Auth:
    """The access phase of a location that has auth_basic."""

    satisfy: Literal["all", "any"] = "all"
    realm: Value | None = None  # of auth_basic; None: no password is asked for
    user_file: Value = ()
    delay_ms: int = 0  # before a 401
