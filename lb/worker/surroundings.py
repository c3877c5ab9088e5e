"""What a worker sets of itself as a process: limits and priority while it may, CPUs and directory as its user.

As nginx, what the system refuses is an alert in the log, and the worker goes on.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lb.log import Log

if TYPE_CHECKING:
    from lb.worker.main import Job


def set_limits(job: Job) -> None:
    """Before the user changes."""
    process = job.config.process
    os.environ.update(process.environment)
    if process.priority and not job.checker:
        with _or_alert(job.log, f"setpriority({process.priority})"):
            os.setpriority(os.PRIO_PROCESS, 0, process.priority)
    files = job.config.worker_rlimit_nofile
    if job.checker:  # a descriptor for each server
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files is not None:
        with _or_alert(job.log, f"setrlimit(RLIMIT_NOFILE, {files})"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if process.core is not None:
        with _or_alert(job.log, f"setrlimit(RLIMIT_CORE, {process.core})"):
            resource.setrlimit(resource.RLIMIT_CORE, (process.core, process.core))


def settle(job: Job) -> None:
    """When the user has changed."""
    process = job.config.process
    cpus = process.cpus(job.slot)
    if cpus and not job.checker:
        for cpu in sorted(cpus):
            job.log.notice(f"sched_setaffinity(): using cpu #{cpu}")
        with _or_alert(job.log, "sched_setaffinity()"):
            os.sched_setaffinity(0, cpus)
    if process.directory:
        with _or_alert(job.log, f'chdir("{process.directory}")'):
            os.chdir(process.directory)


@contextlib.contextmanager
def _or_alert(log: Log, call: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: above the hard limit, and not root
        log.alert(f"{call} failed: {error}")
