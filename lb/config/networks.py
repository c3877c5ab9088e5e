"""Networks as nginx writes and reads them (ngx_ptocidr): an address with or without /BITS. Pure."""

from __future__ import annotations

import ipaddress
import re
import socket

from lb.config.values import parse_number
from lb.model import Address
from lb.model.clients import Network

_IPV4 = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){3}")
UNIX = Network(socket.AF_UNIX, b"", 0)
EVERY = (Network(socket.AF_INET, bytes(4), 0), Network(socket.AF_INET6, bytes(16), 0), UNIX)  # `all`


def parse(text: str) -> tuple[Network, bool] | None:
    """The network, and whether bits of the address behind /BITS were set (they are not used); None: it is none."""
    host, slash, word = text.partition("/")
    packed = _packed(host)
    if packed is None:
        return None
    most = 8 * len(packed)
    bits = parse_number(word) if slash else most
    if bits is None or bits > most:
        return None
    number = int.from_bytes(packed, "big")
    kept = number >> (most - bits) << (most - bits)
    family = socket.AF_INET if most == 32 else socket.AF_INET6
    return Network(family, kept.to_bytes(len(packed), "big"), bits), kept != number


def of_address(address: Address) -> Network:
    """The network of one resolved address."""
    packed = ipaddress.ip_address(address.host).packed
    return Network(socket.AddressFamily(address.family), packed, 8 * len(packed))


def _packed(host: str) -> bytes | None:
    """4 bytes of four decimal numbers (leading zeros as nginx), 16 of an IPv6 address without brackets."""
    if _IPV4.fullmatch(host):
        numbers = [int(part) for part in host.split(".")]
        return bytes(numbers) if max(numbers) < 256 else None
    try:
        return ipaddress.IPv6Address(host).packed if "%" not in host else None
    except ValueError:
        return None
