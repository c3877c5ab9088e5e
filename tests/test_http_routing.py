"""Which server and which location answers, and with what path: the same as nginx, asked beside lb."""

from __future__ import annotations

import pytest

from tests.harness.wait import wait_for

NAMES = r"""
http {
    access_log off;
    server { listen 127.0.0.1:@http@; server_name first; return 200 "first $server_name"; }
    server { listen 127.0.0.1:@http@; server_name "" ""; return 200 "none"; }
    server { listen 127.0.0.1:@http@; server_name exact.a.example *.b.a.example; return 200 "exact"; }
    server { listen 127.0.0.1:@http@; server_name *.example; return 200 "head"; }
    server { listen 127.0.0.1:@http@; server_name *.a.example www.*; return 200 "longer head"; }
    server { listen 127.0.0.1:@http@; server_name .dot.test; return 200 "dot $server_name"; }
    server { listen 127.0.0.1:@http@; server_name www.long.*; return 200 "tail"; }
    server { listen 127.0.0.1:@http@; server_name "~^(?<sub>[a-z]+)\d+\.Re\.(\w+)$"; return 200 "regex $sub $2"; }
    server { listen 127.0.0.1:@http@; server_name ~^(.+)1\.re; return 200 "second regex $1"; }
}
"""


def test_server_names(pair):
    both = pair(NAMES)
    asked = {
        "first": "first first",
        "FIRST": "first first",
        "first:80": "first first",
        "nosuch": "first first",
        "exact.a.example": "exact",
        "exact.a.example.": "exact",
        "x.b.a.example": "exact",
        "x.y.b.a.example": "exact",
        "b.a.example": "longer head",
        "a.example": "head",
        "z.a.example": "longer head",
        "Www.x": "longer head",
        "www.x.example": "head",
        "www.long.org": "tail",
        "www.long.co.uk": "tail",
        "dot.test": "dot dot.test",
        "a.b.dot.test": "dot dot.test",
        "xdot.test": "first first",
        "abc12.re.org": "regex abc org",
        "ABC12.RE.ORG": "regex abc org",
        "abc-1.re.org": "second regex abc-",
    }
    for host, body in asked.items():
        assert both.ask(host=host).body.decode() == body, host


def test_no_host(pair):
    both = pair(NAMES)
    raw = b"GET / HTTP/1.0\r\n\r\n"
    assert both.send(both.lb.port("http"), raw, "GET").body == b"none"
    if both.nginx:
        assert both.send(both.nginx, raw, "GET").body == b"none"


LOCATIONS = r"""
http {
    access_log off;
    server {
        listen 127.0.0.1:@http@;
        location = / { return 200 "root"; }
        location / { return 200 "slash"; }
        location /documents/ { return 200 "documents"; }
        location ^~ /images/ { return 200 "images"; }
        location ~* \.(gif|jpg)$ { return 200 "picture $1"; }
        location ~ \.gif$ { return 200 "never"; }
        location /a { return 200 "a"; location /a/b { return 200 "a/b"; location = /a/b/c { return 200 "a/b/c"; } } }
        location /n {
            location ~ /n/(\w+)\.gif$ { return 200 "nested $1"; }
            location ^~ /n/p { return 200 "n/p"; }
        }
        location ~ ^/outer/(?<x>\d+) {
            location ~ /(\w+)$ { return 200 "inner $x $1"; }
            return 200 "outer $x";
        }
        location = /inner { internal; return 200 "internal"; }
        location = /to_inner { rewrite ^ /inner; }
        location @named { return 200 "named"; }
        location "/sp ace" { return 200 "space"; }
    }
}
"""


def test_locations(pair):
    both = pair(LOCATIONS)
    asked = {
        "/": "root",
        "/?x": "root",
        "/index.html": "slash",
        "/documents/a": "documents",
        "/documents/a.GIF": "picture GIF",
        "/documents": "slash",
        "/images/a.gif": "images",
        "/x.jpg?y": "picture jpg",
        "/%78.jp%67": "picture jpg",
        "/a": "a",
        "/abc": "a",
        "/a/bc": "a/b",
        "/a/b/c": "a/b/c",
        "/a/b/c/": "a/b",
        "/a/./b//c": "a/b/c",
        "/a/x.jpg": "picture jpg",
        "/n/one.gif": "nested one",
        "/n/p/one.gif": "picture gif",
        "/outer/12": "inner 12 12",
        "/outer/12/": "outer 12",
        "/outer/12/ab": "inner 12 ab",
        "/to_inner": "internal",
        "/sp%20ace": "space",
        "/@named": "slash",
    }
    for target, body in asked.items():
        assert both.ask(target).body.decode() == body, target
    assert both.ask("/inner").status == 404


def test_redirect_to_the_slash(pair, http_backend):
    """/x where only `location /x/` proxies: 301; not where another location is meant."""
    text = """
    http {
        access_log off;
        server {
            listen 127.0.0.1:@http@;
            location /x/ { proxy_pass http://@backend@; }
            location /y/ { proxy_pass http://@backend@; }
            location /y { return 200 "y"; }
            location = /z/ { proxy_pass http://@backend@; }
            location /r/ { return 200 "r"; }
            location "/e e/" { proxy_pass http://@backend@; }
            location ~ ^/x { return 200 "regex"; }
            location / { return 200 "slash"; }
        }
    }
    """
    both = pair(text, http_backend())
    response = both.ask("/x?a=b&c")
    assert response.status == 301
    assert response.header("location") == f"http://h:{both.lb.port('http')}/x/?a=b&c"
    assert both.ask("/e%20e").status == 301
    assert both.ask("/y").body == b"y"
    assert both.ask("/z").status == 301
    assert both.ask("/r").body == b"slash"
    assert both.ask("/x/1").body == b"regex"


@pytest.mark.parametrize(
    ("settings", "location"),
    [
        ("", "http://h:PORT/b"),
        ("absolute_redirect off;", "/b"),
        ("port_in_redirect off;", "http://h/b"),
        ("server_name_in_redirect on;", "http://name.test:PORT/b"),
        ("server_name_in_redirect on; port_in_redirect off;", "http://name.test/b"),
    ],
)
def test_redirects(pair, settings, location):
    text = """
    http {
        access_log off;
        server { listen 127.0.0.1:@http@; server_name name.test; %s location / { return 301 /b; } }
    }
    """
    both = pair(text % settings)
    response = both.ask("/")
    assert response.status == 301
    assert response.header("location") == location.replace("PORT", both.lb.values["http"])
    assert b"301 Moved Permanently" in response.body


def test_slashes_are_kept_on_request(pair, http_backend):
    text = """
    http {
        access_log off;
        server {
            listen 127.0.0.1:@http@;
            merge_slashes off;
            location /a/ { proxy_pass http://@backend@/b/; }
            location // { return 200 "two $uri"; }
            location / { return 200 $uri; }
        }
    }
    """
    both = pair(text, http_backend())
    assert both.ask("//x").body == b"two //x"
    assert both.ask("/x//y/../z").body == b"/x//z"
    both.ask("/a//c")
    assert both.backend.requests[0].target == "/b//c"


def test_limit_except(pair, http_backend):
    text = """
    http {
        access_log off;
        server {
            listen 127.0.0.1:@http@;
            location / { limit_except GET POST { proxy_pass http://@backend@; } return 200 "here"; }
        }
    }
    """
    both = pair(text, http_backend())
    assert both.ask().body == b"here"
    assert both.ask(method="HEAD").status == 200
    assert both.ask(method="POST", body=b"x").body == b"here"
    assert both.ask(method="PUT", target="/p", body=b"x").status == 200
    assert both.ask(method="OPTIONS", target="/o").status == 200
    targets = [(one.method, one.target) for one in both.backend.requests]
    assert targets[0] == ("PUT", "/p")


def test_catastrophic_pattern_ends(pair):
    """A pattern that would run for ages stops at its limit and is logged: 500, and no other location."""
    text = """
    http {
        access_log off;
        server {
            listen 127.0.0.1:@http@;
            location ~ ^/(a+)+$ { return 200 "match"; }
            location / { return 200 "none"; }
        }
    }
    """
    both = pair(text)
    both.nginx = None  # it would take its time
    assert both.ask("/aaaa").body == b"match"
    assert both.ask("/" + "a" * 3000 + "!").status == 500
    wait_for(lambda: "pcre2_match() failed: -47" in both.lb.log, "the line in the log")
    assert both.ask("/aaaa").body == b"match"
