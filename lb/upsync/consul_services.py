"""Consul's catalog as a source, `upsync_type=consul_services` and `consul_health`: a blocking query on one service.

Several services (share.groups) have one connection: it waits for a change of the catalog (/v1/catalog/services, whose
index moves with every instance that comes, goes or is altered), then reads ours, one after the other.  Consul 1.8 tells
no change of a check that way, so with consul_health the wait is `upsync_interval`, and ours are read then, too.

py-consul's own calls know neither several tags nor consistency for health, so its HTTP layer is asked directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from consul.callback import CB

from lb.config.consul_path import Query
from lb.model import Upsync
from lb.upsync import services
from lb.upsync.consul import READ_S, ConsulSource
from lb.upsync.entries import Listing
from lb.upsync.source import Answer, SourceError
from lb.upsync.stop import Stop

_PATHS: Final = {"consul_services": "/v1/catalog/service/", "consul_health": "/v1/health/service/"}
_CATALOG: Final = "/v1/catalog/services"
_JSON: Final = CB.json(index=True)  # (index, what Consul says)

Rows = list[dict[str, Any]]
Part = tuple[int, Rows | None]  # the index of one service, its instances


class ConsulServices(ConsulSource):
    """`entries` of an Answer: the instances; of several services: path -> Part."""

    def __init__(self, upsyncs: Sequence[Upsync], stop: Stop) -> None:
        super().__init__(upsyncs, stop)
        self._last: tuple[str, dict[str, Part]] | None = None  # index of the catalog, what was read then
        self._listings: dict[str, tuple[Part, Listing]] = {}
        if self.shared and self.query.kind == "consul_health":
            self._most_wait_s = min(one.interval_ms for one in upsyncs) / 1000

    def listing(self, answer: Answer, upsync: Upsync) -> Listing | None:
        """An empty list of instances is how Consul says that there is no such service."""
        part = self._part(answer, upsync)
        if not part[1]:
            return None
        key = f"{upsync.path} {upsync.health}"
        last = self._listings.get(key)
        if last is not None and last[0] == part:
            return last[1]
        policy = "passing" if self.queries[upsync.path].passing else upsync.health
        health = upsync.kind == "consul_health"
        found = services.from_health(part[1], policy) if health else services.from_catalog(part[1])
        self._listings[key] = part, found
        return found

    def index_of(self, answer: Answer, upsync: Upsync) -> int:
        return self._part(answer, upsync)[0]

    def _part(self, answer: Answer, upsync: Upsync) -> Part:
        if not self.shared:
            return answer.index, answer.entries
        found: Part = answer.entries[upsync.path]
        return found

    def _ask(self, index: int | None, wait: str, token: str | None) -> tuple[str, Any]:
        if not self.shared:
            return self._instances(self.query, index, wait, token)
        found, _ = self._fetch(_JSON, _CATALOG, [], self.query, index, wait, token)
        if index is None or self.query.kind == "consul_health" or self._last is None or self._last[0] != found:
            self.consul.http.budget_s = min(READ_S, self._timeout_s)
            parts: dict[str, Part] = {}
            for path, query in self.queries.items():
                own, rows = self._instances(query, None, wait, token)
                parts[path] = int(own), rows
            self._last = found, parts
        return self._last

    def _instances(self, query: Query, index: int | None, wait: str, token: str | None) -> tuple[str, Any]:
        params = [("tag", tag) for tag in query.tags]
        if query.filter:
            params.append(("filter", query.filter))
        found, rows = self._fetch(_JSON, _PATHS[query.kind] + query.target, params, query, index, wait, token)
        if rows is not None and not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise SourceError("the answer is not a list of services")
        return found, rows
