"""Which upstreams are asked for in one query: those whose keys lie in one directory of one Consul's store, and services
when there are too many of them.

Pure.  Each worker has a connection of its own for each query, and Consul allows 200 from one address: 64 workers with
60 upstreams must not hold 3,840.  Upstreams that agree in everything about the connection, and whose prefixes begin
with the same segment, share a query on their longest common directory; the same service, or the same prefix, is
asked for once.  A directory in which they lie far apart, or which may not be read, is found out by the puller, which
then asks for each of them alone.

Consul has no query for several services, so each is a query of its own while all workers together have few of them;
else one connection a worker watches the catalog and then reads what is ours (consul_services).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from lb.config.consul_path import Query, parse
from lb.model import Upsync

MOST_QUERIES: Final = 100  # for services, of all workers: half of what Consul allows one address


def groups(upsyncs: Iterable[tuple[int, Upsync]], workers: int = 1) -> list[list[int]]:
    """Positions of upstreams, those together that share a query; in order of first mention."""
    given = list(upsyncs)
    services = {_key(position, one, False) for position, one in given if one.kind != "consul"}
    crowded = len(services) * workers > MOST_QUERIES
    found: dict[Any, list[int]] = {}
    for position, upsync in given:
        found.setdefault(_key(position, upsync, crowded), []).append(position)
    return list(found.values())


def _key(position: int, upsync: Upsync, crowded: bool) -> Any:
    try:
        query = parse(upsync.kind, upsync.path)
    except ValueError:  # it will say so itself
        return position
    place = query.target.partition("/")[0] if query.kind == "consul" else query.target
    if crowded and query.kind != "consul":
        query, place = replace(query, tags=(), filter="", passing=False), ""
    link = (upsync.host, upsync.port, upsync.others, upsync.token, upsync.token_file, upsync.tls)
    return (link, replace(query, target=place))


def common(queries: Sequence[Query]) -> Query:
    """One query that answers all of a group. KV: on the longest directory in which all prefixes lie."""
    segments = [query.target.split("/") for query in queries]
    shared = segments[0]
    for other in segments[1:]:
        same = 0
        while same < min(len(shared), len(other)) and shared[same] == other[same]:
            same += 1
        shared = shared[:same]
    return replace(queries[0], target="/".join(shared))
