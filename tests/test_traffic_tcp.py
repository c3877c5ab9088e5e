"""TCP through the real lb: relay, half-close, resets, timeouts, the next server, bulk in both directions."""

from __future__ import annotations

import hashlib
import threading

import pytest

from tests.harness import backend as raw
from tests.harness.wait import wait_for

STREAM = """
stream {
    upstream u { @head@ @servers@ }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; @inside@ }
}
"""


@pytest.fixture
def relay(run_lb):
    """relay(*servers, inside="", head="") -> Lb; a server is a backend, or the text of a `server` line."""

    def start(*servers, inside="", head=""):
        lines = [s if isinstance(s, str) else s.address for s in servers]
        return run_lb(STREAM, servers=" ".join(f"server {line};" for line in lines), inside=inside, head=head)

    return start


def test_small_messages(relay, raw_backend, connect):
    client = connect(relay(raw_backend(raw.echo)).port("tcp"))
    for number in range(100):
        message = b"%d;" % number
        assert client.send(message).recv_exactly(len(message)) == message


def test_server_that_speaks_first(relay, raw_backend, connect):
    def greet(connection):
        connection.send(b"220 ready\r\n")
        connection.send(b"you said " + connection.recv_until(b"\n"))

    client = connect(relay(raw_backend(greet)).port("tcp"))
    assert client.recv_until(b"\n") == b"220 ready\r\n"
    assert client.send(b"hi\n").recv_to_end() == b"you said hi\n"


def test_client_half_close_reaches_the_server(relay, raw_backend, connect):
    """The server answers after the client's FIN: the other direction stays open."""

    def count(connection):
        connection.send(b"%d" % len(connection.recv_to_end()))

    client = connect(relay(raw_backend(count), inside="proxy_half_close on;").port("tcp"))
    client.send(b"x" * 10_000).half_close()
    assert client.recv_to_end() == b"10000"


def test_server_half_close_reaches_the_client(relay, raw_backend, connect):
    def close_then_read(connection):
        connection.send(b"bye")
        connection.half_close()
        connection.recv_to_end()

    backend = raw_backend(close_then_read)
    client = connect(relay(backend, inside="proxy_half_close on;").port("tcp"))
    assert client.recv_to_end() == b"bye"
    client.send(b"still here").half_close()
    wait_for(lambda: backend.received == b"still here")
    wait_for(lambda: backend.open == 0)


def test_reset_by_the_server_reaches_the_client(relay, raw_backend, connect):
    def read_then_reset(connection):
        connection.recv_exactly(4)
        connection.reset()

    client = connect(relay(raw_backend(read_then_reset)).port("tcp"))
    client.send(b"ping").expect_closed()


def test_reset_by_the_client_reaches_the_server(relay, raw_backend, connect):
    backend = raw_backend(raw.never_answer)
    client = connect(relay(backend).port("tcp")).send(b"x")
    wait_for(lambda: backend.received == b"x")
    client.reset()
    wait_for(lambda: backend.open == 0)


@pytest.mark.parametrize("size", [1, 16_384, 65_536, 65_537, 1 << 20, 20 << 20])
def test_bulk_to_the_client(relay, raw_backend, connect, size):
    data = hashlib.sha256(b"%d" % size).digest() * (size // 32 + 1)

    def pour(connection):
        connection.recv_exactly(1)
        connection.send(data[:size])

    client = connect(relay(raw_backend(pour)).port("tcp"))
    assert client.send(b"?").recv_to_end() == data[:size]


@pytest.mark.parametrize("size", [65_536, 8 << 20])
def test_bulk_both_ways_at_once(relay, raw_backend, connect, size):
    data = hashlib.sha256(b"both").digest() * (size // 32)
    client = connect(relay(raw_backend(raw.echo), inside="proxy_half_close on;").port("tcp"))
    sender = threading.Thread(target=lambda: client.send(data).half_close())
    sender.start()
    got = client.recv_to_end()
    sender.join()
    assert got == data


def test_bulk_then_small_then_bulk(relay, raw_backend, connect):
    """The way of moving bytes changes with what flows, and no byte is lost at the change."""
    client = connect(relay(raw_backend(raw.echo)).port("tcp"))
    for size in (10, 1 << 20, 10, 300_000, 1, 1 << 20):
        data = bytes([size % 251]) * size
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        assert client.recv_exactly(size) == data
        sender.join()


def test_slow_reader_holds_the_server_back(relay, raw_backend, connect):
    sent = [0]

    def pour(connection):
        for _ in range(1 << 12):
            connection.send(b"x" * (1 << 16))
            sent[0] += 1 << 16

    backend = raw_backend(pour)
    lb = relay(backend)
    (worker,) = lb.workers
    rss = worker.memory_info().rss
    client = connect(lb.port("tcp"))
    progress: list[int] = []

    def stands_still() -> bool:
        progress.append(sent[0])
        return len(progress) > 20 and progress[-1] == progress[-20] > 0

    wait_for(stands_still, "the server to be held back", 30)
    assert sent[0] < 1 << 26
    assert worker.memory_info().rss - rss < 8 << 20
    # and it goes on when the client reads
    before = sent[0]
    wait_for(lambda: client.sock.recv(1 << 20) and sent[0] > before + (1 << 20))
    client.close()
    wait_for(lambda: backend.open == 0)


def test_next_server_when_one_refuses(relay, raw_backend, world, connect):
    good = raw_backend(raw.echo)
    lb = relay(f"127.0.0.1:{world.closed_port()} max_fails=0", good)
    for _ in range(4):
        assert connect(lb.port("tcp")).send(b"hi").recv_exactly(2) == b"hi"


def test_nobody_there_closes_the_client(relay, world, connect):
    lb = relay(f"127.0.0.1:{world.closed_port()}")
    connect(lb.port("tcp")).expect_closed()


def test_max_fails_takes_a_server_out(relay, raw_backend, world, connect):
    bad, good = world.closed_port(), raw_backend(raw.echo)
    lb = relay(f"127.0.0.1:{bad} max_fails=1 fail_timeout=60s", good)
    for _ in range(4):
        connect(lb.port("tcp")).send(b"hi").recv_exactly(2)
    late = raw_backend(raw.echo, port=bad)
    for _ in range(10):
        connect(lb.port("tcp")).send(b"hi").recv_exactly(2)
    assert late.accepted == 0


def test_round_robin_over_connections(relay, raw_backend, connect):
    backends = [raw_backend(raw.echo) for _ in range(3)]
    lb = relay(*backends)
    for _ in range(12):
        connect(lb.port("tcp")).send(b"x").recv_exactly(1)
    assert [backend.accepted for backend in backends] == [4, 4, 4]


def test_least_conn_over_connections(relay, raw_backend, connect):
    a, b = raw_backend(raw.echo), raw_backend(raw.echo)
    lb = relay(a, b, head="least_conn;")
    kept = [connect(lb.port("tcp")) for _ in range(4)]
    for client in kept:
        client.send(b"x").recv_exactly(1)
    assert (a.accepted, b.accepted) == (2, 2)


def test_proxy_timeout_closes_both_sides(relay, raw_backend, connect):
    backend = raw_backend(raw.never_answer)
    client = connect(relay(backend, inside="proxy_timeout 1s;").port("tcp")).send(b"x")
    client.expect_closed()
    wait_for(lambda: backend.open == 0)


def test_traffic_in_one_direction_keeps_it_open(relay, raw_backend, connect):
    """proxy_timeout counts both directions together: a client that only reads is not idle."""
    steps = threading.Event()

    def tick(connection):
        for _ in range(8):
            connection.send(b"tick")
            steps.wait(0.25)
        connection.send(b"end")

    client = connect(relay(raw_backend(tick), inside="proxy_timeout 1s;").port("tcp"))
    assert client.recv_to_end() == b"tick" * 8 + b"end"


def test_http_and_stream_in_one_file(run_lb, raw_backend, http_backend, connect):
    http, tcp = http_backend(), raw_backend(raw.echo)
    text = """
    http { access_log off; server { listen 127.0.0.1:@http@; location / { proxy_pass http://@web@; } } }
    stream { server { listen 127.0.0.1:@tcp@; proxy_pass @echo@; } }
    """
    lb = run_lb(text, web=http.address, echo=tcp.address)
    assert connect(lb.port("http")).request().body == http.address.encode()
    assert connect(lb.port("tcp")).send(b"abc").recv_exactly(3) == b"abc"


def test_many_connections_at_once(relay, raw_backend, connect):
    lb = relay(raw_backend(raw.echo))
    clients = [connect(lb.port("tcp")) for _ in range(200)]
    for number, client in enumerate(clients):
        client.send(b"%04d" % number)
    for number, client in reversed(list(enumerate(clients))):
        assert client.recv_exactly(4) == b"%04d" % number
