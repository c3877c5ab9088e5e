"""TLS as a transport: records however they come and go, on our own record layer and on OpenSSL's.

Bytes are cut and joined between OpenSSL (the client's, in memory) and the socket; what must not be seen through TLS at
all is in the tests of traffic, which run over it with --tls.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import time

import pytest

from tests.harness.backend import Reply
from tests.harness.lb import Lb, build_mode
from tests.harness.tls_socket import TlsSocket, material
from tests.harness.wait import wait_for
from tests.openssl_pair import Side

CONFIG = """
http { access_log access.log;
    ssl_certificate @cert@; ssl_certificate_key @key@; ssl_record_engine @engine@;
    server { listen 127.0.0.1:@tls@ ssl; root @root@; client_max_body_size 10m; @more@
        location /say { return 200 "$scheme $args"; }
        location /up { proxy_pass http://@back@; proxy_request_buffering off; } }
    server { listen 127.0.0.1:@plain@; location /up { return 200 ""; } }
}
"""
BOTH = pytest.mark.parametrize("engine", ["lb", "openssl"])
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])
ASK = b"GET /say?%d HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def serve(run_lb, http_backend, tmp_path):
    def start(engine: str, more: str = "") -> Lb:
        certificate, key = material()
        back = http_backend(lambda request: Reply(body=b"up %d" % len(request.body)))
        root = tmp_path / "root"
        root.mkdir(mode=0o755)
        (root / "big").write_bytes(bytes(range(256)) * 20_000)
        return run_lb(CONFIG, cert=certificate, key=key, engine=engine, root=root, more=more, back=back.address)

    return start


class Cut(TlsSocket):
    """Sends what OpenSSL has made `size` bytes at a time; 0: all of it, at `flush`."""

    def __init__(self, lb: Lb, version: str = "1.3", size: int = 1) -> None:
        sock = socket.create_connection(("127.0.0.1", lb.port("tls")), 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.size = size
        self.held = b""
        super().__init__(sock, version)
        self.ready = True

    def _flush(self) -> None:
        data = self._out.read()
        if self.size:
            for at in range(0, len(data), self.size):
                self.raw.sendall(data[at : at + self.size])
        elif getattr(self, "ready", False):
            self.held += data
        else:
            self.raw.sendall(data)

    def let_go(self) -> None:
        self.raw.sendall(self.held)
        self.held = b""

    def until(self, mark: bytes) -> bytes:
        found = b""
        while mark not in found:
            more = self.recv(65536)
            assert more, found
            found += more
        return found

    def to_end(self) -> bytes:
        return b"".join(iter(lambda: self.recv(65536), b""))


@BOTH
@VERSIONS
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_hello_and_requests_in_pieces(serve, engine, version, size):
    lb = serve(engine)
    client = Cut(lb, version, size)
    for number in range(3):
        client.sendall(ASK % number)
        assert client.until(b"https %d" % number)
    client.close()


@BOTH
@VERSIONS
def test_many_records_in_one_segment(serve, engine, version):
    """Pipelined requests, one record each, all in one segment: the last is answered, too."""
    client = Cut(serve(engine), version, 0)
    for number in range(40):
        client.sendall(ASK % number)
    client.let_go()
    answer = client.until(b"https 39")
    assert answer.count(b"HTTP/1.1 200") == 40
    client.close()


@BOTH
@VERSIONS
def test_a_long_body_up_and_a_long_answer_down(serve, engine, version):
    client = Cut(serve(engine), version, 100_000)
    body = bytes(range(256)) * 20_000
    client.sendall(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
    client.sendall(body)
    assert client.until(b"up %d" % len(body))
    client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.to_end().partition(b"\r\n\r\n")[2] == body
    client.close()


@BOTH
@VERSIONS
def test_a_slow_reader(serve, engine, version):
    """Sealed bytes wait for it, and nothing of them is lost, nor sealed twice."""
    lb = serve(engine)
    client = Cut(lb, version, 0)
    client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.size = 1 << 20
    client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    time.sleep(0.3)
    found = b""
    while more := client.recv(3000):
        found += more
    assert found.partition(b"\r\n\r\n")[2] == bytes(range(256)) * 20_000
    client.close()


@BOTH
@VERSIONS
def test_a_wrong_tag_ends_this_connection_alone(serve, engine, version):
    lb = serve(engine)
    other, client = Cut(lb, version), Cut(lb, version, 0)
    other.sendall(ASK % 1)
    other.until(b"https 1")
    client.sendall(ASK % 1)
    client.held = client.held[:-1] + bytes([client.held[-1] ^ 1])
    client.let_go()
    with pytest.raises(ssl.SSLError) as caught:
        client.until(b"https")
    assert "BAD_RECORD_MAC" in str(caught.value).upper()
    client.close()
    other.sendall(ASK % 2)
    other.until(b"https 2")
    other.close()


@BOTH
@VERSIONS
@pytest.mark.parametrize("cut", [3, 5, 20])
def test_an_end_within_a_record(serve, engine, version, cut):
    lb = serve(engine)
    client = Cut(lb, version, 0)
    client.sendall(ASK % 1)
    client.held = client.held[:cut]
    client.let_go()
    client.raw.shutdown(socket.SHUT_WR)
    assert client.raw.recv(1 << 16) is not None
    client.close()
    wait_for(lambda: lb.client("plain").request(target="/up").status == 200)


@BOTH
@VERSIONS
def test_close_notify_ends_a_connection_that_waits(serve, engine, version):
    lb = serve(engine)
    client = Cut(lb, version, 1 << 20)
    client.sendall(ASK % 1)
    client.until(b"https 1")
    client.shutdown(socket.SHUT_WR)
    assert client.to_end() == b""
    client.close()


@BOTH
@VERSIONS
def test_no_renegotiation(serve, engine, version):
    """TLS 1.2: a warning, and the connection goes on or ends, as the client likes. TLS 1.3 has key updates instead."""
    lb = serve(engine)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{lb.port('tls')}", f"-tls{version.replace('.', '_')}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin and process.stdout
        said = iter(process.stdout.readline, b"")
        for line in said:
            if b"Verify return code" in line:
                break
        process.stdin.write(b"R\n" if version == "1.2" else b"K\n")
        process.stdin.flush()
        for line in said:
            if b"RENEGOTIATING" in line or b"KEYUPDATE" in line:
                break
        if version == "1.3":
            process.stdin.write(b"GET /say?9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            process.stdin.flush()
        assert any((b"no renegotiation" if version == "1.2" else b"https 9") in line for line in said)
    assert lb.client("plain").request(target="/up").status == 200


@BOTH
def test_the_end_of_a_generation(serve, engine):
    """A client that waits gets close_notify, not a reset, when its worker goes."""
    lb = serve(engine)
    client = Cut(lb, "1.3", 1 << 20)
    client.sendall(ASK % 1)
    client.until(b"https 1")
    lb.reload()
    assert client.to_end() == b""
    client.close()


@BOTH
def test_plain_http_is_told(serve, engine):
    lb = serve(engine)
    answer = lb.client("tls").request(target="/say")
    assert answer.status == 400 and b"The plain HTTP request was sent to HTTPS port" in answer.body
    lb.wait_log("client sent plain HTTP request to HTTPS port")


def told(version: str, lb: Lb) -> tuple[Side, socket.socket]:
    """A client by libssl itself, which can ask for new keys."""
    side = Side(version, "TLS_AES_128_GCM_SHA256", None, 0)
    sock = socket.create_connection(("127.0.0.1", lb.port("tls")), 60)
    while not side.handshake():
        sock.sendall(side.take())
        side.give(sock.recv(65536))
    sock.sendall(side.take())
    return side, sock


@BOTH
def test_a_client_that_asks_for_new_keys_all_the_time(serve, engine):
    """Once for all that it asks before our next data, so that nothing grows, and others are served meanwhile."""
    lb = serve(engine)
    side, sock = told("TLSv1.3", lb)
    (worker,) = lb.workers
    before = worker.memory_info().rss
    sock.sendall(side.write(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 800\r\n\r\n"))
    for _ in range(800):
        sock.sendall(b"".join(side.update(True) for _ in range(8)) + side.write(b"x"))
    assert lb.client("plain").request(target="/up").status == 200
    if build_mode() != "asan":  # there what was freed stays resident for long
        assert worker.memory_info().rss - before < 8 << 20
    answer = b""
    while b"up 800" not in answer:
        more = sock.recv(65536)
        assert more, answer
        answer += side.read(more)
    sock.close()
