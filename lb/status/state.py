"""/status.json: everything that the master knows, in one answer, for the page and for programs.

Times are Unix seconds (float) unless a name says otherwise; ages and delays are seconds. Fields are only ever added.

    time, version, pid, started, uptime     of the master
    generation, stopping                    number of the configuration that serves; lb is about to end
    reload      {count, failed, last, result, message}      result: none, ok, failed; last: null before the first
    connections {active, reading, writing, waiting, accepted, handled, requests}    of all workers, as stub_status
    totals      {name: number}              every counter of the engine, all workers since the start of lb
    glitches    [{place, count, text}]      what should not have happened but has (COUNT_IF), since the start of lb
    restarts    workers that died and had to be replaced
    deaths      [{slot, at, text}]          the last of them, oldest first
    workers_wanted                          as the configuration has it
    back_off    [{slot, deaths, next}]      slots that wait for their next worker; next: seconds until then
    dump_errors {path: why}
    certificates [{file, names, subject, issuer, serial, fingerprint, not_before, not_after, days_left, state,
                  self_signed, chain, key_type, key_bits, servers, servers_count, watch, error, error_since, staple}]
                what clients are shown; names: DNS names and addresses; fingerprint: SHA-256; state: ok, soon (less than
                21 days), very soon (less than 7), expired, not yet valid; chain: certificates in the file; servers: the
                first 20 names of those that use it; watch: ssl_certificate_watch; error: why what the files are now is
                not used, "": it is; staple: null: no OCSP response is fetched for it, or {sent: is one sent, until:
                Unix seconds, its nextUpdate, error: why the last fetch failed, error_since}
    acme        [{issuer, names, file, state, not_after, next, failures, error, error_at}]
                certificates that an ACME server issues; state: starting, waiting (there is none yet), ordering, valid,
                failing; next: when the next one is asked for; failures: in a row, error: the last of them
    direct      COUNTS of the servers that proxy_pass with variables named by address
    checker     null: nobody is checked; {pid, age, state, heartbeat_age, places, used, refused, behind}
                places: servers that check_shm_size has room for; refused: that found none, and are not checked;
                behind: seconds that it was late with a check, at most
    workers     [{slot, pid, generation, state, age, heartbeat_age, cpu_seconds, rss_bytes, counters {name: number},
                  connections, accepted, handled, requests}]
                state: starting, ready, stuck, stopping; cpu_seconds and rss_bytes: null when they cannot be read
    upstreams   [{name, kind, balance, implicit, source, totals, servers, sync}]
                kind: http, stream; source: where the list is from: file, dump, consul; totals: COUNTS and no_live, of
                all servers there have been since the start of lb; no_live: requests for which no server could be chosen
      servers   [{address, state, since, retry_at, slow_start, weight, backup, down, drain, max_fails, fail_timeout,
                  max_conns, check, COUNTS}]
                state: up, down (by configuration or Consul), failed (max_fails failures in some worker, and no
                success since), draining (in no list any more, finishing, or `drain` is true), unhealthy (its checks
                fail), unchecked (no verdict yet, and down until there is one); since: when it changed to this state,
                null: no worker has said; retry_at: null, or from when on a failed one is tried again; slow_start:
                null, or how far it has come, 0 to 1; address "other": those beyond 16,384, counted in one
      check     null: it has none; {type, state, since, why, text, last, took, rise, fall, results, checks, failures,
                  skipped, decided, agent, share, late, changes}
                state: up, down, none (no verdict yet); why: how the last one ended: ok, none, connect, broken, closed,
                timeout, invalid, status, large, text, tls; text: the same in words; took: seconds; rise, fall: passed
                and failed ones in a row; results: the last ten, + and -, the oldest first; late: began late, because
                the one before took longer than the interval; skipped: not sent, because requests were
                answered; decided: who has taken it out (agent, check, "": nobody); agent: its last line; share: of its
                weight, as its agent says
      COUNTS    active, requests, responses {1xx, 2xx, 3xx, 4xx, 5xx}, bytes_in, bytes_out (from and to the server),
                failures (tries that count for max_fails), retries (requests that went on to the next server),
                retries_refused
                (by proxy_next_upstream_budget), connects,
                connect, first_byte, response: {count, sum, p50, p99}
                requests: stream: sessions. Seconds, estimated from the histograms; p50 and p99: null when count is 0
      sync      null, or {address, path, in_sync, index, error, held, skipped [text],
                  workers [{slot, pid, generation, source, index, age, servers, errors, last_error, next_try, skipped,
                            held}]}
                age: since Consul's last good answer, null: none yet; errors: queries of this worker that failed;
                next_try: null, or when Consul is asked again after a failure
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from lb import __version__
from lb.status import certificates
from lb.status.families import GLITCHES
from lb.status.servers import Shown, cells, count, quantile, total
from lb.status.servers import shown as servers_shown
from lb.status.snapshot import DIRECT, Snapshot
from lb.upsync.report import Report
from lb.upsync.source import place

if TYPE_CHECKING:
    from lb.status.pages import UpstreamView, View, WorkerView

SLICE: Final = 100  # servers


def status(view: View) -> Iterator[bytes]:
    """The document in pieces, each of SLICE servers at most: with thousands of them nobody is held up."""
    now = time.time()
    snapshot = view.snapshot()
    head = _master(view, snapshot, now)
    yield json.dumps(head)[:-1].encode() + b', "upstreams": ['
    for number, one in enumerate(view.upstreams):
        yield (b", " if number else b"") + json.dumps(_upstream(one, snapshot, now))[:-1].encode() + b', "servers": ['
        servers = servers_shown(one, snapshot)
        checks = one.upstream.check.type if one.upstream.check is not None else ""
        first = True
        while some := list(islice(servers, SLICE)):
            rows = json.dumps([_server(server, checks) for server in some])[1:-1].encode()
            yield rows if first else b", " + rows
            first = False
        yield b"]}"
    yield b"]}\n"


def _master(view: View, snapshot: Snapshot, now: float) -> dict[str, Any]:
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
        "glitches": _glitches(view.totals),
        "restarts": view.restarts,
        "deaths": [{"slot": one.slot, "at": one.at, "text": one.text} for one in view.deaths],
        "workers_wanted": view.size,
        "back_off": [{"slot": one.slot, "deaths": one.deaths, "next": one.next_in_s} for one in view.waiting],
        "dump_errors": dict(view.dump_errors),
        "checker": _checker(view),
        "workers": [_worker(worker) for worker in view.workers],
        "certificates": certificates.all_to_json(view),
        "acme": list(view.acme),
        "direct": _counts(total(DIRECT, snapshot)),
    }


def _glitches(totals: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {"place": place, "count": totals[name], "text": text} for place, name, text in GLITCHES if totals.get(name, 0)
    ]


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


def _upstream(one: UpstreamView, snapshot: Snapshot, now: float) -> dict[str, Any]:
    report = one.report
    row = total((one.upstream.kind, one.upstream.name), snapshot)
    return {
        "name": one.upstream.name,
        "kind": one.upstream.kind,
        "balance": one.upstream.balancer,
        "implicit": one.upstream.implicit,
        "source": report.source,
        "totals": _counts(row) | {"no_live": count(row, "no_live")},
        "sync": _sync(one, report, now) if one.upstream.upsync is not None else None,
    }


def _checker(view: View) -> dict[str, Any] | None:
    if view.checks is None:
        return None
    places, used, refused, _, behind_ms = view.checks
    one = view.checker
    return {
        "pid": one.pid if one else None,
        "age": one.age_s if one else None,
        "state": one.state if one else "gone",
        "heartbeat_age": one.heartbeat_age_s if one else None,
        "places": places,
        "used": used,
        "refused": refused,
        "behind": behind_ms / 1000,
    }


def _check(shown: Shown, kind: str) -> dict[str, Any] | None:
    row = shown.check
    if row is None:
        return None
    return {
        "type": kind,
        "state": "none" if row.unseen else "down" if row.down else "up",
        "since": row.since or None,
        "why": row.why,
        "text": row.text,
        "last": row.ended or None,
        "took": row.took_us / 1e6,
        "rise": row.rise,
        "fall": row.fall,
        "results": row.results,
        "checks": row.checks,
        "failures": row.failures,
        "skipped": row.skipped,
        "decided": row.decided,
        "agent": row.agent,
        "share": row.share,
        "late": row.late,
        "changes": row.changes,
    }


def _server(shown: Shown, checks: str) -> dict[str, Any]:
    server = shown.server
    return {
        "address": shown.address,
        "state": shown.state,
        "since": shown.since,
        "retry_at": shown.retry_at,
        "slow_start": shown.slow_start,
        "weight": shown.weight,
        "backup": shown.backup,
        "down": server is not None and server.down,
        "drain": server is not None and server.drain,
        "max_fails": server.max_fails if server is not None else 0,
        "fail_timeout": server.fail_timeout_s if server is not None else 0,
        "max_conns": server.max_conns if server is not None else 0,
        "check": _check(shown, checks),
        **_counts(shown.row),
    }


def _counts(row: memoryview) -> dict[str, Any]:
    return {
        "active": count(row, "active"),
        "requests": count(row, "requests"),
        "responses": {kind: count(row, f"status_{kind}") for kind in ("1xx", "2xx", "3xx", "4xx", "5xx")},
        "bytes_in": count(row, "received"),
        "bytes_out": count(row, "sent"),
        "failures": count(row, "failures"),
        "retries": count(row, "retries"),
        "retries_refused": count(row, "retries_refused"),
        "connects": count(row, "connects"),
        "connect": _times(row, "connect"),
        "first_byte": _times(row, "header"),
        "response": _times(row, "response"),
    }


def _times(row: memoryview, name: str) -> dict[str, Any]:
    counts = cells(row, name)
    if not any(counts):
        return {"count": 0, "sum": 0.0, "p50": None, "p99": None}
    return {
        "count": sum(counts),
        "sum": count(row, f"{name}_ms") / 1000,
        "p50": quantile(counts, 0.5),
        "p99": quantile(counts, 0.99),
    }


def _sync(one: UpstreamView, report: Report, now: float) -> dict[str, Any]:
    assert one.upstream.upsync is not None
    upsync = one.upstream.upsync
    return {
        "address": place(upsync.host, upsync.port),
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
                "age": max(now - answered, 0.0) if (answered := worker.answered(said)) else None,
                "servers": said.count,
                "errors": worker.errors(said),
                "last_error": said.error,
                "next_try": said.next_try or None,
                "skipped": len(said.skipped),
                "held": said.held,
            }
            for worker, said in one.applied
        ],
    }
