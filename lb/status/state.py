"""/status.json: everything that the master knows, in one answer, for the page and for programs.

Times are Unix seconds (float) unless a name says otherwise; ages and delays are seconds. Fields are only ever added.

    time, version, pid, started, uptime     of the master
    generation, stopping                    number of the configuration that serves; lb is about to end
    reload      {count, failed, last, result, message}      result: none, ok, failed; last: null before the first
    connections {active, reading, writing, waiting, accepted, handled, requests}    of all workers, as stub_status
    totals      {name: number}              every counter of the engine, all workers since the start of lb
    restarts    workers that died and had to be replaced
    back_off    [{slot, deaths, next}]      slots that wait for their next worker; next: seconds until then
    dump_errors {path: why}
    workers     [{slot, pid, generation, state, age, heartbeat_age, cpu_seconds, rss_bytes, counters {name: number},
                  connections, accepted, handled, requests}]
                state: starting, ready, stuck, stopping; cpu_seconds and rss_bytes: null when they cannot be read
    upstreams   [{name, kind, balance, implicit, source, servers, sync}]
                kind: http, stream; source: where the list is from: file, dump, consul
      servers   [{address, state, weight, backup, down, max_fails, fail_timeout, max_conns}]
                state: up, down
      sync      null, or {address, path, in_sync, index, error, held, skipped [text],
                  workers [{slot, pid, generation, source, index, age, servers, last_error, next_try, skipped, held}]}
                age: since the last answer that agrees with the list, as far as the master was told;
                next_try: null, or when Consul is asked again after a failure
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lb import __version__
from lb.config.model import Server
from lb.upsync import start
from lb.upsync.report import Report

if TYPE_CHECKING:
    from lb.status.pages import UpstreamView, View, WorkerView


def status(view: View) -> dict[str, Any]:
    """The document, as plain values."""
    now = time.time()
    return {
        "time": now,
        "version": __version__,
        "pid": os.getpid(),
        "started": view.started,
        "uptime": now - view.started,
        "generation": view.generation,
        "stopping": view.stopping,
        "reload": _reload(view),
        "connections": {"active": view.totals.get("clients", 0)} | _connections(view.totals) | _traffic(view.totals),
        "totals": dict(view.totals),
        "restarts": view.restarts,
        "back_off": [{"slot": one.slot, "deaths": one.deaths, "next": one.next_in_s} for one in view.waiting],
        "dump_errors": dict(view.dump_errors),
        "workers": [_worker(worker) for worker in view.workers],
        "upstreams": [_upstream(one, now) for one in view.upstreams],
    }


def _reload(view: View) -> dict[str, Any]:
    at, error = view.last_reload or (None, "")
    return {
        "count": view.reloads,
        "failed": view.reloads_failed,
        "last": at,
        "result": "none" if at is None else "failed" if error else "ok",
        "message": error,
    }


def _connections(stats: Mapping[str, int]) -> dict[str, int]:
    return {name: stats.get(name, 0) for name in ("reading", "writing", "waiting")}


def _traffic(stats: Mapping[str, int]) -> dict[str, int]:
    return {
        "accepted": stats.get("accepts", 0),
        "handled": stats.get("handled", 0),
        "requests": stats.get("requests", 0),
    }


def _worker(worker: WorkerView) -> dict[str, Any]:
    stats = worker.stats
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": worker.state,
        "age": worker.age_s,
        "heartbeat_age": worker.heartbeat_age_s,
        "cpu_seconds": worker.cpu_s,
        "rss_bytes": worker.rss,
        "connections": {"active": stats.get("clients", 0)} | _connections(stats),
        **_traffic(stats),
        "counters": dict(stats),
    }


def _upstream(one: UpstreamView, now: float) -> dict[str, Any]:
    report = one.report
    return {
        "name": one.upstream.name,
        "kind": one.upstream.kind,
        "balance": one.upstream.balancer,
        "implicit": one.upstream.implicit,
        "source": report.source,
        "servers": [_server(server) for server in start.published(one.upstream, report)[0]],
        "sync": _sync(one, report, now) if one.upstream.upsync is not None else None,
    }


def _server(server: Server) -> dict[str, Any]:
    return {
        "address": str(server.address),
        "state": "down" if server.down else "up",
        "weight": server.weight,
        "backup": server.backup,
        "down": server.down,
        "max_fails": server.max_fails,
        "fail_timeout": server.fail_timeout_s,
        "max_conns": server.max_conns,
    }


def _sync(one: UpstreamView, report: Report, now: float) -> dict[str, Any]:
    assert one.upstream.upsync is not None
    upsync = one.upstream.upsync
    return {
        "address": f"{upsync.host}:{upsync.port}",
        "path": upsync.path,
        "in_sync": one.in_sync,
        "index": report.index,
        "error": report.error,
        "held": report.held,
        "skipped": list(report.skipped),
        "workers": [
            {
                "slot": worker.slot,
                "pid": worker.pid,
                "generation": worker.generation,
                "source": said.source,
                "index": said.index,
                "age": max(now - said.at, 0.0),
                "servers": said.count,
                "last_error": said.error,
                "next_try": said.next_try or None,
                "skipped": len(said.skipped),
                "held": said.held,
            }
            for worker, said in one.applied
        ],
    }
