"""HTTP when something is wrong: refused requests, broken and slow backends, the next server; codes as nginx's."""

from __future__ import annotations

import pytest

from tests.harness import backend as raw
from tests.harness.backend import Reply
from tests.harness.wait import wait_for

ONE = """
http {
    access_log off;
    upstream u { @servers@ }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://u; @inside@ }
        location = /text { return 200 "hello $request_uri"; }
        location = /moved { return 301 http://example.org/new; }
    }
}
"""


@pytest.fixture
def before(run_lb):
    """before(*servers, inside="") -> Lb; a server is a backend, or the text of a `server` line."""

    def start(*servers, inside="", options=""):
        lines = [s if isinstance(s, str) else s.address for s in servers]
        return run_lb(ONE, servers=options + " ".join(f"server {line};" for line in lines), inside=inside)

    return start


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# --- what the client does wrong ---


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
    ],
)
def test_bad_request_is_refused_and_closed(before, http_backend, connect, request_bytes):
    backend = http_backend()
    client = connect(before(backend).port("http")).send(request_bytes)
    response = client.response()
    assert (response.status, response.header("connection")) == (400, "close")
    client.expect_closed()
    assert backend.accepted == 0


def test_bad_chunk_ends_the_exchange(before, http_backend, connect):
    backend = http_backend()
    client = connect(before(backend).port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert client.response().status == 400
    client.expect_closed()
    assert backend.requests == []


def test_long_target_is_414(before, http_backend, connect):
    backend = http_backend()
    client = connect(before(backend).port("http"))
    client.send(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response().status == 414
    assert backend.accepted == 0


def test_body_larger_than_allowed_is_413(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend, inside="client_max_body_size 1000;")
    client = connect(lb.port("http"))
    assert client.request("POST", body=b"x" * 1000).status == 200
    assert client.request("POST", body=b"x" * 1001).status == 413
    assert len(backend.requests) == 1


def test_chunked_body_larger_than_allowed_is_413(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend, inside="client_max_body_size 1000;")
    client = connect(lb.port("http"))
    client.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"
    )
    assert client.response().status == 413
    assert backend.requests == []


def test_return_and_redirect_and_404(before, http_backend, run_lb, connect):
    client = connect(before(http_backend()).port("http"))
    assert client.request(target="/text").body == b"hello /text"
    response = client.request(target="/moved")
    assert (response.status, response.header("location")) == (301, "http://example.org/new")
    bare = run_lb("http { server { listen 127.0.0.1:@http@; location = /a { return 204; } } }")
    client = connect(bare.port("http"))
    assert [client.request(target=target).status for target in ("/a", "/b", "/")] == [204, 404, 404]


def test_client_that_goes_before_the_answer(before, raw_backend, connect):
    """lb drops the backend's connection, too."""
    backend = raw_backend(raw.never_answer)
    client = connect(before(backend).port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: b"\r\n\r\n" in backend.received)
    client.close()
    wait_for(lambda: backend.open == 0)


def test_client_that_resets_inside_its_body(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend)
    client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
    client.reset()
    wait_for(lambda: backend.open == 0)
    assert backend.requests == []
    assert connect(lb.port("http")).request().status == 200


def test_client_header_timeout_is_408(run_lb, http_backend, connect):
    text = ONE.replace("listen", "client_header_timeout 1s; listen")
    lb = run_lb(text, servers=f"server {http_backend().address};", inside="")
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHo")
    assert client.response().status == 408
    client.expect_closed()


def test_client_body_timeout_is_408(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend, inside="client_body_timeout 1s;")
    client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert client.response().status == 408
    client.expect_closed()
    assert backend.requests == []


# --- what a backend does wrong ---


def test_refused_is_502(before, world, connect):
    client = connect(before(f"127.0.0.1:{world.closed_port()}").port("http"))
    for _ in range(2):
        assert client.request().status == 502


@pytest.mark.parametrize("script", [raw.reset_after_head, raw.close_after_head, raw.reset_at_once])
def test_no_answer_is_502(before, raw_backend, connect, script):
    client = connect(before(raw_backend(script)).port("http"))
    assert client.request().status == 502


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
def test_malformed_answer_is_502(before, raw_backend, connect, answer):
    backend = raw_backend(raw.answer(answer))
    client = connect(before(backend).port("http"))
    assert client.request().status == 502
    wait_for(lambda: backend.open == 0)


def test_answer_cut_in_its_body_is_not_completed(before, raw_backend, connect):
    backend = raw_backend(raw.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"))
    client = connect(before(backend).port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = client.recv_until(b"\r\n\r\n")
    assert b"200 OK" in head
    assert client.recv_to_end() == b"only this"


def test_answer_cut_in_its_chunks_is_not_completed(before, raw_backend, connect):
    backend = raw_backend(raw.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwor"))
    client = connect(before(backend).port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv_until(b"\r\n\r\n")
    rest = client.recv_to_end()
    assert b"hello" in rest
    assert not rest.endswith(b"0\r\n\r\n")


def test_bytes_after_the_answer_end_the_connection(before, http_backend, connect):
    """They belong to no request: they must not become the answer to the next one."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    backend = http_backend(lambda _: Reply(body=b"good", extra=evil))
    client = connect(before(backend).port("http"))
    for _ in range(5):
        assert client.request().body == b"good"
    assert backend.accepted == 5


def test_backend_that_never_answers_is_504(before, raw_backend, connect):
    backend = raw_backend(raw.never_answer)
    client = connect(before(backend, inside="proxy_read_timeout 1s;").port("http"))
    assert client.request().status == 504
    wait_for(lambda: backend.open == 0)


def test_backend_that_stalls_in_its_body(before, raw_backend, connect):
    def stall(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        connection.recv_to_end()

    client = connect(before(raw_backend(stall), inside="proxy_read_timeout 1s;").port("http"))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").recv_until(b"\r\n\r\n")
    assert client.recv_to_end() == b"abc"


def test_slow_backend_is_waited_for(before, raw_backend, connect):
    """One byte at a time, head and body: the read timeout counts from byte to byte."""

    def drip(connection):
        connection.recv_head()
        for position in range(len(OK)):
            connection.send(OK[position : position + 1])

    client = connect(before(raw_backend(drip)).port("http"))
    assert client.request().body == b"ok"


def test_answer_before_the_body_is_read(before, raw_backend, connect):
    """A backend may refuse early; the client gets its answer."""

    def refuse(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        connection.recv_to_end()

    inside = "client_max_body_size 0; proxy_request_buffering off;"
    client = connect(before(raw_backend(refuse), inside=inside).port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
    response = client.response("POST")
    assert (response.status, response.body) == (403, b"no")


# --- the next server ---


def test_next_server_when_one_refuses(before, http_backend, world, connect):
    good = http_backend()
    lb = before(f"127.0.0.1:{world.closed_port()} max_fails=0", good)
    client = connect(lb.port("http"))
    assert [client.request(target=f"/{n}").status for n in range(6)] == [200] * 6
    assert [request.target for request in good.requests] == [f"/{n}" for n in range(6)]


@pytest.mark.parametrize("script", [raw.reset_after_head, raw.close_after_head, raw.reset_at_once])
def test_next_server_when_one_breaks_off(before, http_backend, raw_backend, connect, script):
    bad, good = raw_backend(script), http_backend()
    client = connect(before(f"{bad.address} max_fails=0", good).port("http"))
    assert [client.request().status for _ in range(6)] == [200] * 6
    assert bad.accepted >= 2  # it was tried, again and again
    assert len(good.requests) == 6


def test_post_is_not_sent_twice(before, http_backend, raw_backend, connect):
    """Not idempotent: once bytes of it went out, no other server gets it."""
    bad, good = raw_backend(raw.reset_after_head), http_backend()
    client = connect(before(f"{bad.address} max_fails=0", f"{good.address} backup").port("http"))
    assert client.request("POST", body=b"once").status == 502
    assert good.requests == []


def test_post_goes_to_the_next_server_when_one_refuses(before, http_backend, world, connect):
    good = http_backend()
    lb = before(f"127.0.0.1:{world.closed_port()}", f"{good.address} backup")
    assert connect(lb.port("http")).request("POST", body=b"once").status == 200
    assert [request.body for request in good.requests] == [b"once"]


def test_pooled_connection_that_closes_at_reuse_is_tried_again(before, raw_backend, connect):
    """The race of keep-alive: the backend closes while the next request is on its way. The client never sees it."""

    def once_then_reset(connection):
        connection.recv_head()
        connection.send(OK)
        connection.recv_head()
        connection.reset()

    backend = raw_backend(once_then_reset)
    client = connect(before(backend).port("http"))
    assert [client.request().status for _ in range(4)] == [200] * 4


def test_all_servers_fail_is_502(before, raw_backend, connect):
    backends = [raw_backend(raw.reset_after_head) for _ in range(3)]
    client = connect(before(*(f"{b.address} max_fails=0" for b in backends)).port("http"))
    assert client.request().status == 502
    assert [backend.accepted for backend in backends] == [1, 1, 1]  # each once: bounded


def test_504_is_not_tried_elsewhere_for_post(before, raw_backend, http_backend, connect):
    slow, good = raw_backend(raw.never_answer), http_backend()
    lb = before(slow, f"{good.address} backup", inside="proxy_read_timeout 1s;")
    assert connect(lb.port("http")).request("POST", body=b"x").status == 504
    assert good.requests == []


def test_max_fails_takes_a_server_out(before, raw_backend, http_backend, connect):
    bad, good = raw_backend(raw.reset_after_head), http_backend()
    lb = before(f"{bad.address} max_fails=2 fail_timeout=60s", good)
    client = connect(lb.port("http"))
    assert [client.request().status for _ in range(20)] == [200] * 20
    assert bad.accepted == 2


def test_max_fails_0_never_takes_a_server_out(before, raw_backend, http_backend, connect):
    bad, good = raw_backend(raw.reset_after_head), http_backend()
    client = connect(before(f"{bad.address} max_fails=0", good).port("http"))
    assert [client.request().status for _ in range(20)] == [200] * 20
    assert bad.accepted == 10  # of 20 requests: a retry does not turn the wheel


def test_server_comes_back_after_fail_timeout(before, raw_backend, http_backend, connect):
    bad, good = raw_backend(raw.reset_after_head, raw.answer(OK)), http_backend()
    client = connect(before(f"{bad.address} max_fails=1 fail_timeout=1s", good).port("http"))
    client.request(), client.request()
    assert bad.accepted == 1
    wait_for(lambda: client.request().body == b"ok", "the server to be used again")


def test_only_server_is_used_although_it_failed(before, raw_backend, connect):
    """As in nginx: a single server has no failure count to be out of."""
    backend = raw_backend(raw.reset_after_head, raw.answer(OK))
    client = connect(before(f"{backend.address} max_fails=1 fail_timeout=60s").port("http"))
    assert client.request().status == 502
    assert client.request().status == 200


def test_connect_timeout(before, http_backend, connect):
    """A server that drops SYN: its backlog is full, and nobody accepts."""
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for sock in fillers:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        good = http_backend()
        lb = before(f"127.0.0.1:{port} max_fails=0", f"{good.address} backup", inside="proxy_connect_timeout 1s;")
        assert connect(lb.port("http")).request().status == 200
        for sock in fillers:
            sock.close()
