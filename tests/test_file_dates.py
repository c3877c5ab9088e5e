"""Dates that no clock has: files older than 1970 or beyond the year 9999, and `expires` that leads there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.harness.backend import Reply

LAST = 253402300799  # the last second of the year 9999
HTTP = """
http {
    access_log off;
    server {
        listen 127.0.0.1:@http@;
        root @www@;
        location / { }
        location /trailed/ { alias @www@/; add_trailer X-A b; }
        location /modified/ { alias @www@/; expires modified 24855d; }
        location /proxied/ { proxy_pass http://@backend@; expires modified 24855d; }
        location /ago/ { alias @www@/; expires -24855d; }
    }
}
"""
SECONDS = (2**60, 2**55, 10**14, LAST + 1, LAST, -1, -315619200, -(2**40), 0)


@pytest.fixture
def www():
    """A directory whose file system keeps any time."""
    shm = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


def dated(www, seconds):
    path = www / f"f{seconds}"
    path.write_bytes(b"text")
    os.utime(path, (0, seconds))
    if path.stat().st_mtime_ns // 10**9 != seconds:
        pytest.skip(f"no file system that keeps {seconds}")
    return path.name


def shown(seconds):
    """What nginx shows: nothing before 1970. What has five digits for its year is no HTTP date: no field."""
    if seconds > LAST:
        return None
    return "Thu, 01 Jan 1970 00:00:00 GMT" if seconds <= 0 else "Fri, 31 Dec 9999 23:59:59 GMT"


@pytest.mark.parametrize("seconds", SECONDS)
def test_last_modified(seconds, www, run_lb, http_backend, connect):
    name = dated(www, seconds)
    lb = run_lb(HTTP, www=www, backend=http_backend().address)
    client = connect(lb.port("http"))
    date = shown(seconds)
    for where in ("", "trailed/"):
        answer = client.request("GET", f"/{where}{name}")
        assert (answer.status, answer.body, answer.header("last-modified")) == (200, b"text", date)
    etag = client.request("GET", f"/{name}").header("etag")
    assert etag == f'"{seconds % 2**64:x}-4"'  # as nginx
    assert client.request("GET", f"/{name}", f"If-None-Match: {etag}\r\n").status == 304
    since = "If-Modified-Since: {}\r\n"
    assert client.request("GET", f"/{name}", since.format("no date")).status == 200
    assert client.request("GET", f"/{name}", since.format(date or shown(LAST))).status == (304 if date else 200)
    half = "Range: bytes=0-1\r\nIf-Range: {}\r\n"
    assert client.request("GET", f"/{name}", half.format("no date")).status == 200
    assert client.request("GET", f"/{name}", half.format(date or shown(LAST))).status == (206 if date else 200)


@pytest.mark.parametrize("seconds", SECONDS)
def test_expires(seconds, www, run_lb, http_backend, connect):
    name = dated(www, seconds)
    lb = run_lb(HTTP, www=www, backend=http_backend().address)
    client = connect(lb.port("http"))
    for where in ("modified", "ago"):
        answer = client.request("GET", f"/{where}/{name}")
        expires = answer.header("expires") or ""
        assert (answer.status, len(expires), expires[-4:]) == (200, 29, " GMT"), answer
    assert client.request("GET", f"/ago/{name}").header("expires") == shown(0)


@pytest.mark.parametrize("year", ["0000", "1001", "1969", "9999"])
def test_a_server_with_such_a_date(year, www, run_lb, http_backend, connect):
    field = ("Last-Modified", f"Fri, 31 Dec {year} 23:59:59 GMT")
    lb = run_lb(HTTP, www=www, backend=http_backend(lambda _: Reply(200, body=b"text", headers=[field])).address)
    answer = connect(lb.port("http")).request("GET", "/proxied/x")
    assert (answer.status, answer.header("last-modified")) == (200, field[1])
    assert len(answer.header("expires") or "") == 29, answer
    if year == "9999":
        assert answer.header("expires") == shown(LAST)
