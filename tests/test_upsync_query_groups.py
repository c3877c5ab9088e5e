"""Which upstreams share a query, what each gets of its answer, and what happens when sharing is no good."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lb.config.consul_path import parse
from lb.model import Upsync
from lb.upsync import consul_kv
from lb.upsync.consul_services import ConsulServices
from lb.upsync.puller import Puller
from lb.upsync.query_groups import common, groups
from lb.upsync.start import initial
from lb.upsync.stop import Stop
from lb.upsync.upstream_sync import UpstreamSync
from tests.harness.wait import DEADLINE, wait_for
from tests.upsync_fakes import FakeConsul, Recorder, names, response, running_consul, send, upstream


def upsync(path: str, kind: Any = "consul", host: str = "127.0.0.1", **options: Any) -> Upsync:
    return Upsync(host, 8500, path, kind, **options)


def grouped(*upsyncs: Upsync) -> list[list[int]]:
    return groups(enumerate(upsyncs))


def test_prefixes_that_begin_alike_share() -> None:
    kv = [upsync(f"/v1/kv/{path}") for path in ("upstreams/a", "test", "upstreams/b/", "test2", "upstreams/x/y")]
    assert grouped(*kv) == [[0, 2, 4], [1], [3]]
    queries = [parse("consul", kv[at].path) for at in (0, 2, 4)]
    assert common(queries).key == "upstreams/"
    assert common(queries[:1]).key == "upstreams/a/"
    assert common([parse("consul", f"/v1/kv/s/{name}/up") for name in "ab"]).key == "s/"
    assert common([parse("consul", "/v1/kv/s/a"), parse("consul", "/v1/kv/s/a/b")]).key == "s/a/"


@pytest.mark.parametrize(
    "other",
    [
        upsync("/v1/kv/up/b", host="127.0.0.2"),
        upsync("/v1/kv/up/b", token="secret"),
        upsync("/v1/kv/up/b?dc=eu"),
        upsync("/v1/kv/up/b?stale"),
        upsync("/v1/catalog/service/up", "consul_services"),
        upsync("/v1/kv/up/b", others=(("127.0.0.3", 8500),)),
    ],
)
def test_what_differs_is_not_shared(other: Upsync) -> None:
    assert grouped(upsync("/v1/kv/up/a"), other) == [[0], [1]]


def test_intervals_may_differ_and_one_service_is_asked_for_once() -> None:
    assert grouped(upsync("/v1/kv/up/a"), upsync("/v1/kv/up/b", interval_ms=1)) == [[0, 1]]
    web = upsync("/v1/catalog/service/web", "consul_services")
    assert grouped(web, upsync("/v1/catalog/service/db", "consul_services"), web) == [[0, 2], [1]]


def test_services_share_when_all_workers_would_have_too_many_queries() -> None:
    names = [f"s{n}" for n in range(30)]
    given = [upsync(f"/v1/catalog/service/{name}", "consul_services") for name in names]
    given += [upsync(f"/v1/health/service/{name}?tag=a", "consul_health") for name in names]
    given.append(upsync("/v1/health/service/s1?dc=eu", "consul_health"))
    given.append(upsync("/v1/kv/up/a"))
    assert len(groups(enumerate(given), 1)) == 62
    catalog, health, eu, keys = groups(enumerate(given), 2)
    assert (catalog, health, eu, keys) == ([*range(30)], [*range(30, 60)], [60], [61])


class Shared:
    """Several upstreams on one puller."""

    def __init__(self, port: int, paths: list[str]) -> None:
        self.log = Recorder()
        self.applied: dict[str, list[tuple[Any, ...]]] = {path: [] for path in paths}
        followers = []
        for number, path in enumerate(paths):
            one = upstream(port, path=f"/v1/kv/{path}")
            apply = self.applied[path]
            followers.append(
                UpstreamSync(
                    one, initial(one, None, number), lambda s, *_, apply=apply: apply.append(s), _ignore, self.log
                )
            )
        self.puller = Puller(followers, self.log)
        self.puller.start()

    def wait(self, path: str, *expected: str) -> None:
        wait_for(
            lambda: self.applied[path] and names(self.applied[path][-1]) == list(expected),
            lambda: f"{path} to be {expected}: {self.applied} {self.log.lines}",
        )

    def end(self) -> None:
        self.puller.stop()
        self.puller.join(DEADLINE)
        assert not self.puller.is_alive()
        assert not self.log.having("Traceback"), self.log.lines


def _ignore(_: object) -> None:
    pass


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def consul(stack: ExitStack) -> FakeConsul:
    return stack.enter_context(running_consul())


def test_each_takes_the_keys_below_its_own_prefix(consul: FakeConsul, stack: ExitStack) -> None:
    for at, directory in enumerate(("up/a", "up/a2", "up/b", "up/b/sub", "up/c"), start=1):
        consul.put(f"127.0.0.{at}:80", directory=directory)
    shared = Shared(consul.port, ["up/a", "up/b/", "up/none"])
    stack.callback(shared.end)
    shared.wait("up/a", "127.0.0.1:80")
    shared.wait("up/b/", "127.0.0.4:80", "127.0.0.3:80")
    assert {query.path for query in consul.queries} == {"/v1/kv/up/"}
    assert consul.accepted == 1
    assert shared.log.having("the key prefix does not exist")
    consul.put("127.0.0.9:80", directory="up/none")
    shared.wait("up/none", "127.0.0.9:80")
    consul.delete("127.0.0.4:80", directory="up/b/sub")
    shared.wait("up/b/", "127.0.0.3:80")
    assert len(shared.applied["up/a"]) == 1, "what has not changed is not published again"


def test_keys_out_of_order_are_put_in_order(consul: FakeConsul, stack: ExitStack) -> None:
    rows = b",".join(b'{"Key":"up/%s/127.0.0.1:%d","Value":null}' % row for row in ((b"b", 1), (b"a", 2), (b"b", 3)))
    consul.fault(send(response(200, b"[" + rows + b"]", index=7)))
    shared = Shared(consul.port, ["up/a", "up/b"])
    stack.callback(shared.end)
    shared.wait("up/a", "127.0.0.1:2")
    shared.wait("up/b", "127.0.0.1:3", "127.0.0.1:1")


def test_a_directory_that_may_not_be_read_is_not_shared(consul: FakeConsul, stack: ExitStack) -> None:
    consul.put("127.0.0.1:80", directory="up/a")
    consul.put("127.0.0.2:80", directory="up/b")
    consul.fault(send(response(403, b"Permission denied")))
    shared = Shared(consul.port, ["up/a", "up/b"])
    stack.callback(shared.end)
    shared.wait("up/a", "127.0.0.1:80")
    shared.wait("up/b", "127.0.0.2:80")
    assert len(shared.log.having("a query for each of 2 upstreams")) == 1
    assert {query.path for query in consul.queries[1:]} == {"/v1/kv/up/a/", "/v1/kv/up/b/"}
    consul.put("127.0.0.3:80", directory="up/b")
    shared.wait("up/b", "127.0.0.3:80", "127.0.0.2:80")


def test_a_directory_full_of_other_things_is_not_shared(
    consul: FakeConsul, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul_kv, "FOREIGN", (5, 1))
    for at, name in itertools.product(range(4), "ab"):
        consul.put(f"x{at}", directory=f"up/other{name}")
    consul.put("127.0.0.1:80", directory="up/a")
    consul.put("127.0.0.2:80", directory="up/b")
    shared = Shared(consul.port, ["up/a", "up/b"])
    stack.callback(shared.end)
    shared.wait("up/a", "127.0.0.1:80")
    assert shared.log.having("10 keys below up/, 2 of them ours: a query for each of 2 upstreams")


def test_one_service_with_different_tags_is_asked_for_with_each(consul: FakeConsul) -> None:
    """Also where services share a connection."""
    paths = [f"/v1/catalog/service/web?tag={tag}" for tag in "ab"]
    given = [Upsync("127.0.0.1", consul.port, path, "consul_services") for path in paths]
    assert groups(enumerate(given), 64) == [[0, 1]]
    rows = [b'[{"Address":"127.0.0.1","ServicePort":%d}]' % port for port in (1, 2)]
    consul.fault(*(send(response(200, body, index=5)) for body in (b"{}", *rows)))
    source = ConsulServices(given, Stop())
    answer = source.read()
    found = [source.listing(answer, one) for one in given]
    source.close()
    assert [names(one.servers) for one in found if one] == [["127.0.0.1:1"], ["127.0.0.1:2"]]
    assert [query.params.get("tag") for query in consul.queries] == [None, "a", "b"]
