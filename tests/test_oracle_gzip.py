"""gzip, lb beside nginx: which answers are compressed, their fields, and their bodies once they are not any more."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.harness.nginx import BINARY as NGINX
from tests.oracle.case import http
from tests.oracle.runner import Side

CONFIG = http("""
    types { text/html html; text/css css; image/png png; application/x-big big; }
    gzip on;
    gzip_vary on;
    gzip_types text/css application/x-big;
    server {
        listen 127.0.0.1:8080;
        location / { root %%dir%%/files; }
        location /text { default_type text/html; return 200 "long enough, and long enough\\n"; }
        location /short { default_type text/html; return 200 "short\\n"; }
        location /plain { default_type text/plain; return 200 "long enough, and long enough\\n"; }
        location /created { default_type text/html; return 201 "long enough, and long enough\\n"; }
        location /none { gzip off; default_type text/html; return 200 "long enough, and long enough\\n"; }
        location /if {
            gzip off;
            if ($arg_zip) { gzip on; }
            proxy_pass http://127.0.0.1:8081/html;
        }
        location /trailer {
            default_type text/html;
            add_header X-Seen $sent_http_content_type;
            return 200 "long enough, long enough, long enough";
        }
        location /old { gzip_http_version 1.0; proxy_pass http://127.0.0.1:8081/html; }
        location /oldtext {
            gzip_http_version 1.0;
            default_type text/html;
            return 200 "long enough, and long enough\\n";
        }
        location /nochunks { chunked_transfer_encoding off; proxy_pass http://127.0.0.1:8081/html; }
        location /any { gzip_types *; proxy_pass http://127.0.0.1:8081/; }
        location /min { gzip_min_length 1000; proxy_pass http://127.0.0.1:8081/html; }
        location /min0 { gzip_min_length 0; proxy_pass http://127.0.0.1:8081/empty; }
        location /level { gzip_comp_level 9; gzip_buffers 4 8k; proxy_pass http://127.0.0.1:8081/html; }
        location /novary { gzip_vary off; proxy_pass http://127.0.0.1:8081/html; }
        location /disable { gzip_disable "badagent" "^x.z$"; proxy_pass http://127.0.0.1:8081/html; }
        location /msie6 { gzip_disable msie6; proxy_pass http://127.0.0.1:8081/html; }
        location /via/off { proxy_pass http://127.0.0.1:8081/html; }
        location /via/any { gzip_proxied any; proxy_pass http://127.0.0.1:8081/html; }
        location /via/auth { gzip_proxied auth; proxy_pass http://127.0.0.1:8081/html; }
        location /via/words {
            gzip_proxied no-cache no-store private expired no_last_modified no_etag;
            proxy_pass http://127.0.0.1:8081/via;
        }
        location /via/expires {
            gzip_proxied expired;
            location /via/expires/epoch { expires epoch; proxy_pass http://127.0.0.1:8081/html; }
            location /via/expires/max { expires max; proxy_pass http://127.0.0.1:8081/html; }
            location /via/expires/past { expires -1h; proxy_pass http://127.0.0.1:8081/html; }
            location /via/expires/later { expires 1h; proxy_pass http://127.0.0.1:8081/html; }
        }
        location /via/added {
            gzip_proxied private;
            add_header Cache-Control private;
            proxy_pass http://127.0.0.1:8081/html;
        }
        location /via/other {
            gzip_proxied private;
            add_header Cache-Control public;
            proxy_pass http://127.0.0.1:8081/html;
        }
        location /up { proxy_pass http://127.0.0.1:8081; }
        location /error { error_page 404 /text; proxy_intercept_errors on; proxy_pass http://127.0.0.1:8081/missing; }
        location /as200 {
            error_page 404 =200 /up/html;
            proxy_intercept_errors on;
            proxy_pass http://127.0.0.1:8081/missing;
        }
    }
    server {
        listen 127.0.0.1:8081;
        gzip off;
        default_type text/html;
        root %%dir%%/files;
        location /html { return 200 "of a server, and long enough\\n"; }
        location = /empty { return 200 ""; }
        location /up/html { return 200 "of a server, and long enough\\n"; }
        location /up/coded { add_header Content-Encoding br; return 200 "of a server, and long enough\\n"; }
        location /up/notype { default_type ""; return 200 "of a server, and long enough\\n"; }
        location /up/caps { default_type "Text/HTML; charset=utf-8"; return 200 "of a server, and long enough\\n"; }
        location /up/space { default_type "text/css ; a=b"; return 200 "of a server, and long enough\\n"; }
        location /up/tag {
            add_header ETag '"abc"';
            add_header Accept-Ranges bytes;
            return 200 "long enough, and long enough\\n";
        }
        location /up/weak { add_header ETag 'W/"abc"'; return 200 "long enough, and long enough\\n"; }
        location /up/badtag { add_header ETag 'abc'; return 200 "long enough, and long enough\\n"; }
        location /up/403 { return 403; }
        location /up/404 { return 404; }
        location /up/500 { return 500; }
        location /up/204 { return 204; }
        location /up/files/ { alias %%dir%%/files/; types { text/html html; text/css css; application/x-big big; } }
        location /via { add_header $arg_n $arg_v; return 200 "of a server, and long enough\\n"; }
        location = /via2 {
            add_header Expires "Thu, 01 Jan 1970 00:00:01 GMT";
            return 200 "long enough, and long enough\\n";
        }
    }
""")
ACCEPT = "Accept-Encoding: gzip\r\n"
VIA = ACCEPT + "Via: 1.1 x\r\n"


def ask(target: str, fields: str = ACCEPT, method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {target} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n{fields}\r\n".encode()


LOCAL = ("/text", "/short", "/plain", "/created", "/none", "/trailer", "/missing", "/oldtext")
FILES = ("/small.html", "/small.css", "/small.png", "/large.big", "/tiny.html")
PROXIED = (
    "/if",
    "/if?zip=1",
    "/old",
    "/nochunks",
    "/any/up/notype",
    "/any/html",
    "/min",
    "/min0",
    "/level",
    "/novary",
    "/error",
    "/as200",
)
PROXIED += tuple(
    f"/up/{name}"
    for name in (
        "html",
        "coded",
        "notype",
        "caps",
        "space",
        "tag",
        "weak",
        "badtag",
        "403",
        "404",
        "500",
        "204",
        "files/small.html",
        "files/large.big",
    )
)
QUALITIES = (
    "gzip",
    "GZip",
    "deflate, gzip",
    "deflate,gzip",
    "deflate",
    "x-gzip",
    "gzip2",
    "gzi",
    "gzip;q=0",
    "gzip;q=0.0",
    "gzip;q=0.001",
    "gzip;q=0.0001",
    "gzip; q=0.5",
    "gzip ;q=1",
    "gzip;q=1.000",
    "gzip;q=1.001",
    "gzip;q=2",
    "gzip;q=",
    "gzip;q=0.5x",
    "gzip;q=1, br",
    "gzip;x=1",
    "gzip;q=.5",
    "gzip;Q=0.3",
    "*",
    "identity",
    "br;q=1.0, gzip;q=0.8, *;q=0.1",
    "gzip;q=0, gzip",
    "xgzip, gzip",
    "gzip,",
)
AGENTS = (
    "BadAgent/1",
    "x-z",
    "xyzz",
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
    "Mozilla/4.0 (compatible; MSIE 6.0; SV1)",
    "Mozilla/4.0 (compatible; MSIE 5.5; x)",
    "Mozilla/4.0 (MSIE 6.0; x) Opera 7",
    "Mozilla/4.0 (compatible; MSIE 7.0; x)",
)
ADDED = (
    ("Cache-Control", "no-cache"),
    ("Cache-Control", "max-age=1,no-store"),
    ("Cache-Control", "public"),
    ("Cache-Control", "Private"),
    ("Cache-Control", "private=x"),
    ("Last-Modified", "Thu,%2001%20Jan%202015%2000:00:00%20GMT"),
    ("ETag", "%22x%22"),
    ("X-A", "b"),
)

ASKS = {
    **{
        f"{method} {target} {version}": ask(target, method=method, version=version)
        for target in (*LOCAL, *FILES, *PROXIED)
        for method in ("GET", "HEAD")
        for version in ("1.1", "1.0")
    },
    **{f"without {target}": ask(target, "") for target in ("/text", "/small.html", "/up/html", "/plain")},
    **{f"accept {value}": ask("/up/html", f"Accept-Encoding: {value}\r\n") for value in QUALITIES},
    **{
        f"{where} {agent}": ask(where, ACCEPT + f"User-Agent: {agent}\r\n")
        for where in ("/disable", "/msie6")
        for agent in AGENTS
    },
    **{f"via {name}": ask(f"/via/{name}", VIA) for name in ("off", "any", "auth", "added", "other")},
    **{f"via expires {name}": ask(f"/via/expires/{name}", VIA) for name in ("epoch", "max", "past", "later")},
    "via auth with": ask("/via/auth", VIA + "Authorization: Basic YTpi\r\n"),
    "range": ask("/small.html", ACCEPT + "Range: bytes=2-5\r\n"),
    "range of no gzip": ask("/small.png", ACCEPT + "Range: bytes=2-5\r\n"),
    "range unaccepted": ask("/small.html", "Range: bytes=2-5\r\n"),
    "range behind": ask("/small.html", "Range: bytes=90000-\r\n"),
    "not modified": ask("/small.html", ACCEPT + "If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n"),
    "no match": ask("/small.html", ACCEPT + 'If-None-Match: W/"54a48e00-b4"\r\n'),
    "proxied range": ask("/up/files/small.html", ACCEPT + "Range: bytes=2-5\r\n"),
    "proxied not modified": ask(
        "/up/files/small.html", ACCEPT + "If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n"
    ),
    "precondition": ask("/small.html", ACCEPT + "If-Unmodified-Since: Thu, 01 Jan 2009 00:00:00 GMT\r\n"),
    "post": ask("/text", ACCEPT + "Content-Length: 0\r\n", "POST"),
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    if not NGINX:
        pytest.skip("nginx is not installed")
    made = []
    for kind in ("lb", "nginx"):
        side = Side(kind, tmp_path_factory.mktemp(kind))
        (side.directory / "files").mkdir()
        for name, body in BODIES.items():
            path = Path(side.directory, "files", name)
            path.write_bytes(body)
            os.utime(path, (1420070400, 1420070400))
        made.append(side.start(CONFIG))
    yield made
    for side in made:
        side.stop()


BODIES = {
    "small.html": b"<p>small, and long enough</p>" * 6 + b"\n\n\n\n\n\n",
    "tiny.html": b"<p>tiny</p>",
    "small.css": b"p { color: red }\n" * 100,
    "small.png": b"not really a picture" * 10,
    "large.big": b"".join(b"line %s of many\n" % bytes(97 + i // k % 26 for k in (1, 26, 676)) for i in range(60_000)),
}


def told(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status line, fields by name, and the body without its codings."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    fields = sorted(line for line in fields if not line.startswith((b"Date:", b"Server:", b"Expires:")))
    if b"Transfer-Encoding: chunked" in fields and body:
        body = dechunked(body)
    if b"Content-Encoding: gzip" in fields and body:
        body = gzip.decompress(body)
    if first[9:12] >= b"400":  # nginx's pages name another server
        fields = [line for line in fields if not line.startswith(b"Content-Length:")]
    return first, fields, b"a page" if b"<hr><center>" in body else body


def dechunked(data: bytes) -> bytes:
    parts = []
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            assert data == b"\r\n"
            return b"".join(parts)
        parts.append(data[: int(size, 16)])
        assert data[int(size, 16) :][:2] == b"\r\n"
        data = data[int(size, 16) + 2 :]


@pytest.mark.parametrize("name", ASKS)
def test_as_nginx(sides, name):
    lb, nginx = (told(side.send(ASKS[name], quiet=5)) for side in sides)
    assert lb == nginx


@pytest.mark.parametrize(("field", "value"), ADDED)
def test_proxied_by_field(sides, field, value):
    asked = ask(f"/via/words?n={field}&v={value}", VIA)
    assert b"HTTP/1.1 200" in sides[0].send(asked, quiet=5)
    lb, nginx = (told(side.send(asked, quiet=5)) for side in sides)
    assert lb == nginx
