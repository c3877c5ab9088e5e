"""TLS to servers that goes wrong: certificates, handshakes, ends: nginx's words, the next server, health, counters."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct

import pytest

from tests.harness.backend import reset_at_once
from tests.harness.nginx import BINARY, Nginx
from tests.harness.tls_socket import material
from tests.harness.wait import wait_for
from tests.tls_authority import authority
from tests.tls_servers import HELLO, TlsServer, counters, read_head
from tests.tls_servers import s_server as s_server
from tests.tls_servers import tls_server as tls_server

MAIN = "status_listen 127.0.0.1:@status@;\n"
HEAD = "http { log_format up '$status $upstream_addr $upstream_status'; access_log access.log up; "
ONE = HEAD + "server { listen 127.0.0.1:@http@; location / { proxy_pass https://127.0.0.1:@up@; @more@ } } }"
TO = ' while SSL handshaking to upstream, client: 127.0.0.1, server: .*upstream: "https://127.0.0.1:'


def failed(lb, reason: str, count: int = 1) -> None:  # type: ignore[no-untyped-def]
    """Counted, by this reason and no other."""
    wait_for(lambda: counters(lb)[f"up_tls_failed_{reason}"] == count)
    rest = {name: n for name, n in counters(lb).items() if name.startswith("up_tls_failed_") and n}
    assert rest == {f"up_tls_failed_{reason}": count}


# ---- whose certificate it is


@pytest.fixture(scope="module")
def expired() -> str:
    authority().run(
        "ca -config ca.cnf -batch -notext -startdate 20200101000000Z -enddate 20200201000000Z "
        "-in server.csr -out old.pem"
    )
    return "old"


@pytest.fixture(scope="module")
def named() -> str:
    """For an address and a name, both by subjectAltName."""
    directory = authority().directory
    (directory / "san.cnf").write_text("subjectAltName=DNS:*.a.test,IP:127.0.0.1,IP:::1\n")
    authority().run(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 5 -extfile san.cnf -out named.pem"
    )
    return "named"


def server_of(tls_server, name: str, key: str = "server", **options: object) -> TlsServer:  # type: ignore[no-untyped-def]
    made: TlsServer = tls_server(authority().file(f"{name}.pem"), authority().file(f"{key}.key"), **options)
    return made


NEWEST = "proxy_ssl_protocols TLSv1.2 TLSv1.3; "  # not the default of an nginx of 2022
VERIFY = "proxy_ssl_verify on; proxy_ssl_trusted_certificate @ca@; "


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_expired(run_lb, tls_server, connect, expired, version):
    server = server_of(tls_server, expired, version=version)
    more = "proxy_ssl_name localhost; " + VERIFY
    lb = run_lb(MAIN + ONE.replace("@more@", more), up=server.port, **authority().values())
    for _ in range(2):  # the second one resumes nothing
        assert connect(lb.port("http")).request().status == 502
    lb.wait_log(r"\[error\] .*upstream SSL certificate verify error: \(10:certificate has expired\)" + TO)
    failed(lb, "verify", 2)
    assert server.reused == [False, False] and not server.heads
    text = lb.client("status").request(target="/metrics").body.decode()
    assert re.search(r'^lb_tls_to_servers_failed_total\{reason="verify"\} 2', text, re.M), text


def test_revoked(run_lb, tls_server, connect):
    server = server_of(tls_server, "gone", "gone")
    more = "proxy_ssl_name gone; proxy_ssl_crl @crl@; " + VERIFY
    lb = run_lb(MAIN + ONE.replace("@more@", more), up=server.port, **authority().values())
    assert connect(lb.port("http")).request().status == 502
    lb.wait_log(r"upstream SSL certificate verify error: \(23:certificate revoked\)" + TO)


def test_of_a_stranger(run_lb, tls_server, connect):
    server = tls_server()
    lb = run_lb(MAIN + ONE.replace("@more@", VERIFY), up=server.port, **authority().values())
    assert connect(lb.port("http")).request().status == 502
    lb.wait_log(r"upstream SSL certificate verify error: \(18:self[- ]signed certificate\)" + TO)
    failed(lb, "verify")


def test_names_of_certificates(run_lb, tls_server, connect, named):
    server = server_of(tls_server, named)
    lb = run_lb(
        MAIN + ONE.replace("@more@", "proxy_ssl_name $arg_n; " + VERIFY), up=server.port, **authority().values()
    )
    for name in ("x.a.test", "X.A.test:443", "127.0.0.1", "127.0.0.1:8443", "[::1]:443"):
        assert connect(lb.port("http")).request(target=f"/?n={name}").status == 200, name
    bad = ("a.test", "x.y.a.test", "127.0.0.2", "b.test", "")
    for name in bad:
        assert connect(lb.port("http")).request(target=f"/?n={name}").status == 502, name
    for name in bad:
        lb.wait_log(rf'upstream SSL certificate does not match "{re.escape(name)}"' + TO)
    failed(lb, "name", len(bad))


def test_proxy_host_is_the_name(run_lb, tls_server, connect, named):
    server = server_of(tls_server, named)
    lb = run_lb(MAIN + ONE.replace("@more@", VERIFY), up=server.port, **authority().values())
    assert connect(lb.port("http")).request().status == 200


def test_a_renewed_certificate_is_seen(run_lb, tls_server, connect, expired, named):
    """No session of the certificate that was refused is resumed, nor does one outlive its own refusal."""
    server = server_of(tls_server, expired)
    lb = run_lb(MAIN + ONE.replace("@more@", VERIFY), up=server.port, **authority().values())
    assert connect(lb.port("http")).request().status == 502
    server.context.load_cert_chain(authority().file(f"{named}.pem"), authority().file("server.key"))
    assert connect(lb.port("http")).request().status == 200


@pytest.mark.skipif(BINARY is None, reason="no nginx")
def test_the_same_words_as_nginx(run_lb, tls_server, connect, tmp_path, expired):
    """Of every certificate and depth here: lb accepts what nginx accepts, and says what it says."""
    servers = [
        server_of(tls_server, expired),
        server_of(tls_server, "gone", "gone"),
        tls_server(),
        server_of(tls_server, "server"),
    ]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = "".join(
        f"location /{i} {{ proxy_pass https://127.0.0.1:{one.port}; }} "
        f"location /n{i} {{ proxy_pass https://127.0.0.1:{one.port}; proxy_ssl_name {name}; }}"
        for i, (one, name) in enumerate(zip(servers, ("localhost", "gone", "localhost", "localhost"), strict=True))
    )
    text = f"http {{ {NEWEST} {VERIFY} proxy_ssl_crl @crl@; server {{ listen 127.0.0.1:@http@; {places} }} }}"
    lb = run_lb(text, **authority().values())
    (tmp_path / "n").mkdir()
    for name, value in {**authority().values(), "http": port}.items():
        text = text.replace(f"@{name}@", str(value))
    nginx = Nginx(tmp_path / "n").start(text, port)
    try:
        targets = [f"/{word}{i}" for i in range(4) for word in ("", "n")]
        said = [[connect(one).request(target=to).status for to in targets] for one in (lb.port("http"), port)]
        assert said[0] == said[1] == [502] * 7 + [200]
        logs = [re.findall(r"upstream SSL certificate .* while SSL handshaking to upstream", text)
                for text in (lb.log, (tmp_path / "n" / "nginx.log").read_text())]  # fmt: skip
        assert logs[0] == logs[1] and len(logs[0]) == 7
    finally:
        nginx.stop()


# ---- handshakes that fail


def test_one_that_speaks_no_tls(run_lb, raw_backend, connect):
    backend = raw_backend(lambda connection: connection.send(b"HTTP/1.0 400 no\r\n\r\n"))
    lb = run_lb(MAIN + ONE, up=backend.port, more="")
    assert connect(lb.port("http")).request().status == 502
    lb.wait_log(r"\[error\] .*SSL_do_handshake\(\) failed \(SSL: error:.*wrong version number.*\)" + TO)
    failed(lb, "garbage")


def test_one_that_is_silent(run_lb, raw_backend, connect):
    backend = raw_backend(lambda connection: connection.recv_to_end())
    lb = run_lb(MAIN + ONE, up=backend.port, more="proxy_connect_timeout 300ms;")
    assert connect(lb.port("http")).request().status == 504
    lb.wait_log(r"upstream timed out \(110: Connection timed out\)" + TO)
    failed(lb, "timeout")


@pytest.mark.parametrize("how", ["end", "reset"])
def test_one_that_leaves(run_lb, raw_backend, connect, how):
    def leave(connection):  # type: ignore[no-untyped-def]
        connection.recv()

    def reset(connection):  # type: ignore[no-untyped-def]
        connection.recv()
        connection.reset()

    backend = raw_backend(leave if how == "end" else reset)
    lb = run_lb(MAIN + ONE, up=backend.port, more="")
    assert connect(lb.port("http")).request().status == 502
    why = r" \(104: Connection reset by peer\)" if how == "reset" else ""
    lb.wait_log(r"\[error\] .*peer closed connection in SSL handshake" + why + TO)
    failed(lb, "closed")


def test_no_common_version(run_lb, tls_server, connect):
    server = tls_server(version="1.2")
    lb = run_lb(MAIN + ONE, up=server.port, more="proxy_ssl_protocols TLSv1.3;")
    assert connect(lb.port("http")).request().status == 502
    lb.wait_log(r"SSL_do_handshake\(\) failed \(SSL: error:.*alert protocol version:SSL alert number 70\)" + TO)
    failed(lb, "protocol")


def test_one_that_wants_a_certificate(run_lb, tls_server, connect):
    """TLS 1.2: the handshake fails; TLS 1.3: the first read does."""
    for version, reason in (("1.2", "certificate"), ("1.3", "")):
        server = tls_server(version=version)
        server.context.verify_mode = ssl.CERT_REQUIRED
        server.context.load_verify_locations(authority().file("ca.pem"))
        lb = run_lb(MAIN + ONE, up=server.port, more="")
        assert connect(lb.port("http")).request().status == 502
        if reason:
            wait_for(lambda lb=lb: sum(n for name, n in counters(lb).items() if name.startswith("up_tls_failed_")) == 1)


# ---- the next server, health


def test_the_next_server_and_health(run_lb, tls_server, raw_backend, connect):
    """A handshake that fails is like a connect error: also what may not be sent twice goes on; max_fails counts."""
    bad, good = raw_backend(lambda connection: connection.recv()), tls_server()
    lb = run_lb(
        HEAD
        + """ upstream u { server 127.0.0.1:@bad@ max_fails=2 fail_timeout=1h; server 127.0.0.1:@up@;
            keepalive 0; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; } } }""",
        up=good.port,
        bad=bad.port,
    )
    client = connect(lb.port("http"))
    for _ in range(12):
        assert client.request("POST").status == 200
    lines = wait_for(lambda: (found := (lb.directory / "access.log").read_text().splitlines())[11:] and found)
    pair = f"200 127.0.0.1:{bad.port}, 127.0.0.1:{good.port} 502, 200"
    assert lines.count(pair) == 2 and lines.count(f"200 127.0.0.1:{good.port} 200") == 10
    lb.wait_log("upstream server temporarily disabled while SSL handshaking to upstream")


def test_a_large_body_goes_to_the_next_server(run_lb, tls_server, connect):
    """On disk when the first one breaks off in it."""

    def broken(server: TlsServer, tls: ssl.SSLSocket) -> None:
        read_head(tls)
        tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    got: list[bytes] = []

    def whole(server: TlsServer, tls: ssl.SSLSocket) -> None:
        read_head(tls)
        data = b""
        while len(data) < 1_000_000:
            data += tls.recv(65536)
        got.append(data)
        tls.sendall(HELLO)

    bad, good = tls_server(serve=broken), tls_server(serve=whole)
    lb = run_lb(
        HEAD
        + """ client_max_body_size 0; upstream u { server 127.0.0.1:@bad@; server 127.0.0.1:@up@ backup; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; proxy_next_upstream error; } } }""",
        up=good.port,
        bad=bad.port,
    )
    body = bytes(range(250)) * 4000
    assert connect(lb.port("http")).request("PUT", body=body).status == 200
    assert got == [body]


# ---- ends


@pytest.mark.parametrize("how", ["notify", "fin"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_pooled_connection_that_ends(run_lb, tls_server, connect, how, version):
    def once(server: TlsServer, tls: ssl.SSLSocket) -> None:
        read_head(tls)
        tls.sendall(HELLO)
        if how == "notify":
            tls.unwrap()  # close_notify, and waits for lb's
        else:
            socket.socket.shutdown(tls, socket.SHUT_RDWR)

    server = tls_server(serve=once, version=version)
    lb = run_lb(
        MAIN + HEAD + "upstream u { server 127.0.0.1:@up@; keepalive 4; } server { listen 127.0.0.1:@http@; "
        "location / { proxy_pass https://u; } } }",
        up=server.port,
    )
    client = connect(lb.port("http"))
    for _ in range(4):
        assert client.request("POST").status == 200
        wait_for(lambda: counters(lb)["upstream_open"] == 0)
    assert "error]" not in lb.log


ANSWERS = {
    "no length, cut": (b"HTTP/1.0 200 OK\r\n\r\npart", False),
    "no length, notified": (b"HTTP/1.0 200 OK\r\n\r\npart", True),
    "length, cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart", False),
    "chunks, cut": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", False),
    "head, cut": (b"HTTP/1.1 200 OK\r\nConte", False),
}


@pytest.mark.skipif(BINARY is None, reason="no nginx")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_cut_is_as_with_nginx(run_lb, tls_server, tmp_path, case, version):
    """Without close_notify. Where only the end tells the length, it is taken for whole, as nginx does."""
    answer, notified = ANSWERS[case]

    def cut(server: TlsServer, tls: ssl.SSLSocket) -> None:
        read_head(tls)
        tls.sendall(answer)
        if notified:
            tls.unwrap()
        else:
            socket.socket.shutdown(tls, socket.SHUT_RDWR)

    server = tls_server(serve=cut, version=version)
    text = "http { " + NEWEST
    text += "server { listen 127.0.0.1:@http@; location / { proxy_pass https://127.0.0.1:@up@; } } }"
    lb = run_lb(text, up=server.port)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "n").mkdir()
    nginx = Nginx(tmp_path / "n").start(text.replace("@http@", str(port)).replace("@up@", str(server.port)), port)
    try:
        seen = []
        for one in (lb.port("http"), port):
            with socket.create_connection(("127.0.0.1", one), 30) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data = b""
                with contextlib.suppress(ConnectionResetError):  # lb's way to say that it was cut
                    while more := client.recv(65536):
                        data += more
            head, _, body = data.partition(b"\r\n\r\n")
            seen.append((head.split()[1:2], body if b" 200 " in head else b""))
        assert seen[0] == seen[1] or ("cut" in case and "no length" not in case and seen[0] == ([], b""))
    finally:
        nginx.stop()


def test_records_that_are_broken(run_lb, tls_server, connect):
    """After the head: 502, and the next request is well."""

    def broken(server: TlsServer, tls: ssl.SSLSocket) -> None:
        read_head(tls)
        if len(server.reused) == 1:
            socket.socket.sendall(tls, b"\x17\x03\x03\x00\x20" + b"x" * 32)
        tls.sendall(HELLO)

    server = tls_server(serve=broken)
    lb = run_lb(ONE, up=server.port, more="")
    assert connect(lb.port("http")).request().status == 502
    assert connect(lb.port("http")).request().status == 200


def test_stream_the_next_server(run_lb, tls_server, raw_backend, connect):
    bad, good = raw_backend(reset_at_once), tls_server()
    lb = run_lb(
        """stream { upstream u { server 127.0.0.1:@bad@; server 127.0.0.1:@up@ backup; }
        server { listen 127.0.0.1:@tcp@; proxy_pass u; proxy_ssl on; } }""",
        up=good.port,
        bad=bad.port,
    )
    assert connect(lb.port("tcp")).request().body == b"hello"
    lb.wait_log(r"(peer closed connection in SSL handshake|connect\(\) failed).*, client: 127.0.0.1, server: ")


def test_sessions_that_a_server_has_forgotten(run_lb, tls_server, connect):
    """Its ticket keys are others after a restart: a full handshake, no error."""
    server = tls_server()
    lb = run_lb(
        HEAD + "upstream u { server 127.0.0.1:@up@; keepalive 0; } server { listen 127.0.0.1:@http@; "
        "location / { proxy_pass https://u; } } }",
        up=server.port,
    )
    client = connect(lb.port("http"))
    client.request()
    client.request()
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(*material())
    for _ in range(2):
        assert client.request().status == 200
    assert server.reused == [False, True, False, True]
    assert "error]" not in lb.log
