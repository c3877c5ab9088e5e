"""Where a good guess at what nginx, HAProxy and Consul do is wrong: what lb does there. Seen with the real programs."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from lb.model import Server
from lb.model.values import Address
from lb.upsync.merge import change
from tests.harness import backend as raw
from tests.harness.wait import wait_for

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_failures_add_up_over_any_time(run_lb, raw_backend, http_backend, connect):
    """max_fails: until a success, as nginx does it; its documentation speaks of fail_timeout."""
    bad, good = raw_backend(raw.reset_after_head), http_backend()
    text = """
    http {
        upstream u { server @bad@ max_fails=2 fail_timeout=1s; server @good@; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
    }
    """
    lb = run_lb(text, bad=bad.address, good=good.address)
    client = connect(lb.port("http"))

    def fail_once():
        before = bad.accepted
        while bad.accepted == before:
            assert client.request().status == 200

    fail_once()
    time.sleep(1.5)  # longer than fail_timeout
    assert "temporarily disabled" not in lb.log
    fail_once()
    lb.wait_log("upstream server temporarily disabled")


LOGGED = """
http {
    log_format one "$upstream_status $status $sent_http_connection";
    access_log one.log one;
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://@to@; } }
}
"""


def lines(lb):
    path = lb.directory / "one.log"
    return path.read_text().splitlines() if path.exists() else []


def test_the_status_after_103_is_the_final_one(run_lb, raw_backend, connect):
    """nginx logs 103; and "close" as the Connection of a connection that is kept."""
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    backend = raw_backend(raw.answer(hint + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    lb = run_lb(LOGGED, to=backend.address)
    client = connect(lb.port("http"))
    assert client.request().body == b"ok"
    wait_for(lambda: lines(lb) == ["200 200 keep-alive"], lambda: f"{lines(lb)}")


def test_the_line_of_a_closed_connection_waits_for_nobody(run_lb, http_backend, connect):
    """A POST with Connection: close: nginx logs it when the client's FIN has come, up to 5 s later."""
    lb = run_lb(LOGGED, to=http_backend().address)
    client = connect(lb.port("http"))
    started = time.monotonic()
    assert client.request("POST", headers="Connection: close\r\n", body=b"abc").status == 200
    wait_for(lambda: lines(lb) == ["200 200 close"], timeout=4)  # the client's end is still open
    assert time.monotonic() - started < 4 and client.sock.fileno() >= 0


@pytest.mark.parametrize(
    ("inside", "target", "body"),
    [
        ('if ($args ~ "no(m)atch") { set $x 1; }', "/abc?q", b"abc"),
        ("rewrite ^/no(m)atch$ /x;", "/abc", b"abc"),
        ('if ($args !~ "^(z)") { set $x 1; }', "/abc?q", b"abc"),
        ('if ($args ~ "^(.)") { set $x 1; }', "/abc?q", b"q"),
    ],
)
def test_a_regex_that_does_not_match_leaves_captures_alone(run_lb, connect, inside, target, body):
    """In nginx a failed one empties the location's $1."""
    text = "http { server { listen 127.0.0.1:@http@; location ~ ^/(.*)$ { @inside@ return 200 $1; } } }"
    assert connect(run_lb(text, inside=inside).port("http")).request("GET", target).body == body


def tlv(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


TLVS = {
    "a long one": [tlv(0xEA, b"x" * 1000), tlv(0x02, b"name")],  # nginx refuses it in http
    "as long as may be": [tlv(0x02, b"name"), tlv(0xEA, b"x" * (4096 - 16 - 12 - 7 - 3))],
    "HAProxy's order": [tlv(0x03, b"crc!"), tlv(0x01, b"h2"), tlv(0x02, b"name")],
    "the first of two": [tlv(0x02, b"name"), tlv(0x02, b"other")],
}


@pytest.mark.parametrize("kind", TLVS)
def test_tlvs_of_other_proxies(run_lb, connect, kind):
    text = """
    http { server { listen 127.0.0.1:@http@ proxy_protocol; return 200 "$proxy_protocol_tlv_authority "; } }
    stream { server { listen 127.0.0.1:@tcp@ proxy_protocol; return "$proxy_protocol_tlv_authority "; } }
    """
    lb = run_lb(text)
    addresses = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack(">HH", 1, 2)
    rest = addresses + b"".join(TLVS[kind])
    greeting = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", 0x21, 0x11, len(rest)) + rest
    assert connect(lb.port("http")).send(greeting + GET).response().body == b"name "
    assert connect(lb.port("tcp")).send(greeting).recv_to_end() == b"name "


def test_a_value_that_begins_with_a_number_sign(run_lb, connect):
    """crossplane's build() loses it; lb reads the tokens itself, and a # inside a word or in quotes is no comment."""
    text = """
    http { server { listen 127.0.0.1:@http@; location / { add_header X "#one"; add_header Y a#b; return 200 "#x"; } } }
    """
    answer = connect(run_lb(text).port("http")).request()
    assert answer.body == b"#x"
    assert [value for name, value in answer.headers if name.lower() in ("x", "y")] == ["#one", "a#b"]


def servers(*ports):
    return [Server(f"127.0.0.1:{port}", Address(socket.AF_INET, "127.0.0.1", port)) for port in ports]


def test_an_entry_that_moves_into_a_gap_moves_no_server():
    """Consul's ?passing fills the gap of one that fell out with the last: what stays keeps its place in our list."""
    now = change(servers(1, 2, 3, 4), servers(4, 2, 3))
    assert [one.address.port for one in now.servers] == [2, 3, 4]
    assert not now.added and [one.address.port for one in now.removed] == [1]
    back = change(now.servers, servers(4, 2, 3, 1))
    assert [one.address.port for one in back.servers] == [1, 2, 3, 4]
