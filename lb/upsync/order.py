"""The order of an upstream's servers, which users see in /upstream_show and the dump: the module's.

Source: upsync-behaviour section 3.1.  A server that stays keeps its place; new ones go to the head one by one, in
Consul's order, so the last of them comes first.  The first time that a list from the file gains or loses a server,
it is turned around (the module copies it so); a list that came from Consul or from the dump already is in the
module's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lb.config.model import Server


@dataclass(frozen=True, slots=True)
class Change:
    """From one list to the next. `altered`: (as it was, as it is)."""

    servers: tuple[Server, ...]
    added: tuple[Server, ...] = ()
    removed: tuple[Server, ...] = ()
    altered: tuple[tuple[Server, Server], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.altered)


def merge(current: Sequence[Server], answer: Sequence[Server], *, from_file: bool = False) -> tuple[Server, ...]:
    """The list after `answer` (Consul's order, addresses differ). `from_file`: `current` is the file's own list."""
    return change(current, answer, from_file=from_file).servers


def change(current: Sequence[Server], answer: Sequence[Server], *, from_file: bool = False) -> Change:
    """What `answer` changes. Servers that have not changed mostly are the same objects: looked at once."""
    wanted = {server.address: server for server in answer}
    kept: list[Server] = []
    removed: list[Server] = []
    altered: list[tuple[Server, Server]] = []
    for server in current:
        now = wanted.pop(server.address, None)
        if now is None:
            removed.append(server)  # also the second one of an address that a file names twice
        else:
            kept.append(now)
            if now is not server and (now != server or now.written != server.written):
                altered.append((server, now))
    added = tuple(wanted.values())  # in the order of the answer
    if from_file and (added or removed):
        kept.reverse()
    return Change((*reversed(added), *kept), added, tuple(removed), tuple(altered))
