"""The puller against a real Consul agent: the module's cases, restarts, and a proxy in between that breaks things.

A blocking query lasts 55 s, and every wait here ends after 10: what was missed and found by the next query only
would fail.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

import pytest
import requests

import lb.upsync.consul as consul_source
from lb.model import ShrinkGuard, Upsync
from lb.upsync.consul_kv import ConsulKV
from lb.upsync.stop import Stop
from tests.harness.consul import ConsulAgent, KeySpace
from tests.harness.faults import FaultProxy
from tests.harness.wait import DEADLINE, wait_for
from tests.upsync_fakes import Following, names, upstream

pytestmark = pytest.mark.consul

ISSUE_VALUE = '{"weight":1, "max_fails":2, "fail_timeout":10}'
S1, S2, S3, S4 = (f"192.168.56.12:800{n}" for n in range(1, 5))


@pytest.fixture
def follow() -> Iterator[Callable[..., Following]]:
    """follow(port, prefix) -> Following, ended after the test."""
    made: list[Following] = []

    def make(port: int, prefix: str, interval_ms: int = 200, **options: object) -> Following:
        made.append(Following(upstream(port, path=f"/v1/kv/{prefix}", interval_ms=interval_ms, **options)))
        return made[-1]

    yield make
    for one in made:
        one.end()
        assert not one.log.having("Traceback"), one.log.lines


def test_the_issues_story_from_put_to_delete(consul: KeySpace, follow: Callable[..., Following]) -> None:
    for name in (S1, S2, S3):
        consul.put("test", name, ISSUE_VALUE)
    one = follow(consul.agent.port, consul.key("test")).wait_names(S3, S2, S1)
    assert one.shown[-1].startswith(
        b"Upstream name: test; Backend server count: 3\n"
        b"        server 192.168.56.12:8003 weight=1 max_fails=2 fail_timeout=10s;\n"
    )
    consul.put("test", S4, weight=10, max_fails=3, fail_timeout=20, down=1)
    one.wait_names(S4, S3, S2, S1)
    added = one.applied[-1][0]
    assert (added.weight, added.max_fails, added.fail_timeout_s, added.down) == (10, 3, 20, True)
    consul.put("test", S4, "")
    wait_for(lambda: one.applied[-1][0].weight == 1, "the defaults")
    consul.delete("test", S3)
    one.wait_names(S4, S2, S1)
    consul.put("test", S3, ISSUE_VALUE)
    one.wait_names(S3, S4, S2, S1)
    assert not one.log.having("asking"), one.log.lines


def test_every_worker_gets_every_change(consul: KeySpace, follow: Callable[..., Following]) -> None:
    consul.put("test", S1)
    workers = [follow(consul.agent.port, consul.key("test"), interval_ms=50) for _ in range(8)]
    for name in (S2, S3, S4):
        consul.put("test", name)
    for worker in workers:
        # the order depends on which changes a worker saw in one answer
        wait_for(lambda worker=worker: set(names(worker.last.servers)) == {S1, S2, S3, S4}, "all servers")
    assert len({worker.last.index for worker in workers}) == 1, "the workers do not agree on the index"


def test_a_neighbour_with_the_same_beginning(consul: KeySpace, follow: Callable[..., Following]) -> None:
    consul.put("test2", S4)
    consul.put("test", S1)
    one = follow(consul.agent.port, consul.key("test")).wait_names(S1)
    consul.put("test2", S3)
    consul.put("test", S2)
    one.wait_names(S2, S1)


@pytest.mark.parametrize("how", ["test", "test/", ""])
def test_a_vanished_prefix_keeps_the_list_and_the_next_server_counts(
    consul: KeySpace, follow: Callable[..., Following], how: str
) -> None:
    """Consul 1.8 does not wake a query when a prefix above its own is deleted; the next PUT does."""
    consul.put("test", S1)
    one = follow(consul.agent.port, consul.key("test")).wait_names(S1)
    consul.agent.client.kv.delete(f"{consul.prefix}/{how}", recurse=True)
    if how:
        wait_for(lambda: one.last.error == "the key prefix does not exist", lambda: f"the report: {one.reports}")
        assert names(one.last.servers) == [S1]
    consul.put("test", S2)
    one.wait_names(S2)
    wait_for(lambda: one.last.error == "", "the report")
    assert len(one.applied) == 2


def test_a_restart_costs_no_server_and_no_change(consul_agent: ConsulAgent, follow: Callable[..., Following]) -> None:
    space = KeySpace(consul_agent, "x")
    space.put("test", S1)
    one = follow(consul_agent.port, space.key("test")).wait_names(S1)
    consul_agent.stop()
    wait_for(lambda: one.log.having(" is lost: "), lambda: f"the loss: {one.log.lines}")
    wait_for(lambda: one.last.error, "the report")
    assert names(one.last.servers) == [S1]
    consul_agent.start()
    space.put("test", S2)
    one.wait_names(S2, S1)
    assert len(one.log.having(" is lost: ")) == len(one.log.having(" is back after ")) == 1, one.log.lines
    assert len(one.applied) == 2


def test_a_consul_that_comes_back_with_an_older_index(
    consul_agent: ConsulAgent, follow: Callable[..., Following]
) -> None:
    space = KeySpace(consul_agent, "x")
    for _ in range(50):
        space.put("other", S4)
    space.put("test", S1)
    one = follow(consul_agent.port, space.key("test")).wait_names(S1)
    before = wait_for(lambda: one.last.index, "the index")
    consul_agent.kill()
    shutil.rmtree(consul_agent.directory / "data")
    consul_agent.start()
    space.put("test", S2)
    one.wait_names(S2)
    wait_for(lambda: one.last.source == "consul" and names(one.last.servers) == [S2], "the report")
    assert one.last.index < before
    space.put("test", S3)
    one.wait_names(S3, S2)


def test_a_snapshot_that_is_restored_while_no_query_waits(
    consul_agent: ConsulAgent, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits is told; who pauses, after a change, comes with an index of the future: Consul would say nothing."""
    space = KeySpace(consul_agent, "x")
    space.put("test", S1)
    monkeypatch.setattr(consul_source, "FIRST_WAIT_S", 55.0)  # as if the source were old
    url, pause_ms = f"http://127.0.0.1:{consul_agent.port}/v1/snapshot", 1500
    snapshot = requests.get(url, timeout=DEADLINE).content
    one = follow(consul_agent.port, space.key("test"), interval_ms=pause_ms).wait_names(S1)
    time.sleep(pause_ms / 1000)  # the first list is a change, too
    for _ in range(20):
        space.put("other", S4)
    space.put("test", S2)
    one.wait_names(S2, S1)
    requests.put(url, data=snapshot, timeout=DEADLINE).raise_for_status()
    one.wait_names(S1)
    assert one.log.having(": index went back from "), one.log.lines
    assert not one.log.having("asking"), one.log.lines


def test_an_agent_that_hangs_is_given_up_and_heard_again(
    consul_agent: ConsulAgent, follow: Callable[..., Following]
) -> None:
    space = KeySpace(consul_agent, "x")
    space.put("test", S1)
    one = follow(consul_agent.port, space.key("test"), timeout_ms=1000).wait_names(S1)
    consul_agent.pause()
    wait_for(lambda: one.log.having("is lost: (110: Connection timed out)"), lambda: f"the loss: {one.log.lines}")
    consul_agent.resume()
    space.put("test", S2)
    one.wait_names(S2, S1)


def test_an_operator_confirms_a_held_update_with_a_key(consul: KeySpace, follow: Callable[..., Following]) -> None:
    for name in (S1, S2, S3, S4):
        consul.put("test", name)
    key = "lb/confirm/test"
    client = consul.agent.client
    client.kv.delete(key)
    one = follow(consul.agent.port, consul.key("test"), guard=ShrinkGuard(50)).wait_names(S4, S3, S2, S1)
    # one change: a transaction
    client.txn.put([{"KV": {"Verb": "delete", "Key": consul.key("test", name)}} for name in (S1, S2, S3)])
    wait_for(lambda: one.last.held, lambda: f"the hold: {one.log.lines}")
    for wrong in ("2", "yes"):
        client.kv.put(key, wrong)
        consul.put("other", S1)
        assert len(one.applied[-1]) == 4
    client.kv.put(key, "1")
    one.wait_names(S4)
    client.kv.delete(key)


class TestFailOver:
    """Several addresses of one cluster: here two proxies to one agent."""

    def test_the_next_address_is_asked_at_once(
        self, consul: KeySpace, fault_proxy: Callable[[int], FaultProxy], follow: Callable[..., Following]
    ) -> None:
        first, second = fault_proxy(consul.agent.port), fault_proxy(consul.agent.port)
        consul.put("test", S1)
        others = (("127.0.0.1", second.port),)
        one = follow(first.port, consul.key("test"), others=others).wait_names(S1)
        assert second.accepted == 0
        first.set("reset")
        first.break_all()
        consul.put("test", S2)
        one.wait_names(S2, S1)
        assert second.accepted == 1
        assert not one.log.having(" is lost: "), one.log.lines
        first.set("pass")
        second.set("reset")
        second.break_all()
        consul.put("test", S3)
        one.wait_names(S3, S2, S1)


class TestProxy:
    """Something between lb and Consul: the cases of the module's `recv() failed (104)` among them."""

    @pytest.fixture
    def proxy(self, consul: KeySpace, fault_proxy: Callable[[int], FaultProxy]) -> FaultProxy:
        return fault_proxy(consul.agent.port)

    def test_resets_of_waiting_queries(
        self, consul: KeySpace, proxy: FaultProxy, follow: Callable[..., Following]
    ) -> None:
        consul.put("test", S1)
        one = follow(proxy.port, consul.key("test")).wait_names(S1)
        expected = [S1]
        for name in (S2, S3, S4):
            before = proxy.accepted
            proxy.break_all()
            wait_for(lambda before=before: proxy.accepted > before, "a fresh connection")
            consul.put("test", name)
            expected.insert(0, name)
            one.wait_names(*expected)
        assert not one.log.having(" is lost: "), one.log.lines

    @pytest.mark.parametrize("mode", ["reset", "garbage", "truncate"])
    def test_a_change_while_nothing_gets_through(
        self, consul: KeySpace, proxy: FaultProxy, follow: Callable[..., Following], mode: str
    ) -> None:
        consul.put("test", S1)
        one = follow(proxy.port, consul.key("test")).wait_names(S1)
        proxy.set(mode, keep=250)  # type: ignore[arg-type]  # 250: the head, and not all of the body
        proxy.break_all()
        consul.put("test", S2)
        wait_for(lambda: one.log.having(" is lost: "), lambda: f"the loss: {one.log.lines}")
        proxy.set("pass")
        one.wait_names(S2, S1)
        wait_for(lambda: one.log.having(" is back after "), "the end of it")
        assert len(one.log.having(" is lost: ")) == 1
        assert names(one.applied[-2]) == [S1], "something was applied meanwhile"

    def test_silence(self, consul: KeySpace, proxy: FaultProxy, follow: Callable[..., Following]) -> None:
        consul.put("test", S1)
        one = follow(proxy.port, consul.key("test"), timeout_ms=600).wait_names(S1)
        proxy.set("stall")
        consul.put("test", S2)
        wait_for(lambda: one.log.having(" is lost: "), lambda: f"the loss: {one.log.lines}")
        assert names(one.applied[-1]) == [S1]
        proxy.set("pass")
        one.wait_names(S2, S1)


def test_py_consul_writes_through_our_client_too(consul: KeySpace) -> None:
    """PUT and DELETE of py-consul's interface are whole: the operator's side of a later confirmation key."""
    stop = Stop()
    source = ConsulKV([Upsync("127.0.0.1", consul.agent.port, f"/v1/kv/{consul.key('test')}", "consul")], stop)
    client = source.consul
    client.http.budget_s = 10.0
    try:
        assert client.kv.put(consul.key("test", S1), "é") is True
        assert consul.servers("test") == {S1: "é"}
        assert source.read().entries == [(consul.key("test", S1), "é".encode())]
        client.http.budget_s = 10.0
        assert client.kv.delete(consul.key("test", S1)) is True
        assert source.read().entries is None
    finally:
        source.close()
        stop.close()
