"""What lb writes from what clients sent: heads for servers, log lines. Nothing gets out of its line, and nothing is lost."""

from __future__ import annotations

import os
import re

import pytest

ONE = """
http {
    access_log access.log;
    upstream u { server @server@; }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://u; @inside@ }
        location /echo { return 200 "$request_uri"; }
    }
}
"""


@pytest.fixture
def before(run_lb):
    """before(backend, inside="") -> Lb."""
    return lambda backend, inside="": run_lb(ONE, server=backend.address, inside=inside)


@pytest.mark.parametrize("variable", ["$uri", "$document_uri"])
@pytest.mark.parametrize("end", ["%0d%0a", "%0a", "%0d", "%00"])
def test_decoded_path_stays_in_its_field(before, http_backend, connect, variable, end):
    """$uri is decoded: a line end in it must not begin a field of its own (RFC 9110 section 5.5: a space instead)."""
    backend = http_backend()
    lb = before(backend, f"proxy_set_header X-Path {variable};")
    response = connect(lb.port("http")).request(target=f"/a{end}Evil:%20yes{end}{end}GET%20/b")
    if response.status == 400 and end == "%00":
        return
    assert response.status == 200
    assert len(backend.requests) == 1
    assert backend.requests[0].all("evil") == []
    assert re.fullmatch(r"/a +Evil: yes +GET /b", backend.requests[0].header("x-path"))


def test_other_control_bytes_of_a_decoded_path(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend, "proxy_set_header X-Path $uri;")
    assert connect(lb.port("http")).request(target="/%09a%01b%7fc%e4%1f").status == 200
    assert backend.requests[0].header("x-path") == "/ a b c\xe4"


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""
