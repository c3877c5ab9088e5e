"""RFC 9113 rule by rule: what ends a stream, what ends the connection, and what is to be ignored."""

from __future__ import annotations

import struct
import threading

import pytest

from tests.harness.backend import Reply
from tests.harness.h2_client import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    H2Client,
    frame,
    headers,
    rst_stream,
    settings,
    window_update,
)
from tests.harness.wait import wait_for

SITE = """
http {
    access_log off;
    upstream u { server @backend@; keepalive 8; }
    server {
        listen 127.0.0.1:@http@;
        http2 on;
        http2_max_concurrent_streams 20;
        location / { proxy_pass http://u; proxy_request_buffering off; }
        location /own { return 200 "own\\n"; }
    }
}
"""


@pytest.fixture
def released():
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def client(run_lb, http_backend, connect, released):
    """Its backend answers once `released` is set."""
    backend = http_backend(lambda _: Reply(body=b"done", wait=released))
    lb = run_lb(SITE, backend=backend.address)
    made = H2Client(connect(lb.port("http")))
    made.lb, made.backend, made.again = lb, backend, lambda **more: H2Client(connect(lb.port("http")), **more)
    return made


def works(client):
    """This connection goes on."""
    assert client.get("/own").body == b"own\n"


# ---- 3.4, 4, 5.1.1: the preface, frames, stream identifiers


def test_its_settings_come_first(client):
    first = client.take()
    assert (first.kind, first.stream) == (SETTINGS, 0)
    found = dict(struct.unpack(">HI", first.payload[i : i + 6]) for i in range(0, len(first.payload), 6))
    assert found[3] == 20 and found[4] == 65536 and found[9] == 1


@pytest.mark.parametrize("begin", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", PREFACE.replace(b"SM", b"XX")])
def test_a_wrong_preface(client, begin):
    other = client.again(begin=False)
    other.send(begin)
    assert other.gone() in (None, PROTOCOL_ERROR)


@pytest.mark.parametrize("first", [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, ACK), window_update(0, 1)])
def test_something_before_settings(client, first):
    other = client.again(begin=False)
    other.send(PREFACE + first)
    assert other.gone() == PROTOCOL_ERROR


def test_unknown_frames_are_ignored(client):
    client.send(frame(0xFE, 0xFF, 0, b"x" * 100) + frame(0xFE, 0, 1, b""))
    works(client)


def test_undefined_flags_are_ignored(client):
    client.send(frame(PING, 0xFE, 0, b"12345678"))
    assert client.until(PING).payload == b"12345678"


def test_a_reserved_bit_is_ignored(client):
    client.send(frame(PING, 0, 0x80000000, b"12345678"))
    assert client.until(PING).flags == ACK


def test_frames_of_every_cut(client):
    """One byte at a time: heads, blocks, DATA and its padding."""
    fields = client.head("/own", "POST", (("content-length", "3"),))
    client.client.send_each_byte(
        frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x02\0\0\0\0\x10" + client.block(fields) + b"\0\0")
        + frame(DATA, PADDED | END_STREAM, 1, b"\x04abc\0\0\0\0")
    )
    assert client.answer(1).status == 200


FRAMES = {
    "too large": (frame(DATA, 0, 1, b"x" * 16385), FRAME_SIZE_ERROR),
    "DATA on 0": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "HEADERS on 0": (frame(HEADERS, 5, 0, b"\x82"), PROTOCOL_ERROR),
    "PRIORITY on 0": (frame(PRIORITY, 0, 0, b"\0" * 5), PROTOCOL_ERROR),
    "RST_STREAM on 0": (rst_stream(0), PROTOCOL_ERROR),
    "RST_STREAM of an idle stream": (rst_stream(1), PROTOCOL_ERROR),
    "RST_STREAM of 5 bytes": (frame(RST_STREAM, 0, 1, b"\0" * 5), FRAME_SIZE_ERROR),
    "DATA of an idle stream": (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
    "WINDOW_UPDATE of an idle stream": (window_update(1, 1), PROTOCOL_ERROR),
    "CONTINUATION of an idle stream": (frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL_ERROR),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"), PROTOCOL_ERROR),
    "SETTINGS on 1": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, b"\0" * 5), FRAME_SIZE_ERROR),
    "SETTINGS with ACK and more": (frame(SETTINGS, ACK, 0, b"\0" * 6), FRAME_SIZE_ERROR),
    "ENABLE_PUSH 2": (settings(enable_push=2), PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE": (settings(initial_window_size=2**31), FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE below": (settings(max_frame_size=16383), PROTOCOL_ERROR),
    "MAX_FRAME_SIZE above": (settings(max_frame_size=2**24), PROTOCOL_ERROR),
    "PING on 1": (frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    "PING of 7 bytes": (frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
    "GOAWAY on 1": (frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL_ERROR),
    "GOAWAY of 7 bytes": (frame(GOAWAY, 0, 0, b"\0" * 7), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, b"\0" * 3), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 0": (window_update(0, 0), PROTOCOL_ERROR),
    "the connection's window overflows": (window_update(0, 2**31 - 1) + window_update(0, 1), FLOW_CONTROL_ERROR),
    "an even stream": (frame(HEADERS, 5, 2, b"\x82"), PROTOCOL_ERROR),
    "PRIORITY_UPDATE on 1": (frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=1"), PROTOCOL_ERROR),
    "PRIORITY_UPDATE of 0": (frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1"), PROTOCOL_ERROR),
    "HEADERS of only padding": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09abc"), PROTOCOL_ERROR),
    "no field block": (frame(HEADERS, 5, 1, b"\x80"), COMPRESSION_ERROR),
    "an index that is not there": (frame(HEADERS, 5, 1, b"\xff\xff\xff"), COMPRESSION_ERROR),
    "a table larger than allowed": (frame(HEADERS, 5, 1, b"\x3f\xe2\x1f\x82"), COMPRESSION_ERROR),
}


@pytest.mark.parametrize("data, code", FRAMES.values(), ids=FRAMES)
def test_ends_the_connection(client, data, code):
    client.send(data)
    assert client.gone() == code


def test_a_lower_stream(client):
    client.next = 5
    works(client)
    client.send(headers(3, client.block(client.head("/own"))))
    assert client.gone() in (PROTOCOL_ERROR, STREAM_CLOSED)


# ---- 5.1: states of a stream


def test_half_closed_data(client):
    stream = client.ask("/")
    client.data(stream, b"x")
    assert client.answer(stream).reset == STREAM_CLOSED
    works(client)


def test_half_closed_headers(client):
    stream = client.ask("/")
    client.send(headers(stream, client.block(client.head("/"))))
    assert client.answer(stream).reset == STREAM_CLOSED
    works(client)


def test_closed_data(client):
    stream = client.ask("/own")
    assert client.answer(stream).status == 200
    client.data(stream, b"x")
    assert client.until(RST_STREAM).code == STREAM_CLOSED
    works(client)


def test_closed_headers(client):
    stream = client.ask("/own")
    assert client.answer(stream).status == 200
    client.send(headers(stream, client.block(client.head("/own"))))
    assert client.gone() == STREAM_CLOSED


def test_closed_window_update_and_reset_are_ignored(client):
    stream = client.ask("/own")
    assert client.answer(stream).status == 200
    client.send(window_update(stream, 1) + rst_stream(stream) + frame(PRIORITY, 0, stream, b"\0\0\0\0\x10"))
    works(client)


def test_frames_on_their_way_behind_our_reset(client):
    stream = client.ask("/", "POST", (("content-length", "1"),), end=False)
    client.data(stream, b"xx")
    assert client.answer(stream).reset == PROTOCOL_ERROR
    client.data(stream, b"more")
    client.send(headers(stream, client.block([("x-trailer", "1")])))
    client.send(headers(client.next, client.block([*client.head("/own"), ("x-trailer", "1")])))  # the table has it
    assert client.answer(client.next).status == 200


def test_priority_of_an_idle_stream(client):
    client.send(frame(PRIORITY, 0, 101, b"\0\0\0\0\x10"))
    works(client)


def test_a_stream_that_depends_on_itself(client):
    client.send(frame(HEADERS, 5 | WITH_PRIORITY, 1, b"\0\0\0\1\x10" + client.block(client.head("/own"))))
    assert client.answer(1).reset == PROTOCOL_ERROR
    client.next = 3
    stream = client.ask("/")
    client.send(frame(PRIORITY, 0, stream, struct.pack(">IB", stream, 16)))
    assert client.answer(stream).reset == PROTOCOL_ERROR
    works(client)


def test_priority_of_4_bytes(client):
    stream = client.ask("/")
    client.send(frame(PRIORITY, 0, stream, b"\0" * 4))
    assert client.answer(stream).reset == FRAME_SIZE_ERROR
    works(client)


# ---- 5.1.2: how many


def test_too_many_streams(client, released):
    streams = [client.ask("/") for _ in range(20)]
    refused = client.ask("/")
    assert client.answer(refused).reset == REFUSED_STREAM
    released.set()
    assert all(client.answer(stream).body == b"done" for stream in streams)
    works(client)


# ---- 6.1, 6.9: flow control of what is sent to us


def test_more_than_the_stream_allows(client):
    stream = client.ask("/", "POST", end=False)
    client.ping()  # its window is as SETTINGS says
    wait_for(lambda: client.backend.requests or client.backend.accepted)
    for _ in range(60):  # nobody reads: the backend waits
        client.data(stream, b"x" * 16000)
    found = client.answer(stream)
    assert found.reset == FLOW_CONTROL_ERROR or found.heads
    works(client)


def test_the_window_of_a_stream(client):
    stream = client.ask("/")
    client.send(window_update(stream, 0))
    assert client.answer(stream).reset == PROTOCOL_ERROR
    stream = client.ask("/")
    client.send(window_update(stream, 2**31 - 1))
    assert client.answer(stream).reset == FLOW_CONTROL_ERROR
    works(client)


def test_initial_window_overflows(client):
    stream = client.ask("/")
    client.send(window_update(stream, 2**31 - 1 - 65535) + settings(initial_window_size=70000))
    assert client.gone() == FLOW_CONTROL_ERROR


@pytest.mark.parametrize("payload", [b"\x03ab", b"\x01", b""], ids=["more", "as much", "none"])
def test_padding_of_data(client, payload):
    stream = client.ask("/", "POST", end=False)
    client.send(frame(DATA, PADDED, stream, payload))
    assert client.gone() == PROTOCOL_ERROR


# ---- 6.10: CONTINUATION


def test_a_block_in_parts(client):
    client.send(headers(1, client.block(client.head("/own")), size=1))
    assert client.gone() == ENHANCE_YOUR_CALM  # too many parts
    other = client.again()
    other.send(headers(1, other.block(other.head("/own")), size=12))
    assert other.answer(1).status == 200


@pytest.mark.parametrize("between", [frame(PING, 0, 0, b"12345678"), frame(CONTINUATION, 4, 3, b"\x82"), frame(0xFE)])
def test_something_within_a_block(client, between):
    client.send(frame(HEADERS, END_STREAM, 1, client.block(client.head("/own"))) + between)
    assert client.gone() == PROTOCOL_ERROR


def test_continuation_without_headers(client):
    works(client)
    client.send(frame(CONTINUATION, 4, 1, b"\x82"))
    assert client.gone() == PROTOCOL_ERROR


def test_an_empty_block_may_go_on(client):
    client.send(frame(HEADERS, END_STREAM, 1) + frame(CONTINUATION, 4, 1, client.block(client.head("/own"))))
    assert client.answer(1).status == 200


# ---- 6.5, 6.7, 6.8


def test_settings_are_acknowledged(client):
    client.send(
        settings(max_frame_size=20000, max_concurrent_streams=0) + frame(SETTINGS, 0, 0, struct.pack(">HI", 0x99, 1))
    )
    acks = 0
    while acks < 3:
        found = client.take()
        acks += found.kind == SETTINGS and found.flags & ACK
    works(client)


def test_ping(client):
    client.send(frame(PING, 0, 0, b"8 bytes."))
    assert client.until(PING).payload == b"8 bytes."
    client.send(frame(PING, ACK, 0, b"8 bytes."))
    works(client)


def test_goaway_of_the_client(client, released):
    stream = client.ask("/")
    client.send(frame(GOAWAY, 0, 0, b"\0" * 8))
    released.set()
    assert client.answer(stream).body == b"done"


def test_the_encoder_keeps_to_a_smaller_table(client):
    other = client.again(header_table_size=0)
    assert other.get("/own").status == 200
    assert other.decoder.header_table._current_size == 0
    other.send(settings(header_table_size=4096))
    for _ in range(3):
        works(other)
    assert other.decoder.header_table._current_size > 0


# ---- 8: requests

GOOD = [(":method", "GET"), (":scheme", "http"), (":path", "/own"), (":authority", "x")]
MALFORMED = {
    "no method": GOOD[1:],
    "no scheme": [GOOD[0], *GOOD[2:]],
    "no path": [GOOD[0], GOOD[1], GOOD[3]],
    "an empty path": [*GOOD[:2], (":path", "")],
    "twice": [*GOOD, GOOD[2]],
    "unknown": [*GOOD, (":x", "y")],
    "of answers": [*GOOD, (":status", "200")],
    "behind others": [*GOOD[:3], ("x", "y"), GOOD[3]],
    "upper case": [*GOOD, ("X-Y", "z")],
    "connection": [*GOOD, ("connection", "keep-alive")],
    "transfer-encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "te": [*GOOD, ("te", "trailers, deflate")],
    "a line end": [*GOOD, ("x", "y\r\nz: 1")],
    "another host": [*GOOD, ("host", "evil")],
    "a body that is not there": [*GOOD, ("content-length", "5")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_malformed(client, fields):
    assert client.answer(client.ask_fields(fields)).reset == PROTOCOL_ERROR
    works(client)
    assert not client.backend.requests


REFUSED = {
    "no host": (GOOD[:3], 400),
    "two lengths": ([*GOOD, ("content-length", "1"), ("content-length", "2")], 400),
    "a length that is none": ([*GOOD, ("content-length", "-1")], 400),
    "a control byte": ([*GOOD, ("x", "a\x01b")], 400),
    "a bad escape": ([*GOOD[:2], (":path", "/%zz"), GOOD[3]], 400),
    "above the root": ([*GOOD[:2], (":path", "/../x"), GOOD[3]], 400),
    "a user in the authority": ([*GOOD[:3], (":authority", "u@x")], 400),
    "CONNECT": ([(":method", "CONNECT"), (":authority", "x:443")], 405),
    "TRACE": ([(":method", "TRACE"), *GOOD[1:]], 405),
}


@pytest.mark.parametrize("fields, status", REFUSED.values(), ids=REFUSED)
def test_refused_as_over_http1(client, fields, status):
    assert client.answer(client.ask_fields(fields)).status == status
    works(client)
    assert not client.backend.requests


def test_trailers_need_the_end(client):
    stream = client.ask("/", "POST", end=False)
    client.send(headers(stream, client.block([("x", "y")]), end=False))
    assert client.answer(stream).reset == PROTOCOL_ERROR
    works(client)


@pytest.mark.parametrize("field", [(":method", "GET"), ("X", "y"), ("connection", "close")])
def test_malformed_trailers(client, field):
    stream = client.ask("/", "POST", end=False)
    client.send(headers(stream, client.block([field])))
    assert client.answer(stream).reset == PROTOCOL_ERROR
    works(client)


def test_a_method_of_its_own(client, released):
    released.set()
    assert client.get("/", method="QUERY").body == b"done"
    assert client.backend.requests[0].method == "QUERY"
