"""A list that is published with what has changed serves as one that is published whole. Random changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lb.model import Server
from lb.upsync.merge import Change
from tests.lone_engine import LoneEngine, in_child

METHODS = {
    "round robin": "",
    "least_conn": "least_conn;",
    "ip_hash": "ip_hash;",
    "hash": "hash $arg_key;",
    "consistent": "hash $arg_key consistent;",
    "random": "random;",
}
CONF = """
error_log stderr;
events {{ }}
http {{ access_log off; upstream u {{ METHOD server 127.0.0.1:{port}; }}
    server {{ listen 127.0.0.1:{listen}; location / {{ proxy_pass http://u; }} }} }}
"""
ROUNDS = 25
KEYS = 40


class List:
    """A list that changes at random; one usable primary is always there."""

    def __init__(self, lone: LoneEngine, seed: int, down: float, backup: float) -> None:
        self.lone = lone
        self.random = random.Random(seed)
        self.down = down
        self.backup = backup
        self.servers: tuple[Server, ...] = (lone.server("127.0.0.1"),)

    def edit(self) -> Change:
        while True:
            change = self._some()
            if any(not one.down and not one.backup for one in change.servers):
                self.servers = change.servers
                return change

    def _some(self) -> Change:
        taken = {one.address.host for one in self.servers}
        hosts = [f"127.0.0.{1 + self.random.randrange(40)}" for _ in range(self.random.choice((0, 0, 1, 1, 2, 7)))]
        added = tuple(self._server(host) for host in dict.fromkeys(hosts) if host not in taken)
        removed, altered, kept = [], [], []
        for one in self.servers:
            dice = self.random.random()
            if dice < 0.15:
                removed.append(one)
            elif dice < 0.3:
                altered.append((one, self._server(one.address.host)))
                kept.append(altered[-1][1])
            else:
                kept.append(one)
        return Change((*reversed(added), *kept), added, tuple(removed), tuple(altered))

    def _server(self, host: str) -> Server:
        dice = self.random.random
        weight = self.random.choice((1, 1, 2, 3))
        return replace(self.lone.server(host), weight=weight, down=dice() < self.down, backup=dice() < self.backup)

    @property
    def weights(self) -> Counter[str]:
        """Of the servers that must be asked."""
        return Counter({one.address.host: one.weight for one in self.servers if not one.down and not one.backup})


def by_key(lone: LoneEngine, now: List) -> None:
    """The same key from the same client goes to the same server."""

    def ask() -> list[str]:
        return [lone.get(f"/?key={number}", f"127.{number % 200}.1.1") for number in range(1, KEYS)]

    amended = ask()
    lone.publish(0, now.servers)
    assert amended == ask()
    assert set(amended) <= set(now.weights)


def in_turn(lone: LoneEngine, now: List) -> None:
    """A period has each server by its weight, in the order of a list that is published whole."""
    period = sum(now.weights.values())
    amended = [lone.get() for _ in range(period)]
    assert Counter(amended) == now.weights
    lone.publish(0, now.servers)
    whole = [lone.get() for _ in range(period)]
    assert any(whole[at:] + whole[:at] == amended for at in range(period))


def in_share(lone: LoneEngine, now: List) -> None:
    """With nothing under way each gets its share. Newcomers begin within one turn of the others."""
    for _ in range(2):
        seen = Counter(lone.get() for _ in range(3 * sum(now.weights.values())))
        assert set(seen) == set(now.weights)
        assert all(abs(seen[one] - 3 * weight) <= weight + 1 for one, weight in now.weights.items())
        lone.publish(0, now.servers)


def anywhere(lone: LoneEngine, now: List) -> None:
    assert {lone.get() for _ in range(KEYS)} <= set(now.weights)


CHECKS: dict[str, Callable[[LoneEngine, List], None]] = {
    "round robin": in_turn,
    "least_conn": in_share,
    "ip_hash": by_key,
    "hash": by_key,
    "consistent": by_key,
    "random": anywhere,
}


def changes(directory: Path, method: str) -> None:
    """In the child."""
    lone = LoneEngine(directory, CONF.replace("METHOD", METHODS[method]))
    down = 0.0 if method in ("hash", "ip_hash") else 0.2  # in the end they go round, from wherever they are
    now = List(lone, len(method), down, backup=0.2 if method in ("round robin", "least_conn") else 0.0)
    for _ in range(ROUNDS):
        for _ in range(now.random.choice((1, 1, 2, 3))):  # several tables between two looks
            change = now.edit()
            lone.publish(0, now.servers, change)
        CHECKS[method](lone, now)
    lone.end()


@pytest.mark.parametrize("method", METHODS)
def test_changes(tmp_path: Path, method: str) -> None:
    in_child(changes, tmp_path, method)


def in_another_order(directory: Path, method: str) -> None:
    """In the child: for these methods start.published puts the list in an order that is not that of the change."""
    lone = LoneEngine(directory, CONF.replace("METHOD", METHODS[method]))
    one, two, three = (lone.server(f"127.0.0.{number}") for number in (1, 2, 3))
    lone.publish(0, [one, two])
    lone.publish(0, [one, two, three], Change((three, one, two), added=(three,)))
    now = List(lone, 1, down=0.0, backup=0.0)
    now.servers = (one, two, three)
    by_key(lone, now)
    lone.end()


@pytest.mark.parametrize("method", ["ip_hash", "hash"])
def test_another_order(tmp_path: Path, method: str) -> None:
    in_child(in_another_order, tmp_path, method)


def misfits(directory: Path) -> None:
    """In the child: a change that is not what happened is found out, and the list counts."""
    lone = LoneEngine(directory, CONF.replace("METHOD", ""))
    one, two, three = (lone.server(f"127.0.0.{number}") for number in (1, 2, 3))
    wrong = [
        Change((two, one), added=(one,)),  # which is there
        Change((two,), removed=(three,)),  # which is not
        Change((three,), altered=((one, three),)),
        Change((one, two, three), added=(two,)),  # too few
        Change((one,), removed=(two, two)),
        Change((three, two), added=(two, two), removed=(one, one)),
    ]
    for change in wrong:
        lone.publish(0, [one])
        lone.publish(0, change.servers, change)
        assert {lone.get() for _ in change.servers} == {server.address.host for server in change.servers}
    lone.publish(0, [one, one, two])  # as a file may have it
    lone.publish(0, [two], Change((two,), removed=(one, one)))
    assert {lone.get() for _ in range(3)} == {"127.0.0.2"}
    lone.end()


def test_misfits(tmp_path: Path) -> None:
    in_child(misfits, tmp_path)


def counts_stay(directory: Path) -> None:
    """In the child: a server that is not in the change keeps its failures; one that comes back begins anew."""
    lone = LoneEngine(directory, CONF.replace("METHOD", ""))
    good, bad = lone.server("127.0.0.1"), replace(lone.server("127.0.0.2"), max_fails=1, fail_timeout_s=1000)
    bad = replace(bad, address=replace(bad.address, port=1))  # where nobody listens
    lone.publish(0, [bad, good])
    while not lone.stats("failures"):
        lone.get()
    more = lone.server("127.0.0.3")
    lone.publish(0, [more, bad, good], Change((more, bad, good), added=(more,)))
    for _ in range(6):
        lone.get()
    assert lone.stats("failures") == 1
    lone.publish(0, [more, good], Change((more, good), removed=(bad,)))
    lone.publish(0, [bad, more, good], Change((bad, more, good), added=(bad,)))
    for _ in range(6):
        lone.get()
    assert lone.stats("failures") == 2
    lone.end()


def test_counts_stay(tmp_path: Path) -> None:
    in_child(counts_stay, tmp_path)
