"""The PROXY protocol's parser: whole, cut at every byte, one byte wrong; and addresses as fields tell them."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import _probe

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command=0x21, family=0x11, body=b"", length=None):
    return SIGNATURE + struct.pack(">BBH", command, family, len(body) if length is None else length) + body


INET = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack(">HH", 1234, 80)
INET6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack(">HH", 65535, 0)
)
V4 = ("192.0.2.1", "192.0.2.2", 1234, 80)
V6 = ("2001:db8::1", "2001:db8::2", 65535, 0)
LONG = b"ffff:" * 7 + b"ffff"

GOOD = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", V4),
    (b"PROXY TCP6 2001:DB8::1 2001:db8::2 65535 0\r\n", ("2001:DB8::1", *V6[1:])),
    (b"PROXY TCP6 %s %s 65535 65535\r\n" % (LONG, LONG), (LONG.decode(),) * 2 + (65535,) * 2),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (b"PROXY UNKNOWN \0anything\r\n", None),
    (v2(body=INET), V4),
    (v2(family=0x21, body=INET6), V6),
    (v2(body=INET + b"\x01\x00\x01x"), V4),
    (v2(body=INET + bytes(4096 - 16 - 12)), V4),
    (v2(family=0x31, body=bytes(216)), None),
    (v2(family=0x12, body=INET), None),
    (v2(family=0x00, body=b""), None),
    (v2(command=0x20, family=0x00, body=b""), None),
    (v2(command=0x20, family=0x11, body=INET), None),
]


@pytest.mark.parametrize(("text", "said"), GOOD, ids=range(len(GOOD)))
def test_good_ones_whole_cut_and_with_more_behind(text, said):
    assert _probe.greeting(text) == ("done", len(text), said)
    assert _probe.greeting(text + b"GET / HTTP/1.1\r\n") == ("done", len(text), said)
    for size in range(min(len(text), 200)):
        assert _probe.greeting(text[:size]) == ("more",), size


BAD = [
    b"GET / HTTP/1.1\r\n",
    b"proxy TCP4 192.0.2.1 192.0.2.2 1234 80\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 1234 80\r\n",
    b"PROXY TCP5 192.0.2.1 192.0.2.2 1234 80\r\n",
    b"PROXY UDP4 192.0.2.1 192.0.2.2 1234 80\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 \r\n",
    b"PROXY TCP4 192.0.2.1\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1234\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1234  80\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80 1\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 01 80\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 80\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 123456 80\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.256 1 80\r\n",
    b"PROXY TCP4 192.0.2 192.0.2.2 1 80\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 80\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1 80\r\n",
    b"PROXY TCP4 192.0.2.1\t192.0.2.2 1 80\r\n",
    b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 80\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOW\r\n",
    b"PROXY UNKNOWN " + b"x" * 93,
    b"PROXY TCP4 " + b"1" * 96 + b"\r\n",
    b"\r\n\r\n\0\r\nQUIT\r",
    v2(command=0x11, body=INET),
    v2(command=0x22, body=INET),
    v2(family=0x41, body=INET),
    v2(family=0x13, body=INET),
    v2(body=INET[:-1]),
    v2(family=0x21, body=INET6[:-1]),
    v2(family=0x31, body=bytes(215)),
    v2(body=INET, length=4081),
    v2(body=INET, length=65535),
]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad_ones(text):
    assert _probe.greeting(text) == ("bad",)
    sizes = [size for size in range(len(text)) if _probe.greeting(text[:size]) == ("bad",)]
    assert sizes == list(range(sizes[0], len(text))) if sizes else True  # once refused, always refused
    assert all(_probe.greeting(text[:size])[0] != "done" for size in range(len(text)))


@given(st.sampled_from(GOOD), st.integers(0, 60), st.integers(0, 255))
@settings(max_examples=500, deadline=None)
def test_a_wrong_byte_never_reads_past_the_end(case, position, byte):
    text = bytearray(case[0])
    text[position % len(text)] = byte
    result = _probe.greeting(bytes(text))
    assert result[0] in ("done", "more", "bad")
    if result[0] == "done":
        assert result[1] <= len(text)


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_garbage(text):
    for start in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"):
        assert _probe.greeting(start + text)[0] in ("done", "more", "bad")


def sockaddr(host, port=0):
    if ":" in host:
        address = socket.inet_pton(socket.AF_INET6, host)
        return struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0) + address + bytes(4)
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", sockaddr("192.0.2.1")),
        ("192.0.2.1:1", sockaddr("192.0.2.1", 1)),
        ("192.0.2.1:65535", sockaddr("192.0.2.1", 65535)),
        ("2001:db8::1", sockaddr("2001:db8::1")),
        ("2001:db8::1:80", sockaddr("2001:db8::1:80")),
        ("[2001:db8::1]:80", sockaddr("2001:db8::1", 80)),
        ("::", sockaddr("::")),
        ("", b""),
        (":", b""),
        (":80", b""),
        ("[]:80", b""),
        ("[::1]", b""),
        ("[::1]80", b""),
        ("192.0.2.1:", b""),
        ("192.0.2.1:0", b""),
        ("192.0.2.1:65536", b""),
        ("192.0.2.1:123456", b""),
        ("192.0.2", b""),
        ("unknown", b""),
        ("192.0.2.1\0", b""),
        ("x" * 100, b""),
    ],
)
def test_addresses(text, expected):
    assert _probe.address_of(text.encode()) == expected
