"""A request's body on its way: whole before a server is chosen, or streamed; and bodies that nobody wants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness import backend as raw
from tests.harness.wait import wait_for

ONE = """
http {
    access_log off;
    upstream u { server @a@ max_fails=0; server @b@ max_fails=0; }
    server {
        listen 127.0.0.1:@http@;
        @inside@
        client_body_temp_path @directory@/bodies @levels@;
        location / {
            proxy_pass http://u;
            add_header X-Body $request_body;
            add_header X-File $request_body_file;
        }
        location /own { return 200 own; }
    }
}
"""
LONG = b"0123456789" * 100_000


@pytest.fixture
def before(run_lb, tmp_path):
    def start(backend, inside="", other=None, levels=""):
        other = other or backend
        return run_lb(ONE, a=backend.address, b=other.address, inside=inside, directory=tmp_path, levels=levels)

    return start


def files(directory: Path) -> list[Path]:
    return [path for path in (directory / "bodies").rglob("*") if path.is_file()]


def chunked(body: bytes, size: int = 7000) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_short_body_is_in_memory(before, http_backend, connect, tmp_path):
    backend = http_backend()
    client = connect(before(backend).port("http"))
    response = client.request("POST", body=b"hello")
    assert (response.header("x-body"), response.header("x-file")) == ("hello", None)
    assert backend.requests[0].body == b"hello"
    assert files(tmp_path) == []


@pytest.mark.parametrize("levels", ["", "1", "1 2"])
def test_a_long_body_is_in_a_file_while_it_is_needed(before, http_backend, connect, tmp_path, levels):
    backend = http_backend()
    client = connect(before(backend, "client_max_body_size 0;", levels=levels).port("http"))
    for _ in range(2):
        response = client.request("POST", body=LONG)
        assert response.header("x-body") is None
        path = Path(response.header("x-file"))
        assert len(path.relative_to(tmp_path / "bodies").parts) == 1 + len(levels.split())
        assert backend.requests[-1].body == LONG
    wait_for(lambda: files(tmp_path) == [])


@pytest.mark.parametrize("size", [0, 1, 20_000, 1_000_000])
def test_a_chunked_body_gets_its_length(before, http_backend, connect, size):
    backend = http_backend()
    client = connect(before(backend, "client_max_body_size 0;").port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(LONG[:size]))
    assert client.response().status == 200
    (request,) = backend.requests
    assert request.body == LONG[:size]
    assert (request.all("content-length"), request.all("transfer-encoding")) == ([str(size)], [])


def test_no_server_is_asked_before_the_body_is_whole(before, http_backend, connect):
    backend = http_backend()
    lb = before(backend)
    client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
    assert connect(lb.port("http")).request(target="/other").status == 200
    assert [request.target for request in backend.requests] == ["/other"]
    client.send(b"56789")
    assert client.response().header("x-body") == "0123456789"
    assert backend.requests[-1].body == b"0123456789"


def test_streamed(before, raw_backend, connect):
    """off: the head and the first bytes are with the server while the client still sends."""

    def script(connection):
        connection.recv_until(b"01234")
        started.append(1)
        connection.recv_until(b"56789")
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    started = []
    client = connect(before(raw_backend(script), "proxy_request_buffering off;").port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
    wait_for(lambda: started)
    client.send(b"56789")
    assert client.response().status == 200


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("size", [10, 40_000, 1_000_000])
def test_a_body_in_hand_is_sent_again(before, raw_backend, http_backend, connect, method, size):
    bad, good = raw_backend(raw.close_after_head), http_backend()
    lb = before(
        bad, "client_max_body_size 0; client_body_buffer_size 100k; proxy_next_upstream error non_idempotent;", good
    )
    response = connect(lb.port("http")).request(method, body=LONG[:size])
    assert response.status == 200
    assert good.requests[0].body == LONG[:size]


def test_in_file_only(before, http_backend, connect, tmp_path):
    client = connect(before(http_backend(), "client_body_in_file_only on;").port("http"))
    response = client.request("POST", body=b"hello")
    assert response.header("x-body") is None
    assert Path(response.header("x-file")).read_bytes() == b"hello"
    response = client.request("POST", headers="Content-Length: 0\r\n")
    assert Path(response.header("x-file")).read_bytes() == b""
    assert client.request().header("x-file") is None
    assert len(files(tmp_path)) == 2


def test_in_file_only_clean(before, http_backend, connect, tmp_path):
    backend = http_backend()
    client = connect(before(backend, "client_body_in_file_only clean;").port("http"))
    assert client.request("POST", body=b"hello").header("x-file")
    assert backend.requests[0].body == b"hello"
    wait_for(lambda: files(tmp_path) == [])


def test_single_buffer(before, http_backend, connect):
    backend = http_backend()
    client = connect(before(backend, "client_body_in_single_buffer on; client_body_buffer_size 64k;").port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + LONG[:100])
    client.send(LONG[100:5000])
    assert client.response().header("x-body") == LONG[:5000].decode()
    assert backend.requests[0].body == LONG[:5000]


def test_expect_100_continue(before, http_backend, connect):
    client = connect(before(http_backend()).port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert client.recv_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.response().header("x-body") == "hello"


@pytest.mark.parametrize("inside", ["", "proxy_request_buffering off;"])
def test_too_large(before, http_backend, connect, inside):
    lb = before(http_backend(), f"client_max_body_size 1k; {inside}")
    for body in (b"Content-Length: 1025\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n" + chunked(LONG[:1025])):
        client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\n" + body)
        assert client.response().status == 413
    assert connect(lb.port("http")).request("POST", body=LONG[:1024]).status == 200


def test_a_client_that_leaves_in_its_body(before, http_backend, connect, tmp_path):
    backend = http_backend()
    lb = before(backend)
    client = connect(lb.port("http")).send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + LONG[:50000]
    )
    wait_for(lambda: files(tmp_path))
    client.close()
    lb.wait_log("client prematurely closed connection while reading client request body")
    wait_for(lambda: files(tmp_path) == [])
    assert backend.requests == []


def test_a_body_that_stops(before, http_backend, connect):
    lb = before(http_backend(), "client_body_timeout 200ms;")
    client = connect(lb.port("http")).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
    assert client.response().status == 408


def test_no_directory(run_lb, http_backend, connect, tmp_path):
    (tmp_path / "bodies").write_text("a file")
    backend = http_backend()
    lb = run_lb(ONE, a=backend.address, b=backend.address, inside="", directory=tmp_path, levels="")
    lb.expect_log(r"\[crit\] .*open\(\) of a temporary file failed \(20: Not a directory\)")
    assert connect(lb.port("http")).request("POST", body=LONG[:50_000]).status == 500
    assert connect(lb.port("http")).request("POST", body=b"short").status == 200


def test_an_answer_is_not_cut_by_the_body_that_goes_on(run_lb, http_backend, connect, tmp_path):
    """The 500 of a body that cannot be kept is a long page: what still comes of the body is no reason to end it."""
    (tmp_path / "bodies").write_text("a file")
    page = tmp_path / "page"
    page.touch()
    os.truncate(page, 32 << 20)
    inside = f"client_max_body_size 0; error_page 500 /page; location = /page {{ root {tmp_path}; }}"
    lb = run_lb(ONE, a=http_backend().address, b="127.0.0.1:9", inside=inside, directory=tmp_path, levels="")
    lb.expect_log("temporary file")
    client = connect(lb.port("http"))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(LONG) * 2) + LONG)
    wait_for(lambda: "temporary file" in lb.log)
    for _ in range(20):
        client.send(LONG[:50_000])
    head, _, body = client.recv_to_end().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert len(body) == 32 << 20


@pytest.mark.parametrize("inside", ["proxy_set_body new;", "proxy_pass_request_body off;"])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_body_that_is_not_passed_is_read_all_the_same(before, http_backend, connect, inside, buffering):
    backend = http_backend()
    client = connect(before(backend, f"{inside} proxy_request_buffering {buffering};").port("http"))
    for _ in range(2):
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + LONG[:100])
        client.send(LONG[100:50_000])
        assert client.response().status == 200
    assert {request.body for request in backend.requests} == {b"new" if "new" in inside else b""}


def test_an_unread_body_does_not_end_the_connection(before, http_backend, connect):
    client = connect(before(http_backend()).port("http"))
    for target in ("/own", "/own", "/"):
        client.send(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n".encode() + LONG[:100])
        if target == "/own":
            response = client.response()
            assert (response.body, response.header("connection")) == (b"own", "keep-alive")
        client.send(LONG[100:20000])
        if target == "/":
            assert client.response().status == 200
    client.send(b"POST /own HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(LONG[:20_000]))
    assert client.response().body == b"own"
    assert client.request(target="/own").status == 200


def test_an_unread_body_that_never_comes_to_its_end(before, http_backend, connect):
    """Beyond client_max_body_size nothing more is read away."""
    client = connect(before(http_backend(), "client_max_body_size 10k;").port("http"))
    client.send(b"POST /own HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.response().status == 200
    client.send(chunked(LONG[:11_000])[:-5])
    client.expect_closed()
