"""Process titles as nginx has them, for ps and pgrep: `lb: master process ...`, `lb: worker process`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

MASTER: Final = "lb: master process"
WORKER: Final = "lb: worker process"
CHECKER: Final = "lb: checker process"

NAME: Final = "lb"

try:
    from setproctitle import setproctitle, setthreadtitle
except ImportError:  # the title stays the command line: nothing else depends on it

    def setproctitle(title: str) -> None:
        return

    def setthreadtitle(title: str) -> None:
        return


def _show(title: str) -> None:
    """The title, and a short name without spaces as nginx's is.

    setproctitle makes the beginning of the title the name.  Python from 3.12 on looks for the number of threads among
    the words of /proc/self/stat: with spaces in the name it takes the priority for it, and warns of every fork.
    """
    setproctitle(title)
    setthreadtitle(NAME)


def show_master() -> None:
    _show(f"{MASTER} {' '.join(sys.argv)}")


def show_worker(stopping: bool = False, checker: bool = False) -> None:
    _show(f"{CHECKER if checker else WORKER}{' is shutting down' if stopping else ''}")


def show_child(name: str) -> None:
    """A child of the master at work for a moment."""
    _show(f"lb: {name}")


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
