"""The client side: limits of heads, names with underscores, keep-alive, how connections end, options of the socket.
Where nginx is installed, it is asked the same."""

from __future__ import annotations

import ctypes
import os
import socket

import pytest

from tests.harness.backend import Reply
from tests.harness.nginx import BINARY, Nginx
from tests.harness.wait import free_port, wait_for

needs_nginx = pytest.mark.skipif(BINARY is None, reason="nginx is not installed")


@pytest.fixture
def nginx(tmp_path):
    (tmp_path / "nginx").mkdir()
    oracle = Nginx(tmp_path / "nginx")
    yield oracle
    oracle.stop()


def head(line="GET / HTTP/1.1", *fields, host="a"):
    return "\r\n".join([line, f"Host: {host}", *fields, "", ""]).encode()


LIMITS = """
http {{
    {more}
    connection_pool_size 128; client_header_buffer_size 128;
    server {{ listen 127.0.0.1:{port}; server_name five; large_client_header_buffers 5 256; return 204; }}
    server {{ listen 127.0.0.1:{port}; server_name ten; large_client_header_buffers 10 256; return 204; }}
}}
"""
HEADS = {
    "short": head(host="five"),
    "line": head(f"GET /{'x' * 200} HTTP/1.1", host="five"),
    "long-line": head(f"GET /{'x' * 300} HTTP/1.1", host="five"),
    "field": head("GET / HTTP/1.1", f"X: {'x' * 200}", host="five"),
    "long-field": head("GET / HTTP/1.1", f"X: {'x' * 300}", host="five"),
    "few": head("GET / HTTP/1.1", *[f"X: {'x' * 200}"] * 4, host="five"),
    "many": head("GET / HTTP/1.1", *[f"X: {'x' * 200}"] * 8, host="five"),
    "many-for-ten": head("GET / HTTP/1.1", *[f"X: {'x' * 200}"] * 8, host="ten"),
    "too-many": head("GET / HTTP/1.1", *[f"X: {'x' * 200}"] * 14, host="ten"),
}


@needs_nginx
def test_limits_of_heads(run_lb, connect, nginx):
    port = free_port()
    nginx.start(LIMITS.format(more="", port=port), port)
    lb = run_lb(LIMITS.format(more="access_log off;", port="@http@"))
    for name, raw in HEADS.items():
        expected = connect(port).send(raw).response().status
        assert connect(lb.port("http")).send(raw).response().status == expected, name
        if len(raw) < 2000:
            assert connect(lb.port("http")).send_each_byte(raw).response().status == expected, name


def test_max_headers(run_lb, connect):
    lb = run_lb(
        """http { access_log off; max_headers 5;
        server { listen 127.0.0.1:@http@; server_name a; return 204; }
        server { listen 127.0.0.1:@http@; server_name b; max_headers 2000; return 204; } }"""
    )

    def ask(host, count):
        return connect(lb.port("http")).send(head("GET / HTTP/1.1", *["X: y"] * count, host=host)).response()

    assert [ask("a", count).status for count in (0, 4, 5, 100)] == [204, 204, 400, 400]
    assert [ask("b", count).status for count in (5, 1999, 2000)] == [204, 204, 400]


@pytest.mark.parametrize(
    ("setting", "passed"),
    [("", False), ("underscores_in_headers on;", True), ("ignore_invalid_headers off;", True)],
)
def test_underscores(run_lb, http_backend, connect, setting, passed):
    back = http_backend()
    lb = run_lb(
        "http { access_log off; @setting@ server { listen 127.0.0.1:@http@;"
        " location / { add_header X-Seen $http_x_a; proxy_pass http://@back@; } } }".replace(
            "add_header X-Seen $http_x_a;", ""
        ),
        setting=setting,
        back=back.address,
    )
    connect(lb.port("http")).request(headers="X_A: 1\r\nX-B: 2\r\n")
    names = [name for name, _ in back.requests[0].headers]
    assert ("x_a" in names) == passed and "x-b" in names


KEEPALIVE = """
http {{ {more}
    server {{ listen 127.0.0.1:{port}; keepalive_timeout 75s 33s; location / {{ return 204; }}
        location /time {{ keepalive_time 1ms; return 204; }}
        location /none {{ keepalive_disable none; return 204; }}
        location /both {{ keepalive_disable msie6 safari; return 204; }}
        location /safari {{ keepalive_disable safari; return 204; }}
        location /post {{ keepalive_disable msie6; return 204; }} }} }}
"""
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605 Version/14 Safari/605"
CHROME = SAFARI + " Chrome/99"
MSIE6 = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"
MSIE6_SP2 = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)"


@needs_nginx
def test_keepalive(run_lb, connect, nginx):
    port = free_port()
    nginx.start(KEEPALIVE.format(more="", port=port), port)
    lb = run_lb(KEEPALIVE.format(more="access_log off;", port="@http@"))
    seen = []
    for at in (port, lb.port("http")):
        answers = {}
        for agent in (SAFARI, CHROME, MSIE6, MSIE6_SP2):
            for path in ("/none", "/both", "/safari", "/post"):
                for method in ("GET", "POST"):
                    client = connect(at)
                    answer = client.request(method, path, headers=f"User-Agent: {agent}\r\n")
                    answers[agent, path, method] = (answer.header("connection"), answer.header("keep-alive"))
                    client.close()
        seen.append(answers)
    assert seen[0] == seen[1]
    assert ("keep-alive", "timeout=33") in seen[0].values() and ("close", None) in seen[0].values()


def test_keepalive_time(run_lb, connect):
    lb = run_lb(KEEPALIVE.format(more="access_log off;", port="@http@"))
    client = connect(lb.port("http"))
    wait_for(lambda: client.request(target="/time").header("connection") == "close", "the connection's time to be over")
    client.expect_closed()


@pytest.mark.parametrize(("setting", "reset"), [("reset_timedout_connection on;", True), ("", False)])
def test_a_reset_instead_of_an_end(run_lb, connect, setting, reset):
    lb = run_lb("http { access_log off; @setting@ server { listen 127.0.0.1:@http@; return 444; } }", setting=setting)
    client = connect(lb.port("http")).send(head())
    if reset:
        client.expect_reset()
    else:
        client.expect_closed()


def test_send_timeout_ends_a_client_that_does_not_read(run_lb, http_backend, connect):
    """T03: the server's answer is not read beyond what one read and the socket hold; the client is dropped."""
    big = http_backend(lambda _: Reply(body=b"x" * (64 << 20)))
    lb = run_lb(
        "http { access_log off; send_timeout 300ms; reset_timedout_connection on;"
        " server { listen 127.0.0.1:@http@ sndbuf=32k; location / { proxy_pass http://@back@; } } }",
        back=big.address,
    )
    client = connect(lb.port("http")).send(head())
    lb.wait_log(r"client timed out \(110: Connection timed out\) while sending response to client")
    with pytest.raises((AssertionError, ConnectionResetError)):
        client.response()
    worker = next(iter(lb.workers))
    assert worker.memory_info().rss < 200 << 20


def test_default_type_and_tokens(run_lb, connect):
    lb = run_lb(
        """http { access_log off; default_type text/x;
        server { listen 127.0.0.1:@http@;
            location / { return 200 a; }
            location /own { default_type application/json; server_tokens off; return 200 "{}"; }
            location /error { server_tokens off; return 404; } } }"""
    )
    client = connect(lb.port("http"))
    answer = client.request()
    assert answer.header("content-type") == "text/x" and answer.header("server").startswith("lb/")
    answer = client.request(target="/own")
    assert answer.header("content-type") == "application/json" and answer.header("server") == "lb"
    answer = client.request(target="/error")
    assert answer.header("content-type") == "text/html" and b"<center>lb</center>" in answer.body


def test_options_of_the_socket(run_lb, connect):
    """sndbuf, rcvbuf and so_keepalive are on what is accepted; tcp_nodelay off is off."""
    lb = run_lb(
        """http { access_log off;
        server { listen 127.0.0.1:@a@ sndbuf=16k rcvbuf=8k so_keepalive=300:10:5 fastopen=16 bind; return 204; }
        server { listen 127.0.0.1:@b@ so_keepalive=off; tcp_nodelay off; return 204; } }"""
    )
    for name in "ab":
        assert connect(lb.port(name)).request().status == 204
    assert server_side(lb, "a") == (2 * (16 << 10), 2 * (8 << 10), 1, 300, 1)
    assert server_side(lb, "b")[2] == 0 and server_side(lb, "b")[4] == 0


def server_side(lb, name):
    """(SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, TCP_KEEPIDLE, TCP_NODELAY) of the listening socket."""
    for worker in lb.workers:
        for entry in os.scandir(f"/proc/{worker.pid}/fd"):
            found = _options(worker.pid, int(entry.name), lb.port(name))
            if found is not None:
                return found
    raise AssertionError(f"no listening socket on port {lb.port(name)}")


def _options(pid, number, port):
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(434, pid, 0)  # pidfd_open
    fd = libc.syscall(438, pidfd, number, 0)  # pidfd_getfd
    os.close(pidfd)
    if fd < 0:
        return None
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:
        return None
    finally:
        os.close(fd)
    with sock:
        if sock.family != socket.AF_INET or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        if sock.getsockname()[1] != port:
            return None
        read = sock.getsockopt
        return (
            read(socket.SOL_SOCKET, socket.SO_SNDBUF),
            read(socket.SOL_SOCKET, socket.SO_RCVBUF),
            read(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            read(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            read(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        )
