"""The error log's lines with their context, as the real nginx (1.22) writes them for the same requests and failures.

The expected lines are nginx's own, taken from it with the same configuration; where lb says more (the rule that was
broken), that is in a group of its own: `(+...)`.
"""

from __future__ import annotations

import re
import socket

import pytest

from tests.harness.backend import answer, close_after_head, never_answer, reset_after_head
from tests.harness.wait import wait_for

CONF = """
http {
    access_log off;
    proxy_connect_timeout 1s; proxy_read_timeout 500ms; client_header_timeout 500ms;
    upstream deads { server 127.0.0.1:@dead@; server unix:@nofile@; }
    server { listen 127.0.0.1:@http@; server_name s.example other;
        location /refused { proxy_pass http://127.0.0.1:@dead@; }
        location /uri/ { proxy_pass http://127.0.0.1:@dead@/new/; }
        location /dead { proxy_pass http://deads; }
        location /back { proxy_pass http://@back@; }
        location /small { client_max_body_size 1000; proxy_pass http://@back@; }
        location /deny { deny all; }
        location /cycle { rewrite ^ /cycle; }
        location /named { error_page 404 @none; return 404; }
        location /ok { return 204; }
    }
}
"""


def ask(target, more="", method="GET", body=b""):
    return f"{method} {target} HTTP/1.1\r\nHost: h.example:81\r\n{more}\r\n".encode() + body


def line(text, request, upstream="", host="h.example:81", more=""):
    """nginx's line, without its time and process."""
    asked = f', upstream: "http://{upstream}"' if upstream else ""
    name = f', host: "{host}"' if host else ""
    return f'{text}, client: 127.0.0.1, server: s.example, request: "{request}"{asked}{name}{more}'


CONNECT = "[error] connect() failed (111: Connection refused) while connecting to upstream"
NO_FILE = "[crit] connect() to unix:NONE failed (2: No such file or directory) while connecting to upstream"
DOWN = "[warn] upstream server temporarily disabled while connecting to upstream"
LINE = " while reading client request line"
HEAD = " while reading client request headers"

PLAIN = [
    (
        ask("/refused/x?a=%31", "Referer: http://ref/x\r\n"),
        [
            line(
                CONNECT,
                "GET /refused/x?a=%31 HTTP/1.1",
                "127.0.0.1:DEAD/refused/x?a=%31",
                more=', referrer: "http://ref/x"',
            )
        ],
    ),
    (ask("/uri/x?y"), [line(CONNECT, "GET /uri/x?y HTTP/1.1", "127.0.0.1:DEAD/new/x?y")]),
    (
        ask("/dead"),
        [
            line(text, "GET /dead HTTP/1.1", name)
            for text, name in (
                (CONNECT, "127.0.0.1:DEAD/dead"),
                (DOWN, "127.0.0.1:DEAD/dead"),
                (NO_FILE, "unix:NONE:/dead"),
                (DOWN, "unix:NONE:/dead"),
            )
        ],
    ),
    (
        ask("/dead"),
        [line("[error] no live upstreams while connecting to upstream", "GET /dead HTTP/1.1", "deads/dead")],
    ),
    (
        ask("/small", "Content-Length: 2000\r\n", "POST"),
        [line("[error] client intended to send too large body: 2000 bytes", "POST /small HTTP/1.1")],
    ),
    (
        ask("/small", "Transfer-Encoding: chunked\r\n", "POST", b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"),
        [line("[error] client intended to send too large chunked body: 0+2000 bytes", "POST /small HTTP/1.1")],
    ),
    (
        ask("/small", "Transfer-Encoding: chunked\r\n", "POST", b"zz\r\n"),
        [line("[error] client sent invalid chunked body", "POST /small HTTP/1.1")],
    ),
    (ask("/deny"), [line("[error] access forbidden by rule", "GET /deny HTTP/1.1")]),
    (
        ask("/cycle"),
        [line('[error] rewrite or internal redirection cycle while processing "/cycle"', "GET /cycle HTTP/1.1")],
    ),
    (ask("/named"), [line('[error] could not find named location "@none"', "GET /named HTTP/1.1")]),
    (
        b"GET / HTTP/1.1\r\n\r\n",
        [line(f'[info] client sent HTTP/1.1 request without "Host" header(+){HEAD}', "GET / HTTP/1.1", host="")],
    ),
    (
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        [line(f"[info] client sent duplicate host header(+){HEAD}", "GET / HTTP/1.1", host="")],
    ),
    (
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        [line(f"[info] client sent invalid host header(+){HEAD}", "GET / HTTP/1.1", host="")],
    ),
    (
        b"GET / HTTP/9.1\r\nHost: a\r\n\r\n",
        [line(f"[info] client sent invalid version(+){LINE}", "GET / HTTP/9.1", host="")],
    ),
    (b"GARBAGE\r\n\r\n", [line(f"[info] client sent invalid method(+){LINE}", "GARBAGE", host="")]),
    (
        b"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n",
        [line(f"[info] client sent invalid header line(+){HEAD}", "GET / HTTP/1.1", host="")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        [line(f'[info] client sent invalid "Content-Length" header(+){HEAD}', "POST / HTTP/1.1", host="")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: foo\r\n\r\n",
        [line(f'[info] client sent unknown "Transfer-Encoding"(+){HEAD}', "POST / HTTP/1.1", host="")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        [
            line(
                f'[info] client sent "Content-Length" and "Transfer-Encoding" headers at the same time(+){HEAD}',
                "POST / HTTP/1.1",
                host="",
            )
        ],
    ),
    (
        b"GET /slow HTTP/1.1\r\nHost: h\r\n",
        [line(f"[info] client timed out (110: Connection timed out){HEAD}", "GET /slow HTTP/1.1", host="")],
    ),
]

READING = "[error] {} while reading response header from upstream"
BACKS = [
    (reset_after_head, READING.format("recv() failed (104: Connection reset by peer)")),
    (close_after_head, READING.format("upstream prematurely closed connection")),
    (never_answer, READING.format("upstream timed out (110: Connection timed out)")),
    (answer(b"GARBAGE\r\n\r\n"), READING.format("upstream sent no valid HTTP/1.0 header(+)")),
    (answer(b"HTTP/1.1 200 OK\r\nA b\r\n\r\n"), READING.format("upstream sent invalid header(+)")),
    (answer(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n"), READING.format("upstream sent too big header")),
    (
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        "[error] upstream prematurely closed connection while reading upstream",
    ),
    (
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcdef"),
        '[warn] upstream sent more data than specified in "Content-Length" header while reading upstream',
    ),
]


class Lines:
    """The lines of an error log since the last call, as the tables have them."""

    def __init__(self, lb):
        self.lb = lb
        self.at = 0
        self.take(0)

    def new(self):
        text = (self.lb.directory / "error.log").read_text().splitlines()
        text = [one for one in text if "closed keepalive" not in one][self.at :]
        return [re.sub(r"^\S+ \S+ (\[\w+\]) \d+#0:(?: \*\d+)?", r"\1", one) for one in text]

    def take(self, count):
        wait_for(lambda: len(self.new()) >= count, lambda: f"{count} lines: {self.new()}")
        found = self.new()
        self.at += len(found)
        return found


def matches(found, expected, values):
    for name, value in values.items():
        expected = expected.replace(name, value)
    pattern = re.escape(expected).replace(re.escape("(+)"), "(?:: .*? at byte [0-9]+)")
    return re.fullmatch(pattern, found)


def check(lines, expected, **values):
    for one, text in zip(lines.take(len(expected)), expected, strict=True):
        assert matches(one, text, values), f"{one}\n{text}"


def test_client_and_connect(run_lb, tmp_path, closed_port_backend):
    lb = run_lb(CONF, nofile=tmp_path / "none", back=closed_port_backend)
    lb.expect_log(r"\[crit\] .* connect\(\) to unix:")
    lines = Lines(lb)
    for request, expected in PLAIN:
        with socket.create_connection(("127.0.0.1", lb.port("http"))) as client:
            client.settimeout(5)
            client.sendall(request)
            client.recv(65536)
        check(lines, expected, DEAD=str(lb.port("dead")), NONE=str(tmp_path / "none"))


@pytest.fixture
def closed_port_backend(raw_backend):
    return raw_backend(close_after_head).address


@pytest.mark.parametrize(("script", "expected"), BACKS, ids=[text.split(" while")[0][8:40] for _, text in BACKS])
def test_servers(run_lb, raw_backend, script, expected, tmp_path):
    back = raw_backend(script)
    lb = run_lb(CONF, nofile=tmp_path / "none", back=back.address)
    lines = Lines(lb)
    with socket.create_connection(("127.0.0.1", lb.port("http"))) as client:
        client.settimeout(5)
        client.sendall(ask("/back?x"))
        client.recv(65536)
        found = lines.take(1)
        assert matches(found[0], line(expected, "GET /back?x HTTP/1.1", f"{back.address}/back?x"), {}), found


def test_a_reused_connection_that_the_server_had_closed(run_lb, raw_backend, connect):
    """It is in normal service, hence no error: the request goes on a new connection."""

    def one_answer(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.recv_head()  # and closes

    back = raw_backend(one_answer, one_answer)
    lb = run_lb(
        """http { access_log off; upstream u { server @back@; keepalive 4; }
            server { listen 127.0.0.1:@http@; proxy_http_version 1.1; proxy_set_header Connection "";
                location / { proxy_pass http://u; } } }""",
        back=back.address,
    )
    client = connect(lb.port("http"))
    assert client.request().status == 200
    assert client.request().status == 200
    assert back.accepted == 2
    client.close()
    lb.wait_log(r"\[info\] \d+#0: \*1 client 127.0.0.1 closed keepalive connection\n")
    assert "[error]" not in lb.log and "[warn]" not in lb.log


STREAM = """
stream {
    upstream dead { server 127.0.0.1:@dead@; server 127.0.0.1:@down@ down; }
    server { listen 127.0.0.1:@one@; proxy_pass dead; }
    server { listen 127.0.0.1:@two@; proxy_pass @back@; proxy_timeout 2s; }
}
"""


def test_sessions(run_lb, raw_backend, connect):
    def good(connection):
        connection.recv_until(b"hello")
        connection.send(b"good")

    def broken(connection):
        connection.recv_until(b"hello")
        connection.reset()

    back = raw_backend(good, never_answer, broken)
    lb = run_lb(STREAM, back=back.address)
    lines = Lines(lb)
    bytes_none = ", bytes from/to client:0/0, bytes from/to upstream:0/0"
    context = f", client: 127.0.0.1, server: 127.0.0.1:{lb.port('one')}, upstream: "
    dead = f'"127.0.0.1:{lb.port("dead")}"{bytes_none}'
    connect(lb.port("one")).expect_closed()
    found = lines.take(3)
    assert re.fullmatch(rf"\[info\] client 127.0.0.1:\d+ connected to 127.0.0.1:{lb.port('one')}", found[0])
    assert found[1:] == [f"{CONNECT}{context}{dead}", f"{DOWN}{context}{dead}"]
    connect(lb.port("one")).expect_closed()
    gone = "[error] no live upstreams while connecting to upstream"
    assert lines.take(2)[1] == f'{gone}{context}"dead"{bytes_none}'

    session = ", bytes from/to client:5/4, bytes from/to upstream:4/5"
    client = connect(lb.port("two")).send(b"hello")
    assert client.recv_to_end() == b"good"
    client.close()
    found = lines.take(3)
    assert re.fullmatch(rf"\[info\] proxy 127.0.0.1:\d+ connected to {back.address}", found[1])
    assert found[2] == f"[info] upstream disconnected{session}"
    context = f', client: 127.0.0.1, server: 127.0.0.1:{lb.port("two")}, upstream: "{back.address}"'
    half = ", bytes from/to client:5/0, bytes from/to upstream:0/5"
    connect(lb.port("two")).send(b"hello").expect_closed()
    text = "[info] connection timed out (110: Connection timed out) while proxying connection"
    assert lines.take(3)[2] == f"{text}{context}{half}"
    connect(lb.port("two")).send(b"hello").expect_closed()
    text = "[error] recv() failed (104: Connection reset by peer) while proxying connection"
    assert lines.take(4)[2:] == [f"{text}{context}{half}", f"[info] upstream disconnected{half}"]


def test_the_first_line_of_a_log(run_lb):
    """Scripts look for nginx's: lb names the version whose behaviour it follows."""
    lb = run_lb("http { }")
    assert re.search(r"\[notice\] \d+#0: lb/[\d.]+ as nginx/[\d.]+\n", lb.log)
