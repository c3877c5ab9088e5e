"""Clients that hang up, send garbage, half a hello or nothing: closed with nginx's line, counted."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import urllib.request

import pytest

from tests.harness.wait import wait_for
from tests.tls_authority import authority, connect_tls, get, read_all

CONFIG = """
status_listen 127.0.0.1:@status@;
http { access_log access.log; client_header_timeout 1s;
    ssl_certificate @cert@; ssl_certificate_key @key@;
    server { listen 127.0.0.1:@http@ ssl; server_name a.test; return 200 ok; }
    server { listen 127.0.0.1:@http@ ssl; server_name no.test; ssl_reject_handshake on; } }
stream { server { listen 127.0.0.1:@tcp@ ssl; ssl_certificate @cert@; ssl_certificate_key @key@;
    ssl_handshake_timeout 1s; return ok; } }
"""


def hello(name: str = "a.test") -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


OLD = b"\x16\x03%c\x00\x2f\x01\x00\x00\x2b\x03%c" + b"r" * 32 + b"\x00\x00\x04\x00\x2f\x00\x35\x01\x00"
FAILED = r"SSL_do_handshake\(\) failed \(SSL: error:[0-9A-F]+:SSL routines::"
ALERT = b"\x15\x03\x03\x00\x02\x02\x30"
SSL2 = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01\x00\x80" * 7 + b"c" * 16
LONG = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"r" * 16380
CASES = {  # bytes, what the client does then, counter, line of http, line of stream ("": the same)
    "gone": (b"", "close", "closed", "client closed connection", "peer closed connection in SSL handshake"),
    "reset": (b"", "reset", "closed", r"recv\(\) failed \(104: ", r"peer closed connection in SSL handshake \(104: "),
    "half, gone": (hello()[:50], "close", "closed", "peer closed connection in SSL handshake", ""),
    "half, reset": (hello()[:50], "reset", "closed", r"peer closed connection in SSL handshake \(104: ", ""),
    "hello, gone": (hello(), "close", "closed", "peer closed connection in SSL handshake", ""),
    "silence": (b"", "", "timeout", r"client timed out \(110: Connection timed out\)", ""),
    "half, silence": (hello()[:50], "", "timeout", r"client timed out \(110: Connection timed out\)", ""),
    "garbage": (b"\x16" + b"x" * 100, "", "garbage", FAILED + "wrong version number", ""),
    "SSLv2": (SSL2, "", "protocol", FAILED, ""),
    "SSLv3": (OLD % (0, 0), "", "protocol", FAILED + "version too low", ""),
    "TLS 1.0": (OLD % (1, 1), "", "protocol", FAILED + "unsupported protocol", ""),
    "huge record": (b"\x16\x03\x01\xff\xff\x01" + b"r" * 1000, "", "garbage", FAILED + "packet length too long", ""),
    "huge hello": (LONG, "", "garbage", FAILED + "excessive message size", ""),
    "alert": (hello() + ALERT, "", "certificate", FAILED + ".*alert unknown ca:SSL alert number 48", ""),
    "data": (hello() + b"\x17\x03\x03\x00\x20" + b"x" * 32, "", "garbage", FAILED, ""),
}


def counters(lb) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=30) as answer:
        return json.load(answer)["totals"]


def send(port: int, data: bytes, then: str) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(data)
        if then == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif not then:
            read_all(sock)


@pytest.mark.parametrize("where", ["http", "tcp"])
@pytest.mark.parametrize("case", CASES)
def test_a_client_that_fails(run_lb, where, case):
    data, then, counter, in_http, in_stream = CASES[case]
    lb = run_lb(CONFIG, **authority().values())
    with connect_tls(lb.port("http"), "a.test") as beside:
        beside.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")  # an idle client has more time than a new one
        assert beside.recv(65536).startswith(b"HTTP/1.1 200 ")
        before = counters(lb)
        send(lb.port(where), data, then)
        line = in_http if where == "http" else in_stream or in_http
        here = f"127.0.0.1:{lb.port(where)}"
        lb.wait_log(rf"\[info\] .*{line}.* while SSL handshaking, client: 127.0.0.1, server: {here}")
        key = f"tls_failed_{counter}"
        wait_for(lambda: counters(lb)[key] == before[key] + 1)
        others = [one for one in before if one.startswith("tls_failed_") and one != key]
        assert [counters(lb)[one] for one in others] == [before[one] for one in others]
        beside.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        assert read_all(beside).startswith(b"HTTP/1.1 200 ")


def test_a_rejected_name(run_lb):
    lb = run_lb(CONFIG, **authority().values())
    send(lb.port("http"), hello("no.test"), "")
    lb.wait_log(r"\[info\] .*handshake rejected while SSL handshaking, client: ")
    wait_for(lambda: counters(lb)["tls_failed_name"] == 1)


def test_plain_http_on_a_port_of_tls(run_lb, connect):
    lb = run_lb(CONFIG, **authority().values())
    answer = connect(lb.port("http")).request()
    assert answer.status == 400 and b"The plain HTTP request was sent to HTTPS port" in answer.body
    wait_for(lambda: counters(lb)["tls_failed_garbage"] == 1)


def test_handshakes_are_counted_by_version(run_lb):
    lb = run_lb(CONFIG, **authority().values())
    for version in ("1.2", "1.3", "1.3"):
        assert b" 200 OK" in get(lb.port("http"), "a.test", version=version)
    wait_for(lambda: (counters(lb)["tls_handshakes_12"], counters(lb)["tls_handshakes_13"]) == (1, 2))


def test_a_hello_in_pieces_of_one_byte(run_lb):
    lb = run_lb(CONFIG, **authority().values())
    with socket.create_connection(("127.0.0.1", lb.port("http")), 30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello():
            sock.sendall(bytes([byte]))
        assert sock.recv(1) == b"\x16"
