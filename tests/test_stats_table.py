"""Counters are declared once, in lb/fast/c/stats.h: structs, tables and the names that Cython knows agree."""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path

import pytest

from lb import _fast
from lb.master import worker_stats
from lb.status import families
from lb.status.servers import AT

ENGINE = Path(__file__).resolve().parents[1] / "lb/fast"
SOURCE = "\n".join(re.sub(r"#.*", "", path.read_text()) for path in sorted(ENGINE.rglob("*.pyx")))
PXD = (ENGINE / "c/stats.pxd").read_text()
NAMES = [one.name for one in _fast.COUNTERS]


def declared(struct_name: str) -> set[str]:
    """The fields that stats.pxd tells Cython of."""
    body = re.search(rf"ctypedef struct {struct_name}:\n((?:        .*\n)+)", PXD)
    assert body
    return set(re.findall(r"\b(?!uint|char)([a-z]\w*)(?=[,\[\n])", body[1]))


def test_every_counter_is_a_field_that_the_engine_knows() -> None:
    assert declared("WorkerStats") == {*NAMES, "server_stats_used", "folding"}
    own = {
        "state",
        "upstream",
        "name_len",
        "name",
        "condition",
        "since",
        "retry_at",
        "slow_until",
        "slow_ms",
        "consul_answer",
    }
    assert declared("ServerStats") == {one.name for one in _fast.SERVER_COUNTERS} | own


def test_each_name_reads_its_own_field() -> None:
    """The table's places are offsets of the struct: each number comes back under one name, in the order of the list."""
    shm = mmap.mmap(-1, _fast.stats_size(2, 1))
    block = 640
    struct.pack_into(f"{len(NAMES)}Q", shm, block, *range(1, len(NAMES) + 1))
    assert list(_fast.read_stats(shm, 1).items()) == list(zip(NAMES, range(1, len(NAMES) + 1), strict=True))
    assert set(_fast.read_stats(shm, 0).values()) == {0}


def test_the_rows_of_servers_are_without_gaps() -> None:
    at = 0
    for one in _fast.SERVER_COUNTERS:
        assert (one.at, AT[one.name]) == (at, at)
        at += one.cells
    assert at < _fast.SERVER_STATS_ROW
    histograms = [one for one in _fast.SERVER_COUNTERS if one.kind == "histogram"]
    assert {one.cells for one in histograms} == {len(_fast.SERVER_STATS_BOUNDS) + 1}
    sums = {one.name for one in _fast.SERVER_COUNTERS if one.kind == "sum"}
    assert sums == {f"{one.name}_ms" for one in histograms}


def test_names_are_there_once() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len(AT) == len(_fast.SERVER_COUNTERS)


@pytest.mark.parametrize("one", _fast.COUNTERS, ids=lambda one: one.name)
def test_what_is_declared_is_counted(one: _fast.Counter) -> None:
    """The engine's code writes it, says what it is, and its kind is one that is known."""
    classes = re.fullmatch(r"status_\dxx", one.name)  # counted by place, from status_none on
    assert classes or re.search(rf"\bst\.{one.name}\b(?! *==)", SOURCE), f"nothing counts {one.name}"
    assert one.help.endswith(".")
    assert one.kind in ("counter", "named", "gauge", "private", "glitch")


def test_every_metric_that_is_declared_is_written() -> None:
    written = {one.name for one in families.families()}
    for one in _fast.COUNTERS:
        for metric in (one.metric, one.worker_metric):
            assert not metric or metric.split()[0] in written
    for row in _fast.SERVER_COUNTERS:
        if row.metric:
            assert f"lb_upstream_{row.metric.split()[0]}" in written
            assert (f"lb_server_{row.metric.split()[0]}" in written) == row.servers


def test_a_gauge_ends_with_its_worker() -> None:
    """temp_files among them: a dead worker uses none."""
    sums = worker_stats.WorkerStats()
    sums.reap(dict.fromkeys(NAMES, 7))
    kept = sums.sum([])
    assert kept.keys() == {one.name for one in _fast.COUNTERS if one.kind not in ("gauge", "private")}
    assert set(kept.values()) == {7}


# ---- COUNT_IF


def test_each_glitch_has_one_place() -> None:
    used = re.findall(r"COUNT_IF\(.*, loop\.st\.(\w+)\)", SOURCE)
    assert sorted(used) == sorted(name for name in NAMES if name.startswith("glitch_"))
    assert {one.kind for one in _fast.COUNTERS if one.name.startswith("glitch_")} == {"glitch"}
