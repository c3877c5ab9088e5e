"""What lb writes from what clients sent: heads for servers, log lines. Nothing gets out of its line or is lost."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import threading
import time

import pytest

from tests.engine_tools import stopped
from tests.harness.backend import Reply
from tests.harness.lb import BINARY, environment
from tests.harness.wait import wait_for

ONE = """
http {
    access_log access.log;
    large_client_header_buffers 4 48k;
    upstream u { server @server@; }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://u; @inside@ }
        location /echo { return 200 "$request_uri"; }
        location /field { return 200 "$http_field"; }
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


def test_remote_user_stays_in_its_field(before, http_backend, connect):
    """$remote_user is decoded, too."""
    backend = http_backend()
    lb = before(backend, "proxy_set_header X-User $remote_user;")
    login = base64.b64encode(b"me\r\nEvil: yes\r\n\r\nGET /b:secret").decode()
    assert connect(lb.port("http")).request(headers=f"Authorization: Basic {login}\r\n").status == 200
    assert len(backend.requests) == 1
    assert backend.requests[0].all("evil") == []
    assert backend.requests[0].header("x-user") == "me  Evil"


@pytest.mark.parametrize("inside", ["proxy_pass_request_body off;", "proxy_set_body mine;"])
@pytest.mark.parametrize("size", [0, 100_000], ids=["short", "long"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_body_that_is_not_passed_on(before, http_backend, connect, inside, size, chunked):
    """It may look like a request: nothing of it gets behind the head, however late it comes."""
    answer = threading.Event()
    backend = http_backend(lambda _: Reply(wait=answer))
    lb = before(backend, inside)
    body = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * size
    field = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    client = connect(lb.port("http"))
    client.send(b"POST /post HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n")
    time.sleep(0.1)  # the body comes apart from its head
    client.send(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" if chunked else body)
    client.send(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    time.sleep(0.3)  # what is not passed on must not follow
    answer.set()
    assert client.response().status == 200
    assert client.response().status == 200
    assert [request.target for request in backend.requests] == ["/post", "/next"]
    assert backend.requests[0].body == (b"mine" if "mine" in inside else b"")


def test_other_control_bytes_of_a_decoded_path(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend, "proxy_set_header X-Path $uri;")
    assert connect(lb.port("http")).request(target="/%09a%01b%7fc%e4%1f").status == 200
    assert backend.requests[0].header("x-path") == "/ a b c\xe4"


def test_no_line_is_too_long_for_the_access_log(before, http_backend, connect):
    """Long heads, every byte escaped, in one turn of the loop: each has its whole line, whatever waits before it."""
    lb = before(http_backend())
    clients = [connect(lb.port("http")) for _ in range(8)]
    with stopped(lb):
        for client in clients:
            client.send(b"GET /echo HTTP/1.1\r\nHost: x\r\nUser-Agent: " + b"\xff" * 20_000 + b"\r\n\r\n")
    assert {client.response().status for client in clients} == {200}
    log = lb.directory / "access.log"
    wait_for(lambda: log.read_text().count("\n") == 8, lambda: f"{log.read_text()[:1000]}")
    assert [line.count("\\xFF") for line in log.read_text().splitlines()] == [20_000] * 8


def test_a_return_of_the_longest_target(before, http_backend, connect):
    lb = before(http_backend())
    target = "/echo" + "x" * 8_000
    assert connect(lb.port("http")).request(target=target).body == target.encode()
    longest = "/echo" + "x" * (8192 - 5)
    assert connect(lb.port("http")).request(target=longest).body == longest.encode()


def test_a_return_of_the_longest_field(before, http_backend, connect):
    lb = before(http_backend())
    assert connect(lb.port("http")).request(target="/field", headers=f"Field: {'x' * 30_000}\r\n").body == b"x" * 30_000


def test_blocked_stderr_does_not_stop_the_loop(world, connect):
    """error_log stderr, and nobody reads it: a pipe that waits is not written to."""
    lb = world.new_lb()
    lb.write("error_log stderr info; " + ONE, server="127.0.0.1:1", inside="")
    unread, stderr = os.pipe()
    try:
        command = [str(BINARY), "-p", f"{lb.directory}/", "-c", str(lb.file)]
        lb.process = subprocess.Popen(command, cwd=lb.directory, env=environment(), stderr=stderr)
        lb.wait_ready()
        for _ in range(600):  # a line each, and more than the pipe holds
            assert connect(lb.port("http")).send(b"GET /" + b"x" * 200 + b"\r\n\r\n").response().status == 400
        assert len(os.read(unread, 1 << 20)) > 50_000
    finally:
        os.close(stderr)
        os.close(unread)
