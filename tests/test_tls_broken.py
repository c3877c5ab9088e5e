"""TLS that breaks, or ends, after the handshake: the alert, nginx's line, counted; what was good before is served."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from tests.engine_tools import stopped
from tests.harness.wait import wait_for
from tests.openssl_pair import Side, make_certificate
from tests.tls_authority import authority, connect_tls
from tests.tls_layers import ALERT, HANDSHAKE, take_over
from tests.tls_wire import SUITES, Wire, client

CONFIG = """
status_listen 127.0.0.1:@status@;
http { access_log off; ssl_certificate @cert@; ssl_certificate_key @key@; ssl_record_engine @engine@;
    server { listen 127.0.0.1:@http@ ssl; client_max_body_size 1m; location / { proxy_pass http://@back@; }
        location /ok { return 200 ok; } }
    server { listen 127.0.0.1:@early@ ssl; ssl_early_data @early_data@; return 200 ok; } }
stream { server { listen 127.0.0.1:@tcp@ ssl; ssl_certificate @cert@; ssl_certificate_key @key@;
    ssl_record_engine @engine@; proxy_pass @back@; } }
"""
GET = b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"
VERSIONS = sorted(SUITES)


def flipped(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


CASES = {  # what is sent, versions, the alert for it, OpenSSL's reason
    "bad tag": (lambda layer: flipped(layer.seal(GET)), VERSIONS, 20, "decryption failed or bad record mac"),
    "too long": (lambda layer: b"\x17\x03\x03\x48\x01", VERSIONS, 22, "(packet|encrypted) length too long"),
    "no type that there is": (lambda layer: layer.seal(b"x", 24), VERSIONS, 10, "(unexpected|bad record|unknown)"),
    "of SSL 2": (lambda layer: b"\x17\x02\x03\x00\x20" + bytes(32), VERSIONS, 70, "wrong version number"),
    "handshake": (lambda layer: layer.seal(b"\x14\0\0\x04abcd", HANDSHAKE), VERSIONS, 10, "unexpected message"),
    "key update": (lambda layer: layer.seal(b"\x18\0\0\x01\x02", HANDSHAKE), ["TLSv1.3"], 47, "bad key update"),
    "an alert": (lambda layer: layer.seal(b"\x02\x30", ALERT), VERSIONS, 0, "alert unknown ca:SSL alert number 48"),
}


def counters(lb) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=30) as answer:
        return json.load(answer)["totals"]


def start(run_lb, raw_backend, engine: str = "lb", early: str = "off"):
    back = raw_backend(lambda connection: connection.recv())
    return run_lb(CONFIG, **authority().values(), engine=engine, early_data=early, back=back.address)


@pytest.mark.parametrize("engine", ["lb", "openssl"])
@pytest.mark.parametrize(("case", "version"), [(case, version) for case in CASES for version in CASES[case][1]])
def test_a_client_that_breaks_it(run_lb, raw_backend, engine, case, version):
    make, _, alert, reason = CASES[case]
    lb = start(run_lb, raw_backend, engine)
    with connect_tls(lb.port("http")) as beside:
        for where, phase in (("http", "while waiting for request"), ("tcp", "while proxying connection")):
            before = counters(lb)["tls_broken"]
            wire = client(lb.port(where), version)
            wire.sock.sendall(make(wire.layer))
            assert wire.data() == (b"", [bytes([2, alert])] if alert else [])
            wire.sock.close()
            lb.wait_log(rf"\[info\] .*SSL_read\(\) failed \(SSL: error:0A.*:.*{reason}.*\) {phase}, client: ")
            wait_for(lambda before=before: counters(lb)["tls_broken"] == before + 1)
        beside.sendall(GET)
        assert beside.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_within_a_body(run_lb, raw_backend):
    """The line has the request; what is waited for at a head has none."""
    lb = start(run_lb, raw_backend)
    for text in (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", GET[:9], GET):
        wire = client(lb.port("http"), "TLSv1.3")
        wire.send(text)
        if text == GET:
            wire.data(lambda data: data.endswith(b"ok"))
        else:
            time.sleep(0.3)  # else both records come in one read, and the first has begun nothing yet
        wire.sock.sendall(flipped(wire.layer.seal(b"x")))
        wire.data()
        wire.sock.close()
    lb.wait_log(r'SSL_read\(\) failed .*bad record mac\), client: .* request: "POST / HTTP/1.1"')
    lb.wait_log(r"SSL_read\(\) failed .*bad record mac\) while reading client request headers, client: ")
    lb.wait_log(r"SSL_read\(\) failed .*bad record mac\) while keepalive, client: ")


def test_a_server_that_breaks_it(run_lb, raw_backend, http_backend, connect, tmp_path: Path):
    certificate = make_certificate(tmp_path, "ec")

    def spoil(connection) -> None:
        wire = Wire(connection.sock, "TLSv1.3", certificate)
        while b"\r\n\r\n" not in wire.record()[1]:
            pass
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab")
        wire.sock.sendall(flipped(wire.layer.seal(b"c" * 98)))
        connection.recv()

    lb = run_lb(
        """status_listen 127.0.0.1:@status@;
        http { server { listen 127.0.0.1:@http@; location / { proxy_pass https://@back@; } } }""",
        back=raw_backend(spoil).address,
    )
    with pytest.raises(Exception):  # noqa: B017 - the answer is cut, however the client says it
        connect(lb.port("http")).request()
    lb.wait_log(
        r"\[error\] .*SSL_read\(\) failed \(SSL: .*bad record mac\) while reading (response header from )?upstream"
    )
    wait_for(lambda: counters(lb)["up_tls_broken"] == 1)


@pytest.mark.parametrize("engine", ["lb", "openssl"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("close_notify", [False, True])
def test_an_end_that_comes_with_the_request(run_lb, raw_backend, engine, version, close_notify):
    """One event tells of both: the end is no less seen than the request. It would wait for keepalive_timeout."""
    lb = start(run_lb, raw_backend, engine)
    wire = client(lb.port("http"), version)
    wire.send(GET)
    assert wire.data(lambda data: data.endswith(b"ok"))[0].startswith(b"HTTP/1.1 200 ")
    with stopped(lb):
        wire.send(GET)
        if close_notify:
            wire.send(b"\x01\x00", ALERT)
        wire.sock.shutdown(socket.SHUT_WR)
    data, alerts = wire.data()
    assert data.startswith(b"HTTP/1.1 200 ") and data.endswith(b"ok") and alerts in ([], [b"\x01\x00"])
    wire.sock.close()


@pytest.mark.parametrize("where", ["http", "tcp"])
def test_an_end_that_comes_with_a_part_of_a_body(run_lb, raw_backend, where):
    lb = start(run_lb, raw_backend)
    wire = client(lb.port(where), "TLSv1.3")
    with stopped(lb):
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        wire.sock.shutdown(socket.SHUT_WR)
    assert wire.data()[0] == b""
    wire.sock.close()


@pytest.mark.parametrize("pieces", [1, 2, 16])
def test_a_finished_in_several_records(run_lb, raw_backend, pieces):
    """TLS 1.2: each of them has a sequence number (RFC 5246 sections 6.1, 6.2.1)."""
    lb = start(run_lb, raw_backend)
    with socket.create_connection(("127.0.0.1", lb.port("http")), 30) as sock:
        side = Side("TLSv1.2", SUITES["TLSv1.2"], None, 0)
        for _ in range(2):  # ClientHello; the flight that ends with Finished
            side.handshake()
            flight = side.take()
            if b"\x14\x03\x03\x00\x01\x01" in flight:
                break
            sock.sendall(flight)
            while b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00" not in (got := sock.recv(65536)):  # ServerHelloDone
                side.give(got)
            side.give(got)
        before, sealed = flight.split(b"\x14\x03\x03\x00\x01\x01")
        me, other = (take_over(side, "TLSv1.2", server) for server in (False, True))
        other.set(rx_seq=0)
        me.set(tx_seq=0)
        used, kind, finished = other.open(sealed)
        assert (used, kind, len(finished)) == (len(sealed), HANDSHAKE, 16)
        size = 16 // pieces
        parts = [me.seal(finished[at : at + size], HANDSHAKE) for at in range(0, 16, size)]
        sock.sendall(before + b"\x14\x03\x03\x00\x01\x01" + b"".join(parts))
        side.give(sock.recv(65536))
        assert side.handshake()
        sock.sendall(me.seal(GET))
        answer = sock.recv(65536)
        assert me.open(answer)[2].startswith(b"HTTP/1.1 200 ")


def test_early_data_of_one_server_leaves_the_records_of_others(run_lb, raw_backend):
    """And its own, of clients that send none. An alert of three bytes is unexpected_message (10) to OpenSSL."""
    lb = start(run_lb, raw_backend, early="on")
    for port in ("http", "early"):
        wire = client(lb.port(port), "TLSv1.3")
        wire.send(b"\x01\x00\x00", ALERT)
        assert wire.data()[1] == [b"\x02\x32"]
        wire.sock.close()
