"""/metrics: what Prometheus scrapes, in its text format or as OpenMetrics, in pieces.

Headers, the choice of the format and the samples of lb itself are prometheus_client's.  The samples of servers are
written here: there may be half a million of them, and the library takes 7 to 11 us for each, twenty times as long.  A
sample of ours reads the same in both formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from lb.status.accept import of_kind, prefers
from lb.status.families import (
    BACKUP,
    CHECKS,
    FEW,
    NAMED,
    SINCE,
    STATE,
    WEIGHT,
    Family,
    Labels,
    Part,
    Sample,
    server_families,
    upstream_families,
    upstream_labels,
)
from lb.status.servers import AT, BOUNDS_S, Shown, cells, shown, total
from lb.status.snapshot import DIRECT, SHOWN, Snapshot

if TYPE_CHECKING:
    from lb.status.pages import View

TEXT: Final = "text/plain"
OPENMETRICS: Final = "application/openmetrics-text"
SLICE: Final = 500  # samples, or servers, of a piece
HISTOGRAMS_MOST: Final = 1000  # servers up to which each has histograms of its own
BUCKETS: Final = (*(f',le="{bound}"' for bound in BOUNDS_S), ',le="+Inf"')


class Target(NamedTuple):
    """Whose samples: the labels as text, and the row."""

    labels: str
    row: memoryview


@dataclass(frozen=True, slots=True)
class Format:
    """How headers and few samples are written."""

    encode: Callable[[Any], bytes]
    content_type: str

    @property
    def is_open(self) -> bool:
        return self.content_type.startswith(OPENMETRICS)

    def family(self, family: Family, samples: Iterable[Sample] = ()) -> bytes:
        metric = Metric(family.name, family.help, "unknown" if family.kind == NAMED else family.kind)
        for labels, value in samples:
            metric.add_sample(family.written, {name: _clean(text) for name, text in labels}, value)
        text = self.encode(_Registry(metric)).removesuffix(b"# EOF\n")
        if (
            family.kind == NAMED and not self.is_open
        ):  # the exporter of nginx says so; OpenMetrics would refuse the name
            text = text.replace(b" untyped\n", b" counter\n", 1)
        return text


class _Registry(NamedTuple):
    metric: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.metric


def choose(accept: str) -> Format:
    """The format that a client asks for; Prometheus's own text unless it would rather have OpenMetrics.

    The library knows versions and escaping, but no weights: it sees only the ranges of the kind that is chosen, the
    most wanted first.  A client that wants neither gets the text: a page that cannot be read helps nobody.
    """
    kind = OPENMETRICS if prefers(accept, OPENMETRICS, TEXT) else TEXT
    try:
        encode, content_type = choose_encoder(", ".join(of_kind(accept, kind)) or kind)
    except (ValueError, TypeError):  # a version that is none
        encode, content_type = choose_encoder("")
    return Format(encode, content_type)


def stream(view: View, form: Format) -> Iterator[bytes]:
    """The page in pieces."""
    for family in FEW:
        assert family.samples is not None
        yield form.family(family, family.samples(view))
    snapshot = view.snapshot()
    keys = [*((one.upstream.kind, one.upstream.name) for one in view.upstreams), DIRECT]
    upstreams = [
        Target(_text((("kind", kind), ("upstream", name))), total((kind, name), snapshot)) for kind, name in keys
    ]
    for family, part in upstream_families():
        yield form.family(family)
        yield from _pieces(_part_lines(family, part, upstreams))
    yield from _servers(view, snapshot, form)
    if form.is_open:
        yield b"# EOF\n"


def _servers(view: View, snapshot: Snapshot, form: Format) -> Iterator[bytes]:
    found: list[tuple[str, Shown]] = []
    for one in view.upstreams:
        prefix = _text(upstream_labels(one))
        each = shown(one, snapshot)
        while some := list(islice(each, SLICE)):
            found += [(f'{prefix},server="{_escape(server.address)}"', server) for server in some]
            yield b""
    yield form.family(STATE)
    yield from _pieces(
        f'lb_server_state{{{labels},state="{state}"}} {int(state == server.state)}\n'
        for labels, server in found
        for state in SHOWN
    )
    yield form.family(SINCE)
    yield from _pieces(
        f"{SINCE.name}{{{labels}}} {server.since:.3f}\n" for labels, server in found if server.since is not None
    )
    yield form.family(WEIGHT)
    yield from _pieces(f"{WEIGHT.name}{{{labels}}} {server.weight}\n" for labels, server in found)
    yield form.family(BACKUP)
    yield from _pieces(f"{BACKUP.name}{{{labels}}} {int(server.backup)}\n" for labels, server in found)
    yield from _checks(found, form)
    targets = [Target(labels, server.row) for labels, server in found]
    for family, part in server_families():
        if part.kind != "histogram" or len(targets) <= HISTOGRAMS_MOST:
            yield form.family(family)
            yield from _pieces(_part_lines(family, part, targets))


def _checks(found: list[tuple[str, Shown]], form: Format) -> Iterator[bytes]:
    """Of the servers that have checks."""
    checked = [(labels, server.check) for labels, server in found if server.check is not None]
    for family, value in CHECKS:
        yield form.family(family)
        yield from _pieces(f"{family.written}{{{labels}}} {value(check)}\n" for labels, check in checked)


def _part_lines(family: Family, part: Part, targets: Iterable[Target]) -> Iterator[str]:
    name = family.written
    if part.kind == "histogram":
        for labels, row in targets:
            yield _histogram(name, labels, row, part.fields[0][1])
        return
    fields = [(label, AT[field]) for label, field in part.fields]
    for labels, row in targets:
        for label, at in fields:
            yield f"{name}{{{labels}{label}}} {row[at]}\n"


def _histogram(name: str, labels: str, row: memoryview, field: str) -> str:
    upto = list(accumulate(cells(row, field)))
    lines = [f"{name}_bucket{{{labels}{le}}} {n}\n" for le, n in zip(BUCKETS, upto, strict=True)]
    total_s = row[AT[f"{field}_ms"]] / 1000
    return "".join([*lines, f"{name}_count{{{labels}}} {upto[-1]}\n{name}_sum{{{labels}}} {total_s}\n"])


def _pieces(lines: Iterator[str]) -> Iterator[bytes]:
    while some := list(islice(lines, SLICE)):
        yield "".join(some).encode()


def _text(labels: Labels) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels)


def _escape(value: str) -> str:
    return _clean(value).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _clean(value: str) -> str:
    """Without bytes that are no UTF-8 (of a path)."""
    return value.encode("utf-8", "replace").decode()
