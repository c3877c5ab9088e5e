"""The text of /upstream_show, byte for byte the module's (upsync-behaviour sections 4.2 to 4.4).

`block` makes the text of one upstream; the worker hands it to the engine with each list, and the engine joins
blocks for the location on a traffic port.  `page` does the same joining for the status port.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from lb.model import Server

UNKNOWN: Final = b"The upstream you requested does not exist. Please double-check the name"
NONE: Final = b"No upstreams defined"


def block(name: str, servers: Iterable[Server], *, implicit: bool = False, from_file: bool = True) -> bytes:
    """One upstream: a head line, then a line for each server.

    Backup servers of the file are not listed (the module walks the main list only); a backup server of Consul is
    listed like any other (`from_file` false).  An `implicit` upstream (proxy_pass to an address) has its host as name
    and zeros for parameters, as nginx has not read any.
    """
    listed = [server for server in servers if not (from_file and server.backup)]
    title = _implicit_name(name) if implicit else name
    return head(title, len(listed)) + _bytes("".join([_line(server, implicit) for server in listed]))


def head(title: str, count: int) -> bytes:
    return _bytes(f"Upstream name: {title}; Backend server count: {count}\n")


def line(server: Server) -> bytes:
    """Of a server in a block."""
    return _bytes(_line(server, False))


def _line(server: Server, implicit: bool) -> str:
    weight, fails, seconds = (0, 0, 0) if implicit else (server.weight, server.max_fails, server.fail_timeout_s)
    down = (" down" if server.down else "") + (" drain" if server.drain else "")
    return f"        server {server.name} weight={weight} max_fails={fails} fail_timeout={seconds}s{down};\n"


def _implicit_name(name: str) -> str:
    """The host of HOST:PORT, without the port: 127.0.0.1 for 127.0.0.1:80, [::1] for [::1]:80."""
    if name.startswith("unix:"):
        return name
    host, _, port = name.rpartition(":")
    return host if host and port.isdigit() else name


def page(blocks: Sequence[tuple[str, bytes]], query: bytes = b"") -> bytes:
    """The answer to /upstream_show?QUERY. `blocks`: (upstream name, its block) in the order of Config.upstreams.

    The whole query string is the name, in any case; without one, every block and an empty line after each.
    """
    if not blocks:
        return NONE
    if not query:
        return b"".join(text + b"\n" for _, text in blocks)
    wanted = query.lower()
    return next((text for name, text in blocks if _bytes(name).lower() == wanted), UNKNOWN)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
