"""`upsync_shrink_guard`: what is held, what ends a hold, and what is said about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from lb.model import ShrinkGuard
from lb.upsync.guard import Guard
from tests.harness.wait import wait_for
from tests.upsync_fakes import FakeConsul, Following, followers, running_consul, server

TEN = [server(f"127.0.0.1:{port}") for port in range(1, 11)]


def nobody() -> None:
    return None


@pytest.mark.parametrize(("left", "held"), [(10, None), (5, None), (4, (6, 10)), (0, (10, 10))])
def test_what_is_held(left: int, held: tuple[int, int] | None) -> None:
    assert Guard(ShrinkGuard(50)).holds(TEN, TEN[:left], nobody, 0.0) == held


def test_servers_that_go_down_count_and_those_that_were_down_do_not() -> None:
    down = [dataclasses.replace(one, down=True) for one in TEN]
    assert Guard(ShrinkGuard(50)).holds(TEN, [*down[:6], *TEN[6:]], nobody, 0.0) == (6, 10)
    assert Guard(ShrinkGuard(50)).holds([*down[:6], *TEN[6:]], TEN[6:], nobody, 0.0) is None
    assert Guard(ShrinkGuard(0)).holds(TEN, TEN[1:], nobody, 0.0) == (1, 10)


def test_new_servers_do_not_make_up_for_lost_ones() -> None:
    fresh = [server(f"127.0.0.2:{port}") for port in range(1, 11)]
    assert Guard(ShrinkGuard(50)).holds(TEN, fresh, nobody, 0.0) == (10, 10)


def test_a_hold_ends_by_time() -> None:
    guard = Guard(ShrinkGuard(50, 3000))
    assert guard.holds(TEN, TEN[:1], nobody, 100.0) == (9, 10)
    assert guard.left_s(101.0) == 2.0
    assert guard.holds(TEN, TEN[:2], nobody, 102.9) == (8, 10), "another list that is as short does not begin anew"
    assert guard.holds(TEN, TEN[:2], nobody, 103.0) is None
    assert guard.left_s(103.0) is None
    assert guard.holds(TEN, TEN[:1], nobody, 104.0) == (9, 10), "the next one is held again"


def test_a_hold_ends_when_the_list_is_back() -> None:
    guard = Guard(ShrinkGuard(50, 3000))
    assert guard.holds(TEN, TEN[:1], nobody, 100.0)
    assert guard.holds(TEN, TEN[:9], nobody, 101.0) is None
    assert guard.holds(TEN, TEN[:1], nobody, 104.0) == (9, 10)


@pytest.mark.parametrize(("agreed", "held"), [(2, None), (1, None), (3, (8, 10)), (None, (8, 10))])
def test_a_confirmed_number(agreed: int | None, held: tuple[int, int] | None) -> None:
    assert Guard(ShrinkGuard(50)).holds(TEN, TEN[:2], lambda: agreed, 0.0) == held


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with running_consul() as fake:
        yield fake


@pytest.fixture
def follow(consul: FakeConsul) -> Iterator[Callable[..., Following]]:
    with followers(consul) as make:
        yield make


def test_a_held_update_is_said_and_applied_after_its_time(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    for port in range(1, 5):
        consul.put(f"127.0.0.1:{port}")
    one = follow(guard=ShrinkGuard(50, 400)).wait_names(*(f"127.0.0.1:{port}" for port in (4, 3, 2, 1)))
    consul.entries = {key: value for key, value in consul.entries.items() if key.endswith(":1")}
    consul.rewind(consul.index + 1)
    wait_for(lambda: one.last.held.endswith("it would take away 3 of 4 usable servers"), lambda: f"{one.reports}")
    assert len(one.last.servers) == 4
    one.wait_names("127.0.0.1:1")
    wait_for(lambda: not one.last.held, "the report")
    assert one.log.having("is held: it would take away 3 of 4 usable servers; keeping 4 servers from Consul")


def test_a_list_that_comes_back_is_not_held(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    for port in range(1, 5):
        consul.put(f"127.0.0.1:{port}")
    one = follow(guard=ShrinkGuard(50), interval_ms=20).wait_names(*(f"127.0.0.1:{port}" for port in (4, 3, 2, 1)))
    entries = dict(consul.entries)
    consul.entries = {key: value for key, value in entries.items() if key.endswith(":1")}
    consul.rewind(consul.index + 1)
    wait_for(lambda: one.last.held, "the hold")
    consul.entries = entries
    consul.rewind(consul.index + 1)
    wait_for(lambda: not one.last.held, "its end")
    assert len(one.applied) == 1


def test_the_files_own_servers_are_not_guarded(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    consul.put("127.0.0.1:1")
    follow(guard=ShrinkGuard(0)).wait_names("127.0.0.1:1")
