"""rewrite, return, set, break and if: the same as nginx, asked beside lb."""

from __future__ import annotations

import pytest

from tests.harness.wait import wait_for

SERVER = """
http {
    access_log off;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        server_name name.test;
        %s
    }
}
"""

REWRITES = r"""
location /one { rewrite ^/one/(.*)$ /two/$1 last; return 200 "not here"; }
location /two { return 200 "two $uri $args"; }
location /args { rewrite ^/args/(.*)$ /show?a=$1&b=2; }
location /drop { rewrite ^/drop /show?a=1?; }
location /dropall { rewrite ^/dropall /show?; }
location /empty { rewrite ^/empty /show?x=; }
location /show { return 200 "$uri|$args|$request_uri|$is_args"; }
location /redirect { rewrite ^/redirect/(.*)$ /to/$1 redirect; }
location /permanent { rewrite ^/permanent/(.*)$ http://other.test/$1 permanent; }
location /url { rewrite ^/url/(.*)$ https://other.test/?q=$1; }
location /scheme { rewrite ^/scheme $scheme://other.test/?; }
location /loop { rewrite ^(.*)$ $1; }
location /chain { rewrite ^/chain /chain2; rewrite ^/chain2 /show; }
location /break { rewrite ^/break(.*)$ /broken$1 break; rewrite ^ /never; return 200 "never too"; }
location /brk { break; return 200 "never"; }
location /empty_uri { rewrite ^(/empty_uri)$ $arg_nothing last; }
location /encoded { rewrite ^/encoded/(.*)$ /show?x=$1; }
location /encoded_to { rewrite ^/encoded_to/(.*)$ /x?y=$1 redirect; }
location /captures { rewrite ^/(captures)/(a)?(b)? /show?1=$1&2=$2&3=$3&4=$4&9=$9; }
"""


def test_rewrites(pair, http_backend):
    both = pair(SERVER % REWRITES, http_backend())
    asked = {
        "/one/x?y=z": b"two /two/x y=z",
        "/args/%61?c": b"/show|a=a&b=2&c|/args/%61?c|?",
        "/drop?c": b"/show|a=1|/drop?c|?",
        "/dropall?c": b"/show||/dropall?c|",
        "/empty?c": b"/show|x=&c|/empty?c|?",
        "/chain": b"/show||/chain|",
        "/encoded/a%26b%20c": b"/show|x=a%26b%20c|/encoded/a%26b%20c|?",
        "/encoded/a&b": b"/show|x=a&b|/encoded/a&b|?",
        "/encoded/a+b&c": b"/show|x=a%2Bb%26c|/encoded/a+b&c|?",
        "/captures/b": b"/show|1=captures&2=&3=b&4=&9=|/captures/b|?",
    }
    for target, body in asked.items():
        assert both.ask(target).body == body, target
    for target in ("/redirect/x%20y?z", "/permanent/%41?b", "/url/x%2fy?z", "/scheme?z", "/encoded_to/a%26b?c"):
        assert both.ask(target).status in (301, 302), target
    assert both.ask("/permanent/%41?b").header("location") == "http://other.test/A?b"
    assert both.ask("/loop").status == 500
    wait_for(lambda: "rewrite or internal redirection cycle" in both.lb.log, "the line in the log")
    assert both.ask("/break/x").status == 404
    assert both.ask("/brk").status == 404
    assert both.ask("/empty_uri").status == 500
    wait_for(lambda: "the rewritten URI has a zero length" in both.lb.log, "the line in the log")


def test_ten_rewrites_are_the_most(pair):
    lines = "".join(f"location = /{i} {{ rewrite ^ /{i - 1}; }}\n" for i in range(1, 13))
    both = pair(SERVER.replace("upstream u { server @backend@; }", "") % (lines + "location = /0 { return 200 done; }"))
    assert both.ask("/10").body == b"done"
    assert both.ask("/11").status == 500


@pytest.mark.parametrize(
    ("inside", "target", "expected"),
    [
        ("location /a/ { proxy_pass http://u/b/; }", "/a/c%2fd?e", "/b/c/d?e"),
        ("location /a/ { proxy_pass http://u; }", "/a/c%2fd?e", "/a/c%2fd?e"),
        ("location /a { rewrite ^/a(.*)$ /x$1 break; proxy_pass http://u/b/; }", "/a/c?e", "/x/c?e"),
        ("location /a { rewrite ^/a(.*)$ /x$1 break; proxy_pass http://u; }", "/a/c%20d?e", "/x/c%20d?e"),
        ("location /a { rewrite ^/a(.*)$ /x$1?f break; proxy_pass http://u; }", "/a?e", "/x?f&e"),
        ("location ~ ^/a/(.*)$ { proxy_pass http://u; }", "/a/%62?e", "/a/%62?e"),
        ("location ~ ^/a/(.*)$ { proxy_pass http://u/r/$1; }", "/a/%62?e", "/r/b"),
        ("location ~ ^/a/(.*)$ { proxy_pass http://u/r/$1$is_args$args; }", "/a/b?e", "/r/b?e"),
        ("location /a { set $x u; proxy_pass http://$x; }", "/a/%62?e", "/a/%62?e"),
        ("location /a { set $x u; proxy_pass http://$x/fixed; }", "/a/%62?e", "/fixed"),
        ("location /a { set $x u; proxy_pass http://$x?q; }", "/a/b?e", "/?q"),
        ("location /a { set $x @backend@; proxy_pass http://$x$request_uri; }", "/a/%62?e", "/a/%62?e"),
        ("location /a { set $args x=1; proxy_pass http://u; }", "/a?e", "/a?x=1"),
        ("location /a { set $args x=1; proxy_pass http://u/; }", "/a?e", "/?x=1"),
        ("location /a { if ($arg_b) { proxy_pass http://u; } }", "/a?b=1", "/a?b=1"),
        ("location /a { proxy_pass http://u/c; if ($arg_b) { set $d 1; } }", "/a/x?b=1", "/c/x?b=1"),
        ("rewrite ^/a(.*) /z$1; location /z { proxy_pass http://u/y; }", "/a/1?q", "/y/1?q"),
    ],
)
def test_what_the_server_gets(pair, http_backend, inside, target, expected):
    both = pair(SERVER % inside, http_backend())
    assert both.ask(target).status == 200
    assert both.backend.requests[0].target == expected


def test_proxy_pass_to_nothing(pair, http_backend):
    inside = "location /r { proxy_pass http://$arg_h/; } location /p { proxy_pass $arg_u; }"
    both = pair(SERVER % inside, http_backend())
    assert both.ask("/r?h=nosuch.invalid").status == 502
    wait_for(lambda: 'no resolver defined to resolve "nosuch.invalid"' in both.lb.log, "the line in the log")
    assert both.ask(f"/r?h={both.backend.address}").status == 200
    assert both.ask("/p?u=ftp://x/").status == 500
    wait_for(lambda: "invalid URL prefix in" in both.lb.log, "the line in the log")
    assert both.ask(f"/p?u=http://{both.backend.address}/q").status == 200
    assert both.ask(f"/r?h=127.0.0.1:{both.backend.port}").status == 200


def test_proxy_pass_to_a_closed_port(pair, http_backend, world):
    inside = "location / { proxy_pass http://127.0.0.1:$arg_p; }"
    both = pair(SERVER % inside, http_backend())
    assert both.ask(f"/?p={world.closed_port()}").status == 502
    wait_for(lambda: "connect() failed (111: Connection refused)" in both.lb.log, "the line in the log")
    assert both.ask(f"/?p={both.backend.port}").status == 200


CONDITIONS = r"""
set $r "";
if ($arg_a) { set $r "${r}true "; }
if ($arg_a = b) { set $r "${r}= "; }
if ($arg_a != b) { set $r "${r}!= "; }
if ($arg_a ~ ^B(.)?) { set $r "${r}~$1 "; }
if ($arg_a ~* ^B(.)?) { set $r "${r}~*$1 "; }
if ($arg_a !~ x) { set $r "${r}!~ "; }
if ($arg_a !~* X) { set $r "${r}!~* "; }
if (-f @file@) { set $r "${r}f"; }
if (!-f @file@) { set $r "${r}!f"; }
if (-d @file@) { set $r "${r}d"; }
if (-e @file@) { set $r "${r}e"; }
if (-x @file@) { set $r "${r}x"; }
if (!-x @file@) { set $r "${r}!x"; }
if (!-e @file@$arg_a) { set $r "${r}!e"; }
location / {
    if ( $arg_a = "here" ) { return 200 "if $r"; }
    return 200 $r;
}
"""


def test_conditions(pair, http_backend, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    both = pair(SERVER % CONDITIONS, http_backend(), file=file)
    for value in ("", "0", "00", "b", "bc", "Bc", "x", "here"):
        both.ask(f"/?a={value}")
    assert both.ask("/?a=b").body == b"true = ~* !~ !~* fe!x!e"
    assert both.ask("/?a=here").body.startswith(b"if ")
    file.chmod(0o755)
    assert b"fex!e" in both.ask("/?a=b").body


def test_if_in_a_location_is_a_location(pair, http_backend):
    """It inherits the handler and settings, may replace them, and runs what stands before and after it."""
    inside = r"""
    location / {
        set $x 1;
        proxy_set_header X-Test "$x-$y";
        proxy_pass http://u;
        if ($arg_a) { set $y in; }
        set $x 2;
    }
    location /last { if ($arg_a) { rewrite ^ /other last; } return 200 "no"; }
    location /break { if ($arg_a) { break; } return 200 "no"; }
    location /other { return 200 "other"; }
    location /page {
        error_page 404 = @a;
        if ($arg_b) { error_page 404 = @b; return 404; }
        return 404;
    }
    location @a { return 200 a; }
    location @b { return 200 b; }
    """
    both = pair(SERVER % inside, http_backend())
    both.ask("/?a=1")
    assert both.backend.requests[0].header("x-test") == "2-in"
    both.ask("/")
    assert both.ask("/last?a=1").body == b"other"
    assert both.ask("/last").body == b"no"
    assert both.ask("/break?a=1").status == 404
    assert both.ask("/page").body == b"a"
    assert both.ask("/page?b=1").body == b"b"


RETURNS = r"""
location /200 { return 200; }
location /text { return 200 "text $arg_a"; }
location /204 { return 204; }
location /404 { return 404; }
location /404t { return 404 "gone"; }
location /301 { return 301 /x; }
location /302 { return http://other.test/$arg_a; }
location /303 { return 303 other; }
location /307 { return 307 $scheme://x$request_uri; }
location /308 { return 308 /x?y; }
location /306 { return 306; }
location /500 { return 500; }
location /599 { return 599; }
location /405 { return 405; }
"""


def test_returns(pair, http_backend):
    both = pair(SERVER % RETURNS, http_backend())
    for target in (
        "/200",
        "/text?a=b",
        "/204",
        "/404",
        "/404t",
        "/301",
        "/302?a=b",
        "/303",
        "/307?x",
        "/308",
        "/500",
        "/405",
    ):
        both.ask(target)
        assert both.ask(target, method="HEAD").status == both.ask(target, method="POST", body=b"x").status
    assert both.ask("/text?a=b").body == b"text b"
    with_line_end = both.send(both.lb.port("http"), b"GET /301 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET")
    assert with_line_end.status == 301


def test_no_line_end_gets_into_a_location(pair, http_backend):
    both = pair(
        SERVER % "location / { return 301 http://x$uri; } location /r/ { rewrite ^/r/(.*) $1 redirect; }",
        http_backend(),
    )
    both.nginx = None  # it has no such check
    assert both.ask("/a%0d%0aSet-Cookie:x=1").status == 500
    assert both.ask("/r/a%0d%0aSet-Cookie:x=1").status in (302, 500)
    assert both.ask("/r/a%0d%0aSet-Cookie:x=1").header("set-cookie") is None
