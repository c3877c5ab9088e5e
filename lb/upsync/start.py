"""What a worker starts with: the list that the master knows, else the dump, else the file's own servers.

The worker publishes it at once, starts its pullers, then waits a little for their first answers before it says that
it is ready: a fresh start with a healthy Consul should not answer 502 from a placeholder.  Whatever Consul does,
the wait ends.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Final

from lb import _fast, upstream_show
from lb.model import Address, Server, Upstream
from lb.upsync import dump
from lb.upsync.merge import Order
from lb.upsync.report import Report
from lb.upsync.source import watched

if TYPE_CHECKING:
    from lb.upsync.puller import Puller

STRONG_S: Final = 2.0  # wait for the first list with strong_dependency=on
WEAK_S: Final = 0.25  # and with off: two round trips to a healthy Consul, unnoticed otherwise


def initial(upstream: Upstream, known: Report | None, number: int) -> Report:
    """The list to begin with, for any upstream. `known`: what the master last heard of an upstream with this name.

    `error` of the result says why a dump that exists is not used.
    """
    own = tuple(server for server in upstream.servers if not server.backup)
    if upstream.upsync is None:
        return Report(number, "file", 0, time.time(), own)
    follows = watched(upstream.upsync)
    if known is not None and known.source != "file" and known.watched == follows:
        return dataclasses.replace(known, upstream=number, error="", held="", next_try=0.0)
    report = Report(number, "file", 0, time.time(), own, watched=follows)
    try:
        return dataclasses.replace(report, source="dump").with_servers(dump.read(upstream.upsync.dump_path))
    except FileNotFoundError:
        return report
    except dump.DumpError as error:
        return dataclasses.replace(report, error=f"dump refused: {error}")


def listed(upstream: Upstream, report: Report, addresses: Container[Address] | None = None) -> tuple[Server, ...]:
    """The servers of a list with the file's backup servers. `addresses`: of the list, where they are known.

    Those stay whatever Consul says (as with the module), unless Consul has the same address.
    """
    backups = tuple(server for server in upstream.servers if server.backup)
    if report.source == "file" or not backups:  # the file may give an address twice
        return report.servers + backups
    if addresses is None:
        addresses = {server.address for server in report.servers}
    return report.servers + tuple(server for server in backups if server.address not in addresses)


def published(upstream: Upstream, report: Report, order: Order | None = None) -> tuple[tuple[Server, ...], bytes]:
    """The first arguments of Engine.publish for a list: the servers with the file's backup servers, and their text.

    `order`: the list, where it is one.
    """
    from_file = report.source == "file"
    if order is not None:
        text = order.text(upstream.name)
    else:
        text = upstream_show.block(upstream.name, report.servers, implicit=upstream.implicit, from_file=from_file)
    servers = listed(upstream, report, order)
    if not from_file and by_place(upstream):
        servers = tuple(sorted(servers, key=_place))
    return servers, text


def by_place(upstream: Upstream) -> bool:
    """Whether a list from Consul is published in the order of addresses."""
    return upstream.method in _fast.BALANCE_BY_ORDER


def _place(server: Server) -> tuple[int, str, int]:
    """The order that ip_hash and hash go by: the same in all workers and machines, whenever which server came."""
    return server.address.family, server.address.host, server.address.port


def wait(pullers: Iterable[Puller]) -> None:
    """Wait for the first answers, all at once: 2 s at most with strong_dependency=on, 0.25 s with off."""
    begin = time.monotonic()
    for puller in pullers:
        puller.first.wait(max(begin + puller.patience_s - time.monotonic(), 0.0))
