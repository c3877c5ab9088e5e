"""How client connections idle and end: lingering_*, keepalive_*_timeout, chunked_transfer_encoding."""

from __future__ import annotations

import signal
import time

import pytest

from tests.harness.backend import Reply
from tests.harness.wait import wait_for

SITE = """
http {
    access_log off;
    client_max_body_size 100m;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        @inside@
        location / { return 200 text; }
        location /up { proxy_pass http://u; }
    }
}
"""
UNREAD = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\nsome"


@pytest.fixture
def start(run_lb, http_backend, connect):
    """start(inside, reply=None) -> (lb, a client)"""

    def start(inside="", reply=None):
        backend = http_backend(lambda _: reply or Reply())
        lb = run_lb(SITE, backend=backend.address, inside=inside)
        return lb, connect(lb.port("http"))

    return start


def refused(client):
    """Was the connection closed for good? What a client sends to a closed one is answered by a reset."""
    try:
        client.send(b"x")
    except OSError:
        return True
    return False


def stays(client):
    for _ in range(20):
        if refused(client):
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize(
    ("inside", "lingers"),
    [("", True), ("lingering_close on;", True), ("lingering_close always;", True), ("lingering_close off;", False)],
)
def test_a_body_that_nobody_reads(start, inside, lingers):
    _, client = start(inside)
    assert client.send(UNREAD).response().body == b"text"
    if lingers:
        assert stays(client)
    else:
        wait_for(lambda: refused(client), "lb to close the connection")


@pytest.mark.parametrize(("inside", "lingers"), [("", False), ("lingering_close always;", True)])
def test_a_request_that_was_read_whole(start, inside, lingers):
    _, client = start(inside)
    response = client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").response()
    assert response.body == b"text" and client.recv_to_end() == b""
    if lingers:
        assert stays(client)
    else:
        wait_for(lambda: refused(client), "lb to close the connection")


@pytest.mark.parametrize("inside", ["lingering_timeout 1ms;", "lingering_time 300ms;", "lingering_time 0;"])
def test_lingering_ends(start, inside):
    _, client = start(inside)
    assert client.send(UNREAD).response().body == b"text"
    wait_for(lambda: refused(client), "lb to close the connection")


@pytest.mark.parametrize("inside", ["lingering_timeout 1ms;", "lingering_time 300ms;"])
def test_a_body_that_is_read_away_behind_its_answer(start, inside):
    """With keep-alive the rest is waited for, so long, and then the connection is closed."""
    _, client = start(inside)
    assert client.send(UNREAD.replace(b"close", b"keep-alive")).response().body == b"text"
    wait_for(lambda: refused(client), "lb to close the connection")


def test_an_idle_client_is_left_alone_in_a_stop(start):
    lb, client = start("keepalive_min_timeout 1h;")
    other = lb.client()
    assert client.request().status == other.request().status == 200
    lb.signal(signal.SIGQUIT)
    lb.wait_log("gracefully shutting down")
    for one in (client, other):
        response = one.request()
        assert (response.status, response.header("connection")) == (200, "close")
    assert lb.stop(signal.SIGQUIT) == 0


@pytest.mark.parametrize("inside", ["", "keepalive_min_timeout 0;", "keepalive_min_timeout 700ms;"])
def test_an_idle_client_does_not_hold_up_a_stop(start, inside):
    lb, client = start(inside)
    began = time.monotonic()  # before the client is idle: what is measured can only be longer
    assert client.request().status == 200
    assert lb.stop(signal.SIGQUIT) == 0
    assert client.recv_to_end() == b""
    if "700" in inside:
        assert time.monotonic() - began > 0.6


def test_chunks_or_the_end_of_the_connection(start):
    reply = Reply(chunks=[b"one", b"two"])
    _, client = start("", reply)
    assert client.request(target="/up").header("transfer-encoding") == "chunked"
    _, client = start("chunked_transfer_encoding off; add_trailer X-T 1;", reply)
    response = client.send(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n").response()
    assert (response.header("transfer-encoding"), response.header("connection")) == (None, "close")
    assert response.body == b"onetwo"
    assert client.recv_to_end() == b""


def test_trailers_need_chunks(start):
    _, client = start("chunked_transfer_encoding off; add_trailer X-T 1;")
    for target in ("/", "/up"):
        response = client.request(target=target)
        assert response.header("transfer-encoding") is None and response.header("content-length")


@pytest.mark.parametrize(
    ("inside", "field"),
    [("keepalive_timeout 9s 60s;", "timeout=60"), ("keepalive_timeout 9s;", None), ("keepalive_timeout 9s 0;", None)],
)
def test_the_keep_alive_field(start, inside, field):
    _, client = start(inside)
    assert client.request().header("keep-alive") == field
    assert client.request(target="/up").header("keep-alive") == field
