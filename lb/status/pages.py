"""What the status port answers: a pure function of the request and a View of the master.

/upstream_show[?NAME]        the module's text, then for each worker which Consul index it has applied and when
/upstream_show.json[?NAME]   the same as JSON (also /upstream_show with Accept: application/json)
/status.json                 everything, for programs and the page: lb.status.state has its shape
/metrics                     for Prometheus, in its text format or as OpenMetrics
/stub_status                 nginx's words
/healthz                     200 while some worker serves and lb is not stopping, else 503
/                            for people: what is down, since when, what lb does about it; as text/plain: this list
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from lb.model import Server, Upstream
from lb.status import metrics, page, state
from lb.status.accept import prefers
from lb.status.certificates import CertificateView
from lb.status.snapshot import Snapshot
from lb.upstream_show import page as show_page
from lb.upsync import source, start
from lb.upsync.report import Report

TEXT: Final = "text/plain"
HTML: Final = "text/html"
JSON: Final = "application/json"
STUB_STATUS: Final = ("clients", "accepts", "handled", "requests", "reading", "writing", "waiting")


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One live worker process. `state`: starting, ready, stuck (no heartbeat for some seconds) or stopping."""

    slot: int
    pid: int
    generation: int
    state: str
    age_s: float
    heartbeat_age_s: float | None = None  # since its loop's last turn; None: it has not begun
    cpu_s: float | None = None  # None: not looked at, or the process is gone
    rss: int | None = None  # bytes
    stats: Mapping[str, int] = field(default_factory=dict)  # _fast.read_stats
    consul: Sequence[tuple[float, int]] = ()  # _fast.consul_notes, by the upstream's number in its configuration

    def answered(self, report: Report) -> float:
        """Unix time of Consul's last good answer for the upstream of its report; 0: none."""
        return self.consul[report.upstream][0] if report.upstream < len(self.consul) else 0.0

    def errors(self, report: Report) -> int:
        """Queries for it that have failed."""
        return self.consul[report.upstream][1] if report.upstream < len(self.consul) else 0


@dataclass(frozen=True, slots=True)
class BackOff:
    """A slot whose workers died one after the other, soon after their start, and that waits for the next."""

    slot: int
    deaths: int
    next_in_s: float


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that died and had to be replaced. `text`: how, as in the log."""

    at: float  # Unix time
    slot: int
    text: str


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """One upstream of the current configuration. `applied`: the last report of each worker that follows it."""

    number: int
    upstream: Upstream
    known: Report | None  # None: no worker has said anything yet, or the list does not come from elsewhere
    applied: tuple[tuple[WorkerView, Report], ...]

    @property
    def report(self) -> Report:
        """What is served: what workers say, else what they start with."""
        if self.known is not None:
            return self.known
        own = tuple(server for server in self.upstream.servers if not server.backup)
        return Report(self.number, "file", 0, 0.0, own)

    @property
    def in_sync(self) -> bool:
        """Whether all workers of the newest generation have the same index of Consul, and the same list."""
        newest = max((worker.generation for worker, _ in self.applied), default=0)
        said = [report for worker, report in self.applied if worker.generation == newest]
        agreed = {(report.index, report.digest) for report in said if report.source == "consul"}
        return len(agreed) == 1 and all(report.source == "consul" for report in said)


@dataclass(frozen=True, slots=True)
class View:
    """The master at one moment."""

    generation: int
    size: int  # workers that the configuration asks for
    stopping: bool
    workers: tuple[WorkerView, ...]
    upstreams: tuple[UpstreamView, ...]
    totals: Mapping[str, int]  # lb.master.worker_stats: counters of all workers since the start, gauges of now
    last_reload: tuple[float, str] | None  # Unix time, and the error or ""
    dump_errors: Mapping[str, str]  # path -> why this dump file cannot be written
    waiting: tuple[BackOff, ...] = ()  # the crash loops there are
    started: float = 0.0  # Unix time
    reloads: int = 0  # that are over
    reloads_failed: int = 0  # of them
    restarts: int = 0  # workers that died and had to be replaced
    deaths: tuple[Death, ...] = ()  # the last ones, oldest first
    dump_failures: int = 0  # writes of dump files that failed
    certificates: tuple[CertificateView, ...] = ()  # of the current configuration, each file once
    ocsp_fetches: int = 0  # ssl_stapling: good ones since the start
    ocsp_failures: int = 0
    certificate_renewals: int = 0  # ssl_certificate_watch: new files taken into use since the start
    certificate_failures: int = 0  # and those that could not be used
    acme: tuple[Mapping[str, Any], ...] = ()  # what is wanted of ACME servers: lb.acme.process, Wanted.to_json
    checker: WorkerView | None = None  # the process that asks servers
    checks: tuple[int, int, int, int, int] | None = None  # _fast.health_totals; None: nobody is checked
    snapshot: Callable[[], Snapshot] = lambda: Snapshot(0.0)  # what servers have counted


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes | Iterator[bytes]  # pieces are asked for as the client takes them
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


def respond(
    method: str, target: str, accept: str, view: Callable[[], View], health: Callable[[], View] | None = None
) -> Answer:
    """The answer to one request. `target` is the request target as received; the view is made only if it is needed.

    `health`: a view without upstreams and totals, which /healthz and / have no use for: asked for often.
    """
    if method not in ("GET", "HEAD"):
        return Answer(405, b"method not allowed\n", headers=(("Allow", "GET, HEAD"),))
    path, _, query = target.partition("?")
    make = PAGES.get(path)
    if make is None:
        return Answer(404, b"not found\n")
    return make((health or view)() if make in (healthz, index) else view(), query, accept)


# /upstream_show


def upstream_show(view: View, query: str, accept: str) -> Answer:
    if prefers(accept, JSON, TEXT):
        return upstream_json(view, query, accept)
    blocks = [(one.upstream.name, _block(one)) for one in view.upstreams]
    return Answer(200, show_page(blocks, query.encode("utf-8", "surrogateescape")))


def _block(one: UpstreamView) -> bytes:
    """The module's text, and a comment line for each worker that follows Consul."""
    text = start.published(one.upstream, one.report)[1]
    return text + "".join(f"        # {_sync_line(worker, report)}\n" for worker, report in one.applied).encode()


def _sync_line(worker: WorkerView, report: Report) -> str:
    if report.source == "consul":
        state = f"Consul index {report.index} applied at {_time(report.at)}"
    else:
        state = f"no Consul index applied, servers from the {report.source} since {_time(report.at)}"
    trouble = f", error: {' '.join(report.error.split())}" if report.error else ""
    held = f", held: {report.held}" if report.held else ""
    retry = f", next try at {_time(report.next_try)}" if report.next_try else ""
    skipped = f", {len(report.skipped)} entries skipped or with defaults" if report.skipped else ""
    return f"worker {worker.slot} pid {worker.pid}: {state}{trouble}{retry}{held}{skipped}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def upstream_json(view: View, query: str, _accept: str) -> Answer:
    wanted = query.lower()
    chosen = [one for one in view.upstreams if not wanted or one.upstream.name.lower() == wanted]
    if wanted and not chosen:
        return _json({"error": "no such upstream"}, 404)
    return _json({"upstreams": [_upstream(one) for one in chosen]})


def _upstream(one: UpstreamView) -> dict[str, Any]:
    report = one.report
    return {
        "name": one.upstream.name,
        "kind": one.upstream.kind,
        "balancer": one.upstream.balancer,
        "implicit": one.upstream.implicit,
        "source": report.source,
        "servers": _servers(start.listed(one.upstream, report)),
        "consul": _consul(one, report) if one.upstream.upsync is not None else None,
    }


def _servers(servers: Iterable[Server]) -> list[dict[str, Any]]:
    return [
        {
            "server": server.name,
            "host": server.written,
            "weight": server.weight,
            "max_fails": server.max_fails,
            "fail_timeout_s": server.fail_timeout_s,
            "max_conns": server.max_conns,
            "backup": server.backup,
            "down": server.down,
            "drain": server.drain,
        }
        for server in servers
    ]


def _consul(one: UpstreamView, report: Report) -> dict[str, Any]:
    assert one.upstream.upsync is not None
    upsync = one.upstream.upsync
    return {
        "address": source.place(upsync.host, upsync.port),
        "path": upsync.path,
        "dump_path": upsync.dump_path,
        "index": report.index,
        "in_sync": one.in_sync,
        "held": report.held,
        "error": report.error,
        "skipped": list(report.skipped),
        "workers": [
            {
                "slot": worker.slot,
                "pid": worker.pid,
                "generation": worker.generation,
                "source": said.source,
                "index": said.index,
                "applied": _time(said.at),
                "age_s": round(max(time.time() - said.at, 0.0), 3),
                "servers": said.count,
                "skipped": len(said.skipped),
                "held": said.held,
                "error": said.error,
                "next_try": _time(said.next_try) if said.next_try else "",
            }
            for worker, said in one.applied
        ],
    }


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, indent=2).encode() + b"\n", JSON)


def status_json(view: View, _query: str, _accept: str) -> Answer:
    return Answer(200, state.status(view), JSON)


# The other pages


def prometheus(view: View, _query: str, accept: str) -> Answer:
    form = metrics.choose(accept)
    return Answer(200, metrics.stream(view, form), form.content_type)


def stub_status(view: View, _query: str, _accept: str) -> Answer:
    """ngx_http_stub_status_module, byte for byte."""
    total = view.totals
    return Answer(
        200,
        (
            "Active connections: {clients} \n"
            "server accepts handled requests\n"
            " {accepts} {handled} {requests} \n"
            "Reading: {reading} Writing: {writing} Waiting: {waiting} \n"
        )
        .format_map({name: total.get(name, 0) for name in STUB_STATUS})
        .encode(),
    )


def healthz(view: View, _query: str, _accept: str) -> Answer:
    ready = sum(worker.state == "ready" for worker in view.workers)
    stuck = sum(worker.state == "stuck" for worker in view.workers)
    text = f"{ready} of {view.size} workers ready" + (f", {stuck} stuck" if stuck else "")
    text += "".join(f", worker {one.slot} died {one.deaths} times in a row" for one in view.waiting)
    if view.last_reload is not None and view.last_reload[1]:
        text += f", last reload failed: {view.last_reload[1]}"
    if view.stopping:
        return Answer(503, f"stopping, {text}\n".encode())
    return Answer(200 if ready else 503, f"{'ok' if ready else 'no worker'}, {text}\n".encode())


def index(_view: View, _query: str, accept: str) -> Answer:
    if prefers(accept, TEXT, HTML):
        return Answer(200, (__doc__ or "").partition("\n\n")[2].encode())
    return Answer(200, page.html(), page.CONTENT_TYPE, page.headers())


Page = Callable[[View, str, str], Answer]
PAGES: Final[Mapping[str, Page]] = {
    "/": index,
    "/upstream_show": upstream_show,
    "/upstream_show.json": upstream_json,
    "/status.json": status_json,
    "/metrics": prometheus,
    "/stub_status": stub_status,
    "/healthz": healthz,
}
