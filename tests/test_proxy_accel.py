"""X-Accel-* of servers, and what an internal redirect keeps, as nginx has it."""

from __future__ import annotations

import pytest

from tests.harness.backend import Reply
from tests.harness.wait import wait_for

SITE = """
http {
    access_log off;
    error_log error.log error;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        server_name example.test;
        location / { proxy_pass http://u; proxy_set_header X-Test $uri; }
        location /cookie { proxy_pass http://u; proxy_cookie_path /a /b; }
        location /ignored { proxy_pass http://u; proxy_ignore_headers X-Accel-Expires x-accel-redirect; }
        location /shown { proxy_pass http://u; proxy_ignore_headers X-Accel-Redirect;
            proxy_pass_header X-Accel-Redirect; }
        location /errors { proxy_pass http://u; proxy_intercept_errors on; error_page 403 /text; }
        location /loop { proxy_pass http://u; }
        location /text {
            add_header X-Seen "$upstream_http_x_accel_redirect,$args,$request_method,$upstream_status" always;
            return 200 "text of $uri"; }
        location /inside { internal; return 200 inside; }
        location /expires { expires epoch; return 200 x; }
        location /lost { return 404; }
        location /wanted { return 404; error_page 404 @$arg_name; }
        location @named { add_header X-Seen "$uri $args $request_method"; return 200 named; }
        location @proxied { proxy_pass http://u; proxy_set_header X-Test $request_uri; }
        location /redirected { proxy_pass http://u/to/; }
        location /plain { proxy_pass http://u/plain; }
    }
}
"""


class Answers:
    """What the backend answers: `headers` and `body` to all but /to/... and /plain, which it answers with a text."""

    def __init__(self):
        self.headers, self.body, self.status = [], b"not this", 200

    def __call__(self, request):
        if request.target.startswith("/to/"):
            return Reply(201, body=b"second", headers=[("Set-Cookie", "b=2"), ("Cache-Control", "public")])
        if request.target.startswith("/plain"):
            return Reply(200, body=b"plain", headers=[("Content-Type", "a/plain")])
        return Reply(self.status, body=self.body, headers=self.headers)


@pytest.fixture
def site(pair, http_backend):
    answers = Answers()
    both = pair(SITE, http_backend(answers))

    def ask(redirect, target="/", *more, **request):
        answers.headers = [("X-Accel-Redirect", redirect), *more]
        return both.ask(target, "example.test", **request)

    ask.answers, ask.both = answers, both
    return ask


def test_redirects(site):
    response = site("/text")
    assert (response.status, response.body) == (200, b"text of /text")
    assert response.header("x-seen") == "/text,,GET,200"
    assert site("/text?a=b&c").header("x-seen") == "/text?a=b&c,a=b&c,GET,200"
    assert site("/text/%61%20?%61").body == b"text of /text/a "
    assert site("/text%3Fa?b").header("x-seen").endswith(",b,GET,200")
    assert site("/inside").body == b"inside"
    assert site("/text", "/?unused").header("x-seen") == "/text,,GET,200"
    assert site("/lost").status == 404
    assert site("text").status == 404
    assert site.both.ask("/inside", "example.test").status == 404


def test_a_redirect_may_lead_to_a_server(site):
    response = site("/redirected/x?y", "/", ("Set-Cookie", "a=1"))
    assert (response.status, response.body) == (201, b"second")
    assert response.all("set-cookie") == ["a=1", "b=2"]
    response = site("/plain", "/", ("Content-Type", "a/first"))
    assert (response.body, response.header("content-type")) == (b"plain", "a/plain")


@pytest.mark.parametrize("uri", ["/../text", "/text/..", "/a/../text", "..", "?a", "", "/a/%2e%2e/text", "/text/%00"])
def test_unsafe_uris(site, uri):
    assert site(uri).status == 404
    if uri:
        wait_for(lambda: "unsafe URI" in site.both.lb.log)


def test_dots_that_do_not_climb(site):
    for uri in ("/text/..a", "/text/a..", "/text/...", "/text/.", "/text//x"):
        assert site(uri).body == b"text of " + uri.encode()


def test_named(site):
    response = site("@named", "/a/b?c=d")
    assert (response.body, response.header("x-seen")) == (b"named", "/a/b c=d GET")
    assert site("@none").status == 500
    wait_for(lambda: 'could not find named location "@none"' in site.both.lb.log)


def test_an_error_page_whose_name_is_a_variable(site):
    response = site.both.ask("/wanted?name=named", "example.test")
    assert (response.status, response.body) == (404, b"named")
    assert site.both.ask("/wanted?name=none", "example.test").status == 500


def test_the_method_becomes_get(site, connect):
    assert site("/text", method="POST", body=b"12345").header("x-seen") == "/text,,GET,200"
    assert site("/text", method="PUT").header("x-seen") == "/text,,GET,200"
    assert site("@named", method="POST", body=b"12345").header("x-seen") == "/  POST"
    site.answers.headers = [("X-Accel-Redirect", "/text")]
    head = connect(site.both.lb.port("http")).request("HEAD", "/")
    assert (head.header("x-seen"), head.body) == ("/text,,HEAD,200", b"")


def test_fields_that_are_kept(site):
    fields = [
        ("Content-Type", "a/b"),
        ("Set-Cookie", "a=1; Path=/a"),
        ("Set-Cookie", "b=1"),
        ("Content-Disposition", "attachment"),
        ("Cache-Control", "private"),
        ("X-Other", "1"),
        ("ETag", '"e"'),
    ]
    response = site("/text", "/", *fields)
    assert response.header("content-type") == "a/b"
    assert response.all("set-cookie") == ["a=1; Path=/a", "b=1"]
    assert response.header("content-disposition") == "attachment"
    assert response.header("cache-control") == "private"
    assert response.header("x-other") is None and response.header("etag") is None
    response = site("/text", "/cookie", *fields)
    assert response.all("set-cookie") == ["a=1; Path=/b", "b=1"]
    response = site("/lost", "/", *fields)
    assert (response.status, response.header("content-type")) == (404, "text/html")
    response = site("/expires", "/", *fields, ("Expires", "0"))
    assert response.all("cache-control") == ["no-cache"]
    assert response.all("expires") == ["Thu, 01 Jan 1970 00:00:01 GMT"]


def test_ignored(site):
    response = site("/text", "/ignored")
    assert (response.body, response.header("x-accel-redirect")) == (b"not this", None)
    response = site("/text", "/shown")
    assert (response.body, response.header("x-accel-redirect")) == (b"not this", "/text")


def test_any_status_redirects_but_for_what_is_intercepted(site):
    site.answers.status = 403
    assert site("/text/x").body == b"text of /text/x"
    response = site("/inside", "/errors")
    assert (response.status, response.header("x-seen")) == (403, "/inside,,GET,403")


def test_a_circle_ends(site):
    assert site("/loop").status == 500
    wait_for(lambda: "redirection cycle" in site.both.lb.log)


def test_connections_stay(run_lb, http_backend, connect):
    answers = Answers()
    answers.headers, answers.body = [("X-Accel-Redirect", "/text")], b""
    backend = http_backend(answers)
    lb = run_lb(SITE, backend=backend.address)
    client = connect(lb.port("http"))
    for _ in range(3):
        assert client.request("GET", "/").body == b"text of /text"
    assert len({request.connection for request in backend.requests}) == 1
    answers.body = b"x" * 300_000
    for _ in range(3):
        assert client.request("GET", "/").body == b"text of /text"


CHAIN = """
http {
    access_log off;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://u; }
        location /errors { proxy_pass http://u; proxy_intercept_errors on; error_page 403 /text; }
        location /text { return 200 "$uri?$args $upstream_http_x_mark"; }
    }
}
"""
STEPS = {
    "/first": (200, [("X-Mark", "1"), ("X-Accel-Redirect", "/second?a")]),
    "/second": (200, [("X-Mark", "2"), ("X-Long", "x" * 4000), ("X-Accel-Redirect", "/text/third?b")]),
    "/begin": (200, [("X-Mark", "1"), ("X-Accel-Redirect", "/errors")]),
    "/errors": (403, [("X-Long", "x" * 4000), ("X-Mark", "2")]),
}


@pytest.mark.parametrize(("target", "text"), [("/first", b"/text/third?b 2"), ("/begin", b"/text? 2")])
def test_the_second_answers_head_is_not_read_in_the_firsts(run_lb, http_backend, connect, target, text):
    """The place of a field counts in its own head; the longer second one even leads behind the first's memory."""

    def step(request):
        status, headers = STEPS[request.target.partition("?")[0]]
        return Reply(status, headers=headers)

    back = http_backend(step)
    lb = run_lb(CHAIN, backend=back.address)
    assert connect(lb.port("http")).request(target=target).body == text
