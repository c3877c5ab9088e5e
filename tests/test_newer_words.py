"""Words of nginx 1.29 to 1.31, and proxy_bind: each does what it says."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

from tests.harness.backend import Reply
from tests.harness.wait import wait_for

HTTP = """
http {
    access_log off;
    upstream u { @head@ @servers@ }
    server {
        listen 127.0.0.1:@http@ @listen@;
        location / { proxy_pass http://u; @inside@ }
        location /two { proxy_pass http://u; @inside@ }
    }
}
"""
STREAM = """
stream {
    upstream u { @head@ @servers@ }
    server { listen @at@; proxy_pass u; @inside@ }
}
"""
TCP = STREAM.replace("@at@", "127.0.0.1:@tcp@")
SLOW_S = 0.5  # what a slow server takes


@pytest.fixture
def http(run_lb):
    def start(*servers, head="", inside="", listen=""):
        lines = " ".join(f"server {one if isinstance(one, str) else one.address};" for one in servers)
        return run_lb(HTTP, servers=lines, head=head, inside=inside, listen=listen)

    return start


# ---- keepalive N local


@pytest.mark.parametrize(
    ("head", "made"), [("", 2), ("keepalive 32 local;", 2), ("keepalive 32;", 1), ("keepalive 1 local;", 3)]
)
def test_keepalive_local(http, http_backend, connect, head, made):
    """A connection is for the location that made it, unless `local` is left out; the number counts all together."""
    backend = http_backend()
    client = connect(http(backend, head=head).port("http"))
    for path in ("/", "/two", "/"):
        assert client.request("GET", path).status == 200
    assert backend.accepted == made


# ---- server ... drain


def test_drain_gets_nothing_new(http, http_backend, connect):
    one, two = http_backend(), http_backend()
    client = connect(http(f"{one.address} drain", two).port("http"))
    assert {client.request().body for _ in range(4)} == {two.address.encode()}
    assert one.accepted == 0


# ---- least_time


def late_head(connection):
    while connection.recv_head():
        time.sleep(SLOW_S)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ns")


def late_body(connection):
    while connection.recv_head():
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
        time.sleep(SLOW_S)
        connection.send(b"s")


@pytest.mark.parametrize(
    ("words", "script", "avoided"),
    [("header", late_head, True), ("last_byte", late_head, True), ("last_byte", late_body, True),
     ("header", late_body, False)],
)  # fmt: skip
def test_least_time_avoids_the_slow_one(http, raw_backend, http_backend, connect, words, script, avoided):
    slow, fast = raw_backend(script), http_backend()
    client = connect(http(slow, fast, head=f"least_time {words};").port("http"))
    bodies = [client.request().body for _ in range(10)]
    assert b"s" in bodies  # nothing was known at first
    assert (bodies.count(b"s") <= 2) == avoided


def test_least_time_takes_turns_among_equals(http, http_backend, connect):
    one, two = http_backend(), http_backend()
    client = connect(http(one, two, head="least_time header;").port("http"))
    for _ in range(20):
        client.request()
    assert len(one.requests) >= 4 and len(two.requests) >= 4


def test_least_time_inflight(http, http_backend, connect):
    """A request that nobody answers makes its server look slow, though it has answered others at once."""
    held, free = threading.Event(), threading.Event()

    def holds_one(request):
        if request.target == "/hold":
            held.set()
            free.wait(20)
        return Reply(body=b"heavy")

    heavy, light = http_backend(holds_one), http_backend(lambda _: Reply(body=b"light"))
    lb = http(f"{heavy.address} weight=10", light, head="least_time header inflight;")
    waiting = connect(lb.port("http")).send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    assert held.wait(10)
    client = connect(lb.port("http"))
    wait_for(lambda: client.request().body == b"light")
    free.set()
    assert waiting.response().body == b"heavy"


@pytest.mark.parametrize("words", ["first_byte", "last_byte inflight"])
def test_stream_least_time(run_lb, raw_backend, connect, words):
    def speaks(text, after):
        def script(connection):
            time.sleep(after)
            connection.send(text)

        return script

    slow, fast = raw_backend(speaks(b"s", SLOW_S)), raw_backend(speaks(b"f", 0))
    servers = f"server {slow.address}; server {fast.address};"
    lb = run_lb(TCP, head=f"least_time {words};", servers=servers, inside="")
    texts = [connect(lb.port("tcp")).recv_to_end() for _ in range(10)]
    assert 1 <= texts.count(b"s") <= 2


def test_least_time_in_a_long_list(http, http_backend, raw_backend, connect):
    """More servers than are looked at for one choice."""
    slow = [raw_backend(late_head) for _ in range(3)]
    fast = [http_backend() for _ in range(5)]
    client = connect(http(*slow, *fast, head="least_time header;").port("http"))
    bodies = [client.request().body for _ in range(40)]
    assert bodies.count(b"s") <= 6
    assert all(one.requests for one in fast)


# ---- proxy_bind


@pytest.fixture
def seen(raw_backend):
    """A server that answers with the address that a connection comes from."""

    def script(connection):
        while connection.recv_head():
            text = connection.sock.getpeername()[0].encode()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    return raw_backend(script)


def test_proxy_bind(http, seen, connect):
    client = connect(http(seen, inside="proxy_bind 127.0.0.2;").port("http"))
    assert client.request().body == b"127.0.0.2"


def test_proxy_bind_with_variables_and_the_pool(http, seen, connect):
    """Each address has its own connections; an empty one and one that is none are the system's choice, as in nginx."""
    lb = http(seen, inside="proxy_bind $arg_b;", head="keepalive 32;")
    client = connect(lb.port("http"))
    for given, got in (
        ("127.0.0.3", "127.0.0.3"),
        ("127.0.0.4", "127.0.0.4"),
        ("", "127.0.0.1"),
        ("127.0.0.3", "127.0.0.3"),
        ("127.0.0.4", "127.0.0.4"),
        ("nonsense", "127.0.0.1"),
    ):
        assert client.request("GET", f"/?b={given}").body.decode() == got
    assert seen.accepted == 3
    assert 'invalid local address "nonsense"' in lb.log


def test_proxy_bind_with_a_port(http, seen, connect):
    lb = http(seen, inside="proxy_bind $arg_b;")
    with socket.socket() as other:
        other.bind(("127.0.0.5", 0))
        port = other.getsockname()[1]
    assert connect(lb.port("http")).request("GET", f"/?b=127.0.0.5:{port}").body == b"127.0.0.5"


def test_proxy_bind_off(run_lb, seen, connect):
    text = """
    http {
        proxy_bind 127.0.0.2;
        server { listen 127.0.0.1:@http@; location / { proxy_bind off; proxy_pass http://@to@; } }
    }
    """
    assert connect(run_lb(text, to=seen.address).port("http")).request().body == b"127.0.0.1"


def test_proxy_bind_in_stream(run_lb, raw_backend, connect):
    backend = raw_backend(lambda connection: connection.send(connection.sock.getpeername()[0].encode()))
    lb = run_lb(TCP, head="", servers=f"server {backend.address};", inside="proxy_bind 127.0.0.9;")
    assert connect(lb.port("tcp")).recv_to_end() == b"127.0.0.9"


def test_an_address_that_cannot_be_had(http, seen, connect):
    """500, as nginx: it is not the server's fault, and no other server is asked."""
    lb = http(seen, seen.address, inside="proxy_bind 203.0.113.9;")
    lb.expect_log(r"\[crit\].*bind\(203.0.113.9\) failed \(99: ")
    assert [connect(lb.port("http")).request().status for _ in range(3)] == [500] * 3  # which closes, as in nginx
    assert "temporarily disabled" not in lb.log


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_transparent(http, seen, connect):
    """The workers are nobody's with one capability: the foreign address is bound; nothing comes back to it here."""
    lb = http(seen, inside="proxy_bind 203.0.113.9 transparent; proxy_connect_timeout 300ms;")
    assert connect(lb.port("http")).request().status in (502, 504)
    status = open(f"/proc/{lb.workers[0].pid}/status", encoding="ascii").read()  # noqa: SIM115
    assert re.search(r"CapEff:\s+0*2000\n", status)
    assert "Uid:\t0\t" not in status


# ---- proxy_socket_rcvbuf, proxy_socket_sndbuf


@pytest.mark.parametrize(
    ("inside", "expected"), [("proxy_socket_rcvbuf 10k; proxy_socket_sndbuf 12k;", True), ("", False)]
)
def test_socket_buffers(http, http_backend, connect, inside, expected):
    backend = http_backend()
    assert connect(http(backend, inside=inside).port("http")).request().status == 200
    said = subprocess.run(
        ["ss", "-tnmH", f"dport = :{backend.port}"], capture_output=True, text=True, check=True
    ).stdout
    rb, tb = re.search(r"skmem:\(r\d+,rb(\d+),t\d+,tb(\d+)", said).groups()
    assert ((rb, tb) == ("20480", "24576")) == expected  # the kernel doubles them


# ---- listen ... multipath

MPTCP = getattr(socket, "IPPROTO_MPTCP", 262)
SOL_MPTCP, MPTCP_INFO, FALLBACK = 284, 1, 1


def has_mptcp():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_mptcp(), reason="the kernel has no Multipath TCP")
@pytest.mark.parametrize(("listen", "multipath"), [("multipath", True), ("", False)])
def test_multipath(http, http_backend, listen, multipath):
    lb = http(http_backend(lambda _: Reply(body=b"x" * 3_000_000)), listen=listen)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.1", lb.port("http")))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        flags = struct.unpack_from("=I", sock.getsockopt(SOL_MPTCP, MPTCP_INFO, 64), 8)[0] if multipath else FALLBACK
    assert len(got.partition(b"\r\n\r\n")[2]) == 3_000_000
    assert bool(flags & FALLBACK) != multipath


def test_multipath_takes_plain_clients(http, http_backend, connect):
    if not has_mptcp():
        pytest.skip("the kernel has no Multipath TCP")
    lb = http(http_backend(), listen="multipath")
    assert connect(lb.port("http")).request("POST", body=b"y" * 500_000).status == 200


# ---- add_header_inherit, add_trailer_inherit


@pytest.mark.parametrize(
    ("server", "location", "names"),
    [
        ("", "add_header C c;", ["c"]),
        ("", "", ["a"]),
        ("", "add_header_inherit off;", []),
        ("", "add_header_inherit merge; add_header C c;", ["c", "a"]),
        ("add_header_inherit merge; add_header B b;", "add_header C c;", ["c", "b", "a"]),
        ("add_header_inherit merge; add_header B b;", "add_header_inherit on; add_header C c;", ["c"]),
        ("add_header B b;", "add_header_inherit merge; add_header C c;", ["c", "b"]),
        ("add_header_inherit off;", "add_header_inherit merge; add_header C c;", ["c"]),
    ],
)
def test_add_header_inherit(run_lb, connect, server, location, names):
    text = """
    http {
        add_header A a;
        server { listen 127.0.0.1:@http@; @server@ location / { @location@ return 200 x; } }
    }
    """
    answer = connect(run_lb(text, server=server, location=location).port("http")).request()
    found = [value for name, value in answer.headers if name.lower() in ("a", "b", "c")]
    assert found == names


def test_add_trailer_inherit(run_lb, http_backend, connect):
    text = """
    http {
        add_trailer A a;
        add_trailer_inherit merge;
        server { listen 127.0.0.1:@http@; location / { add_trailer C c; proxy_pass http://@to@; } }
    }
    """
    lb = run_lb(text, to=http_backend(lambda _: Reply(chunks=[b"x"])).address)
    client = connect(lb.port("http"))
    client.request()
    assert bytes(client.received).endswith(b"0\r\nC: c\r\nA: a\r\n\r\n")


# ---- stream proxy_protocol v2

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def crc32c(data: bytes) -> int:
    """RFC 3720's, from its polynomial in plain order: another way than the engine's."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= int(f"{byte:08b}"[::-1], 2) << 24
        for _ in range(8):
            value = (value << 1 ^ (0x1EDC6F41 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return int(f"{value ^ 0xFFFFFFFF:032b}"[::-1], 2)


def test_the_checksum_of_the_test():
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    ("at", "family"), [("127.0.0.1:@tcp@", socket.AF_INET), ("[::1]:@tcp@", socket.AF_INET6), ("unix:@path@", 0)]
)
def test_proxy_protocol_v2(run_lb, raw_backend, tmp_path, at, family):
    backend = raw_backend(lambda connection: connection.recv_to_end())
    path = tmp_path / "s"
    tmp_path.chmod(0o755)
    servers, inside = f"server {backend.address};", "proxy_protocol v2;"
    lb = run_lb(STREAM.replace("@at@", at), head="", servers=servers, inside=inside, path=path)
    with socket.socket(family or socket.AF_UNIX) as sock:
        sock.connect((("127.0.0.1" if family == socket.AF_INET else "::1"), lb.port("tcp")) if family else str(path))
        source, server = sock.getsockname()[:2], sock.getpeername()[:2]
        sock.sendall(b"hello")
        addresses = b""
        if family:
            addresses = socket.inet_pton(family, source[0]) + socket.inet_pton(family, server[0])
            addresses += struct.pack("!HH", source[1], server[1])
        kind = {socket.AF_INET: 0x11, socket.AF_INET6: 0x21, 0: 0}[family]
        head = SIGNATURE + struct.pack("!BBH", 0x21, kind, len(addresses) + 7) + addresses + b"\x03\x00\x04"
        expected = head + struct.pack("!I", crc32c(head + bytes(4))) + b"hello"
        wait_for(lambda: len(backend.received) >= len(expected))
    assert backend.received == expected


def test_proxy_protocol_v2_is_read_by_lb(run_lb, connect):
    text = """
    http { server { listen 127.0.0.1:@http@ proxy_protocol; return 200 $proxy_protocol_port; } }
    stream { server { listen 127.0.0.1:@tcp@; proxy_pass 127.0.0.1:@http@; proxy_protocol v2; } }
    """
    client = connect(run_lb(text).port("tcp"))
    assert client.request().body == b"%d" % client.sock.getsockname()[1]
