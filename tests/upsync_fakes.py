"""What the upsync tests share: a scripted Consul, a log that keeps its lines, and a puller with everything it said.

FakeConsul behaves as Consul's KV store does, blocking queries included, except for requests that a fault is queued for.
"""

from __future__ import annotations

import base64
import fcntl
import gc
import json
import os
import select
import socket
import ssl
import struct
import termios
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lb.log import Log
from lb.model import Address, Server, Upstream, Upsync
from lb.upsync.merge import Change
from lb.upsync.puller import Puller
from lb.upsync.report import Report
from lb.upsync.resolver import Resolver
from lb.upsync.start import initial
from lb.upsync.upstream_sync import UpstreamSync
from tests.harness.backend import Listener, RawConnection
from tests.harness.wait import DEADLINE, wait_for

DIRECTORY = "upstreams/test"


def server(name: str, **attributes: Any) -> Server:
    """A server as Consul's defaults make it: max_fails 2."""
    host, _, port = name.rpartition(":")
    return Server(name, Address(socket.AF_INET, host, int(port)), **({"max_fails": 2} | attributes))


def names(servers: Sequence[Server]) -> list[str]:
    return [one.name for one in servers]


class Recorder(Log):
    """A log that keeps its lines as (level, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def write(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def having(self, part: str) -> list[tuple[str, str]]:
        return [line for line in list(self.lines) if part in line[1]]


@dataclass(frozen=True)
class Query:
    """One request that Consul got."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]  # lower case names
    connection: int
    at: float  # monotonic seconds

    @property
    def index(self) -> int:
        return int(self.params.get("index", "0"))


Fault = Callable[[RawConnection, "FakeConsul"], bool]  # what to do with one request; True: the connection goes on


class FakeConsul(Listener):
    """A KV store on a port of its own."""

    def __init__(self, port: int | None = None) -> None:
        self.index = 10
        self.entries: dict[str, bytes | None] = {}
        self.queries: list[Query] = []
        self.faults: deque[Fault] = deque()
        self.nothing: Callable[[int], bytes] = lambda index: response(404, b"", index=index)
        self._restores = 0
        self._changed = threading.Condition()
        super().__init__(port)

    def put(self, name: str, value: bytes | None = None, directory: str = DIRECTORY) -> None:
        with self._changed:
            self.entries[f"{directory}/{name}"] = value
            self._bump()

    def delete(self, name: str, directory: str = DIRECTORY) -> None:
        with self._changed:
            del self.entries[f"{directory}/{name}"]
            self._bump()

    def clear(self) -> None:
        with self._changed:
            self.entries.clear()
            self._bump()

    def rewind(self, index: int) -> None:
        """Another index, lower perhaps; who waits hears of it, as after `consul snapshot restore`."""
        with self._changed:
            self.index = index
            self._restores += 1
            self._changed.notify_all()

    def fault(self, *faults: Fault) -> None:
        """Queue: one for each of the next requests."""
        self.faults.extend(faults)

    def _bump(self) -> None:
        self.index += 1
        self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._changed.notify_all()
        super().stop()

    def serve(self, sock: socket.socket, number: int) -> None:
        connection = RawConnection(sock, number, self.stopping)
        while not self.stopping.is_set():
            try:
                query = _query(connection.recv_head(), number)
            except ConnectionAbortedError:
                return
            self.queries.append(query)
            if self.faults:
                if not self.faults.popleft()(connection, self):
                    return
            elif not self.wait_and_answer(connection, query):
                return

    def wait_and_answer(self, connection: RawConnection, query: Query) -> bool:
        until = time.monotonic() + _seconds(query.params.get("wait", "300s"))
        with self._changed:
            restores = self._restores
            # Consul too waits for an index above the one given, however far that is
            while 0 < query.index >= self.index and restores == self._restores and time.monotonic() < until:
                if self.stopping.is_set() or _is_closed(connection.sock):
                    return False
                self._changed.wait(0.02)
        connection.send(self.answer(urllib.parse.unquote(query.path).removeprefix("/v1/kv/")))
        return True

    def answer(self, prefix: str = DIRECTORY) -> bytes:
        """The whole response for what is stored now."""
        rows = [
            {"Key": key, "Value": None if value is None else base64.b64encode(value).decode(), "ModifyIndex": 5}
            for key, value in sorted(self.entries.items())
            if key.startswith(prefix)
        ]
        return response(200, json.dumps(rows).encode(), index=self.index) if rows else self.nothing(self.index)


def response(status: int, body: bytes, index: object = None, header: str = "X-Consul-Index", length: int = -1) -> bytes:
    lines = [f"HTTP/1.1 {status} Something", f"Content-Length: {len(body) if length < 0 else length}"]
    if index is not None:
        lines.append(f"{header}: {index}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def send(data: bytes, *, more: bool = True) -> Fault:
    """Fault: these bytes as the answer; then the connection goes on, or ends with FIN."""

    def fault(connection: RawConnection, _: FakeConsul) -> bool:
        connection.send(data)
        return more

    return fault


def send_and_reset(data: bytes) -> Fault:
    """Fault: these bytes, then RST once the peer has had time to read them or has ended."""

    def fault(connection: RawConnection, _: FakeConsul) -> bool:
        connection.send(data)
        wait_for(lambda: _unsent(connection.sock) == 0, "the peer to take the bytes")
        connection.reset()
        return False

    return fault


def stall(connection: RawConnection, _: FakeConsul) -> bool:
    """Fault: no answer until the peer closes."""
    connection.recv_to_end()
    return False


def trickle(connection: RawConnection, consul: FakeConsul) -> bool:
    """Fault: an answer whose head never ends, a byte every 20 ms."""
    while not consul.stopping.wait(0.02):
        connection.send(b"X")
    return False


def _query(head: bytes, connection: int) -> Query:
    line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    path, _, arguments = line.split()[1].partition("?")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    params = dict(urllib.parse.parse_qsl(arguments, keep_blank_values=True))
    return Query(path, params, headers, connection, time.monotonic())


def _seconds(text: str) -> float:
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


def _is_closed(sock: socket.socket) -> bool:
    if isinstance(sock, ssl.SSLSocket):  # cannot peek; its end is seen at the next send
        return False
    # not recv() with MSG_DONTWAIT: a Python socket with a timeout waits before that
    return bool(select.select([sock], [], [], 0)[0]) and sock.recv(1, socket.MSG_PEEK) == b""


def _unsent(sock: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged (SIOCOUTQ)."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0])


def upstream(port: int, dump_path: str = "/nonexistent/dump", **options: Any) -> Upstream:
    """The issue's upstream `test` with a placeholder. `options` of Upsync; `servers` of the upstream."""
    servers = options.pop("servers", (Server("127.0.0.1:11111", Address(socket.AF_INET, "127.0.0.1", 11111)),))
    path = options.pop("path", f"/v1/kv/{DIRECTORY}")
    host = options.pop("host", "127.0.0.1")
    settings = {"interval_ms": 50, "timeout_ms": 360_000, "dump_path": dump_path} | options
    return Upstream("http", "test", servers, upsync=Upsync(host, port, path, "consul", **settings))


class Following:
    """A puller at work, with what it published, reported and logged."""

    def __init__(self, upstream: Upstream, known: Report | None = None, resolver: Resolver | None = None) -> None:
        self.log = Recorder()
        self.applied: list[tuple[Server, ...]] = []
        self.shown: list[bytes] = []
        self.changes: list[Change | None] = []
        self.reports: list[Report] = []
        self.refuse: Exception | None = None  # what the engine answers to the next list
        self.start = initial(upstream, known, 7)
        self.follower = UpstreamSync(upstream, self.start, self._apply, self.reports.append, self.log, resolver)
        self.puller = Puller([self.follower], self.log)
        self.puller.start()

    def _apply(self, servers: Sequence[Server], show: bytes, change: Change | None) -> None:
        if self.refuse is not None:
            error, self.refuse = self.refuse, None
            raise error
        self.shown.append(show)
        self.changes.append(change)
        self.applied.append(tuple(servers))

    @property
    def last(self) -> Report:
        return self.reports[-1]

    def wait_names(self, *expected: str) -> Following:
        """Until the last list applied has these servers in this order."""
        wait_for(
            lambda: self.applied and names(self.applied[-1]) == list(expected),
            lambda: f"{expected}; applied {[names(one) for one in self.applied]}; log {self.log.lines}",
        )
        return self

    def end(self) -> None:
        self.puller.stop()
        self.puller.join(DEADLINE)
        assert not self.puller.is_alive(), "the puller does not end"


@contextmanager
def running_consul(fake: FakeConsul | None = None) -> Iterator[FakeConsul]:
    """A scripted Consul, stopped at the end, which must have met no error of its own."""
    fake = fake or FakeConsul()
    try:
        yield fake
    finally:
        fake.stop()
    assert not fake.errors, fake.errors


@contextmanager
def followers(consul: FakeConsul) -> Iterator[Callable[..., Following]]:
    """make(**options of the upstream, known=Report) -> Following; all end, and give back every descriptor."""
    gc.collect()
    before = _descriptors()
    made: list[Following] = []

    def make(**options: Any) -> Following:
        known, resolver = options.pop("known", None), options.pop("resolver", None)
        made.append(Following(upstream(options.pop("port", consul.port), **options), known, resolver))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.end()
    assert not [one.log.lines for one in made if one.log.having("not followed")]
    wait_for(lambda: _descriptors() <= before, "every connection and descriptor to be closed")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
