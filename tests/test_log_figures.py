"""Figures of the access log beside nginx's: what the client's socket took, when a request began, who left where.

Each scene runs on lb and on nginx, where it is installed, and both must say the same; the figures that are no constants
are compared with what the test itself saw.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.nginx import BINARY as NGINX
from tests.harness.wait import DEADLINE, wait_for
from tests.oracle.case import http
from tests.oracle.runner import Side

FORMAT = (
    "$request|$status|m=$request_method|u=$request_uri|rl=$request_length|p=$pipe|url=$upstream_response_length|"
    "us=$upstream_status bs=$bytes_sent bbs=$body_bytes_sent T=$request_time"
)
CONF = http(f"""
    log_format f '{FORMAT}';
    access_log %%dir%%/f.log f;
    client_header_timeout 400ms;
    send_timeout 60s;
    server {{
        listen 127.0.0.1:8080;
        location / {{ return 200 hello; }}
        location /chunked {{ proxy_pass http://127.0.0.1:8081; proxy_http_version 1.1; }}
        location /unbuffered {{
            proxy_pass http://127.0.0.1:8081;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
        location /closed {{ proxy_pass http://127.0.0.1:8082; proxy_http_version 1.1; }}
        location /ws {{
            proxy_pass http://127.0.0.1:8083;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
        location /large {{ proxy_pass http://127.0.0.1:8084; }}
        location /large/unbuffered {{ proxy_pass http://127.0.0.1:8084; proxy_buffering off; }}
    }}""")
LARGE = 60_000_000  # far beyond what the sockets on the way hold
KINDS = ["lb", *(["nginx"] if NGINX is not None else [])]


def head(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (part := sock.recv(65536)):
        data += part
    return data


def chunked(sock: socket.socket) -> None:
    if b"POST" in head(sock):  # its body never comes whole
        while sock.recv(65536):
            pass
        return
    sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    sock.sendall(b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n")


def closed(sock: socket.socket) -> None:
    head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world")


def websocket(sock: socket.socket) -> None:
    head(sock)
    sock.sendall(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nabc")
    sock.sendall(b"echo" + sock.recv(100))
    sock.recv(100)


def large(sock: socket.socket) -> None:
    head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % LARGE)
    for _ in range(LARGE // 100_000):
        sock.sendall(bytes(100_000))
    large_was_taken.set()


large_was_taken = threading.Event()


class Scene:
    """One running server, its log, and clients of it."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.seen = 0

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(DEADLINE)
        sock.connect(("127.0.0.1", self.side.ports["8080"]))
        return sock

    def lines(self, count: int = 1) -> list[str]:
        """The next lines of the log."""
        path = self.side.directory / "f.log"
        wait_for(lambda: path.exists() and path.read_text().count("\n") >= self.seen + count, lambda: path.read_text())
        found = path.read_text().splitlines()[self.seen :]
        assert len(found) == count, found
        self.seen += count
        return found

    def whole(self, data: bytes) -> bytes:
        """What comes back to this, until the end."""
        with self.connect() as sock:
            sock.sendall(data)
            got = b""
            while part := sock.recv(65536):
                got += part
        return got


@pytest.fixture(scope="module", params=KINDS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    side = Side(request.param, tmp_path_factory.mktemp(request.param))
    daemons: dict[int, Callable[[socket.socket], None]] = {8081: chunked, 8082: closed, 8083: websocket, 8084: large}
    side.start(CONF, daemons)
    try:
        yield Scene(side)
    finally:
        side.stop()


def figures(line: str) -> tuple[str, int, int, float]:
    """What is the same on both; $bytes_sent, $body_bytes_sent, $request_time."""
    text, sent, body, took = re.fullmatch(r"(.*) bs=(\d+) bbs=(\d+) T=([\d.]+)", line).groups()  # type: ignore[union-attr]
    return text, int(sent), int(body), float(took)


def test_the_time_runs_from_the_first_byte(scene: Scene) -> None:
    with scene.connect() as sock:
        sock.sendall(b"G")
        wait_for(lambda: unread(scene.side, sock) == b"", "the byte to be read")
        begun = time.monotonic()
        wait_for(lambda: time.monotonic() >= begun + 0.1, "time to pass: it is what is measured")
        sock.sendall(b"ET / HTTP/1.0\r\n\r\n")
        assert sock.recv(1000)
    text, _, body, took = figures(*scene.lines())
    assert text == "GET / HTTP/1.0|200|m=GET|u=/|rl=18|p=.|url=-|us=-"
    assert body == 5 and took >= 0.09


HEADS = {  # what is there of a head -> what the log says of it
    b"GE": "GE|{}|m=-|u=-|rl=0|p=.|url=-|us=-",
    b"GET /x HTTP/1.1": "GET /x HTTP/1.1|{}|m=-|u=-|rl=0|p=.|url=-|us=-",
    b"GET /x HTTP/1.1\r\n": "GET /x HTTP/1.1|{}|m=GET|u=/x|rl=17|p=.|url=-|us=-",
    b"POST /x%20y?z HTTP/1.1\r\nHost: a\r\nX-Y: z": "POST /x%20y?z HTTP/1.1|{}|m=POST|u=/x%20y?z|rl=33|p=.|url=-|us=-",
    b"HEAD /x HTTP/1.0\r\n": "HEAD /x HTTP/1.0|{}|m=HEAD|u=/x|rl=18|p=.|url=-|us=-",
}


@pytest.mark.parametrize("data", HEADS)
def test_a_head_that_takes_too_long(scene: Scene, data: bytes) -> None:
    scene.whole(data)
    text, _, _, took = figures(*scene.lines())
    assert text == HEADS[data].format(408)
    assert took >= 0.3


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("data", HEADS)
def test_a_client_that_leaves_within_a_head(scene: Scene, data: bytes, how: str) -> None:
    leave(scene, data, how)
    assert figures(*scene.lines())[:3] == (HEADS[data].format(400), 0, 0)


def leave(scene: Scene, data: bytes, how: str) -> None:
    """Send this, let it be read, and go."""
    sock = scene.connect()
    sock.sendall(data)
    wait_for(lambda: unread(scene.side, sock) == b"", "the bytes to be read")
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def unread(side: Side, sock: socket.socket) -> bytes:
    """b"" when the server has read all of this connection: its side's receive queue, from /proc/net/tcp."""
    mine, theirs = (f"{port:04X}" for port in (sock.getsockname()[1], side.ports["8080"]))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        if local.endswith(":" + theirs) and remote.endswith(":" + mine):
            return b"" if queues.endswith(":00000000") else b"?"
    return b"?"


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path", ["chunked", "unbuffered"])
@pytest.mark.parametrize("body", ["Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"])
def test_a_client_that_leaves_within_a_body(scene: Scene, path: str, body: str, how: str) -> None:
    data = f"POST /{path} HTTP/1.1\r\nHost: a\r\n{body}".encode()
    leave(scene, data, how)
    text, sent, rest, _ = figures(*scene.lines())
    asked = "url=-|us=-" if path == "chunked" else "url=0|us=-"
    assert text == f"POST /{path} HTTP/1.1|400|m=POST|u=/{path}|rl={len(data)}|p=.|{asked}"
    assert (sent, rest) == (0, 0)


def test_which_requests_are_pipelined(scene: Scene) -> None:
    one = b"GET /%d HTTP/1.1\r\nHost: a\r\n"
    with scene.connect() as sock:
        sock.sendall(one % 1 + b"\r\n" + one % 2 + b"\r\n" + one % 3)
        head(sock)
        first = scene.lines(2)
        sock.sendall(b"\r\n")
        third = scene.lines()
        sock.sendall(one % 4 + b"Connection: close\r\n\r\n")
        while sock.recv(1000):
            pass
    found = [figures(line)[0] for line in first + third + scene.lines()]
    marks = {1: ".", 2: "p", 3: "p", 4: "."}
    length = {4: 28 + len("Connection: close\r\n")}
    assert found == [
        f"GET /{n} HTTP/1.1|200|m=GET|u=/{n}|rl={length.get(n, 28)}|p={mark}|url=-|us=-" for n, mark in marks.items()
    ]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("path", "length"), [("chunked", 36), ("unbuffered", 36), ("closed", 11)])
def test_lengths_of_chunked_answers(scene: Scene, path: str, length: int, version: str) -> None:
    data = f"GET /{path} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    answer = scene.whole(data)
    text, sent, body, _ = figures(*scene.lines())
    assert text == f"GET /{path} HTTP/{version}|200|m=GET|u=/{path}|rl={len(data)}|p=.|url={length}|us=200"
    assert sent == len(answer)
    assert body == len(answer.partition(b"\r\n\r\n")[2])
    assert version == "1.1" or body == 11


def test_lengths_of_a_websocket(scene: Scene) -> None:
    data = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    with scene.connect() as sock:
        sock.sendall(data)
        answer = head(sock)
        while not answer.endswith(b"abc"):
            answer += sock.recv(100)
        sock.sendall(b"0123456789")
        while not answer.endswith(b"echo0123456789"):
            answer += sock.recv(100)
    text, sent, body, _ = figures(*scene.lines())
    assert text == f"GET /ws HTTP/1.1|101|m=GET|u=/ws|rl={len(data)}|p=.|url=0|us=101"
    assert (sent, body) == (len(answer), 17)


@pytest.mark.parametrize("path", ["large", "large/unbuffered"])
def test_a_client_that_leaves_a_download(scene: Scene, path: str) -> None:
    """What went to disk for it is not what it was sent; what its socket took is."""
    large_was_taken.clear()
    with scene.connect(receive_buffer=4096) as sock:
        sock.sendall(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        got = len(sock.recv(1000))
        if path == "large":
            assert large_was_taken.wait(DEADLINE)
    text, sent, body, _ = figures(*scene.lines())
    assert text.startswith(f"GET /{path} HTTP/1.1|200|m=GET|u=/{path}|")
    assert got <= sent < LARGE // 3
    assert 100 < sent - body < 300


def test_the_sum_of_what_was_sent(run_lb, raw_backend, connect) -> None:
    """lb_sent_bytes_total: a tunnel's bytes once, and nothing that no socket took."""
    backend = raw_backend(websocket_script)
    lb = run_lb(
        """http { status_listen 127.0.0.1:@status@;
        server { listen 127.0.0.1:@http@; location / { proxy_pass http://@backend@;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }""",
        backend=backend.address,
    )
    client = connect(lb.port("http"))
    client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    client.recv_until(b"\r\n\r\nabc")
    client.send(b"0123456789").recv_until(b"echo0123456789")
    client.close()
    total = len(client.received)
    wait_for(lambda: sent_total(connect, lb) == total, lambda: f"{sent_total(connect, lb)} to be {total}")


def websocket_script(connection) -> None:
    websocket(connection.sock)


def sent_total(connect, lb) -> float:
    text = connect(lb.port("status")).request(target="/metrics").body.decode()
    return sum(float(value) for value in re.findall(r"^lb_sent_bytes_total\S* (\S+)$", text, re.MULTILINE))
