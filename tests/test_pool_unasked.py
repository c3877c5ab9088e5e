"""An answer that nobody asked for reaches nobody, neither its client nor the next; no request asks a server twice."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading

import pytest

from tests.harness.backend import Listener, RawConnection, Reply
from tests.harness.wait import wait_for

CONF = """
http {
    access_log off;
    upstream u { server @back@; keepalive 8; }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://u; }
        location /here { return 204; }
        location /get { proxy_method GET; proxy_pass http://u; }
    }
}
"""
STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"


def ok(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


class Stray:
    """Answers the path of each request; behind the first answer goes one that nobody asked for, or when released."""

    def __init__(self, first: bytes | None = None, released: threading.Event | None = None) -> None:
        self.first, self.released = first, released
        self.strayed = threading.Event()

    def __call__(self, connection: RawConnection) -> None:
        if connection.number == 0:
            head = connection.recv_head()
            connection.send((self.first or ok(head.split(b" ")[1])) + (b"" if self.released else STRAY))
            if self.released:
                assert self.released.wait(30)
                connection.send(STRAY)
            self.strayed.set()
        try:
            while True:
                connection.send(ok(connection.recv_head().split(b" ")[1]))
        except OSError:
            pass  # lb has closed it


FIRST = {
    "a length": ("GET", "/", ok(b"first")),
    "chunks": ("GET", "/", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"),
    "204": ("GET", "/", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304": ("GET", "/", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    "HEAD": ("HEAD", "/", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    "nothing": ("GET", "/", ok(b"")),
    "the size of a first read": ("GET", "/", ok(b"x" * 16300)),
    "a long one": ("GET", "/", ok(b"x" * 2_000_000)),
}


@pytest.mark.parametrize("kind", FIRST)
@pytest.mark.parametrize("later", [False, True], ids=["with the first", "later"])
def test_a_second_answer_that_nobody_asked_for(run_lb, raw_backend, kind, later):
    method, target, first = FIRST[kind]
    released = threading.Event() if later else None
    script = Stray(first, released)
    back = raw_backend(script)
    lb = run_lb(CONF, back=back.address)
    with lb.client() as client, lb.client() as other:
        client.request(method, target)
        if released:
            released.set()
            assert script.strayed.wait(30)
        for one, path in ((other, "/a"), (client, "/b"), (other, "/c")):
            assert one.request(target=path).body == path.encode()


@pytest.mark.parametrize("later", [False, True], ids=["behind the request", "before the request"])
def test_bytes_that_wait_when_the_next_request_comes(run_lb, raw_backend, later):
    """The worker finds both in one turn: a request, and bytes on the connection that it would use."""
    released = threading.Event()
    script = Stray(None, released)
    back = raw_backend(script)
    lb = run_lb(CONF, back=back.address)
    (worker,) = lb.workers
    with lb.client() as client, lb.client() as other:
        assert other.request(target="/here").status == 204
        assert client.request(target="/first").body == b"/first"
        worker.send_signal(signal.SIGSTOP)
        try:
            if later:
                released.set()
                assert script.strayed.wait(30)
            other.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            if not later:
                released.set()
                assert script.strayed.wait(30)
        finally:
            worker.send_signal(signal.SIGCONT)
        assert other.response("GET").body == b"/next"
    assert len(back.connections) == 2


def test_connections_are_used_again(run_lb, http_backend):
    """Pipelined requests and those of many clients need no more connections than there are requests at a time."""
    back = http_backend(lambda request: Reply(body=request.target.encode()))
    lb = run_lb(CONF, back=back.address)
    with lb.client() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(20)))
        assert [client.response("GET").body for _ in range(20)] == [b"/%d" % i for i in range(20)]
        for i in range(20):
            assert client.request(target=f"/{i}").body == b"/%d" % i
    assert len({one.connection for one in back.requests}) == 1


def test_the_body_that_a_head_request_did_not_want(run_lb, raw_backend):
    """proxy_method GET for a HEAD: the body comes when its connection is given back, and is nobody's answer."""
    released = threading.Event()

    def script(connection: RawConnection) -> None:
        if connection.number == 0:
            connection.recv_head()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(STRAY))
            assert released.wait(30)
            try:
                connection.recv_head()
                connection.send(STRAY)
            except OSError:
                pass
            return
        try:
            while True:
                connection.send(ok(connection.recv_head().split(b" ")[1]))
        except OSError:
            pass

    lb = run_lb(CONF, back=raw_backend(script).address)
    with lb.client() as client:
        assert client.request("HEAD", "/get").status == 200
        released.set()
        assert client.request(target="/next").body == b"/next"


# ---- once each

METHODS = ("", "least_conn;", "ip_hash;", "hash $uri;", "hash $uri consistent;", "random;", "random two;")
TWO = """
http {
    access_log off;
    @upstreams@
    server { listen 127.0.0.1:@http@; @places@ }
}
"""


class Dies(Listener):
    """Answers the first request of a connection, and ends, without a word, at the second: `asked` has what came."""

    def __init__(self, how: str = "close") -> None:
        self.asked: list[str] = []
        self.how = how
        self.broken = False
        self.sockets: list[socket.socket] = []
        super().__init__()

    def end_all(self) -> None:
        for sock in self.sockets:
            sock.shutdown(socket.SHUT_RDWR)

    def serve(self, sock: socket.socket, number: int) -> None:
        conn = RawConnection(sock, number, self.stopping)
        self.sockets.append(sock)
        try:
            while head := conn.recv_head():
                self.asked.append(head.split(b" ")[1].decode())
                if self.broken:
                    if self.how == "reset":
                        conn.reset()
                    return
                conn.send(ok(b"fine"))
        except OSError:
            pass


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_request_asks_a_server_once(world, run_lb, how):
    """A pooled connection ends under a request, and the other server is marked as failed, or fails: in every method."""
    bad = Dies(how)
    world.listeners.append(bad)
    closed = world.closed_port()
    upstreams, places = "", ""
    for i, method in enumerate(METHODS):
        upstreams += f"upstream u{i} {{ {method} server {bad.address}; server 127.0.0.1:{closed}; keepalive 8; }}\n"
        places += f"location /{i}/ {{ proxy_pass http://u{i}; add_header X-Addr $upstream_addr always; }}\n"
    lb = run_lb(TWO, upstreams=upstreams, places=places)
    lb.expect_log("connect|upstream")
    for i in range(len(METHODS)):
        bad.broken = False
        with lb.client() as client:
            for path in range(8):  # the closed one is tried and marked somewhere here
                assert client.request(target=f"/{i}/{path}").status == 200
            bad.broken = True
            bad.asked.clear()
            answer = client.request(target=f"/{i}/0")
            assert answer.status == 502
            tried = [one for one in answer.header("x-addr").split(", ") if one == bad.address]
            assert (bad.asked, tried) == ([f"/{i}/0"], [bad.address]), METHODS[i]
            for _ in range(3):
                client.request(target=f"/{i}/0")
    bad.broken = True


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_other_server_answers_when_a_pooled_connection_ends(world, run_lb, http_backend, how):
    bad = Dies(how)
    world.listeners.append(bad)
    good = http_backend(lambda _: Reply(body=b"good"))
    upstreams, places = "", ""
    for i, method in enumerate(METHODS):
        upstreams += (
            f"upstream u{i} {{ {method} server {bad.address} max_fails=0; server {good.address}; keepalive 8; }}\n"
        )
        places += f"location /{i}/ {{ proxy_pass http://u{i}; proxy_next_upstream error; }}\n"
    lb = run_lb(TWO, upstreams=upstreams, places=places)
    lb.expect_log("upstream")
    for i in range(len(METHODS)):
        with lb.client() as client:
            bad.broken = False
            for path in range(8):
                client.request(target=f"/{i}/{path}")
            bad.broken = True
            for path in range(8):
                bad.asked.clear()
                assert client.request(target=f"/{i}/{path}").status == 200
                assert len(bad.asked) <= 1, METHODS[i]


def test_the_only_server_is_asked_once_more(world, run_lb):
    """As nginx: a pooled connection may always have ended."""
    bad = Dies()
    world.listeners.append(bad)
    lb = run_lb(CONF, back=bad.address)
    lb.expect_log("upstream")
    with lb.client() as client:
        assert client.request(target="/a").status == 200
        bad.broken = True
        assert client.request(target="/b").status == 502
    assert bad.asked == ["/a", "/b", "/b"]


def test_a_server_whose_connection_ended_before_the_request_came_is_asked(world, run_lb):
    """Both are there when the worker looks: the pooled connection's end, and a request. The other server has failed."""
    back = Dies()
    world.listeners.append(back)
    upstreams = (
        f"upstream u {{ server {back.address}; server 127.0.0.1:{world.closed_port()} fail_timeout=60; keepalive 8; }}"
    )
    lb = run_lb(TWO, upstreams=upstreams, places="location / { proxy_pass http://u; }")
    lb.expect_log("connect|upstream")
    (worker,) = lb.workers
    with lb.client() as client:
        for path in range(4):
            assert client.request(target=f"/{path}").status == 200
        worker.send_signal(signal.SIGSTOP)
        try:
            client.send(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
            back.end_all()
        finally:
            worker.send_signal(signal.SIGCONT)
        assert client.response("GET").status == 200
    assert back.asked.count("/last") == 1


class Ends(Dies):
    """Ends its first connection when another one brings /end. `late`: what should have missed it came there before."""

    late = False

    def serve(self, sock: socket.socket, number: int) -> None:
        conn = RawConnection(sock, number, self.stopping)
        self.sockets.append(sock)
        try:
            while head := conn.recv_head():
                self.asked.append(head.split(b" ")[1].decode())
                self.late |= number == 0 and self.asked[-1] == "/last"
                if self.asked[-1] == "/end":
                    self.sockets[0].shutdown(socket.SHUT_RDWR)
                conn.send(ok(b"fine"))
        except OSError:
            pass


def test_a_server_whose_connection_ends_while_the_worker_is_busy_is_asked(world, run_lb):
    """The end comes when epoll has been asked, and before the request is sent: only the kernel's queue tells of it.

    One turn of the worker: a request by which the server ends the other connection; expressions that reach their limit,
    for as long as that takes it; then the request that is sent on what has ended. Should the server be too slow for
    that, the request is answered as any other, or nobody can tell whether it was.
    """
    back = Ends()
    world.listeners.append(back)
    upstreams = f"""
        upstream u {{ server {back.address}; server 127.0.0.1:{world.closed_port()} fail_timeout=60; keepalive 8; }}
        upstream other {{ server {back.address}; }}"""
    places = """location / { proxy_pass http://u; } location /end { proxy_pass http://other; }
        location /busy { if ($args ~ ^(a+)+$) { return 403; } return 200; }"""
    lb = run_lb(TWO, upstreams=upstreams, places=places)
    lb.expect_log("connect|upstream|pcre2")
    (worker,) = lb.workers
    with lb.client() as client, lb.client() as ends, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(lb.client()) for _ in range(8)]
        for path in range(4):
            assert client.request(target=f"/{path}").status == 200
        assert ends.request(target="/end/not/yet").status == 200
        worker.send_signal(signal.SIGSTOP)
        try:
            ends.send(b"GET /end HTTP/1.1\r\nHost: a\r\n\r\n")
            for one in busy:
                one.send(b"GET /busy?%s! HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 60))
            client.send(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
        finally:
            worker.send_signal(signal.SIGCONT)
        if client.response("GET").status != 200:
            wait_for(lambda: back.late, "the request came to the connection before its end")
        else:
            assert back.asked.count("/last") == 1
        assert [one.response("GET").status for one in busy] == [500] * 8
        assert ends.response("GET").status == 200
