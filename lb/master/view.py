"""The master as the status port sees it: everything copied into one View, so that pages know nothing of processes."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from lb import _fast
from lb.master.generation import Generation, Worker
from lb.master.heartbeat import MISSED_DOUBT
from lb.model import Upstream
from lb.status.certificates import CertificateView, StapleState
from lb.status.pages import BackOff, Death, UpstreamView, View, WorkerView

if TYPE_CHECKING:
    from lb.master.arbiter import Master


def make_health(master: Master) -> View:
    """Without upstreams and totals, which cost a look at everything."""
    generations = master.generations
    now = time.monotonic()
    last = master.last_reload
    return View(
        generation=generations.current.number,
        size=generations.current.config.worker_processes,
        stopping=generations.current.stopping is not None,
        workers=tuple(_worker(generation, worker, now) for generation, worker in generations.workers()),
        upstreams=(),
        totals={},
        last_reload=None if last is None else (last.at, last.error),
        dump_errors=master.dumps.failing(),
        waiting=_waiting(generations.current, now),
        started=master.started,
        reloads=master.reloads,
        reloads_failed=master.reloads_failed,
        restarts=generations.restarts,
        deaths=tuple(Death(*one) for one in generations.deaths),
        dump_failures=master.dumps.failures,
        certificates=_certificates(master),
        acme=tuple(master.acme.view()),
        ocsp_fetches=master.stapling.fetched,
        ocsp_failures=master.stapling.failures,
        certificate_renewals=master.certificates.renewals,
        certificate_failures=master.certificates.failures,
        checker=_checker(generations.current, now),
        checks=_fast.health_totals(generations.current.shm, generations.current.config.check_memory),
    )


def _certificates(master: Master) -> tuple[CertificateView, ...]:
    """Each certificate of a file once, with all servers that use it."""
    config = master.generations.current.config
    found: dict[tuple[str, str], CertificateView] = {}
    for place, server in enumerate(config.tls):
        error, since = master.certificates.error(place)
        for number, one in enumerate(server.certificates):
            staple = master.stapling.state(server, number)
            key = (one.file, one.facts.fingerprint)
            watch = server.watch
            before = found.get(key)
            users = config.tls_users[place]
            if before is not None:
                users = tuple(dict.fromkeys((*before.servers, *users)))
                error, since = (error, since) if error else (before.error, before.error_since)
                watch = watch or before.watch
                staple = _worse(staple, before.staple)
            found[key] = CertificateView(one, users, watch, error, since, staple)
    return tuple(found.values())


def _worse(one: StapleState | None, other: StapleState | None) -> StapleState | None:
    """Of two servers with one certificate: the one that has no response, or an error."""
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda state: (state.until, not state.error))


def make_view(master: Master) -> View:
    health, generations = make_health(master), master.generations
    now = time.monotonic()
    living = [_fast.read_stats(generation.shm, worker.slot) for generation, worker in generations.workers()]
    notes = [
        _fast.consul_notes(generation.shm, worker.slot, generation.layout)
        for generation, worker in generations.workers()
    ]
    seen = zip(health.workers, living, notes, strict=True)
    looked = tuple(_looked_at(one, stats, told, now) for one, stats, told in seen)
    workers = {worker.pid: worker for worker in looked}
    upstreams = (
        _upstream(master, workers, number, one) for number, one in enumerate(generations.current.config.upstreams)
    )
    return replace(
        health,
        workers=looked,
        upstreams=tuple(upstreams),
        totals=generations.totals.sum(living),
        snapshot=lambda: generations.server_stats.snapshot(generations.workers(), generations.current),
    )


def _worker(generation: Generation, worker: Worker, now: float) -> WorkerView:
    state = "stopping" if generation.stopping is not None else "ready" if worker.ready else "starting"
    if worker.missed >= MISSED_DOUBT and generation.stopping is None:
        state = "stuck"
    return WorkerView(worker.slot, worker.pid, generation.number, state, now - worker.born)


def _checker(generation: Generation, now: float) -> WorkerView | None:
    """The process that asks the servers of the present configuration, while there is one."""
    one = generation.checker.worker if generation.checker is not None else None
    if one is None:
        return None
    return _looked_at(_worker(generation, one, now), _fast.read_stats(generation.shm, one.slot), [], now)


def _looked_at(worker: WorkerView, stats: dict[str, int], consul: list[tuple[float, int]], now: float) -> WorkerView:
    """With its counters, and what the kernel says of the process."""
    beat = stats["heartbeat_ms"]
    worker = replace(worker, stats=stats, consul=consul, heartbeat_age_s=max(now - beat / 1000, 0.0) if beat else None)
    with contextlib.suppress(psutil.Error):  # it has just died
        process = psutil.Process(worker.pid)
        with process.oneshot():
            times = process.cpu_times()
            return replace(worker, cpu_s=times.user + times.system, rss=process.memory_info().rss)
    return worker


def _waiting(generation: Generation, now: float) -> tuple[BackOff, ...]:
    """The slots of a crash loop."""
    return tuple(
        BackOff(slot.number, slot.deaths, max(0.0, slot.fork_at - now))
        for slot in generation.slots
        if slot.fork_at is not None and slot.deaths
    )


def _upstream(master: Master, workers: dict[int, WorkerView], number: int, upstream: Upstream) -> UpstreamView:
    if upstream.upsync is None:
        return UpstreamView(number, upstream, None, ())
    said = master.reports.by_worker(upstream)
    applied = [(workers[pid], report) for pid, report in said.items() if pid in workers]
    applied.sort(key=lambda pair: (pair[0].generation, pair[0].slot))
    return UpstreamView(number, upstream, master.reports.known(upstream), tuple(applied))
