"""What a worker in other hands can write or say to the master, which may be root: numbers and texts of its own."""

from __future__ import annotations

import array
import json
import mmap
import os
import socket
import struct
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lb import _fast
from lb.master.handover import Handover
from lb.model import Address, Server
from lb.process.channel import ChannelError, Endpoint
from lb.status.servers import AT
from lb.upsync.report import Report

STATS, ONE = _fast.STATS_BYTES  # a worker's, a server's
USED_AT = 8 * len(_fast.COUNTERS)  # where their count is
WORKERS = 2
SIZE = _fast.stats_size(WORKERS, 1)
LAYOUT = (WORKERS, SIZE)
ROOM = (SIZE // WORKERS - STATS) // ONE
ZONE = 4096  # bytes behind the counters: a limit_req zone
HUGE = (1 << 64) - 1
USED = 1


class Memory:
    """The counters of two workers and a zone; the second worker is the one that lies."""

    def __init__(self) -> None:
        self.shm = mmap.mmap(-1, SIZE + ZONE)
        self.shm[SIZE:] = b"z" * ZONE
        self.at = WORKERS * STATS + ROOM * ONE  # of its servers' counters
        self.shm[self.at - ONE : self.at] = b"a" * ONE  # the last one of the other worker

    def used(self, n: int) -> None:
        struct.pack_into("Q", self.shm, STATS + USED_AT, n)

    def server(
        self, place: int, name: bytes, *, length: int | None = None, upstream: int = 0, requests: int = 1
    ) -> None:
        at = self.at + place * ONE
        struct.pack_into("QII112s", self.shm, at, USED, upstream, len(name) if length is None else length, name)
        struct.pack_into("Q", self.shm, at + 128 + 3 * 8 + 8 * AT["requests"], requests)

    def rows(self) -> dict[bytes, bytearray]:
        tables: list[dict[bytes, bytearray]] = [{}, {}]
        _fast.server_stats_add(self.shm, 1, LAYOUT, tables)
        return tables[0]

    def others_are_whole(self) -> bool:
        return self.shm[SIZE:] == b"z" * ZONE and self.shm[self.at - ONE : self.at] == b"a" * ONE


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_the_layout_here_is_the_engines(memory: Memory) -> None:
    memory.used(3)
    memory.server(2, b"10.0.0.1:80", requests=7)
    row = memoryview(memory.rows()[b"10.0.0.1:80"]).cast("Q")
    assert row[AT["requests"]] == 7


@pytest.mark.parametrize("count", [ROOM + 1, 1 << 40, HUGE])
def test_a_count_beyond_the_memory(memory: Memory, count: int) -> None:
    memory.used(count)
    memory.server(2, b"10.0.0.1:80")
    assert set(memory.rows()) == {b"", b"10.0.0.1:80"}
    assert len(_fast.consul_notes(memory.shm, 1, LAYOUT)) == 0
    _fast.clear_stats(memory.shm, 1, LAYOUT)
    assert memory.others_are_whole()
    assert memory.shm[memory.at : SIZE] == bytes(SIZE - memory.at)


def test_no_word_of_the_memory_leads_elsewhere(memory: Memory) -> None:
    """Every word of its counters is a lie: an offset would be one of them."""
    memory.shm[STATS : 2 * STATS] = struct.pack("Q", HUGE - 4095) * (STATS // 8)
    memory.rows()
    _fast.consul_notes(memory.shm, 1, LAYOUT)
    _fast.clear_stats(memory.shm, 1, LAYOUT)
    assert memory.others_are_whole()


@pytest.mark.parametrize("length", [0, 113, 1 << 20, (1 << 32) - 1])
def test_a_length_of_a_name(memory: Memory, length: int) -> None:
    memory.used(3)
    memory.server(2, b"10.0.0.1:80", length=length)
    assert set(memory.rows()) == {b"", _fast.SERVER_STATS_OTHER}


@pytest.mark.parametrize("name", [b"10.0.0.1:80\nserver evil:80;", b"a\0b", b"\x1b[2J", b"a\x7f"])
def test_a_name_that_is_more_than_a_word(memory: Memory, name: bytes) -> None:
    memory.used(3)
    memory.server(2, name)
    assert set(memory.rows()) == {b"", _fast.SERVER_STATS_OTHER}


def test_an_upstream_that_is_not_there(memory: Memory) -> None:
    memory.used(4)
    memory.server(2, b"10.0.0.1:80", upstream=2)
    memory.server(3, b"10.0.0.1:80", upstream=(1 << 32) - 1)
    assert memory.rows() == {}


@pytest.mark.parametrize("worker", [-1, WORKERS])
@pytest.mark.parametrize("layout", [LAYOUT, (WORKERS, SIZE + ZONE + 1), (WORKERS, 0)])
def test_no_such_worker(memory: Memory, worker: int, layout: tuple[int, int]) -> None:
    if layout is not LAYOUT:
        worker = 0
    for call in (_fast.clear_stats, _fast.consul_notes):
        with pytest.raises(ValueError, match="no counters of worker"):
            call(memory.shm, worker, layout)


# What it says

ROW = ["10.0.0.1:80", int(socket.AF_INET), "10.0.0.1", 80, 1, 1, 10, 0, False, False]
GOOD = Report(0, "consul", 7, 1.0, (Server("10.0.0.1:80", Address(socket.AF_INET, "10.0.0.1", 80)),)).to_json()
LINE = "10.0.0.1:80 weight=1;\nserver 6.6.6.6:80"


def test_the_good_one_is_taken() -> None:
    assert len(Report.from_json(GOOD).servers) == 1


def row(at: int, value: object) -> dict[str, object]:
    return {"servers": [[*ROW[:at], value, *ROW[at + 1 :]]]}


def row_of_address(*addresses: tuple[int, str]) -> list[dict[str, object]]:
    return [{"servers": [["a:80", family, host, *ROW[3:]]]} for family, host in addresses]


@pytest.mark.parametrize(
    "lie",
    [
        *(
            {"servers": [[text, *ROW[1:]]]}
            for text in (LINE, "a b:80", "a;:80", "a\0:80", "a{", 'a"', "", "x" * 600, 7, "#a:80", "\ud800:80")
        ),
        {"servers": [[*ROW, "name:80\nserver 6.6.6.6:80;"]]},
        {"servers": [[*ROW, 7]]},
        {"servers": [[*ROW, "\ud800:80"]]},
        *row_of_address((2, "a"), (2, "::1"), (10, "10.0.0.1"), (1, "/\ud800"), (1, "/" + "x" * 200), (True, "/a")),
        {"servers": [[*ROW, "a:80", "b:80"]]},
        {"servers": [ROW[:5]]},
        {"servers": [None]},
        {"servers": 7},
        row(1, 4711),
        row(2, "10.0.0.1\n"),
        *(row(3, port) for port in (-1, 65536, 1.5, True, "80", None)),
        *(row(at, number) for at in (4, 5, 6, 7) for number in (-1, 1 << 31, 1.0, True, "1", None)),
        row(4, 0),
        *(row(at, flag) for at in (8, 9) for flag in (1, "", None)),
        *({"at": time} for time in (float("nan"), float("inf"), -1.0, 1e20, "1", None, True)),
        *({"next_try": time} for time in (float("nan"), float("inf"), -1.0, 1e20)),
        *({"index": index} for index in (-1, 1 << 64, 1.5, float("inf"), True, "7", None)),
        *({"upstream": number} for number in (-1, float("inf"), float("nan"), "0", [], True)),
        *({"count": count} for count in (-2, float("inf"), "1")),
        *({"digest": digest} for digest in (-2, 1 << 64, float("nan"))),
        *({name: text} for name in ("error", "held", "watched") for text in (7, None, ["a"])),
        {"skipped": [7]},
        {"source": []},
        {"source": "elsewhere"},
        {"delta": {"of": 1, "gone": [], "head": [[LINE, *ROW[1:]]], "altered": []}},
        {"delta": {"of": 1, "gone": [], "head": [], "altered": [[LINE, *ROW[1:]]]}},
        {"delta": {"of": 1, "gone": [[2, "10.0.0.1", -1]], "head": [], "altered": []}},
        {"delta": []},
        {"delta": 7},
    ],
)
def test_a_report_that_no_worker_makes(lie: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no |unknown|not |values to unpack|to unpack"):
        Report.from_json(json.loads(json.dumps(GOOD | lie)))


def test_texts_are_one_line() -> None:
    told = Report.from_json(GOOD | {"error": "a\nb\x1b[2J", "held": "\r", "watched": "\0", "skipped": ["x\ny"]})
    assert (told.error, told.held, told.watched, told.skipped) == ("a\\nb\\x1b[2J", "\\r", "\\x00", ("x\\ny",))
    assert len(Report.from_json(GOOD | {"error": "x" * 1_000_000}).error) < 10_000


def test_a_server_of_the_file_may_have_a_space() -> None:
    rows = [["unix:/tmp/a b", int(socket.AF_UNIX), "/tmp/a b", 0, *ROW[4:]]]
    assert Report.from_json(GOOD | {"source": "file", "servers": rows}).servers[0].name == "unix:/tmp/a b"
    with pytest.raises(ValueError, match="no name"):
        Report.from_json(GOOD | {"source": "consul", "servers": rows})


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@PATIENT
@given(st.dictionaries(st.sampled_from(sorted([*GOOD, "count", "digest", "delta"])), JSON, max_size=6))
def test_any_report_is_taken_or_a_value_error(change: dict[str, object]) -> None:
    try:
        told = Report.from_json(GOOD | change)
    except ValueError:
        return
    json.dumps(told.to_json())


@PATIENT
@given(JSON)
def test_any_answer_of_what_was_learned(said: object) -> None:
    config = SimpleNamespace(upstreams=[SimpleNamespace(kind="http", name="u")], worker_processes=3)
    handover = Handover()
    handover.begin(SimpleNamespace(number=1, config=config), {0}, 0.0)  # type: ignore[arg-type]
    try:
        handover.take(1, 0, [said])
    except ValueError:
        return
    handover.give(config)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        [[1], {}],
        [[1, "x"], {}],
        [[1, 1 << 32], {}],
        [[-1, 0], {}],
        [[0, 0], {"s 0": [1, 2]}],
        [[0, 0], {"s 0": [1 << 40, 2, 0.0]}],
        [[0, 0], {"s 0": [1, 1 << 63, 0.0]}],
        [[0, 0], {"s 0": [1, 2, float("nan")]}],
        [[0, 0], {"s 0": [1, 2, 0.0, 1 << 63]}],
        [[0, 0], {"s 0": [1, 2, 0.0, -1]}],
        [[0, 0], {"s 0": [1, 2, 0.0, 3, 4]}],
        [[0, 0], []],
        {},
    ],
)
def test_what_no_engine_learns(said: object) -> None:
    config = SimpleNamespace(upstreams=[SimpleNamespace(kind="http", name="u")], worker_processes=3)
    handover = Handover()
    handover.begin(SimpleNamespace(number=1, config=config), {0}, 0.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="learned"):
        handover.take(1, 0, [said])


def test_a_position_at_its_end() -> None:
    """The next generation's slots count on from it: in 32 bits, as the engine."""
    config = SimpleNamespace(upstreams=[SimpleNamespace(kind="http", name="u")], worker_processes=2)
    handover = Handover()
    handover.begin(SimpleNamespace(number=1, config=config), {0}, 0.0)  # type: ignore[arg-type]
    handover.take(1, 0, [[[(1 << 32) - 1, 5], {}]])
    assert handover.give(config)[1] == {0: [[0, 6], {}]}  # type: ignore[arg-type]


# Frames


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"fds": -1}', b'{"fds": "x"}', b'{"fds": true}', b'{"fds": 1e99}', b"[]", b"7", b"\xff"]
)
def test_a_frame_that_is_none(body: bytes) -> None:
    ours, theirs = socket.socketpair()
    end = Endpoint(ours, takes_fds=False)
    theirs.sendall(struct.pack("!I", len(body)) + body)
    with pytest.raises(ChannelError):
        while True:
            end.receive()
    end.close()
    theirs.close()


def test_descriptors_from_a_worker_do_not_stay() -> None:
    ours, theirs = socket.socketpair()
    end = Endpoint(ours, takes_fds=False)
    before = set(os.listdir("/proc/self/fd"))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()] * 50))]
    theirs.sendmsg([b"x"], rights)
    with pytest.raises(ChannelError):
        end.receive()
    assert set(os.listdir("/proc/self/fd")) == before
    end.close()
    theirs.close()
