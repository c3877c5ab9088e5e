"""/metrics: both formats as Prometheus's own parsers read them, its names, its figures, and 10,000 servers at once."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lb import _fast
from lb.model import Address, Server, Upstream
from lb.status import metrics
from lb.status import server as status_server
from lb.status.families import families, reference
from lb.status.pages import UpstreamView, View
from lb.status.servers import AT, CELLS, quantile
from lb.status.snapshot import Snapshot
from tests.harness import backend as raw
from tests.harness.backend import Reply
from tests.harness.client import Client
from tests.harness.consul import KeySpace
from tests.harness.lb import ROOT
from tests.harness.wait import wait_for
from tests.master_tools import pids, workers
from tests.test_counters import HTTP, STREAM, UPSYNC, VALUE, ask
from tests.test_status import Served, view

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
NGINX = {
    "nginx_connections_accepted": "counter",
    "nginx_connections_active": "gauge",
    "nginx_connections_handled": "counter",
    "nginx_connections_reading": "gauge",
    "nginx_connections_waiting": "gauge",
    "nginx_connections_writing": "gauge",
    "nginx_http_requests_total": "counter",
    "nginx_up": "gauge",
}  # of nginx-prometheus-exporter, with its types


def row(**fields: int) -> bytearray:
    made = bytearray(8 * _fast.SERVER_STATS_ROW)
    for name, value in fields.items():
        memoryview(made).cast("Q")[AT[name]] = value
    return made


def many(count: int, upstreams: int = 1) -> View:
    """A view of `upstreams` upstreams with `count` servers in all, each with figures."""
    shown, snapshot = [], Snapshot(0.0)
    for number in range(upstreams):
        places = range(number, count, upstreams)
        addresses = [Address(socket.AF_INET, f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}", 80) for at in places]
        name = f"u{number}"
        shown.append(
            UpstreamView(number, Upstream("http", name, tuple(Server(str(one), one) for one in addresses)), None, ())
        )
        rows = {str(one).encode(): row(requests=5, connect=2, connect_ms=2) for one in addresses}
        for one in rows.values():
            memoryview(one).cast("Q")[_fast.SERVER_STATS_STATE] = 1
        snapshot.sums["http", name] = {b"": row(requests=5 * len(addresses)), **rows}
    return replace(view(), upstreams=tuple(shown), snapshot=lambda: snapshot)


def page(of: View, accept: str = "") -> str:
    form = metrics.choose(accept)
    return b"".join(metrics.stream(of, form)).decode()


def samples(text: str, *, open_: bool = False) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels; none is there twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in (parse_openmetrics if open_ else parse_text)(text):
        for sample in family.samples:
            name = sample.name
            if name.removesuffix("_total") in NGINX:  # the parser adds it to the exporter's names
                name = name.removesuffix("_total")
            key = name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def test_both_formats_say_the_same() -> None:
    of = many(3)
    assert samples(page(of)) == samples(page(of, OPEN), open_=True)
    assert page(of, OPEN).endswith("# EOF\n") and "# EOF" not in page(of)


PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN_1 = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_3 = (  # what Prometheus 3 sends
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_TEXT_FIRST = (  # with scrape_protocols turned round
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.3"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPEN, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text; version=x.y", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;q=0", PLAIN),
        ("application/openmetrics-text; version=1.0.0; q=0.000, */*", PLAIN),
        ("application/openmetrics-text;q=0.3, text/plain;q=0.7", PLAIN),
        ("application/openmetrics-text;q=0.3, text/*;q=0.7", PLAIN),
        ("text/plain;q=0.3, application/openmetrics-text;q=0.7", OPEN_1),
        ("text/plain; Q=0.3 , Application/OpenMetrics-Text ; version=1.0.0", OPEN_1),
        ("text/plain;q=0, */*", OPEN_1),
        ("application/openmetrics-text, */*", OPEN_1),
        ("text/plain;q=0", PLAIN),
        ("*/*;q=0", PLAIN),
        ("application/openmetrics-text;version=0.0.1;q=0.5,application/openmetrics-text;version=1.0.0;q=0.6", OPEN_1),
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        (PROMETHEUS_TEXT_FIRST, "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
    ],
)
def test_format_that_the_client_asks_for(accept: str, content_type: str) -> None:
    assert metrics.choose(accept).content_type.startswith(content_type)


def test_names() -> None:
    """Prometheus's rules: our prefix, base units, _total for counters and for nothing else; a meaning for each."""
    text = page(many(2))
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert len(types) == len(re.findall("^# TYPE ", text, re.MULTILINE)), "a family is there twice"
    assert {name: kind for name, kind in types.items() if name.startswith("nginx_")} == NGINX
    for name, kind in types.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name)
        assert name in NGINX or name.startswith("lb_")
        assert name in NGINX or (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|milliseconds|minutes|kilobytes|kb|mb|percent)(_|$)", name), name
        assert not name.endswith(("_count", "_sum", "_bucket")), "a histogram has those of its own"
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    assert helps.keys() == types.keys()
    assert all(text and text.endswith(".") for text in helps.values())
    assert types == {one.written: one.shown_kind for one in families()}


def test_table_in_the_documentation() -> None:
    """`.venv/bin/python -c "from lb.status.families import reference; print(reference())"` makes it."""
    assert reference() in (ROOT / "doc/operating.md").read_text()


def test_labels_are_escaped() -> None:
    name = 'a"b\\c\nd\udcff'
    server = Server("x", Address(socket.AF_UNIX, "/tmp/\udcfe"))
    of = replace(view(), upstreams=(UpstreamView(0, Upstream("http", name, (server,)), None, ()),))
    for accept in ("", OPEN):
        found = samples(page(of, accept), open_=bool(accept))
        names = {dict(labels).get("upstream") for _, labels in found} - {None, ""}
        assert names == {'a"b\\c\nd?'}


def test_histogram() -> None:
    found = samples(page(many(1)))
    labels = {"kind": "http", "upstream": "u0", "server": "10.0.0.0:80"}
    assert found["lb_server_connect_seconds_count", frozenset(labels.items())] == 2
    assert found["lb_server_connect_seconds_sum", frozenset(labels.items())] == 0.002
    for bound in ("0.001", "0.5", "+Inf"):
        assert found["lb_server_connect_seconds_bucket", frozenset({**labels, "le": bound}.items())] == 2


def test_quantile() -> None:
    counts = [0] * CELLS
    assert quantile(counts, 0.5) is None
    counts[0], counts[3] = 50, 50  # up to 1 ms, and 5 to 10 ms
    assert quantile(counts, 0.25) == 0.0005
    assert quantile(counts, 0.5) == 0.001
    assert quantile(counts, 0.75) == 0.0075
    assert quantile([*[0] * (CELLS - 1), 1], 0.99) == 10.0


# 10,000 servers


def test_pieces_of_a_large_page_are_small() -> None:
    """So the master's loop is never held up for long, and a slow client costs little memory."""
    of = many(10_000, upstreams=3)
    longest = [max(map(len, metrics.stream(of, metrics.choose(accept)))) for accept in ("", OPEN)]
    assert max(longest) < 128 << 10
    text = page(of)
    assert text.count("lb_server_requests_total{") == 10_000
    assert "lb_server_connect_seconds" not in text and "lb_upstream_connect_seconds_bucket" in text
    assert "lb_server_connect_seconds_bucket" in page(many(metrics.HISTOGRAMS_MOST))


@pytest.fixture
def large() -> Iterator[Served]:
    of = many(10_000)
    made = Served(lambda: of)
    yield made
    made.end()
    assert not made.log.lines


def start_large(port: int, target: str = "/metrics") -> Client:
    client = Client(port)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


@pytest.mark.parametrize("target", ["/metrics", "/status.json"])
def test_slow_readers_of_a_large_page(large: Served, target: str) -> None:
    """They hold up nobody, of each there is a piece in memory, and there are only so many of them."""
    slow = [start_large(large.port, target) for _ in range(status_server.LARGE_MOST)]
    wait_for(lambda: sum(one.pieces is not None for one in large.server._connections) == len(slow))
    with Client(large.port) as client:
        assert client.request(target="/healthz").status == 200
        refused = client.request(target=target)
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        held = [len(one.out) for one in large.server._connections]
        assert max(held) < status_server.PIECE + (128 << 10)
        for one in slow:
            one.reset()
        wait_for(lambda: large.connections == 1)
        assert client.request(target=target).status == 200


def test_large_page_by_old_and_impatient_clients(large: Served) -> None:
    with Client(large.port) as client:
        head = client.request("HEAD", "/metrics")
        assert (head.status, head.body) == (200, b"")
        answer = client.send(b"GET /metrics HTTP/1.0\r\n\r\n").recv_to_end()
        assert answer.count(b"lb_server_requests_total{") == 10_000
        assert b"ransfer-" not in answer.partition(b"\r\n\r\n")[0]
    with Client(large.port) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        assert [client.response().body.count(b"lb_server_weight{") for _ in range(3)] == [10_000] * 3


# In lb


def scrape(lb: Any, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with lb.client("status") as client:
        headers = f"Accept: {accept}\r\n" if accept else ""
        answer = client.request(target="/metrics", headers=headers)
        assert answer.status == 200
        return samples(answer.body.decode(), open_=bool(accept))


def value(lb: Any, name: str, **labels: str) -> float:
    """The sum of the samples of this name with these labels, and perhaps others."""
    found = scrape(lb)
    return sum(found[key] for key in found if key[0] == name and labels.items() <= dict(key[1]).items())


def test_http_figures(run_lb, http_backend):
    backends = [http_backend(lambda _: Reply(404 if _.target == "/404" else 200)) for _ in range(2)]
    lb = run_lb(HTTP, servers=" ".join(f"server {one.address};" for one in backends), inside="")
    ask(lb, 6)
    ask(lb, 2, "/404", 404)
    wait_for(lambda: value(lb, "lb_upstream_requests_total", upstream="u") == 8)
    assert value(lb, "nginx_http_requests_total") == value(lb, "nginx_connections_accepted") == 8
    assert value(lb, "lb_http_responses_total", code="4xx") == 2
    assert value(lb, "lb_upstream_responses_total", upstream="u", kind="http", code="2xx") == 6
    assert value(lb, "lb_server_responses_total", upstream="u") == 8
    for backend in backends:
        assert value(lb, "lb_server_requests_total", server=backend.address) == len(backend.requests)
        assert value(lb, "lb_server_state", server=backend.address, state="up") == 1
        assert value(lb, "lb_server_weight", server=backend.address) == 1
    assert value(lb, "lb_server_response_seconds_count") == 8
    found = scrape(lb, OPEN)
    of_workers = {name for name, labels in found if {"worker", "pid"} <= {label for label, _ in labels}}
    assert len(of_workers) >= 10
    for name in of_workers - {"lb_worker_http_connections"}:
        assert {dict(labels)["pid"] for one, labels in found if one == name} == {str(pid) for pid in pids(lb)}
    assert value(lb, "lb_worker_accepts_total") == value(lb, "lb_worker_requests_total") == 8
    assert len([name for name, _ in found if name == "lb_worker_cpu_seconds_total"]) == 2  # in ticks of 10 ms
    assert value(lb, "lb_worker_resident_memory_bytes") > 1 << 20
    assert value(lb, "lb_build_info", mode=_fast.BUILD) == value(lb, "nginx_up") == 1
    assert not [name for name, _ in found if name.startswith("lb_last_reload")]


def test_restarts_and_reloads_count(run_lb, http_backend):
    lb = run_lb(HTTP, servers=f"server {http_backend(lambda _: Reply()).address};", inside="")
    ask(lb, 4)
    lb.expect_log("exited on signal 9", r"unknown directive \"nonsense\"")
    workers(lb)[0].kill()
    wait_for(lambda: value(lb, "lb_worker_restarts_total") == 1 and value(lb, "lb_worker_accepts_total") <= 4)
    lb.wait_ready()
    lb.reload()
    wait_for(lambda: value(lb, "lb_reloads_total", result="ok") == 1)
    assert value(lb, "lb_last_reload_successful") == 1
    ask(lb, 4)
    wait_for(lambda: value(lb, "lb_upstream_requests_total") == value(lb, "nginx_http_requests_total") == 8)
    lb.file.write_text(lb.file.read_text() + "nonsense;\n")
    lb.signal(1)
    wait_for(lambda: value(lb, "lb_reloads_total", result="failed") == 1)
    assert value(lb, "lb_last_reload_successful") == 0
    assert value(lb, "lb_last_reload_timestamp_seconds") > value(lb, "lb_start_time_seconds")


def test_stream_figures(run_lb, raw_backend, connect):
    backend = raw_backend(raw.echo)
    lb = run_lb(STREAM, servers=f"server {backend.address};")
    client = connect(lb.port("tcp"))
    assert client.send(b"x" * 500).recv_exactly(500) == b"x" * 500
    labels = {"kind": "stream", "upstream": "u", "server": backend.address}
    wait_for(lambda: value(lb, "lb_server_received_bytes_total", **labels) == 500)
    assert value(lb, "lb_server_active", **labels) == value(lb, "lb_stream_sessions_total") == 1
    assert value(lb, "nginx_connections_active") == 1
    client.close()
    wait_for(lambda: value(lb, "lb_server_active", **labels) == 0)


@pytest.mark.consul
def test_consul_figures(run_lb, http_backend, consul_agent, tmp_path):
    backend = http_backend(lambda _: Reply())
    space = KeySpace(consul_agent, "metrics")
    space.put("u", backend.address, VALUE)
    space.put("u", "127.0.0.1:99999", VALUE)
    lb = run_lb(UPSYNC, path=space.path("u"), dump=tmp_path / "none" / "d", inside="")
    lb.expect_log("cannot be written")
    wait_for(lambda: value(lb, "lb_consul_in_sync") == 1)
    wait_for(lambda: value(lb, "lb_dump_failing") == 1 and value(lb, "lb_dump_failures_total") >= 1)
    assert value(lb, "lb_consul_index", upstream="u") > 0
    assert value(lb, "lb_consul_entries_skipped", upstream="u") == 2
    assert value(lb, "lb_consul_errors_total") == value(lb, "lb_consul_failing") == 0
    ages = [one for (name, _), one in scrape(lb).items() if name == "lb_consul_answer_age_seconds"]
    assert len(ages) == 2 and all(0 <= age < 60 for age in ages)
    consul_agent.kill()
    wait_for(lambda: value(lb, "lb_consul_failing") == 2)
    assert value(lb, "lb_consul_errors_total") >= 2
    wait_for(lambda: value(lb, "lb_upstream_consul_errors_total", upstream="u") >= 2)
    wait_for(lambda: value(lb, "lb_consul_next_try_timestamp_seconds") > 0)
