"""Reloads that nobody notices: keep-alive, one-shot and slow clients while generations of workers come and go.

LB_RELOADS is how many (15; `make reloads` takes 100). A client counts as a failure whatever is not the whole right
answer: a refused or reset connection, an end without an answer, another status. The one thing it forgives is what
HTTP asks every client to: an idle keep-alive connection may be closed, which it sees before it sends.
"""

from __future__ import annotations

import os
import random
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
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } location = /own { return 200 own; } } }
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


def echo(connection: RawConnection) -> None:
    while data := connection.sock.recv(4096):
        connection.sock.sendall(data)


@pytest.mark.timeout(30 + 6 * RELOADS)
def test_nobody_notices_reloads(run_lb, http_backend, raw_backend) -> None:
    ports = {name: http_backend(lambda _: Reply(body=BODY)).port for name in ("one", "two")}
    ports["echo"] = raw_backend(echo).port
    lb = run_lb(TEXT, **ports)
    clients = Clients()
    clients.start("keep-alive", KeepAlive(lb))
    clients.start("keep-alive with pauses", KeepAlive(lb, 0.1))
    clients.start("keep-alive with long pauses", KeepAlive(lb, 1.5))
    clients.start("own answer", KeepAlive(lb, 0.02, "/own"))
    clients.start("one-shot", lambda: one_shot(lb))
    clients.start("session", Session(lb))
    for _ in range(RELOADS):
        before, old = Counter(clients.done), pids(lb)
        lb.signal(signal.SIGHUP)
        wait_replaced(lb, old, 2)
        wait_for(lambda before=before: clients.done["one-shot"] > before["one-shot"])
        wait_for(lambda before=before: clients.done["keep-alive"] > before["keep-alive"])
    clients.end()
    assert not clients.failures, clients.failures[:20]
    assert all(clients.done[name] for name in ("session", "keep-alive with long pauses", "own answer"))


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
