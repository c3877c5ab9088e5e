"""Request.phase: the way of real exchanges through the phases, as builds with checks count it (_fast.phases_walked).

That no exchange goes another way is BUG_ON's to say, in every test of such a build.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb import _fast
from tests.harness.wait import free_port, wait_for
from tests.lone_engine import LoneEngine, in_child

pytestmark = pytest.mark.skipif(
    _fast.BUILD not in ("dev", "debug", "asan", "coverage"), reason="a release build does not count"
)

HTTP = """
events {{}}
http {{
    access_log off;
    limit_req_zone $http_x_who zone=z:1m rate=1r/s;
    upstream dead_first {{ server 127.0.0.1:@dead@ max_fails=0; server 127.0.0.1:{port} max_fails=0; }}
    server {{
        listen 127.0.0.1:{listen};
        location / {{ proxy_pass http://127.0.0.1:{port}; }}
        location /raw/ {{ proxy_pass http://127.0.0.1:@raw@; }}
        location /tunnel {{
            proxy_pass http://127.0.0.1:@raw@;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
        location /limited {{ limit_req zone=z burst=5; proxy_pass http://127.0.0.1:{port}; }}
        location /text {{ return 200 x; }}
        location /next {{ proxy_pass http://dead_first; }}
        location /page {{ proxy_pass http://127.0.0.1:@dead@; error_page 502 /text; }}
    }}
}}
"""
ANSWERS = {
    "/raw/accel": b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /text\r\nContent-Length: 0\r\n\r\n",
    "/raw/bad": b"no HTTP\r\n\r\n",
    "/tunnel": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
}
PROXIED = "connecting > reading head > reading body > answered > done"


@contextlib.contextmanager
def raw_server() -> Iterator[int]:
    """A server that answers as ANSWERS says and ends the connection; its port."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                target = connection.recv(65536).split(b" ")[1].decode()
                connection.sendall(ANSWERS[target])
                connection.close()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


class Walk:
    """What an exchange adds to the counts."""

    def __init__(self, port: int) -> None:
        self.port = port

    def of(self, *parts: bytes) -> list[tuple[str, str]]:
        """Send the parts, what follows the first when that has been taken; the steps that were gone, sorted."""
        before = _fast.phases_walked()
        ends = _ended(before)
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(parts[0])
            for part in parts[1:]:
                wait_for(lambda: _fast.phases_walked() != before)
                client.sendall(part)
            wait_for(lambda: _ended(_fast.phases_walked()) > ends)
        after = _fast.phases_walked()
        added = {step: n - before.get(step, 0) for step, n in after.items()}
        return sorted(step for step, n in added.items() for _ in range(n))


def _ended(walked: dict[tuple[str, str], int]) -> int:
    return sum(n for (_, after), n in walked.items() if after == "done")


def steps(text: str) -> list[tuple[str, str]]:
    return sorted(itertools.pairwise(text.split(" > ")))


def get(target: str, fields: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n{fields or 'Connection: close'}\r\n\r\n".encode()


def post(target: str) -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n".encode()


def http_ways(directory: str) -> None:
    with raw_server() as raw:
        conf = HTTP.replace("@raw@", str(raw)).replace("@dead@", str(free_port()))
        lone = LoneEngine(Path(directory), conf)
        walk = Walk(lone.port)
        assert walk.of(get("/")) == steps(f"routing > {PROXIED}")
        assert walk.of(get("/text")) == steps("routing > answered > done")
        assert walk.of(get("/nothing/../..")) == steps("routing > answered > done")
        assert walk.of(post("/"), b"body") == steps(f"routing > body > {PROXIED}")
        assert walk.of(post("/text"), b"body") == steps("routing > answered > discarding > done")
        assert walk.of(get("/next")) == steps(f"routing > connecting > {PROXIED}")
        assert walk.of(get("/page")) == steps("routing > connecting > routing > answered > done")
        assert walk.of(get("/raw/accel")) == steps(
            "routing > connecting > reading head > reading body > routing > answered > done"
        )
        assert walk.of(get("/raw/bad")) == steps("routing > connecting > reading head > answered > done")
        assert walk.of(get("/tunnel", "Connection: upgrade\r\nUpgrade: x")) == steps(
            "routing > connecting > reading head > reading body > tunnel > done"
        )
        limited = get("/limited", "X-Who: me")
        assert walk.of(limited) == steps(f"routing > {PROXIED}")
        assert walk.of(limited) == steps(f"routing > delayed > routing > {PROXIED}")
        lone.end()


def stream_way(directory: str, inside: str, way: str) -> None:
    conf = "events {{}} stream {{ server {{ listen 127.0.0.1:{listen}; " + inside + " }} }}"
    lone = LoneEngine(Path(directory), conf)
    assert Walk(lone.port).of(b"GET / HTTP/1.0\r\n\r\n") == steps(way)
    lone.end()


def test_requests():
    with tempfile.TemporaryDirectory() as directory:
        in_child(http_ways, directory)


@pytest.mark.parametrize(
    "inside,way",
    [
        ("proxy_pass 127.0.0.1:{port};", "routing > connecting > tunnel > done"),
        ("return hello;", "routing > answered > done"),
        ("deny all; proxy_pass 127.0.0.1:{port};", "routing > done"),
    ],
)
def test_sessions(inside, way):
    with tempfile.TemporaryDirectory() as directory:
        in_child(stream_way, directory, inside, way)


def test_every_phase_has_a_name():
    assert len(_fast.PHASES) == len(set(_fast.PHASES)) == 11
