"""HTTP/2 over TLS, and over reloads: ALPN for each name, GOAWAY twice, streams that finish; its settings."""

from __future__ import annotations

import signal
import ssl
import subprocess
import threading

import httpx
import pytest

from tests.certificates import make
from tests.harness.backend import Reply
from tests.harness.h2_client import H2Client
from tests.harness.wait import wait_for

TLS = """
http {
    log_format t "$http2 $ssl_alpn_protocol $scheme $server_name $status";
    access_log @directory@/a.log t;
    ssl_certificate @certificate@;
    ssl_certificate_key @key@;
    @http_level@
    upstream u { server @backend@; keepalive 4; }
    server { listen 127.0.0.1:@tls@ ssl; server_name one.example; http2 on;
             location / { proxy_pass http://u; } @server@ }
    server { listen 127.0.0.1:@tls@ ssl; server_name two.example; location / { proxy_pass http://u; } }
}
"""


@pytest.fixture
def pair_of_files(tmp_path):
    return make(tmp_path, "one.example", "one.example", "two.example")


@pytest.fixture
def secure(run_lb, tmp_path, pair_of_files):
    def secure(backend, **more):
        values = {"http_level": "", "server": "", "directory": tmp_path, "backend": backend.address} | more
        return run_lb(TLS, certificate=pair_of_files.pem, key=pair_of_files.key, **values)

    return secure


def tls(port, name, alpn=("h2", "http/1.1"), **limits):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    for key, value in limits.items():
        if key == "ciphers":
            context.set_ciphers(value)
        else:
            setattr(context, key, value)
    import socket

    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=name)


class OverTls:
    """As much of Client as H2Client asks for."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def send(self, data):
        self.sock.sendall(data)
        return self


SUITES = {
    "1.3, own records": {},
    "1.2, OpenSSL's": {
        "maximum_version": ssl.TLSVersion.TLSv1_2,
        "ciphers": "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA",
    },
}


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_alpn(secure, http_backend, tmp_path, suite):
    body = bytes(range(256)) * 3000
    lb = secure(http_backend(lambda r: Reply(body=r.body or body)))
    sock = tls(lb.port("tls"), "one.example", **suite)
    assert sock.selected_alpn_protocol() == "h2"
    client = H2Client(OverTls(sock))
    assert client.get("/", authority="one.example").body == body
    stream = client.ask("/", "POST", end=False, authority="one.example")
    assert client.data(stream, b"x" * 16000, end=True).answer(stream).body == b"x" * 16000
    sock.close()
    wait_for(lambda: len((tmp_path / "a.log").read_text().splitlines()) == 2)
    assert (tmp_path / "a.log").read_text().splitlines()[0] == "h2 h2 https one.example 200"


def test_alpn_by_name(secure, http_backend):
    lb = secure(http_backend())
    for name, asked, chosen in (
        ("one.example", ("h2", "http/1.1"), "h2"),
        ("two.example", ("h2", "http/1.1"), "http/1.1"),
        ("one.example", ("http/1.1",), "http/1.1"),
        ("one.example", (), None),
    ):
        with tls(lb.port("tls"), name, asked) as sock:
            assert sock.selected_alpn_protocol() == chosen
            if chosen != "h2":
                sock.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % name.encode())
                assert sock.recv(100).startswith(b"HTTP/1.1 200")


def test_httpx(secure, http_backend):
    backend = http_backend(lambda r: Reply(body=r.target.encode()))
    lb = secure(backend)
    with httpx.Client(http1=False, http2=True, verify=False) as client:
        for i in range(5):
            found = client.get(f"https://127.0.0.1:{lb.port('tls')}/{i}", headers={"Host": "one.example"})
            assert (found.http_version, found.text) == ("HTTP/2", f"/{i}")


def test_curl(secure, http_backend, tmp_path):
    body = bytes(range(256)) * 2000
    (tmp_path / "body").write_bytes(body)
    lb = secure(http_backend(lambda r: Reply(body=r.body)))
    url = f"https://one.example:{lb.port('tls')}/"
    more = ["--resolve", f"one.example:{lb.port('tls')}:127.0.0.1", "--data-binary", f"@{tmp_path / 'body'}", url]
    found = subprocess.run(["curl", "-sk", "--http2", *more], capture_output=True, timeout=30, check=True)
    assert found.stdout == body


PLAIN = """
http {
    upstream u { server @backend@; }
    server { listen 127.0.0.1:@http@; http2 on; location / { proxy_pass http://u; }
             location /own { return 200 own; } @more@ }
}
"""


def test_reload(run_lb, http_backend, connect):
    """GOAWAY that allows everything, then the last one; the stream that runs is answered, and new ones until then."""
    released = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"late", wait=released))
    lb = run_lb(PLAIN, backend=backend.address, more="")
    client = H2Client(connect(lb.port("http")))
    stream = client.ask("/")
    wait_for(lambda: backend.requests)
    lb.signal(signal.SIGHUP)
    first = client.until(7)
    assert int.from_bytes(first.payload[:4], "big") == 2**31 - 1 and first.code == 0
    assert client.get("/own").body == b"own"
    second = client.until(7)
    assert int.from_bytes(second.payload[:4], "big") == 3 and second.code == 0
    client.ask("/own")  # too late: another connection will be asked
    released.set()
    assert client.answer(stream).body == b"late"
    assert client.gone() == 0
    lb.remember_workers()


def test_quit(run_lb, http_backend, connect):
    released = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"late", wait=released))
    lb = run_lb(PLAIN, backend=backend.address, more="")
    idle, busy = H2Client(connect(lb.port("http"))), H2Client(connect(lb.port("http")))
    assert idle.get("/own").status == 200
    stream = busy.ask("/")
    wait_for(lambda: backend.requests)
    lb.signal(signal.SIGQUIT)
    assert idle.gone() == 0
    released.set()
    assert busy.answer(stream).body == b"late"
    assert busy.gone() == 0


def test_reloads_under_load(run_lb, http_backend, connect):
    """No request is lost: what a GOAWAY has not taken is asked of another connection."""
    backend = http_backend()
    lb = run_lb(PLAIN, backend=backend.address, more="")
    stop, failed, done = threading.Event(), [], []

    def load():
        while not stop.is_set():
            client = H2Client(connect(lb.port("http")))
            while not stop.is_set() and not client.closed:
                streams = [client.ask("/") for _ in range(4)]
                found = [client.answer(stream) for stream in streams]
                last = int.from_bytes(client.goaway[-1].payload[:4], "big") if client.goaway else 2**31
                for stream, one in zip(streams, found, strict=True):
                    if stream <= last:
                        (done if one.heads and one.ended else failed).append((stream, last, one))
                if last < client.next:
                    break

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        had = len(done)
        lb.reload()
        wait_for(lambda had=had: len(done) > had + 50)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed and all(one.status == 200 for _, _, one in done)


def test_stop_now(run_lb, http_backend, connect):
    backend = http_backend(lambda _: Reply(body=b"late", wait=threading.Event()))
    lb = run_lb(PLAIN, backend=backend.address, more="")
    client = H2Client(connect(lb.port("http")))
    for _ in range(3):
        client.ask("/")
    wait_for(lambda: len(backend.requests) == 3)
    backend.stopping.set()
    lb.stop()
    assert client.gone() == 0


def test_counters(run_lb, http_backend, connect):
    lb = run_lb("status_listen 127.0.0.1:@status@;" + PLAIN, backend=http_backend().address, more="")
    client = H2Client(connect(lb.port("http")))
    for _ in range(3):
        client.get("/own")
    text = connect(lb.port("status")).request(target="/metrics").body.decode()
    assert "lb_http2_connections_total 1.0\n" in text and "lb_http2_streams_total 3.0\n" in text
    assert "lb_http2_streams_open 0.0\n" in text and "nginx_connections_active 1.0\n" in text


@pytest.mark.unsanitized("its memory is the sanitizer's")
def test_memory_of_an_idle_connection(run_lb, connect):
    """At most 1,500 bytes: its Conn, its H2, what it has in the tables (the slab grows by 256 Conns)."""
    lb = run_lb(PLAIN.replace("proxy_pass http://u;", "").replace("upstream u { server @backend@; }", ""), more="")
    worker = lb.workers[0]

    def many(n):
        made = [H2Client(connect(lb.port("http"))) for _ in range(n)]
        for client in made:
            client.ping()
        return made

    kept = many(300)
    before = worker.memory_info().rss
    kept += many(1000)
    assert (worker.memory_info().rss - before) / 1000 < 2500
    assert len(kept) == 1300


def test_listen_http2_is_the_old_form(run_lb, connect):
    lb = run_lb("http { server { listen 127.0.0.1:@http@ http2; return 200 x; } }")
    lb.wait_log(
        r'\[warn\].* the "listen ... http2" directive is deprecated, use the "http2" directive instead in .*:\d+'
    )
    assert H2Client(connect(lb.port("http"))).get("/").body == b"x"


def test_obsolete_words(run_lb, connect):
    lb = run_lb("http { http2_max_requests 5; http2_push_preload on; server { listen 127.0.0.1:@http@; http2 on; } }")
    lb.wait_log(r'the "http2_max_requests" directive is obsolete, use the "keepalive_requests" directive instead in')
    lb.wait_log(r'the "http2_push_preload" directive is obsolete, ignored in')


def test_settings_of_a_server(run_lb, http_backend, connect):
    lb = run_lb(
        "http { http2_recv_buffer_size 32k; server { listen 127.0.0.1:@http@; http2 on; http2_max_concurrent_streams 7;"
        " http2_body_preread_size 0; location / { proxy_pass http://@backend@; } } }",
        backend=http_backend(lambda r: Reply(body=b"%d" % len(r.body))).address,
    )
    client = H2Client(connect(lb.port("http")))
    first = client.take().payload
    found = {
        int.from_bytes(first[i : i + 2], "big"): int.from_bytes(first[i + 2 : i + 6], "big")
        for i in range(0, len(first), 6)
    }
    assert found[3] == 7 and found[4] == 0
    stream = client.ask("/", "POST", end=False)
    while not any(f.kind == 8 and f.stream == stream for f in client.frames):
        assert client.take() is not None  # it opens when somebody reads
    assert client.data(stream, b"x" * 1000, end=True).answer(stream).body == b"1000"
