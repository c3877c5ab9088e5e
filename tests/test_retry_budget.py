"""proxy_next_upstream_budget, and what one request asks of one server, through the real lb."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

from tests.harness import backend as raw
from tests.harness.backend import RawConnection, Reply
from tests.harness.wait import wait_for
from tests.test_counters import servers, totals
from tests.test_pool_unasked import Dies, ok
from tests.test_traffic_upsync import PLAIN

HTTP = """
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    @http_level@
    upstream u { server @a@ max_fails=0; server @b@ max_fails=0; @more@ }
    server {
        listen 127.0.0.1:@http@;
        add_header X-Addr $upstream_addr always;
        location / { proxy_pass http://u; @inside@ }
        location /free/ { proxy_pass http://u; proxy_next_upstream_budget off; }
    }
}
"""
REFUSING = r'retries to upstream "u" are at their budget'


class Flips:
    """A script for raw_backend: resets after the head while `bad`. `asked`: heads that came."""

    def __init__(self) -> None:
        self.bad = True
        self.asked = 0

    def __call__(self, connection: RawConnection) -> None:
        connection.recv_head()
        self.asked += 1
        if self.bad:
            connection.reset()
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture
def failing(run_lb, raw_backend):
    """failing(inside, http_level="") -> (lb, its two servers): both fail each try."""

    def start(inside: str, http_level: str = "") -> tuple[Any, list[Flips]]:
        scripts = [Flips(), Flips()]
        a, b = (raw_backend(one).address for one in scripts)
        lb = run_lb(HTTP, a=a, b=b, inside=inside, http_level=http_level, more="")
        lb.expect_log("upstream")
        return lb, scripts

    return start


def ask(lb: Any, count: int, path: str = "/", status: int = 502) -> None:
    with lb.client() as client:
        for _ in range(count):
            assert client.request(target=path).status == status


@pytest.mark.parametrize("place", ["location", "http"])
def test_a_share_of_the_requests_are_retries(failing, place):
    line = "proxy_next_upstream_budget 20% min=0;"
    lb, scripts = failing(line, "") if place == "location" else failing("", line)
    ask(lb, 60)
    retries = sum(one.asked for one in scripts) - 60
    assert 0 < retries <= 12
    found = wait_for(lambda: totals(lb) if totals(lb)["retries"] == retries else None, lambda: f"{totals(lb)}")
    assert found["retries_refused"] == 60 - retries
    lb.wait_log(rf"\[warn\].*{REFUSING}")
    assert lb.log.count("are at their budget") == 1
    with lb.client("status") as client:
        metrics = client.request(target="/metrics").body.decode()
    assert f'lb_upstream_retries_refused_total{{kind="http",upstream="u"}} {60 - retries}' in metrics
    ask(lb, 10, "/free/")
    assert sum(one.asked for one in scripts) == 60 + retries + 20


def test_so_many_in_a_second_are_always_let_pass(failing):
    lb, scripts = failing("proxy_next_upstream_budget 0% min=1000;")
    ask(lb, 30)
    assert sum(one.asked for one in scripts) == 60
    assert "budget" not in lb.log


def test_without_a_budget_each_failure_is_tried_elsewhere(failing):
    lb, scripts = failing("")
    ask(lb, 30)
    assert (sum(one.asked for one in scripts), totals(lb)["retries_refused"]) == (60, 0)


def test_it_is_said_when_refusing_has_ended(failing):
    lb, scripts = failing("proxy_next_upstream_budget 0% min=0;")
    ask(lb, 5)
    lb.wait_log(REFUSING)
    for one in scripts:
        one.bad = False
    ask(lb, 5, status=200)
    assert "again" not in lb.log

    def over() -> bool:
        ask(lb, 1, status=200)
        return "within their budget again, refused were: 5" in lb.log

    wait_for(over, "the end of refusing", timeout=60)
    for one in scripts:
        one.bad = True
    ask(lb, 5)
    wait_for(lambda: lb.log.count("are at their budget") == 2, "the second warning")


def test_what_a_server_answered_is_passed_on(run_lb, http_backend):
    bad = http_backend(lambda _: Reply(503, body=b"its own words"))
    good = http_backend(lambda _: Reply(body=b"good"))
    inside = "proxy_next_upstream http_503; proxy_next_upstream_budget 0% min=0;"
    lb = run_lb(HTTP, a=bad.address, b=good.address, inside=inside, http_level="", more="")
    lb.expect_log("budget")
    with lb.client() as client:
        answers = [client.request() for _ in range(4)]
    assert {(one.status, one.body) for one in answers} == {(503, b"its own words"), (200, b"good")}
    assert {one.header("x-addr") for one in answers} == {bad.address, good.address}


def test_a_time_out_stays_504(run_lb, raw_backend):
    silent = [raw_backend(raw.never_answer).address for _ in range(2)]
    inside = "proxy_read_timeout 100ms; proxy_next_upstream_budget 0% min=0;"
    lb = run_lb(HTTP, a=silent[0], b=silent[1], inside=inside, http_level="", more="")
    lb.expect_log("upstream")
    with lb.client() as client:
        assert client.request().status == 504


def test_a_pooled_connection_that_has_ended_costs_nothing(world, run_lb, http_backend):
    bad = Dies()
    world.listeners.append(bad)
    good = http_backend(lambda _: Reply(body=b"good"))
    lb = run_lb(
        HTTP,
        a=bad.address,
        b=good.address,
        inside="proxy_next_upstream_budget 0% min=0;",
        http_level="",
        more="keepalive 8;",
    )
    with lb.client() as client:
        for _ in range(4):
            assert client.request().status == 200
        bad.broken = True
        tried = [client.request() for _ in range(2)]
    assert [one.body for one in tried] == [b"good"] * 2
    assert any(", " in one.header("x-addr") for one in tried)
    assert totals(lb)["retries_refused"] == 0


STREAM = """
stream {
    @level@
    upstream u { server @bad@ max_fails=0; server @good@ max_fails=0; }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; @inside@ }
}
"""


@pytest.mark.parametrize(("budget", "served"), [("0% min=0", 4), ("0% min=100", 8), ("off", 8), ("100% min=0", 8)])
def test_sessions_of_stream(world, run_lb, raw_backend, connect, budget, served):
    good = raw_backend(raw.echo)
    bad = f"127.0.0.1:{world.closed_port()}"
    lb = run_lb(STREAM, bad=bad, good=good.address, level="", inside=f"proxy_next_upstream_budget {budget};")
    lb.expect_log("upstream|connect")
    echoed = 0
    for _ in range(8):
        with connect(lb.port("tcp")) as client, contextlib.suppress(OSError, AssertionError):  # closed
            echoed += client.send(b"x").recv_exactly(1) == b"x"
    assert echoed == served


# ---- once

UPSYNC = """
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    @upstreams@
    server { listen 127.0.0.1:@http@; location = /show { upstream_show; } @places@ }
}
"""
METHODS = (
    "",
    "least_conn;",
    "least_time header;",
    "ip_hash;",
    "hash $uri;",
    "hash $uri consistent;",
    "random;",
    "random two;",
)


class Holds:
    """Answers; but /hold/N is kept until `released`, and then gets no answer. `asked`: those."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def __call__(self, connection: RawConnection) -> None:
        path = connection.recv_head().split(b" ")[1].decode()
        if "/hold" in path:
            self.asked.append(path)
            self.released.wait(60)
            return
        connection.send(ok(b"fine").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))


def test_who_leaves_the_list_and_comes_back_is_not_asked_again(world, consul, run_lb, raw_backend):
    """In every method: its server leaves Consul's list, comes back, and fails; the other one has failed before."""
    script = Holds()
    back = raw_backend(script)
    closed = f"127.0.0.1:{world.closed_port()}"
    for one in (back.address, closed):
        consul.put("u", one, **(PLAIN | {"max_fails": 1, "fail_timeout": 600}))
    upstreams = places = ""
    for i, method in enumerate(METHODS):
        dump = world.directory / f"{i}.conf"
        upstreams += (
            f"upstream u{i} {{ {method} server 127.0.0.1:11111; upsync {consul.path('u')} upsync_type=consul "
            f"strong_dependency=on; upsync_dump_path {dump}; }}\n"
        )
        places += f"location /{i}/ {{ proxy_pass http://u{i}; }}\n"
    lb = run_lb(UPSYNC, upstreams=upstreams, places=places)
    lb.expect_log("connect|upstream")
    clients = [world.connect(lb.port("http")) for _ in METHODS]

    def listed(count: int) -> bool:
        with lb.client() as client:
            return client.request(target="/show").body.count(back.address.encode()) == count

    for i, client in enumerate(clients):
        for path in range(16):  # the closed one is tried and marked somewhere here
            assert client.request(target=f"/{i}/{path}").status == 200
        client.send(f"GET /{i}/hold HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    wait_for(lambda: len(script.asked) == len(METHODS), "all to be held")
    consul.delete("u", back.address)
    wait_for(lambda: listed(0), "it to leave")
    consul.put("u", back.address, **PLAIN)
    wait_for(lambda: listed(len(METHODS)), "it to come back")
    script.released.set()
    assert [client.response("GET").status for client in clients] == [502] * len(METHODS)
    assert sorted(script.asked) == [f"/{i}/hold" for i in range(len(METHODS))]


STREAM_UPSYNC = """
status_listen 127.0.0.1:@status@;
stream {
    upstream u {
        server 127.0.0.1:11111;
        upsync @path@ upsync_type=consul strong_dependency=on;
        upsync_dump_path @dump@;
    }
    server { listen 127.0.0.1:@tcp@; proxy_ssl on; proxy_pass u; }
}
"""


class Mute:
    """Takes what a handshake of TLS begins with, and closes, at once or when `released`. `asked`: how often."""

    def __init__(self) -> None:
        self.asked = 0
        self.holds = False
        self.released = threading.Event()

    def __call__(self, connection: RawConnection) -> None:
        connection.recv()
        self.asked += 1
        if self.holds:
            self.released.wait(60)


def test_nor_by_a_session_of_stream(world, consul, run_lb, raw_backend, connect):
    script = Mute()
    back = raw_backend(script)
    consul.put("u", back.address, **(PLAIN | {"max_fails": 0}))
    consul.put("u", f"127.0.0.1:{world.closed_port()}", **(PLAIN | {"max_fails": 1, "fail_timeout": 600}))
    lb = run_lb(STREAM_UPSYNC, path=consul.path("u"), dump=world.directory / "u.conf")
    lb.expect_log("connect|upstream|handshak")
    for _ in range(2):
        with connect(lb.port("tcp")) as client:
            client.expect_closed()
    lb.wait_log("temporarily disabled")
    script.holds, script.asked = True, 0
    with connect(lb.port("tcp")) as client:
        wait_for(lambda: script.asked, "the handshake")
        consul.delete("u", back.address)
        wait_for(lambda: servers(lb)[back.address]["state"] == "draining", "it to leave")
        consul.put("u", back.address, **(PLAIN | {"max_fails": 0}))
        wait_for(lambda: servers(lb)[back.address]["state"] == "up", "it to come back")
        script.released.set()
        client.expect_closed()
    assert script.asked == 1
