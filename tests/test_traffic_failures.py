"""Servers that fail in every way (T09), and all of them at once (T10): who is asked next, who is not, and how often.

By the documented rules of proxy_next_upstream (error, timeout): what a server has not answered goes to the next one; a
POST only while nothing of it was sent; nothing does once the client has got a byte of an answer.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from h11 import RemoteProtocolError

from tests.harness.backend import RawConnection, Reply
from tests.harness.client import Client

TEXT = """
http {
    access_log off;
    upstream u { @servers@ }
    server {
        listen 127.0.0.1:@http@;
        proxy_connect_timeout 1s; proxy_read_timeout 1s; @inside@
        location / { proxy_pass http://u; }
    }
}
"""
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndrip"


def reset_at_once(connection: RawConnection) -> None:
    connection.reset()


def reset_before_the_answer(connection: RawConnection) -> None:
    connection.recv_head()
    connection.reset()


def reset_in_the_head(connection: RawConnection) -> None:
    connection.recv_head()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    connection.reset()


def close_before_the_answer(connection: RawConnection) -> None:
    connection.recv_head()


def close_in_the_head(connection: RawConnection) -> None:
    connection.recv_head()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")


def never_answer(connection: RawConnection) -> None:
    connection.recv_head()
    connection.stall()


def drip_too_slowly(connection: RawConnection) -> None:
    """One byte in three seconds."""
    connection.recv_head()
    with contextlib.suppress(OSError):
        for position in range(len(WHOLE)):
            connection.send(WHOLE[position : position + 1])
            time.sleep(3)


def drip(connection: RawConnection) -> None:
    """One byte at a time, well within proxy_read_timeout; together more than it."""
    connection.recv_head()
    for position in range(len(WHOLE)):
        connection.send(WHOLE[position : position + 1])
        time.sleep(0.03)


def in_the_body(start: bytes, how: str):
    def script(connection: RawConnection) -> None:
        connection.recv_head()
        connection.send(start + b"x" * 50)
        if how == "stall":
            connection.stall()
        elif how == "reset":
            time.sleep(0.1)  # else the reset may overtake what was sent
            connection.reset()

    return script


UNANSWERED = {
    "resets at once": reset_at_once,
    "resets": reset_before_the_answer,
    "resets in its head": reset_in_the_head,
    "closes": close_before_the_answer,
    "closes in its head": close_in_the_head,
    "never answers": never_answer,
    "one byte a second": drip_too_slowly,
}
CUT = {
    f"{how} in its {kind}": in_the_body(start, how)
    for kind, start in (("body", LENGTH), ("chunks", CHUNKS))
    for how in ("close", "reset", "stall")
}
TIMEOUTS = ("never answers", "one byte a second")


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address that drops SYN: its backlog is full, and nobody accepts."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield "127.0.0.1:%d" % full.getsockname()[1]


@pytest.fixture
def start(run_lb, http_backend, connect):
    """start(addresses, inside) -> (client, good): the addresses in order, each with a clean record, and a good one."""

    def start(*addresses: str, inside: str = "", good: bool = True):
        last = http_backend(lambda _: Reply(body=b"good"))
        addresses = (*addresses, last.address) if good else addresses
        servers = "".join(f"server {address} max_fails=0; " for address in addresses)
        return connect(run_lb(TEXT, servers=servers, inside=inside).port("http")), last

    return start


def post(client: Client, size: int = 5):
    return client.request("POST", body=b"x" * size)


# ---- T09


@pytest.mark.parametrize("how", UNANSWERED)
def test_an_unanswered_get_goes_to_the_next_server(start, raw_backend, how):
    bad = raw_backend(UNANSWERED[how])
    client, good = start(bad.address)
    for _ in range(2):
        assert client.request().body == b"good"
    assert bad.accepted in (1, 2) and len(good.requests) == 2


@pytest.mark.parametrize("how", UNANSWERED)
@pytest.mark.parametrize("size", [5, 300_000])
def test_a_post_is_not_sent_again(start, raw_backend, how, size):
    bad = raw_backend(UNANSWERED[how])
    client, good = start(bad.address)
    status = post(client, size).status
    if how == "resets at once" and status == 200:  # it reset before the first byte was sent: nothing of it went out
        assert [len(request.body) for request in good.requests] == [size]
        return
    assert status == (504 if how in TIMEOUTS else 502)
    assert good.requests == [] and bad.accepted == 1


@pytest.mark.parametrize("how", ["resets", "closes in its head", "never answers"])
def test_unless_non_idempotent_says_so(start, raw_backend, how):
    client, good = start(
        raw_backend(UNANSWERED[how]).address, inside="proxy_next_upstream error timeout non_idempotent;"
    )
    assert post(client).body == b"good" and good.requests[0].body == b"xxxxx"


@pytest.mark.parametrize("how", CUT)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_breaks_off_is_shown_as_broken(start, raw_backend, how, method):
    """No other server may go on with it, and the client must not take it for whole."""
    bad = raw_backend(CUT[how])
    client, good = start(bad.address)
    with pytest.raises((AssertionError, RemoteProtocolError, ConnectionResetError)):
        client.request(method)
    assert good.requests == [] and bad.accepted == 1
    assert bytes(client.received).startswith(b"HTTP/1.1 200 OK\r\n")
    assert not bytes(client.received).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_that_refuses_or_drops(start, world, method):
    """Nothing was sent to it, whatever the method."""
    with black_hole() as hole:
        client, good = start(f"127.0.0.1:{world.closed_port()}", hole)
        assert client.request(method, body=b"abc").body == b"good"
        assert [request.body for request in good.requests] == [b"abc"]


def test_a_slow_answer_is_no_failure(start, raw_backend):
    """proxy_read_timeout lies between two reads."""
    bad = raw_backend(drip)
    client, good = start(bad.address)
    assert client.request().body == b"drip"
    assert good.requests == []


# ---- T10


@pytest.mark.parametrize("how", UNANSWERED)
def test_all_fail_and_each_is_asked_once(start, raw_backend, how):
    backends = [raw_backend(UNANSWERED[how]) for _ in range(4)]
    client, _ = start(*(backend.address for backend in backends), good=False)
    requests = 2 if how in TIMEOUTS else 10
    for number in range(1, requests + 1):
        assert client.request().status == (504 if how in TIMEOUTS else 502)
        assert [backend.accepted for backend in backends] == [number] * 4


@pytest.mark.parametrize(("inside", "tries"), [("proxy_next_upstream_tries 2;", 2), ("proxy_next_upstream off;", 1)])
def test_no_more_tries_than_allowed(start, raw_backend, inside, tries):
    backends = [raw_backend(close_before_the_answer) for _ in range(4)]
    client, _ = start(*(backend.address for backend in backends), good=False, inside=inside)
    for number in range(1, 9):
        assert client.request().status == 502
        assert sum(backend.accepted for backend in backends) == number * tries


def test_tries_end_with_their_time(start, raw_backend):
    backends = [raw_backend(never_answer) for _ in range(4)]
    addresses = [backend.address for backend in backends]
    client, _ = start(*addresses, good=False, inside="proxy_next_upstream_timeout 1900ms;")
    assert client.request().status == 504
    assert sum(backend.accepted for backend in backends) == 2


def test_a_crowd_is_not_multiplied(start, raw_backend, connect):
    """50 clients at once, four servers that all fail: four tries for each client, no more."""
    backends = [raw_backend(close_before_the_answer) for _ in range(4)]
    client, _ = start(*(backend.address for backend in backends), good=False)
    crowd = [connect(client.port).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(50)]
    assert {one.response().status for one in crowd} == {502}
    assert [backend.accepted for backend in backends] == [50] * 4


def test_servers_that_have_failed_rest(run_lb, raw_backend, connect):
    """max_fails: 30 requests cost the four servers one try each, then there is nobody to ask for fail_timeout."""
    backends = [raw_backend(close_before_the_answer) for _ in range(4)]
    servers = "".join(f"server {backend.address} max_fails=1 fail_timeout=60s; " for backend in backends)
    lb = run_lb(TEXT, servers=servers, inside="")
    client = connect(lb.port("http"))
    for _ in range(30):
        assert client.request().status == 502
    assert [backend.accepted for backend in backends] == [1] * 4
    lb.wait_log("no live upstreams while connecting to upstream")


def test_failures_add_up_until_a_success_that_counts(pair, http_backend):
    """As nginx: what succeeds within fail_timeout of a failure does not clear it."""
    flaky = http_backend(lambda request: Reply(status=500 if request.target == "/fail" else 200, body=b"flaky"))
    good = http_backend(lambda _: Reply(body=b"good"))
    both = pair(
        """http {
            access_log off;
            upstream u { server @flaky@ max_fails=3 fail_timeout=1h; server @good@ backup; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; proxy_next_upstream http_500; } }
        }""",
        flaky=flaky.address,
        good=good.address,
    )
    for port in [both.lb.port("http"), *([both.nginx] if both.nginx else [])]:
        with Client(port) as client:
            for _ in range(3):
                assert [client.request(target="/ok").body for _ in range(3)] == [b"flaky"] * 3
                assert client.request(target="/fail").body == b"good"
            assert client.request(target="/ok").body == b"good"


@pytest.mark.parametrize("how", ["Content-Length: 9000000\r\n", "Transfer-Encoding: chunked\r\n"])
def test_what_came_before_a_break_reaches_a_slow_client(run_lb, raw_backend, how):
    """All that lb had read of the answer when its server broke off, though the client took none of it yet."""
    body = b"0123456789abcdef" * 4096
    sent = threading.Event()

    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\n" + how.encode() + b"\r\n")
        connection.send((b"10000\r\n" + body + b"\r\n" if "chunked" in how else body) * 6)
        sent.wait(60)

    backend = raw_backend(script)
    lb = run_lb(
        "http { access_log access.log; send_timeout 20s; server { listen 127.0.0.1:@http@ sndbuf=32k;"
        " location / { proxy_buffers 4 4k; proxy_buffer_size 4k; proxy_pass http://@back@; } } }",
        back=backend.address,
    )
    lb.expect_log("upstream prematurely closed connection")
    client = Client(lb.port("http"), rcvbuf=4096)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv_until(b"\r\n\r\n")
    sent.set()
    lb.wait_log("upstream prematurely closed connection")
    with contextlib.suppress(ConnectionResetError):
        rest = client.recv_to_end()
    assert rest.count(b"0123456789abcdef") > 5 * 4096
    assert not rest.endswith(b"0\r\n\r\n")
    client.close()
