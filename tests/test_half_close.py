"""proxy_half_close: a session whose server has ended counts no more, holds up no stop, does not wait for a timeout."""

from __future__ import annotations

import socket
import struct
import threading
from signal import SIGQUIT

import pytest

from tests.harness import backend as raw
from tests.harness.lb import connections
from tests.harness.wait import wait_for

STREAM = """
stream {
    upstream u { @head@ @servers@ }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; @inside@ }
}
"""
TUNNEL = """
http {
    access_log off;
    upstream u { least_conn; server @one@; server @two@; }
    server {
        listen 127.0.0.1:@http@;
        location / {
            proxy_pass http://u;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }
    }
}
"""
ASK = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"


@pytest.fixture
def relay(run_lb):
    def start(*servers, inside="proxy_half_close on;", head=""):
        lines = [one if isinstance(one, str) else one.address for one in servers]
        lines = " ".join(f"server {line};" for line in lines)
        return run_lb(STREAM, servers=lines, inside=inside, head=head)

    return start


def ends_first(connection):
    """The server says its last word, keeps its socket, and reads on."""
    connection.send(b"bye")
    connection.half_close()
    connection.recv_to_end()


def test_off_a_servers_end_ends_the_session(relay, raw_backend, connect):
    backend = raw_backend(ends_first)
    lb = relay(backend, inside="")
    assert connect(lb.port("tcp")).recv_to_end() == b"bye"  # this client never ends its own direction
    wait_for(lambda: not connections(lb.workers[0]), lambda: f"{connections(lb.workers[0])}")


@pytest.mark.parametrize("size", [100, 3 << 20], ids=["copied", "spliced"])
def test_off_all_that_came_before_the_end_arrives(relay, raw_backend, connect, size):
    def pour(connection):
        connection.send(b"x" * size)

    assert connect(relay(raw_backend(pour), inside="").port("tcp")).recv_to_end() == b"x" * size


def test_off_a_clients_last_bytes_arrive(relay, raw_backend, connect):
    backend = raw_backend(raw.never_answer)
    connect(relay(backend, inside="").port("tcp")).send(b"x" * 3_000_000).half_close()
    wait_for(lambda: len(backend.received) == 3_000_000 and backend.open == 0)


def test_least_conn_does_not_count_a_session_whose_server_has_ended(relay, raw_backend, connect):
    one = raw_backend(ends_first, raw.echo)
    two = raw_backend(raw.echo)
    lb = relay(one, two, head="least_conn;")
    left = connect(lb.port("tcp"))
    assert left.recv_to_end() == b"bye"
    kept = [connect(lb.port("tcp")).send(b"x") for _ in range(4)]
    assert [client.recv_exactly(1) for client in kept] == [b"x"] * 4
    assert (one.accepted, two.accepted) == (3, 2)  # counted, `one` would have got one less


def test_max_conns_does_not_count_it(relay, raw_backend, connect):
    one = raw_backend(ends_first, raw.echo)
    lb = relay(f"{one.address} max_conns=1")
    left = connect(lb.port("tcp"))
    assert left.recv_to_end() == b"bye"
    assert connect(lb.port("tcp")).send(b"more").recv_exactly(4) == b"more"


def test_a_removed_server_is_kept_for_it(relay, raw_backend, connect):
    """The peer's memory outlives its list as long as a session is left, and no longer: see open_handles()."""
    one, two = raw_backend(ends_first), raw_backend(raw.echo)
    lb = relay(one)
    left = connect(lb.port("tcp"))
    assert left.recv_to_end() == b"bye"
    lb.reload(STREAM, servers=f"server {two.address};")
    left.send(b"late")
    wait_for(lambda: one.received == b"late")


def test_a_stop_does_not_wait_for_it(relay, raw_backend, connect):
    lb = relay(raw_backend(ends_first), inside="proxy_half_close on; proxy_timeout 1h;")
    client = connect(lb.port("tcp"))
    assert client.recv_to_end() == b"bye"
    assert lb.stop(SIGQUIT) == 0


def test_a_stop_waits_for_the_server_of_a_client_that_has_ended(relay, raw_backend, connect):
    """The usual half-close: the answer comes after the question's end. It is not cut off."""
    ready = threading.Event()

    def script(connection):
        connection.recv_to_end()
        ready.wait(10)
        connection.send(b"late")

    backend = raw_backend(script)
    lb = relay(backend)
    client = connect(lb.port("tcp")).send(b"question").half_close()
    wait_for(lambda: backend.received == b"question")
    lb.signal(SIGQUIT)
    wait_for(lambda: "gracefully shutting down" in lb.log)
    ready.set()
    assert client.recv_to_end() == b"late"


def test_a_server_that_has_gone_ends_it(relay, raw_backend, connect):
    """The end came from close(): when the server's kernel has forgotten the connection, a probe finds out."""

    def gone(connection):
        connection.send(b"bye")
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)  # s in FIN-WAIT-2, instead of 60

    lb = relay(raw_backend(gone), inside="proxy_half_close on; proxy_timeout 1h;")
    client = connect(lb.port("tcp"))
    assert client.recv_to_end() == b"bye"
    wait_for(lambda: not connections(lb.workers[0]), lambda: f"{connections(lb.workers[0])}", timeout=30)


def test_a_server_that_is_there_keeps_it(relay, raw_backend, connect):
    """Probes that are answered change nothing: bytes still reach a server that has ended its own direction."""
    backend = raw_backend(ends_first)
    lb = relay(backend)
    client = connect(lb.port("tcp"))
    assert client.recv_to_end() == b"bye"
    wait_for(lambda: any(probes(backend.port)))
    client.send(b"still here").half_close()
    wait_for(lambda: backend.received == b"still here")


def probes(port):
    """For each connection of the machine to `port`: is its timer that of keepalive (2 in /proc/net/tcp)?"""
    where = "%08X:%04X" % (struct.unpack("=I", socket.inet_aton("127.0.0.1"))[0], port)
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [row.split() for row in table.readlines()[1:]]
    return [row[5].startswith("02") for row in rows if row[2] == where]


def test_a_tunnel_ends_with_its_server(run_lb, raw_backend, connect):
    def script(connection):
        connection.recv_head()
        connection.send(SWITCH + b"last")
        connection.half_close()
        connection.recv_to_end()

    one = raw_backend(script)
    lb = run_lb(TUNNEL, one=one.address, two=one.address)
    client = connect(lb.port("http")).send(ASK)
    assert client.recv_to_end().endswith(b"\r\n\r\nlast")
    wait_for(lambda: not connections(lb.workers[0]), lambda: f"{connections(lb.workers[0])}")
