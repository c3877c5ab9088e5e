"""What the tests of the master look at: processes, listening sockets, log lines."""

from __future__ import annotations

import contextlib
import re

import psutil

from tests.harness.lb import Lb, title_of
from tests.harness.wait import wait_for


def workers(lb: Lb) -> list[psutil.Process]:
    """The workers that serve or start: not those that finish, not a child that reads a file for the master."""
    found = []
    for process in lb.workers:
        with contextlib.suppress(psutil.Error):
            title = title_of(process)
            if title == "lb: worker process" or (
                title and not title.startswith("lb: ")
            ):  # without setproctitle all look the same
                found.append(process)
    return found


def pids(lb: Lb) -> set[int]:
    return {process.pid for process in workers(lb)}


def wait_replaced(lb: Lb, old: set[int], count: int) -> set[int]:
    """Wait until `count` workers serve, none of them one of `old`."""
    return wait_for(
        lambda: pids(lb) if len(pids(lb)) == count and not pids(lb) & old else None,
        lambda: f"{count} new workers instead of {old}, there are {pids(lb)}:\n{lb.log}",
    )  # type: ignore[return-value]


def listening_inodes(port: int) -> list[str]:
    """The kernel's sockets that listen on a loopback port."""
    wanted = f"0100007F:{port:04X}"
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in table.readlines()[1:]]
    return [row[9] for row in rows if row[1] == wanted and row[3] == "0A"]


def messages(lb: Lb) -> list[str]:
    """The error log without times and process numbers: `[notice] exit`."""
    found = re.findall(r"^\S+ \S+ (\[\w+\]) \d+#0: (.*)$", lb.log, re.MULTILINE)
    return [f"{level} {text}" for level, text in found]
