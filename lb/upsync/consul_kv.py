"""Consul's KV store as a source, `upsync_type=consul`: a blocking query on a directory of keys.

py-consul's own call would read the whole answer anew each time, so its HTTP layer is asked directly.

Several upstreams whose prefixes lie in one directory share the query; each takes the keys below its own prefix.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from lb.model import Upsync
from lb.upsync.consul import ConsulSource
from lb.upsync.consul_http import INDEX, Body, Unshareable
from lb.upsync.entries import Entry, Listing
from lb.upsync.incremental import Incremental
from lb.upsync.kv_decode import Decoder
from lb.upsync.source import Answer
from lb.upsync.stop import Stop

NOT_FOUND: Final = 404
FOREIGN: Final = (1000, 4)  # a shared directory may hold so many keys of nobody's, and so many for each of ours


class ConsulKV(ConsulSource):
    def __init__(self, upsyncs: Sequence[Upsync], stop: Stop) -> None:
        super().__init__(upsyncs, stop)
        self._last: dict[str, tuple[list[Entry], Listing]] = {}  # by path: its part of the last answer
        self._decoder = Decoder()
        self._spare, self._kept = Body(), Body()  # for the next answer; the last one, which the decoder looks at
        self._carry = {path: Incremental() for path in self.queries}

    def listing(self, answer: Answer, upsync: Upsync) -> Listing | None:
        """None: nothing lies below this prefix."""
        if not answer.entries:
            return None if answer.entries is None or self.shared else Listing(())
        part = self._part(answer.entries, upsync.path)
        last = self._last.get(upsync.path)
        if last is not None and last[0] == part:
            return last[1]
        if not part:
            return None
        found = self._carry[upsync.path].listing(part)
        self._last[upsync.path] = (part, found)
        return found

    def _part(self, entries: list[Entry], path: str) -> list[Entry]:
        """The keys below a prefix: a range, for keys come in order."""
        if not self.shared:
            return entries
        directory = self.queries[path].key
        low = bisect_left(entries, directory, key=_key)
        return entries[low : bisect_left(entries, directory[:-1] + "0", low, key=_key)]  # "0" comes after "/"

    def _ask(self, index: int | None, wait: str, token: str | None) -> tuple[str, Any]:
        path, recurse = "/v1/kv/" + self.query.key, [("recurse", "1")]
        found, body = self._fetch(_body, path, recurse, self.query, index, wait, token, self._spare)
        if body is None:
            return found, None
        entries = self._decoder.entries(body)
        self._spare, self._kept = self._kept, self._spare
        entries = _ours(entries, self.query.key, self._decoder.ordered)
        if entries and self.shared:
            self._check_share(entries)
        return found, entries

    def _check_share(self, entries: list[Entry]) -> None:
        """Raises Unshareable: most of what lies in the directory is nobody's."""
        ours = sum(len(self._part(entries, path)) for path in self.queries)
        free, share = FOREIGN
        if len(entries) - ours > free + share * ours:
            raise Unshareable(f"{len(entries)} keys below {self.query.key}, {ours} of them ours")


def _body(response: Any) -> tuple[str, memoryview | None]:
    """(index, body); None: no such key."""
    return response.headers[INDEX], None if response.code == NOT_FOUND else response.body


def _ours(entries: list[Entry], directory: str, ordered: bool) -> list[Entry]:
    """In order, and below the directory: as Consul sends them, but whoever answers is not believed."""
    if not ordered:
        entries = sorted(entries, key=_key)
    if entries and not (entries[0][0].startswith(directory) and entries[-1][0].startswith(directory)):
        return [entry for entry in entries if entry[0].startswith(directory)]
    return entries  # in order, all between the first and the last begin as they do


def _key(entry: Entry) -> str:
    return entry[0]
