"""Tallies where there are few places for them: one real engine in a process of its own, read while it counts."""

from __future__ import annotations

import http.client
import mmap
import multiprocessing
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lb import _fast
from lb.config import load
from lb.config.model import Address, Server
from lb.status.servers import AT
from tests.harness.wait import free_port, wait_for

PLACES = 4  # for servers
TALLY = 640  # bytes of one
CONF = """
error_log stderr;
events {{ }}
http {{ access_log off; upstream u {{ server 127.0.0.1:{port}; }}
    server {{ listen 127.0.0.1:{listen}; location / {{ proxy_pass http://u; }} }} }}
"""

Rows = dict[bytes, bytearray]


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Small:
    """An engine with PLACES, in threads of this process."""

    def __init__(self, directory: Path) -> None:
        self.backend = ThreadingHTTPServer(("0.0.0.0", 0), Answers)  # all of 127.0.0.0/8 are its addresses
        self.backend.daemon_threads = True
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()
        self.port = free_port()
        (directory / "c").write_text(CONF.format(port=self.backend.server_port, listen=self.port))
        config = load(str(directory / "c"), prefix=str(directory))
        spare = _fast.stats_size(1, 1) - _fast.stats_size(1, 0) == 2 * TALLY
        assert spare, "the size of a tally has changed"
        most = next(n for n in range(1, 1 << 20) if n * TALLY + 512 == _fast.stats_size(1, 1))
        self.shm = mmap.mmap(-1, _fast.stats_size(1, 1) - (most - 4 - PLACES) * TALLY)
        listener = socket.create_server(("127.0.0.1", self.port))
        self.engine = _fast.Engine(
            config,
            [listener.detach()],
            worker=0,
            workers=1,
            shm=self.shm,
            logs={},
            error_fd=os.dup(2),
            error_level="error",
        )
        self.thread = threading.Thread(target=self.engine.run)
        self.thread.start()

    def publish(self, *hosts: int) -> None:
        """Servers 127.0.0.HOST."""
        port = self.backend.server_port
        addresses = [Address(socket.AF_INET, f"127.0.0.{host}", port) for host in hosts]
        tables = self.stats("tables")
        self.engine.publish(0, [Server(str(one), one) for one in addresses], b"")
        wait_for(lambda: self.stats("tables") > tables)

    def ask(self, count: int) -> None:
        for _ in range(count):
            client = http.client.HTTPConnection("127.0.0.1", self.port)
            client.request("GET", "/", headers={"Connection": "close"})
            assert client.getresponse().status == 200
            client.close()

    def stats(self, name: str) -> int:
        return _fast.read_stats(self.shm, 0)[name]

    def rows(self) -> Rows:
        tables: list[Rows] = [{}, {}]
        _fast.tallies_add(self.shm, 0, tables)
        _fast.tallies_settle(tables[0], {}, 0, 0)
        return tables[0]

    def end(self) -> None:
        self.engine.stop(_fast.STOP_NOW)
        self.thread.join()
        self.backend.shutdown()
        assert not any(self.engine.open_handles().values())


def requests(rows: Rows, name: bytes = b"") -> int:
    value: int = memoryview(rows[name]).cast("Q")[AT["requests"]]
    return value


def hosts(rows: Rows) -> set[int]:
    """The last numbers of the addresses that are there."""
    return {int(name.partition(b":")[0].rpartition(b".")[2]) for name in rows if b":" in name}


def few_places(small: Small) -> None:
    """Servers beyond the places share one; who leaves makes room, and what it counted stays in the sum."""
    small.publish(2, 3, 4, 5, 6, 7)
    small.ask(12)
    wait_for(lambda: requests(small.rows()) == 12)
    rows = small.rows()
    # 127.0.0.1 of the file has a place until another needs it
    assert len(hosts(rows)) == PLACES and requests(rows, _fast.TALLY_OTHER) >= 4
    assert sum(requests(rows, name) for name in rows if name) == 12
    small.publish(100)
    small.publish(101, 102, 103)
    small.ask(3)
    wait_for(lambda: requests(small.rows()) == 15)
    assert {101, 102, 103} < hosts(small.rows())


def counts_come_back(small: Small) -> None:
    small.publish(2)
    small.ask(5)
    small.publish(3)
    small.ask(1)
    small.publish(2, 3)
    port = small.backend.server_port
    wait_for(lambda: requests(small.rows(), f"127.0.0.2:{port}".encode()) == 5)
    assert requests(small.rows()) == 6


def reading_while_places_change(small: Small) -> None:
    """No name is ever half written, and the sum never falls, while every list takes the places of another."""
    over = threading.Event()
    wrong: list[str] = []
    looks = [0]

    def look() -> None:
        before = 0
        while not over.is_set():
            rows = small.rows()
            if not all(re.fullmatch(rb"|other|127\.0\.0\.\d+:\d+", name) for name in rows):
                wrong.append(f"names {list(rows)}")
            if requests(rows) < before:
                wrong.append(f"{requests(rows)} after {before}")
            before = requests(rows)
            looks[0] += 1

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(150):
        small.publish(*(2 + (number * 3 + k) % 250 for k in range(3)))
        if number % 5 == 0:
            small.ask(1)
    over.set()
    reader.join()
    assert not wrong, wrong[:3]
    assert looks[0] > 10
    wait_for(lambda: requests(small.rows()) == 30)


def run_case(case: Callable[[Small], None], directory: Path, results: Any) -> None:
    """In the child."""
    try:
        small = Small(directory)
        case(small)
        small.end()
        results.send("")
    except BaseException as error:
        results.send(repr(error))
        os._exit(1)  # the engine's thread may run on


@pytest.fixture
def in_child(tmp_path: Path) -> Iterator[Callable[[Callable[[Small], None]], None]]:
    context = multiprocessing.get_context("spawn")  # one engine per process, and no thread of ours in it

    def run(case: Callable[[Small], None]) -> None:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=run_case, args=(case, tmp_path, theirs))
        child.start()
        theirs.close()
        try:
            assert ours.poll(60) and ours.recv() == ""
            child.join(10)
            assert child.exitcode == 0
        finally:
            child.kill()
            child.join()

    yield run


def test_few_places(in_child) -> None:
    in_child(few_places)


def test_counts_come_back(in_child) -> None:
    in_child(counts_come_back)


def test_reading_while_places_change(in_child) -> None:
    in_child(reading_while_places_change)
