"""Active checks of an upstream's servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CHECK_MEMORY = 16 << 20  # bytes of addresses for what checks say, where `check_shm_size` is not given


@dataclass(frozen=True, slots=True)
class Check:
    """`check` of one upstream, with what its other `check_*` lines say."""

    type: str = "tcp"  # one of _fast.CHECK_TYPE_NAMES
    interval_ms: int = 30_000
    fast_interval_ms: int = 0  # until there is a verdict, and while it changes; 0: interval
    down_interval_ms: int = 0  # while a server is down; 0: interval
    timeout_ms: int = 1_000
    rise: int = 2
    fall: int = 5
    port: int = 0  # 0: the server's own
    default_down: bool = True
    keepalive_requests: int = 1_000  # on one connection
    send: tuple[bytes | str, ...] | None = None  # texts (bytes) and names of values of the server; None: the type's
    expect_alive: tuple[int, ...] = (2, 3)  # classes of status
    where: str = ""


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """A location that answers with `check_status`; `format` where the request does not say."""

    format: Literal["html", "csv", "json"] = "html"
