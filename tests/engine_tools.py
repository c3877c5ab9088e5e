"""What the tests of the engine share: a worker that stands still, so that events come together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from signal import SIGCONT, SIGSTOP

import psutil

from tests.harness.lb import Lb
from tests.harness.wait import wait_for


@contextlib.contextmanager
def stopped(lb: Lb) -> Iterator[None]:
    """The (only) worker does not run inside."""
    worker = lb.workers[0]
    worker.send_signal(SIGSTOP)
    wait_for(lambda: worker.status() == psutil.STATUS_STOPPED)
    try:
        yield
    finally:
        worker.send_signal(SIGCONT)
