"""Servers with host names -> a server for each address of each name. Pure.

Each has the weight and the other attributes of its entry, and the entry's NAME:PORT as `written`: the ring of `hash ...
consistent` goes by it, so that machines whose resolvers differ agree.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterable
from typing import Final

from lb.model import Address, Server
from lb.upsync.entries import Listing
from lb.upsync.resolver import Found

_PROBLEM: Final = "upsync: host "  # what problems of names begin with


def expand(
    listing: Listing, known: Callable[[str], Found | None], current: Iterable[Server], resolve: bool
) -> tuple[tuple[Server, ...], tuple[str, ...]]:
    """(servers with addresses, what is wrong). `current`: what is served now, for a name without an answer yet.

    Not `resolve`: names are skipped.
    """
    before: dict[str, list[Address]] = {}
    for server in current:
        if server.written:
            before.setdefault(server.written, []).append(server.address)
    servers: dict[Address, Server] = {}
    problems: dict[str, None] = {}
    for server in listing.servers:
        made, problem = [server], ""
        if server.address.family == socket.AF_UNSPEC and resolve:
            made, problem = _made(server, known(server.address.host), before.get(server.name, []))
        elif server.address.family == socket.AF_UNSPEC:
            made, problem = [], f"upsync_check_key: invalid ip in /{server.name}: skipped (upsync_resolve off)"
        for one in made:
            first = servers.setdefault(one.address, one)
            if first is not one:
                problem = f"upsync: {_label(one)} has the address of {_label(first)}: one server, values of the latter"
        if problem:
            problems[problem] = None
    return tuple(servers.values()), tuple(problems)


def lost_hosts(problems: Iterable[str]) -> set[str]:
    """The names whose last lookup failed, of all that is wrong."""
    return {one.removeprefix(_PROBLEM).partition(":")[0] for one in problems if one.startswith(_PROBLEM)}


def _label(server: Server) -> str:
    return server.written or server.name


def _made(server: Server, found: Found | None, before: list[Address]) -> tuple[list[Server], str]:
    """(one server for each address, what is wrong with the name)."""
    host, port = server.address.host, server.address.port
    addresses = [dataclasses.replace(one, port=port) for one in found.addresses] if found is not None else []
    problem = ""
    if not addresses:
        addresses = before
        reason = found.error if found is not None else "no answer yet"
        problem = f"{_PROBLEM}{host}: {reason}: " + (f"keeping {len(before)} addresses" if before else "skipped")
    elif found is not None and found.error:
        problem = f"{_PROBLEM}{host}: {found.error}: keeping {len(addresses)} addresses"
    made = [dataclasses.replace(server, name=str(one), address=one, written=server.name) for one in addresses]
    return made, problem
