"""Consul's catalog as a source, `upsync_type=consul_services` and `consul_health`: a blocking query on one service.

py-consul's own calls know neither several tags nor consistency for health, so its HTTP layer is asked directly.
"""

from __future__ import annotations

from typing import Any, Final

from consul.callback import CB

from lb.config.model import Upsync
from lb.upsync import services
from lb.upsync.consul import ConsulSource
from lb.upsync.entries import Listing
from lb.upsync.source import Answer, SourceError

_PATHS: Final = {"consul_services": "/v1/catalog/service/", "consul_health": "/v1/health/service/"}


class ConsulServices(ConsulSource):
    def listing(self, answer: Answer, upsync: Upsync) -> Listing | None:
        """An empty list of instances is how Consul says that there is no such service."""
        if not answer.entries:
            return None
        policy = "passing" if self.queries[upsync.path].passing else upsync.health
        rows = answer.entries
        if upsync.kind == "consul_health":
            return services.from_health(rows, policy)
        return services.from_catalog(rows)

    def _ask(self, index: int | None, wait: str, token: str | None) -> tuple[str, Any]:
        query = self.query
        params: list[tuple[str, Any]] = [] if index is None else [("index", index), ("wait", wait)]
        params += [("tag", tag) for tag in query.tags]
        if query.dc:
            params.append(("dc", query.dc))
        if query.filter:
            params.append(("filter", query.filter))
        if query.consistency != "default":
            params.append((query.consistency, "1"))
        headers = self.consul.prepare_headers(token)
        path = _PATHS[query.kind] + query.target
        found, rows = self.consul.http.get(CB.json(index=True), path, params=params, headers=headers)
        if rows is not None and not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise SourceError("the answer is not a list of services")
        return found, rows
