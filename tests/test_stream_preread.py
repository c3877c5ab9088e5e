"""ssl_preread: the parser (whole, cut at every byte, mutated), and sessions through the real lb, beside nginx."""

from __future__ import annotations

import random
import ssl
import struct

import pytest

from tests import _probe
from tests.harness import backend as raw
from tests.harness.client import Client
from tests.harness.nginx import BINARY, STREAM, Nginx
from tests.harness.wait import free_port, wait_for


def hello(name: str = "Example.com", alpn: tuple[str, ...] = ("h2", "http/1.1"), newest: str = "TLSv1_3") -> bytes:
    """What Python's TLS sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion[newest]
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def record(body: bytes, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
    return bytes([kind]) + version + struct.pack(">H", len(body)) + body


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, len(body)) + body


def message(
    extensions: bytes | None = b"", version: bytes = b"\x03\x03", kind: int = 1, length: int | None = None
) -> bytes:
    body = version + bytes(32) + b"\x04sidx" + b"\0\x02\x13\x01" + b"\x01\0"
    if extensions is not None:
        body += struct.pack(">H", len(extensions)) + extensions
    return bytes([kind]) + struct.pack(">I", len(body) if length is None else length)[1:] + body


def names(*each: bytes, kind: int = 0) -> bytes:
    body = b"".join(bytes([kind]) + struct.pack(">H", len(name)) + name for name in each)
    return extension(0, struct.pack(">H", len(body)) + body)


def protocols(*each: bytes) -> bytes:
    body = b"".join(bytes([len(name)]) + name for name in each)
    return extension(16, struct.pack(">H", len(body)) + body)


def versions(*each: bytes) -> bytes:
    return extension(43, bytes([2 * len(each)]) + b"".join(each))


A = names(b"a.example")
SPREAD = message(A + protocols(b"h2", b"x"))
V2 = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40)

GOOD = [
    (hello(), (b"Example.com", "TLSv1.3", b"h2,http/1.1")),
    (hello(alpn=(), newest="TLSv1_2"), (b"Example.com", "TLSv1.2", b"")),
    (record(message(None)), (b"", "TLSv1.2", b"")),
    (record(message()), (b"", "TLSv1.2", b"")),
    (record(message(A, b"\x03\x00")), (b"a.example", "SSLv3", b"")),
    (record(message(A, b"\x03\x01")), (b"a.example", "TLSv1", b"")),
    (record(message(A, b"\x03\x02")), (b"a.example", "TLSv1.1", b"")),
    (record(message(A, b"\x03\x05")), (b"a.example", "", b"")),
    (V2, (b"", "SSLv2", b"")),
    (b"\x80\x2e\x01\x03\x03" + bytes(40), (b"", "TLSv1.2", b"")),
    (record(message(names(b"one", b"two"))), (b"one", "TLSv1.2", b"")),
    (record(message(names(b"A b\0/.."))), (b"A b\0/..", "TLSv1.2", b"")),
    (record(message(names(b""))), (b"", "TLSv1.2", b"")),
    (record(message(extension(0x1A1A, b"") + A + extension(0x2A2A, b"\0"))), (b"a.example", "TLSv1.2", b"")),
    (record(message(versions(b"\x1a\x1a", b"\x03\x04") + A)), (b"a.example", "TLSv1.3", b"")),
    (record(SPREAD[:51]) + record(b"") + record(SPREAD[51:]), (b"a.example", "TLSv1.2", b"h2,x")),
    (b"".join(record(bytes([byte])) for byte in SPREAD), (b"a.example", "TLSv1.2", b"h2,x")),
    (record(message(A), version=b"\x03\x09") + b"behind", (b"a.example", "TLSv1.2", b"")),
]
BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x02\0\0\x05aaaaa",
    b"\x80\x2e\x02\x03\x03" + bytes(40),
    record(message(A, kind=2)),
    record(message(names(b"a", kind=1))),
    record(message(A + names(b"b"))),
    record(message(extension(0, b"\0\x02\0\0\x03abc"))),
    record(message(extension(0, b""))),
    record(message(protocols())),
    record(message(protocols(b"h2", b"") + A)),
    record(message(protocols(b"h2") + protocols(b"h3"))),
    record(message(versions() + A)),
    record(message(extension(43, b""))),
    record(message(A, length=20)),
    record(message(A, length=60)),
    record(message(A, length=500)),
    record(message(b"\0\0\x31\x0e" + A[4:])),
    record(message(A)[:60]) + record(b"\x02\x28", kind=21),
]


@pytest.mark.parametrize(("text", "said"), GOOD, ids=range(len(GOOD)))
def test_a_hello_whole_and_cut_at_every_byte(text, said):
    assert _probe.hello([text]) == ("done", *said)
    assert _probe.hello([bytes([byte]) for byte in text]) == ("done", *said)
    for at in range(len(text)):
        assert _probe.hello([text[:at], text[at:]]) == ("done", *said), at


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_no_hello(text):
    assert _probe.hello([text]) == ("bad",)
    assert _probe.hello([bytes([byte]) for byte in text]) == ("bad",)


def mutated(count: int, seed: int) -> list[bytes]:
    dice = random.Random(seed)
    found = []
    for _ in range(count):
        text = bytearray(dice.choice([text for text, _ in GOOD]))
        for _ in range(dice.randint(1, 3)):
            text[dice.choice([dice.randrange(len(text)), dice.randrange(min(len(text), 120))])] = dice.randrange(256)
        found.append(bytes(text))
    return found


def test_mutated_ones_say_the_same_whole_and_in_parts():
    for text in mutated(3000, 1):
        cut = random.Random(text).randrange(len(text))
        assert _probe.hello([text]) == _probe.hello([text[:cut], text[cut:]]), text


SHOWN = "[$ssl_preread_server_name|$ssl_preread_protocol|$ssl_preread_alpn_protocols]"
RETURN = (
    """stream {
    ssl_preread on;
    server { listen 127.0.0.1:@http@; return "%s"; }
}"""
    % SHOWN
)


def shown(port: int, text: bytes) -> bytes:
    with Client(port) as client:
        return client.send(text).half_close().recv_to_end()


def test_as_nginx(run_lb, tmp_path):
    lb = run_lb(RETURN)
    ours = [shown(lb.port("http"), text) for text in [*(one for one, _ in GOOD), *BAD, *mutated(150, 2)]]
    assert ours[0] == b"[Example.com|TLSv1.3|h2,http/1.1]"
    if BINARY is None or not STREAM.exists():
        return
    port = free_port()
    nginx = Nginx(tmp_path).start(RETURN.replace("@http@", str(port)), port)
    try:
        for i, text in enumerate([*(one for one, _ in GOOD), *BAD, *mutated(150, 2)]):
            assert shown(port, text) == ours[i], text
    finally:
        nginx.stop()


PASS = """stream {
    log_format f "$status $bytes_received SHOWN $x";
    access_log @log@ f;
    ssl_preread on;
    map $ssl_preread_server_name $to { hostnames; *.example.com @server@; example.com @server@; default 127.0.0.1:1; }
    server { listen 127.0.0.1:@tcp@; set $x set; proxy_pass $to; proxy_buffer_size 4k; }
    server { listen 127.0.0.1:@small@; set $x set; preread_buffer_size 100; proxy_pass $to; }
    server { listen 127.0.0.1:@short@; set $x set; preread_timeout 200ms; proxy_pass $to; }
    server { listen 127.0.0.1:@off@; ssl_preread off; set $x set; proxy_pass @server@; }
    server { listen 127.0.0.1:@denied@; set $x set; deny all; proxy_pass @server@; }
    server { listen 127.0.0.1:@proxied@ proxy_protocol; set $x set; proxy_pass $to; }
}""".replace("SHOWN", SHOWN)
NAMED = "[Example.com|TLSv1.3|h2,http/1.1]"


@pytest.fixture
def passing(run_lb, raw_backend, tmp_path):
    backend = raw_backend(raw.echo)
    return run_lb(PASS, server=backend.address, log=tmp_path / "access.log"), tmp_path / "access.log"


def last(path):
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
    return path.read_text().splitlines()[-1]


@pytest.mark.parametrize("way", ["at once", "byte by byte", "in bulk", "behind a PROXY header"])
def test_the_server_gets_every_byte_once(passing, connect, way):
    lb, log = passing
    text = hello() + (random.Random(3).randbytes(3_000_000) if way == "in bulk" else b"and more")
    client = connect(lb.port("proxied" if way.startswith("behind") else "tcp"))
    if way.startswith("behind"):
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n")
    if way == "in bulk":
        client.send(text[:100_000])
        assert client.recv_exactly(100_000) == text[:100_000]
        for at in range(100_000, len(text), 50_000):
            part = text[at : at + 50_000]
            assert client.send(part).recv_exactly(len(part)) == part
    elif way == "byte by byte":
        assert client.send_each_byte(text).recv_exactly(len(text)) == text
    else:
        assert client.send(text).recv_exactly(len(text)) == text
    client.close()
    assert last(log) == f"200 {len(text)} {NAMED} set"


def test_without_it_nothing_is_read_first(passing, connect):
    lb, log = passing
    text = hello()
    client = connect(lb.port("off")).send(text)
    assert client.recv_exactly(len(text)) == text
    client.close()
    assert last(log) == f"200 {len(text)} [-|-|-] set"


def test_a_hello_that_does_not_fit(passing, connect):
    lb, log = passing
    connect(lb.port("small")).send(hello()).expect_reset()
    assert last(log) == "400 100 [||] set"
    wait_for(lambda: "preread buffer full while prereading client data, client: 127.0.0.1" in lb.log)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silence", "half a hello"])
def test_the_time_is_over(passing, connect, sent):
    lb, log = passing
    connect(lb.port("short")).send(sent).expect_closed()
    assert last(log) == f"200 {len(sent)} {'[||]' if sent else '[-|-|-]'} set"  # nginx's, too


def test_a_client_that_leaves(passing, connect):
    lb, log = passing
    connect(lb.port("tcp")).send(b"\x16\x03\x01\x02\x00\x01").close()
    assert last(log) == "200 6 [||] set"


def test_access_comes_before_it(passing, connect):
    lb, log = passing
    connect(lb.port("denied")).expect_closed()
    assert last(log).startswith("403 0 [-|-|-]")
