"""The metrics of /metrics: each declared once, with its name, type and meaning, and where its samples are from.

What the engine counts is declared by it (lb/fast/c/stats.h), with its name here: nothing to do for a new counter.

FEW: of the master, its workers and Consul, made from a View.  PARTS: what is counted for each upstream and server, in
rows (lb.master.server_stats): lb_upstream_NAME and lb_server_NAME.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from lb import __version__, _fast
from lb._fast import HealthRow
from lb.status import acme, certificates
from lb.status.snapshot import SHOWN
from lb.upsync.report import Report

if TYPE_CHECKING:
    from lb.status.pages import UpstreamView, View, WorkerView


NAMED: Final = "named"  # a counter whose name does not end in _total: the exporter of nginx has such

T = TypeVar("T")
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
    servers: bool
    label: str  # of its fields, or ""


def _grouped(rows: Iterable[tuple[str, T]]) -> dict[str, list[tuple[str, str, T]]]:
    """By the family's name, of what the engine declares as "", NAME or NAME LABEL=VALUE: (label, value, row)."""
    found: dict[str, list[tuple[str, str, T]]] = {}
    for metric, row in rows:
        name, _, label = metric.partition(" ")
        if name:
            found.setdefault(name, []).append((*label.partition("=")[::2], row))
    return found


def _part(name: str, rows: list[tuple[str, str, _fast.ServerCounter]]) -> Part:
    first = rows[0][2]
    fields = tuple((f',{label}="{value}"' if label else "", row.name) for label, value, row in rows)
    return Part(name, first.kind, first.help, fields, first.servers, rows[0][0])


PARTS: Final = tuple(_part(*one) for one in _grouped((row.metric, row) for row in _fast.SERVER_COUNTERS).items())
GLITCHES: Final = tuple(  # (place, name of its counter, what it means)
    (one.name.removeprefix("glitch_"), one.name, one.help) for one in _fast.COUNTERS if one.kind == "glitch"
)


# Few samples: of the master, its workers, and Consul

Samples = Iterator[Sample]


def _single(value: Callable[[View], float]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        yield (), value(view)

    return samples


def _of_workers(value: Callable[[WorkerView], float | None]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        for worker in view.workers:
            found = value(worker)
            if found is not None:
                yield _worker(worker), found

    return samples


def _worker(worker: WorkerView) -> Labels:
    return ("worker", str(worker.slot)), ("pid", str(worker.pid))


def _worker_info(view: View) -> Samples:
    for worker in view.workers:
        yield (*_worker(worker), ("generation", str(worker.generation)), ("state", worker.state)), 1


def _worker_connections(view: View) -> Samples:
    for worker in view.workers:
        for state in ("reading", "writing", "waiting"):
            yield (*_worker(worker), ("state", state)), worker.stats.get(state, 0)


def _sums(rows: list[tuple[str, str, _fast.Counter]]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        for label, value, row in rows:
            yield ((label, value),) if label else (), view.totals.get(row.name, 0)

    return samples


def _of_each(rows: list[tuple[str, str, _fast.Counter]]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        for worker in view.workers:
            for label, value, row in rows:
                if row.name in worker.stats:
                    yield (*_worker(worker), *([(label, value)] if label else [])), worker.stats[row.name]

    return samples


def _glitches(view: View) -> Samples:
    for place, name, _ in GLITCHES:
        yield (("place", place),), view.totals.get(name, 0)


def _declared(prefix: str) -> Iterator[Family]:
    """What the engine counts, all workers together."""
    for name, rows in _grouped((row.metric, row) for row in _fast.COUNTERS).items():
        if name.startswith(prefix):
            yield Family(name, rows[0][2].kind, rows[0][2].help, rows[0][0], _sums(rows))


def _declared_of_each() -> Iterator[Family]:
    for name, rows in _grouped((row.worker_metric, row) for row in _fast.COUNTERS).items():
        kind = "counter" if rows[0][2].kind == NAMED else rows[0][2].kind
        yield Family(name, kind, rows[0][2].help, ", ".join(filter(None, (BY_WORKER, rows[0][0]))), _of_each(rows))


def _reloads(view: View) -> Samples:
    yield (("result", "ok"),), view.reloads - view.reloads_failed
    yield (("result", "failed"),), view.reloads_failed


def _last_reload(view: View) -> Samples:
    if view.last_reload is not None:
        yield (), view.last_reload[0]


def _last_reload_ok(view: View) -> Samples:
    if view.last_reload is not None:
        yield (), float(not view.last_reload[1])


def _fetches(view: View) -> Samples:
    yield (("result", "ok"),), view.ocsp_fetches
    yield (("result", "failed"),), view.ocsp_failures


def _renewals(view: View) -> Samples:
    yield (("result", "ok"),), view.certificate_renewals
    yield (("result", "failed"),), view.certificate_failures


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


def _of_checker(value: Callable[[View], float]) -> Callable[[View], Samples]:
    """Where servers are checked."""

    def samples(view: View) -> Samples:
        if view.checks is not None:
            yield (), float(value(view))

    return samples


def _checks(view: View) -> tuple[int, int, int, int, int]:
    assert view.checks is not None
    return view.checks


def _ready(view: View) -> int:
    return sum(worker.state == "ready" for worker in view.workers)


BY_WORKER: Final = "worker, pid"
BY_SYNC: Final = "kind, upstream, worker, pid"
FEW: Final = (
    Family("nginx_up", "gauge", "1 while some worker serves.", "", _single(lambda view: float(_ready(view) > 0))),
    *_declared("nginx_"),
    Family("lb_build_info", "gauge", "Always 1; what runs is in the labels.", "version, mode, ...", _build),
    Family(
        "lb_start_time_seconds", "gauge", "Unix time of the master's start.", "", _single(lambda view: view.started)
    ),
    Family("lb_generation", "gauge", "Number of the configuration that serves.", "", _single(lambda v: v.generation)),
    Family("lb_reloads", "counter", "Reloads that are over.", "result", _reloads),
    Family("lb_last_reload_timestamp_seconds", "gauge", "Unix time of the last one's end.", "", _last_reload),
    Family("lb_last_reload_successful", "gauge", "1: the last reload went well; 0: it failed.", "", _last_reload_ok),
    *_declared("lb_"),
    Family("lb_glitches", "counter", "What should not have happened and was dealt with.", "place", _glitches),
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
    *_declared_of_each(),
    Family("lb_worker_http_connections", "gauge", "Of HTTP, by state.", "worker, pid, state", _worker_connections),
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
    Family(
        "lb_tls_certificate_not_after_timestamp_seconds",
        "gauge",
        "Unix time at which a certificate expires.",
        "file, name, serial",
        certificates.not_after,
    ),
    Family(
        "lb_tls_certificate_not_before_timestamp_seconds",
        "gauge",
        "Unix time from which on a certificate is valid.",
        "file, name, serial",
        certificates.not_before,
    ),
    Family(
        "lb_tls_certificate_info",
        "gauge",
        "Always 1.",
        "file, name, serial, issuer, key, fingerprint, watch",
        certificates.info,
    ),
    Family(
        "lb_tls_certificate_watch_failing",
        "gauge",
        "1: the files of a watched certificate have changed and cannot be used; the old one serves.",
        "file",
        certificates.failing,
    ),
    Family(
        "lb_tls_certificate_stapled",
        "gauge",
        "1: clients get the certificate's OCSP response, which was fetched; 0: there is none that is good.",
        "file, name, serial",
        certificates.staples,
    ),
    Family(
        "lb_tls_ocsp_fetches",
        "counter",
        "OCSP responses for certificates of ours: taken into use (ok), or none was to be had (failed).",
        "result",
        _fetches,
    ),
    Family(
        "lb_tls_certificate_renewals",
        "counter",
        "Changed files of watched certificates: taken into use (ok), or not usable (failed).",
        "result",
        _renewals,
    ),
    Family(
        "lb_acme_waiting",
        "gauge",
        "1: the ACME server has not issued this certificate yet, handshakes for it are refused.",
        "issuer, name",
        acme.waiting,
    ),
    Family(
        "lb_acme_failures",
        "gauge",
        "Tries in a row that have not led to a certificate.",
        "issuer, name",
        acme.failures,
    ),
    Family(
        "lb_acme_next_attempt_timestamp_seconds",
        "gauge",
        "Unix time at which a certificate is asked for next.",
        "issuer, name",
        acme.next_attempt,
    ),
    Family(
        "lb_checker_up",
        "gauge",
        "1: the process that asks servers is there.",
        "",
        _of_checker(lambda view: view.checker is not None),
    ),
    Family(
        "lb_checker_places",
        "gauge",
        "Servers that check_shm_size has room for.",
        "",
        _of_checker(lambda view: _checks(view)[0]),
    ),
    Family(
        "lb_checker_refused",
        "counter",
        "Servers that found no room: they are not checked.",
        "",
        _of_checker(lambda view: _checks(view)[2]),
    ),
    Family(
        "lb_checker_behind_seconds",
        "gauge",
        "How late a check began, at most.",
        "",
        _of_checker(lambda view: _checks(view)[4] / 1000),
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
    return ", ".join(filter(None, (base, "le" if part.kind == "histogram" else part.label)))


SERVERS: Final = "kind, upstream, server"
STATE: Final = Family("lb_server_state", "gauge", f"1 for the state it is in: {', '.join(SHOWN)}.", f"{SERVERS}, state")
SINCE: Final = Family("lb_server_state_timestamp_seconds", "gauge", "Unix time of the change to its state.", SERVERS)
WEIGHT: Final = Family("lb_server_weight", "gauge", "Its weight; 0: it is in no list any more.", SERVERS)
BACKUP: Final = Family("lb_server_backup", "gauge", "1: used when the others are not there.", SERVERS)

CHECKS: Final[tuple[tuple[Family, Callable[[HealthRow], float]], ...]] = (
    (
        Family("lb_server_check_up", "gauge", "1: its checks let it have requests; 0: they do not.", SERVERS),
        lambda row: int(not row.down),
    ),
    (Family("lb_server_checks", "counter", "Checks since they began.", SERVERS), lambda row: row.checks),
    (Family("lb_server_check_failures", "counter", "Those that failed.", SERVERS), lambda row: row.failures),
    (
        Family("lb_server_checks_late", "counter", "Those that the one before held up.", SERVERS),
        lambda row: row.late,
    ),
    (
        Family("lb_server_check_changes", "counter", "How often they took it out or back.", SERVERS),
        lambda row: row.changes,
    ),
    (
        Family("lb_server_check_duration_seconds", "gauge", "Of the last one.", SERVERS),
        lambda row: row.took_us / 1e6,
    ),
    (
        Family("lb_server_check_timestamp_seconds", "gauge", "Unix time of the last one's end.", SERVERS),
        lambda row: row.ended,
    ),
)


def families() -> Iterator[Family]:
    """All there are, in the order of the page."""
    yield from FEW
    yield from (family for family, _ in upstream_families())
    yield from (STATE, SINCE, WEIGHT, BACKUP)
    yield from (family for family, _ in CHECKS)
    yield from (family for family, _ in server_families())


def reference() -> str:
    """The table of doc/operating.md."""
    rows = [f"| `{one.written}` | {one.shown_kind} | {one.labels} | {one.help} |" for one in families()]
    return "\n".join(["| name | type | labels | |", "|---|---|---|---|", *rows]) + "\n"
