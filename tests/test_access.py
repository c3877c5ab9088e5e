"""allow and deny, in http (beside the real nginx) and in stream; limit_except with every method of nginx."""

from __future__ import annotations

import socket

import pytest

from lb.config import networks
from tests.harness import backend as raw
from tests.harness.client import Client
from tests.harness.wait import wait_for

RULES = """
http {
    access_log off;
    server {
        listen 127.0.0.1:@http@;
        location /none { set $x 1; proxy_pass http://@backend@; }
        location /deny { deny all; proxy_pass http://@backend@; }
        location /addr { deny 127.0.0.1; proxy_pass http://@backend@; }
        location /first { allow 127.0.0.1; deny all; proxy_pass http://@backend@; }
        location /other { allow 127.0.0.2; deny all; proxy_pass http://@backend@; }
        location /net { deny 127.0.0.0/8; proxy_pass http://@backend@; }
        location /part { deny 127.0.0.128/25; proxy_pass http://@backend@; }
        location /odd { deny 126.0.0.0/7; proxy_pass http://@backend@; }
        location /v6 { deny ::/0; proxy_pass http://@backend@; }
        location /unix { deny unix:; proxy_pass http://@backend@; }
        location /outer { deny all; location /outer/in { proxy_pass http://@backend@; }
                          location /outer/own { allow all; proxy_pass http://@backend@; } }
        location /return { deny all; return 200 "the rewrite phase comes first"; }
        location /page { deny all; error_page 403 = /none/page; proxy_pass http://@backend@; }
        location /loop { deny all; error_page 403 /loop/again; }
        location /if { if ($arg_a) { proxy_pass http://@backend@; } deny all; }
        location /missing { deny all; }
    }
}
"""
PLACES = ("none", "deny", "addr", "first", "other", "net", "part", "odd", "v6", "unix", "outer")
PLACES += ("outer/in", "outer/own")


def test_rules_are_those_of_nginx(pair, http_backend):
    both = pair(RULES, http_backend())
    refused = {place for place in PLACES if both.ask(f"/{place}").status == 403}
    assert refused == {"deny", "addr", "other", "net", "odd", "outer", "outer/in"}
    assert both.ask("/return").body == b"the rewrite phase comes first"
    assert both.ask("/page").status == 200
    for target in ("/loop", "/if", "/if?a=1", "/missing"):
        assert both.ask(target).status == 403
    assert both.ask("/deny", method="POST", body=b"x" * 70_000).status == 403
    both.lb.wait_log(r"\[error\] \d+#\d+: \*\d+ access forbidden by rule, client: 127.0.0.1, server: , "
                     r'request: "GET /deny HTTP/1.1", host: "h"')  # fmt: skip


def test_a_refused_request_leaves_the_connection_and_reaches_no_server(run_lb, http_backend, connect):
    backend = http_backend()
    lb = run_lb(RULES, backend=backend.address)
    client = connect(lb.port("http"))
    assert client.request(target="/deny").status == 403
    assert client.request("POST", "/deny", body=b"body").status == 403
    assert client.request(target="/first").status == 200
    assert [one.target for one in backend.requests] == ["/first"]


@pytest.mark.parametrize(("level", "status"), [("http", 403), ("server", 403), ("both", 200)])
def test_the_nearest_level_holds(pair, http_backend, level, status):
    text = """
    http {
        access_log off;
        @outer@
        server { listen 127.0.0.1:@http@; @inner@ location / { proxy_pass http://@backend@; } }
    }
    """
    outer = "deny all;" if level != "server" else ""
    inner = {"http": "", "server": "deny all;", "both": "allow 127.0.0.0/8;"}[level]
    assert pair(text, http_backend(), outer=outer, inner=inner).ask().status == status


def test_clients_of_a_unix_socket(run_lb, tmp_path):
    text = """
    http {
        access_log off;
        server { listen unix:@path@; listen 127.0.0.1:@http@; deny unix:;
                 location / { proxy_pass http://127.0.0.1:1; }
                 location /every { deny 0.0.0.0/0; deny ::/0; return 403; } }
    }
    """
    lb = run_lb(text, path=tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 403 ")
    with lb.client() as client:
        assert client.request().status == 502
    lb.wait_log("access forbidden by rule, client: unix:, server: ")


def test_an_ipv4_client_on_an_ipv6_socket(run_lb):
    """Its address is ::ffff:127.0.0.1: the IPv4 rules are for it, and the IPv6 ones only where there are no others."""
    text = """
    http {
        access_log off;
        server {
            listen [::]:@http@ ipv6only=off;
            location /v4 { deny 127.0.0.1; proxy_pass http://127.0.0.1:1; }
            location /v4on { deny ::/0; allow 127.0.0.1; proxy_pass http://127.0.0.1:1; }
            location /v6 { deny ::/0; proxy_pass http://127.0.0.1:1; }
            location /mapped { deny ::ffff:0:0/96; proxy_pass http://127.0.0.1:1; }
        }
    }
    """
    lb = run_lb(text)
    statuses = {}
    for place in ("v4", "v4on", "v6", "mapped"):
        with lb.client() as client:
            statuses[place] = client.request(target=f"/{place}").status
    assert statuses == {"v4": 403, "v4on": 502, "v6": 403, "mapped": 403}


WEBDAV = ("MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH")


def test_limit_except_knows_every_method_of_nginx(pair, http_backend):
    text = """
    http {
        access_log off;
        server {
            listen 127.0.0.1:@http@;
            location /get { limit_except GET { deny all; } proxy_pass http://@backend@; }
            location /dav { limit_except MKCOL COPY MOVE OPTIONS PROPFIND PROPPATCH LOCK UNLOCK PATCH { deny all; }
                            proxy_pass http://@backend@; }
            location /one { limit_except LOCK { deny 127.0.0.1; } proxy_pass http://@backend@; }
        }
    }
    """
    both = pair(text, http_backend())
    for method in ("GET", "POST", "PUT", "DELETE", "OTHER", *WEBDAV):
        assert both.ask("/get", method=method).status == (200 if method == "GET" else 403), method
        assert both.ask("/dav", method=method).status == (200 if method in WEBDAV else 403), method
        assert both.ask("/one", method=method).status == (200 if method == "LOCK" else 403), method
    both.nginx = None  # nginx and the backend do not agree on answers to HEAD
    assert [both.ask(place, method="HEAD").status for place in ("/get", "/dav")] == [200, 403]


STREAM = """
stream {
    log_format one "$remote_addr $status $bytes_sent";
    access_log tcp.log one;
    @outer@
    server { listen 127.0.0.1:@tcp@; @inner@ proxy_pass @backend@; }
}
"""


@pytest.mark.parametrize(
    ("outer", "inner", "served"),
    [
        ("", "deny 127.0.0.1;", False),
        ("deny all;", "", False),
        ("deny all;", "allow 127.0.0.1;", True),
        ("", "allow 127.0.0.2; deny all;", False),
        ("", "deny 127.0.0.2;", True),
    ],
)
def test_stream(run_lb, raw_backend, connect, outer, inner, served):
    backend = raw_backend(raw.echo)
    lb = run_lb(STREAM, backend=backend.address, outer=outer, inner=inner)
    client: Client = connect(lb.port("tcp"))
    if served:
        assert client.send(b"hello").recv_exactly(5) == b"hello"
        client.close()
    else:
        client.expect_closed()
        where = f"client: 127.0.0.1, server: 127.0.0.1:{lb.port('tcp')}"
        line = rf"access forbidden by rule while initializing session, {where}\n"
        lb.wait_log(line)
        assert backend.open == 0 and backend.received == b""
    expected = "127.0.0.1 200 5\n" if served else "127.0.0.1 403 0\n"
    wait_for(lambda: (lb.directory / "tcp.log").read_text() == expected)


@pytest.mark.parametrize(
    ("text", "family", "address", "bits", "low"),
    [
        ("1.2.3.4", 2, bytes([1, 2, 3, 4]), 32, False),
        ("01.002.3.4", 2, bytes([1, 2, 3, 4]), 32, False),
        ("10.1.2.3/8", 2, bytes([10, 0, 0, 0]), 8, True),
        ("10.0.0.0/0", 2, bytes(4), 0, True),
        ("::1", 10, bytes(15) + b"\1", 128, False),
        ("2001:db8::/32", 10, bytes.fromhex("20010db8") + bytes(12), 32, False),
    ],
)
def test_networks(text, family, address, bits, low):
    found = networks.parse(text)
    assert found is not None
    network, meaningless = found
    assert (network.family, network.address, network.bits, meaningless) == (family, address, bits, low)


BAD = ("", "/8", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "256.1.1.1", "::1/129", "[::1]", "x", "::1%lo")


@pytest.mark.parametrize("text", BAD)
def test_no_networks(text):
    assert networks.parse(text) is None
