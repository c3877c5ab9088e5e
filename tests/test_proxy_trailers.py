"""Trailers: proxy_pass_trailers, add_trailer, and the variables about them. nginx 1.22 has no proxy_pass_trailers."""

from __future__ import annotations

import pytest

from tests.harness.backend import answer
from tests.harness.wait import wait_for

SITE = """
http {
    log_format t "$sent_trailer_x_one|$sent_trailer_x_two|$upstream_trailer_x_one|$upstream_trailer_none";
    access_log @directory@/t.log t;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://u; @inside@ }
        location /own { return 200 own; @inside@ }
    }
}
"""
TRAILERS = b"X-One:  first \r\nx-one: second\r\nContent-Length: 3\r\nHost: evil\r\nSet-Cookie: a=b\r\nX-Two: 2\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def ask(run_lb, raw_backend, connect, tmp_path):
    """ask(inside, reply) -> (bytes that the client got behind the head, what the log says)."""

    def ask(inside, *replies, request=b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        backend = raw_backend(answer(*replies))
        lb = run_lb(SITE, backend=backend.address, inside=inside, directory=tmp_path)
        client = connect(lb.port("http")).send(request)
        head = client.recv_until(b"\r\n\r\n")
        body = client.recv_to_end()
        log = tmp_path / "t.log"
        wait_for(lambda: log.exists() and log.read_text())
        return body[len(head) :] if body.startswith(head) else body, log.read_text().splitlines()[-1]

    return ask


def test_they_are_dropped_unless_asked_for(ask):
    body, log = ask("", CHUNKED + b"4\r\ntext\r\n0\r\n" + TRAILERS + b"\r\n")
    assert body == b"4\r\ntext\r\n0\r\n\r\n"
    assert log == "-|-|first, second|-"


def test_they_are_passed(ask):
    inside = "proxy_pass_trailers on;"
    body, log = ask(inside, CHUNKED + b"4\r\ntext\r\n0\r\n" + TRAILERS + b"\r\n")
    assert body.endswith(b"0\r\nX-One: first\r\nx-one: second\r\nX-Two: 2\r\n\r\n")
    assert log == "first, second|2|first, second|-"


def test_they_may_come_alone_or_not_at_all(ask):
    assert ask("proxy_pass_trailers on;", CHUNKED + b"0\r\n\r\n")[0] == b"0\r\n\r\n"
    assert ask("proxy_pass_trailers on;", CHUNKED + b"0\r\nX-One: 1\r\n\r\n")[0] == b"0\r\nX-One: 1\r\n\r\n"


def test_hidden_and_added_ones(ask):
    inside = "proxy_pass_trailers on; proxy_hide_header X-One; add_trailer X-Two $upstream_trailer_x_two;"
    inside += "add_trailer X-None $upstream_trailer_none; add_trailer X-Late $upstream_status always;"
    body, log = ask(inside, CHUNKED + b"0\r\n" + TRAILERS + b"\r\n")
    assert body == b"0\r\nX-Two: 2\r\nX-Two: 2\r\nX-Late: 200\r\n\r\n"
    assert log == "-|2, 2|first, second|-"


def test_http_1_0_gets_none(ask):
    request = b"GET / HTTP/1.0\r\n\r\n"
    body, log = ask("proxy_pass_trailers on;", CHUNKED + b"4\r\ntext\r\n0\r\n" + TRAILERS + b"\r\n", request=request)
    assert (body, log) == (b"text", "-|-|first, second|-")


def test_a_known_length_stays(ask):
    body, _ = ask("proxy_pass_trailers on;", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")
    assert body == b"text"


def test_bad_ones_are_no_trailers(ask):
    body, _ = ask("proxy_pass_trailers on;", CHUNKED + b"4\r\ntext\r\n0\r\nX-One: a\rb\r\n\r\n")
    assert b"502 Bad Gateway" in body


def test_too_long_ones(ask):
    long = b"".join(b"X-%d: %s\r\n" % (i, b"x" * 900) for i in range(8))
    body, _ = ask("proxy_pass_trailers on;", CHUNKED + b"0\r\n" + long + b"\r\n")
    assert body == b"0\r\n" + long + b"\r\n"
    request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Y: %s\r\nConnection: close\r\n\r\n" % (b"y" * 4000)
    inside = "proxy_pass_trailers on; add_trailer Y $http_x_y;"
    body, _ = ask(inside, CHUNKED + b"0\r\n" + long + b"\r\n", request=request)
    assert body == b"0\r\n\r\n"


def test_the_request_asks_for_them(run_lb, raw_backend, connect, tmp_path):
    backend = raw_backend(answer(CHUNKED + b"0\r\nX-One: 1\r\n\r\n"))
    inside = "proxy_pass_trailers on; proxy_set_header Connection te; proxy_set_header TE trailers;"
    lb = run_lb(SITE, backend=backend.address, inside=inside, directory=tmp_path)
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.recv_to_end().endswith(b"0\r\nX-One: 1\r\n\r\n")
    assert b"\r\nConnection: te\r\nTE: trailers\r\n" in backend.received


def test_the_next_server_may_answer_where_one_sent_bad_chunks(run_lb, raw_backend, connect):
    text = """
http {
    access_log off;
    upstream u { server @backend@; server @other@ backup; }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; proxy_next_upstream invalid_header; } }
}
"""
    bad = raw_backend(answer(CHUNKED + b"zz\r\n"))
    good = raw_backend(answer(CHUNKED + b"4\r\ngood\r\n0\r\n\r\n"))
    lb = run_lb(text, backend=bad.address, other=good.address)
    assert connect(lb.port("http")).request("GET", "/").body == b"good"


def test_own_answers(ask):
    inside = "proxy_pass_trailers on; add_trailer X-One a; add_trailer X-One $uri;"
    body, log = ask(inside, request=b"GET /own HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert body == b"3\r\nown\r\n0\r\nX-One: a\r\nX-One: /own\r\n\r\n"
    assert log == "a, /own|-|-|-"
