"""Active checks of an upstream's servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lb.model.values import Regex

CHECK_MEMORY = 16 << 20  # bytes of addresses for what checks say, where `check_shm_size` is not given


@dataclass(frozen=True, slots=True)
class CheckMatch:
    """What an answer must have in it: a text, or what an expression finds."""

    text: bytes = b""
    regex: Regex | None = None
    name: bytes = b""  # of the field in whose value it must be


@dataclass(frozen=True, slots=True)
class CheckAgent:
    """`check_agent`."""

    port: int
    interval_ms: int = 0  # 0: that of the checks
    send: tuple[bytes | str, ...] | None = None


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
    expect_status: tuple[tuple[int, int], ...] = ()  # in place of the classes: lowest and highest of each range
    expect_fields: tuple[CheckMatch, ...] = ()
    expect_body: CheckMatch | None = None
    expect_text: CheckMatch | None = None  # type tcp: in what comes
    tls: int = -1  # place in Config.tls_up
    tls_name: str = ""  # SNI and the certificate's; "": none is told
    grpc_status: int = 0
    skip_when_served: bool = False
    agent: CheckAgent | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """A location that answers with `check_status`; `format` where the request does not say."""

    format: Literal["html", "csv", "json"] = "html"
