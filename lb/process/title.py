"""Process titles as nginx has them, for ps and pgrep: `lb: master process ...`, `lb: worker process`."""

from __future__ import annotations

import sys

try:
    from setproctitle import setproctitle
except ImportError:  # the title stays the command line: nothing else depends on it

    def setproctitle(title: str) -> None:
        return


def show_master() -> None:
    setproctitle(f"lb: master process {' '.join(sys.argv)}")


def show_worker(stopping: bool = False) -> None:
    setproctitle(f"lb: worker process{' is shutting down' if stopping else ''}")


def show_chore(name: str) -> None:
    """A child of the master at work for a moment."""
    setproctitle(f"lb: {name}")
