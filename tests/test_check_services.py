"""Active checks of services: HTTP over TLS, gRPC, Redis, PostgreSQL; answers cut at every byte, and real servers."""

from __future__ import annotations

import contextlib
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import _probe
from tests.check_verdicts import ALIVE, asked, flood, hears, says, single
from tests.check_verdicts import verdicts as verdicts
from tests.harness.backend import RawConnection
from tests.harness.lb import title_of
from tests.harness.tls_socket import material
from tests.harness.wait import free_port, wait_for
from tests.tls_authority import authority
from tests.tls_servers import tls_server as tls_server

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


class Frames:
    """The frames that a connection brings, behind the preface."""

    def __init__(self, connection: RawConnection) -> None:
        self.connection = connection
        self.seen: list[tuple[int, int, int, bytes]] = []
        assert connection.recv_exactly(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    def next(self) -> tuple[int, int, int, bytes]:
        head = self.connection.recv_exactly(9)
        data = self.connection.recv_exactly(int.from_bytes(head[:3], "big"))
        self.seen.append((head[3], head[4], int.from_bytes(head[5:], "big"), data))
        return self.seen[-1]

    def question(self) -> int:
        """Up to the end of the next one: its stream."""
        while (one := self.next())[0] != 0:
            pass
        assert one[1] == 1 and any(f[0] == 1 and f[2] == one[2] for f in self.seen)
        return one[2]


def on(stream: int, answer: bytes) -> bytes:
    """Frames of stream 1, for another one."""
    out = b""
    while answer:
        size = 9 + int.from_bytes(answer[:3], "big")
        out += answer[:5] + (stream.to_bytes(4, "big") if answer[5:9] == b"\0\0\0\1" else answer[5:9]) + answer[9:size]
        answer = answer[size:]
    return out


def test_grpc_asks_again_on_its_connection(run_lb, raw_backend):
    """A stream for each check; PING and SETTINGS are acknowledged; the server has a table; GOAWAY is no failure."""
    seen: list[list[tuple[int, int, int, bytes]]] = []
    leaving = frame(7, 0, 0, bytes(8))

    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            frames = Frames(connection)
            assert frames.question() == 1
            connection.send(SETTINGS + HEADERS + MESSAGE + TRAILERS + frame(6, 0, 0, b"12345678")[:11])
            connection.send(frame(6, 0, 0, b"12345678")[11:] + frame(4, 0, 0) + frame(8, 0, 0, b"\0\0\0\1"))
            for stream in range(3, 13, 2):
                assert frames.question() == stream
                place = 63 + (stream - 3) // 2  # of it: each HEADERS puts a field before it
                connection.send(on(stream, HEADERS + MESSAGE + frame(1, 5, 1, bytes([128 | place]))))
            seen.append(frames.seen)
            if len(seen) == 2:
                assert frames.question() == 13
                connection.send(leaving)  # has not seen it: asked again elsewhere
            elif len(seen) == 1:
                connection.send(leaving)  # between two checks
            else:
                connection.recv_to_end()

    backend = raw_backend(script)
    lb = run_lb(
        "stream { upstream u { server @up@; check interval=20 rise=1 fall=1 timeout=2s type=grpc; } "
        "server { listen 127.0.0.1:@tcp@; proxy_pass u; } }",
        up=backend.address,
    )
    wait_for(lambda: len(seen) >= 3)
    assert backend.accepted == 3
    for frames in seen:
        assert (6, 1, 0, b"12345678") in frames
        assert frames.count((4, 1, 0, b"")) == 2
    assert "disable" not in lb.log and "check failed" not in lb.log


def test_grpc_on_a_connection_that_cannot_serve_again(run_lb, raw_backend):
    """What no question asked for, and frames without end: the next check has a new connection."""

    def babbles(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            Frames(connection).question()
            connection.send(SETTINGS + HEADERS + MESSAGE + TRAILERS + frame(0, 0, 7, b"x"))
            connection.recv_to_end()

    def pings(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            Frames(connection).question()
            connection.send(SETTINGS + HEADERS + MESSAGE + TRAILERS)
            while True:
                connection.send(frame(6, 0, 0, bytes(8)) * 100)

    babbler, pinger = raw_backend(babbles), raw_backend(pings)
    check = "check interval=20 rise=1 fall=1 timeout=2s type=grpc;"
    lb = run_lb(
        f"stream {{ upstream u {{ server @a@; {check} }} upstream v {{ server @b@; {check} }} "
        "server { listen 127.0.0.1:@tcp@; proxy_pass u; } }",
        a=babbler.address,
        b=pinger.address,
    )
    wait_for(lambda: babbler.accepted >= 5 and pinger.accepted >= 5)
    assert "disable" not in lb.log


@pytest.mark.parametrize("kind", ["grpc", "grpcs"])
def test_a_real_server_of_grpc(run_lb, world, kind):
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    server = grpc.server(ThreadPoolExecutor(2))
    asked_for: list[str] = []
    servicer = health.HealthServicer()
    check = servicer.Check
    servicer.Check = lambda request, context: asked_for.append(request.service) or check(request, context)
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
        wait_for(lambda: asked_for.count("shop") >= 12 and asked_for.count("") >= 12)
        (checker,) = (one for one in lb.master.children() if title_of(one).startswith("lb: checker"))
        ends = [one.laddr.port for one in checker.net_connections("tcp") if one.raddr and one.raddr.port == port]
        count = len(asked_for)
        wait_for(lambda: len(asked_for) >= count + 12)
        kept = [one.laddr.port for one in checker.net_connections("tcp") if one.raddr and one.raddr.port == port]
        assert len(set(ends) & set(kept)) >= 2
        assert lb.log.count("disable check") == 1, lb.log
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


@pytest.mark.unsanitized("libasan goes into PostgreSQL, too, which then does not start")
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
