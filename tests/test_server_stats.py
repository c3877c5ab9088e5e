"""Counters of servers where there are few places for them: a real engine in its own process, read while it counts."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lb import _fast
from lb.status.servers import AT
from tests.harness.wait import wait_for
from tests.lone_engine import LoneEngine, in_child

PLACES = 4  # for servers
WORKER, ONE = _fast.STATS_BYTES  # a worker's, a server's
CONF = """
error_log stderr;
events {{ }}
http {{ access_log off; upstream u {{ server 127.0.0.1:{port}; }}
    server {{ listen 127.0.0.1:{listen}; location / {{ proxy_pass http://u; }} }} }}
"""

Rows = dict[bytes, bytearray]


class Small(LoneEngine):
    """An engine with PLACES."""

    def __init__(self, directory: Path) -> None:
        most = (_fast.stats_size(1, 1) - WORKER) // ONE
        super().__init__(directory, CONF, _fast.stats_size(1, 1) - (most - 4 - PLACES) * ONE)

    def serve(self, *hosts: int) -> None:
        """Servers 127.0.0.HOST."""
        self.publish(0, [self.server(f"127.0.0.{host}") for host in hosts])

    def ask(self, count: int) -> None:
        for _ in range(count):
            self.get()

    def rows(self) -> Rows:
        tables: list[Rows] = [{}, {}]
        _fast.server_stats_add(self.shm, 0, (1, len(self.shm)), tables)
        _fast.server_stats_settle(tables[0], {}, 0, 0)
        return tables[0]


def requests(rows: Rows, name: bytes = b"") -> int:
    value: int = memoryview(rows[name]).cast("Q")[AT["requests"]]
    return value


def hosts(rows: Rows) -> set[int]:
    """The last numbers of the addresses that are there."""
    return {int(name.partition(b":")[0].rpartition(b".")[2]) for name in rows if b":" in name}


def few_places(small: Small) -> None:
    """Servers beyond the places share one; who leaves makes room, and what it counted stays in the sum."""
    small.serve(2, 3, 4, 5, 6, 7)
    small.ask(12)
    wait_for(lambda: requests(small.rows()) == 12)
    rows = small.rows()
    # 127.0.0.1 of the file has a place until another needs it
    assert len(hosts(rows)) == PLACES and requests(rows, _fast.SERVER_STATS_OTHER) >= 4
    assert sum(requests(rows, name) for name in rows if name) == 12
    small.serve(100)
    small.serve(101, 102, 103)
    small.ask(3)
    wait_for(lambda: requests(small.rows()) == 15)
    assert {101, 102, 103} < hosts(small.rows())


def counts_come_back(small: Small) -> None:
    small.serve(2)
    small.ask(5)
    small.serve(3)
    small.ask(1)
    small.serve(2, 3)
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
        small.serve(*(2 + (number * 3 + k) % 250 for k in range(3)))
        if number % 5 == 0:
            small.ask(1)
    over.set()
    reader.join()
    assert not wrong, wrong[:3]
    assert looks[0] > 10
    wait_for(lambda: requests(small.rows()) == 30)


CASES = (few_places, counts_come_back, reading_while_places_change)


def run(case: Callable[[Small], None], directory: Path) -> None:
    """In the child."""
    small = Small(directory)
    case(small)
    small.end()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_server_stats(tmp_path: Path, case: Callable[[Small], None]) -> None:
    in_child(run, case, tmp_path)
