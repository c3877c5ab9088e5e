"""The master as the status port sees it: everything copied into one View, so that pages know nothing of processes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lb import _fast
from lb.config.model import Upstream
from lb.master.crew import Crew, Worker
from lb.status.pages import UpstreamView, View, WorkerView

if TYPE_CHECKING:
    from lb.master.arbiter import Master


def make_view(master: Master) -> View:
    crews = master.crews
    now = time.monotonic()
    workers = {worker.pid: _worker(crew, worker, now) for crew, worker in crews.workers()}
    living = [_fast.read_stats(crew.shm, worker.slot) for crew, worker in crews.workers()]
    config = crews.current.config
    last = master.last_reload
    return View(
        generation=crews.current.number,
        size=config.worker_processes,
        stopping=crews.current.stopping is not None,
        workers=tuple(workers.values()),
        upstreams=tuple(_upstream(master, workers, number, one) for number, one in enumerate(config.upstreams)),
        totals=crews.totals.sum(living),
        last_reload=None if last is None else (last.at, last.error),
        dump_errors=master.dumps.failing(),
    )


def _worker(crew: Crew, worker: Worker, now: float) -> WorkerView:
    state = "stopping" if crew.stopping is not None else "ready" if worker.ready else "starting"
    return WorkerView(worker.slot, worker.pid, crew.number, state, now - worker.born)


def _upstream(master: Master, workers: dict[int, WorkerView], number: int, upstream: Upstream) -> UpstreamView:
    if upstream.upsync is None:
        return UpstreamView(number, upstream, None, ())
    said = master.reports.by_worker(upstream)
    applied = [(workers[pid], report) for pid, report in said.items() if pid in workers]
    applied.sort(key=lambda pair: (pair[0].generation, pair[0].slot))
    return UpstreamView(number, upstream, master.reports.known(upstream), tuple(applied))
