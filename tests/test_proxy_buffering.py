"""Answers that a client does not keep up with: memory, then a file, then the server waits. Through the real lb."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from tests.harness import backend as raw
from tests.harness.wait import wait_for

ONE = """
http {
    access_log off;
    server {
        listen 127.0.0.1:@http@ sndbuf=32k;
        proxy_temp_path @directory@/answers;
        location / { proxy_pass http://@backend@; @inside@ }
    }
}
"""
SIZE = 12_000_000
BODY = bytes(range(251)) * (SIZE // 251)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def chunks() -> bytes:
    parts = [BODY[at : at + 100_000] for at in range(0, len(BODY), 100_000)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


@pytest.fixture
def slow(run_lb, raw_backend, connect, tmp_path):
    """slow(answer, inside) -> (client that has asked and reads nothing yet, event: all was sent, lb)."""

    def start(answer, inside=""):
        sent = threading.Event()

        def script(connection):
            connection.recv_head()
            connection.send(answer)
            sent.set()

        lb = run_lb(ONE, backend=raw_backend(script).address, inside=inside, directory=tmp_path)
        client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return client, sent, lb

    return start


@pytest.mark.parametrize(
    "answer", [LENGTH + BODY, chunks(), b"HTTP/1.0 200 OK\r\n\r\n" + BODY], ids=["length", "chunked", "end"]
)
def test_a_slow_client_does_not_hold_up_the_server(slow, answer):
    client, sent, _ = slow(answer)
    wait_for(sent.is_set, "the server to be rid of its answer", 30)
    body = client.response().body
    assert hashlib.sha1(body).digest() == hashlib.sha1(BODY).digest()


@pytest.mark.parametrize(
    "inside", ["proxy_buffering off;", "proxy_max_temp_file_size 0;", "proxy_max_temp_file_size 1m;"]
)
@pytest.mark.parametrize("answer", [LENGTH + BODY, chunks()], ids=["length", "chunked"])
def test_the_server_waits_at_the_limit(slow, answer, inside):
    client, sent, _ = slow(answer, inside)
    client.recv_until(b"\r\n\r\n")
    assert not sent.wait(0.5)
    client.buffer = bytes(client.received)
    body = client.response().body
    assert hashlib.sha1(body).digest() == hashlib.sha1(BODY).digest()
    wait_for(sent.is_set)


@pytest.mark.parametrize(
    ("word", "inside", "waits"),
    [
        (b"no", "", True),
        (b"No", "proxy_ignore_headers X-Accel-Buffering;", False),
        (b"maybe", "", False),
        (b"YES", "proxy_buffering off;", False),
        (b"yes", "proxy_buffering off; proxy_ignore_headers X-Accel-Buffering;", True),
    ],
)
def test_the_server_decides_on_buffering(slow, word, inside, waits):
    client, sent, _ = slow(LENGTH[:-2] + b"X-Accel-Buffering: %s\r\n\r\n" % word + BODY, inside)
    client.recv_until(b"\r\n\r\n")
    if waits:
        assert not sent.wait(0.5)
    else:
        wait_for(sent.is_set, "the server to be rid of its answer", 30)
    client.buffer = bytes(client.received)
    response = client.response()
    assert response.header("x-accel-buffering") is None
    assert hashlib.sha1(response.body).digest() == hashlib.sha1(BODY).digest()


def test_what_waits_on_disk_is_the_body_alone(slow):
    """Its chunks are made when it is sent."""
    client, sent, lb = slow(chunks())
    wait_for(sent.is_set, "the server to be rid of its answer", 30)
    links = [link for worker in lb.workers for link in Path(f"/proc/{worker.pid}/fd").iterdir()]
    (waiting,) = [link for link in links if "/answers/" in os.readlink(link)]
    on_disk = waiting.read_bytes()
    assert len(on_disk) > 1_000_000 and BODY.endswith(on_disk)
    assert client.response().body == BODY


def test_a_client_that_leaves_while_its_answer_waits(slow, tmp_path):
    client, sent, _ = slow(LENGTH + BODY)
    wait_for(sent.is_set, "", 30)
    client.close()
    assert list((tmp_path / "answers").iterdir()) == []  # the file has no name


@pytest.mark.parametrize(("size", "status"), [(3000, 200), (5000, 502)])
def test_the_largest_head(run_lb, raw_backend, connect, tmp_path, size, status):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: " + b"x" * size + b"\r\n\r\n"
    lb = run_lb(ONE, backend=raw_backend(raw.answer(answer)).address, inside="", directory=tmp_path)
    assert connect(lb.port("http")).request().status == status
    if status == 502:
        lb.wait_log("upstream sent too big header while reading response header from upstream")


@pytest.mark.parametrize(
    ("size", "allowed", "status"), [(40_000, "48k", 200), (200_000, "256k", 200), (200_000, "128k", 502)]
)
def test_a_larger_head_where_it_is_allowed(run_lb, raw_backend, connect, tmp_path, size, allowed, status):
    body = b"y" * 100_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nX-Long: " + b"x" * size + b"\r\n\r\n" + body
    inside = f"proxy_buffer_size {allowed}; proxy_buffers 8 {allowed};"
    lb = run_lb(ONE, backend=raw_backend(raw.answer(answer)).address, inside=inside, directory=tmp_path)
    response = connect(lb.port("http")).request()
    assert response.status == status
    if status == 200:
        assert (response.header("x-long"), response.body) == ("x" * size, body)
