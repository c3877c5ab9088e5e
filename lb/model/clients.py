"""The part of the model that is about clients: who they are, whether they may come in, how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lb.model import Value


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses whose first `bits` are those of `address` (4 or 16 bytes); AF_UNIX: clients of unix sockets."""

    family: int
    address: bytes
    bits: int


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One allow or deny."""

    allow: bool
    network: Network


@dataclass(frozen=True, slots=True)
class RealIp:
    """Who is believed about the address of a client, and which field says it: lower case, or "proxy_protocol"."""

    proxies: tuple[Network, ...]
    field: str = "x-real-ip"
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class LimitZone:
    """`limit_req_zone`: how often requests with one value of `key` may come."""

    name: str
    key: Value
    rate: int  # requests in 1,000 seconds
    size: int  # bytes of shared memory


@dataclass(frozen=True, slots=True)
class LimitRule:
    """`limit_req`: thousandths of requests beyond the rate that are taken, and of those, that are not delayed."""

    zone: str
    burst: int = 0
    delay: int = 0
