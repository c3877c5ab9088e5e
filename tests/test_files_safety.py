"""Static files: nothing leads out of the root, nothing blocks, nothing leaks, whoever is slow or gone."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from h11 import RemoteProtocolError

from tests.harness.lb import open_fds
from tests.harness.wait import wait_for

TEXT = """
http {
    access_log off; send_timeout @timeout@;
    server { listen 127.0.0.1:@http@; @inside@ }
}
"""
SIZE = 64 << 20


@pytest.fixture
def www(tmp_path) -> Path:
    root = tmp_path / "site" / "www"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_bytes(b"index")
    (root / "a.txt").write_bytes(b"inside")
    (root / "back\\slash").write_bytes(b"backslash")
    (root / "..a").write_bytes(b"dots")
    (root.parent / "secret").write_bytes(b"secret")
    (root.parent / "www2").mkdir()
    (root.parent / "www2" / "secret").write_bytes(b"secret")
    return root


@pytest.fixture
def start(run_lb, www):
    def start(inside, timeout="60s"):
        return run_lb(TEXT, inside=inside.replace("WWW", str(www)), timeout=timeout)

    return start


def ask(lb, target):
    with lb.client() as client:
        return client.request(target=target)


# ---- the root


@pytest.mark.parametrize(
    "target",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/%2E./secret",
        "/sub/../../secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/sub%2f..%2f..%2fsecret",
        "/%2fsecret/../../secret",
        "/..%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/sub/..\\..\\secret",
        "/%252e%252e/secret",
        "/a.txt%00.html",
        "/%00",
        "/..;/secret",
        "/.%2e;/secret",
        "//../secret",
        "///secret",
        "/%c0%ae%c0%ae/secret",
        "/%u002e%u002e/secret",
    ],
)
def test_no_path_of_a_client_leaves_the_root(start, target):
    lb = start("root WWW;")
    answer = ask(lb, target)
    assert answer.status in (400, 404) and b"secret" not in answer.body.split(b"<hr>")[0]


def test_odd_names_are_names(start):
    lb = start("root WWW;")
    assert ask(lb, "/back%5cslash").body == b"backslash"
    assert ask(lb, "/..a").body == b"dots"
    assert ask(lb, "/sub//..///a.txt").body == b"inside"


INSIDE = """
location /cut { alias WWW/; }
location /cutfile { alias WWW/sub; }
location ~ ^/re(.*)$ { alias WWW/sub/$1; }
location /var/ { root WWW/$arg_d; }
location /try { root WWW; try_files $arg_f =404; }
location /rw/ { root WWW; rewrite ^/rw/(.*)$ /rw/$arg_p break; }
location /index/ { alias WWW/; index $arg_i; }
location /no/ { root WWW; try_files $uri secret; }
location /body { root WWW; if (-f $document_root/$arg_f) { return 200 yes; } return 200 no; }
"""


@pytest.mark.parametrize(
    "target",
    [
        "/cut../secret",
        "/cut../www2/secret",
        "/cutfile/../../secret",
        "/re/../../secret",
        "/re../../secret",
        "/var/secret?d=..",
        "/var/www2/secret?d=../",
        "/try?f=/../secret",
        "/try?f=/sub/../../secret",
        "/rw/x?p=../../secret",
        "/rw/x?p=sub/../../../secret",
        "/index/?i=../secret",
        "/index/?i=sub/../../secret",
        "/no/x",
    ],
)
def test_no_variable_leaves_the_root(start, target):
    """Where nginx would serve the file: `location /cut` with `alias DIR/` is known as the off-by-slash."""
    lb = start(INSIDE)
    answer = ask(lb, target)
    assert answer.status in (400, 403, 404), target
    assert answer.body != b"secret"


def test_what_the_configuration_writes_is_its_business(start):
    lb = start("location / { root WWW/../www2; } location /al/ { alias WWW/../; }")
    assert ask(lb, "/secret").body == b"secret"
    assert ask(lb, "/al/secret").body == b"secret"


# ---- what is no file


def test_only_regular_files(start, www):
    os.mkfifo(www / "fifo")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(os.path.relpath(www / "sock"))  # its name may be too long otherwise
    (www / "null").symlink_to("/dev/null")
    (www / "loop").symlink_to("loop")
    lb = start("root WWW;")
    statuses = {"/fifo": 404, "/null": 404, "/loop": 403, "/sock": 500}
    lb.expect_log("fifo. is not a regular file", "null. is not a regular file", r"sock. failed \(6: No such device")
    for target, status in statuses.items():
        assert ask(lb, target).status == status, target
    bound.close()


# ---- large ones


@pytest.fixture
def large(www) -> Path:
    path = www / "large"
    with path.open("wb") as file:
        for number in range(SIZE >> 16):
            file.write(number.to_bytes(4, "big") * (1 << 14))
    return path


def fds(lb):
    return sum(len(open_fds(worker.pid)) for worker in lb.workers)


def rss(lb):
    return next(iter(lb.workers)).memory_info().rss


def test_a_slow_reader_holds_one_descriptor_and_no_memory(start, connect, large):
    lb = start("root WWW;")
    idle, before = fds(lb), rss(lb)
    readers = [connect(lb.port("http")).send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(20)]
    wait_for(lambda: fds(lb) == idle + 40)  # a socket and a file each
    with lb.client() as client:
        assert client.request(target="/a.txt").body == b"inside"
    assert rss(lb) - before < 4 << 20
    answer = readers[0].response()
    assert answer.body == large.read_bytes()
    for reader in readers[1:]:
        reader.close()
    wait_for(lambda: fds(lb) == idle + 1)


def test_readers_that_leave(start, connect, large):
    lb = start("root WWW;")
    idle = fds(lb)
    for number in range(30):
        client = connect(lb.port("http")).send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv_exactly(1 + number * 10_000)
        client.reset() if number % 2 else client.close()
    wait_for(lambda: fds(lb) == idle)


def test_a_reader_that_stops_is_timed_out(start, connect, large):
    lb = start("root WWW;", timeout="300ms")
    idle = fds(lb)
    client = connect(lb.port("http")).send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    lb.wait_log("client timed out .*while sending response to client")
    wait_for(lambda: fds(lb) == idle)
    with pytest.raises((AssertionError, OSError, RemoteProtocolError)):
        client.response()


def test_keep_alive_and_pipelining(start, connect, large):
    lb = start("root WWW;")
    client = connect(lb.port("http"))
    for _ in range(2):
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\nHEAD /large HTTP/1.1\r\nHost: x\r\n\r\n")
        client.send(b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().body == large.read_bytes()
        head = client.response("HEAD")
        assert head.header("content-length") == str(SIZE) and head.body == b""
        assert client.response().status == 405
        assert client.response().body == b"inside"


def test_a_body_is_read_away(start, connect):
    lb = start("root WWW;")
    client = connect(lb.port("http"))
    client.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    assert client.response().body == b"inside"
    client.send(b"x" * 100_000)
    assert client.request(target="/a.txt").body == b"inside"


def test_trailers(start, connect, large):
    lb = start("root WWW; add_trailer X-T yes;")
    client = connect(lb.port("http"))
    for target, body in (("/large", large.read_bytes()), ("/a.txt", b"inside")):
        answer = client.request(target=target)
        assert answer.header("transfer-encoding") == "chunked" and answer.body == body
        assert b"\r\n0\r\nX-T: yes\r\n\r\n" in bytes(client.received)
        client.received.clear()
    client.send(b"GET /large HTTP/1.0\r\n\r\n")
    assert client.response().header("content-length") == str(SIZE)


def test_a_file_that_shrinks_is_shown_as_broken(start, connect, large):
    """Never less than the length that was said without the end of the connection."""
    lb = start("root WWW;")
    client = connect(lb.port("http")).send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv_exactly(100)
    os.truncate(large, 1000)
    with pytest.raises((AssertionError, RemoteProtocolError)):
        client.buffer = bytes(client.received)
        client.response()
    lb.wait_log(r"sendfile\(\) reported that a file ends before its length")


def test_what_is_logged(run_lb, www, tmp_path, connect, large):
    log = tmp_path / "access.log"
    lb = run_lb(
        """http { log_format f "$status $body_bytes_sent $uri"; access_log @log@ f;
           server { listen 127.0.0.1:@http@; root @www@; } }""",
        log=log,
        www=www,
    )
    client = connect(lb.port("http"))
    for target in ("/a.txt", "/large", "/nosuch", "/"):
        client.request(target=target)
    wait_for(lambda: log.read_text().count("\n") >= 4)
    lines = log.read_text().splitlines()
    assert lines[0] == "200 6 /a.txt" and lines[1] == f"200 {SIZE} /large" and lines[2].startswith("404 ")
    assert lines[3:] == ["200 5 /index.html"]


def test_a_stop_lets_a_file_end(start, connect, large):
    lb = start("root WWW;")
    client = connect(lb.port("http")).send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv_exactly(100)
    lb.signal(signal.SIGQUIT)
    lb.wait_log("gracefully shutting down")
    client.buffer = bytes(client.received)
    assert client.response().body == large.read_bytes()
