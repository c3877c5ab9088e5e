"""`error_log ... debug` and `debug_connection`: one connection's way, step by step, and nothing of the others."""

from __future__ import annotations

import re
import socket

import pytest

from tests.harness.backend import close_after_head
from tests.harness.wait import wait_for

CONF = """
error_log error.log @level@;
events { @events@ }
http {
    access_log off;
    limit_req_zone $arg_slow zone=slow:64k rate=1r/s;
    upstream u { server @back@; keepalive 4; }
    upstream two { server @bad@; server @back@ backup; }
    server { listen 127.0.0.1:@http@; server_name s.example;
        location / { proxy_pass http://u; }
        location /old/ { rewrite ^/old/(.*)$ /new/$1 break; proxy_pass http://u; }
        location /retry { proxy_pass http://two; }
        location /slow { limit_req zone=slow burst=5; proxy_pass http://u; }
        location /deny { deny all; }
        location /body { client_body_buffer_size 1k; proxy_pass http://u; }
        location /own { error_log own.log debug; return 204; }
        location /quiet { error_log quiet.log; return 204; }
        location /page { error_page 404 /found; return 404; }
        location /found { return 200 found; }
    }
}
"""


@pytest.fixture
def start(run_lb, http_backend, raw_backend):
    def start(level="debug", events=""):
        values = {"back": http_backend().address, "bad": raw_backend(close_after_head).address}
        return run_lb(CONF, level=level, events=events, **values)

    return start


def steps(lb, number=1, name="error.log"):
    """What the log tells of one connection, without time and process."""
    path = lb.directory / name
    found = re.findall(rf"^.{{19}} \[(\w+)\] \d+#0: \*{number} (.*)$", path.read_text() if path.exists() else "", re.M)
    return [f"{text}" if level == "debug" else f"[{level}] {text}" for level, text in found]


def whole(lb, number=1):
    """The same once the connection is closed."""
    wait_for(lambda: any(re.match(r"close \w+ client connection", step) for step in steps(lb, number)), "its end")
    return steps(lb, number)


def in_order(found, *patterns):
    """Each pattern fits a step behind that of the one before."""
    rest = iter(found)
    for pattern in patterns:
        assert any(re.search(pattern, step) for step in rest), f"{pattern!r} in its place in:\n" + "\n".join(found)


def test_a_request_from_accept_to_close(start, connect):
    lb = start()
    with connect(lb.port("http")) as client:
        client.request("GET", "/x?y=1", headers="X-One: 1\r\n")
        client.request("GET", "/x?y=2")
    found = whole(lb)
    in_order(
        found,
        r"^accept: 127\.0\.0\.1:\d+ fd:\d+$",
        r"^event timer: fd:\d+ 60000 ms$",
        r"^recv: fd:\d+ \d+ of \d+$",
        r"^connection fd:\d+ head -> busy$",
        r'^http request line: "GET /x\?y=1 HTTP/1\.1"$',
        r'^http header: "X-One: 1"$',
        r"^http header done",
        r'^http server: "s\.example"$',
        r'^http uri: "/x"$',
        r'^http args: "y=1"$',
        r'^using configuration "/"$',
        r"^content: proxy_pass$",
        r'^get peer: "127\.0\.0\.1:\d+" of "u", try 1$',
        r"^connect to 127\.0\.0\.1:\d+, fd:\d+$",
        r"^connected, ms: \d+$",
        r'^http proxy request: "GET /x\?y=1 HTTP/1\.1"$',
        r"^send: fd:\d+ (\d+) of \1$",
        r'^http proxy status 200 ""$',
        r'^http proxy header: "Content-Length: \d+"$',
        r'^http response: "HTTP/1\.1 200 "$',
        r"^send: fd:\d+ (\d+) of \1$",
        r"^http upstream response is whole, bytes of its body: \d+$",
        r"^free peer: ",
        r"^free keepalive peer: saving connection fd \d+$",
        r"^http finalize request: status 200$",
        r"^set http keepalive handler, requests so far: 1$",
        r"^connection fd:\d+ busy -> idle$",
        r'^http request line: "GET /x\?y=2 HTTP/1\.1"$',
        r"^get keepalive peer: using connection fd \d+$",
        r"^set http keepalive handler, requests so far: 2$",
        r"^close http client connection: fd:\d+ $",
    )


def test_rewrites_refusals_delays_bodies_and_redirects(start, connect):
    lb = start()
    with connect(lb.port("http")) as client:
        client.request("GET", "/old/a?b")
        assert client.request("GET", "/slow?slow=1").status == 200
        assert client.request("GET", "/slow?slow=1").status == 200
        client.request("POST", "/body", body=b"x" * 5000)
        assert client.request("GET", "/page").status == 404
        assert client.request("GET", "/deny").status == 403
    lb.expect_log("access forbidden by rule")
    in_order(
        whole(lb),
        r'^http script rewrite "\^/old/\(\.\*\)\$" on "/old/a"$',
        r'^rewritten data: "/new/a", args: "b"$',
        r'^limit_req "slow": excess 0\.000 of 5\.000$',
        r'^limit_req "slow": excess [01]\.\d+ of 5\.000$',
        r"^limit_req: delayed, ms: \d+$",
        r"^event timer fired: fd:\d+ busy$",
        r'^http temporary file: "',
        r'^http special response: 404, "/page"$',
        r'^internal redirect: "/found"$',
        r"^access: denied$",
        r'^http special response: 403, "/deny"$',
    )


def test_another_try(start, connect):
    lb = start()
    lb.expect_log("upstream prematurely closed connection")
    with connect(lb.port("http")) as client:
        client.request("GET", "/retry")
    in_order(
        whole(lb),
        r'of "two", try 1$',
        r"^http next upstream: connection broken, another try$",
        r"^close upstream connection: fd:\d+ $",
        r'of "two", try 2$',
        r"^http finalize request: status 200$",
    )


def test_a_location_with_a_debug_log_of_its_own(start, connect):
    lb = start(level="info")
    with connect(lb.port("http")) as client:
        client.request("GET", "/own")
        client.request("GET", "/x")
    lb.stop()
    own = steps(lb, name="own.log")
    in_order(own, '^using configuration "/own"$', "^http finalize request: status 204$", "^set http keepalive handler")
    assert not any('using configuration "/"' in step for step in own)
    assert "[debug]" not in lb.log


def test_debug_connection_tells_of_these_clients_alone(start, connect):
    """All of their messages go to every error log of what they ask for, as nginx's do."""
    lb = start(level="error", events="debug_connection 127.0.0.3; debug_connection 10.0.0.0/8;")
    for host in ("127.0.0.2", "127.0.0.3"):
        with socket.create_connection(("127.0.0.1", lb.port("http")), source_address=(host, 0)) as sock:
            sock.sendall(b"GET /quiet HTTP/1.1\r\nHost: a\r\n\r\nGET /x")
            assert sock.recv(4096).startswith(b"HTTP/1.1 204 ")
    wait_for(lambda: any("close http client" in step for step in every(lb)), "the end of the connection")
    lb.stop()
    assert {address for step in every(lb) for address in re.findall(r"127\.0\.0\.[23]\b", step)} == {"127.0.0.3"}
    in_order(steps(lb, 2), r"^accept: 127\.0\.0\.3:", r'^http request line: "GET /quiet')
    in_order(steps(lb, 2, "quiet.log"), '^using configuration "/quiet"$', r"^\[info\] .*prematurely|^close http client")
    assert "*1 " not in lb.log


def every(lb):
    return steps(lb, r"\d+") + steps(lb, r"\d+", "quiet.log")


def test_nothing_of_it_below_debug(start, connect):
    lb = start(level="info")
    with connect(lb.port("http")) as client:
        client.request("GET", "/x")
    lb.stop()
    assert "[debug]" not in lb.log


def test_a_session(run_lb, raw_backend, connect):
    lb = run_lb(
        """
        error_log error.log debug;
        events {}
        stream {
            upstream s { server @back@; }
            server { listen 127.0.0.1:@tcp@; proxy_pass s; }
        }
        """,
        back=raw_backend(lambda connection: connection.send(connection.recv_exactly(4))).address,
    )
    with connect(lb.port("tcp")) as client:
        client.send(b"ping")
        assert client.recv_exactly(4) == b"ping"
    in_order(
        whole(lb),
        "^accept: ",
        r'^get peer: ".*" of "s", try 1$',
        "^connected, ms: ",
        r"^recv: fd:\d+ 4 of \d+$",
        r"^send: fd:\d+ 4 of 4$",
        "^free peer: ",
        "^close tcp client connection: ",
    )
