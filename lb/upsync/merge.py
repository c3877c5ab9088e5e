"""The order of an upstream's servers, which users see in /upstream_show and the dump: the module's.

Source: upsync-behaviour section 3.1.  A server that stays keeps its place; new ones go to the head one by one, in
Consul's order, so the last of them comes first.  The first time that a list from the file gains or loses a server,
it is turned around (the module copies it so); a list that came from Consul or from the dump already is in the
module's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lb import upstream_show
from lb.model import Server


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


class Order:
    """A list from Consul that is changed in place: of a long one, only what changes is looked at. Addresses differ.

    `usable`: how many servers are neither down nor draining.  Dicts keep their order, and a server that is new goes to
    the end: that is
    the list as users see it, turned around.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self.usable = sum(not one.away for one in servers)
        self._servers = {one.address: one for one in reversed(servers)}
        self._lines = {one.address: upstream_show.line(one) for one in reversed(servers)}

    def __contains__(self, address: object) -> bool:
        return address in self._servers

    def plan(self, gone: Iterable[Server], fresh: Iterable[Server]) -> Change | None:
        """What change() would find, in the order of keys and without the list. None: `gone` are not of this list."""
        removed = {one.address: one for one in gone}
        added: list[Server] = []
        altered: list[tuple[Server, Server]] = []
        if not all(address in self._servers for address in removed):
            return None
        for now in fresh:
            if removed.pop(now.address, None) is None:
                if now.address in self._servers:
                    return None
                added.append(now)
                continue
            before = self._servers[now.address]
            if now != before or now.written != before.written:
                altered.append((before, now))
        return Change((), tuple(added), tuple([self._servers[address] for address in removed]), tuple(altered))

    def take(self, plan: Change) -> Change:
        """Change the list. Returns what change() would return."""
        for one in plan.removed:
            del self._servers[one.address], self._lines[one.address]
        for now in (*plan.added, *[now for _, now in plan.altered]):
            self._servers[now.address] = now
            self._lines[now.address] = upstream_show.line(now)
        lost, won = self.balance(plan)
        self.usable += won - lost
        return replace(plan, servers=tuple(reversed(self._servers.values())))

    @staticmethod
    def balance(plan: Change) -> tuple[int, int]:
        """How many usable servers (neither down nor draining) it takes away, and how many it brings."""
        lost = [*plan.removed, *[was for was, now in plan.altered if now.away]]
        won = [*plan.added, *[now for was, now in plan.altered if was.away]]
        return sum(not one.away for one in lost), sum(not one.away for one in won)

    def text(self, name: str) -> bytes:
        """upstream_show.block of it."""
        return upstream_show.head(name, len(self._lines)) + b"".join(reversed(self._lines.values()))
