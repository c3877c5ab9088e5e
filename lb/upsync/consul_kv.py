"""Consul's KV store as a source, `upsync_type=consul`: a blocking query on a directory of keys, by py-consul.

Several upstreams whose prefixes lie in one directory share the query; each takes the keys below its own prefix.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from lb.config.model import Upsync
from lb.upsync.consul import ConsulSource
from lb.upsync.consul_http import Unshareable
from lb.upsync.entries import Entry, Listing, Memo, listing
from lb.upsync.source import Answer, SourceError
from lb.upsync.stop import Stop

FOREIGN: Final = (1000, 4)  # a shared directory may hold so many keys of nobody's, and so many for each of ours


class ConsulKV(ConsulSource):
    def __init__(self, upsyncs: Sequence[Upsync], stop: Stop) -> None:
        super().__init__(upsyncs, stop)
        self._last: dict[str, tuple[Sequence[Entry], Listing]] = {}  # by path: its part of the last answer
        self._memos: dict[str, Memo] = {path: {} for path in self.queries}

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
        found = listing(part, "", self._memos[upsync.path])
        self._last[upsync.path] = (part, found)
        return found

    def _part(self, entries: Sequence[Entry], path: str) -> Sequence[Entry]:
        """The keys below a prefix: a range, for keys come in order."""
        if not self.shared:
            return entries
        directory = self.queries[path].key
        low = bisect_left(entries, directory, key=_key)
        return entries[low : bisect_left(entries, directory[:-1] + "0", low, key=_key)]  # "0" comes after "/"

    def _ask(self, index: int | None, wait: str, token: str | None) -> tuple[str, Any]:
        query = self.query
        found, items = self.consul.kv.get(
            query.key,
            index=index,
            wait=wait,
            recurse=True,
            token=token,
            dc=query.dc or None,
            consistency=query.consistency,
        )
        entries = _entries(items, query.key)
        if entries and self.shared:
            self._check_share(entries)
        return found, entries

    def _check_share(self, entries: Sequence[Entry]) -> None:
        """Raises Unshareable: most of what lies in the directory is nobody's."""
        ours = sum(len(self._part(entries, path)) for path in self.queries)
        free, share = FOREIGN
        if len(entries) - ours > free + share * ours:
            raise Unshareable(f"{len(entries)} keys below {self.query.key}, {ours} of them ours")


def _entries(items: Any, directory: str) -> list[Entry] | None:
    """py-consul's items (values already decoded) as pairs, in order. Raises SourceError when they are not Consul's."""
    if items is None:
        return None
    if not isinstance(items, list):
        raise SourceError("the answer is not a list of keys")
    entries = [_entry(item) for item in items]
    if any(not key.startswith(directory) for key, _ in entries):
        entries = [entry for entry in entries if entry[0].startswith(directory)]
    if any(entries[at][0] < entries[at - 1][0] for at in range(1, len(entries))):
        entries.sort(key=_key)
    return entries


def _entry(item: Any) -> Entry:
    key, value = item["Key"], item.get("Value")
    if not isinstance(key, str) or not (value is None or isinstance(value, bytes)):
        raise SourceError("the answer is not a list of keys with values")
    return key, value


def _key(entry: Entry) -> str:
    return entry[0]
