"""Rolls and deltas: a list after any changes, its digest and its dump, made from the last ones and made anew."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.model import Address, Server
from lb.upsync import dump, indexed_list
from lb.upsync.indexed_list import FEW, IndexedList, dump_of, key_of
from lb.upsync.merge import change
from lb.upsync.report import Delta, digest_of


def made(number: int, weight: int = 1, rest: int = 0) -> Server:
    """Few hosts and few ports, each with many of the other: a search by one of both finds too much."""
    host, port = f"10.0.0.{number % 5}", 8000 + number // 5
    flags = {"down": bool(rest & 1), "backup": bool(rest & 2), "max_conns": rest & 4}
    written = f"name{number}:{port}" if rest & 8 else ""
    return Server(f"{host}:{port}", Address(socket.AF_INET, host, port), weight, **flags, written=written)  # type: ignore[arg-type]


# number of the server -> (weight, flags); the order is that of the answer
ANSWER = st.dictionaries(st.integers(0, 24), st.tuples(st.integers(1, 3), st.integers(0, 15)), min_size=1)


def delta_of(base: IndexedList, answer: list[Server]) -> tuple[Delta, tuple[Server, ...]]:
    """As a worker makes it (UpstreamSync) and the master reads it, and the list that it leads to."""
    done = change(base, answer)
    gone = tuple(one.address for one in done.removed)
    told = Delta(digest_of(base), gone, tuple(reversed(done.added)), tuple(now for _, now in done.altered))
    return Delta.from_json(json.loads(json.dumps(told.to_json()))), done.servers


@given(st.lists(ANSWER, min_size=2, max_size=6), st.integers(0, 5), st.sampled_from([0, 3, FEW]))
def test_any_changes(answers: list[dict[int, tuple[int, int]]], asked: int, few: int) -> None:
    """`asked`: after how many changes the dump is asked for the first time. `few`: as many are made one by one."""
    first, *others = ([made(number, *rest) for number, rest in answer.items()] for answer in answers)
    following = IndexedList(first)
    with mock.patch.object(indexed_list, "FEW", few):
        for number, answer in enumerate(others):
            before = following
            kept = tuple(before), before.dump() if number >= asked else None
            delta, expected = delta_of(before, answer)
            following, digest = delta.applied(before)
            assert (following, digest) == (expected, digest_of(expected))
            assert kept[0] == tuple(before) and (kept[1] is None or before.dump() is kept[1]), (
                "a IndexedList never changes"
            )
            if number >= asked:
                assert following.dump() == dump.data(expected)
            keys = {key_of(one): at for at, one in enumerate(following)}
            assert following.places(keys.keys() | {("10.0.0.9", 1)}) == list(keys.values())
    assert dump_of(following) == dump_of(tuple(following))


@given(st.lists(st.integers(0, 24), min_size=1, max_size=12), st.sets(st.integers(0, 24)), st.sets(st.integers(0, 24)))
def test_an_address_that_is_there_twice(numbers: list[int], gone: set[int], altered: set[int]) -> None:
    """A file may name one twice: both go, both are altered."""
    base = IndexedList(map(made, numbers))
    base.dump()
    delta = Delta(
        digest_of(base), tuple(made(one).address for one in gone), (), tuple(made(one, 9) for one in altered - gone)
    )
    expected = [made(one, 9 if one in altered else 1) for one in numbers if one not in gone]
    following, _ = delta.applied(base)
    assert list(following) == expected
    assert dump_of(following) == dump.data(expected)


def test_what_stays_is_not_looked_at() -> None:
    """A change of one server among many makes two lines: its old one, to find it, and its new one."""
    base = IndexedList(made(number) for number in range(25))
    base.dump()
    altered = replace(base[7], weight=3)
    delta = Delta(digest_of(base), (base[3].address,), (made(30),), (altered,))
    with mock.patch.object(dump, "line", side_effect=dump.line) as line:
        following, _ = delta.applied(base)
        text = following.dump()
    assert [one.args[0] for one in line.call_args_list] == [made(30), base[3], base[7], altered]
    assert text == dump.data(following)


@pytest.mark.parametrize("gone", [[0], [24], [0, 1], [23, 24], list(range(25))])
def test_ends_of_the_text(gone: list[int]) -> None:
    base = IndexedList(made(number) for number in range(25))
    base.dump()
    following, _ = Delta(digest_of(base), tuple(base[at].address for at in gone), (), ()).applied(base)
    assert following.dump() == dump.data([one for at, one in enumerate(base) if at not in gone])


def test_a_line_within_another() -> None:
    """The end of one line is the whole of another: of host names, which are written behind."""
    a, b = made(1), made(2)
    odd = replace(a, written=dump.line(b).decode().strip())
    base = IndexedList([odd, b])
    base.dump()
    following, _ = Delta(digest_of(base), (b.address,), (), ()).applied(base)
    assert following.dump() == dump.line(odd)


def test_other_families() -> None:
    base = IndexedList(
        [
            Server("unix:/a", Address(socket.AF_UNIX, "/a")),
            Server("[::1]:80", Address(socket.AF_INET6, "::1", 80)),
            Server("[::1]:81", Address(socket.AF_INET6, "::1", 81)),
        ]
    )
    following, _ = Delta(digest_of(base), (base[1].address,), (), (replace(base[0], weight=2),)).applied(base)
    assert [(one.name, one.weight) for one in following] == [("unix:/a", 2), ("[::1]:81", 1)]
