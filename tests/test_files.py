"""Static files: the same as nginx, asked beside lb."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.harness.backend import Reply

HTTP = """
http {
    access_log off;
    upstream u { server @backend@; }
    types { text/html html; text/plain txt; text/css CSS css2; }
    @outer@
    server { listen 127.0.0.1:@http@; @inside@ }
}
"""
SHOWN = ("last-modified", "etag", "accept-ranges", "content-range", "content-length", "cache-control", "expires", "x-a")
WHEN = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
BIG = bytes(range(256)) * 4000


@pytest.fixture
def www(tmp_path) -> Path:
    """The files of a site, readable for workers."""
    root = tmp_path / "www"
    texts = {
        "index.html": b"root index",
        "a.txt": b"0123456789",
        "b.HTML": b"<b>",
        "c.css": b"c",
        "noext": b"n",
        "dir.d/x": b"x",
        ".html": b"hidden",
        "empty": b"",
        "big": BIG,
        "sub/index.html": b"sub index",
        "sub/other.txt": b"other",
        "bare/file": b"f",
        "two words/index.html": b"spaced",
        "q?/index.html": b"question",
        "50x.html": b"an error",
        "alias/x.txt": b"alias x",
        "alias/index.html": b"alias index",
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        os.utime(path, (WHEN, WHEN))
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("a.txt")
    (root / "denied").write_bytes(b"denied")
    (root / "denied").chmod(0)
    (root / "closed").mkdir()
    (root / "closed" / "f").write_bytes(b"f")
    (root / "closed").chmod(0)
    return root


@pytest.fixture
def site(pair, http_backend, www):
    def start(inside="", outer="", handler=None):
        backend = http_backend(handler)
        both = pair(HTTP, backend, inside=inside.replace("WWW", str(www)), outer=outer.replace("WWW", str(www)))
        return Site(both)

    return start


class Site:
    """A Pair whose answers must also agree in the fields that a file brings."""

    def __init__(self, both) -> None:
        self.both, self.lb, self.backend = both, both.lb, both.backend

    def ask(self, target="/", method="GET", headers="", body=b""):
        if body:
            headers += f"Content-Length: {len(body)}\r\n"
        raw = f"{method} {target} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n".encode("latin-1") + body
        response = self.both.send(self.lb.port("http"), raw, method)
        if self.both.nginx is not None:
            other = self.both.send(self.both.nginx, raw, method)
            assert self.shown(response) == self.shown(other), (target, headers)
        return response

    def shown(self, response):
        port = rb":(%d|%d)\b" % (self.lb.port("http"), self.both.nginx)
        own = response.status >= 300 and b"<center>" in response.body
        body = b"own page" if own else re.sub(port, b":PORT", response.body)
        shown = {name: response.all(name) for name in (*SHOWN, "content-type")}
        if own or (response.status >= 300 and not response.body):
            shown.pop("content-length")  # the page has the server's name in it
        shown["location"] = [re.sub(port.decode(), ":PORT", where) for where in response.all("location")]
        return response.status, body, shown


def test_files(site):
    both = site("root WWW;")
    asked = {
        "/": 200,
        "/a.txt": 200,
        "/a.txt?query": 200,
        "/%61.txt": 200,
        "//a.txt": 200,
        "/sub/../a.txt": 200,
        "/b.HTML": 200,
        "/c.css": 200,
        "/noext": 200,
        "/dir.d/x": 200,
        "/.html": 200,
        "/empty": 200,
        "/link": 200,
        "/sub/": 200,
        "/two%20words/": 200,
        "/q%3F/?query": 200,
        "/sub": 301,
        "/sub?x=y": 301,
        "/bare/": 403,
        "/bare/?q": 403,
        "/nosuch": 404,
        "/nosuch/": 404,
        "/a.txt/": 404,
        "/a.txt/b": 404,
        "/sub/nosuch": 404,
        "/fifo": 404,
        "/" + "x" * 300: 404,
        "/" + "x" * 300 + "/": 404,
    }
    for target, status in asked.items():
        assert both.ask(target).status == status, target
        assert both.ask(target, "HEAD").status == status
    both.lb.expect_log(r"\[crit\].*/fifo\" is not a regular file")
    assert both.ask("/big").body == BIG
    assert both.ask("/a.txt").header("last-modified") == DATE
    assert both.ask("/a.txt").header("etag") == f'"{WHEN:x}-a"'
    assert both.ask("/two%20words").header("location").endswith("/two%20words/")
    missing = r"\(2: No such file or directory\), client"
    assert re.search(rf'\[error\].* open\(\) ".*/www/nosuch" failed {missing}', both.lb.log)
    assert re.search(r'\[error\].* directory index of ".*/www/bare/" is forbidden, client', both.lb.log)
    assert re.search(rf'\[error\].* ".*/www/nosuch/index.html" is not found {missing}', both.lb.log)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs workers that are another user")
def test_no_permission(site):
    """nginx of the tests runs as root, so lb is asked alone."""
    both = site("root WWW;")
    for target, status in {"/denied": 403, "/closed/f": 403, "/closed/": 403, "/closed": 403}.items():
        with both.lb.client() as client:
            assert client.request(target=target).status == status, target


def test_methods(site):
    both = site("root WWW;")
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "X"):
        for target in ("/a.txt", "/nosuch", "/", "/sub", "/bare/"):
            assert both.ask(target, method).status == 405, (method, target)
    for target, status in {"/a.txt": 405, "/nosuch": 404, "/": 405, "/sub": 301, "/bare/": 403}.items():
        assert both.ask(target, "POST", body=b"abc").status == status, target


def test_conditions(site):
    both = site(
        """root WWW; location /before/ { alias WWW/; if_modified_since before; }
           location /off/ { alias WWW/; if_modified_since off; } location /noetag/ { alias WWW/; etag off; }"""
    )
    etag = f'"{WHEN:x}-a"'
    early, late = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"
    for where in ("/", "/before/", "/off/", "/noetag/"):
        for headers in (
            f"If-Modified-Since: {DATE}",
            f"If-Modified-Since: {early}",
            f"If-Modified-Since: {late}",
            "If-Modified-Since: rubbish",
            "If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT",
            "If-Modified-Since: Tuesday, 14-Nov-93 22:13:20 GMT",
            "If-Modified-Since: Tue Nov 14 22:13:20 2023",
            "If-Modified-Since: Tue Nov  4 22:13:20 2023",
            "If-Modified-Since: Tue Nov 14 22:13:2x 2023",
            "If-Unmodified-Since: rubbish",
            "If-Unmodified-Since: Tue Nov 14 22:13:20 2023",
            f"If-None-Match: {etag}",
            f"If-None-Match: W/{etag}",
            f'If-None-Match: "x", {etag}',
            f'If-None-Match: "x,y" ,{etag}',
            'If-None-Match: "x"',
            "If-None-Match: *",
            f"If-None-Match: {etag}\r\nIf-Modified-Since: {early}",
            f'If-None-Match: "x"\r\nIf-Modified-Since: {DATE}',
            f"If-Match: {etag}",
            f"If-Match: W/{etag}",
            "If-Match: *",
            'If-Match: "x"',
            f"If-Unmodified-Since: {DATE}",
            f"If-Unmodified-Since: {early}",
            f"If-Unmodified-Since: {late}",
        ):
            for method in ("GET", "HEAD"):
                both.ask(f"{where}a.txt", method, headers + "\r\n")
    assert both.ask("/a.txt", headers=f"If-Modified-Since: {DATE}\r\n").status == 304
    for date in ("Tuesday, 14-Nov-23 22:13:20 GMT", "Tue Nov 14 22:13:20 2023"):
        assert both.ask("/a.txt", headers=f"If-Modified-Since: {date}\r\n").status == 304
    assert both.ask("/off/a.txt", headers=f"If-Modified-Since: {DATE}\r\n").status == 200
    assert both.ask("/before/a.txt", headers=f"If-Modified-Since: {late}\r\n").status == 304
    assert both.ask("/a.txt", headers='If-Match: "x"\r\n').status == 412
    assert both.ask("/noetag/a.txt", headers=f"If-None-Match: {etag}\r\n").status == 200


def test_ranges(site):
    both = site("root WWW; location /none/ { alias WWW/; max_ranges 0; }")
    etag = f'"{WHEN:x}-a"'
    good = ("0-0", "0-", "-1", "-10", "-11", "3-5", "9-", "9-100", "0-999999999999")
    for text in (*good, "10-", "10-11", "-0", "5-3", "", "x", "1", "1-2x"):
        response = both.ask("/a.txt", headers=f"Range: bytes={text}\r\n")
        assert response.status == 206 if text in good else response.status in (200, 416), text
    for text in (" 1 - 2 ", "-", "--1", "1--2", "0x1-2", "1 2", "2-1", "999999999999-", "0-999999999999"):
        both.ask("/a.txt", headers=f"Range: bytes={text}\r\n")
    assert both.ask("/a.txt", headers="Range: bytes=3-5\r\n").body == b"345"
    assert both.ask("/big", headers="Range: bytes=100000-899999\r\n").body == BIG[100000:900000]
    assert both.ask("/big", "HEAD", headers="Range: bytes=100000-899999\r\n").header("content-length") == "800000"
    assert both.ask("/a.txt", headers="Range: bytes=10-\r\n").header("content-range") == "bytes */10"
    assert both.ask("/none/a.txt", headers="Range: bytes=3-5\r\n").status == 200
    assert both.ask("/a.txt", headers="Range: Bytes=3-5\r\n").status == 206
    assert both.ask("/a.txt", headers="Range: lines=3-5\r\n").status == 200
    assert both.ask("/empty", headers="Range: bytes=0-\r\n").status == 200
    for unless, status in ((etag, 206), ('"x"', 200), (f"W/{etag}", 200), (DATE, 206), (DATE[:-5] + "1 GMT", 200)):
        assert both.ask("/a.txt", headers=f"Range: bytes=3-5\r\nIf-Range: {unless}\r\n").status == status


def test_several_ranges_get_the_whole_file(site):
    both = site("root WWW;")
    with both.lb.client() as client:
        answer = client.request(target="/a.txt", headers="Range: bytes=0-1,3-4\r\n")
        assert (answer.status, answer.body) == (200, b"0123456789")


def test_alias(site):
    both = site(
        r"""location /p/ { alias WWW/alias/; } location = /exact { alias WWW/a.txt; } location /q { alias WWW/alias; }
        location /n/ { alias WWW/; location /n/sub/ { index other.txt; } }
        location ~ ^/re/(.*)$ { alias WWW/$1; } location ~ \.dup$ { root WWW/sub; }
        location /var/ { alias WWW/$arg_d/; }
        location /rw/ { alias WWW/alias/; rewrite ^/rw/gone /rw/x.txt last; }
        location /brk/ { alias WWW/alias/; rewrite ^ /brk/x.txt break; }"""
    )
    asked = {
        "/p/x.txt": b"alias x",
        "/p/": b"alias index",
        "/exact": b"0123456789",
        "/q/x.txt": b"alias x",
        "/n/sub/": b"other",
        "/re/sub/other.txt": b"other",
        "/re/a.txt": b"0123456789",
        "/var/other.txt?d=sub": b"other",
        "/rw/gone": b"alias x",
    }
    for target, body in asked.items():
        assert both.ask(target).body == body, target
    for target, status in {"/q": 301, "/p": 404, "/re/sub/": 200, "/re/nosuch": 404, "/brk/z": 500}.items():
        assert both.ask(target).status == status, target
    both.lb.expect_log(r'\[alert\].*"alias" cannot be used in a location where the path was rewritten')


def test_roots(site):
    both = site(
        """location /sub/ { } location /in { root WWW/sub/; if ($arg_a) { root WWW; } return 204; }
        location /host { root WWW/$arg_r; } location /if/ { root /nonexistent; if ($arg_a) { root WWW; } }
        location /names { root WWW; return 200 "$document_root|$request_filename|$realpath_root"; }
        location /al/ { alias WWW/alias/; return 200 "$document_root|$request_filename"; }
        location /test { root WWW; if (-f $request_filename.txt) { return 200 file; }
            if (-d $request_filename) { return 200 dir; }
            if (!-e $request_filename) { return 200 none; } }""",
        outer="root WWW;",
    )
    assert both.ask("/sub/other.txt").body == b"other"
    assert both.ask("/a.txt").body == b"0123456789"
    assert both.ask("/host/../a.txt").status == 200
    assert both.ask("/if/a.txt").status == 404
    assert both.ask("/names/x").body.decode().count("/www") == 3
    assert both.ask("/al/x.txt").status == 200
    assert both.ask("/test").body == b"none"


def test_index(site):
    both = site(
        """root WWW; index nosuch.html $arg_i index.html /last; location = /last { return 200 last; }
        location /one/ { alias WWW/sub/; index other.txt; } location /two/ { alias WWW/bare/; index a; index file; }
        location /bare/ { index x y; } location /abs/ { index /a.txt; }"""
    )
    asked = {
        "/?i=no": b"root index",
        "/sub/?i=no": b"sub index",
        "/sub/?i=other.txt": b"other",
        "/one/": b"other",
        "/two/": b"f",
        "/abs/": b"0123456789",
        "/abs/?q": b"0123456789",
        "/bare/": None,
    }
    for target, body in asked.items():
        response = both.ask(target)
        assert body is None or response.body == body, target


def test_try_files(site):
    handler = lambda request: Reply(body=f"backend {request.target}".encode())  # noqa: E731
    both = site(
        r"""root WWW; try_files $uri /none?$args;
        location = /none { return 200 "none $args"; }
        location /t/ { try_files /sub$uri $uri /a.txt =500; }
        location /d/ { try_files $uri/ /nosuch/ /sub/ =404; }
        location /f/ { try_files /sub /nosuch @named; }
        location @named { return 200 "named $uri $args"; }
        location @proxied { proxy_pass http://u; }
        location /p/ { try_files /a.txt$uri @proxied; }
        location /pf/ { try_files /a.txt =404; proxy_pass http://u; }
        location /c204 { try_files /nosuch =204; }
        location /c403 { try_files /nosuch =403; }
        location /c503 { try_files /nosuch =503; error_page 503 /50x.html; }
        location /al/ { alias WWW/alias/; try_files $uri /al/index.html x.txt =404; }
        location /al2/ { alias WWW/alias/; try_files nosuch x.txt =404; }
        location ~ ^/re/(.*) { alias WWW/; try_files nosuch $1 =404; }
        location /last/ { try_files $uri /other/$arg_a?b; }
        location /other/ { return 200 "$uri $args"; }
        location /cycle/ { try_files $uri /cycle/x; }
        location /missing/ { try_files $uri @nowhere; }
        location /in/ { try_files $uri =404; if ($arg_a) { set $x y; } }""",
        handler=handler,
    )
    asked = {
        "/c.css": b"c",
        "/zzz?q": b"none q",
        "/t/other.txt": b"0123456789",
        "/f/": b"named /f/ ",
        "/f/?x": b"named /f/ x",
        "/p/x?y": b"backend /p/x?y",
        "/pf/z": b"backend /pf/z",
        "/al/x.txt": b"alias x",
        "/al/zzz": b"alias x",
        "/al2/": b"alias x",
        "/re/a.txt": b"0123456789",
        "/c503": b"an error",
        "/last/z?a=1": b"/other/1 b",
    }
    for target, body in asked.items():
        assert both.ask(target).body == body, target
    statuses = {"/c204": 204, "/c403": 403, "/cycle/": 500, "/missing/": 500, "/sub": 200, "/d/": 301}
    statuses |= {"/in/?a=1": 404, "/re/nosuch": 404}
    for target, status in statuses.items():
        assert both.ask(target).status == status, target


def test_error_pages(site, world):
    """The idiom of every nginx file: the status is the error's, the body the file's."""
    both = site(
        f"""error_page 500 502 503 504 /50x.html; location = /50x.html {{ root WWW; }}
        error_page 404 = /big; location = /big {{ root WWW; }}
        error_page 403 =200 /a.txt; location = /a.txt {{ root WWW; }}
        error_page 405 /empty; location = /empty {{ root WWW; internal; }}
        error_page 416 /c.css; location = /c.css {{ root WWW; }}
        location /s503 {{ return 503; }} location /s404 {{ return 404; }} location /s403 {{ return 403; }}
        location /s405 {{ return 405; }}
        location /down {{ proxy_pass http://127.0.0.1:{world.closed_port()}; }}"""
    )
    for target, status, body in (
        ("/s503", 503, b"an error"),
        ("/down", 502, b"an error"),
        ("/s404", 200, BIG),
        ("/s403", 200, b"0123456789"),
        ("/s405", 405, b""),
        ("/50x.html", 200, b"an error"),
        ("/empty", 200, BIG),
    ):
        for headers in ("", "Range: bytes=0-1\r\n", f"If-Modified-Since: {DATE}\r\n"):
            response = both.ask(target, headers=headers)
            if not headers:
                assert (response.status, response.body) == (status, body), target
        assert both.ask(target, "HEAD").status == status
        if target != "/50x.html":
            both.ask(target, "POST", body=b"abc")


def test_x_accel_redirect(site):
    """The file that a server names, with the fields of its answer that stay."""
    fields = [("Content-Disposition", "attachment"), ("ETag", '"theirs"'), ("Cache-Control", "private"), ("X-A", "x")]

    def handler(request):
        where = "/in/" + request.target.partition("?")[2]
        return Reply(200, headers=[("X-Accel-Redirect", where), *fields], body=b"theirs")

    both = site("location / { proxy_pass http://u; } location /in/ { internal; alias WWW/; }", handler=handler)
    for target, status in {"big": 200, "a.txt": 200, "sub/": 200, "nosuch": 404, "sub": 301}.items():
        for headers in ("", "Range: bytes=1-2\r\n", f"If-Modified-Since: {DATE}\r\n"):
            response = both.ask(f"/go?{target}", headers=headers)
            assert headers or response.status == status, target


def test_intercepted_errors(site):
    """A server's error with a file in its place."""
    fields = [("ETag", '"theirs"'), ("Last-Modified", DATE), ("Content-Type", "x/y"), ("X-A", "gone")]
    both = site(
        """location / { proxy_pass http://u; proxy_intercept_errors on;
            error_page 404 /50x.html; error_page 500 = /big; }
        location = /50x.html { root WWW; } location = /big { root WWW; }""",
        handler=lambda request: Reply(int(request.target[1:]), headers=fields, body=b"theirs"),
    )
    assert both.ask("/404").body == b"an error"
    assert both.ask("/500").body == BIG
    both.ask("/500", headers="Range: bytes=1-2\r\n")


def test_fields(site):
    both = site(
        """root WWW; add_header X-A "$request_filename" always; expires 1h;
        location /mod { expires modified 1h; } location /off/ { alias WWW/; expires off; default_type x/y; }
        location /types/ { alias WWW/; types { } default_type a/b; }
        location /text.css { types { x/css css; } return 200 ""; }"""
    )
    assert both.ask("/nosuch").header("x-a").endswith("/www/nosuch")
    assert both.ask("/off/noext").header("content-type") == "x/y"
    assert both.ask("/types/a.txt").header("content-type") == "a/b"
    assert both.ask("/text.css").header("content-type") == "x/css"
    assert both.ask("/sub/").header("content-type") == "text/html"
    with both.lb.client() as client:  # the time may pass a second between the two
        assert client.request(target="/a.txt").header("cache-control") == "max-age=3600"
