"""realip, beside the real nginx: whose word counts about the client's address; the PROXY protocol through a real lb."""

from __future__ import annotations

import itertools
import socket
import struct

import pytest

from tests.harness import backend as raw
from tests.harness.client import Client
from tests.harness.wait import wait_for

HTTP = """
http {
    log_format one "$remote_addr $realip_remote_addr $uri";
    access_log @log@ one;
    @outer@
    server {
        listen 127.0.0.1:@http@;
        location / { @inner@ return 200 "$remote_addr|$realip_remote_addr|$remote_port"; }
        location /local { set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; proxy_pass http://127.0.0.1:1;
                          error_page 502 =200 @said; }
        location @said { return 200 "$remote_addr|$realip_remote_addr|$remote_port"; }
    }
}
"""
FIELDS = [
    "",
    "X-Real-IP: 192.0.2.1\r\n",
    "X-Real-IP: 192.0.2.1, 192.0.2.2\r\n",
    "X-Real-IP: 192.0.2.1\r\nX-Real-IP: 192.0.2.2\r\n",
    "X-Real-IP: 192.0.2.1:1234\r\n",
    "X-Real-IP: 2001:DB8::1\r\n",
    "X-Real-IP: [2001:db8::1]:80\r\n",
    "X-Real-IP: [2001:db8::1]\r\n",
    "X-Real-IP: nobody\r\n",
    "X-Real-IP: \r\n",
    "X-Real-IP: 127.0.0.1\r\n",
    "X-Forwarded-For: 192.0.2.1\r\n",
    "X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n",
    "X-Forwarded-For: 192.0.2.1,10.0.0.1 , 10.0.0.2,\r\n",
    "X-Forwarded-For: 10.0.0.3, 10.0.0.1\r\n",
    "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 10.0.0.1\r\n",
    "X-Forwarded-For: bad\r\nX-Forwarded-For: 10.0.0.1\r\n",
    "X-Forwarded-For: 192.0.2.9, bad, 10.0.0.1\r\n",
    "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: bad\r\n",
    "X-Own: 192.0.2.7\r\n",
]
SETTINGS = [
    "set_real_ip_from 127.0.0.1;",
    "set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;",
    "set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; real_ip_recursive on;",
    "set_real_ip_from 127.0.0.0/8; set_real_ip_from 192.0.2.2; real_ip_header x-real-ip; real_ip_recursive on;",
    "set_real_ip_from 127.0.0.2; set_real_ip_from ::/0; set_real_ip_from unix:;",
    "set_real_ip_from localhost; real_ip_header X-Own;",
    "real_ip_header X-Forwarded-For;",
]


@pytest.mark.parametrize("how", SETTINGS, ids=range(len(SETTINGS)))
def test_the_same_address_as_nginx(pair, how, tmp_path):
    both = pair(HTTP, outer=how, inner="", log="access.log")
    ours = [_without_port(both, fields) for fields in FIELDS]
    assert len(set(ours)) > 1 or "127.0.0.2" in how or "from" not in how


def _without_port(both, fields):
    """lb's address, the same as nginx's but for the port of the connection itself."""
    raw_request = f"GET / HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n".encode()
    answers = []
    for port in (both.lb.port("http"), both.nginx or both.lb.port("http")):
        address, own, source = both.send(port, raw_request, "GET").body.decode().split("|")
        assert own == "127.0.0.1"
        answers.append((address, "own" if address == own and source not in ("", "1234") else source))
    assert answers[0] == answers[1], fields
    return answers[0]


def test_of_a_location_and_back_after_the_request(run_lb, connect):
    """The server's settings count before a location is found; for the next request the address is its own again."""
    lb = run_lb(HTTP, outer="", inner="", log="access.log")
    client = connect(lb.port("http"))
    one = "X-Forwarded-For: 192.0.2.1\r\n"
    assert client.request(target="/local", headers=one).body == b"192.0.2.1|127.0.0.1|"
    own = f"127.0.0.1|127.0.0.1|{client.sock.getsockname()[1]}".encode()
    assert client.request(target="/", headers=one).body == own
    assert client.request(target="/local", headers="X-Forwarded-For: 192.0.2.2:5\r\n").body == b"192.0.2.2|127.0.0.1|5"
    log = lb.directory / "access.log"
    wait_for(lambda: log.read_text().splitlines() == [
        "192.0.2.1 127.0.0.1 /local", "127.0.0.1 127.0.0.1 /", "192.0.2.2 127.0.0.1 /local"
    ])  # fmt: skip
    assert "client: 192.0.2.1, server: " in lb.log


def test_everything_knows_the_new_address(run_lb, http_backend, connect):
    """allow and deny, ip_hash, $proxy_add_x_forwarded_for, $binary_remote_addr."""
    text = """
    http {
        access_log off;
        set_real_ip_from 127.0.0.0/8;
        upstream u { ip_hash; server @one@; server @two@; server @three@; }
        server {
            listen 127.0.0.1:@http@;
            allow 192.0.2.0/24; allow 198.51.100.0/24; deny all;
            location / { proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_pass http://u; }
            location /bin { if ($binary_remote_addr ~ "^ABCD$") { return 204; } return 200; }
        }
    }
    """
    backends = [http_backend() for _ in range(3)]
    lb = run_lb(text, **{name: one.address for name, one in zip(("one", "two", "three"), backends, strict=True)})
    client = connect(lb.port("http"))
    assert client.request().status == 403
    assert client.request(headers="X-Real-IP: 203.0.113.1\r\n").status == 403
    for net in range(30):
        assert client.request(headers=f"X-Real-IP: 192.0.2.{net}\r\nX-Forwarded-For: 1.1.1.1\r\n").status == 200
    used = [one for one in backends if one.requests]
    assert len(used) == 1, "ip_hash goes by three bytes of the new address"
    assert used[0].requests[7].header("x-forwarded-for") == "1.1.1.1, 192.0.2.7"
    assert client.request(target="/bin", headers="X-Real-IP: 65.66.67.68\r\n").status == 204
    assert client.request(target="/bin").status == 200


def test_clients_of_a_unix_socket(run_lb, tmp_path):
    text = """
    http { access_log off; server { listen unix:@path@; set_real_ip_from unix:;
           location / { return 200 "$remote_addr|$realip_remote_addr|$realip_remote_port"; } } }
    """
    run_lb(text, path=tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 2001:db8::9\r\nConnection: close\r\n\r\n")
        assert sock.makefile("rb").read().endswith(b"\r\n\r\n2001:db8::9|unix:|")


# ---- the PROXY protocol

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 5678\r\n"
V6 = b"PROXY TCP6 2001:DB8::1 2001:db8::2 123 5678\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2")
V2 += struct.pack(">HH", 1234, 5678)
NOBODY = b"PROXY UNKNOWN\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
PROXIED = """
http {
    log_format one "$remote_addr [$proxy_protocol_addr]";
    access_log access.log one;
    server {
        listen 127.0.0.1:@http@ proxy_protocol;
        client_header_timeout @timeout@;
        @inner@
        set $server "$proxy_protocol_server_addr|$proxy_protocol_server_port";
        return 200 "$proxy_protocol_addr|$proxy_protocol_port|$server|$remote_addr|$remote_port";
    }
}
"""


BEFORE_TLS = pytest.mark.cleartext("what a proxy says comes before the handshake, which `connect` does at once")
BELIEVED = "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;"


@BEFORE_TLS
@pytest.mark.parametrize("greeting", [V1, V6, V2, NOBODY], ids=["v1", "v6", "v2", "unknown"])
@pytest.mark.parametrize("inner", ["", BELIEVED], ids=["", "realip"])
def test_http_behind_a_proxy(pair, connect, greeting, inner):
    both = pair(PROXIED, inner=inner, timeout="60s")
    said = {V6: "2001:DB8::1|123|2001:db8::2|5678", NOBODY: "|||"}.get(greeting, "192.0.2.1|1234|198.51.100.2|5678")
    for port in (both.lb.port("http"), both.nginx or both.lb.port("http")):
        client = connect(port)
        body = client.send(greeting + GET).response().body.decode()
        source = f"127.0.0.1|{client.sock.getsockname()[1]}"
        if inner and greeting != NOBODY:
            source = "2001:db8::1|123" if greeting == V6 else "192.0.2.1|1234"
        assert body == f"{said}|{source}"
        assert client.send(GET).response().body.decode() == body, "what it said lasts as long as the connection"


@BEFORE_TLS
def test_http_header_in_pieces(run_lb, connect):
    lb = run_lb(PROXIED, inner="", timeout="60s")
    for greeting, cut in itertools.product((V1, V2), (1, 5, 15, 20, 27)):
        client = connect(lb.port("http"))
        client.send(greeting[:cut])
        client.send_each_byte(greeting[cut:] + GET)
        assert client.response().body.startswith(b"192.0.2.1|1234|")
        client.close()


GARBAGE = (GET, b"PROXY TCP4 x y 1 2\r\n" + GET, b"PROXY " + b"x" * 200, b"\r\n\r\n\0\r\nQUIT\nxxxx" + GET)


@BEFORE_TLS
@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_http_garbage_closes(run_lb, connect, data):
    lb = run_lb(PROXIED, inner="", timeout="60s")
    client = connect(lb.port("http")).send(data)
    client.expect_closed()
    where = f"client: 127.0.0.1, server: 127.0.0.1:{lb.port('http')}\n"
    lb.wait_log(rf'\[error\] .* broken header: ".*" while reading PROXY protocol, {where}')
    assert connect(lb.port("http")).send(V1 + GET).response().status == 200


@BEFORE_TLS
def test_http_silence_and_ends(run_lb, connect):
    lb = run_lb(PROXIED, inner="", timeout="300ms")
    silent, half = connect(lb.port("http")), connect(lb.port("http")).send(V1[:20])
    connect(lb.port("http")).send(V1[:20]).half_close().expect_closed()
    connect(lb.port("http")).half_close().expect_closed()
    silent.expect_closed()
    half.expect_closed()
    assert len(lb.wait_log("client timed out while reading PROXY protocol").string)
    assert connect(lb.port("http")).send(V1 + GET).response().status == 200


STREAM = """
stream {
    log_format one "$remote_addr:$remote_port [$proxy_protocol_addr:$proxy_protocol_port] $realip_remote_addr $status";
    access_log tcp.log one;
    @outer@
    server { listen 127.0.0.1:@tcp@ @listen@; proxy_timeout 10s; @inner@ proxy_pass @backend@; }
}
"""


def test_stream_sends_a_proxy_header(run_lb, raw_backend, connect):
    backend = raw_backend(raw.echo)
    lb = run_lb(STREAM, backend=backend.address, outer="proxy_protocol on;", inner="", listen="")
    client: Client = connect(lb.port("tcp"))
    line = f"PROXY TCP4 127.0.0.1 127.0.0.1 {client.sock.getsockname()[1]} {lb.port('tcp')}\r\n".encode()
    assert client.recv_exactly(len(line)) == line, "before the client has said anything"
    assert client.send(b"hello").recv_exactly(5) == b"hello"


@BEFORE_TLS
def test_stream_passes_on_what_it_was_told(run_lb, raw_backend, connect):
    backend = raw_backend(raw.echo)
    inner = "set_real_ip_from 127.0.0.1; proxy_protocol on; allow 192.0.2.1; deny all;"
    lb = run_lb(STREAM, backend=backend.address, outer="", inner=inner, listen="proxy_protocol")
    line = f"PROXY TCP4 192.0.2.1 127.0.0.1 1234 {lb.port('tcp')}\r\n".encode()
    for greeting, send in itertools.product((V1, V2), ("send", "send_each_byte")):
        client: Client = connect(lb.port("tcp"))
        getattr(client, send)(greeting + b"hello")
        assert client.recv_exactly(len(line) + 5) == line + b"hello"
        client.close()
    connect(lb.port("tcp")).send(V6).expect_closed()
    connect(lb.port("tcp")).send(b"hello, no proxy here").expect_closed()
    lb.wait_log(r'broken header: "hello, n.*" while reading PROXY protocol')  # as much as was there
    lb.wait_log(r"access forbidden by rule while initializing session, client: 2001:db8::1, server: ")
    log = lb.directory / "tcp.log"
    served = "192.0.2.1:1234 [192.0.2.1:1234] 127.0.0.1 200"
    refused = "2001:db8::1:123 [2001:DB8::1:123] 127.0.0.1 403"
    wait_for(lambda: sorted(log.read_text().splitlines()) == [served] * 4 + [refused])


def test_stream_unknown_header_to_the_server(run_lb, raw_backend, connect, tmp_path):
    """lb cannot say an IPv6 client that came to an IPv4 address in version 1."""
    backend = raw_backend(raw.echo)
    inner = "set_real_ip_from 127.0.0.0/8; proxy_protocol on;"
    lb = run_lb(STREAM, backend=backend.address, outer="", inner=inner, listen="proxy_protocol")
    client: Client = connect(lb.port("tcp"))
    assert client.send(V6 + b"x").recv_exactly(16) == b"PROXY UNKNOWN\r\nx"


def test_stream_timeout_and_the_next_server(run_lb, raw_backend, connect):
    """A server that refuses is followed by the next, which gets one header."""
    backend = raw_backend(raw.echo)
    text = """
    stream {
        upstream u { server 127.0.0.1:@dead@; server @backend@; }
        server { listen 127.0.0.1:@tcp@ proxy_protocol; proxy_protocol on; proxy_protocol_timeout 2s; proxy_pass u; }
    }
    """
    lb = run_lb(text, backend=backend.address)
    for _ in range(2):
        client = connect(lb.port("tcp")).send(NOBODY + b"hello")
        assert client.recv_until(b"hello").startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
        client.close()
    connect(lb.port("tcp")).expect_closed()
    lb.wait_log("client timed out while reading PROXY protocol")


def tlv(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


SSL = b"\x07" + struct.pack(">I", 2**32 - 2) + tlv(0x21, b"TLSv1.2") + tlv(0x22, b"example.com") + tlv(0x25, b"RSA2048")
TLVS = tlv(0x01, b"h2") + tlv(0x02, b"") + tlv(0xAE, b"own") + tlv(0x20, SSL) + tlv(0x30, b"ns") + tlv(0x30, b"second")
ASKED = {
    "alpn": "h2",
    "0x01": "h2",
    "authority": "",
    "0x000ae": "own",
    "unique_id": "-",
    "netns": "ns",
    "0x30": "ns",
    "0xfff": "-",
    "0xg": "-",
    "other": "-",
    "ssl_version": "TLSv1.2",
    "ssl_cn": "example.com",
    "ssl_0x25": "RSA2048",
    "ssl_cipher": "-",
    "ssl_verify": "4294967294",
}
TLV_CONF = """
http {
    log_format one '@all@';
    access_log access.log one;
    server { listen 127.0.0.1:@http@ proxy_protocol; location / { return 204; } }
}
"""


@pytest.mark.parametrize("cut", [0, 1, 3], ids=["whole", "cut in a value", "cut in a head"])
def test_tlvs(run_lb, connect, cut):
    """What is cut short is not there, nor what lies behind it."""
    lb = run_lb(TLV_CONF, all="|".join(f"${{proxy_protocol_tlv_{name}}}" for name in ASKED))
    tlvs = TLVS + (tlv(0x05, b"id!")[:-cut] if cut else b"")
    greeting = V2[:14] + struct.pack(">H", 12 + len(tlvs)) + V2[16:] + tlvs
    client = connect(lb.port("http"))
    assert client.send_each_byte(greeting + GET).response().status == 204
    log = lb.directory / "access.log"
    wait_for(lambda: log.read_text().strip().split("|") == list(ASKED.values()), lambda: log.read_text())
