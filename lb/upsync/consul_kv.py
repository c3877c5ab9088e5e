"""Consul's KV store as a source: one py-consul blocking query on a key prefix, `upsync_type=consul`.

The path of the `upsync` directive is `/v1/kv/PREFIX`, with or without a slash at the end.  What is asked for is
always `PREFIX/`: whole path segments, and no wake-ups for neighbours.  Of a query string in the path (a trick of
the module's users) `token=`, `dc=`, `stale` and `consistent` are kept; recurse, index and wait are lb's own,
anything else is dropped.
"""

from __future__ import annotations

import socket
import urllib.parse
from dataclasses import dataclass
from typing import Any, Final

from lb.config.model import Upsync
from lb.upsync.consul_http import Busy, Consul
from lb.upsync.entries import Entry, Listing, Memo, listing
from lb.upsync.source import Answer, SourceError
from lb.upsync.stop import Stop, Stopped
from lb.upsync.values import printable

KV_PATH: Final = "/v1/kv/"
WAIT_S: Final = 55.0  # with jitter 58.4 s: below the 60 s after which proxies before a Consul cut silent connections
JITTER: Final = 1 + 1 / 16  # Consul waits up to a sixteenth longer
GRACE_S: Final = 5.0  # that an answer may be late
READ_S: Final = 10.0  # for an answer that is due at once; a Consul without leader holds it for 7 s
IDLE_S: Final = (1, 10)  # bounds of the silence after which the kernel asks whether the peer is there
_SHOWN: Final = 300  # characters of an error


@dataclass(frozen=True, slots=True)
class Query:
    """What the path of an `upsync` directive asks for."""

    prefix: str  # without slashes around it; empty: the whole store
    token: str | None = None
    dc: str | None = None
    consistency: str = "default"

    @property
    def key(self) -> str:
        return self.prefix + "/" if self.prefix else ""


def query(path: str) -> Query:
    """Read the path as written. Raises ValueError (it is not a path of Consul's KV store)."""
    before, _, arguments = path.partition("?")
    if not before.startswith(KV_PATH):
        raise ValueError(f'"{before}" is not a path of Consul\'s KV store: it must start with {KV_PATH}')
    prefix = urllib.parse.unquote(before.removeprefix(KV_PATH)).strip("/")
    given = dict(urllib.parse.parse_qsl(arguments.replace("?", "&"), keep_blank_values=True))
    consistency = next((mode for mode in ("consistent", "stale") if mode in given), "default")
    return Query(prefix, given.get("token") or None, given.get("dc") or None, consistency)


class ConsulKV:
    """One prefix of one Consul agent, over one connection. See source.Source."""

    def __init__(self, upsync: Upsync, stop: Stop) -> None:
        """Raises ValueError for a path that is not of the KV store. Connects at the first read."""
        self.name = f"{upsync.host}:{upsync.port}"
        self._query = query(upsync.path)
        self._timeout_s = upsync.timeout_ms / 1000
        self._memos: dict[str, Memo] = {}  # by path, for each upstream's part of the answers
        low, high = IDLE_S
        self._consul = Consul(upsync.host, upsync.port, stop, min(max(upsync.interval_ms // 1000, low), high))

    def read(self) -> Answer:
        self._consul.http.drop_if_ended()
        return self._get(None, 0.0, READ_S)

    def watch(self, index: int) -> Answer:
        if self._consul.http.drop_if_ended():
            # Perhaps another Consul by now.  One that is not as far as our index would wait for it, and tell nothing.
            return self._get(None, 0.0, READ_S)
        wait_s = min(WAIT_S, self._timeout_s * 0.8)  # so that Consul's "no change" comes before our timeout
        return self._get(index, wait_s, wait_s * JITTER + GRACE_S)

    def listing(self, answer: Answer, upsync: Upsync) -> Listing:
        memo = self._memos.setdefault(upsync.path, {})
        return listing(answer.entries or (), query(upsync.path).prefix, memo)

    def close(self) -> None:
        self._consul.http.close()

    def _get(self, index: int | None, wait_s: float, budget_s: float) -> Answer:
        self._consul.http.budget_s = min(budget_s, self._timeout_s)
        try:
            found, items = self._consul.kv.get(
                self._query.key,
                index=index,
                wait=f"{max(int(wait_s * 1000), 1)}ms",
                recurse=True,
                token=self._query.token,
                dc=self._query.dc,
                consistency=self._query.consistency,
            )
            return Answer(int(found), _entries(items), full=index is None)
        except Stopped:
            raise
        except Exception as error:  # http.client, json and py-consul each have many, and garbage finds more
            self.close()
            raise SourceError(_explain(error), busy=isinstance(error, Busy)) from error


def _entries(items: Any) -> list[Entry] | None:
    """py-consul's items (values already decoded) as pairs. Raises SourceError when they are not Consul's."""
    if items is None:
        return None
    if not isinstance(items, list):
        raise SourceError("the answer is not a list of keys")
    return [_entry(item) for item in items]


def _entry(item: Any) -> Entry:
    key, value = item["Key"], item.get("Value")
    if not isinstance(key, str) or not (value is None or isinstance(value, bytes)):
        raise SourceError("the answer is not a list of keys with values")
    return key, value


def _explain(error: Exception) -> str:
    """One line, in nginx's way for system errors: "Connection refused (111)" as "(111: Connection refused)"."""
    if isinstance(error, socket.gaierror):
        return f"host not found ({error.errno}: {error.strerror})"
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"({error.errno}: {error.strerror})"
    text = printable(str(error))[:_SHOWN]
    return text if isinstance(error, SourceError) else text or type(error).__name__
