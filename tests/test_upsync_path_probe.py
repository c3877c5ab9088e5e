"""Signs of life on a silent connection: they are the beginning of the next request, and Consul never notices them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator

import pytest

from lb.model import ShrinkGuard
from tests.harness.backend import RawConnection
from tests.harness.consul import KeySpace
from tests.harness.wait import wait_for
from tests.upsync_fakes import DIRECTORY, FakeConsul, Following, Query, followers, running_consul, upstream

LONG_WAIT_S = 1.5  # many periods


@pytest.fixture
def fake() -> Iterator[FakeConsul]:
    with running_consul() as made:
        yield made


@pytest.fixture
def follow(fake: FakeConsul) -> Iterator[Callable[..., Following]]:
    with followers(fake) as make:
        yield make


@pytest.fixture(autouse=True)
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lb.upsync.consul.FIRST_WAIT_S", LONG_WAIT_S)


def pulses(fake: FakeConsul) -> list[str]:
    """The parameter of each query; "-": it had none."""
    return [query.params.get("pulse", "-") for query in fake.queries]


def test_the_next_query_is_what_was_begun(
    fake: FakeConsul, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one connection, with the index of the last answer; a query that was not waited for has none of it."""
    monkeypatch.setattr("lb.upsync.path_probe.LEAST_PERIOD_S", 0.005)
    fake.put("127.0.0.1:8001")
    one = follow(interval_ms=10).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(fake.queries) >= 4, "two waits without a change")
    wait_for(lambda: any(set(pulse) == {"."} for pulse in pulses(fake)[2:]), "a wait of more than a period")
    fake.put("127.0.0.1:8002")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    assert pulses(fake)[:2] == ["-", "-"]
    assert not any(pulse.strip(".") for pulse in pulses(fake)[2:])
    assert [query.index for query in fake.queries[:4]] == [0, 11, 11, 11]
    assert all(query.params["recurse"] == "1" for query in fake.queries)
    assert fake.accepted == 1
    assert not one.log.having("fresh connection")


def test_few_signs_are_only_the_beginning_of_the_target(fake: FakeConsul, follow: Callable[..., Following]) -> None:
    fake.put("127.0.0.1:8001")
    one = follow(interval_ms=400).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(fake.queries) == 3, "a wait without a change")
    assert pulses(fake) == ["-", "-", ""]
    assert fake.accepted == 1
    assert not one.log.having("fresh connection")


def test_another_request_takes_another_connection(fake: FakeConsul, follow: Callable[..., Following]) -> None:
    """The key of a confirmation is read while an update is held: not on a connection where a query has begun."""
    fake.put("127.0.0.1:8001")
    fake.put("127.0.0.1:8002")
    one = follow(interval_ms=200, guard=ShrinkGuard(percent=10, for_ms=None)).wait_names(
        "127.0.0.1:8002", "127.0.0.1:8001"
    )
    wait_for(lambda: len(fake.queries) == 3, "a wait without a change")
    fake.delete("127.0.0.1:8002")
    wait_for(lambda: one.log.having("is held"))
    fake.put("test", b"1", directory="lb/confirm")
    one.wait_names("127.0.0.1:8001")
    assert not one.log.having("fresh connection")
    assert {query.path for query in fake.queries} >= {"/v1/kv/lb/confirm/test", "/v1/kv/upstreams/test/"}


class Closing(FakeConsul):
    """HTTP/1.0: each answer ends its connection. What it leaves unread would make that a reset."""

    def __init__(self) -> None:
        self.unread = b""
        super().__init__()

    def wait_and_answer(self, connection: RawConnection, query: Query) -> bool:
        if super().wait_and_answer(connection, query):
            self.unread += connection.buffer
            if select.select([connection.sock], [], [], 0)[0]:
                self.unread += connection.sock.recv(100)
        return False

    def answer(self, prefix: str = DIRECTORY) -> bytes:
        return super().answer(prefix).replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def test_nothing_is_sent_to_a_server_that_closes_behind_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lb.upsync.path_probe.LEAST_PERIOD_S", 0.005)
    closing = Closing()
    with running_consul(closing), followers(closing) as make:
        closing.put("127.0.0.1:8001")
        one = make(interval_ms=10).wait_names("127.0.0.1:8001")
        wait_for(lambda: len(closing.queries) == 4, "two waits without a change")
        closing.put("127.0.0.1:8002")
        one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
        assert set(pulses(closing)) == {"-"}
        assert closing.unread == b""
        assert not one.log.having("fresh connection")


@pytest.mark.consul
def test_a_real_consul_does_not_mind(consul: KeySpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes come behind dozens of signs; the connection stays, as its log lines would tell."""
    monkeypatch.setattr("lb.upsync.path_probe.LEAST_PERIOD_S", 0.005)
    consul.put("test", "127.0.0.1:8001")
    one = Following(upstream(consul.agent.port, path=f"/v1/kv/{consul.key('test')}", interval_ms=10))
    try:
        one.wait_names("127.0.0.1:8001")
        expected = ["127.0.0.1:8001"]
        for number in range(2, 5):
            time.sleep(0.5)
            consul.put("test", f"127.0.0.1:800{number}")
            expected.insert(0, f"127.0.0.1:800{number}")
            one.wait_names(*expected)
        assert not one.log.having("asking"), one.log.lines
    finally:
        one.end()
