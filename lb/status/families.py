"""The metrics of /metrics: each declared once, with its name, type and meaning, and where its samples are from.

FEW: of the master, its workers and Consul, made from a View.  PARTS: what is counted for each upstream and server, in
rows (lb.master.server_stats): lb_upstream_NAME and lb_server_NAME.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lb import __version__, _fast
from lb.status.snapshot import STATES
from lb.upsync.report import Report

if TYPE_CHECKING:
    from lb.status.pages import UpstreamView, View, WorkerView


NAMED: Final = "named"  # a counter whose name does not end in _total: the exporter of nginx has such

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    """`labels`: for the documentation. `samples`: of those that are few; the others are made of rows."""

    name: str  # without _total
    kind: str  # counter, gauge, histogram, NAMED
    help: str
    labels: str = ""
    samples: Callable[[View], Iterator[Sample]] | None = None

    @property
    def written(self) -> str:
        """The name of its samples."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def shown_kind(self) -> str:
        return "counter" if self.kind == NAMED else self.kind


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that rows count, a family of upstreams and one of servers: lb_upstream_NAME and lb_server_NAME."""

    name: str
    kind: str
    help: str
    fields: tuple[tuple[str, str], ...]  # label text, and field of the row; of a histogram: its own field
    servers: bool = True


CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
PARTS: Final = (
    Part("requests", "counter", "Requests (stream: sessions) given to servers, retries included.", (("", "requests"),)),
    Part("responses", "counter", "Answers of servers by class.", tuple((f',code="{one}"', one) for one in CLASSES)),
    Part("sent_bytes", "counter", "Bytes sent to servers.", (("", "sent"),)),
    Part("received_bytes", "counter", "Bytes received from servers.", (("", "received"),)),
    Part("retries", "counter", "Requests that a server failed and the next one got.", (("", "retries"),)),
    Part("failures", "counter", "Failed tries that count for max_fails.", (("", "failures"),)),
    Part("connects", "counter", "Connections begun.", (("", "connects"),)),
    Part("no_live", "counter", "Requests for which no server could be chosen.", (("", "no_live"),), servers=False),
    Part("consul_errors", "counter", "Queries to Consul that failed.", (("", "consul_errors"),), servers=False),
    Part("active", "gauge", "Requests and sessions that servers work on now.", (("", "active"),)),
    Part("connect_seconds", "histogram", "Time until a connection was made.", (("", "connect"),)),
    Part(
        "first_byte_seconds",
        "histogram",
        "Time from the choice of the server to the head of its answer (stream: its first byte).",
        (("", "header"),),
    ),
    Part(
        "response_seconds",
        "histogram",
        "Time from the choice of the server to the end of its answer (stream: of the session).",
        (("", "response"),),
    ),
)


# Few samples: of the master, its workers, and Consul

Samples = Iterator[Sample]


def _single(value: Callable[[View], float]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        yield (), value(view)

    return samples


def _sum(name: str) -> Callable[[View], Samples]:
    return _single(lambda view: view.totals.get(name, 0))


def _of_workers(value: Callable[[WorkerView], float | None]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        for worker in view.workers:
            found = value(worker)
            if found is not None:
                yield _worker(worker), found

    return samples


def _counter(name: str) -> Callable[[View], Samples]:
    return _of_workers(lambda worker: worker.stats.get(name))


def _worker(worker: WorkerView) -> Labels:
    return ("worker", str(worker.slot)), ("pid", str(worker.pid))


def _worker_info(view: View) -> Samples:
    for worker in view.workers:
        yield (*_worker(worker), ("generation", str(worker.generation)), ("state", worker.state)), 1


def _worker_connections(view: View) -> Samples:
    for worker in view.workers:
        for state in ("reading", "writing", "waiting"):
            yield (*_worker(worker), ("state", state)), worker.stats.get(state, 0)


def _responses(view: View) -> Samples:
    for one in CLASSES:
        yield (("code", one),), view.totals.get(f"status_{one}", 0)


def _reloads(view: View) -> Samples:
    yield (("result", "ok"),), view.reloads - view.reloads_failed
    yield (("result", "failed"),), view.reloads_failed


def _last_reload(view: View) -> Samples:
    if view.last_reload is not None:
        yield (), view.last_reload[0]


def _last_reload_ok(view: View) -> Samples:
    if view.last_reload is not None:
        yield (), float(not view.last_reload[1])


def _dumps(view: View) -> Samples:
    for path in view.dump_errors:
        yield (("path", path),), 1


def _build(view: View) -> Samples:
    yield (("version", __version__), *sorted(_fast.BUILT.items())), 1


def _of_upstreams(value: Callable[[UpstreamView], float]) -> Callable[[View], Samples]:
    """Those that follow Consul."""

    def samples(view: View) -> Samples:
        for one in view.upstreams:
            if one.upstream.upsync is not None:
                yield upstream_labels(one), value(one)

    return samples


def upstream_labels(one: UpstreamView) -> Labels:
    return ("kind", one.upstream.kind), ("upstream", one.upstream.name)


def _of_reports(value: Callable[[WorkerView, Report], float | None]) -> Callable[[View], Samples]:
    """Of each worker and upstream that follows Consul."""

    def samples(view: View) -> Samples:
        for one in view.upstreams:
            for worker, report in one.applied:
                found = value(worker, report)
                if found is not None:
                    yield (*upstream_labels(one), *_worker(worker)), found

    return samples


def _answer_age(worker: WorkerView, report: Report) -> float | None:
    at = worker.answered(report)
    return max(time.time() - at, 0.0) if at else None


def _ready(view: View) -> int:
    return sum(worker.state == "ready" for worker in view.workers)


BY_WORKER: Final = "worker, pid"
BY_SYNC: Final = "kind, upstream, worker, pid"
FEW: Final = (
    Family("nginx_up", "gauge", "1 while some worker serves.", "", _single(lambda view: float(_ready(view) > 0))),
    Family("nginx_connections_accepted", NAMED, "Client connections accepted.", "", _sum("accepts")),
    Family("nginx_connections_handled", NAMED, "Client connections handled.", "", _sum("handled")),
    Family("nginx_connections_active", "gauge", "Client connections open.", "", _sum("clients")),
    Family("nginx_connections_reading", "gauge", "Clients that are sending a head.", "", _sum("reading")),
    Family("nginx_connections_writing", "gauge", "Clients with a request under way.", "", _sum("writing")),
    Family("nginx_connections_waiting", "gauge", "Idle clients.", "", _sum("waiting")),
    Family("nginx_http_requests", "counter", "HTTP requests.", "", _sum("requests")),
    Family("lb_build_info", "gauge", "Always 1; what runs is in the labels.", "version, mode, ...", _build),
    Family(
        "lb_start_time_seconds", "gauge", "Unix time of the master's start.", "", _single(lambda view: view.started)
    ),
    Family("lb_generation", "gauge", "Number of the configuration that serves.", "", _single(lambda v: v.generation)),
    Family("lb_reloads", "counter", "Reloads that are over.", "result", _reloads),
    Family("lb_last_reload_timestamp_seconds", "gauge", "Unix time of the last one's end.", "", _last_reload),
    Family("lb_last_reload_successful", "gauge", "1: the last reload went well; 0: it failed.", "", _last_reload_ok),
    Family("lb_http_responses", "counter", "Answers to clients by class.", "code", _responses),
    Family("lb_stream_sessions", "counter", "Stream sessions begun.", "", _sum("sessions")),
    Family("lb_received_bytes", "counter", "Bytes from clients.", "", _sum("bytes_in")),
    Family("lb_sent_bytes", "counter", "Bytes to clients.", "", _sum("bytes_out")),
    Family("lb_refused_heads", "counter", "Requests refused because they are no proper HTTP.", "", _sum("refused")),
    Family("lb_accept_errors", "counter", "Connections that could not be accepted.", "", _sum("accept_errors")),
    Family("lb_no_slots", "counter", "Times that worker_connections were not enough.", "", _sum("no_slots")),
    Family("lb_log_lines_dropped", "counter", "Log lines lost to a slow or full target.", "", _sum("log_dropped")),
    Family("lb_syslog_datagrams", "counter", "Log lines sent to syslog.", "", _sum("syslog_sent")),
    Family("lb_syslog_lines_dropped", "counter", "Lost log lines meant for syslog.", "", _sum("syslog_dropped")),
    Family("lb_syslog_errors", "counter", "Failures to reach a syslog server.", "", _sum("syslog_errors")),
    Family("lb_workers_wanted", "gauge", "worker_processes.", "", _single(lambda view: view.size)),
    Family("lb_worker_restarts", "counter", "Workers that died and were replaced.", "", _single(lambda v: v.restarts)),
    Family("lb_worker_info", "gauge", "Always 1.", "worker, pid, generation, state", _worker_info),
    Family("lb_worker_age_seconds", "gauge", "Since its start.", BY_WORKER, _of_workers(lambda one: one.age_s)),
    Family(
        "lb_worker_heartbeat_age_seconds",
        "gauge",
        "Since the last turn of its loop: about a second at most, if it is well.",
        BY_WORKER,
        _of_workers(lambda one: one.heartbeat_age_s),
    ),
    Family("lb_worker_cpu_seconds", "counter", "User and system time.", BY_WORKER, _of_workers(lambda one: one.cpu_s)),
    Family("lb_worker_resident_memory_bytes", "gauge", "Its RSS.", BY_WORKER, _of_workers(lambda one: one.rss)),
    Family("lb_worker_accepts", "counter", "Connections accepted.", BY_WORKER, _counter("accepts")),
    Family("lb_worker_requests", "counter", "HTTP requests.", BY_WORKER, _counter("requests")),
    Family("lb_worker_connections", "gauge", "Client connections open.", BY_WORKER, _counter("clients")),
    Family("lb_worker_http_connections", "gauge", "Of HTTP, by state.", "worker, pid, state", _worker_connections),
    Family("lb_worker_upstream_connections", "gauge", "To servers, open.", BY_WORKER, _counter("upstream_open")),
    Family("lb_worker_upstream_idle", "gauge", "Of them kept for later.", BY_WORKER, _counter("upstream_idle")),
    Family(
        "lb_consul_in_sync",
        "gauge",
        "1: all workers have the same list, at the same index of Consul.",
        "kind, upstream",
        _of_upstreams(lambda one: float(one.in_sync)),
    ),
    Family("lb_consul_index", "gauge", "Consul's index of the list.", BY_SYNC, _of_reports(lambda _, said: said.index)),
    Family(
        "lb_consul_answer_age_seconds", "gauge", "Since Consul's last good answer.", BY_SYNC, _of_reports(_answer_age)
    ),
    Family(
        "lb_consul_errors",
        "counter",
        "Queries that failed.",
        BY_SYNC,
        _of_reports(lambda worker, said: worker.errors(said)),
    ),
    Family(
        "lb_consul_failing",
        "gauge",
        "1: the list is not what Consul says now.",
        BY_SYNC,
        _of_reports(lambda _, said: float(bool(said.error))),
    ),
    Family(
        "lb_consul_next_try_timestamp_seconds",
        "gauge",
        "After a failure: Unix time of the next query.",
        BY_SYNC,
        _of_reports(lambda _, said: said.next_try or None),
    ),
    Family(
        "lb_consul_update_held",
        "gauge",
        "1: an update waits for its confirmation (upsync_shrink_guard).",
        BY_SYNC,
        _of_reports(lambda _, said: float(bool(said.held))),
    ),
    Family(
        "lb_consul_entries_skipped",
        "gauge",
        "Entries that are skipped or taken with defaults.",
        BY_SYNC,
        _of_reports(lambda _, said: len(said.skipped)),
    ),
    Family("lb_dump_failures", "counter", "Writes of dump files that failed.", "", _single(lambda v: v.dump_failures)),
    Family("lb_dump_failing", "gauge", "1: this dump file cannot be written now.", "path", _dumps),
)


# Many: of upstreams and servers


def upstream_families() -> Iterator[tuple[Family, Part]]:
    for part in PARTS:
        yield Family(f"lb_upstream_{part.name}", part.kind, part.help, _labels("kind, upstream", part)), part


def server_families() -> Iterator[tuple[Family, Part]]:
    for part in PARTS:
        if part.servers:
            yield Family(f"lb_server_{part.name}", part.kind, part.help, _labels("kind, upstream, server", part)), part


def _labels(base: str, part: Part) -> str:
    return base + {"responses": ", code"}.get(part.name, ", le" if part.kind == "histogram" else "")


SERVERS: Final = "kind, upstream, server"
STATE: Final = Family(
    "lb_server_state", "gauge", f"1 for the state it is in: {', '.join(STATES)}.", f"{SERVERS}, state"
)
SINCE: Final = Family("lb_server_state_timestamp_seconds", "gauge", "Unix time of the change to its state.", SERVERS)
WEIGHT: Final = Family("lb_server_weight", "gauge", "Its weight; 0: it is in no list any more.", SERVERS)
BACKUP: Final = Family("lb_server_backup", "gauge", "1: used when the others are not there.", SERVERS)


def families() -> Iterator[Family]:
    """All there are, in the order of the page."""
    yield from FEW
    yield from (family for family, _ in upstream_families())
    yield from (STATE, SINCE, WEIGHT, BACKUP)
    yield from (family for family, _ in server_families())


def reference() -> str:
    """The table of doc/operating.md."""
    rows = [f"| `{one.written}` | {one.shown_kind} | {one.labels} | {one.help} |" for one in families()]
    return "\n".join(["| name | type | labels | |", "|---|---|---|---|", *rows]) + "\n"
