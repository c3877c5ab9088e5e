"""HTTP/2 with clients: what they get of all that HTTP/1 clients have, over a server of HTTP/1.1."""

from __future__ import annotations

import threading

import pytest

from tests.harness.backend import Reply, answer
from tests.harness.h2_client import (
    CANCEL,
    DATA,
    END_STREAM,
    PROTOCOL_ERROR,
    H2Client,
    frame,
    rst_stream,
    window_update,
)
from tests.harness.wait import wait_for

SITE = """
http {
    log_format h "$request|$status|$server_protocol|$connection_requests|$body_bytes_sent"
                 "|$sent_http_content_type|$http2";
    access_log @directory@/a.log h;
    upstream u { server @backend@; keepalive 8; }
    server {
        listen 127.0.0.1:@http@;
        http2 on;
        root @directory@;
        @server@
        location / { proxy_pass http://u; @inside@ }
        location /own { return 200 "own\\n"; }
        location /empty { return 204; }
        location /moved { return 301 /own; }
        location /f/ { alias @directory@/files/; }
    }
}
"""


@pytest.fixture
def site(run_lb, connect, tmp_path):
    """site(backend, server=..., inside=...) -> (Lb, H2Client)."""

    def site(backend, server="", inside="", **settings):
        lb = run_lb(SITE, backend=backend.address, server=server, inside=inside, directory=tmp_path)
        return lb, H2Client(connect(lb.port("http")), **settings)

    return site


def lines(path, n=1):
    wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= n)
    return path.read_text().splitlines()


def test_a_request(site, http_backend, tmp_path):
    backend = http_backend(
        lambda _: Reply(body=b"hello", headers=[("X-Answer", "yes"), ("Content-Type", "text/plain")])
    )
    _lb, client = site(backend)
    found = client.get("/a?b=c", extra=(("x-mine", "1"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")))
    assert (found.status, found.body, found.header("x-answer"), found.header("content-length")) == (
        200,
        b"hello",
        "yes",
        "5",
    )
    assert found.header("connection") is None and found.header("server").startswith("lb/")
    (request,) = backend.requests
    assert (request.method, request.target, request.version) == ("GET", "/a?b=c", "1.1")
    assert request.header("host") == "u" and request.header("x-mine") == "1" and request.header("cookie") == "a=1; b=2"
    assert request.header("te") is None
    assert lines(tmp_path / "a.log") == ["GET /a?b=c HTTP/2.0|200|HTTP/2.0|1|5|text/plain|h2c"]


def test_http1_on_the_same_port(site, http_backend, connect, tmp_path):
    lb, client = site(http_backend())
    assert client.get("/own").body == b"own\n"
    assert connect(lb.port("http")).request(target="/own").body == b"own\n"
    assert [line.split("|")[2] for line in lines(tmp_path / "a.log", 2)] == ["HTTP/2.0", "HTTP/1.1"]


def test_preface_in_pieces(run_lb, http_backend, connect, tmp_path):
    lb = run_lb(SITE, backend=http_backend().address, server="", inside="", directory=tmp_path)
    client = H2Client(connect(lb.port("http")), begin=False)
    client.client.send_each_byte(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
    assert client.get("/own").body == b"own\n"


def test_not_without_http2(run_lb, connect):
    lb = run_lb("http { server { listen 127.0.0.1:@http@; return 200; } }")
    client = connect(lb.port("http")).send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
    assert client.recv_until(b"\r\n").startswith(b"HTTP/1.1 400")


def test_many_streams_at_once(site, http_backend):
    released = threading.Event()
    backend = http_backend(lambda r: Reply(body=r.target.encode(), wait=released))
    _, client = site(backend)
    streams = [client.ask(f"/{i}") for i in range(40)]
    wait_for(lambda: len(backend.requests) == 40)
    released.set()
    assert [client.answer(stream).body for stream in streams] == [b"/%d" % i for i in range(40)]


def test_own_answers(site, http_backend):
    _, client = site(http_backend())
    found = client.get("/own")
    assert (found.status, found.body, found.header("content-length")) == (200, b"own\n", "4")
    assert (client.get("/empty").status, client.get("/empty").body) == (204, b"")
    assert client.get("/moved", authority="a.example").header("location").startswith("http://a.example")
    head = client.get("/own", method="HEAD")
    assert (head.status, head.body, head.header("content-length"), head.pieces) == (200, b"", "4", [])


def test_head_of_a_server(site, http_backend):
    _, client = site(http_backend(lambda _: Reply(body=b"x" * 50)))
    found = client.get("/", method="HEAD")
    assert (found.status, found.body, found.header("content-length"), found.ended) == (200, b"", "50", True)


@pytest.mark.parametrize("status", [204, 304])
def test_no_body(site, http_backend, status):
    _, client = site(http_backend(lambda _: Reply(status=status)))
    found = client.get("/")
    assert (found.status, found.body, found.ended) == (status, b"", True)


@pytest.mark.parametrize("how", ["length", "chunks", "close"])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_long_answers(site, http_backend, how, buffering):
    body = bytes(range(256)) * 12000
    pieces = [body[i : i + 50000] for i in range(0, len(body), 50000)]
    reply = {
        "length": Reply(body=body),
        "chunks": Reply(chunks=pieces),
        "close": Reply(body=body, until_close=True, close=True),
    }
    _, client = site(http_backend(lambda _: reply[how]), inside=f"proxy_buffering {buffering};")
    found = client.get("/")
    assert found.status == 200 and found.body == body
    assert max(found.pieces) == 8192


def test_windows_that_are_given_back_frame_by_frame_are_no_flood(site, http_backend):
    body = b"x" * 8_000_000
    _, client = site(http_backend(lambda _: Reply(body=body)), inside="http2_chunk_size 1k;")
    assert client.get("/").body == body


def test_chunk_size(site, http_backend):
    _, client = site(http_backend(lambda _: Reply(body=b"x" * 60000)), inside="http2_chunk_size 1k;")
    assert max(client.get("/").pieces) == 1024


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("length", [True, False])
def test_bodies(site, http_backend, buffering, length):
    body = bytes(range(256)) * 3000
    backend = http_backend(lambda r: Reply(body=str(len(r.body)).encode()))
    _, client = site(backend, inside=f"proxy_request_buffering {buffering};")
    stream = client.ask("/", method="POST", extra=(("content-length", str(len(body))),) if length else (), end=False)
    sent, window = 0, 65535
    while sent < len(body):
        some = body[sent : sent + min(16384, window)]
        client.data(stream, some, end=sent + len(some) == len(body))
        sent, window = sent + len(some), window - len(some)
        while window == 0:
            found = client.take()
            if found.kind == 8 and found.stream == stream:
                window += int.from_bytes(found.payload, "big")
    assert client.answer(stream).body == str(len(body)).encode()
    assert backend.requests[0].body == body
    framing = backend.requests[0].header("content-length"), backend.requests[0].header("transfer-encoding")
    assert framing == ((str(len(body)), None) if length or buffering == "on" else (None, "chunked"))


def test_body_with_padding_and_trailers(site, http_backend):
    backend = http_backend(lambda r: Reply(body=r.body))
    _, client = site(backend)
    stream = client.ask("/", method="POST", end=False)
    client.send(frame(DATA, 8, stream, b"\x05abc" + b"\0" * 5) + frame(DATA, 8, stream, b"\x00def"))
    client.send(frame(DATA, 8, stream, b"\x03\0\0\0"))
    client.send(frame(1, 5, stream, client.block([("x-trailer", "1")])))
    assert client.answer(stream).body == b"abcdef"
    assert backend.requests[0].header("x-trailer") is None


def test_an_empty_body(site, http_backend):
    backend = http_backend(lambda r: Reply(body=b"%d" % len(r.body)))
    _, client = site(backend)
    stream = client.ask("/", method="POST", end=False)
    assert client.data(stream, b"", end=True).answer(stream).body == b"0"
    assert backend.requests[0].header("content-length") == "0"


def test_continue(site, http_backend):
    backend = http_backend(lambda r: Reply(body=r.body))
    _, client = site(backend)
    stream = client.ask("/", method="POST", extra=(("expect", "100-continue"),), end=False)
    while not client.answers.get(stream) or not client.answers[stream].heads:
        client.take()
    found = client.data(stream, b"body", end=True).answer(stream)
    assert (found.interim, found.status, found.body) == ([100], 200, b"body")


def test_early_hints(site, raw_backend):
    backend = raw_backend(
        answer(b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    )
    _, client = site(backend, inside="early_hints 1;")
    found = client.get("/")
    assert (found.interim, found.status, found.body) == ([103], 200, b"ok")
    assert dict(found.heads[0]) == {":status": "103", "link": "</x>"}


def test_trailers(site, raw_backend):
    backend = raw_backend(
        answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
    )
    _, client = site(backend, inside="proxy_pass_trailers on; add_trailer X-Mine 2;")
    found = client.get("/")
    assert (found.status, found.body, found.trailers) == (200, b"abc", [("x-t", "1"), ("x-mine", "2")])


def test_too_large(site, http_backend, tmp_path):
    _lb, client = site(http_backend(), server="client_max_body_size 10;")
    stream = client.ask("/", method="POST", extra=(("content-length", "11"),), end=False)
    found = client.answer(stream)
    assert (found.status, found.ended) == (413, True)
    stream = client.ask("/", method="POST", end=False)
    found = client.data(stream, b"x" * 11).answer(stream)
    assert found.status == 413
    assert client.get("/own").body == b"own\n"  # the connection lives on
    assert client.answers[stream].reset == 0  # NO_ERROR: the rest is not wanted


def test_slow_body(site, http_backend):
    _, client = site(http_backend(), server="client_body_timeout 300ms;")
    found = client.answer(client.ask("/", method="POST", end=False))
    assert found.status == 408
    assert client.get("/own").body == b"own\n"


@pytest.mark.parametrize("declared, sent", [(3, b"abcd"), (5, b"abcd")])
def test_a_length_that_is_not_true(site, http_backend, tmp_path, declared, sent):
    backend = http_backend()
    _, client = site(backend)
    stream = client.ask("/", method="POST", extra=(("content-length", str(declared)),), end=False)
    found = client.data(stream, sent, end=True).answer(stream)
    assert found.reset == PROTOCOL_ERROR
    assert lines(tmp_path / "a.log")[0].split("|")[1] == "400"
    assert client.get("/own").body == b"own\n"
    assert backend.requests == []


def test_files(site, http_backend, tmp_path):
    (tmp_path / "files").mkdir()
    small, large = b"s" * 1000, bytes(range(256)) * 4000
    (tmp_path / "files/small.txt").write_bytes(small)
    (tmp_path / "files/large.bin").write_bytes(large)
    _, client = site(http_backend())
    assert client.get("/f/small.txt").body == small
    found = client.get("/f/large.bin")
    assert found.body == large and found.header("content-length") == str(len(large))
    part = client.get("/f/large.bin", extra=(("range", "bytes=100-50099"),))
    assert (part.status, part.body) == (206, large[100:50100])
    assert client.get("/f/none").status == 404


def test_gzip(site, http_backend):
    import gzip

    body = b"all the same " * 5000
    backend = http_backend(lambda _: Reply(body=body, headers=[("Content-Type", "text/html")]))
    _, client = site(backend, inside="gzip on; gzip_proxied any;")
    found = client.get("/", extra=(("accept-encoding", "gzip"),))
    assert found.header("content-encoding") == "gzip" and found.header("content-length") is None
    assert gzip.decompress(found.body) == body


def test_error_pages(site, http_backend):
    backend = http_backend(lambda r: Reply(status=404 if r.target == "/x" else 200, body=b"page"))
    _, client = site(backend, server="error_page 404 /page;", inside="proxy_intercept_errors on;")
    found = client.get("/x")
    assert (found.status, found.body) == (404, b"page")


def test_next_server(run_lb, raw_backend, http_backend, connect):
    from tests.harness import backend

    bad, good = raw_backend(backend.reset_after_head), http_backend()
    lb = run_lb(
        """http { upstream u { server @bad@; server @good@; }
        server { listen 127.0.0.1:@http@; http2 on; location / { proxy_pass http://u; } } }""",
        bad=bad.address,
        good=good.address,
    )
    assert H2Client(connect(lb.port("http"))).get("/").body == good.address.encode()


def test_no_server(site, http_backend):
    backend = http_backend()
    lb, client = site(backend)
    backend.stop()
    lb.expect_log("Connection refused")
    assert client.get("/").status == 502
    assert client.get("/own").status == 200


def test_an_answer_that_breaks_off(site, raw_backend, http_backend):
    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")

    _lb, client = site(raw_backend(script))
    found = client.get("/")
    assert (found.status, found.body, found.ended, found.reset) == (200, b"part", False, 2)
    assert client.get("/own").body == b"own\n"


def test_the_client_resets(site, http_backend, tmp_path):
    released = threading.Event()
    backend = http_backend(lambda r: Reply(body=b"late", wait=released))
    _lb, client = site(backend)
    stream = client.ask("/")
    wait_for(lambda: backend.requests)
    client.send(rst_stream(stream, CANCEL))
    assert client.get("/own").body == b"own\n"
    assert sorted(line.split("|")[1] for line in lines(tmp_path / "a.log", 2)) == ["200", "499"]
    released.set()
    wait_for(lambda: backend.open == 0)


def test_the_client_leaves(site, http_backend, tmp_path):
    released = threading.Event()
    backend = http_backend(lambda r: Reply(body=b"late", wait=released))
    _, client = site(backend)
    for i in range(5):
        client.ask(f"/{i}")
    wait_for(lambda: len(backend.requests) == 5)
    client.close()
    assert [line.split("|")[1] for line in lines(tmp_path / "a.log", 5)] == ["499"] * 5
    released.set()


def test_windows(site, http_backend):
    """No byte more than the stream's and the connection's allow."""
    body = bytes(range(256)) * 800
    _, client = site(http_backend(lambda _: Reply(body=body)), initial_window_size=1000)
    client.window = False
    stream = client.ask("/")
    wait_for(lambda: (client.ping(), len(client.came(stream)) == 1000)[1])
    client.send(window_update(stream, 500))
    wait_for(lambda: (client.ping(), len(client.came(stream)) == 1500)[1])
    client.send(window_update(stream, 1 << 20))
    wait_for(lambda: (client.ping(), len(client.came(stream)) == 65535)[1])
    client.send(window_update(0, 1 << 20))
    assert client.answer(stream).body == body


def test_a_window_that_shrinks(site, http_backend):
    body = bytes(range(256)) * 200
    _, client = site(http_backend(lambda _: Reply(body=body)), initial_window_size=20000)
    client.window = False
    stream = client.ask("/")
    wait_for(lambda: (client.ping(), len(client.came(stream)) == 20000)[1])
    from tests.harness.h2_client import settings

    client.send(settings(initial_window_size=100))
    client.send(window_update(stream, 19900))  # now it is 0
    client.ping()
    assert len(client.came(stream)) == 20000
    client.send(window_update(stream, 60000) + window_update(0, 1 << 20))
    assert client.answer(stream).body == body


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_slow_reader_holds_its_server_up(site, raw_backend, buffering):
    """Bounded memory: of a long answer lb takes what its buffers hold, and no more, until the client reads."""
    sent = []

    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n")
        connection.sock.settimeout(1)
        try:
            for _ in range(3000):
                connection.send(b"x" * 10000)
                sent.append(10000)
        except TimeoutError:
            return

    inside = f"proxy_buffering {buffering}; proxy_max_temp_file_size 0;"
    _lb, client = site(raw_backend(script), inside=inside, initial_window_size=2000)
    client.window = False
    stream = client.ask("/")
    while len(client.came(stream)) < 2000:
        client.take()
    wait_for(lambda: sent and len(sent) == (client.ping(), len(sent))[1], "the server to stand still")
    assert sum(sent) < 29_000_000


def test_connection_requests_and_goaway(site, http_backend, tmp_path):
    _, client = site(http_backend(), server="keepalive_requests 3;")
    for _ in range(3):
        assert client.get("/own").status == 200
    assert client.gone() == 0
    assert [line.split("|")[3] for line in lines(tmp_path / "a.log", 3)] == ["1", "2", "3"]


def test_idle(site, http_backend):
    _, client = site(http_backend(), server="keepalive_timeout 300ms;")
    assert client.get("/own").status == 200
    assert client.gone() == 0


def test_a_head_that_does_not_come(site, http_backend):
    _, client = site(http_backend(), server="client_header_timeout 300ms;")
    client.ping()
    client.send(frame(1, END_STREAM, 1, client.block(client.head("/own"))[:3]))
    assert client.gone() == PROTOCOL_ERROR


def test_large_heads(site, http_backend):
    """431 on the stream; the others go on, and the table of fields stays as the client knows it."""
    _, client = site(http_backend(), server="large_client_header_buffers 4 8k;")
    assert client.get("/own", extra=(("x-kept", "1"),)).status == 200
    assert client.get("/own", extra=tuple((f"x-{i}", "y" * 4000) for i in range(10))).status == 431
    assert client.get("/own", extra=(("x-kept", "1"),)).status == 200
    assert client.get("/own", extra=(("x-line", "y" * 9000),)).status == 400
    assert client.get("/" + "y" * 9000).status == 414


def test_large_heads_of_answers(site, http_backend):
    headers = [(f"X-{i}", "y" * 3000) for i in range(20)]
    _, client = site(
        http_backend(lambda _: Reply(body=b"ok", headers=headers)),
        inside="proxy_buffer_size 128k; proxy_buffers 8 128k;",
    )
    found = client.get("/")
    assert found.body == b"ok" and all(found.header(f"x-{i}") == "y" * 3000 for i in range(20))


def test_limit_req(run_lb, connect):
    lb = run_lb(
        """http { limit_req_zone $binary_remote_addr zone=z:1m rate=1r/m;
        server { listen 127.0.0.1:@http@; http2 on; limit_req zone=z; } }"""
    )
    lb.expect_log("limiting requests")
    client = H2Client(connect(lb.port("http")))
    first, second = client.get("/none"), client.get("/none")
    assert (first.status, second.status) == (404, 503)


def test_proxy_protocol(run_lb, connect):
    lb = run_lb(
        """http { server { listen 127.0.0.1:@http@ proxy_protocol; http2 on;
        return 200 "$proxy_protocol_addr $proxy_protocol_port $remote_addr"; } }"""
    )
    client = connect(lb.port("http")).send(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n")
    client = H2Client(client)
    assert client.get("/").body == b"192.0.2.7 4711 127.0.0.1"
    assert client.get("/").body == b"192.0.2.7 4711 127.0.0.1"


def test_realip(site, http_backend):
    """Of one stream, not of its connection."""
    backend = http_backend()
    _, client = site(
        backend,
        server="set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;",
        inside="proxy_set_header X-Client $remote_addr;",
    )
    client.get("/", extra=(("x-real-ip", "192.0.2.1"),))
    client.get("/")
    assert [request.header("x-client") for request in backend.requests] == ["192.0.2.1", "127.0.0.1"]


def test_fields_of_connections_stay_here(site, raw_backend):
    backend = raw_backend(
        answer(b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n")
    )
    _, client = site(backend, inside="add_header X-Mine 1;")
    found = client.get("/")
    assert {name for name, _ in found.head} == {":status", "server", "date", "content-length", "x-mine"}


# ---- WebSocket over HTTP/2 (RFC 8441)

FORWARDED = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"


def connects(protocol="websocket", path="/chat"):
    return [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("sec-websocket-version", "13"),
    ]


def test_websocket(site, raw_backend, tmp_path):
    def script(connection):
        connection.recv_head()
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello"
        )
        while data := connection.recv():
            connection.send(data.upper())

    backend = raw_backend(script)
    _, client = site(backend, inside=FORWARDED)
    stream = client.ask_fields(connects(), end=False)
    wait_for(lambda: (client.ping(), client.came(stream) == b"hello")[1])
    found = client.answers[stream]
    assert found.status == 200 and found.header("sec-websocket-protocol") == "chat"
    assert found.header("sec-websocket-accept") is None and found.header("upgrade") is None
    head = backend.received[0] if isinstance(backend.received, list) else backend.received
    assert head.startswith(b"GET /chat HTTP/1.1\r\n") and b"\r\nUpgrade: websocket\r\n" in head
    assert b"\r\nSec-WebSocket-Key: " in head and b"==\r\n" in head
    client.data(stream, b"one ")
    client.data(stream, b"two")
    wait_for(lambda: (client.ping(), client.came(stream) == b"helloONE TWO")[1])
    assert client.data(stream, b"", end=True).answer(stream).ended
    assert client.get("/own").body == b"own\n"
    assert lines(tmp_path / "a.log", 2)[0].startswith("GET /chat HTTP/2.0|200|")


def test_websocket_that_is_refused(site, http_backend):
    _, client = site(http_backend(lambda _: Reply(status=403, body=b"no")), inside=FORWARDED)
    found = client.answer(client.ask_fields(connects(), end=False))
    assert (found.status, found.body) == (403, b"no")


def test_an_answer_that_is_no_tunnel(site, http_backend):
    """200 would be taken for one: HTTP_1_1_REQUIRED."""
    _, client = site(http_backend(), inside=FORWARDED)
    for path in ("/chat", "/own"):
        assert client.answer(client.ask_fields(connects(path=path), end=False)).reset == 13
    assert client.get("/own").body == b"own\n"


def test_websocket_whose_client_leaves(site, raw_backend):
    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nx")
        connection.recv_to_end()

    backend = raw_backend(script)
    _, client = site(backend, inside=FORWARDED)
    stream = client.ask_fields(connects(), end=False)
    wait_for(lambda: (client.ping(), client.came(stream) == b"x")[1])
    client.send(rst_stream(stream))
    wait_for(lambda: backend.open == 0)
    assert client.get("/own").body == b"own\n"


# ---- whose bytes go first (RFC 9218)


def order(client, asked, body):
    """Streams in the order in which they end, when the connection's window opens bit by bit."""
    client.window = False
    streams = [client.ask("/", extra=(("priority", value),) if value else ()) for value in asked]
    client.ping()
    wait_for(lambda: (client.ping(), all(stream in client.answers for stream in streams))[1])
    ended = []
    while len(ended) < len(streams):
        client.send(window_update(0, 20000))
        client.ping()
        ended += [i for i, stream in enumerate(streams) if client.answers[stream].ended and i not in ended]
    assert all(client.came(stream) == body for stream in streams)
    return ended


def test_urgency(site, http_backend):
    body = bytes(range(256)) * 400
    _, client = site(http_backend(lambda _: Reply(body=body)), initial_window_size=1 << 20)
    assert order(client, ["u=7", "u=5", "u=0", "u=1"], body)[-3:] == [3, 1, 0]


def test_one_after_the_other(site, http_backend):
    body = bytes(range(256)) * 400
    _, client = site(http_backend(lambda _: Reply(body=body)), initial_window_size=1 << 20)
    assert order(client, ["u=3", "u=3", "u=3"], body) == [0, 1, 2]


def test_by_turns(site, http_backend):
    """Incremental ones, and those that say nothing, go on together."""
    body = bytes(range(256)) * 1200
    _, client = site(http_backend(lambda _: Reply(body=body)), initial_window_size=1 << 20)
    client.window = False
    streams = [client.ask("/", extra=(("priority", "u=2, i"),) if i % 2 else ()) for i in range(4)]
    client.ping()
    wait_for(lambda: (client.ping(), all(stream in client.answers for stream in streams))[1])
    # the first to come may have had the whole first window
    had = [len(client.came(stream)) for stream in streams[1::2]]
    for _ in range(12):
        client.send(window_update(0, 40000))
        client.ping()
    urgent = [len(client.came(stream)) - before for stream, before in zip(streams[1::2], had, strict=True)]
    assert min(urgent) > 150_000 and abs(urgent[0] - urgent[1]) < 70_000


def test_priority_update(site, http_backend):
    body = bytes(range(256)) * 1000
    _, client = site(http_backend(lambda _: Reply(body=body)), initial_window_size=1 << 20)
    client.window = False
    first, second = client.ask("/"), client.ask("/")
    wait_for(lambda: (client.ping(), first in client.answers and second in client.answers)[1])
    had = len(client.came(first)), len(client.came(second))
    client.send(frame(16, 0, 0, second.to_bytes(4, "big") + b"u=0"))
    for _ in range(8):
        client.send(window_update(0, 20000))
        client.ping()
    assert len(client.came(second)) - had[1] > 2 * (len(client.came(first)) - had[0])
