"""Nothing that epoll says is lost: events that come together, ends that come early, connections that both leave."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time

import pytest

from tests.engine_tools import stopped
from tests.harness import backend as raw
from tests.harness.backend import Reply
from tests.harness.lb import connections
from tests.harness.wait import wait_for

HTTP = """
http {
    access_log off;
    upstream u { @head@ @servers@ }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; @inside@ } }
}
"""
STREAM = """
stream {
    upstream u { @servers@ }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; proxy_half_close on; }
}
"""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def http(run_lb):
    """http(*servers, inside="", head="") -> Lb."""

    def start(*servers, inside="", head=""):
        return run_lb(HTTP, servers=" ".join(f"server {server};" for server in servers), inside=inside, head=head)

    return start


@pytest.fixture
def stream(run_lb):
    return lambda *servers: run_lb(STREAM, servers=" ".join(f"server {server};" for server in servers))


def test_server_that_answers_before_it_is_asked(http, raw_backend, connect):
    """Its answer, and its end, may come with the event that says the connection is there."""

    def script(connection):
        connection.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
        connection.half_close()
        connection.recv_to_end()

    lb = http(raw_backend(script).address)
    clients = [connect(lb.port("http")) for _ in range(60)]
    with stopped(lb):
        for client in clients:
            client.send(GET)
    assert {client.response().status for client in clients} == {503}


def test_pooled_connections_after_bulk_answers(http, http_backend, connect):
    """An answer that was spliced leaves its connection as good as any other."""
    backend = http_backend(lambda _: Reply(body=b"x" * 1_000_000))
    client = connect(http(backend.address).port("http"))
    for _ in range(5):
        assert len(client.request().body) == 1_000_000
    assert backend.accepted == 1


def test_pooled_connections_after_bulk_requests(http, http_backend, connect):
    backend = http_backend()
    client = connect(http(backend.address, inside="client_max_body_size 0;").port("http"))
    for _ in range(5):
        assert client.request("POST", body=b"x" * 1_000_000).status == 200
    assert backend.accepted == 1


def test_reset_after_a_half_close_ends_the_session(stream, raw_backend, connect):
    """The server has ended its direction already when it breaks: the client must not wait for proxy_timeout."""
    broken = threading.Event()

    def script(connection):
        connection.send(b"bye")
        connection.half_close()
        broken.wait(60)
        connection.reset()

    lb = stream(raw_backend(script).address)
    client = connect(lb.port("tcp"))
    assert client.recv_to_end() == b"bye"
    broken.set()
    wait_for(lambda: not connections(lb.workers[0]), lambda: f"{connections(lb.workers[0])}")


def test_client_reset_after_its_half_close_ends_the_session(stream, raw_backend, connect):
    lb = stream(raw_backend(lambda connection: connection.stall()).address)
    client = connect(lb.port("tcp")).send(b"x").half_close()
    worker = lb.workers[0]
    wait_for(lambda: any("FIN_WAIT2" in one for one in connections(worker)))  # lb has passed the client's end on
    client.reset()
    wait_for(lambda: not connections(worker), lambda: f"{connections(worker)}")


def unix_server(path, serve):
    """A unix socket where `serve` gets each connection, in one thread."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    os.chmod(path, 0o777)  # workers of root run as nobody
    sock.listen(128)

    def run():
        with contextlib.suppress(OSError):
            while True:
                serve(sock.accept()[0])

    threading.Thread(target=run, daemon=True).start()
    return sock


def test_unix_server_that_speaks_and_leaves(stream, connect):
    """A unix socket reports "connected", bytes and the end together, as soon as both ends are closed."""

    def serve(one):
        one.send(b"time flies")
        one.close()

    with tempfile.TemporaryDirectory() as directory, unix_server(f"{directory}/s", serve) as server:
        os.chmod(directory, 0o755)
        lb = stream(f"unix:{directory}/s")
        with stopped(lb):
            clients = [connect(lb.port("tcp")) for _ in range(60)]
        assert {client.recv_to_end() for client in clients} == {b"time flies"}
        server.shutdown(socket.SHUT_RDWR)


def test_tcp_server_recovers_with_its_first_session(stream, raw_backend, connect, world):
    """A session that has connected shows that the server is back; it need not end first."""
    port = world.closed_port()
    other = raw_backend(raw.echo)
    lb = stream(f"127.0.0.1:{port} max_fails=1 fail_timeout=1", f"{other.address} max_fails=0")
    for _ in range(2):
        connect(lb.port("tcp")).send(b"x").recv_exactly(1)
    lb.wait_log("temporarily disabled")
    back = raw_backend(raw.echo, port=port)
    time.sleep(2.2)
    wait_for(lambda: connect(lb.port("tcp")).send(b"x").recv_exactly(1) and back.accepted == 1)
    for _ in range(4):
        connect(lb.port("tcp")).send(b"x").recv_exactly(1)
    assert back.accepted == 3


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"X: y"], ids=["chunked", "to the end"])
def test_broken_answer_does_not_look_whole_to_http10(http, raw_backend, connect, framing):
    """HTTP/1.0 has no other mark of a break than a reset where the end of the connection is the end of the answer."""

    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
        wait_for(lambda: client.received.endswith(b"hello\r\n") or client.received.endswith(b"hello"))
        connection.reset()

    client = connect(http(raw_backend(script).address).port("http"))
    client.send(b"GET / HTTP/1.0\r\n\r\n").recv_until(b"hello")
    with pytest.raises(ConnectionResetError):
        client.recv_to_end()


def test_answer_cut_for_a_half_closed_client_does_not_look_whole(http, raw_backend, connect):
    """lb takes a client that ended its direction for one that has left, as nginx; that one may still read."""

    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello")
        connection.recv_to_end()

    client = connect(http(raw_backend(script).address).port("http"))
    client.send(b"GET / HTTP/1.0\r\n\r\n").recv_until(b"hello")
    client.half_close()
    with pytest.raises(ConnectionResetError):
        client.recv_to_end()
