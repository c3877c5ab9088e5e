"""The master's parts without processes: channel, back-off, reports, children, the error log."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.log import MAX_LINE, Log, Target
from lb.master import inherit, worker_stats
from lb.master.child import Child
from lb.master.generation import delay_after_death
from lb.master.handover import Handover
from lb.master.reports import Reports
from lb.model import Address, Config, Server, Upstream, Upsync
from lb.process import channel
from lb.process.channel import ChannelError, Decoder, Endpoint, encode
from lb.process.loop import Loop
from lb.upsync.report import Delta, Report
from lb.upsync.source import watched
from lb.worker.control import Control, Orders
from lb.worker.main import Worker
from tests.harness.wait import wait_for


class Lines(Log):
    """A log that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def write(self, level: str, text: str) -> None:
        self.lines.append(f"[{level}] {text}")


@pytest.fixture
def pair() -> Iterator[tuple[Endpoint, Endpoint]]:
    one, two = (Endpoint(sock) for sock in socket.socketpair())
    yield one, two
    one.close()
    two.close()


# Channel

BODIES = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.booleans(), max_size=4), max_size=6
)


@given(BODIES, st.integers(1, 50))
def test_decoder_takes_any_pieces(bodies: list[dict[str, object]], size: int) -> None:
    bodies = [{key: value for key, value in body.items() if key != "fds"} for body in bodies]
    data = b"".join(encode(body) for body in bodies)
    decoder, got = Decoder(), []
    for start in range(0, len(data), size):
        got += decoder.feed(data[start : start + size])
    assert [frame.body for frame in got] == bodies


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\x02[]", b"\0\0\0\x01x", b"\0\0\0\x02\xff\xff"])
def test_decoder_refuses(data: bytes) -> None:
    with pytest.raises(ChannelError):
        Decoder().feed(data)


def receive(endpoint: Endpoint, count: int) -> list[channel.Frame]:
    frames: list[channel.Frame] = []
    wait_for(lambda: frames.extend(endpoint.receive()[0]) or len(frames) >= count)
    return frames


def test_descriptors_come_with_their_frames(pair: tuple[Endpoint, Endpoint], tmp_path: Path) -> None:
    """More than one message may carry; in order; the sender's own stay open."""
    sender, receiver = pair
    files = [(tmp_path / str(number)).open("w") for number in range(600)]
    sender.send({"n": 1}, [file.fileno() for file in files[:3]])
    sender.send({"n": 2})
    sender.send({"n": 3}, [file.fileno() for file in files[3:]])
    assert not sender.wants_write
    first, second, third = receive(receiver, 3)
    assert (first.body, second.body, third.body) == ({"n": 1}, {"n": 2}, {"n": 3})
    assert (len(first.fds), second.fds, len(third.fds)) == (3, [], 597)
    for fd, file in zip(first.fds + third.fds, files, strict=True):
        assert os.path.sameopenfile(fd, file.fileno())
        assert not os.get_inheritable(fd)
        os.close(fd)
        file.close()


def test_descriptors_that_cannot_be_received(pair: tuple[Endpoint, Endpoint], tmp_path: Path) -> None:
    """At the limit of open files: the frame says so, the next one is whole, nothing leaks."""
    sender, receiver = pair
    file = (tmp_path / "f").open("w")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sender.send({"n": 1}, [file.fileno()] * 20)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, hard))
    try:
        (frame,) = receive(receiver, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (frame.body, frame.fds, frame.lost_fds) == ({"n": 1}, [], True)
    count = len(os.listdir("/proc/self/fd"))
    sender.send({"n": 2}, [file.fileno()])
    (frame,) = receive(receiver, 1)
    assert (len(frame.fds), frame.lost_fds) == (1, False)
    os.close(frame.fds[0])
    assert len(os.listdir("/proc/self/fd")) == count
    file.close()


def test_sending_never_waits(pair: tuple[Endpoint, Endpoint], tmp_path: Path) -> None:
    sender, receiver = pair
    big = {"x": "y" * 3_000_000}
    file = (tmp_path / "f").open("w")
    sender.send(big, [file.fileno()])
    assert sender.wants_write
    sender.send({"last": True})
    frames: list[channel.Frame] = []
    while len(frames) < 2:
        frames += receiver.receive()[0]
        sender.flush()
    assert [frame.body for frame in frames] == [big, {"last": True}]
    os.close(frames[0].fds[0])
    file.close()


def test_frames_for_a_reader_that_is_stuck_are_bounded(pair: tuple[Endpoint, Endpoint], tmp_path: Path) -> None:
    sender, _ = pair
    sender.send({"x": "y" * 3_000_000})
    with (tmp_path / "f").open("w") as file, pytest.raises(ChannelError, match="does not read"):
        for _ in range(1000):
            sender.send({"cmd": "reopen"}, [file.fileno()])


def test_the_other_end_is_gone(pair: tuple[Endpoint, Endpoint]) -> None:
    one, two = pair
    two.send({"last": "words"})
    two.close()
    assert one.receive()[0][0].body == {"last": "words"}
    assert one.receive() == ([], False)
    with pytest.raises(BrokenPipeError):
        one.send({"a": 1})


# The worker's control thread


class Line:
    """A control thread, and the master's end of its channel."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.master = Endpoint(ours)
        self.log = Lines()
        self.stops: list[int] = []
        self.opened: list[dict[str, int]] = []
        self.lists: list[int] = []
        self.stapled: list[object] = []
        self.control = Control(
            theirs,
            Orders(
                self.stops.append,
                self.opened.append,
                lambda: [[[1, 0], {}]],
                os.close,
                self.lists.append,
                self.stapled.append,
            ),
            self.log,
        )
        self.control.start()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.control.finish()
    made.master.close()


def test_control_carries_out_orders(line: Line, tmp_path: Path) -> None:
    line.master.send({"cmd": "stop", "mode": 2})
    with (tmp_path / "f").open("w") as file:
        line.master.send({"cmd": "reopen", "paths": ["/a", "/b"]}, [file.fileno()] * 2)
    wait_for(lambda: line.opened)
    assert line.stops == [2]
    assert line.opened[0].keys() == {"/a", "/b"}
    for fd in line.opened[0].values():
        os.close(fd)


def test_control_tells_what_the_engine_has_learned(line: Line) -> None:
    line.master.send({"cmd": "tell"})
    (frame,) = receive(line.master, 1)
    assert frame.body == {"say": "learned", "upstreams": [[[1, 0], {}]]}


def test_posting_never_waits_and_the_newest_counts(line: Line) -> None:
    """A master that does not read costs one report per upstream, not one per change."""
    bulk = "x" * 500_000
    line.control.post("filler", {"n": -1, "x": bulk})
    for number in range(2000):
        line.control.post(f"report {number % 2}", {"n": number, "x": bulk})
    line.control.post("ready", {"n": "ready"})
    seen: list[object] = []
    while "ready" not in seen:
        seen += [frame.body["n"] for frame in receive(line.master, 1)]
    assert len(seen) < 12  # what fitted into the socket at the beginning, then only the newest
    assert {1998, 1999} <= set(seen)
    assert line.control.is_alive()


def test_finish_sends_what_is_posted(line: Line) -> None:
    for number in range(50):
        line.control.post(str(number), {"n": number})
    line.control.finish()
    assert [frame.body["n"] for frame in receive(line.master, 50)] == list(range(50))
    line.control.post("late", {})  # harmless


def test_finish_does_not_wait_for_a_master_that_does_not_read(line: Line) -> None:
    line.control.post("big", {"x": "y" * 5_000_000})
    line.control.finish()
    assert not line.control.is_alive()


def test_master_gone(line: Line) -> None:
    line.master.close()
    line.control.join(60)
    assert line.log.lines == ["[alert] the master is gone, the worker serves on"]
    line.control.post("report", {"n": 1})


def test_broken_frame_ends_the_channel_only(line: Line) -> None:
    line.master.sock.sendall(b"\xff\xff\xff\xff")
    line.control.join(60)
    assert line.log.lines == ["[alert] the control channel is broken, the worker serves on: frame of 4294967295 bytes"]


# Back-off


def test_delays_double_up_to_their_limits() -> None:
    assert [delay_after_death(deaths, was_ready=False) for deaths in (1, 2, 3, 6, 7, 100)] == [0.5, 1, 2, 16, 30, 30]
    assert [delay_after_death(deaths, was_ready=True) for deaths in (0, 1, 2, 3, 5, 6, 5000)] == [
        0, 0, 0.1, 0.2, 0.8, 0.8, 0.8,
    ]  # fmt: skip


# Reports


def make_upstream(path: str = "/v1/kv/a", dump_path: str = "/nonexistent") -> Upstream:
    return Upstream("http", "a", (), upsync=Upsync("127.0.0.1", 8500, path, "consul", dump_path=dump_path))


def make_report(index: int, *ports: int, source: str = "consul", of: Upstream | None = None, error: str = "") -> Report:
    servers = tuple(Server(f"10.0.0.1:{port}", Address(socket.AF_INET, "10.0.0.1", port)) for port in ports)
    upsync = (of or make_upstream()).upsync
    assert upsync is not None
    return Report(0, source, index, 1000.0 + index, servers, error=error, watched=watched(upsync))  # type: ignore[arg-type]


def ports(report: Report | None) -> list[int]:
    assert report is not None
    return [server.address.port for server in report.servers]


def test_highest_index_is_known() -> None:
    reports, upstream = Reports(), make_upstream()
    assert reports.known(upstream) is None
    reports.take(1, upstream, make_report(0, 9, source="file"))
    reports.take(2, upstream, make_report(7, 1, 2))
    reports.take(1, upstream, make_report(5, 1))
    assert ports(reports.known(upstream)) == [1, 2]
    assert {pid: report.index for pid, report in reports.by_worker(upstream).items()} == {1: 5, 2: 7}


def test_index_that_starts_again_is_followed() -> None:
    """A restored Consul: every worker reports a lower index, one after the other."""
    reports, upstream = Reports(), make_upstream()
    for pid in (1, 2):
        reports.take(pid, upstream, make_report(1000, 1))
    reports.take(1, upstream, make_report(3, 2))
    assert ports(reports.known(upstream)) == [1]
    reports.take(2, upstream, make_report(3, 2))
    assert ports(reports.known(upstream)) == [2]


def test_dead_worker_does_not_hold_the_index() -> None:
    reports, upstream = Reports(), make_upstream()
    reports.take(1, upstream, make_report(1000, 1))
    reports.forget(1)
    assert ports(reports.known(upstream)) == [1]  # nothing newer is known
    reports.take(2, upstream, make_report(3, 2))
    assert ports(reports.known(upstream)) == [2]


def test_old_worker_that_drains_does_not_hold_the_index() -> None:
    """After a reload it asks Consul no more, and may live for hours; meanwhile Consul is restored."""
    reports, upstream = Reports(), make_upstream()
    reports.take(1, upstream, make_report(1000, 1), 1)
    reports.take(2, upstream, make_report(1000, 1), 2)
    reports.take(2, upstream, make_report(3, 2), 2)
    assert ports(reports.known(upstream)) == [2]
    reports.take(3, upstream, make_report(0, 9, source="file"), 3)
    assert ports(reports.known(upstream)) == [2], "a list of Consul's, whoever has it"


def test_worker_that_has_another_list_by_now_is_asked_again() -> None:
    reports, upstream = Reports(), make_upstream()
    for pid in (1, 2):
        reports.take(pid, upstream, brief(make_report(5, 1)))
    assert reports.to_ask() == [(1, 0)]
    reports.take(1, upstream, make_report(6, 2))  # its answer
    assert reports.to_ask() == [(2, 0)], "the other one has it still"
    reports.take(2, upstream, make_report(6, 2))
    reports.take(1, upstream, brief(make_report(7, 1)))  # and it comes back
    assert reports.to_ask() == [(1, 0)]
    reports.keep_only(Config("", "/"))
    reports.take(1, upstream, brief(make_report(7, 1)))
    assert reports.to_ask() == [(1, 0)], "of an upstream that was gone"


def test_a_list_that_is_packed_does_not_hide_a_later_report() -> None:
    """The control thread packs it, which takes a while with many servers; a puller reports meanwhile."""
    posted: list[int] = []
    worker = object.__new__(Worker)
    worker._told, worker._telling = {}, threading.Lock()
    worker._control = SimpleNamespace(post=lambda _key, body: posted.append(body["report"]["index"]))  # type: ignore[assignment]
    puller = threading.Thread(target=lambda: worker._report(make_report(6, 2)))

    class Packing(Report):
        def to_json(self) -> dict[str, object]:
            puller.start()
            puller.join(0.2)
            return {"index": self.index}

    old = make_report(5, 1)
    worker._report(Packing(0, "consul", 5, old.at, old.servers))
    worker._send_list(0)
    puller.join()
    assert posted == [5, 5, 6]


def test_order_of_the_first_worker_stays() -> None:
    reports, upstream = Reports(), make_upstream()
    reports.take(1, upstream, make_report(5, 1, 2))
    reports.take(2, upstream, make_report(6, 2, 1))
    assert (ports(reports.known(upstream)), reports.known(upstream).index) == ([1, 2], 6)  # type: ignore[union-attr]


def brief(report: Report) -> Report:
    """As a worker sends it: without the list."""
    return Report.from_json(json.loads(json.dumps(report.brief())))


def test_a_list_comes_once_from_one_worker() -> None:
    reports, upstream = Reports(), make_upstream()
    whole = make_report(5, 1, 2)
    for pid in (1, 2, 3):
        reports.take(pid, upstream, brief(whole))
    assert reports.known(upstream) is None, "a list that is not here is not known"
    assert reports.to_ask() == [(1, 0)]
    assert reports.to_ask() == []
    reports.take(1, upstream, whole)
    assert ports(reports.known(upstream)) == [1, 2]
    assert [ports(said) for said in reports.by_worker(upstream).values()] == [[1, 2], [1, 2], [1, 2]]
    reports.take(2, upstream, brief(make_report(6, 2, 1)))
    assert reports.to_ask() == [], "the same servers in another order"
    assert (ports(reports.known(upstream)), reports.known(upstream).index) == ([1, 2], 6)  # type: ignore[union-attr]


def test_another_worker_is_asked_when_the_first_one_dies() -> None:
    reports, upstream = Reports(), make_upstream()
    for pid in (1, 2):
        reports.take(pid, upstream, brief(make_report(5, 1)))
    assert reports.to_ask() == [(1, 0)]
    reports.forget(1)
    assert reports.to_ask() == [(2, 0)]
    reports.forget(2)
    assert reports.to_ask() == []


def test_what_is_known_stays_while_a_list_is_on_its_way() -> None:
    reports, upstream = Reports(), make_upstream()
    reports.take(1, upstream, make_report(5, 1))
    reports.take(1, upstream, brief(make_report(6, 1, 2)))
    assert (ports(reports.known(upstream)), reports.to_ask()) == ([1], [(1, 0)])
    reports.take(1, upstream, brief(make_report(7, 3)))  # changed again before it was sent
    assert reports.to_ask() == [(1, 0)]
    reports.take(1, upstream, make_report(7, 3))
    assert ports(reports.known(upstream)) == [3]


def test_one_list_in_memory_for_all_workers() -> None:
    """The second worker's word for a list costs nothing: its delta is not applied."""
    reports, upstream = Reports(), make_upstream()
    first = make_report(5, 1, 2)
    for pid in (1, 2, 3):
        reports.take(pid, upstream, first if pid == 1 else brief(first))
    servers = (*make_report(6, 3).servers, *first.servers)
    delta = Delta(first.digest, (), servers[:1], ())
    for pid in (1, 2, 3):
        reports.take(pid, upstream, brief(dataclasses.replace(first, index=6).with_servers(servers, delta=delta)))
    said = list(reports.by_worker(upstream).values())
    assert [ports(one) for one in said] == [[3, 1, 2]] * 3 and reports.to_ask() == []
    assert len({id(one.servers) for one in said}) == 1
    assert all(one.delta is None for one in said)


def test_a_delta_that_leads_elsewhere_is_not_believed() -> None:
    reports, upstream = Reports(), make_upstream()
    reports.take(1, upstream, first := make_report(5, 1, 2))
    wrong = Delta(first.digest, (), make_report(6, 3).servers, ())
    told = dataclasses.replace(make_report(6, 4, 1, 2), delta=wrong)
    reports.take(1, upstream, brief(told))
    assert (ports(reports.known(upstream)), reports.to_ask()) == ([1, 2], [(1, 0)])
    reports.take(1, upstream, told)
    assert ports(reports.known(upstream)) == [4, 1, 2]


def test_two_lists_with_the_same_servers_in_other_states_are_two() -> None:
    """One comes back while another goes down, or a name takes the place of another."""
    upstream = make_upstream()
    for one, two in itertools.combinations(range(1, 21), 2):
        reports = Reports()
        first = make_report(5, one, two)
        changes = [
            {"down": True},
            {"backup": True},
            {"max_conns": 9},
            {"weight": 2},
            {"slow_start_s": 9},
            {"written": "a:80"},
        ]
        for change in changes:
            before, after = (
                (dataclasses.replace(server, **change), other)  # type: ignore[arg-type]
                for server, other in (first.servers, first.servers[::-1])
            )
            reports.take(1, upstream, first.with_servers(before))
            reports.take(1, upstream, brief(dataclasses.replace(first, index=6).with_servers(after)))
            assert reports.to_ask() == [(1, 0)], f"ports {one} and {two}: {change}"


def test_a_new_worker_starts_with_a_plain_list() -> None:
    """The engine takes tuples; the lines of a dump are the master's."""
    reports, upstream = Reports(), make_upstream()
    reports.take(1, upstream, make_report(5, 1, 2))
    (start,) = reports.for_start(Config("", "/", upstreams=(upstream,))).values()
    assert type(start.servers) is tuple and ports(start) == [1, 2]


def test_lists_of_other_keys_are_kept_apart() -> None:
    """After a reload that changes the path, old workers still report the old one."""
    reports, before, after = Reports(), make_upstream(), make_upstream("/v1/kv/b")
    reports.take(1, before, make_report(900, 1))
    reports.take(2, after, make_report(5, 2, of=after))
    assert (ports(reports.known(before)), ports(reports.known(after))) == ([1], [2])


# Children


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def run(loop: Loop, condition: Callable[[], object], step: Callable[[float], None]) -> None:
    """Turn the loop until the condition holds."""

    def turn() -> object:
        for callback, events in loop.turn(0.01):
            callback(events)
        step(time.monotonic())
        return condition()

    wait_for(turn)


def test_chore_brings_a_large_result(loop: Loop) -> None:
    child = Child(loop, lambda: list(range(200_000)), "counting", time.monotonic() + 60)
    run(loop, lambda: child.outcome, child.check)
    assert child.outcome is not None and child.outcome.value[-1] == 199_999
    os.waitpid(child.pid, 0)


def test_chore_holds_nothing_of_its_parent(loop: Loop) -> None:
    """A slow disk must not keep a port open that the master has closed."""
    with socket.create_server(("127.0.0.1", 0)):
        child = Child(
            loop,
            lambda: [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 20) if _is_open(fd)],
            "x",
            time.monotonic() + 60,
        )
        run(loop, lambda: child.outcome, child.check)
    assert child.outcome is not None and len(child.outcome.value) == 1  # the pipe
    os.waitpid(child.pid, 0)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def fail() -> None:
    raise KeyError("my key")


@pytest.mark.parametrize(
    ("work", "error"),
    [(fail, "KeyError: 'my key'"), (lambda: os.kill(os.getpid(), 9), "died"), (lambda: os._exit(3), "died")],
)
def test_chore_that_fails(loop: Loop, work: Callable[[], None], error: str) -> None:
    child = Child(loop, work, "failing", time.monotonic() + 60)
    run(loop, lambda: child.outcome, child.check)
    assert child.outcome is not None and error in child.outcome.error
    os.waitpid(child.pid, 0)


def test_chore_that_hangs_is_killed(loop: Loop) -> None:
    child = Child(loop, threading.Event().wait, "hanging", time.monotonic() + 0.01)
    run(loop, lambda: child.outcome, child.check)
    assert child.outcome is not None and child.outcome.error == "hanging takes too long"
    assert os.WTERMSIG(os.waitpid(child.pid, 0)[1]) == 9


# Counters


def test_counters_outlive_workers_and_gauges_do_not() -> None:
    sums = worker_stats.WorkerStats()
    sums.reap({"pid": 7, "requests": 10, "clients": 3, "waiting": 2, "heartbeat_ms": 99})
    assert sums.sum([{"pid": 8, "requests": 5, "clients": 1, "waiting": 1, "heartbeat_ms": 1}]) == {
        "requests": 15,
        "clients": 1,
        "waiting": 1,
    }


# The error log


def read_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_log_lines_levels_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab") as file:
        log = Log([Target(file.fileno(), "warn")])
        log.warn("two\nlines")
        log.notice("not this")
        log.emerg("x" * 10_000)
        log.error("not UTF-8: \udcff")
    lines = path.read_bytes().splitlines()
    assert lines[0].endswith(f"[warn] {os.getpid()}#0: two".encode())
    assert lines[1].endswith(b"#0: lines")
    assert len(lines[2]) == MAX_LINE - 1 and lines[2].endswith(b"...")
    assert lines[3].endswith(b"not UTF-8: \xff")
    assert len(lines) == 4


def test_log_to_a_full_pipe_loses_lines_and_does_not_wait() -> None:
    reader, writer = os.pipe()
    log = Log([Target(writer, "info")])
    for _ in range(2000):
        log.info("x" * 100)
    assert log.lost > 0
    got = os.read(reader, 1 << 20)
    assert got.endswith(b"\n") and got.count(b"\n") + log.lost == 2000
    os.close(reader)
    log.info("nobody reads")  # EPIPE
    os.close(writer)


# What one generation tells the next


def crew_of(number: int, *upstreams: str) -> SimpleNamespace:
    named = tuple(Upstream("http", name, ()) for name in upstreams)
    return SimpleNamespace(number=number, config=Config("", "/", worker_processes=2, upstreams=named))


def test_handover_follows_names_and_slots() -> None:
    handover = Handover()
    old, new = crew_of(1, "a", "b"), crew_of(2, "b", "c", "a")
    handover.begin(old, {0, 1}, 100.0)  # type: ignore[arg-type]
    handover.take(1, 0, [[[1, 0], {"s 0": [1, 5, 0.0]}], [[2, 0], {}]])
    assert handover.until() > 100.0  # one is missing
    handover.take(1, 1, [[[3, 0], {}], [[4, 0], {}]])
    assert handover.until() == 0
    assert handover.give(new.config) == {
        0: {0: [[2, 0], {}], 2: [[1, 0], {"s 0": [1, 5, 0.0]}]},
        1: {0: [[4, 0], {}], 2: [[3, 0], {}]},
    }
    assert handover.give(new.config) == {}  # told once


def test_handover_with_more_workers_and_with_a_silent_one() -> None:
    """They take what the first knows, each at a place of its own."""
    handover = Handover()
    old = crew_of(7, "a")
    handover.begin(old, {0, 1}, 100.0)  # type: ignore[arg-type]
    handover.take(6, 0, "an older generation is not listened to")
    handover.take(7, 0, [[[5, 0], {"s 0": [2, 9, 0.0]}]])
    told = handover.give(dataclasses.replace(old.config, worker_processes=3))
    assert [told[slot][0][0] for slot in range(3)] == [[5, 0], [6, 1], [7, 2]]
    assert all(told[slot][0][1] == {"s 0": [2, 9, 0.0]} for slot in range(3))


def test_handover_refuses_what_no_engine_says() -> None:
    handover = Handover()
    handover.begin(crew_of(1, "a", "b"), {0}, 100.0)  # type: ignore[arg-type]
    for wrong in None, [], [[[0, 0], {}]]:
        with pytest.raises(ValueError, match="not one entry per upstream"):
            handover.take(1, 0, wrong)


# Sockets that were there before


def test_inherited_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken out of the environment; what is no listening socket, and others' variables, are passed over."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as idle:
        fds = os.dup(server.fileno()), os.dup(idle.fileno())
        environ = {"LB": f"{fds[0]};{fds[1]};", "LISTEN_FDS": "1", "LISTEN_PID": "1", "HOME": "/"}
        found = inherit.collect(environ)
        assert environ == {"HOME": "/"}
        assert found.text == f"{fds[0]};{fds[1]};" and found.has_parent and not found.keeps_files
        assert [inherit.address_of(sock).port for sock in found.sockets] == [server.getsockname()[1]]
        assert found.take([]) == {} and found.sockets == []
    for other in "north", "5", ";;":
        assert inherit.collect({"LB": other}) == inherit.Inherited(parent=os.getppid())
