"""Each wait of an exchange has one deadline, and it is the waiting side's: a slow client is not the server's fault.

The times that lb gets are short and the parties' pauses longer than the ones that must not end them; what is asserted
is who was blamed and what came through, never how long it took.
"""

from __future__ import annotations

import threading
import time

import pytest

from tests.harness.lb import connections
from tests.harness.wait import wait_for

ONE = """
http {
    access_log off;
    proxy_request_buffering off;  # the waits of a body on its way are the subject
    proxy_buffering off;
    upstream u { server @server@; }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; client_max_body_size 0; @inside@ } }
}
"""
LONG = 24 << 20  # more than the kernel buffers of one connection hold


@pytest.fixture
def before(run_lb):
    """before(backend, inside) -> Lb."""
    return lambda backend, inside: run_lb(ONE, server=backend.address, inside=inside)


def chunked(size: int) -> bytes:
    chunk = b"%x\r\n" % 60_000 + b"x" * 60_000 + b"\r\n"
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * (size // 60_000) + b"0\r\n\r\n"


def sized(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def test_slow_upload_is_not_a_slow_answer(before, http_backend, connect):
    """proxy_read_timeout counts from the end of the request."""
    backend = http_backend()
    client = connect(before(backend, "proxy_read_timeout 2s;").port("http"))  # the backend has so long for its answer
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
    for _ in range(8):
        time.sleep(0.3)
        client.send(b"x")
    assert client.response().status == 200
    assert backend.requests[0].body == b"x" * 8


@pytest.mark.parametrize("message", [chunked(LONG), sized(LONG)], ids=["copied", "spliced"])
def test_slow_download_is_not_a_slow_server(before, raw_backend, connect, message):
    """A client that pauses for longer than proxy_read_timeout gets everything."""

    def script(connection):
        connection.recv_head()
        connection.send(message)
        connection.recv_to_end()

    backend = raw_backend(script)
    lb = before(backend, "proxy_read_timeout 2s;")  # the backend's thread has so long to go on
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(3)
    assert len(client.response().body) >= LONG - 60_000
    assert "upstream timed out" not in lb.log


@pytest.mark.parametrize("message", [chunked(LONG), sized(LONG)], ids=["copied", "spliced"])
def test_client_that_stops_reading_is_cut_by_send_timeout(before, raw_backend, connect, message):
    def script(connection):
        connection.recv_head()
        connection.send(message)

    backend = raw_backend(script)
    lb = before(backend, "send_timeout 300ms;")
    connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    lb.wait_log("client timed out .* while sending response to client")
    wait_for(lambda: backend.open == 0)
    assert "upstream timed out" not in lb.log


def test_server_that_stops_within_its_answer_is_cut_by_read_timeout(before, raw_backend, connect):
    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)
        connection.recv_to_end()

    lb = before(raw_backend(script), "proxy_read_timeout 2s;")
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv_to_end().count(b"x") == 500_000
    lb.wait_log("upstream timed out")


def test_server_that_takes_no_body_is_cut_by_proxy_send_timeout(before, raw_backend, connect):
    backend = raw_backend(lambda connection: connection.stall())
    lb = before(backend, "proxy_send_timeout 300ms;")
    client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LONG)
    sender = threading.Thread(target=_send_quietly, args=(client, b"x" * LONG))
    sender.start()
    assert client.response().status == 504
    sender.join()
    lb.wait_log("upstream timed out")


def _send_quietly(client, data):
    try:
        client.send(data)
    except OSError:
        pass  # lb answers and closes before all of it is gone


@pytest.mark.parametrize("size", [5_000, 500_000], ids=["copied", "spliced"])
def test_client_that_stops_within_its_body_while_the_answer_flows(before, raw_backend, connect, size):
    """The server answers before it has the whole body, and waits for the rest: so does lb, but not for ever."""

    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * size)
        connection.recv_to_end()

    backend = raw_backend(script)
    lb = before(backend, "client_body_timeout 2s;")
    client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
    assert client.recv_to_end().count(b"x") == size
    assert "upstream timed out" not in lb.log


def test_client_gone_while_the_server_takes_no_body(before, raw_backend, connect):
    """A reset is noticed although the server's side is blocked."""
    backend = raw_backend(lambda connection: connection.stall())
    lb = before(backend, "")
    client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
    client.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            client.send(b"x" * LONG)
    client.reset()
    wait_for(lambda: not connections(lb.workers[0]), lambda: f"{connections(lb.workers[0])}")
