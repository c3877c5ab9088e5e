"""lb beside nginx: which location and rewrite answers, what goes to the server, which server is next: tests/oracle.

A row is a path and what comes of it: status, then Location if there is one, else the body (but for error pages).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.oracle.case import Ask, Case, ask, check_case, get, http


def row(path: str, wanted: str) -> Ask:
    """`wanted`: see above."""
    status, _, text = wanted.partition(" ")
    if text and status.startswith("3"):
        return ask(get(path), rf"^HTTP/1.1 {status} .*\r\nLocation: {re.escape(text)}\r\n")
    return ask(get(path), rf"^HTTP/1.1 {status} .*\r\n\r\n{re.escape(text) + '$' if text else ''}")


TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "rewrite": (
        r"""
    server { listen 127.0.0.1:8080; server_name localhost;
        location / { rewrite ^ http://example.com/ redirect; }
        location /add { rewrite ^ http://example.com/?c=d redirect; }
        location /no { rewrite ^ http://example.com/?c=d? redirect; }
        location /uri { rewrite ^ /? redirect; }
        location /perm { rewrite ^/perm/(.*) /p/$1 permanent; }
        location /break { rewrite ^ /return200; break; return 200 broke; }
        location /return204 { return 204; }
        location /return200 { return 200; }
        location /return306 { return 306; }
        location /return405 { return 405; }
        location /return497 { return 497; }
        location /return418 { return 418; }
        location /return599 { return 599 x; }
        location /error404return405 { error_page 404 /return405; return 404; }
        location /error405return204 { error_page 405 /return204; return 405; }
        location /error405return200 { error_page 405 /return200; return 405; }
        location /return200text { return 200 "text"; }
        location /return404text { return 404 "text"; }
        location /return302text { return 302 "text"; }
        location /return302http { return 302 http://x/$arg_a; }
        location /return302rel { return 302 /rel/$arg_a; }
        location /return303 { return 303 /x; }
        location /return307 { return 307 /x; }
        location /return308 { return 308 /x; }
        location /return301 { return 301 https://$host$request_uri; }
        location /returnurl { return http://foo/$uri; }
        location /returnscheme { return $scheme://bar; }
        location /error302 { error_page 302 /return200text; return 302 "text"; }
        location /error405return200text { error_page 405 /return200text; return 405; }
        location /error302return200text { error_page 302 /return200text; return 302 "text"; }
        location /error405return302text { error_page 405 /return302text; return 405; }
        location /error405rewrite { error_page 405 /; return 405; }
        location /error405directory { error_page 405 /directory; return 405; }
        location /directory { return 200 dir; }
        location /capture { rewrite ^(.*) $1?c=d; return 200 "uri:$uri args:$args"; }
        location /capturedup { rewrite ^(.*) $1?c=$1; return 200 "uri:$uri args:$args"; }
        location /cap2 { rewrite ^/cap2(?<x>.*)$ /z$x? last; }
        location /z { return 200 "z:$uri:$args:$x"; }
        location /esc { rewrite ^/esc/(.*) /z?a=$1 last; }
        location /escr { rewrite ^/escr/(.*) /z/$1 redirect; }
        location /fail { rewrite ^ /fail; }
        location /loop1 { rewrite ^ /loop2 last; }
        location /loop2 { rewrite ^ /loop1 last; }
        location /setb { set $a ""; if ($a) { return 200 yes; } set $a 0; if ($a) { return 200 zero; } set $a 00;
            if ($a) { return 200 00; } }
        location /setv { set $b "x${arg_a}y"; set $b $b$b; return 200 $b; }
    }""",
        {
            "/": "302 http://example.com/",
            "/?a=b": "302 http://example.com/?a=b",
            "/add": "302 http://example.com/?c=d",
            "/add?a=b": "302 http://example.com/?c=d&a=b",
            "/no": "302 http://example.com/?c=d",
            "/no?a=b": "302 http://example.com/?c=d",
            "/uri": "302 http://localhost:8080/",
            "/uri?a=b": "302 http://localhost:8080/",
            "/perm/abc?x": "301 http://localhost:8080/p/abc?x",
            "/return204": "204",
            "/return200": "200",
            "/return306": "306",
            "/return405": "405",
            "/return497": "400",
            "/return418": "418",
            "/return599": "599 x",
            "/error404return405": "405",
            "/error405return204": "405",
            "/error405return200": "405",
            "/return200text": "200 text",
            "/return404text": "404 text",
            "/return302text": "302 text",
            "/return302http?a=1": "302 http://x/1",
            "/return302rel?a=%20x": "302 http://localhost:8080/rel/%20x",
            "/return303": "303 http://localhost:8080/x",
            "/return307": "307 http://localhost:8080/x",
            "/return308": "308 http://localhost:8080/x",
            "/return301?a": "301 https://localhost/return301?a",
            "/returnurl": "302 http://foo//returnurl",
            "/returnscheme": "302 http://bar",
            "/error302": "302 text",
            "/error405return200text": "405 text",
            "/error302return200text": "302 text",
            "/error405return302text": "302 text",
            "/error405rewrite": "302 http://example.com/",
            "/error405rewrite?a=b": "302 http://example.com/",
            "/error405directory": "405 dir",
            "/capture": "200 uri:/capture args:c=d",
            "/capture?a=b": "200 uri:/capture args:c=d&a=b",
            "/capturedup": "200 uri:/capturedup args:c=/capturedup",
            "/capture/%25?a=b": "200 uri:/capture/% args:c=d&a=b",
            "/capturedup/%25?a=b": "200 uri:/capturedup/% args:c=/capturedup/%25&a=b",
            "/capturedup/%3f?a": "200 uri:/capturedup/? args:c=/capturedup/%3F&a",
            "/cap2/foo?x": "200 z:/z/foo::/foo",
            "/esc/%20a%26b%3f": "200 z:/z:a=%20a%26b%3F:",
            "/escr/%20a%26b%3f%25?x": "302 http://localhost:8080/z/%20a&b?%25?x",
            "/fail": "500",
            "/loop1": "500",
            "/setb": "200 00",
            "/setv?a=1": "200 x1yx1y",
        },
    ),
    "arguments": (
        r"""
    server { listen 127.0.0.1:8080;
        location / { set $args "x=1&a=b"; return 200 "$args|$arg_x|$arg_a|$query_string|$is_args|$request_uri|$uri";
            }
        location /e { set $args ""; return 200 "[$args][$is_args]"; }
        location /r { rewrite ^ /t?k=v last; }
        location /t { return 200 "$args|$arg_k|$request_uri|$uri|$document_uri"; }
        location /arg { return 200 "$arg_a|$arg_A|$arg_a_b|$arg_|$arg_c"; }
        location /ck { return 200 "$cookie_a|$cookie_A|$cookie_a_b|$cookie_b"; }
        location /cap { if ($uri ~ "^/cap/(.)(?<nm>.)?") { set $k "$1-$nm-$2-$3"; } return 200 "$k"; } }""",
        {
            "/?z": "200 x=1&a=b|1|b|x=1&a=b|?|/?z|/",
            "/e?a": "200 [][]",
            "/r?q=1": "200 k=v&q=1|v|/r?q=1|/t|/t",
            "/r": "200 k=v|v|/r|/t|/t",
            "/arg?a=1&A=2&a_b=3&a-b=4&c": "200 1|1|3||",
            "/arg?a&c=%20%31": "200 ||||%20%31",
            "/arg?xa=1&a=2&a=3": "200 2|2|||",
            "/cap/xy": "200 x-y-y-",
            "/cap/x": "200 x---",
        },
    ),
    "proxy_pass": (
        r"""
    server { listen 127.0.0.1:8080;
        location /a { proxy_pass http://127.0.0.1:8081?x=1; }
        location /b/ { proxy_pass http://127.0.0.1:8081/z?x=1; }
        location /c { proxy_pass http://127.0.0.1:8081/$arg_p; }
        location /d { rewrite ^/d/(.*) /new/$1?z break; proxy_pass http://127.0.0.1:8081; }
        location /e { rewrite ^/e/(.*) /new/$1 break; proxy_pass http://127.0.0.1:8081/uri/; }
        location /f { set $args "q=2"; proxy_pass http://127.0.0.1:8081; }
        location /g/ { set $args "q=2"; proxy_pass http://127.0.0.1:8081/gg/; }
        location ~ ^/h { proxy_pass http://127.0.0.1:8081; }
        location /i { proxy_pass http://127.0.0.1:8081/; }
        location = /j { proxy_pass http://127.0.0.1:8081/jj; }
        location /k { proxy_pass http://127.0.0.1:8081/%20x/; }
        location /l { proxy_pass http://127.0.0.1:8081/$uri; }
        location /m { proxy_pass http://127.0.0.1:8081/$request_uri; } }
    server { listen 127.0.0.1:8081; merge_slashes off; return 200 "$request_uri"; }""",
        {
            "/b/c?d": "200 /z?x=1c?d",
            "/b/": "200 /z?x=1",
            "/c?p=%20q": "200 /%20q",
            "/d/%20x?y": "200 /new/%20x?z&y",
            "/d/x": "200 /new/x?z",
            "/e/x?y": "200 /new/x?y",
            "/f?z": "200 /f?q=2",
            "/f": "200 /f?q=2",
            "/g/x?z": "200 /gg/x?q=2",
            "/g/%2f%20": "200 /gg/%20?q=2",
            "/h/%2f": "200 /h/%2f",
            "/i": "200 /",
            "/ix": "200 /x",
            "/i/x": "200 //x",
            "/j": "200 /jj",
            "/k/y": "200 /%20x//y",
            "/m/%20z?q": "200 //m/%20z?q",
            "/n/x": "404",
            "/i/a%3fb%23c%25": "200 //a%3Fb%23c%25",
        },
    ),
    "inheritance": (
        r"""
    proxy_set_header A http; add_header X http; proxy_read_timeout 3s; proxy_hide_header H1; error_page 404 /e;
    server { listen 127.0.0.1:8080; server_name s; root %%dir%%; set $v srv; access_log off; proxy_hide_header H2;
        location / { proxy_pass http://127.0.0.1:8081;
            location /in { proxy_set_header B in; proxy_pass http://127.0.0.1:8081;
            location /in/deep { proxy_pass http://127.0.0.1:8081; } } }
        location /h { proxy_hide_header H3; proxy_pass_header H1; proxy_pass http://127.0.0.1:8081; }
        location /x/ { if ($arg_a) { set $v if; } add_header V $v; proxy_pass http://127.0.0.1:8081/$v/; }
        location ~ ^/r/(\w+)/(\w+)$ { proxy_pass http://127.0.0.1:8081/$2/$1$is_args$args; }
        location = /e { return 200 E; }
    }
    server { listen 127.0.0.1:8081; add_header H1 1; add_header H2 2; add_header H3 3;
        location / { return 200 "$request_uri A=$http_a B=$http_b"; }
        location /nf { return 404; } }""",
        {
            "/": "200 / A=http B=",
            "/in": "200 /in A= B=in",
            "/in/deep": "200 /in/deep A= B=in",
            "/h": "200 /h A=http B=",
            "/x/y": "200 /srv/ A=http B=",
            "/x/y?a=1": "200 /if/ A=http B=",
            "/r/a/b?q=1": "200 /b/a?q=1 A=http B=",
            "/nf": "404 /nf A=http B=",
            "/r/a": "200 /r/a A=http B=",
        },
    ),
    "locations": (
        r"""
    server { listen 127.0.0.1:8080; server_name localhost;
        location = / { return 204; }
        location / { return 404 x; }
        location /foo { add_header X-L foo; return 200; }
        location /images/ { return 200 images; }
        location ^~ /foo^~ { return 200 "foo^~"; }
        location ~ /regex { return 200 regex; }
        location ~* /Casefull { return 200 casefull; }
        location ~* /case { return 200 caseless; }
        location ~ /(?<n>nam)ed { return 200 $n; }
        location = /exact/ { return 200 exact; }
        location /lone { location /lone/two { return 200 two; } return 200 lone; }
        location "/with space" { return 200 ws; }
        location /%25x { return 200 pct; }
    }""",
        {
            "/": "204",
            "/x": "404 x",
            "/foo": "200",
            "/foobar": "200",
            "/images": "404 x",
            "/images/": "200 images",
            "/images/x": "200 images",
            "/foo%5E~": "200 foo^~",
            "/regexfoo": "200 regex",
            "/REGEX": "404 x",
            "/casefull": "200 casefull",
            "/CASEX": "200 caseless",
            "/named": "200 nam",
            "/exact": "404 x",
            "/exact/": "200 exact",
            "/exact/x": "404 x",
            "/lone": "200 lone",
            "/lone/twox": "200 two",
            "/with%20space": "200 ws",
            "/%2525x": "200 pct",
            "/%2525": "404 x",
            "/FOO": "404 x",
        },
    ),
}

SERVERS = "".join(f"    server {{ listen 127.0.0.1:{port}; return 200 {port}; }}\n" for port in (8081, 8082, 8083))

NEXT = {  # what the upstream block holds -> who answers one request after the other
    "server 127.0.0.1:8081; server 127.0.0.1:8082; server 127.0.0.1:8083;": "1 2 3 1 2 3",
    "server 127.0.0.1:8081 weight=5; server 127.0.0.1:8082; server 127.0.0.1:8083;": "1 1 2 1 3 1 1 1 1 2 1 3 1 1",
    "server 127.0.0.1:8081; server 127.0.0.1:8082 weight=2;": "2 1 2 2 1 2",
    "server 127.0.0.1:8081 down; server 127.0.0.1:8082 backup; server 127.0.0.1:8083 backup;": "2 3 2 3",
    "server 127.0.0.1:8081; server 127.0.0.1:8082 down; server 127.0.0.1:8083;": "1 3 1 3",
    "server 127.0.0.1:8099; server 127.0.0.1:8082;": "2 2 2 2",
    "least_conn; server 127.0.0.1:8081; server 127.0.0.1:8082;": "1 2 1 2",
    "ip_hash; server 127.0.0.1:8081; server 127.0.0.1:8082; server 127.0.0.1:8083;": "3 3 3 3",
    "ip_hash; server 127.0.0.1:8081 down; server 127.0.0.1:8082 weight=2; server 127.0.0.1:8083;": "2 2 2 2",
    "zone z 256k; server 127.0.0.1:8081; server 127.0.0.1:8082 weight=2;": "2 1 2 2 1 2",
}
HASHES = {
    "hash $arg_k; server 127.0.0.1:8081; server 127.0.0.1:8082; server 127.0.0.1:8083;": "3 2 3 2 1 2 1 1 3 3 1 3",
    "hash $arg_k; server 127.0.0.1:8081 weight=3; server 127.0.0.1:8082; server 127.0.0.1:8083 down;":
        "1 2 1 1 1 1 2 1 1 1 1 1",
    "hash $arg_k; server 127.0.0.1:8099; server 127.0.0.1:8082; server 127.0.0.1:8083;": "3 2 3 2 3 2 3 2 3 3 2 3",
}


@pytest.mark.parametrize("name", TABLES)
def test_paths(name, tmp_path: Path):
    text, rows = TABLES[name]
    check_case(Case(http(text), tuple(row(path, wanted) for path, wanted in rows.items())), tmp_path)


def front(blocks: dict[str, str]) -> str:
    """Upstream number N behind location /N/."""
    upstreams = "".join(f"    upstream u{number} {{ {text} }}\n" for number, text in enumerate(blocks))
    places = "".join(f"        location /{n}/ {{ proxy_pass http://u{n}; }}\n" for n in range(len(blocks)))
    return f"{upstreams}    server {{\n        listen 127.0.0.1:8080;\n{places}    }}\n"


def test_next_server(tmp_path: Path):
    asks = [ask(get(f"/{n}/"), f"808{digit}$") for n, digits in enumerate(NEXT.values()) for digit in digits.split()]
    check_case(Case(http(front(NEXT) + SERVERS), tuple(asks)), tmp_path)


def test_server_of_a_key(tmp_path: Path):
    asks = [
        ask(get(f"/{n}/?k={key}"), f"808{digit}$")
        for n, digits in enumerate(HASHES.values())
        for key, digit in enumerate(digits.split())
    ]
    check_case(Case(http(front(HASHES) + SERVERS), tuple(asks)), tmp_path)
