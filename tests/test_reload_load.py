"""Reloads that nobody notices: keep-alive, one-shot, WebSocket and TCP clients while generations of workers go by.

LB_RELOADS is how many (15; `make reloads` takes 100). A client counts as a failure whatever is not the whole right
answer: a refused or reset connection, an end without an answer, another status. The one thing it forgives is what
HTTP asks every client to: an idle keep-alive connection may be closed, which it sees before it sends.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import re
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.harness.backend import RawConnection, Reply
from tests.harness.client import Client
from tests.harness.lb import Lb
from tests.harness.wait import wait_for
from tests.master_tools import pids, wait_replaced

RELOADS = int(os.environ.get("LB_RELOADS", "15"))
TEXT = """worker_processes 2;
http { access_log off; keepalive_requests 1000000;
    upstream u { server 127.0.0.1:@one@; server 127.0.0.1:@two@; keepalive 16; }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } location = /own { return 200 own; }
        location /ws { proxy_pass http://127.0.0.1:@ws@;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }
stream { server { listen 127.0.0.1:@tcp@; proxy_pass 127.0.0.1:@echo@; } }
"""
BODY = b"x" * 20_000


class Clients:
    """Threads that each do one thing again and again, and what became of it."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self._threads: list[threading.Thread] = []

    def start(self, name: str, turn: Callable[[], None]) -> None:
        def run() -> None:
            while not self.stop.is_set():
                try:
                    turn()
                    self.done[name] += 1
                except (AssertionError, OSError) as error:
                    self.failures.append(f"{name} after {self.done[name]}: {error!r}")

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


class KeepAlive:
    """One connection as long as the server allows; `pause` between requests, in seconds, up to so much."""

    def __init__(self, lb: Lb, pause: float = 0.0, target: str = "/") -> None:
        self.lb, self.pause, self.target = lb, pause, target
        self.client: Client | None = None

    def __call__(self) -> None:
        if self.client is not None and select.select([self.client.sock], [], [], random.uniform(0, self.pause))[0]:
            assert self.client.sock.recv(1) == b""
            self.close()
        if self.client is None:
            self.client = Client(self.lb.port("http"))
        try:
            answer = self.client.request(target=self.target)
        except BaseException:
            self.close()
            raise
        assert answer.status == 200 and answer.body in (BODY, b"own")
        if answer.header("connection") == "close":
            self.client.expect_closed()
            self.close()

    def close(self) -> None:
        assert self.client is not None
        self.client.close()
        self.client = None


def one_shot(lb: Lb) -> None:
    with Client(lb.port("http")) as client:
        answer = client.request("POST", headers="Connection: close\r\n", body=BODY)
        assert answer.status == 200 and answer.body == BODY


class Session:
    """A TCP session that lasts over several reloads."""

    def __init__(self, lb: Lb) -> None:
        self.lb = lb

    def __call__(self) -> None:
        with Client(self.lb.port("tcp")) as client:
            for number in range(40):
                text = b"%d " % number
                assert client.send(text).recv_exactly(len(text)) == text
                time.sleep(0.02)


class WebSocket:
    """A WebSocket, its handshake and masked frames by the rules of RFC 6455, that lasts over several reloads."""

    def __init__(self, lb: Lb) -> None:
        self.lb = lb

    def __call__(self) -> None:
        with Client(self.lb.port("http")) as client:
            key = base64.b64encode(os.urandom(16))
            client.send(WS_ASK % key)
            head = client.recv_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Accept: " + ws_accept(key) in head
            for number in range(40):
                text = b"%d " % number + b"x" * random.randrange(100)
                client.send(ws_frame(0x81, text, os.urandom(4)))
                assert client.recv_exactly(2 + len(text)) == ws_frame(0x81, text)
                time.sleep(0.02)
            client.send(ws_frame(0x88, b"\x03\xe8", os.urandom(4)))  # close, 1000
            assert client.recv_to_end() == ws_frame(0x88, b"\x03\xe8")


WS_ASK = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
)


def ws_accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def ws_frame(first: int, text: bytes, mask: bytes = b"") -> bytes:
    """A short frame; with a mask as clients send it."""
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text)) if mask else text
    return bytes([first, len(text) | (0x80 if mask else 0)]) + mask + masked


def ws_echo(connection: RawConnection) -> None:
    """A WebSocket server that sends back what it gets, the close frame too."""
    head = connection.recv_head()
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
    assert key is not None
    connection.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % ws_accept(key[1])
    )
    first = 0
    while first != 0x88:
        first, length = connection.recv_exactly(2)
        mask = connection.recv_exactly(4)
        masked = connection.recv_exactly(length & 0x7F)
        connection.send(ws_frame(first, bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))))


def echo(connection: RawConnection) -> None:
    while data := connection.sock.recv(4096):
        connection.sock.sendall(data)


@pytest.mark.timeout(30 + 6 * RELOADS)
def test_nobody_notices_reloads(run_lb, http_backend, raw_backend) -> None:
    ports = {name: http_backend(lambda _: Reply(body=BODY)).port for name in ("one", "two")}
    ports["echo"] = raw_backend(echo).port
    ports["ws"] = raw_backend(ws_echo).port
    lb = run_lb(TEXT, **ports)
    clients = Clients()
    clients.start("keep-alive", KeepAlive(lb))
    clients.start("keep-alive with pauses", KeepAlive(lb, 0.1))
    clients.start("keep-alive with long pauses", KeepAlive(lb, 1.5))
    clients.start("own answer", KeepAlive(lb, 0.02, "/own"))
    clients.start("one-shot", lambda: one_shot(lb))
    clients.start("session", Session(lb))
    for _ in range(3):
        clients.start("websocket", WebSocket(lb))
    for _ in range(RELOADS):
        before, old = Counter(clients.done), pids(lb)
        lb.signal(signal.SIGHUP)
        wait_replaced(lb, old, 2)
        wait_for(lambda before=before: clients.done["one-shot"] > before["one-shot"])
        wait_for(lambda before=before: clients.done["keep-alive"] > before["keep-alive"])
    clients.end()
    assert not clients.failures, clients.failures[:20]
    assert all(clients.done[name] for name in ("session", "websocket", "keep-alive with long pauses", "own answer"))


def test_keep_alive_client_gets_one_more_answer(run_lb) -> None:
    """And the word that it is the last; who stays idle is closed a little later, by a QUIT at once."""
    lb = run_lb("http { access_log off; server { listen 127.0.0.1:@http@; return 200 own; } }")
    talks, idle = lb.client(), lb.client()
    with talks, idle:
        for client in talks, idle:
            assert client.request().header("connection") != "close"
        lb.signal(signal.SIGHUP)
        while "gracefully shutting down" not in lb.log:
            pass  # no pause: the old worker waits for a second
        answer = talks.request()
        assert answer.body == b"own" and answer.header("connection") == "close"
        talks.expect_closed()
        idle.expect_closed()
    lb.wait_ready()
    with lb.client() as client:
        assert client.request().header("connection") != "close"
        lb.signal(signal.SIGQUIT)
        client.expect_closed()
    assert lb.stop(signal.SIGQUIT) == 0
