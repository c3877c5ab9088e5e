"""proxy_next_upstream with its conditions, tries and timeout; $upstream_* over tries. Through the real lb."""

from __future__ import annotations

import re

import pytest

from tests.harness import backend as raw
from tests.harness.backend import Reply
from tests.harness.wait import wait_for

TWO = """
http {
    access_log off;
    upstream u { server @a@ max_fails=0; server @b@ max_fails=0; @more@ }
    server {
        listen 127.0.0.1:@http@;
        @inside@
        add_header X-Addr $upstream_addr always;
        add_header X-Status $upstream_status always;
        add_header X-Connect $upstream_connect_time always;
        add_header X-Header $upstream_header_time always;
        add_header X-Time $upstream_response_time always;
        location / { proxy_pass http://u; }
    }
}
"""


@pytest.fixture
def two(run_lb, http_backend, connect):
    """two(first, inside) -> (client, lb): the first server is `first`, the second answers 200."""

    def start(first, inside="", more=""):
        good = http_backend(lambda _: Reply(body=b"good"))
        address = first if isinstance(first, str) else first.address
        lb = run_lb(TWO, a=address, b=good.address, inside=inside, more=more)
        return connect(lb.port("http")), lb, good

    return start


@pytest.mark.parametrize("status", [403, 404, 429, 500, 502, 503, 504])
def test_a_status_that_is_named_goes_to_the_next_server(two, http_backend, status):
    bad = http_backend(lambda _: Reply(status, body=b"bad"))
    client, _, good = two(bad, f"proxy_next_upstream http_{status};")
    response = client.request()
    assert (response.status, response.body) == (200, b"good")
    assert response.header("x-addr") == f"{bad.address}, {good.address}"
    assert response.header("x-status") == f"{status}, 200"
    for name in ("x-connect", "x-header", "x-time"):
        assert re.fullmatch(r"\d+\.\d{3}, \d+\.\d{3}", response.header(name))


def test_a_status_that_is_not_named_is_passed(two, http_backend):
    bad = http_backend(lambda _: Reply(500, body=b"bad"))
    client, _, _ = two(bad)
    response = client.request()
    assert (response.status, response.body, response.header("x-status")) == (500, b"bad", "500")


def test_the_last_server_s_answer_is_passed(run_lb, http_backend, connect):
    one, two = (http_backend(lambda _, n=n: Reply(404, body=n)) for n in (b"one", b"two"))
    lb = run_lb(TWO, a=one.address, b=two.address, inside="proxy_next_upstream http_404;", more="")
    response = connect(lb.port("http")).request()
    assert (response.status, response.body, response.header("x-status")) == (404, b"two", "404, 404")


def test_refused_connections_and_their_times(two, world):
    client, _, _ = two(f"127.0.0.1:{world.closed_port()}")
    response = client.request()
    assert response.body == b"good"
    assert response.header("x-status") == "502, 200"
    assert re.fullmatch(r"-, \d\.\d{3}", response.header("x-connect"))
    assert re.fullmatch(r"\d\.\d{3}, \d\.\d{3}", response.header("x-time"))


def test_off(two, world):
    client, _, _ = two(f"127.0.0.1:{world.closed_port()}", "proxy_next_upstream off;")
    response = client.request()
    assert (response.status, response.header("x-status")) == (502, "502")


def test_only_what_is_named(two, world):
    client, _, _ = two(f"127.0.0.1:{world.closed_port()}", "proxy_next_upstream http_500 timeout;")
    assert client.request().status == 502


@pytest.mark.parametrize(("inside", "status"), [("", 502), ("proxy_next_upstream invalid_header;", 200)])
def test_invalid_header(two, raw_backend, inside, status):
    client, _, _ = two(raw_backend(raw.answer(b"HTTP/9.9 nothing\r\n\r\n")), inside)
    assert client.request().status == status


def test_timeout(two, raw_backend):
    client, _, _ = two(raw_backend(raw.never_answer), "proxy_read_timeout 2s;")
    response = client.request()
    assert (response.status, response.header("x-status")) == (200, "504, 200")


def test_post_is_sent_again_only_where_that_is_allowed(two, raw_backend, http_backend):
    client, _, _ = two(raw_backend(raw.close_after_head))
    assert client.request("POST", body=b"x").status == 502
    client, _, good = two(raw_backend(raw.close_after_head), "proxy_next_upstream error non_idempotent;")
    assert client.request("POST", body=b"x").status == 200
    assert good.requests[0].body == b"x"
    # a status: the answer itself is passed
    client, _, good = two(http_backend(lambda _: Reply(500, body=b"own")), "proxy_next_upstream http_500;")
    response = client.request("POST", body=b"x")
    assert (response.status, response.body) == (500, b"own")


def test_post_that_was_not_sent_may_always_go_on(two, world):
    client, _, _ = two(f"127.0.0.1:{world.closed_port()}")
    assert client.request("POST", body=b"x").status == 200


@pytest.mark.parametrize(("tries", "status"), [(1, 502), (2, 502), (3, 200), (0, 200)])
def test_tries(run_lb, world, http_backend, connect, tries, status):
    good = http_backend(lambda _: Reply(body=b"good"))
    ports = [world.closed_port(), world.closed_port()]
    lb = run_lb(
        TWO, a=f"127.0.0.1:{ports[0]}", b=f"127.0.0.1:{ports[1]}", more=f"server {good.address};",
        inside=f"proxy_next_upstream_tries {tries};",
    )  # fmt: skip
    response = connect(lb.port("http")).request()
    assert response.status == status
    assert len(response.header("x-addr").split(", ")) == (tries or 3)


def test_timeout_of_tries(two, raw_backend):
    """The first server has used up the time: its 504 is the answer."""
    client, _, _ = two(raw_backend(raw.never_answer), "proxy_read_timeout 300ms; proxy_next_upstream_timeout 100ms;")
    response = client.request()
    assert (response.status, response.header("x-status")) == (504, "504")


def test_no_live_server(run_lb, world, connect):
    lb = run_lb(
        TWO.replace("max_fails=0", "max_fails=1"),
        a=f"127.0.0.1:{world.closed_port()}", b=f"127.0.0.1:{world.closed_port()}", inside="", more="",
    )  # fmt: skip
    client = connect(lb.port("http"))
    assert client.request().header("x-status") == "502, 502"
    response = client.request()
    assert (response.status, response.header("x-addr"), response.header("x-status")) == (502, "u", "502")
    lb.wait_log("no live upstreams while connecting to upstream")


def test_403_and_404_are_no_failures_of_the_server(run_lb, http_backend, connect):
    one = http_backend(lambda _: Reply(404, body=b"bad"))
    good = http_backend(lambda _: Reply(body=b"good"))
    text = TWO.replace("max_fails=0", "max_fails=1")
    lb = run_lb(text, a=one.address, b=good.address, inside="proxy_next_upstream http_404;", more="")
    client = connect(lb.port("http"))
    for _ in range(6):
        assert client.request().status == 200
    assert len(one.requests) > 1


STREAM = """
stream {
    upstream u { server 127.0.0.1:@closed@ max_fails=0; server @b@ max_fails=0; }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; @inside@ }
}
"""


@pytest.mark.parametrize(
    ("inside", "served"),
    [("", True), ("proxy_next_upstream off;", False), ("proxy_next_upstream_tries 1;", False),
     ("proxy_next_upstream on; proxy_next_upstream_tries 2;", True)],
)  # fmt: skip
def test_stream(run_lb, raw_backend, connect, inside, served):
    backend = raw_backend(raw.echo)
    lb = run_lb(STREAM, b=backend.address, inside=inside)
    client = connect(lb.port("tcp"))
    if served:
        assert client.send(b"hello").recv_exactly(5) == b"hello"
    else:
        client.expect_closed()
        wait_for(lambda: backend.accepted == 0)


@pytest.mark.parametrize(("inside", "answered"), [("proxy_half_close on;", True), ("", False)])
def test_the_end_of_one_direction(run_lb, raw_backend, connect, inside, answered):
    def script(connection):
        connection.recv_to_end()
        wait_for(lambda: released)
        connection.send(b"late")

    released: list[int] = []
    backend = raw_backend(script)
    lb = run_lb(STREAM, b=backend.address, inside=inside)
    client = connect(lb.port("tcp")).send(b"hello").half_close()
    wait_for(lambda: backend.received == b"hello")
    if not answered:
        client.expect_closed()
    released.append(1)
    if answered:
        assert client.recv_to_end() == b"late"
