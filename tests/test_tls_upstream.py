"""TLS to servers: https:// and proxy_ssl, whose certificate it is, sessions, the pool, what passes through."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterator

import pytest

from tests.harness.browser import Browser, find
from tests.harness.nginx import BINARY, Nginx
from tests.harness.tls_socket import material
from tests.harness.wait import wait_for
from tests.tls_authority import authority
from tests.tls_servers import HELLO, counters, lines
from tests.tls_servers import s_server as s_server
from tests.tls_servers import tls_server as tls_server

MAIN = "status_listen 127.0.0.1:@status@;\n"
HEAD = "http { log_format up '$status $upstream_addr $upstream_status'; access_log access.log up; "
KEPT = "upstream u { server 127.0.0.1:@up@; keepalive 4; } "
NOT_KEPT = "upstream u { server 127.0.0.1:@up@; keepalive 0; } "


def test_https_with_its_port_and_host(run_lb, tls_server, connect):
    server = tls_server()
    lb = run_lb(
        HEAD
        + """proxy_set_header X-Where "$proxy_host $proxy_port"; server { listen 127.0.0.1:@http@;
            location / { proxy_pass https://127.0.0.1:@up@; } location /u { proxy_pass https://u; } }
            upstream u { server 127.0.0.1:@up@; } }""",
        up=server.port,
    )
    answer = connect(lb.port("http")).request(target="/x")
    assert answer.status == 200 and answer.body == b"hello"
    assert b"GET /x HTTP/1.1" in server.heads[0] and b"Host: 127.0.0.1:%d" % server.port in server.heads[0]
    assert b"X-Where: 127.0.0.1:%d %d" % (server.port, server.port) in server.heads[0]
    assert connect(lb.port("http")).request(target="/u").status == 200
    assert b"Host: u\r\n" in server.heads[1] and b"X-Where: u 443\r\n" in server.heads[1]
    assert server.names == [None, None]


@pytest.mark.parametrize("target", ["https://$arg_to", "$arg_to", "http$arg_to"])
def test_https_that_variables_make(run_lb, tls_server, connect, target):
    server = tls_server()
    lb = run_lb(
        HEAD + KEPT + f"server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass {target}; }} }} }}", up=server.port
    )
    begin = {"https://$arg_to": "", "$arg_to": "https://", "http$arg_to": "s://"}[target]
    client = connect(lb.port("http"))
    assert client.request(target=f"/?to={begin}127.0.0.1:{server.port}").status == 200
    assert client.request(target=f"/?to={begin}u").status == 200
    assert client.request(target=f"/?to={begin}127.0.0.1").status == 502  # its port is 443
    wait_for(lambda: "502 127.0.0.1:443 502" in (lb.directory / "access.log").read_text())


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_pool_outlives_tickets(run_lb, tls_server, connect, version):
    server = tls_server(version=version)
    lb = run_lb(
        HEAD + KEPT + "server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; } } }", up=server.port
    )
    client = connect(lb.port("http"))
    for _ in range(5):
        assert client.request().status == 200
    for _ in range(3):
        lb.client("http").request()
    assert len(server.reused) == 1


def test_the_pool_outlives_key_updates(run_lb, s_server, connect):
    """An idle connection gets a KeyUpdate, with and without the wish for one of ours; the next request has both."""
    server = s_server("-tls1_3", "-msg")
    lb = run_lb(
        HEAD + KEPT + "server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; } } }", up=server.port
    )
    client = connect(lb.port("http"))
    for number, command in enumerate((b"", b"k\n", b"K\n", b"K\n")):
        if command:
            server.type(command)
            server.wait(b">>> TLS 1.3, Handshake [length 0005], KeyUpdate", number)
        client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        server.wait(b"GET /%d " % number)
        server.type(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        assert client.response().body == b"ok\n"
    assert server.output.count(b"CIPHER is") == 1


def test_a_server_that_renegotiates(run_lb, s_server, connect):
    """As IIS does to ask for a certificate: both directions go on."""
    server = s_server("-tls1_2", "-msg")
    lb = run_lb(
        "stream { proxy_ssl on; server { listen 127.0.0.1:@tcp@; proxy_pass 127.0.0.1:@up@; } }", up=server.port
    )
    client = connect(lb.port("tcp"))
    for number in range(3):
        client.send(b"ask %d\n" % number)
        server.wait(b"ask %d\n" % number)
        server.type(b"r\n")
        server.wait(b">>> TLS 1.2, Handshake [length 0010], Finished", number + 2)
        server.type(b"answer %d\n" % number)
        assert client.recv_until(b"\n") == b"answer %d\n" % number


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions(run_lb, tls_server, connect, version):
    server = tls_server(version=version)
    lb = run_lb(
        MAIN
        + HEAD
        + NOT_KEPT
        + """server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; }
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
    wait_for(lambda: (counters(lb)["up_tls_handshakes"], counters(lb)["up_tls_resumed"]) == (5, 2))
    text = lb.client("status").request(target="/metrics").body.decode()
    assert re.search(r"^lb_server_tls_handshakes_total\{.*\} 5$", text, re.M), text
    assert re.search(r"^lb_upstream_tls_resumed_total\{.*\} 2$", text, re.M), text


def test_sessions_of_more_names_than_are_kept(run_lb, tls_server, connect):
    """The one that was used last stays."""
    server = tls_server()
    lb = run_lb(
        HEAD
        + NOT_KEPT
        + """proxy_ssl_server_name on; server { listen 127.0.0.1:@http@;
            location / { proxy_pass https://u; proxy_ssl_name $arg_n.test; } } }""",
        up=server.port,
    )
    client = connect(lb.port("http"))
    for number in range(20):
        client.request(target="/?n=kept")
        client.request(target=f"/?n=n{number}")
    assert server.reused == [False, False] + [True, False] * 19


def test_names(run_lb, tls_server, connect):
    server = tls_server()
    lb = run_lb(
        HEAD
        + KEPT
        + """proxy_ssl_server_name on;
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; }
            location /name { proxy_pass https://u; proxy_ssl_name $arg_n:8443; } } }""",
        up=server.port,
    )
    client = connect(lb.port("http"))
    client.request()
    for name in ("a.test", "b.test", "a.test", "127.0.0.1", "[::1]"):
        client.request(target=f"/name?n={name}")
    assert server.names == ["u", "a.test", "b.test", None, None]


def test_plain_and_tls_of_one_upstream_keep_apart(run_lb, tls_server, connect):
    """A server that looks at the first byte: a plain request is answered in plain."""

    def plain_or_tls(connection):  # type: ignore[no-untyped-def]
        if connection.recv(1, 2) == b"G":  # MSG_PEEK
            while connection.recv(65536):
                connection.sendall(HELLO.replace(b"hello", b"plain"))
            raise OSError

    server = tls_server(raw=plain_or_tls)
    lb = run_lb(
        HEAD
        + """ upstream u { server 127.0.0.1:@up@; keepalive 4; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass $arg_s://u; }
            location /tls { proxy_pass https://u; } location /plain { proxy_pass http://u; } } }""",
        up=server.port,
    )
    client = connect(lb.port("http"))
    for _ in range(3):
        assert client.request(target="/?s=https").body == b"hello"
        assert client.request(target="/?s=http").body == b"plain"
        assert client.request(target="/tls").body == b"hello"
        assert client.request(target="/plain").body == b"plain"
    assert len(server.reused) == 1


def test_stream_with_the_proxy_header_before(run_lb, tls_server, connect):
    got: list[bytes] = []

    def line(connection):  # type: ignore[no-untyped-def]
        text = b""
        while not text.endswith(b"\r\n"):
            text += connection.recv(1)
        got.append(text)

    server = tls_server(raw=line)
    lb = run_lb(
        """stream { proxy_ssl on; proxy_ssl_server_name on; proxy_ssl_name s.test; proxy_protocol on;
        server { listen 127.0.0.1:@tcp@; proxy_pass 127.0.0.1:@up@; } }""",
        up=server.port,
    )
    assert connect(lb.port("tcp")).request().body == b"hello"
    assert got[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ") and server.names == ["s.test"]


def test_stream_half_close_both_ways(run_lb, connect):
    """Through two servers of stream: the end of each direction passes TLS, and nothing of the other is lost."""
    certificate, key = material()
    lb = run_lb(
        """stream { proxy_half_close on; ssl_certificate @cert@; ssl_certificate_key @key@;
        server { listen 127.0.0.1:@tcp@; proxy_pass 127.0.0.1:@tls@; proxy_ssl on; }
        server { listen 127.0.0.1:@tls@ ssl; proxy_pass 127.0.0.1:@echo@; }
        server { listen 127.0.0.1:@echo@; return "whole"; } }""",
        cert=certificate,
        key=key,
    )
    client = connect(lb.port("tcp"))
    client.send(b"x" * 100_000)
    client.half_close()
    assert client.recv_to_end() == b"whole"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip("no Chromium here")
    made = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


def test_the_page(run_lb, tls_server, connect, browser):
    server = tls_server()
    lb = run_lb(
        MAIN + HEAD + NOT_KEPT + """server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; }
            location /bad { proxy_pass https://u; proxy_ssl_verify on; proxy_ssl_trusted_certificate @ca@; } } }""",
        up=server.port,
        **authority().values(),
    )
    for target in ("/", "/", "/bad"):
        connect(lb.port("http")).request(target=target)
    tab = browser.tab()
    tab.go(f"http://127.0.0.1:{lb.port('status')}/")
    tab.wait_text("With servers: 2 handshakes, resumed 50 %; failed: 1 verify", "#handshakes-servers")
    assert tab.complaints == []
    tab.close()


# ---- certificates of our own


def shows(server):  # type: ignore[no-untyped-def]
    for name in ("client.key", "gone.key"):  # workers read them, with their own rights
        (authority().directory / name).chmod(0o644)
    server.context.verify_mode = ssl.CERT_OPTIONAL
    server.context.load_verify_locations(authority().file("ca.pem"))
    return server


def test_a_client_certificate(run_lb, connect, tls_server):
    server = shows(tls_server())
    authority().run("pkey -in client.key -aes128 -passout pass:secret -out locked.key")
    (authority().directory / "passwords").write_text("other\nsecret\n")
    lb = run_lb(
        HEAD
        + """ proxy_ssl_certificate @d@/client.pem; proxy_ssl_certificate_key @d@/client.key;
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://127.0.0.1:@up@; }
            location /none { proxy_pass https://127.0.0.1:@up@; proxy_ssl_certificate ""; }
            location /locked { proxy_pass https://127.0.0.1:@up@; proxy_ssl_certificate_key @d@/locked.key;
                proxy_ssl_certificate @d@/client.pem; proxy_ssl_password_file @d@/passwords; } } }""",
        up=server.port,
        d=authority().directory,
    )
    for target in ("/", "/none", "/locked"):
        assert connect(lb.port("http")).request(target=target).status == 200
    assert server.subjects == ["client one", "", "client one"]


@pytest.mark.parametrize("cache", ["off", "max=4"])
def test_a_client_certificate_that_variables_name(run_lb, connect, tls_server, cache):
    """Connections and sessions made with one certificate serve no request that has another, or none."""
    server = shows(tls_server())
    lb = run_lb(
        HEAD
        + KEPT
        + f"""proxy_ssl_certificate_cache {cache}; server {{ listen 127.0.0.1:@http@;
            location / {{ proxy_pass https://u; proxy_ssl_certificate $cert; proxy_ssl_certificate_key $key; }} }}
            map $arg_who $cert {{ default @d@/$arg_who.pem; "" ""; }}
            map $arg_who $key {{ default @d@/$arg_who.key; "" ""; }} }}""",
        up=server.port,
        d=authority().directory,
    )
    client = connect(lb.port("http"))
    for who in ("client", "gone", "client", "", "gone", "client"):
        assert client.request(target=f"/?who={who}").status == 200
    assert server.subjects == ["client one", "gone", ""]
    assert client.request(target="/?who=nobody").status == 500
    lb.wait_log(
        r'\[error\] .*cannot load certificate "\S+/nobody.pem": open\(\) failed \(2: No such file or directory\), cl'
    )
    assert connect(lb.port("http")).request(target="/?who=client").status == 200


# ---- other settings


def test_versions_ciphers_commands(run_lb, connect, s_server):
    server = s_server("-www")
    lb = run_lb(
        HEAD
        + """ server { listen 127.0.0.1:@http@; proxy_pass_request_headers off;
            location / { proxy_pass https://127.0.0.1:@up@; }
            location /old { proxy_pass https://127.0.0.1:@up@; proxy_ssl_protocols TLSv1.2;
                proxy_ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305; }
            location /command { proxy_pass https://127.0.0.1:@up@;
                proxy_ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256; } } }""",
        up=server.port,
    )
    for target, said in (
        ("/", b"TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"),
        ("/old", b"TLSv1.2, Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("/command", b"TLSv1.3, Cipher is TLS_CHACHA20_POLY1305_SHA256"),
    ):
        assert said in connect(lb.port("http")).request(target=target).body


def test_key_log(run_lb, connect, tls_server):
    server = tls_server()
    lb = run_lb(
        HEAD
        + """ server { listen 127.0.0.1:@http@;
            location / { proxy_pass https://127.0.0.1:@up@; proxy_ssl_key_log keys.log; } } }""",
        up=server.port,
    )
    assert connect(lb.port("http")).request().status == 200
    wait_for(lambda: len(lines(lb.directory / "keys.log")) >= 5)
    kinds = {re.fullmatch(r"(\w+) [0-9a-f]{64} [0-9a-f]{64,96}", line)[1] for line in lines(lb.directory / "keys.log")}
    assert {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= kinds


def test_alpn(run_lb, connect, tls_server):
    chosen: list[str | None] = []
    server = tls_server(serve=lambda one, tls: (chosen.append(tls.selected_alpn_protocol()), tls.sendall(b"x"))[1])
    server.context.set_alpn_protocols(["b"])
    lb = run_lb(
        "stream { proxy_ssl on; proxy_ssl_alpn a b; server { listen 127.0.0.1:@tcp@; proxy_pass 127.0.0.1:@up@; } }",
        up=server.port,
    )
    assert connect(lb.port("tcp")).recv_exactly(1) == b"x"
    assert chosen == ["b"]


# ---- what passes through: lb is its own server with TLS, and nginx is one

TWICE = (
    MAIN
    + HEAD
    + """ client_max_body_size 0; ssl_certificate @cert@; ssl_certificate_key @key@;
    upstream u { server 127.0.0.1:@tls@; keepalive 4; }
    server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; @more@ }
        location /direct { proxy_pass https://u; proxy_request_buffering off; proxy_buffering off; } }
    server { listen 127.0.0.1:@tls@ ssl; location / { proxy_pass http://127.0.0.1:@up@; proxy_request_buffering off;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; } } }"""
)


@pytest.fixture
def twice(world, run_lb):  # type: ignore[no-untyped-def]
    def start(backend, more=""):  # type: ignore[no-untyped-def]
        certificate, key = material()
        lb = run_lb(TWICE, cert=certificate, key=key, up=backend.port, more=more)
        world.own_remotes.add(lb.port("tls"))
        return lb

    return start


@pytest.mark.parametrize("target", ["/", "/direct"])
def test_large_bodies_both_ways(twice, http_backend, connect, target):
    from tests.harness.backend import Reply

    lb = twice(http_backend(lambda request: Reply(body=request.body)))
    body = os.urandom(3_000_000)
    client = connect(lb.port("http"))
    for _ in range(2):
        answer = client.request("POST", target, body=body)
        assert answer.status == 200
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
    wait_for(lambda: (counters(lb)["up_tls_handshakes"], counters(lb)["tls_failed_closed"]) == (1, 0))


def test_a_slow_client_of_a_large_answer(twice, http_backend, connect):
    """Buffered to disk: the server is done long before the client reads."""
    from tests.harness.backend import Reply

    body = os.urandom(8_000_000)
    lb = twice(http_backend(lambda request: Reply(body=body)), more="proxy_buffers 8 4k;")
    client = connect(lb.port("http"))
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_for(lambda: " 200" in f" {(lb.directory / 'access.log').read_text()}")
    assert client.response().body == body


def test_an_upgraded_connection(twice, raw_backend, connect):
    def upgrade(connection):  # type: ignore[no-untyped-def]
        connection.recv_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        while data := connection.recv():
            connection.send(data.upper())

    lb = twice(
        raw_backend(upgrade),
        more="proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;",
    )
    client = connect(lb.port("http"))
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    assert client.recv_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    for size in (1, 70_000, 5):
        client.send(b"a" * size)
        assert client.recv_exactly(size) == b"A" * size


def test_100_continue(twice, http_backend, connect):
    lb = twice(http_backend())
    client = connect(lb.port("http"))
    client.send(b"POST /direct HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert client.recv_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    client.send(b"body")
    assert client.response("POST").status == 200


@pytest.mark.skipif(BINARY is None, reason="no nginx")
@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
def test_nginx_as_the_server(world, run_lb, connect, tmp_path, protocol):
    """Kept connections, and all that it closes by itself (keepalive_requests)."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    certificate, key = material()
    (tmp_path / "n").mkdir()
    nginx = Nginx(tmp_path / "n").start(
        f"""http {{ server {{ listen 127.0.0.1:{port} ssl; ssl_protocols {protocol}; keepalive_requests 5;
        ssl_certificate {certificate}; ssl_certificate_key {key}; client_max_body_size 0;
        location / {{ return 200 "$ssl_session_reused $connection_requests $request_length"; }} }} }}""",
        port,
    )
    try:
        world.own_remotes.add(port)
        lb = run_lb(HEAD + KEPT + "server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; } } }", up=port)
        client = connect(lb.port("http"))
        seen = [client.request().body.split()[:2] for _ in range(12)]
        assert [int(number) for _, number in seen] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]
        assert seen[0][0] == b"." and seen[5][0] == b"r" and seen[10][0] == b"r"
    finally:
        nginx.stop()


def test_one_session_serves_several_connections_at_once(run_lb, tls_server, connect):
    """OpenSSL offers one session object once; each connection has a copy."""
    server = tls_server()
    lb = run_lb(
        """http { access_log off; upstream u { server 127.0.0.1:@up@; keepalive 0; }
        server { listen 127.0.0.1:@http@; location / { proxy_pass https://u; } } }""",
        up=server.port,
    )
    assert connect(lb.port("http")).request().status == 200
    clients = [connect(lb.port("http")) for _ in range(10)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [client.response().status for client in clients] == [200] * 10
    assert server.reused == [False] + [True] * 10
