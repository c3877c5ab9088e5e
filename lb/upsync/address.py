"""The address of a server as a key or a dump file writes it: numeric, checked by the module's rules.

`127.0.0.1:80`, and, beyond the module, `[::1]:80` and `unix:%2Frun%2Fapp.sock` (a slash ends the segment of a key);
a dump or a service has `unix:/run/app.sock`.  Text in, Address or the
module's reason out.  Leading zeros are decimal (nginx reads `127.0.0.01` so), 255.255.255.255 is no address
(INADDR_NONE).
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import urllib.parse
from typing import Final

from lb.model import Address

MAX_TEXT: Final = 128  # characters of an address; the module's buffer overran at 110
MAX_UNIX_PATH: Final = 107  # bytes: sun_path without its NUL
_V4: Final = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)")
_LABEL: Final = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})"
# The last label has a letter (127.1 and 999.1.1.1 are bad addresses, as with the module) and is no number in hex, for
# getaddrinfo takes 127.0x1 for an address
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?!0[xX][0-9a-fA-F]*\.?$)(?=[^.]*[A-Za-z]){_LABEL}\.?")
_DIGITS: Final = re.compile(r"[0-9]{1,9}")
# in a path: what would end a word, a directive or a line of the dump, which configurations include
UNWRITABLE: Final = re.compile(r"""[\s;{}"'\\\x00-\x1f\x7f]""")


class AddressError(ValueError):
    """`reason` is the module's: "has no port", "invalid ip", "invalid port"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(text: str) -> Address:
    """`IPv4:port`, `[IPv6]:port` or `unix:PATH` with %2F for its slashes. Raises AddressError."""
    plain = _plain(text)
    if plain is not None:
        return plain
    if len(text) > MAX_TEXT:
        raise AddressError("invalid ip")
    if text.startswith("unix:%2"):
        return _unix(urllib.parse.unquote(text[5:]))
    host, colon, port = _split(text)
    if not colon:
        raise AddressError("has no port")
    return _address(host, port)


def _plain(text: str) -> Address | None:
    """What nearly all keys are: IPv4 as it is always written, and a port. None: look more closely."""
    host, _, port = text.partition(":")
    if not (port.isdigit() and port.isascii() and port[0] != "0" and len(port) <= 5) or host == "255.255.255.255":
        return None
    number = int(port)
    if number > 65535:
        return None
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):  # ValueError: characters that no host has
        return None
    return Address(socket.AF_INET, host, number)


def parse_server(text: str) -> Address:
    """What a registry may name as a server: the above, `unix:/path`, or NAME:PORT, which gives an Address of family
    AF_UNSPEC with the name as host (lb.upsync.resolver finds its addresses). Raises AddressError."""
    try:
        return parse_dumped(text)
    except AddressError:
        host, _, port = text.partition(":")
        if len(text) > MAX_TEXT or host == "unix" or _NAME.fullmatch(host) is None or not port:
            raise
        return Address(socket.AF_UNSPEC, host.lower().removesuffix("."), _port(port))


def parse_dumped(text: str) -> Address:
    """What a dump may hold: the above, or `unix:/path`. Raises AddressError."""
    return _unix(text[5:]) if text.startswith("unix:/") else parse(text)


def _unix(path: str) -> Address:
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError:  # half a character, as JSON may have it
        length = 0
    if not path.startswith("/") or UNWRITABLE.search(path) or not 0 < length <= MAX_UNIX_PATH:
        raise AddressError("invalid ip")
    return Address(socket.AF_UNIX, path)


def _split(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest[:1] if rest.startswith(":") else "", rest[1:]
    return text.partition(":")  # at the first colon, as the module: what follows must be digits only


def _address(host: str, port: str) -> Address:
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    numeric = _ipv6(host[1:-1]) if host.startswith("[") else _ipv4(host)
    return Address(family, numeric, _port(port))


def _port(text: str) -> int:
    if _DIGITS.fullmatch(text) is None or not 1 <= int(text) <= 65535:
        raise AddressError("invalid port")
    return int(text)


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
