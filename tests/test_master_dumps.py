"""Dump files: once per list, tried again; by one child for many, replaced when it dies or hangs, never in the way."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lb.log import Log
from lb.master import reports
from lb.master.dump_writer import DumpWriter
from lb.master.reports import Dumps
from lb.model import Address, Server
from lb.process.loop import Loop
from lb.upsync import dump
from tests.harness.wait import wait_for

OTHERS: list[int] = []  # children of this process that were there before, such as the Consul of all tests


class Lines(Log):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def write(self, level: str, text: str) -> None:
        self.lines.append(f"[{level}] {text}")


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def log() -> Lines:
    return Lines()


@pytest.fixture
def dumps(loop: Loop, log: Lines) -> Iterator[Dumps]:
    """Whatever a test does: in the end there is no child and no descriptor more than before."""
    open_before = len(os.listdir("/proc/self/fd"))
    OTHERS[:] = [one.pid for one in psutil.Process().children()]
    made = Dumps(loop, log)
    yield made
    made.close()
    assert len(os.listdir("/proc/self/fd")) <= open_before  # fewer: garbage of an earlier test
    wait_for(lambda: not children(), "the children to end")


def children() -> list[psutil.Process]:
    """Those of the test that live; the dead are reaped, as the arbiter does."""
    ours = [child for child in psutil.Process().children() if child.pid not in OTHERS]
    for child in ours:
        if child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, 0)
    return [child for child in ours if child.is_running()]


def server(port: int) -> Server:
    return Server(f"10.0.0.1:{port}", Address(socket.AF_INET, "10.0.0.1", port))


def turn(loop: Loop, dumps: Dumps) -> None:
    for callback, events in loop.turn(0.01):
        callback(events)
    dumps.step(time.monotonic())


def until(loop: Loop, dumps: Dumps, condition: Callable[[], object]) -> None:
    wait_for(lambda: (turn(loop, dumps), condition())[1])


def pid_of(dumps: Dumps) -> int:
    assert dumps.dump_writer is not None
    return dumps.dump_writer.pid


# What is written


def test_dump_is_written_once_per_list(loop: Loop, dumps: Dumps, log: Lines, tmp_path: Path) -> None:
    path = str(tmp_path / "d")
    for _ in range(3):  # as many workers
        dumps.want(path, (server(1),))
        until(loop, dumps, lambda: dumps.idle)
    dumps.want(path, (server(1), server(2)))
    until(loop, dumps, lambda: dumps.idle)
    assert Path(path).read_text().count("server 10.0.0.1:") == 2
    assert log.lines == [
        f"[notice] upsync_dump_server: dump conf file {path} succeeded, number of servers is 1",
        f"[notice] upsync_dump_server: dump conf file {path} succeeded, number of servers is 2",
    ]


def test_newest_list_wins_while_one_is_written(loop: Loop, dumps: Dumps, tmp_path: Path) -> None:
    path = str(tmp_path / "d")
    dumps.want(path, (server(1),))
    dumps.step(time.monotonic())
    for port in (2, 3):
        dumps.want(path, (server(port),))
    until(loop, dumps, lambda: dumps.idle)
    assert "10.0.0.1:3 " in Path(path).read_text()


def test_failing_dump_is_said_once_and_tried_again(loop: Loop, dumps: Dumps, log: Lines, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    dumps.want(str(folder / "d"), (server(1),))
    dumps.want(str(tmp_path / "good"), (server(2),))
    until(loop, dumps, lambda: dumps.failures >= 2)
    assert (tmp_path / "good").exists()
    errors = [line for line in log.lines if line.startswith("[error]")]
    assert len(errors) == 1 and "2: No such file or directory" in errors[0]
    assert dumps.idle  # the end does not wait for a broken disk
    assert dumps.failing().keys() == {str(folder / "d")}
    folder.mkdir()
    until(loop, dumps, lambda: not dumps.failing())
    assert (folder / "d").exists()
    assert log.lines[-1].endswith("number of servers is 1, at last")


def test_a_dump_that_is_not_wanted_any_more_is_forgotten(loop: Loop, dumps: Dumps, log: Lines, tmp_path: Path) -> None:
    """After a reload with another path: no further try, no line on the page, also not of the try that is under way."""
    bad, good = str(tmp_path / "none/d"), str(tmp_path / "d")
    dumps.want(bad, (server(1),))
    until(loop, dumps, lambda: dumps.failures >= 1)
    until(loop, dumps, lambda: dumps.busy)
    dumps.keep_only({good})
    dumps.want(good, (server(1),))
    until(loop, dumps, lambda: not dumps.busy and Path(good).exists())
    assert (dumps.failing(), dumps.failures, dumps.idle) == ({}, 1, True)
    assert [line for line in log.lines if bad in line and "succeeded" in line] == []


@pytest.mark.parametrize(("files", "size"), [(250, 1), (5, 6000)])
def test_many_dumps_are_written_in_batches(loop: Loop, dumps: Dumps, tmp_path: Path, files: int, size: int) -> None:
    """Never so many files that the child's time could not be enough, nor so many lines that the master takes long."""
    servers = tuple(map(server, range(1, size + 1)))
    for number in range(files):
        dumps.want(str(tmp_path / str(number)), servers)
    deadlines = set()  # one for each batch

    def done() -> bool:
        if dumps.busy:
            deadlines.add(dumps.deadline())
        return dumps.idle

    until(loop, dumps, done)
    assert len(deadlines) == 3
    assert len(list(tmp_path.iterdir())) == files
    assert {one.read_bytes() for one in tmp_path.iterdir()} == {dump.data(servers)}


# The child


def test_one_child_writes_every_change(loop: Loop, dumps: Dumps, tmp_path: Path) -> None:
    path, pids = tmp_path / "d", set()
    for count in (3, 1, 500, 2):  # a short one after a long one: nothing of the last text stays
        servers = tuple(map(server, range(1, count + 1)))
        dumps.want(str(path), servers)
        until(loop, dumps, lambda: dumps.idle)
        assert path.read_bytes() == dump.data(servers)
        assert dump.read(str(path)) == servers
        pids.add(pid_of(dumps))
    assert len(pids) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_child_holds_nothing_of_its_parent(loop: Loop, dumps: Dumps, tmp_path: Path) -> None:
    """No listener, and no log that was rotated away: only the socket and the memory file."""
    with socket.create_server(("127.0.0.1", 0)), (tmp_path / "log").open("w") as file:
        dumps.want(str(tmp_path / "d"), (server(1),))
        until(loop, dumps, lambda: dumps.idle)
        fds = Path(f"/proc/{pid_of(dumps)}/fd")
        held = {int(fd.name): os.readlink(fd) for fd in fds.iterdir()}
        assert file.name not in held.values()
    assert [held.pop(fd) for fd in range(3)] == [os.devnull] * 3
    assert sorted(one.split(":")[0] for one in held.values()) == ["/memfd", "socket"]
    assert psutil.Process(pid_of(dumps)).nice() == min(os.nice(0) + 10, 19)


def test_the_child_goes_when_nothing_comes(
    loop: Loop, dumps: Dumps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "LINGER_S", 0.05)
    dumps.want(str(tmp_path / "d"), (server(1),))
    until(loop, dumps, lambda: dumps.idle)
    assert dumps.deadline() is not None, "somebody has to look at it again"
    until(loop, dumps, lambda: dumps.dump_writer is None)
    wait_for(lambda: not children(), "the child to end by itself")
    assert dumps.deadline() is None
    dumps.want(str(tmp_path / "d"), (server(2),))
    until(loop, dumps, lambda: dumps.idle)
    assert dump.read(str(tmp_path / "d")) == (server(2),)


def test_a_child_that_dies_idle_is_replaced(loop: Loop, dumps: Dumps, log: Lines, tmp_path: Path) -> None:
    dumps.want(str(tmp_path / "d"), (server(1),))
    until(loop, dumps, lambda: dumps.idle)
    os.kill(pid_of(dumps), signal.SIGKILL)
    until(loop, dumps, lambda: dumps.dump_writer is None)
    dumps.want(str(tmp_path / "d"), (server(2),))
    until(loop, dumps, lambda: dumps.idle)
    assert dump.read(str(tmp_path / "d")) == (server(2),)
    assert not [line for line in log.lines if "[error]" in line]


def test_a_child_that_died_unseen_costs_a_try(loop: Loop, dumps: Dumps, log: Lines, tmp_path: Path) -> None:
    """Between two turns of the loop: the order goes nowhere. It is an error like any other: said, and tried again."""
    dumps.want(str(tmp_path / "d"), (server(1),))
    until(loop, dumps, lambda: dumps.idle)
    os.kill(pid_of(dumps), signal.SIGKILL)
    os.waitpid(pid_of(dumps), 0)
    dumps.want(str(tmp_path / "d"), (server(2),))
    dumps.step(time.monotonic())
    until(loop, dumps, lambda: "at last" in log.lines[-1])
    assert dump.read(str(tmp_path / "d")) == (server(2),)
    assert [line for line in log.lines if "[error]" in line] == [
        f'[error] upsync_dump_server: dump file "{tmp_path / "d"}" cannot be written, will be tried again: '
        "the process that did it died"
    ]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Writes wait while this file exists."""
    barrier, write = tmp_path / "stuck", dump.replace

    def replace(path: str, content: bytes) -> None:
        while barrier.exists():
            time.sleep(0.01)
        write(path, content)

    barrier.touch()
    monkeypatch.setattr(dump, "replace", replace)
    return barrier


def test_a_stuck_disk_holds_up_nobody(
    loop: Loop, dumps: Dumps, log: Lines, tmp_path: Path, stuck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "WRITE_WITHIN_S", 0.2)
    dumps.want(str(tmp_path / "d"), (server(1),))
    turn(loop, dumps)
    first = pid_of(dumps)
    assert dumps.busy and not dumps.idle
    until(loop, dumps, lambda: dumps.failing())
    assert dumps.failing() == {str(tmp_path / "d"): "writing dump files takes too long"}
    wait_for(lambda: first not in [child.pid for child in children()], "the child to be killed")
    dumps.want(str(tmp_path / "d"), (server(2),))
    stuck.unlink()
    until(loop, dumps, lambda: not dumps.failing())
    assert dump.read(str(tmp_path / "d")) == (server(2),)
    assert log.lines[-1].endswith("number of servers is 1, at last")


def test_a_child_that_is_killed_at_work(loop: Loop, dumps: Dumps, tmp_path: Path, stuck: Path) -> None:
    dumps.want(str(tmp_path / "d"), (server(1),))
    turn(loop, dumps)
    os.kill(pid_of(dumps), signal.SIGKILL)
    until(loop, dumps, lambda: dumps.failing())
    assert dumps.failing() == {str(tmp_path / "d"): "the process that did it died"}
    stuck.unlink()
    until(loop, dumps, lambda: dumps.idle and not dumps.failing())
    assert dump.read(str(tmp_path / "d")) == (server(1),)


def test_a_write_under_way_is_finished_without_the_master(
    loop: Loop, dumps: Dumps, tmp_path: Path, stuck: Path
) -> None:
    """The end of the master waits for a disk for some time only; the child goes on alone."""
    dumps.want(str(tmp_path / "d"), (server(1),))
    turn(loop, dumps)
    dumps.close()
    stuck.unlink()
    wait_for(lambda: not children(), "the child to end by itself")
    assert dump.read(str(tmp_path / "d")) == (server(1),)


def test_a_worker_closes_its_copies(loop: Loop, dumps: Dumps, tmp_path: Path) -> None:
    """Else the child would outlive a master that was killed."""
    dumps.want(str(tmp_path / "d"), (server(1),))
    until(loop, dumps, lambda: dumps.idle)
    dump_writer = dumps.dump_writer
    assert dump_writer is not None
    dump_writer.close_copy()
    assert dump_writer.gone
    wait_for(lambda: not children(), "the child to see the end")


def test_no_child_no_descriptor_when_fork_fails(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="temporarily"):
        DumpWriter(loop)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_link_that_leads_to_itself_harms_no_other_file(loop: Loop, dumps: Dumps, log: Lines, tmp_path: Path) -> None:
    """All that is due is one order: what goes wrong with one path is no word on the others."""
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to(link)
    dumps.want(str(link), (server(1),))
    dumps.want(str(other), (server(2),))
    until(loop, dumps, lambda: dumps.failing() and not dumps.busy)
    assert dump.read(str(other)) == (server(2),)
    assert dumps.failing() == {str(link): "40: Too many levels of symbolic links"}
    assert link.is_symlink()
    assert all("Traceback" not in line for line in log.lines)
    link.unlink()
    until(loop, dumps, lambda: not dumps.failing())
    assert dump.read(str(link)) == (server(1),)
