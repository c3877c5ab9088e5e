"""Addresses as nginx writes and reads them (ngx_parse_url), and their resolution by the system's resolver.

`parse` is pure; `Resolver` asks getaddrinfo, once a name and load.  Errors are `AddressError` with nginx's short text
("invalid port", "host not found"), which the directive puts into its own sentence.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field, replace

from lb.config.values import parse_number
from lb.model import Address

_IPV4 = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)")
_MAX_UNIX_PATH = 107  # sun_path without its NUL


class AddressError(Exception):
    """nginx's short text of what is wrong with an address."""


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed address. `host` as written ([..] kept for IPv6, the path for unix:); `port` 0 only for unix:."""

    host: str
    port: int
    no_port: bool = False  # no port was written, `port` is the default
    last_port: int = 0  # of a range in `listen`, else `port`
    uri: str = ""
    literal: Address | None = None  # a host that needs no resolver, with `port`

    @property
    def unix(self) -> bool:
        return self.literal is not None and self.literal.family == socket.AF_UNIX


def parse(text: str, *, default_port: int, listen: bool = False, uri: bool = False, base: str = "") -> Url:
    """Read ADDRESS, ADDRESS:PORT, [IPV6]:PORT, unix:PATH; with `listen` also PORT, *:PORT and FIRST-LAST ports;
    with `uri` also a URI after it. A relative unix path starts from `base`."""
    if text[:5].lower() == "unix:":
        return _parse_unix(text[5:], uri, base)
    if text.startswith("["):
        return _parse_inet6(text, default_port, listen, uri)
    return _parse_inet(text, default_port, listen, uri)


def _parse_unix(path: str, uri: bool, base: str) -> Url:
    rest = ""
    if uri:
        path, _, rest = path.partition(":")
    if not path:
        raise AddressError("no path in the unix domain socket")
    path = path if path.startswith("/") else base + path
    if len(path.encode("utf-8", "surrogateescape")) > _MAX_UNIX_PATH:
        raise AddressError("too long path in the unix domain socket")
    return Url(path, 0, uri=rest, literal=Address(socket.AF_UNIX, path))


def _split_uri(text: str, separators: str, listen: bool, uri: bool) -> tuple[str, str]:
    found = re.search(f"[{separators}]", text)
    if found is None:
        return text, ""
    if listen or not uri:
        raise AddressError("invalid host")
    return text[: found.start()], text[found.start() :]


def _ports(text: str, listen: bool) -> tuple[int, int]:
    """First and last port of PORT or FIRST-LAST."""
    first, dash, last = text.partition("-") if listen else (text, "", "")
    low = parse_number(first)
    high = parse_number(last) if dash else low
    if low is None or high is None or not 1 <= low <= 65535 or not 1 <= high <= 65535:
        raise AddressError("invalid port")
    if low > high:
        raise AddressError("invalid port range")
    return low, high


def _parse_inet6(text: str, default_port: int, listen: bool, uri: bool) -> Url:
    host, bracket, tail = text[1:].partition("]")
    if not bracket:
        raise AddressError("invalid host")
    tail, rest = _split_uri(tail, "/", listen, uri)
    if tail and not tail.startswith(":"):
        raise AddressError("invalid host")
    port, last = _ports(tail[1:], listen) if tail else (default_port, default_port)
    if not host:
        raise AddressError("no host")
    try:
        address = Address(socket.AF_INET6, str(ipaddress.IPv6Address(host)), port)
    except ValueError:
        raise AddressError("invalid IPv6 address") from None
    if "%" in host:
        raise AddressError("invalid IPv6 address")
    return Url(f"[{host}]", port, not tail, last, rest, address)


def _parse_inet(text: str, default_port: int, listen: bool, uri: bool) -> Url:
    name, rest = _split_uri(text, "/?", listen, uri)
    host, colon, tail = name.partition(":")
    if not colon and listen and _is_port(name):
        low, high = _ports(name, listen)
        return Url("0.0.0.0", low, False, high, "", Address(socket.AF_INET, "0.0.0.0", low))
    port, last = _ports(tail, listen) if colon else (default_port, default_port)
    if not host:
        raise AddressError("no host")
    literal = _inet_literal("0.0.0.0" if listen and host == "*" else host, port)
    return Url(host, port, not colon, last, rest, literal)


def _is_port(text: str) -> bool:
    first, dash, last = text.partition("-")
    return first.isdecimal() and first.isascii() and (not dash or (last.isdecimal() and last.isascii()))


def _inet_literal(host: str, port: int) -> Address | None:
    """nginx takes four decimal numbers, leading zeros included (the C library would read those as octal)."""
    match = _IPV4.fullmatch(host)
    if match is None or any(len(part) > 9 or int(part) > 255 for part in match.groups()):
        return None
    return Address(socket.AF_INET, ".".join(str(int(part)) for part in match.groups()), port)


@dataclass(slots=True)
class Resolver:
    """The system's resolver, asked once for each name: a load sees one answer everywhere."""

    cache: dict[str, tuple[Address, ...]] = field(default_factory=dict)

    def addresses(self, url: Url) -> tuple[Address, ...]:
        """All addresses of `url` with its port, IPv4 before IPv6 as in nginx. Blocks. Raises AddressError."""
        if url.literal is not None:
            return (url.literal,)
        if url.host not in self.cache:
            self.cache[url.host] = lookup(url.host)
        return tuple(replace(address, port=url.port) for address in self.cache[url.host])


def lookup(host: str) -> tuple[Address, ...]:
    """Stream addresses of a host name from getaddrinfo, without repetition."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, UnicodeError):
        raise AddressError("host not found") from None
    known = [(family, str(sockaddr[0])) for family, _, _, _, sockaddr in found]
    ordered = sorted(dict.fromkeys(known), key=lambda pair: pair[0] != socket.AF_INET)
    addresses = tuple(Address(family, ip) for family, ip in ordered if family in (socket.AF_INET, socket.AF_INET6))
    if not addresses:
        raise AddressError("host not found")
    return addresses
