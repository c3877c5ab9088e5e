"""What all Consul sources share: addresses with fail-over, token, deadlines, errors. consul_kv and consul_services
say what is asked for and what an answer means.

One connection, to the first address; after any error the next address is asked, and the next query is a full read
(the puller's rule), so an index never goes from one Consul to another.  The wait of a blocking query grows with the age
of the source, from 0.25 s up to 55 s: Consul serves an abandoned query to its end and counts it among the 200 that one
address may have, so the queries of workers that are replaced soon must end soon too.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from lb.config import consul_tls
from lb.config.consul_path import Query, parse
from lb.model import Upsync
from lb.upsync.consul_http import Body, Busy, Consul, Unshareable
from lb.upsync.entries import Listing
from lb.upsync.path_probe import parameter
from lb.upsync.query_groups import common
from lb.upsync.source import Answer, SourceError, place
from lb.upsync.stop import Stop, Stopped
from lb.upsync.values import printable

WAIT_S: Final = 55.0  # with jitter 58.4 s: below the 60 s after which proxies before a Consul cut silent connections
FIRST_WAIT_S: Final = 0.25  # of a source that is as young
JITTER: Final = 1 + 1 / 16  # Consul waits up to a sixteenth longer
GRACE_S: Final = 5.0  # that an answer may be late
READ_S: Final = 10.0  # for an answer that is due at once; a Consul without leader holds it for 7 s
CONFIRM: Final = "lb/confirm/"  # + the upstream's name: the key with which an operator confirms a held update
_SHOWN: Final = 300  # characters of an error

T = TypeVar("T")


class ConsulSource:
    """One query for one or several upstreams. See source.Source; subclasses give `_ask` and `listing`."""

    def __init__(self, upsyncs: Sequence[Upsync], stop: Stop) -> None:
        """Raises ValueError for a path that does not fit, OSError for TLS files. Connects at the first read."""
        self.queries = {one.path: parse(one.kind, one.path) for one in upsyncs}
        self.shared = len({(query.target, query.tags, query.filter) for query in self.queries.values()}) > 1
        self.query: Query = common(list(self.queries.values()))
        first = upsyncs[0]
        self._most_wait_s = WAIT_S
        self._timeout_s = min(one.timeout_ms for one in upsyncs) / 1000
        self._born = time.monotonic()
        self._token = _Token(first)
        interval_s = min(one.interval_ms for one in upsyncs) / 1000
        context = consul_tls.context(first.tls) if first.tls is not None else None
        name = first.tls.name if first.tls is not None else ""
        self._places = [(first.host, first.port), *first.others]
        self._clients = [Consul(host, port, stop, interval_s, context, name) for host, port in self._places]
        self._at = 0

    @property
    def name(self) -> str:
        return place(*self._places[self._at])

    @property
    def consul(self) -> Consul:
        return self._clients[self._at]

    def read(self) -> Answer:
        self.consul.http.drop_if_ended()
        return self._get(None, 0.0, READ_S)

    def watch(self, index: int, at_most_s: float) -> Answer:
        if self.consul.http.drop_if_ended():
            # Perhaps another Consul by now.  One that is not as far as our index would wait for it, and tell nothing.
            return self._get(None, 0.0, READ_S)
        age = time.monotonic() - self._born
        # 0.8: so that Consul's "no change" comes before our timeout
        wait_s = min(self._most_wait_s, max(FIRST_WAIT_S, age), self._timeout_s * 0.8, at_most_s)
        return self._get(index, wait_s, wait_s * JITTER + GRACE_S)

    def listing(self, answer: Answer, upsync: Upsync) -> Listing | None:
        raise NotImplementedError

    def index_of(self, answer: Answer, upsync: Upsync) -> int:
        return answer.index

    def confirmed(self, name: str) -> int | None:
        """The number of servers that an operator has confirmed for this upstream; None: no such key, or no number."""
        return self._guarded(lambda: self._confirmed(name), READ_S)

    def _confirmed(self, name: str) -> int | None:
        _, item = self.consul.kv.get(CONFIRM + name, token=self._token.get(), dc=self.query.dc or None)
        text = (item or {}).get("Value") or b""
        return int(text) if text.strip().isdigit() and len(text) < 20 else None

    def close(self) -> None:
        for client in self._clients:
            client.http.close()

    def _get(self, index: int | None, wait_s: float, budget_s: float) -> Answer:
        wait = f"{max(int(wait_s * 1000), 1)}ms"

        def ask() -> Answer:
            found, items = self._ask(index, wait, self._token.get())
            return Answer(int(found), items, full=index is None, wait_s=wait_s)

        return self._guarded(ask, budget_s)

    def _ask(self, index: int | None, wait: str, token: str | None) -> tuple[str, Any]:
        """(index, what `listing` reads; None: it does not exist)."""
        raise NotImplementedError

    def _fetch(
        self,
        callback: Callable[[Any], T],
        path: str,
        params: Sequence[tuple[str, str]],
        query: Query,
        index: int | None,
        wait: str,
        token: str | None,
        into: Body | None = None,
    ) -> T:
        """One GET; what `callback` makes of py-consul's response. `into`: the response's body is a view of it."""
        waiting = [] if index is None else [("index", str(index)), ("wait", wait)]
        place = [("dc", query.dc)] if query.dc else []
        mode = [(query.consistency, "1")] if query.consistency != "default" else []
        headers = self.consul.prepare_headers(token)
        client = self.consul.http
        same = [*params, *place, *mode]  # in each of these requests: it comes first
        client.start = f"GET {client.target(path, same)}{'&' if same else '?'}"
        ahead = parameter(client.sent_ahead(), len(client.start))
        found: T = client.get(callback, path, params=[*same, *ahead, *waiting], headers=headers, into=into)
        return found

    def _guarded(self, action: Callable[[], T], budget_s: float) -> T:
        self.consul.http.budget_s = min(budget_s, self._timeout_s)
        try:
            return action()
        except Stopped:
            raise
        except Exception as error:  # http.client, json and py-consul each have many, and garbage finds more
            failed = self.name
            self.close()
            self._at = (self._at + 1) % len(self._places)
            alone = self.shared and isinstance(error, Unshareable)
            raise SourceError(_explain(error), busy=isinstance(error, Busy), alone=alone, name=failed) from error


class _Token:
    """The ACL token: of a file, read again when it changes, or of the path."""

    def __init__(self, upsync: Upsync) -> None:
        self._token = upsync.token
        self._file = upsync.token_file
        self._seen: tuple[int, int] | None = None

    def get(self) -> str | None:
        """None: that of the environment, if any. A file that cannot be read (any more) leaves what was read before."""
        if self._file:
            try:
                stat = Path(self._file).stat()
                if self._seen != (stat.st_mtime_ns, stat.st_ino):
                    self._token = Path(self._file).read_bytes().decode("ascii").strip() or self._token
                    self._seen = (stat.st_mtime_ns, stat.st_ino)
            except (OSError, ValueError):  # the worker's user may not be allowed what the master was
                pass
        return self._token or None


def _explain(error: Exception) -> str:
    """One line, in nginx's way for system errors: "Connection refused (111)" as "(111: Connection refused)"."""
    if isinstance(error, socket.gaierror):
        return f"host not found ({error.errno}: {error.strerror})"
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"({error.errno}: {error.strerror})"
    text = printable(str(error))[:_SHOWN]
    return text if isinstance(error, SourceError) else text or type(error).__name__
