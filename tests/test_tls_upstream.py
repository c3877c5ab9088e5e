"""TLS to servers: https:// and proxy_ssl, whose certificate it is, sessions, the pool, failures."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.harness.tls_socket import material

HEAD = "http { log_format up '$status $upstream_addr $upstream_status'; access_log access.log up; "


class TlsServer:
    """Answers each request of a connection with what it was asked, how often its connections were resumed, the SNI."""

    def __init__(self, certificate: str, key: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.minimum_version = self.context.maximum_version = version
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        self.names: list[str | None] = []
        self.reused: list[bool] = []
        self.heads: list[bytes] = []
        self.raw_first = b""  # what came in plain before the handshake
        self.before = 0
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self.before:
            self.raw_first = connection.recv(self.before)
        try:
            with self.context.wrap_socket(connection, server_side=True) as tls:
                self.reused.append(bool(tls.session_reused))
                data = b""
                while more := tls.recv(65536):
                    data += more
                    while b"\r\n\r\n" in data:
                        head, _, data = data.partition(b"\r\n\r\n")
                        self.heads.append(head)
                        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        except (OSError, ssl.SSLError):
            connection.close()

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
def tls_server(world) -> Iterator[Callable[..., TlsServer]]:
    made: list[TlsServer] = []

    def start(**options: object) -> TlsServer:
        made.append(TlsServer(*material(), **options))  # type: ignore[arg-type]
        world.own_remotes.add(made[-1].port)
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_https_with_its_port_and_host(run_lb, tls_server, connect):
    server = tls_server()
    lb = run_lb(
        HEAD + " server { listen 127.0.0.1:@http@; location / { proxy_pass https://127.0.0.1:@up@; } } }",
        up=server.port,
    )
    answer = connect(lb.port("http")).request(target="/x")
    assert answer.status == 200 and answer.body == b"hello"
    assert b"GET /x HTTP/1.1" in server.heads[0] and b"Host: 127.0.0.1:%d" % server.port in server.heads[0]
    assert server.names == [None]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_pool_outlives_tickets_and_sessions_are_used_again(run_lb, tls_server, connect, version):
    server = tls_server(version=version)
    lb = run_lb(
        HEAD
        + """ upstream u { server 127.0.0.1:@up@; keepalive 4; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; } } }""",
        up=server.port,
    )
    client = connect(lb.port("http"))
    for _ in range(5):
        assert client.request().status == 200
    assert len(server.reused) == 1
    for _ in range(3):
        lb.client("http").request()
    assert len(server.reused) == 1


def test_sessions(run_lb, tls_server, connect):
    server = tls_server()
    lb = run_lb(
        HEAD
        + """ upstream u { server 127.0.0.1:@up@; keepalive 0; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; }
                 location /off { proxy_pass https://u; proxy_ssl_session_reuse off; } } }""",
        up=server.port,
    )
    client = connect(lb.port("http"))
    for _ in range(3):
        client.request()
    assert server.reused == [False, True, True]
    client.request(target="/off")
    client.request(target="/off")
    assert server.reused[3:] == [False, False]


def test_names(run_lb, tls_server, connect):
    server = tls_server()
    lb = run_lb(
        HEAD
        + """ upstream u { server 127.0.0.1:@up@; keepalive 4; } proxy_ssl_server_name on;
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; }
            location /name { proxy_pass https://u; proxy_ssl_name $arg_n:8443; } } }""",
        up=server.port,
    )
    client = connect(lb.port("http"))
    client.request()
    client.request(target="/name?n=a.test")
    client.request(target="/name?n=b.test")
    client.request(target="/name?n=a.test")
    client.request(target="/name?n=127.0.0.1")
    assert server.names == ["u", "a.test", "b.test", None]


def test_plain_and_tls_of_one_upstream_keep_apart(run_lb, tls_server, connect):
    server = tls_server()
    lb = run_lb(
        HEAD
        + """ upstream u { server 127.0.0.1:@up@; keepalive 4; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass $arg_s://u; proxy_read_timeout 1s; } } }""",
        up=server.port,
    )
    client = connect(lb.port("http"))
    assert client.request(target="/?s=https").status == 200
    assert client.request(target="/?s=http").status in (502, 504)
    assert client.request(target="/?s=https").status == 200


def test_verification(run_lb, tls_server, connect):
    """By an authority that is not trusted, for another name, and as it should be."""
    server = tls_server()
    certificate, _ = material()
    lb = run_lb(
        HEAD
        + """ proxy_ssl_verify on;
        upstream u { server 127.0.0.1:@up@ max_fails=0; server 127.0.0.1:@other@ backup max_fails=0; }
        server { listen 127.0.0.1:@http@;
            location /good { proxy_pass https://u; proxy_ssl_name localhost; proxy_ssl_trusted_certificate @cert@; }
            location /name { proxy_pass https://u; proxy_ssl_name other.test; proxy_ssl_trusted_certificate @cert@; }
            location /ca { proxy_pass https://u; proxy_ssl_name localhost;
                           proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt; } } }""",
        up=server.port,
        other=server.port,
        cert=certificate,
    )
    client = connect(lb.port("http"))
    assert client.request(target="/good").status == 200
    assert client.request(target="/name").status == 502
    lb.wait_log(r'upstream SSL certificate does not match "other.test" while SSL handshaking to upstream, client: ')
    assert client.request(target="/ca").status == 502
    lb.wait_log(
        r"upstream SSL certificate verify error: \(\d+:[\w -]+\) while SSL handshaking to upstream.*upstream: \"https://127"
    )
    assert re.search(r"502 127.0.0.1:\d+, 127.0.0.1:\d+ 502, 502", (lb.directory / "access.log").read_text())


def test_one_that_speaks_no_tls(run_lb, raw_backend, connect):
    backend = raw_backend(lambda connection: connection.send(b"HTTP/1.0 400 no\r\n\r\n"))
    lb = run_lb(
        HEAD + " server { listen 127.0.0.1:@http@; location / { proxy_pass https://@up@; } } }", up=backend.address
    )
    assert connect(lb.port("http")).request().status == 502
    lb.wait_log(
        r"SSL_do_handshake\(\) failed \(SSL: error:.*wrong version number.*\) while SSL handshaking to upstream"
    )


def test_one_that_is_silent(run_lb, raw_backend, connect):
    backend = raw_backend(lambda connection: connection.recv_to_end())
    lb = run_lb(
        HEAD
        + " server { listen 127.0.0.1:@http@; location / { proxy_connect_timeout 300ms; proxy_pass https://@up@; } } }",
        up=backend.address,
    )
    assert connect(lb.port("http")).request().status == 504
    lb.wait_log(r"upstream timed out \(110: Connection timed out\) while SSL handshaking to upstream")


def test_stream(run_lb, tls_server, connect):
    server = tls_server()
    server.before = len(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
    lb = run_lb(
        """stream { proxy_ssl on; proxy_ssl_server_name on; proxy_ssl_name s.test; proxy_protocol on;
        server { listen 127.0.0.1:@tcp@; proxy_pass 127.0.0.1:@up@; } }""",
        up=server.port,
    )
    server.before = 0
    lines: list[bytes] = []
    wrap = server.context.wrap_socket

    def after_the_line(connection: socket.socket, **options: object) -> ssl.SSLSocket:
        line = b""
        while not line.endswith(b"\r\n"):
            line += connection.recv(1)
        lines.append(line)
        return wrap(connection, **options)  # type: ignore[arg-type]

    server.context.wrap_socket = after_the_line  # type: ignore[method-assign]
    client = connect(lb.port("tcp"))
    assert client.request().body == b"hello"
    assert lines[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ") and server.names == ["s.test"]


def test_a_client_certificate(run_lb, connect, tls_server):
    certificate, key = material()
    server = tls_server()
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_verify_locations(certificate)
    lb = run_lb(
        HEAD
        + """ server { listen 127.0.0.1:@http@;
            location / { proxy_pass https://127.0.0.1:@up@;
                         proxy_ssl_certificate @cert@; proxy_ssl_certificate_key @key@; }
            location /none { proxy_pass https://127.0.0.1:@up@; } } }""",
        up=server.port,
        cert=certificate,
        key=key,
    )
    assert connect(lb.port("http")).request().status == 200
    assert connect(lb.port("http")).request(target="/none").status == 502
