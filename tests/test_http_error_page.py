"""error_page, proxy_intercept_errors and internal redirects: the same as nginx, asked beside lb."""

from __future__ import annotations

import pytest

from tests.harness.backend import Reply

SERVER = """
http {
    access_log off;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        %s
    }
}
"""

PAGES = r"""
error_page 404 /404.html;
error_page 403 = /empty;
error_page 405 =200 /page?x=1;
error_page 410 @named;
error_page 411 =299 @named;
error_page 412 http://other.test/$uri;
error_page 413 =301 http://other.test/;
error_page 415 /nosuch;
error_page 416 /deny;
error_page 401 =402 /proxied?z;
error_page 502 = @retry;
error_page 503 /v$arg_v?w;
location = /404.html { return 200 "my 404 $uri $args $request_method"; }
location = /empty { return 204; }
location = /page { return 200 "page $args"; }
location /v { return 200 "v $uri $args"; }
location = /deny { return 403; }
location @named { return 200 "named $uri $args $request_method"; }
location @nowhere { return 500; }
location @retry { proxy_pass http://u; }
location /proxied { proxy_pass http://u/there; proxy_set_header X-Test $request_uri; }
location /s403 { return 403; }
location /s404 { return 404; }
location /s405 { return 405; }
location /s410 { return 410; }
location /s411 { return 411; }
location /s412 { return 412; }
location /s413 { return 413; }
location /s415 { return 415; }
location /s416 { return 416; }
location /s401 { return 401; }
location /s503 { return 503; }
location /none { proxy_pass http://127.0.0.1:@closed@; }
"""


@pytest.fixture
def pages(pair, http_backend, world):
    backend = http_backend(lambda request: Reply(body=f"{request.method} {request.target}".encode()))
    return pair(SERVER % PAGES, backend, closed=world.closed_port())


def test_pages(pages):
    statuses = {
        "404": 404,
        "403": 204,
        "405": 200,
        "410": 410,
        "411": 299,
        "412": 302,
        "413": 301,
        "415": 404,
        "416": 403,
    }
    statuses |= {"401": 402, "503": 503}
    for name, status in statuses.items():
        response = pages.ask(f"/s{name}?q&v=1")
        assert response.status == status, name
        if name != "401":  # nginx 1.22 answers 502 to HEAD over HTTP/1.0 here
            assert pages.ask(f"/s{name}?q", method="HEAD").status == status
        assert pages.ask(f"/s{name}?q", method="POST", body=b"abc").status == status
    assert pages.ask("/s404?q").body == b"my 404 /404.html  GET"
    assert pages.ask("/s410?q", method="POST", body=b"x").body == b"named /s410 q POST"
    assert pages.ask("/s405").body == b"page x=1"
    assert pages.ask("/s503?v=1").body == b"v /v1 w"
    assert pages.ask("/nosuch").body == b"my 404 /404.html  GET"


def test_a_page_from_a_server(pages):
    response = pages.ask("/s401?q", method="POST", body=b"abc")
    assert (response.status, response.body) == (402, b"GET /there?z")


def test_another_upstream_for_a_dead_one(pages):
    response = pages.ask("/none/x?y", method="PUT", body=b"abc")
    assert (response.status, response.body) == (200, b"PUT /none/x?y")
    assert pages.backend.requests[0].body == b"abc"
    assert pages.ask("/none/%20?y").body == b"GET /none/%20?y"


def test_recursive_pages(pair, http_backend):
    inside = """
    error_page 404 /a;
    error_page 403 /b;
    error_page 500 /again;
    location /a { return 403; }
    location /b { return 200 "b"; }
    location /r/ { recursive_error_pages on; return 404; }
    location /again { recursive_error_pages on; return 500; }
    location /n/ { return 404; }
    """
    both = pair(SERVER % inside, http_backend())
    assert both.ask("/n/").status == 403
    assert both.ask("/r/").status == 403
    assert both.ask("/again").status == 500
    both = pair(SERVER % ("recursive_error_pages on;" + inside), http_backend())
    response = both.ask("/n/")
    assert (response.status, response.body) == (403, b"b")


@pytest.mark.parametrize("inside", ["", "recursive_error_pages on;"])
def test_intercepted_errors(pair, http_backend, inside):
    backend = http_backend(lambda request: Reply(int(request.target[1:4]), body=b"from the backend"))
    text = """
    proxy_intercept_errors on;
    error_page 404 /page;
    error_page 500 =200 /page;
    error_page 301 302 =302 http://other.test/;
    error_page 503 @other;
    %s
    location / { proxy_pass http://u; }
    location /off/ { proxy_intercept_errors off; proxy_pass http://u/; }
    location = /page { return 200 "mine"; }
    location @other { rewrite ^ /200 break; proxy_pass http://u; }
    """
    both = pair(SERVER % (text % inside), backend)
    expected = {
        "/404": (404, b"mine"),
        "/500": (200, b"mine"),
        "/200": (200, b"from the backend"),
        "/502": (502, b"from the backend"),
    }
    expected |= {"/503": (503, b"from the backend"), "/off/404": (404, b"from the backend")}
    for target, (status, body) in expected.items():
        response = both.ask(target)
        assert (response.status, response.body) == (status, body), target
    assert both.ask("/302").header("location") == "http://other.test/"
    assert both.ask("/404", method="POST", body=b"x" * 1000).body == b"mine"


def test_the_client_connection_is_kept(pair, http_backend, connect):
    """Behind an error page the next request on the connection is served."""
    both = pair(
        SERVER % "error_page 404 /p; location = /p { proxy_pass http://u; } location / { return 404; }", http_backend()
    )
    client = connect(both.lb.port("http"))
    for _ in range(3):
        assert client.request(target="/x").status == 404
        assert client.request("POST", "/x", body=b"abc").status == 404
    assert len(both.backend.requests) == 6


def test_a_large_body_before_an_error_page(pair, http_backend, connect):
    """The body that a dead server took part of cannot be sent again: the page is asked for without it."""
    inside = """
    client_max_body_size 0;
    error_page 413 =200 /page;
    error_page 502 504 /page;
    location = /page { proxy_pass http://u; }
    location /small { client_max_body_size 10; proxy_pass http://u; }
    """
    both = pair(SERVER % inside, http_backend())
    both.nginx = None
    assert both.ask("/small", method="POST", body=b"x" * 100).status == 200
    (request,) = both.backend.requests
    assert (request.method, request.target, request.body) == ("GET", "/page", b"")
