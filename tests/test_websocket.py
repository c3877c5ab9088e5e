"""Upgrade: a tunnel begins after a matching 101 in a location that forwards it, never otherwise. 103 by early_hints."""

from __future__ import annotations

import pytest

from tests.harness import backend as raw

ONE = """
http {
    access_log off;
    server {
        listen 127.0.0.1:@http@;
        @inside@
        location / {
            proxy_pass http://@backend@;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }
        location /plain { proxy_pass http://@backend@; }
    }
}
"""
ASK = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
YES = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: a\r\n\r\n"
)


def switching(answer):
    def script(connection):
        connection.head = connection.recv_head()
        connection.send(answer)
        while data := connection.recv():
            connection.send(data.upper())
        connection.send(b"bye")

    return script


@pytest.fixture
def before(run_lb, connect):
    def start(backend, inside=""):
        lb = run_lb(ONE, backend=backend.address, inside=inside)
        return connect(lb.port("http")), lb

    return start


def test_tunnel(before, raw_backend):
    backend = raw_backend(switching(YES + b"first"))
    client, _ = before(backend)
    client.send(ASK % b"/" + b"early")
    head = client.recv_until(b"\r\n\r\n").lower()
    assert head.startswith(b"http/1.1 101 switching protocols\r\n")
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in head and b"sec-websocket-accept: a" in head
    assert client.recv_exactly(10) == b"firstEARLY"
    assert b"Upgrade: websocket\r\n" in backend.connections[0].head
    assert client.send(b"hello").recv_exactly(5) == b"HELLO"
    data = b"x" * 3_000_000
    received = bytearray()
    client.sock.setblocking(False)
    view = memoryview(data)
    while len(received) < len(data):
        try:
            view = view[client.sock.send(view) :] if view else view
        except BlockingIOError:
            pass
        try:
            received += client.sock.recv(1 << 20)
        except BlockingIOError:
            pass
    assert bytes(received) == data.upper()
    client.sock.settimeout(60)
    client.half_close()
    assert client.recv_to_end() == b"bye"


def test_no_tunnel_where_nothing_is_forwarded(before, raw_backend):
    backend = raw_backend(switching(YES))
    client, _ = before(backend)
    client.send(ASK % b"/plain")
    assert client.response().status == 502
    assert b"pgrade" not in backend.connections[0].head


@pytest.mark.parametrize("answer", [YES.replace(b"WebSocket", b"h2c"), YES.replace(b"Upgrade: WebSocket\r\n", b"")])
def test_no_tunnel_after_another_protocol(before, raw_backend, answer):
    client, _ = before(raw_backend(switching(answer)))
    assert client.send(ASK % b"/").response().status == 502


def test_no_tunnel_that_nobody_asked_for(before, raw_backend):
    client, _ = before(raw_backend(switching(YES)))
    assert client.request().status == 502


def test_a_server_may_decline(before, raw_backend):
    client, _ = before(raw_backend(raw.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")))
    assert client.send(ASK % b"/").response().body == b"no"


def test_silence_ends_it(before, raw_backend):
    client, _ = before(raw_backend(switching(YES)), "proxy_read_timeout 2s;")
    client.send(ASK % b"/").recv_until(b"\r\n\r\n")
    client.expect_closed()


def test_the_server_leaves(before, raw_backend):
    def script(connection):
        connection.recv_head()
        connection.send(YES + b"last")

    client, _ = before(raw_backend(script))
    client.send(ASK % b"/").recv_until(b"\r\n\r\n")
    client.half_close()
    assert client.recv_to_end() == b"last"


HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x\r\n\r\n"


@pytest.mark.parametrize(
    ("inside", "passed"), [("", False), ("early_hints 0 $arg_h;", False), ("early_hints $http_host;", True)]
)
def test_early_hints(before, raw_backend, inside, passed):
    client, _ = before(raw_backend(raw.answer(HINT + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")), inside)
    response = client.request()
    assert (response.body, response.informational) == (b"ok", [103] if passed else [])
    assert (b"Link: </a>; rel=preload\r\n\r\n" in bytes(client.received)) == passed
