"""The status port: its pages byte for byte, its server against rude clients, both in the real lb with real Consul."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lb import __version__
from lb.model import Address, Server, Upstream, Upsync
from lb.process.loop import Loop
from lb.status import server as status_server
from lb.status.pages import Answer, UpstreamView, View, WorkerView, respond
from lb.status.server import StatusServer
from lb.upsync.report import Report
from tests.harness.backend import Reply
from tests.harness.client import Client
from tests.harness.consul import KeySpace
from tests.harness.wait import wait_for
from tests.master_tools import pids, wait_replaced, workers
from tests.test_master_parts import Lines


def server(port: int, **options: object) -> Server:
    return Server(f"10.0.0.1:{port}", Address(socket.AF_INET, "10.0.0.1", port), **options)  # type: ignore[arg-type]


STATIC = Upstream("http", "Static", (server(1, weight=2), server(2, down=True), server(3, backup=True)))
IMPLICIT = Upstream("http", "10.0.0.1:80", (server(80),), implicit=True)
UPSYNC = Upstream(
    "http", "test", (server(9),), upsync=Upsync("127.0.0.1", 8500, "/v1/kv/test", "consul", dump_path="/d")
)
W0, W1 = WorkerView(0, 100, 1, "ready", 5.0), WorkerView(1, 101, 1, "starting", 5.0)
BY_CONSUL = Report(2, "consul", 42, 1_000_000_000.5, (server(7, max_fails=2), server(8, weight=5)))
BY_FILE = Report(2, "file", 0, 1_000_000_000.0, (server(9),), error="Consul 127.0.0.1:8500: refused")


def view(
    *, known: Report | None = BY_CONSUL, workers: tuple[WorkerView, ...] = (W0, W1), stopping: bool = False
) -> View:
    applied = ((W0, BY_CONSUL), (W1, BY_FILE)) if known else ()
    totals = {"clients": 5, "accepts": 11, "handled": 10, "requests": 100, "reading": 1, "writing": 2, "waiting": 2}
    return View(
        generation=1,
        size=2,
        stopping=stopping,
        workers=workers,
        upstreams=(
            UpstreamView(0, STATIC, None, ()),
            UpstreamView(1, IMPLICIT, None, ()),
            UpstreamView(2, UPSYNC, known, applied),
        ),
        totals=totals,
        last_reload=None,
        dump_errors={},
    )


def get(target: str, accept: str = "", **options: object) -> Answer:
    return respond("GET", target, accept, lambda: view(**options))  # type: ignore[arg-type]


TEST_BLOCK = b"""\
Upstream name: test; Backend server count: 2
        server 10.0.0.1:7 weight=1 max_fails=2 fail_timeout=10s;
        server 10.0.0.1:8 weight=5 max_fails=1 fail_timeout=10s;
        # worker 0 pid 100: Consul index 42 applied at 2001-09-09T01:46:40.500Z
        # worker 1 pid 101: no Consul index applied, servers from the file since 2001-09-09T01:46:40.000Z, \
error: Consul 127.0.0.1:8500: refused
"""


def test_upstream_show() -> None:
    """The module's text, with a line for each worker behind the servers of a followed upstream."""
    assert get("/upstream_show").body == (
        b"Upstream name: Static; Backend server count: 2\n"
        b"        server 10.0.0.1:1 weight=2 max_fails=1 fail_timeout=10s;\n"
        b"        server 10.0.0.1:2 weight=1 max_fails=1 fail_timeout=10s down;\n"
        b"\n"
        b"Upstream name: 10.0.0.1; Backend server count: 1\n"
        b"        server 10.0.0.1:80 weight=0 max_fails=0 fail_timeout=0s;\n"
        b"\n" + TEST_BLOCK + b"\n"
    )


@pytest.mark.parametrize("query", ["test", "TEST"])
def test_upstream_show_of_one(query: str) -> None:
    assert get(f"/upstream_show?{query}").body == TEST_BLOCK


@pytest.mark.parametrize("query", ["none", "test&x=1", "tes", "%74est"])
def test_upstream_show_of_none(query: str) -> None:
    answer = get(f"/upstream_show?{query}")
    assert (answer.status, answer.body) == (
        200,
        b"The upstream you requested does not exist. Please double-check the name",
    )


def test_upstream_show_before_any_worker_has_spoken() -> None:
    assert b"server 10.0.0.1:9 weight=1" in get("/upstream_show?test", known=None).body


@pytest.mark.parametrize(
    ("target", "accept"),
    [
        ("/upstream_show.json?test", ""),
        ("/upstream_show?test", "application/json"),
        ("/upstream_show?TEST", "text/html, Application/JSON;q=0.9"),
    ],
)
def test_json(target: str, accept: str) -> None:
    answer = get(target, accept)
    assert (answer.status, answer.content_type) == (200, "application/json")
    (one,) = json.loads(answer.body)["upstreams"]
    assert (one["name"], one["source"], len(one["servers"])) == ("test", "consul", 2)
    assert one["servers"][1]["weight"] == 5
    assert [(row["slot"], row["index"], row["source"]) for row in one["consul"]["workers"]] == [
        (0, 42, "consul"),
        (1, 0, "file"),
    ]
    assert one["consul"]["workers"][0]["applied"] == "2001-09-09T01:46:40.500Z"


@pytest.mark.parametrize(
    ("target", "accept", "kind"),
    [
        ("/upstream_show?test", "application/json;q=0", "text/plain"),
        ("/upstream_show?test", "application/json;q=0.5, text/plain", "text/plain"),
        ("/upstream_show?test", "text/plain;q=0.5, application/json", "application/json"),
        ("/upstream_show?test", "text/html, */*", "text/plain"),
        ("/", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("/", "text/html, text/plain", "text/html; charset=utf-8"),
        ("/", "text/plain;q=0, */*", "text/html; charset=utf-8"),
        ("/", "text/html;q=0.1, text/plain", "text/plain"),
    ],
)
def test_weights_of_accept(target: str, accept: str, kind: str) -> None:
    assert get(target, accept).content_type == kind


def test_json_of_all_and_of_none() -> None:
    both = json.loads(get("/upstream_show.json").body)["upstreams"]
    assert [(one["name"], one["consul"] is None) for one in both] == [
        ("Static", True),
        ("10.0.0.1:80", True),
        ("test", False),
    ]
    assert [row["backup"] for row in both[0]["servers"]] == [False, False, True]
    assert get("/upstream_show.json?none").status == 404


def test_status_json_of_a_view() -> None:
    told = json.loads(b"".join(get("/status.json").body))
    assert told["connections"] == {
        "active": 5, "reading": 1, "writing": 2, "waiting": 2, "accepted": 11, "handled": 10, "requests": 100
    }  # fmt: skip
    assert [(one["pid"], one["state"]) for one in told["workers"]] == [(100, "ready"), (101, "starting")]
    static, _, test = told["upstreams"]
    assert [(one["address"], one["state"], one["weight"], one["backup"]) for one in static["servers"]] == [
        ("10.0.0.1:1", "up", 2, False),
        ("10.0.0.1:2", "down", 1, False),
        ("10.0.0.1:3", "up", 1, True),
    ]
    assert static["sync"] is None
    assert (test["source"], test["sync"]["index"], test["sync"]["in_sync"]) == ("consul", 42, False)
    assert [(one["pid"], one["index"], one["last_error"]) for one in test["sync"]["workers"]] == [
        (100, 42, ""),
        (101, 0, "Consul 127.0.0.1:8500: refused"),
    ]
    assert told["reload"] == {"count": 0, "failed": 0, "last": None, "result": "none", "message": ""}


def test_stub_status_has_nginxs_bytes() -> None:
    assert get("/stub_status").body == (
        b"Active connections: 5 \nserver accepts handled requests\n 11 10 100 \nReading: 1 Writing: 2 Waiting: 2 \n"
    )


def test_healthz() -> None:
    answer = get("/healthz")
    assert (answer.status, answer.body) == (200, b"ok, 1 of 2 workers ready\n")
    assert get("/healthz", workers=(W1,)).status == 503
    assert get("/healthz", stopping=True).status == 503


def test_index_names_every_page() -> None:
    body = get("/", "text/plain").body.decode()
    assert re.findall(r"^(/\S*?)(?:\[|\s)", body, re.MULTILINE) == [
        "/upstream_show",
        "/upstream_show.json",
        "/status.json",
        "/metrics",
        "/stub_status",
        "/healthz",
        "/",
    ]


def test_only_reading() -> None:
    def never() -> View:
        raise AssertionError("a view was made")

    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = respond(method, "/upstream_show", "", never)
        assert (answer.status, answer.headers) == (405, (("Allow", "GET, HEAD"),))
    assert respond("GET", "/nope", "", never).status == 404


# The server


class Served:
    """A StatusServer in a thread of its own."""

    def __init__(self, make_view: Callable[[], View] = view) -> None:
        self.log = Lines()
        self.loop = Loop()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.server = StatusServer(self.loop, make_view, make_view, self.log)
        self.server.listen([self.listener])
        self.ending = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.ending:
            for callback, events in self.loop.turn(0.01):
                callback(events)
            self.server.step(time.monotonic())

    def end(self) -> None:
        self.ending = True
        self.thread.join()
        self.server.close()
        self.loop.close()
        self.listener.close()

    @property
    def connections(self) -> int:
        return len(self.server._connections)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.end()
    assert not made.log.lines


def test_headers_and_keep_alive(served: Served) -> None:
    with Client(served.port) as client:
        for _ in range(3):
            response = client.request(target="/healthz")
            assert (response.status, response.reason, response.header("server")) == (200, "OK", f"lb/{__version__}")
            assert response.header("content-type") == "text/plain"
            assert response.header("cache-control") == "no-store"
            assert response.header("x-content-type-options") == "nosniff"
        head = client.request("HEAD", "/healthz")
        assert (head.body, head.header("content-length")) == (b"", "25")
        assert client.request("POST", "/healthz", body=b"x" * 1000).status == 405
        assert client.request(target="/nope", headers="Connection: close\r\n").status == 404
        client.expect_closed()


def test_pipelined_and_byte_by_byte(served: Served) -> None:
    with Client(served.port) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        assert [client.response().status for _ in range(20)] == [200] * 20
        client.send_each_byte(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.response().status == 200


def test_http_10(served: Served) -> None:
    with Client(served.port) as client:
        answer = client.send(b"GET /healthz HTTP/1.0\r\n\r\n").recv_to_end()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nok, 1 of 2 workers ready\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100 + b"\r\n\r\n", 400),  # TLS
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000, 431),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 100_000, 413),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_bad_requests_end_their_connection_only(served: Served, data: bytes, status: int) -> None:
    with Client(served.port) as good, Client(served.port) as bad:
        assert good.request(target="/healthz").status == 200
        bad.send(data)
        answer = bad.response()
        assert (answer.status, answer.header("x-content-type-options")) == (status, "nosniff")
        assert good.request(target="/healthz").status == 200
    wait_for(lambda: served.connections == 0)


def test_clients_that_go(served: Served) -> None:
    for data in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123"):
        client = Client(served.port).send(data)
        client.reset()
        answer = Client(served.port).send(data).half_close().recv_to_end()
        assert answer[:12] == (b"HTTP/1.1 400" if data else b"")
    wait_for(lambda: served.connections == 0)


def test_slow_reader_is_bounded_and_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no further answer before it has taken the one before, and is closed when it takes too long."""
    monkeypatch.setattr(status_server, "WRITE_S", 0.3)
    count = [0]

    def big() -> View:
        count[0] += 1
        many = Upstream("http", "many", tuple(server(port) for port in range(1, 60_000)))
        return View(1, 1, False, (W0,), (UpstreamView(0, many, None, ()),), {}, None, {})

    served = Served(big)
    try:
        with Client(served.port) as client:
            client.send(b"GET /upstream_show HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            wait_for(lambda: count[0] >= 1)
            wait_for(lambda: served.connections == 0)
            assert count[0] <= 4  # of 50: what the kernel's buffers hold (an answer has 4 MB) counts as taken
    finally:
        served.end()


def test_silent_clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "REQUEST_S", 0.2)
    monkeypatch.setattr(status_server, "IDLE_S", 0.2)
    served = Served()
    try:
        silent, half, idle = (Client(served.port) for _ in range(3))
        half.send(b"GET / HT")
        assert idle.request(target="/healthz").status == 200
        for client in (silent, half, idle):
            client.expect_closed()
            client.close()
    finally:
        served.end()


def test_slow_head_is_not_extended_by_each_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "REQUEST_S", 0.3)
    served = Served()
    try:
        with Client(served.port) as client:

            def drip() -> bool:
                try:
                    client.send(b"X")
                except OSError:
                    return True
                return False

            wait_for(drip)  # a limit that each byte renews would never end it
    finally:
        served.end()


def test_idle_clients_make_room_for_new_ones(served: Served) -> None:
    clients = []
    for _ in range(status_server.MAX_CONNECTIONS + 10):
        clients.append(Client(served.port))
        assert clients[-1].request(target="/healthz").status == 200
    assert served.connections < status_server.MAX_CONNECTIONS
    for client in clients[:11]:  # the ones that had been idle longest
        client.expect_closed()
    for client in clients[11:]:
        assert client.request(target="/healthz").status == 200
    for client in clients:
        client.close()


HALF = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1"


@pytest.mark.parametrize("said", [b"", b"G", b"GET / HT", HALF])
def test_who_never_finishes_a_request_keeps_nobody_out(served: Served, said: bytes) -> None:
    """No more connections are closed than must be: the answer came at once, and not when their time was over."""
    count = 70
    silent = [Client(served.port).send(said) for _ in range(count)]
    with Client(served.port) as client:
        assert client.request(target="/healthz").status == 200
        assert served.connections == status_server.MAX_CONNECTIONS - 1
        gone = count + 1 - served.connections
        for one in silent[:gone]:  # the oldest
            one.expect_closed()
        for one in silent[gone:]:
            one.send(b"\r\n\r\n" * 2 + b"GET / HTTP/9.9\r\n\r\n")
            assert one.recv_exactly(9) == b"HTTP/1.1 "
    for one in silent:
        one.close()


def test_who_does_not_take_an_answer_keeps_nobody_out() -> None:
    many = Upstream("http", "many", tuple(server(port) for port in range(1, 60_000)))
    served = Served(lambda: View(1, 1, False, (W0,), (UpstreamView(0, many, None, ()),), {}, None, {}))
    try:
        count = status_server.MAX_CONNECTIONS
        asked = b"GET /upstream_show HTTP/1.1\r\nHost: localhost\r\n\r\n" * 9
        deaf = [Client(served.port).send(asked) for _ in range(count)]
        with Client(served.port) as client:
            assert client.request(target="/healthz").status == 200
            assert served.connections > count // 2  # their time was not over
        for one in deaf:
            one.close()
    finally:
        served.end()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("[::ffff:10.0.0.1]", 200),
        ("localhost", 200),
        ("LocalHost.:80", 200),
        ("", 200),
        ("lb1.internal:8081", 200),
        ("LB1.internal.", 200),
        ("example.com", 200),
        ("a.b.example.com:1", 200),
        ("evil.test", 421),
        ("evil.test:8081", 421),
        ("badexample.com", 421),
        ("lb1.internal.evil.test", 421),
        ("x.lb1.internal", 421),
        ("127.0.0.1.evil.test", 421),
        ("localhost.evil.test", 421),
        ("[evil.test]", 421),
        ("[::1", 200),
        ("127.0.0.1@evil.test", 421),
    ],
)
def test_only_names_of_ours_are_answered(host: str, status: int) -> None:
    """A page that has its own name resolve to this port (DNS rebinding) reads nothing."""
    served = Served()
    served.server.listen([served.listener], ("lb1.internal", ".example.com"))
    try:
        with Client(served.port) as client:
            for target in ("/healthz", "/status.json", "/", "/nope"):
                answer = client.request(target=target, headers=f"Host: {host}\r\n")
                assert answer.status == (404 if status == 200 and target == "/nope" else status)
                assert answer.header("x-content-type-options") == "nosniff"
                assert status == 200 or b"DNS rebinding" in answer.body
    finally:
        served.end()


def test_page_that_fails_is_a_500() -> None:
    def broken() -> View:
        raise RuntimeError("a bug")

    served = Served(broken)
    with Client(served.port) as client:
        assert client.request(target="/healthz").status == 500
        assert client.request(target="/nope").status == 404
    served.end()
    assert served.log.lines[0].startswith("[alert] a page of the status port failed")


# In lb

LB = """
worker_processes 2;
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    upstream test {
        server 127.0.0.1:11111;
        upsync @path@ upsync_timeout=6m upsync_interval=100ms upsync_type=consul strong_dependency=off;
        upsync_dump_path @dump@;
    }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://test; } location = /r { return 200 r; } }
}
"""
VALUE = '{"weight":1, "max_fails":2, "fail_timeout":10}'


def show(port: int) -> str:
    with Client(port) as client:
        return client.request(target="/upstream_show?test").body.decode()


def applied(port: int) -> dict[int, int]:
    """Worker pid -> the Consul index that it says it has applied."""
    found = re.findall(
        r"^        # worker \d pid (\d+): Consul index (\d+) applied at \S+Z(?:, error: .*)?$", show(port), re.MULTILINE
    )
    return {int(pid): int(index) for pid, index in found}


@pytest.mark.consul
def test_every_worker_says_which_index_it_has_applied(run_lb, consul: KeySpace, tmp_path: Path) -> None:
    dump = tmp_path / "servers_test.conf"
    for port in (8001, 8002, 8003):
        consul.put("test", f"192.168.56.12:{port}", VALUE)
    lb = run_lb(LB, path=consul.path("test"), dump=dump)
    status = lb.port("status")
    wait_for(lambda: applied(status).keys() == pids(lb), lambda: show(status))
    first = applied(status)
    lines = "".join(
        f"server 192.168.56.12:{port} weight=1 max_fails=2 fail_timeout=10s;\n" for port in (8003, 8002, 8001)
    )
    assert wait_for(lambda: dump.exists() and dump.read_text()) == lines
    assert show(status).startswith(
        "Upstream name: test; Backend server count: 3\n" + re.sub("^", " " * 8, lines.rstrip(), flags=re.MULTILINE)
    )
    consul.delete("test", "192.168.56.12:8002")
    wait_for(lambda: all(index > max(first.values()) for index in applied(status).values()), lambda: show(status))
    assert wait_for(lambda: dump.read_text() if "8002" not in dump.read_text() else None).count("server ") == 2
    lb.wait_log("number of servers is 2")
    assert lb.log.count("upsync_dump_server: dump conf file") == 2  # once per change, not once per worker


@pytest.mark.consul
def test_new_workers_begin_with_the_known_list(run_lb, consul_agent, tmp_path: Path) -> None:
    """Consul is dead and there is no dump: a replaced worker and a reload still have the list."""
    space = KeySpace(consul_agent, "known")
    space.put("test", "127.0.0.1:4444", VALUE)
    dump = tmp_path / "d"
    lb = run_lb(LB, path=space.path("test"), dump=dump)
    status = lb.port("status")
    wait_for(lambda: applied(status).keys() == pids(lb))
    (index,) = set(applied(status).values())
    wait_for(dump.exists)
    consul_agent.kill()
    dump.unlink()
    lb.wait_log("is lost")
    victim = workers(lb)[0].pid
    lb.expect_log("exited on signal 9")
    workers(lb)[0].kill()
    wait_for(lambda: applied(status).keys() == pids(lb) and len(pids(lb)) == 2 and victim not in pids(lb))
    assert set(applied(status).values()) == {index}
    old = pids(lb)
    lb.signal(signal.SIGHUP)
    wait_replaced(lb, old, 2)
    wait_for(lambda: applied(status).keys() == pids(lb))
    assert set(applied(status).values()) == {index}
    assert "server 127.0.0.1:4444 weight=1 max_fails=2 fail_timeout=10s;" in show(status)


def test_counters_survive_a_killed_worker_and_a_reload(run_lb) -> None:
    lb = run_lb(
        "worker_processes 2;\nstatus_listen 127.0.0.1:@status@;\n"
        "http { access_log off; server { listen 127.0.0.1:@http@; return 200 r; } }"
    )

    def stub() -> list[int]:
        with lb.client("status") as client:
            return [int(text) for text in re.findall(r"\d+", client.request(target="/stub_status").body.decode())]

    def ask(count: int) -> None:
        for _ in range(count):
            with lb.client() as client:
                assert client.request().status == 200

    ask(6)
    wait_for(lambda: stub() == [0, 6, 6, 6, 0, 0, 0], lambda: f"{stub()}")
    with lb.client() as client:
        assert client.request().status == 200
        wait_for(lambda: stub() == [1, 7, 7, 7, 0, 0, 1], lambda: f"{stub()}")
    lb.expect_log("exited on signal 9")
    old = pids(lb)
    for worker in workers(lb):
        worker.kill()
    wait_replaced(lb, old, 2)
    lb.wait_ready()
    wait_for(lambda: stub() == [0, 7, 7, 7, 0, 0, 0], lambda: f"{stub()}")
    lb.reload()
    ask(3)
    wait_for(lambda: stub() == [0, 10, 10, 10, 0, 0, 0], lambda: f"{stub()}")


def test_healthz_while_stopping(run_lb, http_backend, connect) -> None:
    """A balancer in front sees 503 while the last requests are finished."""
    release = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"late", wait=release))
    lb = run_lb(
        "status_listen 127.0.0.1:@status@;\nhttp { access_log off; "
        "server { listen 127.0.0.1:@http@; location / { proxy_pass http://127.0.0.1:@back@; } } }",
        back=backend.port,
    )
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    with lb.client("status") as status:
        assert status.request(target="/healthz").status == 200
        lb.signal(signal.SIGQUIT)
        wait_for(lambda: status.request(target="/healthz").status == 503)
    release.set()
    assert client.response().body == b"late"


def test_names_of_the_configuration(run_lb) -> None:
    lb = run_lb(
        "status_listen localhost:@status@ host=one.test host=.two.test;\n"
        "http { access_log off; server { listen 127.0.0.1:@http@; return 200 r; } }"
    )

    def ask(host: str) -> int:
        with lb.client("status") as client:
            return client.request(target="/healthz", headers=f"Host: {host}\r\n").status

    names = ("127.0.0.1", "localhost", "one.test", "two.test", "a.two.test", "a.one.test", "three.test")
    assert [ask(name) for name in names] == [200, 200, 200, 200, 200, 421, 421]
    lb.reload(
        "status_listen localhost:@status@ host=three.test;\n"
        "http { access_log off; server { listen 127.0.0.1:@http@; return 200 r; } }"
    )
    assert [ask(name) for name in names] == [200, 200, 421, 421, 421, 421, 200]
