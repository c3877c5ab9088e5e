"""The address of a server as a key or a dump file writes it: numeric, checked by the module's rules.

`127.0.0.1:80`, and, beyond the module, `[::1]:80`; a dump may also hold `unix:/path`.  Text in, Address or the
module's reason out.  Leading zeros are decimal (nginx reads `127.0.0.01` so), 255.255.255.255 is no address
(INADDR_NONE).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final

from lb.config.model import Address

MAX_TEXT: Final = 128  # characters of an address; the module's buffer overran at 110
_V4: Final = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)")
_DIGITS: Final = re.compile(r"[0-9]{1,9}")


class AddressError(ValueError):
    """`reason` is the module's: "has no port", "invalid ip", "invalid port"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(text: str) -> Address:
    """`IPv4:port` or `[IPv6]:port`. Raises AddressError."""
    if len(text) > MAX_TEXT:
        raise AddressError("invalid ip")
    host, colon, port = _split(text)
    if not colon:
        raise AddressError("has no port")
    return _address(host, port)


def parse_dumped(text: str) -> Address:
    """What a dump may hold: the above, or `unix:/path`. Raises AddressError."""
    if text.startswith("unix:/"):
        return Address(socket.AF_UNIX, text.removeprefix("unix:"))
    return parse(text)


def _split(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest[:1] if rest.startswith(":") else "", rest[1:]
    return text.partition(":")  # at the first colon, as the module: what follows must be digits only


def _address(host: str, port: str) -> Address:
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    numeric = _ipv6(host[1:-1]) if host.startswith("[") else _ipv4(host)
    if _DIGITS.fullmatch(port) is None or not 1 <= int(port) <= 65535:
        raise AddressError("invalid port")
    return Address(family, numeric, int(port))


def _ipv4(text: str) -> str:
    match = _V4.fullmatch(text)
    if match is None:
        raise AddressError("invalid ip")
    octets = [int(octet) for octet in match.groups()]
    if max(octets) > 255 or min(octets) == 255:
        raise AddressError("invalid ip")
    return f"{octets[0]}.{octets[1]}.{octets[2]}.{octets[3]}"


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise AddressError("invalid ip") from None
    if address.scope_id is not None:  # Address has no room for an interface
        raise AddressError("invalid ip")
    return str(address)
