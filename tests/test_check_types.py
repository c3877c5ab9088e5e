"""Types of active checks: what each sends, byte for byte, and what it takes for alive, against servers that answer anything."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import _probe
from tests.harness.backend import RawBackend, RawConnection, Reply
from tests.harness.tls_socket import material
from tests.harness.wait import free_port, wait_for
from tests.tls_authority import authority
from tests.tls_servers import s_server as s_server
from tests.tls_servers import tls_server as tls_server

CHECK = "check interval=200 rise=1 fall=1 timeout={timeout} type={kind};"
ALIVE = None
Script = Callable[[RawConnection], None]


class Verdicts:
    """An lb with one upstream for each server: what its checks say."""

    def __init__(self, run_lb) -> None:
        self.run_lb = run_lb
        self.upstreams: dict[str, list[str]] = {"http": [], "stream": []}
        self.expected: dict[str, str | None] = {}

    def add(self, address: str, expected: str | None, kind: str, lines: str = "", timeout: int = 2000, where="http"):
        check = CHECK.format(kind=kind, timeout=timeout)
        name = f"u{len(self.expected)}"
        self.upstreams[where].append(f"upstream {name} {{ server {address}; {check} {lines} }}")
        self.expected[address] = expected

    def run(self):
        """The log has for each server what was expected of it. In http and in stream."""
        http, stream = ("\n".join(self.upstreams[where]) for where in ("http", "stream"))
        lb = self.run_lb(
            f"http {{ {http}\nserver {{ listen 127.0.0.1:@http@; return 204; }} }} stream {{ {stream}\n }}",
        )
        for address, text in self.expected.items():
            line = f"enable check peer: {address} ," if text is ALIVE else f"disable check peer: {address} : {text}"
            lb.wait_log(re.escape(line))
            assert (f"disable check peer: {address} " in lb.log) == (text is not ALIVE), lb.log
        return lb


@pytest.fixture
def verdicts(run_lb) -> Verdicts:
    return Verdicts(run_lb)


def says(*parts: bytes, then: str = "") -> Script:
    """Sends these, each by itself, and waits for the end; `then`: "close", "half" or "reset"."""

    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            for part in parts:
                connection.send(part)
            if then == "reset":
                connection.reset()
            elif then == "half":
                connection.half_close()
            if then != "close":
                connection.recv_to_end()

    return script


def hears(count: int, *parts: bytes, then: str = "") -> Script:
    """Reads so many bytes first; again and again, unless something comes `then`."""

    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            while not then:
                connection.recv_exactly(count)
                for part in parts:
                    connection.send(part)
            connection.recv_exactly(count)
            says(*parts, then=then)(connection)

    return script


def single(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def flood(head: bytes = b"") -> Script:
    """100 MB, as fast as they are taken."""

    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            connection.recv()
            connection.send(head)
            for _ in range(100):
                connection.send(b"x" * (1 << 20))

    return script


def asked(backend: RawBackend, count: int) -> bytes:
    """The first bytes that a connection brought."""
    wait_for(lambda: any(len(one.received) >= count for one in list(backend.connections)))
    return next(one.received for one in backend.connections if len(one.received) >= count)


# ---- the module's types

GOOD_HELLO = b"\x16\x03\x03\x00\x4a\x02\x00\x00\x46\x03\x03" + bytes(32) + b"\x20" + bytes(16)
BAD_HTTP: dict[str, tuple[Script, str | None]] = {
    "garbage": (says(b"SSH-2.0-OpenSSH_9\r\n"), "invalid answer"),
    "nothing": (hears(18), "timed out while waiting for the answer"),
    "closed": (hears(18, then="close"), "the server closed the connection"),
    "half closed": (hears(18, then="half"), "the server closed the connection"),
    "reset": (hears(18, then="reset"), "the connection broke"),
    "part": (hears(18, b"HTTP/1.", then="close"), "the server closed the connection"),
    "bytes": (hears(18, *single(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")), ALIVE),
    "no head's end": (hears(18, b"HTTP/1.1 200 OK\r\n"), ALIVE),
    "half a body": (hears(18, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), ALIVE),
    "half a body and reset": (hears(18, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", then="reset"), None),
    "500": (hears(18, b"HTTP/1.0 500 no\r\n\r\n", then="close"), "refusing answer 500"),
    "600": (hears(18, b"HTTP/1.0 600 no\r\n\r\n", then="close"), "refusing answer 600"),
    "flood": (flood(b"HTTP/1.1 200 OK\r\n\r\n"), ALIVE),
    "flood of garbage": (flood(), "invalid answer"),
    "status without end": (hears(18, b"HTTP/1.1 " + b" " * 100), "invalid answer"),
}
BAD_TYPES: dict[str, dict[str, tuple[Script, str | None]]] = {
    "tcp": {
        "silent": (says(), ALIVE),
        "talks": (says(b"220 hello\r\n"), ALIVE),
    },
    "ssl_hello": {
        "hello": (hears(116, GOOD_HELLO), ALIVE),
        "byte by byte": (hears(116, *single(GOOD_HELLO)), ALIVE),
        "too short": (hears(116, GOOD_HELLO[:46], then="close"), "the server closed the connection"),
        "alert": (hears(116, b"\x15\x03\x03\x00\x02\x02\x28"), "refusing answer 40"),
        "alert byte by byte": (hears(116, *single(b"\x15\x03\x03\x00\x02\x02\x28")), "refusing answer 40"),
        "another message": (hears(116, b"\x16\x03\x03\x00\x4a\x01" + bytes(60)), "invalid answer"),
        "plain http": (hears(116, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "invalid answer"),
        "reset": (hears(116, then="reset"), "the connection broke"),
        "nothing": (hears(116), "timed out while waiting for the answer"),
    },
    "mysql": {
        "greeting": (says(b"\x4a\x00\x00\x00\x0a8.0.36\x00"), ALIVE),
        "byte by byte": (says(*single(b"\x4a\x00\x00\x00\x0a8.0.36\x00")), ALIVE),
        "error": (says(b"\x17\x00\x00\x00\xff\x10\x04Too many connections"), "refusing answer 1040"),
        "another packet": (says(b"\x07\x00\x00\x02\x00\x00\x00"), "invalid answer"),
        "nothing": (says(), "timed out while waiting for the answer"),
        "closed": (says(b"\x4a\x00", then="close"), "the server closed the connection"),
    },
    "ajp": {
        "cpong": (hears(5, b"AB\x00\x01\x09"), ALIVE),
        "byte by byte": (hears(5, *single(b"AB\x00\x01\x09")), ALIVE),
        "garbage": (hears(5, b"AB\x00\x01\x08"), "invalid answer"),
        "closed": (hears(5, b"AB", then="close"), "the server closed the connection"),
    },
    "fastcgi": {
        "stdout": (hears(16, b"\x01\x06\x00\x01\x00\x10\x00\x00Status: 302\r\n\r\nx"), ALIVE),
        "byte by byte": (hears(16, *single(b"\x01\x06\x00\x01\x00\x04\x00\x00\r\n\r\n")), ALIVE),
        "status": (hears(16, b"\x01\x06\x00\x01\x00\x0f\x00\x00Status: 404\r\n\r\n"), "refusing answer 404"),
        "stderr": (hears(16, b"\x01\x07\x00\x01\x00\x04\x00\x00oops"), "refusing answer 7"),
        "a body that speaks of a status": (
            hears(16, b"\x01\x06\x00\x01\x00\x15\x00\x00A: b\r\n\r\nStatus: 500\r\n"),
            ALIVE,
        ),
        "another version": (hears(16, b"\x02\x06\x00\x01\x00\x04\x00\x00\r\n\r\n"), "invalid answer"),
        "flood": (flood(), "invalid answer"),
        "nothing": (hears(16), "timed out while waiting for the answer"),
    },
}


@pytest.mark.parametrize("where", ["http", "stream"])
def test_http_against_servers_that_answer_anything(verdicts, raw_backend, where):
    for script, expected in BAD_HTTP.values():
        verdicts.add(raw_backend(script).address, expected, "http", where=where)
    verdicts.run()


@pytest.mark.parametrize("where", ["http", "stream"])
def test_the_other_types_of_the_module(verdicts, raw_backend, where):
    for kind, cases in BAD_TYPES.items():
        for script, expected in cases.values():
            verdicts.add(raw_backend(script).address, expected, kind, where=where)
    for kind in ("tcp", "http", "ssl_hello", "mysql", "ajp", "fastcgi"):
        verdicts.add(f"127.0.0.1:{free_port()}", "connect() failed (111: Connection refused)", kind, where=where)
    verdicts.run()


def test_what_they_send(verdicts, raw_backend):
    backends = {kind: raw_backend(says()) for kind in ("tcp", "http", "ssl_hello", "mysql", "ajp", "fastcgi")}
    for kind, backend in backends.items():
        verdicts.add(backend.address, ALIVE if kind == "tcp" else "timed out", kind)
    verdicts.run()
    assert backends["tcp"].received == backends["mysql"].received == b""
    assert asked(backends["http"], 18) == b"GET / HTTP/1.0\r\n\r\n"
    assert asked(backends["ajp"], 5) == b"\x12\x34\x00\x01\x0a"
    hello = asked(backends["ssl_hello"], 116)
    assert len(hello) == 116 and hello[:11] == b"\x16\x03\x01\x00\x6f\x01\x00\x00\x6b\x03\x03"
    assert hello[43:46] == b"\x00\x00\x1a"  # no session; 13 suites
    name = _probe.hello([hello])
    assert name == ("done", b"", "TLSv1.2", b"")
    params = b"\x0e\x03REQUEST_METHODGET\x0b\x01REQUEST_URI/\x0f\x09SCRIPT_FILENAMEindex.php"
    whole = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01" + bytes(6)
    whole += b"\x01\x04\x00\x01" + len(params).to_bytes(2, "big") + b"\x00\x00" + params
    whole += b"\x01\x04\x00\x01" + bytes(4) + b"\x01\x05\x00\x01" + bytes(4)
    assert asked(backends["fastcgi"], len(whole)) == whole


def test_a_real_server_of_tls(verdicts, s_server):
    verdicts.add(f"127.0.0.1:{s_server('-tls1_2').port}", ALIVE, "ssl_hello")
    verdicts.add(f"127.0.0.1:{s_server('-tls1_3').port}", "refusing answer 70", "ssl_hello")  # protocol_version
    verdicts.run()


def test_the_connection_is_not_waited_for_where_the_answer_has_no_body(run_lb, http_backend):
    """An answer to HEAD has a length, and no bytes: each check took until its time-out, and failed."""
    backend = http_backend(lambda request: Reply(body=b"not sent"))
    lb = run_lb(
        r"""http { upstream u { server @up@; check interval=20 rise=1 fall=1 timeout=60s type=http;
            check_http_send "HEAD / HTTP/1.1\r\nHost: $check_host\r\n\r\n"; }
            server { listen 127.0.0.1:@http@; return 204; } }""",
        up=backend.address,
    )
    wait_for(lambda: len(backend.requests) >= 5)
    assert {one.method for one in backend.requests} == {"HEAD"} and backend.accepted == 1
    assert "disable" not in lb.log


@contextlib.contextmanager
def listener(family: int, address) -> Iterator[tuple[socket.socket, list[bytes]]]:
    """Answers every connection's first bytes with a 200, and keeps them."""
    got: list[bytes] = []
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(address)
    sock.listen()

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            got.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                one(sock.accept()[0])

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield sock, got
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        thread.join(10)


def test_unix_sockets_and_ipv6(run_lb, tmp_path):
    """`port=` is that of IPv4 and IPv6; a unix socket is asked itself (with the module it is not checked at all)."""
    path = tmp_path / "s.sock"
    send = r'check_http_send "GET $check_host|$check_port|$check_addr|$check_upstream HTTP/1.0\r\n\r\n";'
    with (
        listener(socket.AF_UNIX, str(path)) as (_, unix),
        listener(socket.AF_INET6, ("::1", 0)) as (six, got),
    ):
        path.chmod(0o777)
        tmp_path.chmod(0o755)
        port, other = six.getsockname()[1], free_port()
        lb = run_lb(
            f"""http {{ upstream a {{ server unix:{path}; check interval=50 rise=1 type=http port=1; {send} }}
                upstream b {{ server [::1]:{other}; check interval=50 rise=1 type=http port={port}; {send} }}
                server {{ listen 127.0.0.1:@http@; return 204; }} }}"""
        )
        lb.wait_log(re.escape(f"enable check peer: unix:{path} "))
        lb.wait_log(re.escape(f"enable check peer: [::1]:{other} "))
        assert unix[0] == b"GET unix:%s||unix:%s|a HTTP/1.0\r\n\r\n" % ((str(path).encode(),) * 2)
        assert got[0] == b"GET [::1]|%d|[::1]:%d|b HTTP/1.0\r\n\r\n" % (other, other)


@pytest.mark.parametrize(
    "text",
    [
        r'"GET /a HTTP/1.0\r\nX: \"q\" \\ \t$\r\n\r\n"',
        r"'GET /a HTTP/1.0\r\nX: " + '"q"' + r" \\ \t$\r\n\r\n'",
        r"GET\ /a\ HTTP/1.0\r\nX:\ \"q\"\ \\\ \t$\r\n\r\n",
    ],
    ids=["double quotes", "single quotes", "no quotes"],
)
def test_escapes_reach_the_server_as_nginx_reads_them(verdicts, raw_backend, text):
    backend = raw_backend(hears(20, b"HTTP/1.0 200 OK\r\n\r\n"))
    verdicts.add(backend.address, ALIVE, "http", f"check_http_send {text};")
    verdicts.run()
    sent = b'GET /a HTTP/1.0\r\nX: "q" \\ \t$\r\n\r\n'
    expected = sent if not text.startswith("GET") else sent.replace(b" ", b"\\ ")  # outside quotes the backslash stays
    assert asked(backend, len(expected)) == expected


# ---- send and expect


def test_send_and_expect(verdicts, raw_backend):
    hello = says(b"220 ready\r\n")
    verdicts.add(raw_backend(hello).address, ALIVE, "tcp", "check_expect 220;", where="stream")
    verdicts.add(raw_backend(hello).address, ALIVE, "tcp", 'check_expect ~ "^2[0-9]+ READY|^220 rea";')
    verdicts.add(raw_backend(hello).address, ALIVE, "tcp", "check_expect ~* READY\\s*$;", where="stream")
    verdicts.add(raw_backend(hello).address, "timed out while waiting", "tcp", "check_expect ~ READY;")
    verdicts.add(raw_backend(says(*single(b"a b c done"))).address, ALIVE, "tcp", "check_expect done;")
    closes = raw_backend(says(b"421 no\r\n\x01", then="close"))
    verdicts.add(closes.address, "expected text not found: 421 no...", "tcp", "check_expect 220;")
    verdicts.add(raw_backend(says(then="close")).address, "the server closed", "tcp", "check_expect 220;")
    verdicts.add(
        raw_backend(flood()).address, "expected text not found", "tcp", 'check_send "hi\\n"; check_expect 220;'
    )
    good = raw_backend(hears(6, b"+PONG\r\n"))
    verdicts.add(good.address, ALIVE, "tcp", r'check_send "PING\r\n"; check_expect +PONG;')
    verdicts.add(raw_backend(hears(4, b"?")).address, ALIVE, "tcp", "check_send ping;", where="stream")
    verdicts.add(raw_backend(hears(4)).address, "timed out while waiting", "tcp", "check_send ping;", where="stream")
    evil = raw_backend(says(b"a" * 40 + b"!", then="close"))  # reaches PCRE2's limits without JIT's help
    verdicts.add(evil.address, "expected text not found", "tcp", 'check_expect ~ "^(a|a?)+$";', timeout=5000)
    verdicts.run()
    assert asked(good, 6) == b"PING\r\n"


def body(data: bytes, fields: bytes = b"", chunks: int = 0) -> bytes:
    head = b"HTTP/1.1 200 OK\r\n" + fields
    if not chunks:
        return head + b"Content-Length: %d\r\n\r\n" % len(data) + data
    parts = [data[i : i + chunks] for i in range(0, len(data), chunks)]
    return (
        head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%s\r\n" % (len(x), x) for x in parts)
        + b"0\r\n\r\n"
    )


def test_status_body_and_fields(verdicts, raw_backend):
    def add(answer: bytes, expected: str | None, lines: str, then: str = "", one_by_one: bool = False) -> None:
        parts = single(answer) if one_by_one else [answer]
        verdicts.add(raw_backend(hears(18, *parts, then=then)).address, expected, "http", lines, timeout=2000)

    here = "check_http_expect_body alive;"
    add(body(b"I am alive!"), ALIVE, here)
    add(body(b"I am dead!"), "expected text not found: I am dead!", here)
    add(body(b"I am alive!", chunks=3), ALIVE, here)
    add(body(b"I am alive!", chunks=3), ALIVE, here, one_by_one=True)
    add(body(b"I am alive!"), ALIVE, here, one_by_one=True)
    add(b"HTTP/1.0 200 OK\r\n\r\nI am alive", ALIVE, here, then="close")
    add(
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nI am alive",
        "the server closed the connection",
        here,
        then="close",
    )
    add(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nalive\r\n", "the server closed", here, then="close")
    add(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nalive\r\n", "invalid answer", here)
    add(b"HTTP/1.1 200 OK\r\nbad field\r\n\r\nalive", "invalid answer", here, then="close")
    add(body(b"x" * 40_000 + b"alive" + b"y" * 900_000), ALIVE, here)
    add(body(b"x" * 70_000 + b"alive"), "expected text not found: xxx", here)
    add(body(b"", b"X: alive\r\n"), "expected text not found", here)
    add(body(b'{"status": "UP"}'), ALIVE, """check_http_expect_body ~ '"status":\\s*"UP"';""")
    add(body(b'{"status": "up"}'), "expected text not found", """check_http_expect_body ~ '"status":\\s*"UP"';""")
    add(body(b'{"status": "up"}'), ALIVE, """check_http_expect_body ~* '"status":\\s*"UP"';""")
    add(b"HTTP/1.1 418 x\r\n\r\n", ALIVE, "check_http_expect_status 200-204 418;", then="close")
    add(b"HTTP/1.1 205 x\r\n\r\n", "refusing answer 205", "check_http_expect_status 200-204 418;", then="close")
    field = "check_http_expect_header X-Role ~ ^prim; check_http_expect_header x-ok;"
    add(body(b"", b"x-role: other\r\nX-Role: primary\r\nX-OK: \r\n"), ALIVE, field)
    add(body(b"", b"X-Role: primary\r\n"), "expected text not found: x-ok", field)
    add(body(b"", b"X-Role: not prim\r\nX-OK: 1\r\n"), "expected text not found: X-Role", field)
    add(b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 70_000, "answer too large", field)
    add(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 9_000 + b"\r\n", "invalid answer", field)  # too many
    verdicts.run()


def test_a_connection_is_kept_where_a_body_is_looked_at(run_lb, http_backend):
    backends = [http_backend(lambda _: Reply(body=b"alive")), http_backend(lambda _: Reply(chunks=[b"al", b"ive"]))]
    upstreams = "".join(
        f"upstream u{i} {{ server {one.address}; check interval=20 rise=1 fall=1 type=http; check_http_expect_body alive; "
        r'check_http_send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"; }'
        for i, one in enumerate(backends)
    )
    lb = run_lb(f"http {{ {upstreams} server {{ listen 127.0.0.1:@http@; return 204; }} }}")
    for one in backends:
        wait_for(lambda one=one: len(one.requests) >= 5)
        assert one.accepted == 1
    assert "disable" not in lb.log


# ---- https


def test_https(run_lb, tls_server, connect):
    """SNI, a handshake for each connection, kept connections, sessions used again."""
    plain, named = tls_server(), tls_server(version="1.2")
    lb = run_lb(
        """http { upstream a { server 127.0.0.1:@a@; check interval=30 rise=1 fall=1 type=https; }
            upstream b { server 127.0.0.1:@b@; check interval=30 rise=1 fall=1 type=https; check_ssl_name www.example;
                check_keepalive_requests 1; check_http_send "GET /up HTTP/1.1\\r\\nHost: b\\r\\n\\r\\n"; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://a; } } }""",
        a=plain.port,
        b=named.port,
    )
    lb.wait_log(f"enable check peer: 127.0.0.1:{plain.port} ")
    lb.wait_log(f"enable check peer: 127.0.0.1:{named.port} ")
    wait_for(lambda: len(plain.heads) >= 4 and len(named.heads) >= 4)
    assert plain.heads[0] == b"GET / HTTP/1.0\r\n\r\n" and named.heads[0].startswith(b"GET /up ")
    assert set(plain.names) == {None} and set(named.names) == {"www.example"}
    wait_for(lambda: named.reused.count(True) >= 2)
    assert "disable" not in lb.log


def test_https_that_fails(verdicts, raw_backend, tls_server):
    ours = authority()
    trust = f"check_ssl_trusted_certificate {ours.file('ca.pem')}; check_ssl_verify on;"
    verdicts.add(
        f"127.0.0.1:{tls_server(ours.file('server.pem'), ours.file('server.key')).port}",
        ALIVE,
        "https",
        f"{trust} check_ssl_name localhost;",
    )
    verdicts.add(
        f"127.0.0.1:{tls_server(ours.file('server.pem'), ours.file('server.key')).port}",
        'TLS handshake failed: upstream SSL certificate does not match "127.0.0.1"',
        "https",
        trust,
    )
    verdicts.add(
        f"127.0.0.1:{tls_server(*material()).port}",
        "TLS handshake failed: upstream SSL certificate verify error: (18:self",
        "https",
        f"{trust} check_ssl_name localhost;",
        where="stream",
    )
    plain = raw_backend(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    verdicts.add(plain.address, "TLS handshake failed: SSL_do_handshake() failed (SSL: error:", "https")
    verdicts.add(
        raw_backend(says(then="close")).address,
        "TLS handshake failed: peer closed connection in SSL handshake",
        "https",
    )
    verdicts.add(raw_backend(says()).address, "timed out while TLS handshaking", "https")
    verdicts.add(f"127.0.0.1:{tls_server(serve=lambda _, tls: tls.recv(1)).port}", "the ", "https")
    verdicts.run()


# ---- gRPC


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


SETTINGS = frame(4, 0, 0, b"\x00\x03\x00\x00\x00\x64")
OPENING = SETTINGS + frame(8, 0, 0, b"\x00\x0f\x00\x00") + frame(4, 1, 0) + frame(6, 0, 0, bytes(8))
HEADERS = frame(1, 4, 1, b"\x88\x5f\x10application/grpc")
MESSAGE = frame(0, 0, 1, b"\x00\x00\x00\x00\x02\x08\x01")
TRAILERS = frame(1, 5, 1, b"\x40\x0bgrpc-status\x010")


def status(code: bytes) -> bytes:
    return frame(1, 5, 1, b"\x88\x40\x0bgrpc-status" + bytes([len(code)]) + code)


GRPC: dict[str, tuple[bytes, tuple]] = {
    "serving": (OPENING + HEADERS + MESSAGE + TRAILERS, ("done", 200, 0, 1, -1)),
    "not serving": (OPENING + HEADERS + MESSAGE[:-1] + b"\x02" + TRAILERS, ("done", 200, 0, 2, -1)),
    "unknown": (SETTINGS + HEADERS + frame(0, 0, 1, bytes(5)) + TRAILERS, ("done", 200, 0, 0, -1)),
    "no such method": (SETTINGS + status(b"12"), ("done", 200, 12, -1, -1)),
    "a message before its status": (SETTINGS + HEADERS + MESSAGE + status(b"5"), ("done", 200, 5, 1, -1)),
    "message in two": (
        SETTINGS + HEADERS + frame(0, 0, 1, b"\x00\x00\x00") + frame(0, 8, 1, b"\x02\x00\x02\x08\x01zz") + TRAILERS,
        ("done", 200, 0, 1, -1),
    ),
    "padded, with priority": (
        SETTINGS + frame(1, 4 | 8 | 32, 1, b"\x03\x00\x00\x00\x00\x10\x88xyz") + MESSAGE + TRAILERS,
        ("done", 200, 0, 1, -1),
    ),
    "continuation": (
        SETTINGS + frame(1, 1, 1, b"\x88\x40\x0bgrpc") + frame(9, 0, 1, b"-status") + frame(9, 4, 1, b"\x0212"),
        ("done", 200, 12, -1, -1),
    ),
    "another frame in a block": (SETTINGS + frame(1, 1, 1, b"\x88") + frame(6, 0, 0, bytes(8)), ("bad",)),
    "1xx": (SETTINGS + frame(1, 4, 1, b"\x08\x03103") + HEADERS + MESSAGE + TRAILERS, ("done", 200, 0, 1, -1)),
    "http 503": (SETTINGS + frame(1, 5, 1, b"\x08\x03503"), ("done", 503, -1, -1, -1)),
    "reset": (SETTINGS + frame(3, 0, 1, b"\x00\x00\x00\x07"), ("done", -1, -1, -1, 7)),
    "going away": (SETTINGS + frame(7, 0, 0, bytes(4) + b"\x00\x00\x00\x0b"), ("done", -1, -1, -1, 11)),
    "going away after it": (
        SETTINGS + frame(7, 0, 0, b"\x7f\xff\xff\xff" + bytes(4)) + HEADERS + MESSAGE + TRAILERS,
        ("done", 200, 0, 1, -1),
    ),
    "compressed": (SETTINGS + HEADERS + frame(0, 0, 1, b"\x01\x00\x00\x00\x02\x08\x01") + TRAILERS, ("bad",)),
    "ends without trailers": (SETTINGS + HEADERS + frame(0, 1, 1, MESSAGE[9:]), ("done", 200, -1, 1, -1)),
    "no settings": (HEADERS, ("bad",)),
    "http/1": (b"HTTP/1.1 400 Bad Request\r\n\r\n", ("bad",)),
    "a bad index": (SETTINGS + frame(1, 5, 1, b"\xff\x40"), ("bad",)),
    "too large a frame": (SETTINGS + frame(0, 0, 1, b"")[:0] + b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", ("bad",)),
}


@pytest.mark.parametrize("name", GRPC)
def test_an_answer_of_grpc_cut_at_every_byte(name):
    data, expected = GRPC[name]
    assert _probe.grpc(data) == expected
    for i in range(len(data)):
        assert _probe.grpc(data[:i]) in (("more",), expected), i


def test_grpc_does_not_fall_over_anything():
    dice = random.Random(14)
    samples = [data for data, _ in GRPC.values()]
    for _ in range(4000):
        data = bytearray(dice.choice(samples))
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        _probe.grpc(bytes(data), 64)
        _probe.hpack([bytes(data[9:])])


def test_hpack_as_its_library():
    """Blocks by PyPI's hpack, with Huffman's code, a dynamic table that overflows, and sizes that change."""
    from hpack import Encoder

    dice = random.Random(7541)
    names = [":status", "grpc-status", "grpc-message", "content-type", "server", "x-" + "y" * 300, "cookie"]
    for _ in range(60):
        encoder, blocks, expected = Encoder(), [], []
        for _ in range(30):
            if dice.random() < 0.15:
                encoder.header_table_size = dice.choice([0, 64, 200, 1000, 4096])
            fields = []
            for name in dice.sample(names, dice.randrange(1, 5)):
                number = dice.choice(["200", "204", "404", "503", "0", "12", "5"])
                text = bytes(dice.randrange(32, 256) for _ in range(dice.choice([0, 3, 60, 900])))
                fields.append((name.encode(), number.encode() if "status" in name else text))
            blocks.append(encoder.encode(fields, huffman=dice.random() < 0.7))
            found = dict(fields)
            expected.append((int(found.get(b":status", -1)), int(found.get(b"grpc-status", -1))))
        assert _probe.hpack(blocks) == expected


def test_grpc_in_lb(verdicts, raw_backend):
    texts = {
        "serving": ALIVE,
        "not serving": "refusing answer 2: serving status",
        "no such method": "refusing answer 12: grpc-status",
        "a message before its status": "refusing answer 5: grpc-status",
        "http 503": "refusing answer 503: HTTP status",
        "reset": "refusing answer 7: error of HTTP/2",
        "ends without trailers": "invalid answer: no grpc-status",
        "http/1": "invalid answer",
    }
    for name, expected in texts.items():
        verdicts.add(raw_backend(hears(24, GRPC[name][0])).address, expected, "grpc")
    slow = raw_backend(hears(24, *single(GRPC["serving"][0])))
    verdicts.add(slow.address, ALIVE, "grpc", "check_grpc_service shop;", timeout=5000, where="stream")
    twelve = raw_backend(hears(24, GRPC["no such method"][0]))
    verdicts.add(twelve.address, ALIVE, "grpc", "check_grpc_status 12;")
    verdicts.add(raw_backend(flood()).address, "invalid answer", "grpc")
    verdicts.run()


@pytest.mark.parametrize("kind", ["grpc", "grpcs"])
def test_a_real_server_of_grpc(run_lb, world, kind):
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if kind == "grpc":
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        certificate, key = (Path(one).read_bytes() for one in material())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    world.own_remotes.add(port)
    servicer.set("shop", health_pb2.HealthCheckResponse.SERVING)
    server.start()
    try:
        lb = run_lb(
            """http { upstream a { server 127.0.0.1:@up@; check interval=50 rise=1 fall=1 timeout=5s type=@kind@;
                    check_grpc_service shop; }
                upstream whole { server 127.0.0.1:@up@; check interval=50 rise=1 fall=1 timeout=5s type=@kind@; }
                upstream none { server 127.0.0.1:@up@; check interval=50 rise=1 fall=1 timeout=5s type=@kind@;
                    check_grpc_service stranger; }
                server { listen 127.0.0.1:@http@; location / { proxy_pass http://a; } } }""",
            up=port,
            kind=kind,
        )
        lb.wait_log(f'enable check peer: 127.0.0.1:{port} , upstream: "a"')
        lb.wait_log(f'enable check peer: 127.0.0.1:{port} , upstream: "whole"')
        lb.wait_log(f'disable check peer: 127.0.0.1:{port} : refusing answer 5: grpc-status, upstream: "none"')
        servicer.set("shop", health_pb2.HealthCheckResponse.NOT_SERVING)
        lb.wait_log(f'disable check peer: 127.0.0.1:{port} : refusing answer 2: serving status, upstream: "a"')
    finally:
        server.stop(None).wait()


# ---- databases

REDIS: dict[bytes, tuple[str, str | None]] = {
    b"+PONG\r\n": ("alive", ALIVE),
    b"-NOAUTH Authentication required.\r\n": ("alive", ALIVE),
    b"-NOPERM no permission for 'ping'\r\n": ("alive", ALIVE),
    b"-LOADING Redis is loading\r\n": ("refuses", "refusing answer: LOADING Redis is loading"),
    b"-MASTERDOWN Link is down\r\n": ("refuses", "refusing answer: MASTERDOWN Link is down"),
    b"-ERR unknown\r\n": ("refuses", "refusing answer: ERR unknown"),
    b"+OK\r\n": ("invalid", "invalid answer"),
    b"+PONG\n": ("invalid", "invalid answer"),
    b"$4\r\nPONG\r\n": ("invalid", "invalid answer"),
    b"HTTP/1.1 400\r\n": ("invalid", "invalid answer"),
    b"+" + b"x" * 600: ("invalid", "invalid answer"),
}


def refusal(code: bytes, message: bytes = b"the database system is starting up") -> bytes:
    fields = b"SFATAL\0VFATAL\0C" + code + b"\0M" + message + b"\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


POSTGRES: dict[bytes, tuple[str, str | None]] = {
    b"R\x00\x00\x00\x08\x00\x00\x00\x00": ("alive", ALIVE),
    b"R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00": ("alive", ALIVE),
    refusal(b"28000", b'role "lb" does not exist'): ("alive", ALIVE),
    refusal(b"3D000"): ("alive", ALIVE),
    refusal(b"57P03"): ("refuses", "refusing answer: the database system is starting up"),
    refusal(b"57P01", b"bye"): ("refuses", "refusing answer: bye"),
    refusal(b"5"): ("invalid", "invalid answer"),
    b"Ecould not fork new process\n\x00": ("invalid", "invalid answer"),
    b"N": ("invalid", "invalid answer"),
    b"E\x00\x00\x00\x0aSFATAL": ("invalid", "invalid answer"),
    b"R\x00\x00\x00\x04": ("invalid", "invalid answer"),
}


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_answers_of_databases_cut_at_every_byte(kind):
    read = getattr(_probe, kind)
    for data, (expected, _) in (REDIS if kind == "redis" else POSTGRES).items():
        assert read(data)[0] == expected, data
        for i in range(len(data)):
            assert read(data[:i])[0] in ("more", expected), (data, i)
    dice = random.Random(5432)
    for _ in range(4000):
        data = bytearray(dice.choice(list(REDIS if kind == "redis" else POSTGRES)))
        data[dice.randrange(len(data))] = dice.randrange(256)
        read(bytes(data))


@pytest.mark.parametrize(("kind", "question"), [("redis", 14), ("postgres", 35)])
def test_databases_in_lb(verdicts, raw_backend, kind, question):
    for i, (data, (_, expected)) in enumerate((REDIS if kind == "redis" else POSTGRES).items()):
        where = "http" if i % 2 else "stream"
        verdicts.add(raw_backend(hears(question, data)).address, expected, kind, where=where)
    verdicts.add(raw_backend(hears(question)).address, "timed out while waiting for the answer", kind)
    verdicts.add(raw_backend(hears(question, then="close")).address, "the server closed the connection", kind)
    verdicts.add(raw_backend(hears(question, then="reset")).address, "the connection broke", kind)
    last = raw_backend(hears(question, b"?"))
    verdicts.add(last.address, "invalid answer", kind)
    verdicts.run()
    sent = (
        b"*1\r\n$4\r\nPING\r\n"
        if kind == "redis"
        else bytes([0, 0, 0, 35, 0, 3, 0, 0]) + (b"user\0lb\0database\0postgres\0\0")
    )
    assert asked(last, question) == sent


def test_redis_keeps_its_connection(run_lb, raw_backend):
    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            while connection.recv_until(b"PING\r\n"):
                connection.send(b"+PONG\r\n")

    backend = raw_backend(script)
    run_lb(
        "stream { upstream u { server @up@; check interval=20 rise=1 type=redis; } "
        "server { listen 127.0.0.1:@tcp@; proxy_pass u; } }",
        up=backend.address,
    )
    wait_for(lambda: backend.received.count(b"PING") >= 5)
    assert backend.accepted == 1


@pytest.mark.skipif(not Path("/usr/lib/postgresql").exists(), reason="PostgreSQL is not installed")
def test_a_real_postgres(verdicts, tmp_path_factory, world):
    """As its user cannot be root: initdb and postgres run as `nobody`."""
    home = tmp_path_factory.mktemp("pg")
    for one in (home, *home.parents[:2]):
        one.chmod(0o755)
    data = home / "data"
    data.mkdir()
    bin_ = max(Path("/usr/lib/postgresql").glob("*/bin"))
    as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": ()} if Path.home().owner() == "root" else {}
    if as_nobody:
        subprocess.run(["chown", "nobody", data], check=True)
    secret = home / "secret"
    secret.write_text("secret")
    port = free_port()
    world.own_remotes.add(port)
    subprocess.run(
        [bin_ / "initdb", "-D", data, "-A", "scram-sha-256", f"--pwfile={secret}", "-N"],
        check=True,
        capture_output=True,
        cwd=data,
        **as_nobody,
    )
    command = [bin_ / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", data]
    server = subprocess.Popen(command, cwd=data, stderr=subprocess.DEVNULL, **as_nobody)
    try:
        wait_for(lambda: (data / "postmaster.pid").exists() and "ready" in (data / "postmaster.pid").read_text())
        verdicts.add(f"127.0.0.1:{port}", ALIVE, "postgres", timeout=5000)
        verdicts.run()
    finally:
        server.terminate()
        server.wait(30)


# ---- check_skip_when_served


def test_what_real_traffic_answers_is_not_asked(run_lb, http_backend, connect):
    checks, served = [], []
    bad = threading.Event()

    def answer(request):
        (checks if request.target == "/up" else served).append(request)
        return Reply(500 if bad.is_set() and request.target != "/up" else 200, b"x")

    backend = http_backend(answer)
    lb = run_lb(
        r"""worker_processes 2; http { access_log off; keepalive_requests 1000000;
            upstream u { server @up@; check interval=300 rise=1 fall=1 timeout=5s type=http; check_skip_when_served on;
                check_http_send "GET /up HTTP/1.1\r\nHost: u\r\n\r\n"; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }""",
        up=backend.address,
    )
    lb.wait_log("enable check")
    clients = [connect(lb.port("http")) for _ in range(2)]
    wait_for(lambda: len(checks) >= 2)

    def ask(rounds: int) -> int:
        """So many requests, a check's interval long and longer; how many checks came."""
        before = len(checks)
        for _ in range(rounds):
            for client in clients:
                client.request()
        return len(checks) - before

    ask(20)
    stop = threading.Event()
    ended = threading.Timer(1.5, stop.set)  # how long traffic flows; nothing is asserted of time
    ended.start()
    came = 0
    while not stop.is_set():
        came += ask(5)
    ended.join()
    assert came <= 2, (came, len(served))  # 5 intervals; one that was under way, and one of a machine that stood still
    before = len(checks)
    wait_for(lambda: len(checks) >= before + 2)  # silence: asked again
    bad.set()
    before = len(checks)
    while len(checks) < before + 2:  # answers of 500 are no proof of life
        clients[0].request()
