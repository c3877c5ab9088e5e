"""Values in stream{}: `map`, `set`, `return`, and proxy_pass with variables, through the real lb."""

from __future__ import annotations

import pytest

from tests.harness import backend as raw
from tests.harness.wait import wait_for

RETURN = """
stream {
    map $server_port $known { default other; @tcp@ port-@tcp@; }
    map $part $shape { ~^p(.)rt$ middle-$1; default none; }
    server {
        listen 127.0.0.1:@tcp@;
        set $part port;
        set $both "$part:$known";
        return "$both $shape $remote_addr $protocol\\n";
    }
    server { listen 127.0.0.1:@two@; set $part x; return $shape; }
    server { listen 127.0.0.1:@three@; return @long@; }
}
"""


@pytest.fixture
def returning(run_lb):
    return run_lb(RETURN, long="y" * 3000)


def test_return_with_map_and_set(returning, connect):
    client = connect(returning.port("tcp"))
    assert client.recv_to_end() == b"port:port-%d middle-o 127.0.0.1 TCP\n" % returning.port("tcp")


def test_a_variable_that_was_never_set(run_lb, connect):
    lb = run_lb(
        """stream {
            server { listen 127.0.0.1:@tcp@; set $later x; return a$later; }
            server { listen 127.0.0.1:@two@; return a$later; }
        }"""
    )
    assert connect(lb.port("tcp")).recv_to_end() == b"ax"
    assert connect(lb.port("two")).recv_to_end() == b"a"
    wait_for(lambda: 'using uninitialized "later" variable' in lb.log)


def test_what_the_client_sent_does_not_cost_it_the_answer(returning, connect):
    """A close with unread bytes would be a reset."""
    client = connect(returning.port("three"))
    client.send(b"z" * 100_000)
    assert client.recv_to_end() == b"y" * 3000


def test_http_and_stream_have_variables_of_their_own(run_lb, connect):
    lb = run_lb(
        """http { map $uri $x { default http; } server { listen 127.0.0.1:@http@; return 200 $x; } }
        stream { map $server_port $x { default stream; } server { listen 127.0.0.1:@tcp@; return $x; } }"""
    )
    assert connect(lb.port("tcp")).recv_to_end() == b"stream"
    answer = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").recv_to_end()
    assert answer.endswith(b"\r\n\r\nhttp")


PASS = """
stream {
    log_format f "$status $upstream_addr $bytes_sent $to";
    access_log @log@ f;
    upstream Named { server @server@; }
    map $server_port $to {
        @tcp@ named; @two@ @server@; @three@ 127.0.0.1; @four@ nowhere.example:1; @five@ unix:/none;
    }
    server {
        listen 127.0.0.1:@tcp@; listen 127.0.0.1:@two@; listen 127.0.0.1:@three@;
        listen 127.0.0.1:@four@; listen 127.0.0.1:@five@;
        proxy_pass $to; proxy_buffer_size 100; proxy_socket_keepalive on;
    }
}
"""


@pytest.fixture
def passing(run_lb, raw_backend, tmp_path):
    backend = raw_backend(raw.echo)
    lb = run_lb(PASS, server=backend.address, log=tmp_path / "access.log")
    return lb, backend, tmp_path / "access.log"


def last(path):
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
    return path.read_text().splitlines()[-1]


@pytest.mark.parametrize("port", ["tcp", "two"], ids=["an upstream's name", "an address"])
def test_proxy_pass_with_a_variable(passing, connect, port):
    lb, backend, log = passing
    message = bytes(range(256)) * 40  # more than proxy_buffer_size many times over
    client = connect(lb.port(port)).send(message)
    assert client.recv_exactly(len(message)) == message
    client.close()
    to = "named" if port == "tcp" else backend.address
    assert last(log) == f"200 {backend.address} {len(message)} {to}"


@pytest.mark.parametrize(
    ("port", "status", "addr", "error"),
    [
        ("three", 500, "-", 'no port in upstream "127.0.0.1"'),
        ("four", 500, "-", 'no resolver defined to resolve "nowhere.example:1"'),
        ("five", 502, "unix:/none", "connect() to unix:/none failed (2: No such file or directory)"),
    ],
)
def test_proxy_pass_to_what_cannot_be(passing, connect, port, status, addr, error):
    lb, _, log = passing
    if "(2:" in error:
        lb.expect_log(r"\[crit\] .* connect\(\) to unix:/none failed")
    connect(lb.port(port)).expect_closed()
    assert last(log).startswith(f"{status} {addr} 0 ")
    wait_for(lambda: error in lb.log)


SHOW = """
stream {
    upstream a { server 127.0.0.1:1 weight=2; server 127.0.0.1:2 down; }
    server { listen 127.0.0.1:@tcp@; proxy_pass a; upstream_show; }
    server { listen 127.0.0.1:@two@; upstream_show; return x; }
}
"""


def test_upstream_show(run_lb, connect):
    """At once, whatever the client sends, as nginx-stream-upsync-module; the last of the three handlers counts."""
    lb = run_lb(SHOW)
    body = (
        b"Upstream name: a; Backend server count: 2\n"
        b"        server 127.0.0.1:1 weight=2 max_fails=1 fail_timeout=10s;\n"
        b"        server 127.0.0.1:2 weight=1 max_fails=1 fail_timeout=10s down;\n\n"
    )
    head = b"HTTP/1.0 200 OK\r\nServer: lb\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    head += b"Connection: close\r\n\r\n"
    assert connect(lb.port("tcp")).recv_to_end() == head % len(body) + body
    client = connect(lb.port("tcp")).send(b"GET /?b HTTP/1.1\r\nHost: a\r\n\r\n" + b"z" * 100_000)
    assert client.recv_to_end() == head % len(body) + body
    assert connect(lb.port("two")).recv_to_end() == b"x"


def test_upstream_show_without_upstreams(run_lb, connect):
    lb = run_lb("stream { server { listen 127.0.0.1:@tcp@; upstream_show; } }")
    assert connect(lb.port("tcp")).recv_to_end().endswith(b"\r\n\r\nNo upstreams defined\n")
