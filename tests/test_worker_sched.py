"""The loop of a worker may interrupt who shares its core: its thread, and no other, has the shortest slice."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

import pytest

from tests.harness.lb import Lb

ATTR = struct.Struct("=IIQiIQQQ")  # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
GETATTR = {"x86_64": 315, "aarch64": 275}
SLICE_NS = 100_000
HONOURED = (6, 12)  # the first Linux that lets a thread of SCHED_OTHER choose, and tells
CONFIG = """
http {
    access_log off;
    server { listen 127.0.0.1:@http@; location / { return 204; } }
}
"""


def attributes(thread: int) -> tuple[int, int, int]:
    """Policy, nice value and slice (ns) of a thread."""
    text = ctypes.create_string_buffer(ATTR.size)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(GETATTR[platform.machine()], thread, text, ATTR.size, 0):
        raise OSError(ctypes.get_errno(), "sched_getattr")
    _, policy, _, nice, _, runtime, _, _ = ATTR.unpack(text.raw)
    return policy, nice, runtime


def linux() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


@pytest.mark.skipif(
    linux() < HONOURED or platform.machine() not in GETATTR, reason="the kernel has no slices of threads"
)
def test_the_loop_and_no_other_thread(run_lb):
    lb = run_lb(CONFIG)
    for worker in lb.workers:
        assert attributes(worker.pid) == (os.SCHED_OTHER, worker.nice(), SLICE_NS)
        others = [thread.id for thread in worker.threads() if thread.id != worker.pid]
        assert others  # the control thread, at least
        assert all(attributes(thread)[2] != SLICE_NS for thread in others)


def test_another_policy_is_left_alone(tmp_path):
    """An operator who starts lb with chrt means it."""
    lb = Lb(tmp_path)
    lb.inside = ["chrt", "--batch", "0"]
    lb.start(CONFIG)
    try:
        assert {attributes(worker.pid)[0] for worker in lb.workers} == {os.SCHED_BATCH}
    finally:
        assert lb.stop() == 0
