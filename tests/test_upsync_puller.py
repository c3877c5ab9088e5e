"""The puller against a scripted Consul: what it asks, when, and that no fault costs more than the fault itself."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

import lb.upsync.consul as consul_source
from lb.config.consul_path import parse
from lb.master.reports import Reports
from lb.model import Address, Server
from lb.upsync.backoff import LEAST_REST_S
from lb.upsync.connection import PlainSocket
from lb.upsync.report import Report
from lb.upsync.stop import Stop
from tests.harness.wait import DEADLINE, free_port, wait_for
from tests.upsync_fakes import (
    FakeConsul,
    Fault,
    Following,
    followers,
    names,
    response,
    running_consul,
    send,
    send_and_reset,
    stall,
    trickle,
    upstream,
)

LOST = "is lost: "
BACK = " is back after "


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with running_consul() as fake:
        yield fake


@pytest.fixture
def follow(consul: FakeConsul) -> Iterator[Callable[..., Following]]:
    """follow(**options of the upstream) -> Following."""
    with followers(consul) as make:
        yield make


def test_the_first_answer_is_applied_and_then_every_change(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    for port in (8001, 8002, 8003):
        consul.put(f"127.0.0.1:{port}", b'{"weight":1, "max_fails":2, "fail_timeout":10}')
    one = follow().wait_names("127.0.0.1:8003", "127.0.0.1:8002", "127.0.0.1:8001")
    assert one.puller.first.wait(DEADLINE)
    assert one.shown[-1] == (
        b"Upstream name: test; Backend server count: 3\n"
        b"        server 127.0.0.1:8003 weight=1 max_fails=2 fail_timeout=10s;\n"
        b"        server 127.0.0.1:8002 weight=1 max_fails=2 fail_timeout=10s;\n"
        b"        server 127.0.0.1:8001 weight=1 max_fails=2 fail_timeout=10s;\n"
    )
    consul.put("127.0.0.1:8004")
    one.wait_names("127.0.0.1:8004", "127.0.0.1:8003", "127.0.0.1:8002", "127.0.0.1:8001")
    consul.put("127.0.0.1:8002", b'{"weight":7}')
    wait_for(lambda: one.applied[-1][2].weight == 7, "the new weight")
    consul.delete("127.0.0.1:8003")
    one.wait_names("127.0.0.1:8004", "127.0.0.1:8002", "127.0.0.1:8001")
    wait_for(lambda: one.last.index == consul.index, "the report")
    assert (one.last.source, one.last.error, one.last.upstream) == ("consul", "", 7)
    assert names(one.last.servers) == names(one.applied[-1])
    assert len(one.log.having("upsync: upstream")) == 5, one.log.lines  # how it starts, and four changes
    assert one.log.having("1 added, 0 removed, 0 altered")
    assert one.log.having("0 added, 0 removed, 1 altered")
    assert one.log.having("0 added, 1 removed, 0 altered")


def test_the_queries(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    """A full read without index, then blocking queries with the index and a wait, all on one connection."""
    consul.put("127.0.0.1:8001")
    one = follow(path="/v1/kv/upstreams/test?recurse&dc=dc2&stale&x=", token="secret").wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) == 2, "the blocking query")
    first, second = consul.queries
    assert first.path == second.path == "/v1/kv/upstreams/test/"
    assert first.params == {"recurse": "1", "dc": "dc2", "stale": "1"}
    assert second.params == {"recurse": "1", "dc": "dc2", "stale": "1", "index": str(consul.index), "wait": "250ms"}
    assert first.headers["x-consul-token"] == "secret"
    consul.put("127.0.0.1:8002")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    assert consul.accepted == 1
    assert not [line for line in one.log.lines if "secret" in line[1]]


def test_the_environment_gives_the_token_and_nothing_else(
    consul: FakeConsul, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a proxy, not another Consul, not https."""
    settings = {"CONSUL_HTTP_TOKEN": "secret", "CONSUL_HTTP_ADDR": "127.0.0.1:1", "CONSUL_HTTP_SSL": "true"}
    for name, value in (settings | {"http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)
    consul.put("127.0.0.1:8001")
    one = follow().wait_names("127.0.0.1:8001")
    assert consul.queries[0].headers["x-consul-token"] == "secret"
    assert not [line for line in one.log.lines if "secret" in line[1]]


def test_a_name_is_tried_at_each_of_its_addresses(
    consul: FakeConsul, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [("127.0.0.1", free_port()), ("127.0.0.1", consul.port)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    consul.put("127.0.0.1:8001")
    follow(host="consul.example").wait_names("127.0.0.1:8001")


def test_a_name_that_is_not_known_is_said(follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    one = follow(host="consul.example")
    wait_for(lambda: one.log.having(LOST), "the loss")
    assert one.log.having("host not found (-2: Name or service not known)")


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/v1/kv/upstreams/test", "upstreams/test/"),
        ("/v1/kv/upstreams/test/", "upstreams/test/"),
        ("/v1/kv/upstreams/test/?recurse", "upstreams/test/"),
        ("/v1/kv/a%20b/%C3%A9?", "a b/é/"),
        ("/v1/kv/", ""),
    ],
)
def test_the_key_prefix_of_a_path(path: str, prefix: str) -> None:
    assert parse("consul", path).key == prefix


@pytest.mark.parametrize("path", ["/", "/v1/kv", "/v1/catalog/service/web", "v1/kv/x", "/V1/KV/x"])
def test_a_path_that_is_not_of_the_kv_store(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path of Consul's KV store: it must start with /v1/kv/"):
        parse("consul", path)


def test_with_such_a_path_the_file_serves_and_the_log_says_why(follow: Callable[..., Following]) -> None:
    one = follow(path="/v1/catalog/service/web", where="lb.conf:7")
    one.puller.join(DEADLINE)
    assert one.puller.first.is_set()
    reason = '"/v1/catalog/service/web" is not a path of Consul\'s KV store: it must start with /v1/kv/'
    assert ("emerg", f'upsync: upstream "test": {reason}, in lb.conf:7') in one.log.lines
    assert one.last.error == reason


def test_the_wait_and_the_deadline_fit_into_upsync_timeout(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    consul.put("127.0.0.1:8001")
    one = follow(timeout_ms=500).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) >= 6, "queries that end without a change")
    waits = [query.params["wait"] for query in consul.queries[1:]]
    assert (waits[0], waits[-1]) == ("250ms", "400ms"), "it grows up to 0.8 of the timeout"
    assert {query.index for query in consul.queries[1:]} == {consul.index}
    assert consul.accepted == 1
    assert len(one.applied) == 1
    assert not one.log.having("asking"), one.log.lines


def test_the_first_change_after_quiet_comes_at_once_and_a_burst_in_one(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    consul.put("127.0.0.1:8001")
    one = follow(interval_ms=1000).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) == 2, "the blocking query")
    for port in range(8002, 8022):
        consul.put(f"127.0.0.1:{port}")
    wait_for(lambda: len(one.applied[-1]) == 21, "the burst")
    # the first of the burst wakes the query, which may see more of them; the rest comes with the next ones, which rest
    # by what an answer cost
    assert len(one.applied) < 21
    starts = [query.at for query in consul.queries[1:]]
    assert all(late - early >= LEAST_REST_S * 0.95 for early, late in itertools.pairwise(starts)), starts


def test_neighbours_are_not_taken(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    consul.put("127.0.0.1:8009", directory="upstreams/test2")
    consul.put("127.0.0.1:8001")
    follow().wait_names("127.0.0.1:8001")


BAD_ANSWERS: dict[str, Fault] = {
    "reset before the answer": send_and_reset(b""),
    "reset inside the answer": send_and_reset(response(200, b"[]", index=99, length=500)),
    "closed before the answer": send(b"", more=False),
    "closed inside the head": send(b"HTTP/1.1 200 OK\r\nContent-", more=False),
    "closed inside the body": send(response(200, b'[{"Key":', index=99, length=500), more=False),
    "closed inside a chunk": send(
        b"HTTP/1.1 200 OK\r\nX-Consul-Index: 99\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[", more=False
    ),
    "not HTTP": send(b"\x00\xff\x16\x03garbage\r\n\r\n", more=False),
    "not JSON": send(response(200, b'[{"Key"', index=99)),
    "an empty body": send(response(200, b"", index=99)),
    "JSON of another kind": send(response(200, b'{"a":1}', index=99)),
    "a number": send(response(200, b"5", index=99)),
    "a list of numbers": send(response(200, b"[1]", index=99)),
    "a list of other objects": send(response(200, b'[{"a":1}]', index=99)),
    "a key that is no text": send(response(200, b'[{"Key":1,"Value":null}]', index=99)),
    "a value that is no text": send(response(200, b'[{"Key":"a","Value":{}}]', index=99)),
    "a value that is no base64": send(response(200, b'[{"Key":"a","Value":"a"}]', index=99)),
    "deep JSON": send(response(200, b"[" * 200_000, index=99)),
    "a body that is too long": send(response(200, b"[]", index=99, length=65 << 20), more=False),
    "a head without end": send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, more=False),
    "too many header fields": send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n[]", more=False),
    "500": send(response(500, b"No cluster leader")),
    "403": send(response(403, b"Permission denied")),
    "400": send(response(400, b"bad")),
    "201": send(response(201, b"[]", index=99)),
    "204": send(b"HTTP/1.1 204 No Content\r\nX-Consul-Index: 99\r\n\r\n"),
    "a redirect": send(response(301, b"", index=99)),
    "504": send(response(504, b"<html>")),
}


@pytest.mark.parametrize("kind", BAD_ANSWERS)
def test_one_bad_answer_costs_one_query(consul: FakeConsul, follow: Callable[..., Following], kind: str) -> None:
    """The answer to the blocking query is spoilt: at once a full read, on a fresh connection; nothing is lost."""
    consul.put("127.0.0.1:8001")
    consul.put("127.0.0.1:8002")
    consul.fault(lambda connection, fake: fake.wait_and_answer(connection, fake.queries[-1]), BAD_ANSWERS[kind])
    one = follow(interval_ms=200).wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) >= 2, "the blocking query")
    consul.put("127.0.0.1:8003")  # in a fault this may already have been missed
    one.wait_names("127.0.0.1:8003", "127.0.0.1:8002", "127.0.0.1:8001")
    read, spoilt, again = consul.queries[:3]
    assert (read.index > 0, spoilt.index > 0, again.index > 0) == (False, True, False), "not a full read"
    assert again.connection == spoilt.connection + 1
    assert len(one.log.having("asking on a fresh connection")) == 1, one.log.lines
    assert not one.log.having(LOST)
    assert all(report.servers and not report.error for report in one.reports)


def test_a_whole_answer_counts_also_when_the_connection_is_reset_after_it(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    consul.put("127.0.0.1:8001")
    consul.fault(lambda connection, fake: send_and_reset(fake.answer())(connection, fake))
    one = follow().wait_names("127.0.0.1:8001")
    consul.put("127.0.0.1:8002")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    assert not one.log.having("asking"), "the dead connection is noticed before it is used"


@pytest.mark.parametrize("fault", [stall, trickle])
def test_an_answer_that_does_not_come_or_does_not_end_is_given_up(
    consul: FakeConsul, follow: Callable[..., Following], fault: Fault
) -> None:
    consul.put("127.0.0.1:8001")
    consul.fault(fault)
    one = follow(timeout_ms=300).wait_names("127.0.0.1:8001")
    assert one.log.having("(110: Connection timed out); asking on a fresh connection")
    assert consul.queries[1].connection == 1


def test_a_blocking_query_has_an_end_of_its_own(
    consul: FakeConsul, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default upsync_timeout of 6 minutes too."""
    monkeypatch.setattr(consul_source, "WAIT_S", 0.2)
    monkeypatch.setattr(consul_source, "GRACE_S", 0.1)
    consul.put("127.0.0.1:8001")
    consul.fault(lambda connection, fake: fake.wait_and_answer(connection, fake.queries[-1]), stall)
    one = follow().wait_names("127.0.0.1:8001")
    consul.put("127.0.0.1:8002")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")


def test_the_kernel_watches_the_path_of_a_silent_query() -> None:
    """Packets that are dropped make no sound: only probes find out."""
    stop = Stop()
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for path_s, expected in ((2, [1, 1, 1, 1500]), (3, [1, 1, 2, 2500]), (4, [2, 1, 2, 3500])):
            with PlainSocket(socket.AF_INET, stop, time.monotonic() + DEADLINE, path_s) as wire:
                wire.open(server.getsockname())
                assert [wire.getsockopt(socket.IPPROTO_TCP, option) for option in options] == expected
                assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    stop.close()


def test_lost_and_back_are_one_line_each(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    consul.put("127.0.0.1:8001")
    one = follow().wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) == 2, "the blocking query")
    consul.fault(*[send_and_reset(b"")] * 6)
    consul.rewind(consul.index + 1)  # ends the blocking query
    wait_for(lambda: len(consul.queries) >= 9, "the faults to be used up")
    wait_for(lambda: one.log.having(BACK), lambda: f"it to be back: {one.log.lines}")
    assert len(one.log.having(LOST)) == len(one.log.having(BACK)) == 1, one.log.lines
    (level, text) = one.log.having(LOST)[0]
    assert level == "error"
    assert f"Consul 127.0.0.1:{consul.port} is lost: " in text
    assert text.endswith(f'upsync: upstream "test" keeps 1 server from Consul (index {consul.index})')
    assert one.log.having(BACK)[0][0] == "notice"
    errors = [report.error for report in one.reports]
    assert errors[-1] == ""
    assert f"Consul 127.0.0.1:{consul.port}: " in errors[-2]
    assert len(one.applied) == 1


def test_a_busy_consul_is_given_time(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    consul.put("127.0.0.1:8001")
    consul.fault(send(response(429, b"Your IP is issuing too many concurrent connections")))
    one = follow(interval_ms=600).wait_names("127.0.0.1:8001")
    first, second = consul.queries[:2]
    assert second.at - first.at >= 0.29, "asked again at once"
    assert one.log.having("429 Something: Your IP is issuing too many concurrent connections")


def test_a_consul_at_its_limit_is_given_time(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    """Consul 1.8 has no 429: above http_max_conns_per_client it closes a new connection without a byte."""
    consul.put("127.0.0.1:8001")
    consul.fault(send(b"", more=False))
    one = follow(interval_ms=600).wait_names("127.0.0.1:8001")
    first, second = consul.queries[:2]
    assert second.at - first.at >= 0.29, "asked again at once"
    assert one.log.having("limits.http_max_conns_per_client of Consul?")


def test_a_wait_is_never_zero(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    """`wait=0s` and negative ones would block for Consul's own default."""
    consul.put("127.0.0.1:8001")
    follow(interval_ms=200).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) >= 4, "some blocking queries")
    waits = [query.params["wait"] for query in consul.queries if query.index]
    assert waits and all(wait.endswith("ms") and int(wait.removesuffix("ms")) > 0 for wait in waits), waits


@pytest.mark.parametrize("empty", ["gone", "no entries", "unusable"])
def test_an_empty_answer_keeps_the_last_good_list_and_says_so_once(
    consul: FakeConsul, follow: Callable[..., Following], empty: str
) -> None:
    consul.put("127.0.0.1:8001")
    one = follow().wait_names("127.0.0.1:8001")
    index = one.last.index
    if empty == "no entries":
        consul.nothing = lambda index: response(200, b"[]", index=index)
    if empty != "unusable":
        consul.clear()
    else:
        with consul._changed:
            consul.entries = {"upstreams/test/127.1:80": None, "upstreams/test/": None}
            consul._bump()
    wait_for(lambda: one.last.error, lambda: f"the report: {one.reports}")
    consul.put("x", directory="elsewhere")  # Consul wakes the query of a missing prefix for any key
    wait_for(lambda: consul.queries[-1].index == consul.index, "the next query")
    assert len(one.applied) == 1
    assert (names(one.last.servers), one.last.index, one.last.source) == (["127.0.0.1:8001"], index, "consul")
    assert len(one.log.having("keeping 1 server from Consul")) == 1, one.log.lines
    assert len(one.log.having("has no port in /")) == (1 if empty == "unusable" else 0)
    assert len(one.last.skipped) == (2 if empty == "unusable" else 0)
    consul.put("127.0.0.1:8002")
    consul.entries.pop("upstreams/test/127.1:80", None)
    consul.entries.pop("upstreams/test/", None)
    one.wait_names("127.0.0.1:8002")
    wait_for(lambda: not one.last.error, "the report")


def test_an_index_that_goes_back_means_a_full_read(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    consul.put("127.0.0.1:8001")
    consul.put("127.0.0.1:8002")
    one = follow().wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) == 2, "the blocking query")
    del consul.entries["upstreams/test/127.0.0.1:8002"]
    consul.rewind(3)
    one.wait_names("127.0.0.1:8001")
    assert [query.index for query in consul.queries[:3]] == [0, 12, 0]
    assert one.log.having("index went back from 12 to 3")
    wait_for(lambda: one.last.index == 3, "the report")
    consul.put("127.0.0.1:8003")
    one.wait_names("127.0.0.1:8003", "127.0.0.1:8001")


def test_a_connection_that_ended_between_two_queries_means_a_full_read(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    """Another Consul may be behind the next one: with our index it would be silent until it has caught up."""
    consul.put("127.0.0.1:8001")
    consul.index = 500
    consul.fault(send(consul.answer(), more=False))
    one = follow(interval_ms=300).wait_names("127.0.0.1:8001")
    consul.put("127.0.0.1:8002")
    consul.rewind(3)
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    assert [query.index for query in consul.queries[:2]] == [0, 0]
    wait_for(lambda: len(consul.queries) == 3, "the blocking query")
    assert consul.queries[2].index == 3
    assert not one.log.having("asking"), "an idle connection may end"


@pytest.mark.parametrize("index", [None, 0, "", "abc", "-5", "1.5"])
def test_without_an_index_the_list_counts_and_every_query_is_a_full_read(
    consul: FakeConsul, follow: Callable[..., Following], index: object
) -> None:
    def body(name: str) -> bytes:
        return b'[{"Key":"upstreams/test/%s","Value":null}]' % name.encode()

    consul.fault(*[send(response(200, body(name), index=index)) for name in ("127.0.0.1:1", "127.0.0.1:2")])
    one = follow(interval_ms=300)
    one.wait_names("127.0.0.1:2")
    assert names(one.applied[0]) == ["127.0.0.1:1"]
    assert [query.index for query in consul.queries[:2]] == [0, 0]
    assert consul.queries[1].at - consul.queries[0].at >= 0.29


def test_the_index_header_in_any_case(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    body = b'[{"Key":"upstreams/test/127.0.0.1:1","Value":null}]'
    consul.fault(send(response(200, body, index=consul.index, header="x-consul-index")))
    follow().wait_names("127.0.0.1:1")
    wait_for(lambda: len(consul.queries) == 2, "the next query")
    assert consul.queries[1].index == consul.index


def test_a_list_that_the_engine_refuses_is_read_again(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    """Its index is not kept: the module kept it, and lost the list until the next change."""
    consul.put("127.0.0.1:8001")
    one = follow().wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) == 2, "the blocking query")
    one.refuse = MemoryError("no table")
    consul.put("127.0.0.1:8002")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    (said,) = one.log.having('upsync: upstream "test": answer not applied')
    assert said[0] == "alert"
    assert "MemoryError: no table" in said[1]
    assert not one.log.having(LOST), "Consul did nothing wrong"
    assert consul.queries[2].index == 0


def test_problems_are_logged_once_and_again_when_they_change(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    consul.put("127.1:80")
    consul.put("127.0.0.1:8001", b"hello")
    one = follow().wait_names("127.0.0.1:8001")
    consul.put("127.0.0.1:8002")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    consul.put("127.0.0.1:8003", b'{"weight":0}')
    one.wait_names("127.0.0.1:8003", "127.0.0.1:8002", "127.0.0.1:8001")
    problems = [text for level, text in one.log.lines if level == "error"]
    assert len(problems) == 3, problems
    assert (
        'upsync_check_key: invalid ip in /127.1:80: upstreams/test/127.1:80 skipped, upsync: upstream "test"'
        in problems
    )
    wait_for(lambda: len(one.last.skipped) == 3, "the report")
    consul.delete("127.1:80")
    wait_for(lambda: len(one.last.skipped) == 2, "the report")


def test_nothing_is_published_or_reported_when_nothing_changed(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    consul.put("127.0.0.1:8001")
    one = follow(timeout_ms=50, interval_ms=1).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) > 10, "many queries")
    assert len(one.applied) == 1
    assert len(one.reports) == 2  # how it starts, and the list
    consul.rewind(consul.index + 5)  # another index, the same list
    wait_for(lambda: one.last.index == consul.index, "the report")
    assert len(one.applied) == 1


def test_a_list_of_the_file_is_turned_around_when_the_first_server_comes(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    """Also when Consul's answers were the file's own servers before."""
    own = [Server(f"127.0.0.1:{port}", Address(socket.AF_INET, "127.0.0.1", port)) for port in (8001, 8002)]
    for one in own:
        consul.put(one.name)
    running = follow(servers=tuple(own)).wait_names("127.0.0.1:8001", "127.0.0.1:8002")
    wait_for(lambda: running.last.source == "consul", "the report")
    consul.put("127.0.0.1:8003")
    running.wait_names("127.0.0.1:8003", "127.0.0.1:8002", "127.0.0.1:8001")
    consul.put("127.0.0.1:8004")
    running.wait_names("127.0.0.1:8004", "127.0.0.1:8003", "127.0.0.1:8002", "127.0.0.1:8001")


def test_backup_servers_of_the_file_stay(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    spare = Server("127.0.0.1:9", Address(socket.AF_INET, "127.0.0.1", 9), backup=True)
    own = Server("127.0.0.1:11111", Address(socket.AF_INET, "127.0.0.1", 11111))
    consul.put("127.0.0.1:8001")
    one = follow(servers=(own, spare)).wait_names("127.0.0.1:8001", "127.0.0.1:9")
    assert b"count: 1\n" in one.shown[-1]
    wait_for(lambda: one.last.source == "consul", "the report")
    assert names(one.last.servers) == ["127.0.0.1:8001"], "the dump must not have the file's backup"
    consul.put("127.0.0.1:9")
    one.wait_names("127.0.0.1:9", "127.0.0.1:8001")
    assert not one.applied[-1][0].backup


def test_the_master_makes_each_list_from_what_has_changed(consul: FakeConsul, follow: Callable[..., Following]) -> None:
    """One list is sent, the first; then what comes, goes and changes, which gives the same list in the same order."""
    for port in range(8001, 8006):
        consul.put(f"127.0.0.1:{port}")
    one = follow(interval_ms=1).wait_names(*(f"127.0.0.1:{port}" for port in range(8005, 8000, -1)))
    reports, here = Reports(), upstream(consul.port)
    wait_for(lambda: one.last.source == "consul")
    reports.take(1, here, Report.from_json(one.last.to_json()))
    done = len(one.reports)
    for name, value in (
        ("8006", b""),
        ("8003", b'{"weight":5}'),
        ("8001", None),
        ("8002", b'{"down":1}'),
        ("8007", b""),
    ):
        with consul._changed:  # two changes in one answer
            consul.entries.pop("upstreams/test/127.0.0.1:8004", None)
        if value is None:
            consul.delete(f"127.0.0.1:{name}")
        else:
            consul.put(f"127.0.0.1:{name}", value or None)
        wait_for(lambda: one.last.index == consul.index)
        for said in one.reports[done:]:
            reports.take(1, here, Report.from_json(json.loads(json.dumps(said.brief()))))
        done = len(one.reports)
        known = reports.known(here)
        assert known is not None
        assert (known.index, known.servers) == (consul.index, one.applied[-1])
        assert reports.to_ask() == []
    assert [server.weight for server in one.applied[-1] if server.name.endswith("8003")] == [5]
