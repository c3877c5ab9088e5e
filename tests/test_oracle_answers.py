"""lb beside nginx: statuses, error pages, what is kept of a server's answer. See tests/oracle."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.oracle.case import Case, ask, check_case, get, http

NEWER = "nginx 1.23 and later"


def repeated(sock: socket.socket) -> None:
    """A server whose answer has every field twice."""
    sock.recv(4096)
    names = ("Content-Type", "Date", "ETag", "Expires", "Last-Modified", "Location", "Refresh", "Server")
    names += ("Cache-Control", "Link", "Set-Cookie", "Vary", "WWW-Authenticate", "X-Foo")
    lines = "".join(f"{name}: first\r\n{name.upper()}: second\r\n" for name in names)
    sock.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{lines}\r\n".encode())


ONCE = ("Content-Type", "ETag", "Expires", "Last-Modified", "Location", "Refresh")
OFTEN = ("Cache-Control", "Link", "Set-Cookie", "Vary", "WWW-Authenticate", "X-Foo")

CASES = {
    "intercepted": Case(
        http("""
    proxy_intercept_errors on;
    server {
        listen 127.0.0.1:8080;
        location / { proxy_pass http://127.0.0.1:8081; error_page 401 404 500 /page; }
        location /as200/ { proxy_pass http://127.0.0.1:8081/; error_page 404 =200 /page; }
        location /named/ { proxy_pass http://127.0.0.1:8081/; error_page 404 = @named; }
        location /again/ { proxy_pass http://127.0.0.1:8081/; error_page 404 = /behind; }
        location = /page { return 200 "$upstream_status $status $upstream_addr"; }
        location = /behind { proxy_pass http://127.0.0.1:8081/ok; add_header X-Tried $upstream_status; }
        location @named { return 203 "named $upstream_status $status"; }
    }
    server {
        listen 127.0.0.1:8081;
        location / { return 404 "not shown"; }
        location /500 { return 500; }
        location /401 { add_header WWW-Authenticate "Basic realm=a" always; return 401; }
        location /ok { return 200 "fine"; }
    }"""),
        (
            ask(get("/"), r"^HTTP/1.1 404 .*\n404 404 127.0.0.1:8081$"),
            ask(get("/500"), r"^HTTP/1.1 500 .*\n500 500 127"),
            ask(get("/401"), r"^HTTP/1.1 401 .*WWW-Authenticate: Basic realm=a\r\n.*\n401 401 127"),
            ask(get("/ok"), r"fine$"),
            ask(get("/as200/x"), r"^HTTP/1.1 200 .*\n404 200 127"),
            ask(get("/named/x"), r"^HTTP/1.1 203 .*\nnamed 404 203$"),
            ask(get("/again/x"), r"^HTTP/1.1 200 .*X-Tried: 404 : 200\r\n.*fine$"),
        ),
    ),
    "tries": Case(
        http("""
    upstream u { server 127.0.0.1:8081; server 127.0.0.1:8081; server 127.0.0.1:8081; }
    upstream backup {
        server 127.0.0.1:8081;
        server 127.0.0.1:8081 backup;
        server 127.0.0.1:8081 backup;
    }
    upstream down { server 127.0.0.1:8081; server 127.0.0.1:8081 down; server 127.0.0.1:8081; }
    proxy_intercept_errors on;
    proxy_next_upstream http_404;
    error_page 404 /tried;
    server {
        listen 127.0.0.1:8080;
        location / { proxy_pass http://u; }
        location /two { proxy_pass http://u; proxy_next_upstream_tries 2; }
        location /zero { proxy_pass http://u; proxy_next_upstream_tries 0; }
        location /backup { proxy_pass http://backup; }
        location /backup/two { proxy_pass http://backup; proxy_next_upstream_tries 2; }
        location /down { proxy_pass http://down; }
        location = /tried { return 200 "x${upstream_status}x"; }
    }
    server { listen 127.0.0.1:8081; return 404; }"""),
        (
            ask(get("/"), "x404, 404, 404x"),
            ask(get("/two"), "x404, 404x"),
            ask(get("/zero"), "x404, 404, 404x"),
            ask(get("/backup"), "x404, 404, 404x"),
            ask(get("/backup/two"), "x404, 404x"),
            ask(get("/down"), "x404, 404x"),
        ),
    ),
    "statuses": Case(
        http("""
    server {
        listen 127.0.0.1:8080;
        location /306 { return 306; }
        location /418 { return 418; }
        location /451 { return 451; }
        location /599 { return 599; }
        location /302 { return 302; }
        location /497 { return 497; }
        location /497page { error_page 497 /page; return 497; }
        location /497as { error_page 497 =202 /page; return 497; }
        location /497away { error_page 497 https://elsewhere$uri; return 497; }
        location /302text { error_page 302 /page; return 302 "text"; }
        location /405away { error_page 405 /302text; return 405; }
        location = /page { return 200 "page $status"; }
    }"""),
        (
            ask(get("/306"), r"^HTTP/1.1 306 \r\n.*Content-Type: text/plain\r\nContent-Length: 0\r\n.*\r\n\r\n$"),
            ask(get("/418"), r"^HTTP/1.1 418 \r\n.*Content-Length: 0\r\n.*\r\n\r\n$"),
            ask(get("/451"), r"^HTTP/1.1 451 \r\n.*Content-Length: 0\r\n"),
            ask(get("/599"), r"^HTTP/1.1 599 \r\n.*Content-Length: 0\r\n"),
            ask(get("/302"), r"^HTTP/1.1 302 .*Location: \r\n.*302 Found"),
            ask(get("/497"), r"^HTTP/1.1 400 Bad Request\r\n.*>400 The plain HTTP request was sent to HTTPS port<"),
            ask(get("/497page"), r"^HTTP/1.1 400 .*page 400$"),
            ask(get("/497as"), r"^HTTP/1.1 202 .*page 202$"),
            ask(get("/497away"), r"^HTTP/1.1 302 .*Location: https://elsewhere/497away\r\n"),
            ask(get("/302text"), r"^HTTP/1.1 302 .*Location: text\r\n.*page 302$"),
            ask(get("/405away"), r"^HTTP/1.1 302 .*Location: text\r\n"),
        ),
    ),
    "repeated fields": Case(
        http("server { listen 127.0.0.1:8080; location / { proxy_pass http://127.0.0.1:8081; } }"),
        tuple(ask(get("/"), rf"^(?!.*\r\n(?i:{name}): second).*\r\n{name}: first\r\n", only_lb=NEWER) for name in ONCE)
        + tuple(ask(get("/"), rf"\r\n{name}: first\r\n{name.upper()}: second\r\n", only_lb=NEWER) for name in OFTEN),
        daemons={8081: repeated},
    ),
    "sent fields in add_header": Case(
        http("""
    server {
        listen 127.0.0.1:8080;
        add_header Foo one;
        add_header Foo two;
        add_header X-Foo $sent_http_foo;
        add_header Cache-Control c1;
        add_header Cache-Control c2;
        add_header X-Cache $sent_http_cache_control;
        add_header Link l1;
        add_header Link l2;
        add_header X-Link $sent_http_link;
        add_header X-Type $sent_http_content_type;
        add_header X-Length $sent_http_content_length;
        add_header X-Connection $sent_http_connection;
        add_header X-Later $sent_http_later;
        add_header Later now;
        location / { return 200 "abc"; }
        location /proxied { proxy_pass http://127.0.0.1:8081; }
        location /none { return 204; }
    }
    server { listen 127.0.0.1:8081; add_header Foo zero; return 200 "abc"; }"""),
        (
            ask(get("/"), r"X-Foo: one, two\r\n", only_lb=NEWER),
            ask(get("/proxied"), r"X-Foo: zero, one, two\r\n", only_lb=NEWER),
            ask(get("/"), r"X-Cache: c1, c2\r\n.*X-Link: l1, l2\r\n", only_lb=NEWER),
            ask(get("/"), r"X-Type: text/plain\r\nX-Length: 3\r\nX-Connection: close\r\nLater: now", only_lb=NEWER),
            ask(get("/none"), r"204 .*X-Link: l1, l2\r\nX-Connection: close\r\nLater", only_lb=NEWER),
        ),
    ),
    "error_page of a refused head": Case(
        http("""
    server {
        listen 127.0.0.1:8080;
        large_client_header_buffers 2 512;
        client_header_buffer_size 512;
        error_page 400 405 414 417 /page;
        error_page 505 = /proxied;
        location / { return 204; }
        location = /page { return 200 "page $uri $status $request_method"; }
        location = /proxied { proxy_pass http://127.0.0.1:8081/behind; }
    }
    server { listen 127.0.0.1:8081; return 200 "$request_method $request_uri [$http_x_foo][$content_length]"; }"""),
        (
            ask(b"GET / HTTP/1.1\r\n\r\n", r"^HTTP/1.1 400 .*Connection: close\r\n.*page /page 400 GET$"),
            ask(b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc", "page /page 400 GET$"),
            ask(b"TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "page /page 405 GET$"),
            ask(b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (600 * b"x"), r"^HTTP/1.1 414 .*page /page 414 GET$"),
            ask(b"GET /../.. HTTP/1.1\r\nHost: a\r\n\r\n", r"^HTTP/1.1 400 .*page /page 400 GET$"),
            ask(
                b"PUT / HTTP/1.1\r\nHost: a\r\nX-Foo: x\r\nContent-Length: 3\r\nExpect: nothing\r\n\r\nabc",
                r"^HTTP/1.1 417 .*page /page 417 GET$",
                only_lb="nginx takes no notice of it",
            ),
            ask(
                b"PUT / HTTP/3.0\r\nHost: a\r\nX-Foo: x\r\nContent-Length: 3\r\n\r\nabc",
                r"^HTTP/1.1 200 .*GET /behind \[\]\[\]$",
            ),
        ),
    ),
    "100 Continue": Case(
        http("""
    server {
        listen 127.0.0.1:8080;
        location / { proxy_pass http://127.0.0.1:8081; }
        location /unbuffered { proxy_request_buffering off; proxy_pass http://127.0.0.1:8081; }
        location /small { client_max_body_size 1; proxy_pass http://127.0.0.1:8081; }
    }
    server { listen 127.0.0.1:8081; return 204; }"""),
        tuple(
            ask(
                f"{line} HTTP/1.{minor}\r\nHost: a\r\nConnection: close\r\nExpect: 100-Continue\r\n{body}".encode(),
                wanted if minor else "^HTTP/1.1 (204|413) ",
            )
            for minor in (0, 1)
            for line, body, wanted in (
                ("POST /", "Content-Length: 3\r\n\r\nabc", r"^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 "),
                ("POST /unbuffered", "Content-Length: 3\r\n\r\nabc", r"^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 "),
                ("POST /", "Content-Length: 0\r\n\r\n", r"^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 "),
                ("GET /", "\r\n", r"^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 "),
                ("POST /small", "Content-Length: 3\r\n\r\nabc", "^HTTP/1.1 413 "),
            )
        ),
    ),
    "a body of unknown length to HTTP/1.0": Case(
        http("""
    server {
        listen 127.0.0.1:8080;
        location / { proxy_http_version 1.0; proxy_request_buffering off; proxy_pass http://127.0.0.1:8081; }
    }
    server { listen 127.0.0.1:8081; return 200 "$server_protocol $content_length $http_transfer_encoding"; }"""),
        (
            ask(
                b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
                "HTTP/1.0 6 $",
            ),
        ),
    ),
    "trailers": Case(
        http("""
    server {
        listen 127.0.0.1:8080;
        add_trailer X-Type $sent_http_content_type;
        add_trailer X-Foo $sent_http_x_foo;
        add_trailer X-Empty $sent_http_x_body;
        add_header X-Foo foo;
        location / { return 200 "\\r\\nX-Body: no field\\r\\n"; }
        location /proxied { proxy_pass http://127.0.0.1:8081; }
    }
    server { listen 127.0.0.1:8081; return 200 "abc"; }""").replace("\\r\\n", "\r\n"),
        (
            ask(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                r"no field\r\n\r\n0\r\nX-Type: text/plain\r\nX-Foo: foo\r\n\r\n$",
            ),
            ask(
                b"GET /proxied HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                r"abc\r\n0\r\nX-Type: text/plain\r\nX-Foo: foo\r\n\r\n$",
            ),
        ),
    ),
    "unix sockets": Case(
        http("""
    server { listen 127.0.0.1:8080; location / { proxy_pass http://unix:%%dir%%/s.sock:/x/; } }
    server { listen unix:%%dir%%/s.sock; return 200 "$server_addr|$server_port|$remote_addr|$http_host|$request_uri"; }
    """),
        (ask(get("/y?z"), r"unix:%%dir%%/s.sock\|\|unix:\|localhost\|/x/y\?z$"),),
    ),
    "no host in the URL": Case(
        http("server { listen 127.0.0.1:8080; location / { proxy_pass http://$arg_to; } }"),
        (ask(get("/?to="), "^HTTP/1.1 500 "), ask(get("/?to=/x"), "^HTTP/1.1 500 ")),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name, tmp_path: Path):
    check_case(CASES[name], tmp_path)
