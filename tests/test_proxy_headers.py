"""What a location does with the fields of requests and answers, through the real lb; nginx's texts and order."""

from __future__ import annotations

import pytest

from tests.harness import tls_socket
from tests.harness.backend import Reply

ONE = """
http {
    access_log off;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        server_name example.test;
        @server@
        location / { proxy_pass http://u; @inside@ }
        location /one/ { proxy_pass http://u/two/; @inside@ }
        location /own { return 200 "own text"; @inside@ }
        location /missing { return 404; @inside@ }
    }
}
"""


@pytest.fixture
def ask(run_lb, http_backend, connect):
    """ask(inside, headers=of the answer, ...) -> (response, the request that the backend got)."""

    def ask(inside, answer=(), status=200, target="/", method="GET", headers="", body=b"", server="", reply=None):
        backend = http_backend(lambda _: reply or Reply(status, body=b"" if status == 304 else b"text", headers=answer))
        text = (
            ONE
            if "default" not in inside
            else ONE.replace('"own text"; @inside@', '"";').replace("404; @inside@", "404;")
        )
        lb = run_lb(text, backend=backend.address, inside=inside, server=server)
        client = connect(lb.port("http"))
        headers = "Host: example.test\r\n" + headers
        response = client.request(method, target, headers, body)
        assert client.request(method, target, headers, body).status == response.status  # the connection is still good
        return response, backend.requests[-1] if backend.requests else None, lb

    return ask


# ---- answers


def test_hidden_fields(ask):
    answer = [("X-Secret", "1"), ("X-Open", "2"), ("ETag", '"e"'), ("X-Accel-Charset", "x"), ("x-sECRET", "3")]
    response, _, _ = ask("proxy_hide_header X-Secret; proxy_hide_header ETag;", answer)
    assert not response.all("x-secret") and not response.all("etag") and not response.all("x-accel-charset")
    assert response.header("x-open") == "2"


def test_passed_fields(ask):
    date = "Tue, 01 Jan 2019 00:00:00 GMT"
    answer = [("Server", "theirs"), ("Date", date), ("X-Accel-Charset", "x"), ("X-Pad", "p")]
    inside = "proxy_pass_header Server; proxy_pass_header Date; proxy_pass_header X-Accel-Charset;"
    response, _, _ = ask(inside, answer)
    assert response.all("server") == ["theirs"]
    assert response.all("date") == [date]
    assert response.header("x-accel-charset") == "x"
    assert response.header("x-pad") is None


def test_own_server_and_date_where_the_server_sends_none(ask):
    response, _, _ = ask("proxy_pass_header Server; proxy_pass_header Date;")
    assert len(response.all("server")) == 1 and len(response.all("date")) == 1


@pytest.mark.parametrize("status", [200, 201, 204, 206, 301, 302, 303, 304, 307, 308])
def test_add_header_with_usual_statuses(ask, status):
    response, _, _ = ask('add_header X-A "$request_method $uri"; add_header X-Empty "$arg_none";', status=status)
    assert response.status == status
    assert response.all("x-a") == ["GET /"]
    assert response.all("x-empty") == []


@pytest.mark.parametrize("status", [400, 404, 500, 202])
def test_add_header_always(ask, status):
    response, _, _ = ask("add_header X-A 1; add_header X-B 2 always;", status=status)
    assert response.all("x-a") == []
    assert response.all("x-b") == ["2"]


def test_add_header_on_own_answers(ask):
    response, _, _ = ask("add_header X-A $status;", target="/own")
    assert (response.body, response.header("x-a")) == (b"own text", "200")
    response, _, _ = ask("add_header X-A 1; add_header X-B 2 always;", target="/missing")
    assert (response.status, response.header("x-a"), response.header("x-b")) == (404, None, "2")


def test_add_header_is_inherited_as_a_whole(ask):
    assert ask("", server="add_header X-A 1;")[0].header("x-a") == "1"
    response, _, _ = ask("add_header X-B 2;", server="add_header X-A 1;")
    assert (response.header("x-a"), response.header("x-b")) == (None, "2")


def test_a_value_brings_no_line_into_a_head(ask):
    response, request, _ = ask("add_header X-A $uri; proxy_set_header X-P $uri;", target="/a%0d%0aX-Evil:%201")
    assert response.header("x-evil") is None and request.header("x-evil") is None
    assert response.header("x-a") == "/a  X-Evil: 1"


@pytest.mark.parametrize(
    ("inside", "target", "location", "expected"),
    [
        ("", "/", "http://u/path", "http://example.test:@port@/path"),
        ("", "/one/", "http://u/two/path", "http://example.test:@port@/one/path"),
        ("", "/one/", "http://u/three/path", "http://u/three/path"),
        ("proxy_redirect default;", "/one/", "http://u/two/path", "http://example.test:@port@/one/path"),
        ("proxy_redirect off;", "/", "http://u/path", "http://u/path"),
        ("proxy_redirect http://u/ /else/;", "/", "http://u/path", "http://example.test:@port@/else/path"),
        ("proxy_redirect http://$arg_a/ https://$host/;", "/?a=b", "http://b/path", "https://example.test/path"),
        ("proxy_redirect http://a/ /a/; proxy_redirect http://b/ http://c/;", "/", "http://b/path", "http://c/path"),
        ("proxy_redirect http://u/ /else/;", "/", "/relative", "/relative"),
    ],
)
def test_redirect(ask, inside, target, location, expected):
    response, _, lb = ask(inside, [("Location", location)], status=302, target=target)
    own = f"{'https' if tls_socket.ENGINE else 'http'}://example.test:{lb.port('http')}"
    assert response.header("location") == expected.replace("http://example.test:@port@", own)


def test_refresh_is_redirected(ask):
    response, _, _ = ask("proxy_redirect http://u/ http://c/;", [("Refresh", "7; url=http://u/path")])
    assert response.header("refresh") == "7; url=http://c/path"
    response, _, _ = ask("proxy_redirect http://u/ http://c/;", [("Refresh", "7")])
    assert response.header("refresh") == "7"


@pytest.mark.parametrize(
    ("inside", "cookie", "expected"),
    [
        ("proxy_cookie_domain a.test b.test;", "x=y; Domain=A.test; Path=/", "x=y; Domain=b.test; Path=/"),
        ("proxy_cookie_domain .a.test b.test;", "x=y; domain=.a.test", "x=y; domain=.b.test"),
        ("proxy_cookie_domain a.test $host;", "x=y;domain=a.test;secure", "x=y; domain=example.test; secure"),
        ("proxy_cookie_domain a.test b.test;", "x=y; domain=sub.a.test", "x=y; domain=sub.a.test"),
        ("proxy_cookie_path /one/ /;", "x=y; Path=/one/two;HttpOnly", "x=y; Path=/two; HttpOnly"),
        ("proxy_cookie_path /one/ /;", "x=y;  path=/three", "x=y;  path=/three"),
        ("proxy_cookie_path off;", "x=y; path=/one/", "x=y; path=/one/"),
        ("proxy_cookie_flags x secure httponly samesite=lax;", "x=y", "x=y; Secure; HttpOnly; SameSite=Lax"),
        ("proxy_cookie_flags x nosecure samesite=strict;", "x=y; secure; SameSite=none", "x=y; SameSite=Strict"),
        ("proxy_cookie_flags z secure;", "x=y; Path=/", "x=y; Path=/"),
        ("proxy_cookie_flags x samesite=none;", "x=y", "x=y; SameSite=None"),
    ],
)
def test_cookies(ask, inside, cookie, expected):
    response, _, _ = ask(inside, [("Set-Cookie", cookie), ("Set-Cookie", "other=1")])
    assert response.all("set-cookie") == [expected, "other=1"]


@pytest.mark.parametrize(
    ("text", "expires", "control"),
    [
        ("epoch", "Thu, 01 Jan 1970 00:00:01 GMT", "no-cache"),
        ("max", "Thu, 31 Dec 2037 23:55:55 GMT", "max-age=315360000"),
        ("1h", None, "max-age=3600"),
        ("0", None, "max-age=0"),
        ("-1", None, "no-cache"),
        ("modified 1h", "Sat, 01 Jan 2000 01:00:00 GMT", "no-cache"),
    ],
)
def test_expires(ask, text, expires, control):
    answer = [("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT"), ("Expires", "0"), ("Cache-Control", "private")]
    response, _, _ = ask(f"expires {text};", answer)
    assert response.all("cache-control") == [control]
    assert len(response.all("expires")) == 1
    if expires:
        assert response.header("expires") == expires


def test_expires_only_with_usual_statuses(ask):
    response, _, _ = ask("expires max;", [("Cache-Control", "private")], status=404)
    assert (response.header("expires"), response.header("cache-control")) == (None, "private")


@pytest.mark.parametrize("reply", [Reply(body=b"known length"), Reply(chunks=[b"one", b"two"]), Reply(body=b"")])
def test_add_trailer(run_lb, http_backend, connect, reply):
    backend = http_backend(lambda _: reply)
    inside = 'add_trailer X-T "$request_method"; add_trailer X-Empty "";'
    lb = run_lb(ONE, backend=backend.address, inside=inside, server="")
    client = connect(lb.port("http"))
    for target in (b"/", b"/own"):
        client.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        head = client.recv_until(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head and b"Content-Length" not in head
        assert client.recv_until(b"0\r\n").endswith(b"0\r\n")
        assert client.recv_until(b"\r\n\r\n") == b"X-T: GET\r\n\r\n"
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert b"Transfer-Encoding" not in client.recv_until(b"\r\n\r\n")
    assert b"X-T" not in client.recv_to_end()


# ---- requests


def test_method(ask):
    assert ask("proxy_method PUT;")[1].method == "PUT"
    assert ask("proxy_method $arg_m;", target="/?m=OPTIONS")[1].method == "OPTIONS"


def test_no_request_headers(ask):
    headers = "X-One: 1\r\nUser-Agent: me\r\n"
    _, request, _ = ask("proxy_pass_request_headers off; proxy_set_header X-Two 2;", headers=headers)
    assert {name for name, _ in request.headers} == {"host", "x-two"}


def test_framing_fields_are_lb_s_own(ask):
    inside = "proxy_set_header Content-Length 99; proxy_set_header Transfer-Encoding chunked;"
    _, request, _ = ask(inside, method="POST", body=b"12345")
    assert (request.all("content-length"), request.all("transfer-encoding")) == (["5"], [])
    assert request.body == b"12345"


def test_set_body(ask):
    _, request, _ = ask('proxy_set_body "body of $arg_a";', target="/?a=b")
    assert (request.body, request.all("content-length")) == (b"body of b", ["9"])
    _, request, _ = ask("proxy_set_body new;", method="POST", body=b"old and longer")
    assert (request.body, request.all("content-length")) == (b"new", ["3"])
    _, request, _ = ask("proxy_set_body $arg_none;", method="POST", body=b"old")
    assert (request.body, request.all("content-length")) == (b"", ["0"])


def test_no_request_body(ask):
    _, request, _ = ask("proxy_pass_request_body off;", method="POST", body=b"secret")
    assert (request.body, request.all("content-length")) == (b"", [])


def test_connection_field_of_the_location(ask):
    assert ask("proxy_set_header Connection close;")[1].all("connection") == ["close"]
    assert ask('proxy_set_header Connection "";')[1].all("connection") == []
