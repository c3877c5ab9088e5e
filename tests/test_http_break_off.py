"""A server breaks off in the middle of its answer while a slow client has not taken what came of it.

The client gets all that lb had read, from memory and from disk, and then sees the break.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import resource
import socket
import ssl
import struct
import termios
import zlib
from signal import SIGQUIT, SIGTERM

import pytest

from tests.harness.tls_socket import VERSIONS, material
from tests.harness.wait import wait_for

TEXT = """
@user@
http {
    log_format main "$status $bytes_sent";
    log_format up "$upstream_bytes_received $bytes_sent";
    server {
        listen 127.0.0.1:@http@ sndbuf=32k;
        access_log logs/access.log main;
        proxy_temp_path @directory@/answers;
        proxy_read_timeout 1s;
        location / { proxy_pass http://@backend@; @inside@ }
    }
}
"""
BODY = bytes(range(251)) * 8000  # more than the sockets between lb and its client take
WHOLE = len(BODY) + 1000  # what the server promises
USER = "user root;" if os.geteuid() == 0 else ""  # prlimit is for processes of the same user
MEMORY = "proxy_buffers 64 64k; proxy_max_temp_file_size 0;"
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (WHOLE, BODY)
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (WHOLE, BODY)
WAYS = {
    "close": "upstream prematurely closed connection while reading upstream",
    "reset": r"recv\(\) failed \(104: .*while reading upstream",
    "stall": r"upstream timed out \(110: .*while reading upstream",
}


def breaks(answer: bytes, how: str):
    """Script: the answer, and, when all of it has come to lb's kernel, the break."""

    def script(connection):
        connection.recv_head()
        connection.send(answer)
        if how == "stall":
            connection.stall()
            return
        wait_for(lambda: unsent(connection.sock) == 0, "lb to have it all")
        if how == "reset":
            connection.reset()

    return script


def unsent(sock: socket.socket) -> int:
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]


def arrived(sock: socket.socket) -> int:
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4))[0]


@pytest.fixture
def slow(run_lb, raw_backend, connect, tmp_path):
    """slow(script, inside, ask) -> (lb, a client that has asked and takes nothing yet)."""

    def start(script, inside="", ask=ASK):
        lb = run_lb(TEXT, backend=raw_backend(script).address, inside=inside, directory=tmp_path, user=USER)
        client = connect(lb.port("http"))
        return lb, client.send(ask)

    return start


def joined(chunks: bytes) -> bytes:
    """The data of chunks that end anywhere but in a last one."""
    data = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        n = int(size, 16)
        assert n, "a last chunk: the answer looks whole"
        data += rest[:n]
        assert rest[n : n + 2] == b"\r\n"
        chunks = rest[n + 2 :]
    return data


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("inside", ["", MEMORY], ids=["disk", "memory"])
@pytest.mark.parametrize("answer", [LENGTH, CHUNKS], ids=["length", "chunks"])
def test_all_that_was_read_comes_first(slow, answer, inside, how):
    lb, client = slow(breaks(answer, how), inside)
    if answer is CHUNKS or not inside:  # else it waits in a pipe, and the server is looked at when that is empty
        lb.wait_log(WAYS[how])
    head = client.recv_until(b"\r\n\r\n")
    rest = client.recv_to_end()
    assert (joined(rest) if b"chunked" in head else rest) == BODY
    lb.wait_log(WAYS[how])
    log = lb.directory / "logs/access.log"
    wait_for(lambda: log.read_text() == f"200 {len(head) + len(rest)}\n", log.read_text)


def test_what_gzip_holds_back_comes_too(slow):
    text = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % WHOLE
    ask = b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
    lb, client = slow(breaks(text + BODY, "close"), "gzip on; gzip_comp_level 1;", ask)
    lb.wait_log(WAYS["close"])
    head = client.recv_until(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    got = joined(client.recv_to_end())
    assert zlib.decompressobj(31).decompress(got) == BODY
    with pytest.raises(EOFError):
        gzip.decompress(got)


@pytest.mark.parametrize("inside", ["", MEMORY], ids=["disk", "memory"])
def test_the_next_request_is_read_away(slow, inside):
    """A close above unread bytes would be a reset, and take back what is on its way."""
    lb, client = slow(breaks(CHUNKS, "close"), inside, ASK * 2)
    lb.wait_log(WAYS["close"])
    client.send(ASK * 10)
    got = client.recv_to_end()
    head, _, rest = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and joined(rest) == BODY


def test_a_bad_body_leaves_what_was_read_to_the_client(slow):
    """Its answer is on its way past the process, in a pipe, when a chunk of its body is none."""
    inside = MEMORY + "proxy_request_buffering off; access_log logs/up.log up;"
    ask = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    lb, client = slow(breaks(LENGTH, "stall"), inside, ask)
    wait_for(lambda: arrived(client.sock) > 32768, "more than the head")
    client.send(b"zz\r\n")
    lb.wait_log("client sent invalid chunked body")
    got = client.recv_to_end()
    log = lb.directory / "logs/up.log"
    head = len(LENGTH) - len(BODY)
    sent = len(got) - len(got.partition(b"\r\n\r\n")[0]) - 4
    wait_for(lambda: log.read_text() == f"{head + sent} {len(got)}\n", log.read_text)


def test_a_body_that_ends_with_the_connection_is_reset(slow):
    lb, client = slow(breaks(CHUNKS, "close"), "", b"GET / HTTP/1.0\r\n\r\n")
    lb.wait_log(WAYS["close"])
    with pytest.raises(ConnectionResetError):
        client.recv_to_end()


@pytest.mark.parametrize("framing", ["chunks", "end"])
def test_a_client_that_takes_nothing_has_send_timeout(slow, framing):
    ask = ASK if framing == "chunks" else b"GET / HTTP/1.0\r\n\r\n"
    lb, client = slow(breaks(CHUNKS, "reset"), "send_timeout 1s;", ask)
    lb.wait_log(WAYS["reset"])
    lb.wait_log(r"client timed out \(110: .*while sending response to client")
    with contextlib.suppress(ConnectionResetError):
        assert len(client.recv_to_end()) < len(BODY)


def test_a_client_that_leaves_before_it_has_all(slow):
    lb, client = slow(breaks(CHUNKS, "reset"))
    lb.wait_log(WAYS["reset"])
    client.reset()
    wait_for(lambda: (lb.directory / "logs/access.log").read_text().startswith("200 "))


def test_a_graceful_stop_waits_for_it(slow):
    lb, client = slow(breaks(CHUNKS, "close"))
    lb.wait_log(WAYS["close"])
    lb.signal(SIGQUIT)
    lb.wait_log("gracefully shutting down")
    head = client.recv_until(b"\r\n\r\n")
    assert b"200 OK" in head and joined(client.recv_to_end()) == BODY
    assert lb.process.wait(30) == 0


@pytest.mark.parametrize("state", ["running", "broken"])
def test_a_stop_resets_what_would_look_whole(slow, state):
    """HTTP/1.0 without a length: a FIN would be its end."""
    answer = b"HTTP/1.0 200 OK\r\n\r\n" + BODY if state == "running" else CHUNKS
    script = breaks(answer, "stall" if state == "running" else "close")
    lb, client = slow(script, "proxy_read_timeout 60s;", b"GET / HTTP/1.0\r\n\r\n")
    client.recv_until(b"\r\n\r\n")
    if state == "broken":
        lb.wait_log(WAYS["close"])
    lb.signal(SIGTERM)
    with pytest.raises(ConnectionResetError):
        client.recv_to_end()
    assert lb.process.wait(30) == 0


def test_a_full_disk_breaks_off_behind_what_it_took(slow):
    """EFBIG: the worker ignores the signal that comes with it, as all Python does."""
    lb, client = slow(breaks(LENGTH, "stall"), "", b"")
    for worker in lb.workers:
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
    client.send(ASK)
    lb.expect_log(r"\[crit\] .*write\(\) to a temporary file failed \(27: ")
    lb.wait_log("write.. to a temporary file failed")
    client.recv_until(b"\r\n\r\n")
    got = client.recv_to_end()
    assert 300_000 <= len(got) < len(BODY) and BODY.startswith(got)


@pytest.mark.parametrize("engine", ["lb", "openssl"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("inside", ["", MEMORY], ids=["disk", "memory"])
def test_over_tls_no_close_notify_ends_it(run_lb, raw_backend, tmp_path, inside, version, engine):
    """A whole answer ends with it; one that broke off with a FIN, behind all that was read."""
    certificate, key = material()
    ssl_on = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_record_engine {engine};"
    text = TEXT.replace("sndbuf=32k;", f"sndbuf=32k {ssl_on} location = /whole {{ return 200 whole; }}")
    server = raw_backend(breaks(CHUNKS, "close"))
    lb = run_lb(text, backend=server.address, inside=inside, directory=tmp_path, user=USER)
    for path, ends in ((b"/whole", True), (b"/", False)):
        sock = socket.create_connection(("127.0.0.1", lb.port("http")), 60)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = VERSIONS[version]
        with context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False) as client:
            client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
            if not ends:
                lb.wait_log(WAYS["close"])
            got, whole = to_end(client)
        assert whole == ends
    assert joined(got.partition(b"\r\n\r\n")[2]) == BODY


def to_end(client: ssl.SSLSocket) -> tuple[bytes, bool]:
    """What comes, and whether close_notify ends it."""
    got = b""
    with contextlib.suppress(ssl.SSLEOFError):
        while data := client.recv(65536):
            got += data
        return got, True
    return got, False
