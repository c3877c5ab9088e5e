"""What a client may not do too often over HTTP/2: each rule ends its own connection with ENHANCE_YOUR_CALM."""

from __future__ import annotations

import struct
import threading

import pytest

from tests.harness.backend import Reply
from tests.harness.h2_client import (
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    PING,
    PRIORITY,
    SETTINGS,
    H2Client,
    frame,
    headers,
    rst_stream,
    window_update,
)
from tests.harness.wait import wait_for

SITE = """
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    keepalive_requests 100000;
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        http2 on;
        location / { proxy_pass http://u; proxy_buffering off; }
        location /own { return 200 "own\\n"; }
    }
}
"""


@pytest.fixture
def site(run_lb, http_backend, connect):
    released = threading.Event()
    lb = run_lb(SITE, backend=http_backend(lambda _: Reply(body=b"x" * 100, wait=released)).address)
    other = H2Client(connect(lb.port("http")))
    assert other.get("/own").status == 200
    client = H2Client(connect(lb.port("http")))
    yield lb, client
    assert other.get("/own").status == 200  # nobody else has felt it
    released.set()


def counted(lb, connect, line):
    body = connect(lb.port("status")).request(target="/metrics").body.decode()
    return any(one.startswith(line) and float(one.split()[-1]) > 0 for one in body.splitlines())


def pour(client, *parts, slowly=False):
    """Send until lb has enough."""
    try:
        for i, part in enumerate(parts):
            client.send(part)
            if i % 100 == 99 and slowly:
                client.ping()  # one read of lb's is not all of it
    except (OSError, AssertionError):
        pass
    return client.gone()


def streams(client, n, behind):
    for _ in range(n):
        stream, client.next = client.next, client.next + 2
        yield headers(stream, client.block(client.head("/"))) + behind(stream)


def test_rapid_reset(site, connect):
    lb, client = site
    assert pour(client, *streams(client, 1300, rst_stream), slowly=True) == ENHANCE_YOUR_CALM
    assert counted(lb, connect, 'lb_http2_floods_total{rule="resets"}')


def test_some_resets_are_no_flood(site):
    _, client = site
    for part in streams(client, 300, rst_stream):
        client.send(part)
    assert client.get("/own").status == 200


@pytest.mark.parametrize(
    "fault",
    [
        lambda stream: window_update(stream, 0),
        lambda stream: frame(PRIORITY, 0, stream, b"\0\0\0"),
        lambda stream: frame(DATA, 0, stream, b"x"),
    ],
    ids=["window", "priority", "half-closed"],
)
def test_resets_that_we_are_made_to_send(site, connect, fault):
    lb, client = site
    assert pour(client, *streams(client, 1300, fault), slowly=True) == ENHANCE_YOUR_CALM
    assert counted(lb, connect, 'lb_http2_floods_total{rule="resets"}')


def test_malformed_requests_count_too(site, connect):
    _lb, client = site
    bad = client.encoder.encode([(":method", "GET")])
    parts = []
    for _ in range(1300):
        parts.append(frame(HEADERS, 5, client.next, bad))
        client.next += 2
    assert pour(client, *parts, slowly=True) == ENHANCE_YOUR_CALM


def test_continuation(site, connect):
    lb, client = site
    assert pour(client, frame(HEADERS, 1, 1, b""), *[frame(CONTINUATION, 0, 1, b"")] * 20) == ENHANCE_YOUR_CALM
    assert counted(lb, connect, 'lb_http2_floods_total{rule="block"}')


def test_a_block_without_end(site):
    _, client = site
    part = b"\0\x01x\x7f\x80\x7f" + b"y" * 16370
    assert (
        pour(client, frame(HEADERS, 1, 1, part[:16384]), *[frame(CONTINUATION, 0, 1, b"y" * 16384)] * 5)
        == ENHANCE_YOUR_CALM
    )


@pytest.mark.unsanitized("its memory is the sanitizer's")
def test_hpack_bomb(site):
    """One entry of the table, named thousands of times: no more than a head is written."""
    lb, client = site
    before = lb.workers[0].memory_info().rss
    block = client.block([*client.head("/own"), ("x", "y" * 3000)])
    client.send(headers(1, block))
    index = 62
    client.next = 3
    client.send(headers(3, client.block(client.head("/own")) + bytes([0x80 | index]) * 16000))
    assert client.answer(3).status == 431
    client.next = 5
    assert client.get("/own").status == 200
    assert lb.workers[0].memory_info().rss - before < 2 << 20


@pytest.mark.parametrize(
    "part",
    [
        frame(SETTINGS, 1),
        frame(PRIORITY, 0, 99, b"\0\0\0\0\x10"),
        window_update(0, 1),
        frame(PING, 1, 0, b"12345678"),
        frame(0xFE),
        frame(16, 0, 0, b"\0\0\0\1u=1"),
    ],
    ids=["settings ack", "priority", "window", "ping ack", "unknown", "priority update"],
)
def test_frames_without_use(site, connect, part):
    lb, client = site
    assert pour(client, *[part * 100] * 110) == ENHANCE_YOUR_CALM
    assert counted(lb, connect, 'lb_http2_floods_total{rule="frames"}')


def test_empty_data(site, connect):
    lb, client = site
    stream = client.ask("/", "POST", end=False)
    assert pour(client, *[frame(DATA, 0, stream, b"") * 100] * 110) == ENHANCE_YOUR_CALM
    assert counted(lb, connect, 'lb_http2_floods_total{rule="frames"}')


def test_padding_alone(site):
    _, client = site
    stream = client.ask("/", "POST", end=False)
    assert pour(client, *[frame(DATA, 8, stream, b"\x00") * 100] * 110) == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("part", [frame(SETTINGS), frame(PING, 0, 0, b"12345678")], ids=["settings", "ping"])
def test_answers_that_nobody_reads(run_lb, connect, part):
    """A client that reads nothing makes lb keep a bounded number of answers."""
    lb = run_lb(SITE, backend="127.0.0.1:1")
    client = H2Client(connect(lb.port("http"), rcvbuf=4096))
    try:
        client.client.sock.settimeout(3)
        for _ in range(40000):
            client.send(part * 100)
    except OSError:
        pass
    wait_for(lambda: counted(lb, connect, "lb_http2_floods_total"))


def test_too_many_streams_at_once(site, connect):
    lb, client = site
    assert pour(client, b"".join(streams(client, 600, lambda _: b""))) in (ENHANCE_YOUR_CALM,)
    assert counted(lb, connect, 'lb_http2_floods_total{rule="streams"}')


@pytest.mark.unsanitized("its memory is the sanitizer's")
def test_slow_readers_of_many_streams(run_lb, raw_backend, connect):
    """A hundred long answers, none of them read: each holds a bounded part."""
    from tests.harness.backend import answer

    backend = raw_backend(
        answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400000)
    )
    lb = run_lb(SITE, backend=backend.address)
    client = H2Client(connect(lb.port("http")), initial_window_size=10)
    client.window = False
    before = lb.workers[0].memory_info().rss
    for _ in range(100):
        client.ask("/")
    wait_for(lambda: (client.ping(), sum(bool(client.came(i)) for i in range(1, 201, 2)))[1] == 100)
    assert lb.workers[0].memory_info().rss - before < 100 * 150_000
    client.send(window_update(0, 1 << 30))
    for i in range(1, 201, 2):
        client.send(window_update(i, 1 << 20))
    assert all(len(client.answer(i).body) == 400000 for i in range(1, 201, 2))


def test_bytes_beyond_the_window(site):
    """What a client sends above it is not kept."""
    _, client = site
    stream = client.ask("/own2", "POST", end=False)
    client.ping()
    for _ in range(5):
        client.data(stream, b"x" * 16384)
    assert client.answer(stream).reset in (FLOW_CONTROL_ERROR, None) or client.answer(stream).heads


def test_settings_that_change_windows(site):
    """A million changes of INITIAL_WINDOW_SIZE are SETTINGS to be answered."""
    _, client = site
    part = b"".join(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, i)) for i in range(100))
    assert pour(client, *[part] * 120) == ENHANCE_YOUR_CALM
