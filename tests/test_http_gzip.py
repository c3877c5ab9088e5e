"""gzip through the real lb: streams are not held back, slow clients, breaks, and the bound of zlib's states."""

from __future__ import annotations

import gzip
import random
import re
import threading
import zlib

import pytest

from tests.harness import backend as raw
from tests.harness.client import Client
from tests.harness.wait import wait_for

CONFIG = """
http {
    log_format ratio '$request_uri $status $gzip_ratio $body_bytes_sent';
    access_log @directory@/ratio.log ratio;
    gzip on;
    gzip_http_version 1.0;
    default_type text/html;
    server {
        listen 127.0.0.1:@http@ sndbuf=32k;
        proxy_temp_path @directory@/answers;
        location / { proxy_pass http://@backend@; @inside@ }
        location /text { return 200 "a text that is long enough, long enough, long enough, long enough, long enough"; }
        location /files/ { root @directory@; }
        location /again { proxy_next_upstream invalid_header; proxy_pass http://two; }
    }
    upstream two { server @backend@ max_fails=0; server @good@ max_fails=0; }
}
"""
ASK = "Accept-Encoding: gzip\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
WORDS = [bytes(random.Random(1).choices(range(97, 123), k=7)) for _ in range(5000)]
BODY = b" ".join(random.Random(2).choices(WORDS, k=1_000_000))
PAGE = b"<p>a page that is long enough</p>" * 20


def chunked(*parts: bytes) -> bytes:
    return (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    )


@pytest.fixture
def start(run_lb, raw_backend, connect, tmp_path):
    """start(script, inside) -> (lb, client)"""

    def run(*scripts, inside="", good=b""):
        backend = raw_backend(*(scripts or (raw.answer(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)),)))
        other = raw_backend(raw.answer(good)) if good else backend
        lb = run_lb(CONFIG, backend=backend.address, good=other.address, inside=inside, directory=tmp_path)
        return lb, connect(lb.port("http"))

    return run


def read_some(client: Client, decoder, wanted: bytes) -> bytes:
    """Chunks of a compressed body until what they hold ends in `wanted`."""
    found = b""
    while not found.endswith(wanted):
        size = int(client.recv_until(b"\r\n"), 16)
        assert size, found
        found += decoder.decompress(client.recv_exactly(size + 2)[:-2])
    return found


@pytest.mark.parametrize("inside", ["", "proxy_buffering off;"])
def test_each_piece_of_a_stream_arrives_before_the_next_is_made(start, inside):
    seen = threading.Semaphore(0)

    def script(connection):
        connection.recv_head()
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two" * 30_000, b"three"):
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            assert seen.acquire(timeout=30)
        connection.send(b"0\r\n\r\n")

    _, client = start(script, inside=inside)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    head = client.recv_until(b"\r\n\r\n")
    assert b"Content-Encoding: gzip\r\n" in head and b"Content-Length" not in head
    decoder = zlib.decompressobj(31)
    for piece in (b"one", b"two" * 30_000, b"three"):
        assert read_some(client, decoder, piece) == piece
        seen.release()
    rest = client.recv_until(b"\r\n0\r\n\r\n")
    decoder.decompress(rest.partition(b"\r\n")[2].removesuffix(b"\r\n0\r\n\r\n"))
    assert decoder.eof
    assert gzip.decompress(client.request(target="/text", headers=ASK).body).startswith(b"a text")


@pytest.mark.parametrize("inside", ["", "proxy_max_temp_file_size 0;", "proxy_buffering off;", "proxy_buffers 4 4k;"])
@pytest.mark.parametrize("framing", ["length", "chunked", "end"])
def test_a_slow_client_gets_it_whole(start, inside, framing):
    answer = (
        HEAD
        + {"length": b"Content-Length: %d\r\n\r\n" % len(BODY), "end": b"Connection: close\r\n\r\n"}.get(framing, b"")
        + BODY
    )
    if framing == "chunked":
        answer = chunked(*(BODY[at : at + 99_999] for at in range(0, len(BODY), 99_999))) + b"0\r\n\r\n"
    _, client = start(raw.answer(answer), inside=inside)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    answered = client.response()
    assert answered.header("content-encoding") == "gzip" and answered.header("transfer-encoding") == "chunked"
    assert gzip.decompress(answered.body) == BODY


def test_a_slow_client_does_not_hold_up_the_server(start):
    """What it does not take is on disk, compressed; then its connection goes on."""
    sent = threading.Event()
    size = 12_000_000
    noise = random.Random(3).randbytes(size)

    def script(connection):
        connection.recv_head()
        connection.send(HEAD + b"Connection: close\r\n\r\n" + noise)
        sent.set()

    _, client = start(script)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    wait_for(sent.is_set, "the server to be rid of its answer", 60)
    assert gzip.decompress(client.response().body) == noise
    assert gzip.decompress(client.request(target="/text", headers=ASK).body).startswith(b"a text")


def test_a_long_file_in_pieces(start, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "long.html").write_bytes(BODY)
    _, client = start()
    for _ in range(2):
        answered = client.request(target="/files/long.html", headers=ASK)
        assert gzip.decompress(answered.body) == BODY
    assert client.request(target="/files/long.html", headers=ASK + "Range: bytes=5-9\r\n").status == 200
    assert client.request(target="/files/long.html", headers="Range: bytes=5-9\r\n").body == BODY[5:10]
    head = client.request("HEAD", "/files/long.html", headers=ASK)
    assert head.header("content-encoding") == "gzip" and head.header("content-length") is None


def test_a_client_that_leaves_within_a_file(start, tmp_path, connect):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "long.html").write_bytes(random.Random(4).randbytes(5_000_000))
    lb, _ = start()
    for _ in range(3):
        client = connect(lb.port("http")).send(
            b"GET /files/long.html HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        client.recv_exactly(100_000)
        client.reset()
    answered = connect(lb.port("http")).request(target="/text", headers=ASK)
    assert gzip.decompress(answered.body).startswith(b"a text")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_break_is_not_completed(start, version):
    def script(connection):
        connection.recv_head()
        connection.send(HEAD + b"Content-Length: 1000000\r\n\r\n" + PAGE)

    lb, client = start(script)
    lb.expect_log("upstream prematurely closed connection")
    client.send(f"GET / HTTP/{version}\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".encode())
    if version == "1.0":  # the end of the connection would be the end of the body
        assert b"Content-Encoding: gzip" in client.recv_until(b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while client.sock.recv(65536):
                pass
    else:
        got = client.recv_to_end()
        assert b"Content-Encoding: gzip" in got and not got.endswith(b"0\r\n\r\n")


def test_old_clients_get_it_to_the_end_of_the_connection(start):
    _, client = start()
    client.send(b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n")
    head, _, body = client.recv_to_end().partition(b"\r\n\r\n")
    assert b"Connection: close" in head and b"chunked" not in head and b"Content-Length" not in head
    assert gzip.decompress(body) == PAGE


def test_the_next_server_s_answer_is_compressed_from_its_start(start):
    """The first server's chunks are bad before anything was sent: nothing of it is left in the filter."""
    bad = chunked()[:-2] + b"\r\nnot a chunk"
    good = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)
    lb, client = start(raw.answer(bad), good=good)
    lb.expect_log("upstream sent invalid chunked response")
    for _ in range(4):
        answered = client.request(target="/again", headers=ASK)
        assert answered.status == 200 and gzip.decompress(answered.body) == PAGE


def test_the_ratio(start, tmp_path):
    _, client = start()
    compressed = client.request(headers=ASK)
    client.request()
    client.request(target="/text", headers=ASK)

    def lines():
        return (tmp_path / "ratio.log").read_text().splitlines() if (tmp_path / "ratio.log").exists() else []

    wait_for(lambda: len(lines()) == 3, "three lines")
    ratio = float(lines()[0].split()[2])
    assert ratio == pytest.approx(len(PAGE) / len(compressed.body), abs=0.01) and ratio > 2
    assert re.fullmatch(r"/ 200 - \d+", lines()[1])
    assert float(lines()[2].split()[2]) > 1


def test_answers_beyond_the_bound_leave_as_they_are(start, tmp_path, connect):
    """A worker compresses 1024 at once: here, a file for clients who do not read."""
    (tmp_path / "files").mkdir()
    noise = random.Random(5).randbytes(2_000_000)
    (tmp_path / "files" / "long.html").write_bytes(noise)
    lb, _ = start()
    asked = b"GET /files/long.html HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
    clients = [connect(lb.port("http")).send(asked) for _ in range(1024)]
    for client in clients:
        assert b"Content-Encoding: gzip" in client.recv_until(b"\r\n\r\n")
    plain = connect(lb.port("http")).request(target="/files/long.html", headers=ASK)
    assert plain.header("content-encoding") is None and plain.body == noise
    assert plain.header("content-length") == str(len(noise))
    clients.pop().close()

    def compressed() -> bool:
        return connect(lb.port("http")).request(target="/text", headers=ASK).header("content-encoding") == "gzip"

    wait_for(compressed, "the state of a client that has left")
