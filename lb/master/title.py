"""Process titles as nginx has them, for ps and pgrep: `lb: master process ...`, `lb: worker process`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

MASTER: Final = "lb: master process"
WORKER: Final = "lb: worker process"

try:
    from setproctitle import setproctitle
except ImportError:  # the title stays the command line: nothing else depends on it

    def setproctitle(title: str) -> None:
        return


def show_master() -> None:
    setproctitle(f"{MASTER} {' '.join(sys.argv)}")


def show_worker(stopping: bool = False) -> None:
    setproctitle(f"{WORKER}{' is shutting down' if stopping else ''}")


def show_chore(name: str) -> None:
    """A child of the master at work for a moment."""
    setproctitle(f"lb: {name}")


# Of other processes


def of(pid: int) -> str:
    """The title, or the command line; "" for a process that is gone or hidden from us."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def is_master(title: str) -> bool:
    return title.startswith(MASTER)


def is_worker(title: str) -> bool:
    return title.startswith(WORKER)
