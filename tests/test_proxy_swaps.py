"""proxy_redirect and proxy_cookie_* with regular expressions, variables and several rules, as nginx has them."""

from __future__ import annotations

import pytest

from tests.harness.backend import Reply

SITE = """
http {
    access_log off;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        server_name example.test;
        @server@
        %s
    }
}
"""


@pytest.fixture
def check(pair, http_backend):
    """check(field, cases, ...): each case (inside, value, expected) in a location of its own, through lb and nginx."""

    def check(field, cases, *, query="?a=b&d=q.r&c=xyz&f=httponly", server="", host="example.test"):
        def answer(request):
            value = cases[int(request.target[1:].partition("/")[0])][1]
            return Reply(200, body=b"text", headers=[(field, value), (field, "other=1")][: 1 + (field == "Set-Cookie")])

        backend = http_backend(answer)
        locations = [f"location /{i}/ {{ proxy_pass http://u; {case[0]} }}" for i, case in enumerate(cases)]
        both = pair(SITE % "\n        ".join(locations), backend, server=server)
        for i, (inside, _, expected) in enumerate(cases):
            response = both.ask(f"/{i}/x{query}", host)
            value = response.all(field)[0].replace(f":{both.lb.port('http')}/", ":PORT/")
            assert (inside, value) == (inside, expected)

    return check


@pytest.mark.cleartext("nginx beside it has the scheme http in its Location")
def test_redirect(check):
    own = "http://example.test:PORT"
    cases = [
        (r"proxy_redirect ~^http://([^/]+)/(.*)$ /$1/$2;", "http://b/x", f"{own}/b/x"),
        (r"proxy_redirect ~HTTP://B/(.+) /$1;", "http://b/x", "http://b/x"),
        (r"proxy_redirect ~*HTTP://B/(.+) /$1;", "http://b/x", f"{own}/x"),
        (r"proxy_redirect ~//b/ https://$host/c/;", "http://b/x", "https://example.test/c/"),
        (r"proxy_redirect ~b(?<what>.*) http://$what.c/;", "http://b", "http://.c/"),
        (r"proxy_redirect ~^(.*)$ $1?$arg_a;", "http://b/", "http://b/?b"),
        (r"proxy_redirect ~a /1; proxy_redirect ~b /2;", "http://b/", f"{own}/2"),
        (r"proxy_redirect default; proxy_redirect ~.* /2;", "http://u/x", f"{own}/x"),
        (r"proxy_redirect ~.* /2; proxy_redirect default;", "http://u/x", f"{own}/2"),
        (r"proxy_redirect $scheme://$arg_a/ $scheme://d/;", "http://b/y", "http://d/y"),
        (r"proxy_redirect http://b/ $arg_none;", "http://b/y", "y"),
        (r"absolute_redirect off; proxy_redirect http://b/ /c/;", "http://b/y", "/c/y"),
        (r"port_in_redirect off; proxy_redirect http://b/ /c/;", "http://b/y", "http://example.test/c/y"),
    ]
    check("Location", cases)


def test_redirect_takes_the_capture_of_its_location(pair, http_backend):
    backend = http_backend(lambda _: Reply(302, headers=[("Location", "http://b/")]))
    inside = "location ~ ^/re/(?<rest>.*) { proxy_pass http://u; proxy_redirect ~b http://c/x$rest; }"
    assert pair(SITE % inside, backend, server="").ask("/re/st").header("location") == "http://c/xst"


def test_redirect_names_the_server(check):
    case = ("server_name_in_redirect on; proxy_redirect ~b /c/;", "http://b/", "http://example.test:PORT/c/")
    check("Location", [case], host="other.test")


def test_redirect_is_inherited(check):
    cases = [
        ("", "http://b/x", "http://s/x"),
        ("proxy_redirect off;", "http://b/x", "http://b/x"),
        ("proxy_redirect http://c/ http://l/;", "http://b/x", "http://b/x"),
    ]
    check("Location", cases, server="proxy_redirect http://b/ http://s/;")


def test_refresh(check):
    cases = [
        (r"proxy_redirect ~^http://b/(.*) http://c/$1?;", "3; url=http://b/x", "3; url=http://c/x?"),
        (r"proxy_redirect ~^3 /no;", "3; url=http://b/x", "3; url=http://b/x"),
        (r"proxy_redirect http://b/ /c/;", "3; URL=http://b/x", "3; URL=/c/x"),
        (r"proxy_redirect ~.* /c/;", "3", "3"),
    ]
    check("Refresh", cases)


def test_cookie_domain_and_path(check):
    cases = [
        (r"proxy_cookie_domain ~\.?([a-z]+)\.test$ $1.org;", "x=y; Domain=.So.Test; a=b", "x=y; Domain=So.org; a=b"),
        (r"proxy_cookie_domain ~^a new.$host;", "x=y; domain=abc", "x=y; domain=new.example.test"),
        (r"proxy_cookie_domain .a.b .c.d;", "x=y; domain=.a.b", "x=y; domain=.c.d"),
        (r"proxy_cookie_domain .a.b .c.d;", "x=y; domain=a.b", "x=y; domain=c.d"),
        (r"proxy_cookie_domain $arg_d x.$arg_d;", "x=y; domain=q.r", "x=y; domain=x.q.r"),
        (r"proxy_cookie_domain a b; proxy_cookie_domain ~c d;", "x=y;domain=ccc;Path=/", "x=y; domain=d; Path=/"),
        (r"proxy_cookie_domain a b; proxy_cookie_domain ~c d;", "x=y;domain=e;Path=/", "x=y;domain=e;Path=/"),
        (r"proxy_cookie_path ~^/(one)/(.*) /$2/$1;", "x=y; Path=/one/two", "x=y; Path=/two/one"),
        (r"proxy_cookie_path ~ONE /no;", "x=y; Path=/one/two", "x=y; Path=/one/two"),
        (r"proxy_cookie_path ~*ONE /yes;", "x=y; Path=/one/two; Secure", "x=y; Path=/yes; Secure"),
        (r"proxy_cookie_path ~*$ /$arg_d;", "x=y; Path=/one", "x=y; Path=/q.r"),
        (r"proxy_cookie_path /$arg_d /;", "x=y; Path=/q.r/s", "x=y; Path=//s"),
        (r"proxy_cookie_path / /a; proxy_cookie_domain d e;", "x=y; Domain=d; Path=/", "x=y; Domain=e; Path=/a"),
    ]
    check("Set-Cookie", cases)


def test_cookie_flags(check):
    cases = [
        ("proxy_cookie_flags ~^X secure;", "xyz=1; Path=/", "xyz=1; Path=/; Secure"),
        ("proxy_cookie_flags ~^a secure; proxy_cookie_flags ~. httponly;", "xyz=1", "xyz=1; HttpOnly"),
        ("proxy_cookie_flags ~. secure; proxy_cookie_flags xyz httponly;", "xyz=1", "xyz=1; Secure"),
        ("proxy_cookie_flags XYZ secure httponly;", "xyz=1; secure; httponly", "xyz=1; secure; httponly"),
        ("proxy_cookie_flags xyz secure;", "xyz=1;Secure;Path=/", "xyz=1; Secure; Path=/"),
        ("proxy_cookie_flags xyz samesite=lax;", "xyz=1; SameSite=Strict; a", "xyz=1; SameSite=Lax; a"),
        ("proxy_cookie_flags xyz samesite=none;", "xyz=1; samesite; a", "xyz=1; SameSite=None; a"),
        ("proxy_cookie_flags xyz samesite=lax;", "xyz=1; SameSite=lax; a", "xyz=1; SameSite=lax; a"),
        ("proxy_cookie_flags xyz nosecure;", "xyz=1; Secure; a=b; secure", "xyz=1; a=b"),
        ("proxy_cookie_flags xyz nohttponly nosamesite;", "xyz=1; HttpOnly; SameSite=Lax; a=b", "xyz=1; a=b"),
        ("proxy_cookie_flags xyz secure; proxy_cookie_path / /p;", "xyz=1; path=/", "xyz=1; path=/p; Secure"),
        ("proxy_cookie_flags $arg_c $arg_f;", "xyz=1", "xyz=1; HttpOnly"),
        ("proxy_cookie_flags xyz $arg_c;", "xyz=1;a", "xyz=1;a"),
        ("proxy_cookie_flags xyz SECURE SameSite=LAX;", "xyz=1", "xyz=1; Secure; SameSite=Lax"),
        ("proxy_cookie_flags off;", "xyz=1", "xyz=1"),
    ]
    check("Set-Cookie", cases)


def test_off_beats_what_is_around(check):
    cookie = "x=y; Path=/; Domain=d"
    cases = [
        ("proxy_cookie_flags off; proxy_cookie_path off; proxy_cookie_domain off;", cookie, cookie),
        ("", cookie, "x=y; Path=/p; Domain=e; Secure"),
    ]
    check("Set-Cookie", cases, server="proxy_cookie_flags ~. secure; proxy_cookie_path / /p; proxy_cookie_domain d e;")


def test_no_line_gets_into_a_head(run_lb, http_backend, connect):
    backend = http_backend(lambda _: Reply(302, headers=[("Location", "http://b/")]))
    inside = "location / { proxy_pass http://u; proxy_redirect ~b http://c$uri; }"
    lb = run_lb(SITE % inside, backend=backend.address, server="")
    response = connect(lb.port("http")).request("GET", "/x%0d%0aSet-Cookie:%20a")
    assert response.header("location") == "http://c/x  Set-Cookie: a"
    assert response.header("set-cookie") is None


def test_the_default_of_nested_locations(pair, http_backend):
    """A location takes the redirects of the one around it, and that one's own default too."""
    locations = """
        location /a/ {
            proxy_pass http://u/x/;
            location /a/b/ { proxy_pass http://u/y/; }
            location /a/c/ { proxy_pass http://u/y/; proxy_redirect default; }
            location /a/d/ { proxy_pass http://u/y/; proxy_redirect off; location /a/d/e/ { proxy_pass http://u/z/; } }
        }
        location /v/ {
            proxy_pass http://$arg_u;
            location /v/b/ { proxy_pass http://u/y/; }
        }
        location /n/ { location /n/b/ { proxy_pass http://u/y/; if ($arg_i) { proxy_pass http://u; } } }
    """
    backend = http_backend(lambda request: Reply(302, headers=[("Location", request.target.partition("l=")[2])]))
    both = pair(SITE % locations, backend, server="")
    port = both.lb.port("http")
    for target, location, expected in (
        ("/a/b/", "http://u/y/z", "http://u/y/z"),
        ("/a/b/", "http://u/x/z", f"http://h:{port}/a/z"),
        ("/a/c/", "http://u/y/z", f"http://h:{port}/a/c/z"),
        ("/a/c/", "http://u/x/z", "http://u/x/z"),
        ("/a/d/e/", "http://u/z/z", "http://u/z/z"),
        ("/v/b/", "http://u/y/z", f"http://h:{port}/v/b/z"),
        ("/n/b/", "http://u/y/z", f"http://h:{port}/n/b/z"),
    ):
        assert both.ask(f"{target}?l={location}").header("location") == expected, (target, location)
