"""Types of active checks: what each sends, byte for byte, and what it takes for alive, whatever the servers answer."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from tests import _probe
from tests.check_verdicts import ALIVE, Script, asked, flood, hears, says, single
from tests.check_verdicts import verdicts as verdicts
from tests.harness.backend import Reply
from tests.harness.wait import free_port, wait_for
from tests.tls_servers import s_server as s_server

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
    lower = raw_backend(says(b"a" * 27 + b" ok"))  # a million backtracks: requests have ten, the checker has not
    verdicts.add(lower.address, "timed out while waiting for the answer: the expression reached a limit", "tcp",
                 'check_expect ~ "^(a|aa)+c|ok";')  # fmt: skip
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
        f"upstream u{i} {{ server {one.address}; check interval=20 rise=1 fall=1 type=http; "
        r'check_http_expect_body alive; check_http_send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"; }'
        for i, one in enumerate(backends)
    )
    lb = run_lb(f"http {{ {upstreams} server {{ listen 127.0.0.1:@http@; return 204; }} }}")
    for one in backends:
        wait_for(lambda one=one: len(one.requests) >= 5)
        assert one.accepted == 1
    assert "disable" not in lb.log


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
