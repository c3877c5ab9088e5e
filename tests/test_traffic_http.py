"""HTTP through the real lb: framing both ways, connections kept and reused, methods and codes without a body."""

from __future__ import annotations

import threading

import pytest

from tests.harness import backend as raw
from tests.harness.backend import Reply
from tests.harness.lb import connections
from tests.harness.wait import wait_for

ONE = """
http {
    access_log off;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://u; @inside@ }
    }
}
"""


@pytest.fixture
def before(run_lb):
    """before(backend, inside="") -> Lb with one location before one backend."""

    def start(backend, inside=""):
        return run_lb(ONE, backend=backend.address, inside=inside)

    return start


def test_get_goes_through(before, http_backend, connect):
    backend = http_backend(lambda _: Reply(body=b"hello", headers=[("X-From", "backend"), ("ETag", '"1"')]))
    lb = before(backend)
    response = connect(lb.port("http")).request(target="/a/b?c=d%20e")
    assert (response.status, response.body, response.version) == (200, b"hello", "1.1")
    assert response.header("x-from") == "backend"
    assert response.header("etag") == '"1"'
    (request,) = backend.requests
    assert (request.method, request.target) == ("GET", "/a/b?c=d%20e")


def test_request_headers_reach_the_backend(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend)
    connect(lb.port("http")).request(headers="X-One: 1\r\nX-Two: a, b\r\nX-One: 2\r\nCookie: a=b; c=d\r\n")
    (request,) = backend.requests
    assert request.all("x-one") == ["1", "2"]
    assert request.header("x-two") == "a, b"
    assert request.header("cookie") == "a=b; c=d"
    assert request.header("host") == "u"  # $proxy_host, as nginx


def test_hop_by_hop_fields_end_at_lb(before, http_backend, connect):
    backend = http_backend(
        lambda _: Reply(body=b"x", headers=[("Keep-Alive", "timeout=5"), ("X-Hop", "1"), ("X-End", "2")])
    )
    lb = before(backend)
    headers = "Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 300\r\nTE: trailers\r\nProxy: evil\r\n"
    response = connect(lb.port("http")).request(headers=headers)
    (request,) = backend.requests
    names = {name for name, _ in request.headers}
    assert not names & {"x-private", "keep-alive", "te", "proxy", "upgrade"}
    assert response.header("keep-alive") is None
    assert response.header("x-end") == "2"


def test_client_connection_is_kept(before, http_backend, connect):
    backend = http_backend()
    client = connect(before(backend).port("http"))
    for number in range(20):
        assert client.request(target=f"/{number}").status == 200
    assert [request.target for request in backend.requests] == [f"/{number}" for number in range(20)]


def test_upstream_connection_is_reused_by_other_clients(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend)
    for _ in range(5):
        connect(lb.port("http")).request()
    assert backend.accepted == 1


def test_upstream_says_close(before, http_backend, connect):
    """A backend that closes is not reused, and its client does not notice."""
    backend = http_backend(lambda _: Reply(body=b"x", close=True))
    client = connect(before(backend).port("http"))
    for _ in range(3):
        response = client.request()
        assert response.body == b"x"
        assert response.header("connection") != "close"
    assert backend.accepted == 3


def test_client_says_close(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend)
    client = connect(lb.port("http"))
    assert client.request(headers="Connection: close\r\n").header("connection") == "close"
    client.expect_closed()
    assert connect(lb.port("http")).request().status == 200
    assert backend.accepted == 1  # only the client's side was closed


def test_http_1_0_client(before, http_backend, connect):
    lb = before(http_backend(lambda _: Reply(body=b"old")))
    client = connect(lb.port("http")).send(b"GET / HTTP/1.0\r\n\r\n")
    response = client.response()
    assert (response.status, response.body) == (200, b"old")
    client.expect_closed()


def test_http_1_0_client_keep_alive(before, http_backend, connect):
    client = connect(before(http_backend(lambda _: Reply(body=b"old"))).port("http"))
    for _ in range(3):
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        response = client.response()
        assert (response.body, response.header("connection")) == (b"old", "keep-alive")


def test_http_1_0_client_gets_no_chunks(before, http_backend, connect):
    """A chunked answer for an HTTP/1.0 client: the body bare, its end is the end of the connection."""
    lb = before(http_backend(lambda _: Reply(chunks=[b"one", b"two"])))
    client = connect(lb.port("http")).send(b"GET / HTTP/1.0\r\n\r\n")
    head = client.recv_until(b"\r\n\r\n").lower()
    assert b"transfer-encoding" not in head
    assert client.recv_to_end() == b"onetwo"


def test_pipelined_requests_are_answered_in_order(before, http_backend, connect):
    backend = http_backend(lambda request: Reply(body=request.target.encode()))
    client = connect(before(backend).port("http"))
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(20)))
    assert [client.response().body for _ in range(20)] == [b"/%d" % n for n in range(20)]


def test_pipelined_bodies_are_kept_apart(before, http_backend, connect):
    backend = http_backend(lambda request: Reply(body=request.body))
    client = connect(before(backend).port("http"))
    sized = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"
    chunked = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"
    plain = b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(sized + chunked + plain + sized)
    assert [client.response().body for _ in range(4)] == [b"abcde", b"xyz", b"", b"abcde"]


def test_a_request_byte_by_byte(before, http_backend, connect):
    backend = http_backend(lambda request: Reply(body=request.body))
    client = connect(before(backend).port("http"))
    for _ in range(2):
        client.send_each_byte(
            b"POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"
        )
        assert client.response().body == b"xyz"


def test_head_has_no_body_and_keeps_the_length(before, http_backend, connect):
    lb = before(http_backend(lambda _: Reply(body=b"x" * 1234)))
    client = connect(lb.port("http"))
    for _ in range(2):
        response = client.request("HEAD")
        assert (response.status, response.body, response.header("content-length")) == (200, b"", "1234")
    assert client.request("GET").body == b"x" * 1234


def test_head_of_a_chunked_answer(before, http_backend, connect):
    lb = before(http_backend(lambda _: Reply(chunks=[b"abc"])))
    client = connect(lb.port("http"))
    assert client.request("HEAD").body == b""
    assert client.request("GET").body == b"abc"


@pytest.mark.parametrize("status", [204, 304])
def test_codes_without_a_body(before, http_backend, connect, status):
    lb = before(http_backend(lambda _: Reply(status=status, headers=[("X-A", "b")])))
    client = connect(lb.port("http"))
    for _ in range(3):
        response = client.request()
        assert (response.status, response.body, response.header("x-a")) == (status, b"", "b")
        assert response.header("transfer-encoding") is None


def test_304_with_a_length_has_no_body(before, raw_backend, connect):
    backend = raw_backend(
        raw.answer(
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
    )
    client = connect(before(backend).port("http"))
    assert client.request().status == 304
    assert client.request().body == b"ok"
    assert backend.accepted == 1


def test_interim_responses_do_not_end_the_exchange(before, http_backend, connect):
    lb = before(http_backend(lambda _: Reply(body=b"final", informational=[103, 103])))
    client = connect(lb.port("http"))
    for _ in range(2):
        response = client.request()
        assert (response.status, response.body) == (200, b"final")


def test_chunked_answer(before, http_backend, connect):
    parts = [b"a", b"b" * 70_000, b"c" * 3]
    lb = before(http_backend(lambda _: Reply(chunks=parts)))
    client = connect(lb.port("http"))
    for _ in range(2):
        response = client.request()
        assert response.body == b"".join(parts)
        assert response.header("content-length") is None


def test_chunked_request(before, http_backend, connect):
    backend = http_backend(lambda request: Reply(body=str(len(request.body)).encode()))
    client = connect(before(backend).port("http"))
    for size in (0, 1, 1000, 300_000):
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, size, 7000):
            piece = b"z" * min(7000, size - start)
            client.send(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert client.response().body == str(size).encode()
    assert [request.body for request in backend.requests] == [b"z" * n for n in (0, 1, 1000, 300_000)]


@pytest.mark.parametrize("size", [0, 1, 100, 16_384, 65_536, 900_000])
def test_sized_bodies_both_ways(before, http_backend, connect, size):
    body = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
    backend = http_backend(lambda request: Reply(body=request.body))
    client = connect(before(backend).port("http"))
    for _ in range(2):
        assert client.request("PUT", "/x", body=body, headers=f"Content-Length: {size}\r\n").body == body
    assert backend.requests[0].body == body


def test_large_answer(before, http_backend, connect):
    body = bytes(range(256)) * (20 << 12)  # 20 MiB
    lb = before(http_backend(lambda _: Reply(body=body)))
    client = connect(lb.port("http"))
    assert client.request().body == body
    assert client.request().body == body


def test_slow_reader_holds_the_backend_back(before, raw_backend, connect):
    """Memory is bounded: a client that reads nothing stops the backend after some socket buffers."""
    sent = [0]

    def pour(connection: raw.RawConnection) -> None:
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 28))
        for _ in range(1 << 12):
            connection.send(b"x" * (1 << 16))
            sent[0] += 1 << 16

    backend = raw_backend(pour)
    lb = before(backend, "proxy_buffering off;")
    (worker,) = lb.workers
    rss = worker.memory_info().rss
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv_until(b"\r\n\r\n")
    progress: list[int] = []

    def stands_still() -> bool:
        progress.append(sent[0])
        return len(progress) > 20 and progress[-1] == progress[-20] > 0

    wait_for(stands_still, "the backend to be held back", 30)
    assert sent[0] < 1 << 26
    assert worker.memory_info().rss - rss < 8 << 20
    client.close()
    wait_for(lambda: backend.open == 0, "lb to drop the backend's connection")


def test_body_until_close(before, raw_backend, connect):
    """An answer without length ends with its connection; the client gets chunks, and keeps its own connection."""
    backend = raw_backend(raw.answer(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nunknown length"))
    client = connect(before(backend).port("http"))
    for _ in range(2):
        response = client.request()
        assert (response.body, response.header("x-a")) == (b"unknown length", "b")
    assert backend.accepted == 2


def test_http_1_0_backend(before, raw_backend, connect):
    backend = raw_backend(raw.answer(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"))
    client = connect(before(backend).port("http"))
    for _ in range(2):
        assert client.request().body == b"old"
    assert backend.accepted == 2  # not kept: it did not say keep-alive


def test_expect_100_continue(before, http_backend, connect):
    backend = http_backend(lambda request: Reply(body=request.body))
    client = connect(before(backend).port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.recv_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    assert client.send(b"body").response().body == b"body"


def test_many_clients_at_once(before, http_backend, connect):
    """Answers find their own clients, also when they become ready in another order."""
    release = [threading.Event() for _ in range(30)]
    backend = http_backend(lambda r: Reply(body=r.target.encode(), wait=release[int(r.target[1:])]))
    lb = before(backend)
    clients = [connect(lb.port("http")) for _ in range(30)]
    for number, client in enumerate(clients):
        client.send(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
    wait_for(lambda: len(backend.requests) == 30)
    for number in reversed(range(30)):
        release[number].set()
        assert clients[number].response().body == b"/%d" % number


def test_idle_upstream_connections_are_limited(run_lb, http_backend, connect):
    """`keepalive 2`: of ten connections that ran at once, two stay."""
    release = threading.Event()
    backend = http_backend(lambda _: Reply(wait=release))
    lb = run_lb(ONE.replace("@backend@;", "@backend@; keepalive 2;"), backend=backend.address, inside="")
    clients = [connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(10)]
    wait_for(lambda: len(backend.requests) == 10)
    release.set()
    assert [client.response().status for client in clients] == [200] * 10
    wait_for(lambda: backend.open == 2, lambda: f"{backend.open} connections to become 2")


def test_keepalive_requests_of_the_client(run_lb, http_backend, connect):
    lb = run_lb(ONE, backend=http_backend().address, inside="keepalive_requests 3;")
    client = connect(lb.port("http"))
    assert [client.request().header("connection") for _ in range(3)] == ["keep-alive", "keep-alive", "close"]
    client.expect_closed()


def test_keepalive_timeout_of_the_client(run_lb, http_backend, connect):
    lb = run_lb(ONE, backend=http_backend().address, inside="keepalive_timeout 1s;")
    client = connect(lb.port("http"))
    client.request()
    client.expect_closed()


def test_keepalive_timeout_0_closes(run_lb, http_backend, connect):
    lb = run_lb(ONE, backend=http_backend().address, inside="keepalive_timeout 0;")
    client = connect(lb.port("http"))
    assert client.request().header("connection") == "close"
    client.expect_closed()


def test_proxy_set_header_and_variables(run_lb, http_backend, connect):
    backend = http_backend()
    inside = """
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Uri "$request_method $request_uri";
        proxy_set_header X-Gone "";
    """
    lb = run_lb(ONE, backend=backend.address, inside=inside)
    client = connect(lb.port("http"))
    client.request(target="/p?q=1", headers="Host: example.org\r\nX-Gone: 1\r\nX-Forwarded-For: 10.0.0.1\r\n")
    (request,) = backend.requests
    assert request.header("host") == "example.org"
    assert request.header("x-real-ip") == "127.0.0.1"
    assert request.header("x-forwarded-for") == "10.0.0.1, 127.0.0.1"
    assert request.header("x-uri") == "GET /p?q=1"
    assert request.header("x-gone") is None


def test_proxy_http_version_1_0(run_lb, http_backend, connect):
    backend = http_backend()
    client = connect(run_lb(ONE, backend=backend.address, inside="proxy_http_version 1.0;").port("http"))
    for _ in range(2):
        assert client.request().status == 200
    assert [(r.version, r.header("connection")) for r in backend.requests] == [("1.0", "close")] * 2
    assert backend.accepted == 2


def test_idle_connection_closed_by_the_backend_is_not_used(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend)
    client = connect(lb.port("http"))
    client.request()
    (worker,) = lb.workers
    port = backend.port
    backend.stop()
    wait_for(lambda: not [c for c in connections(worker) if f"port={port}" in c], "lb to close its idle connection")
    http_backend(lambda _: Reply(body=b"again"), port=port)
    assert client.request().body == b"again"
