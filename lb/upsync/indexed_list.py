"""A list of servers as the master keeps it: with the text of its dump and an index, which the next list takes over.

    IndexedList --dump(), places()--> text and index, made once       --edited()--> the next one, with both

One change among 5,000 servers shall not cost 5,000 lines, nor a look at 5,000 servers, which no cache has when the
change comes.  So the text is cut and joined around the lines that change, and servers are found by hashes that lie side
by side.  It never changes, like the tuple that it is; whoever needs a plain list (a worker, over fork) copies it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from struct import Struct
from typing import Final

from lb.model import Server
from lb.upsync import dump

Key = tuple[str, int]  # host and port
Edits = Sequence[tuple[int, Server | None]]  # (place, the server there now; None: it is gone), ascending
FEW: Final = 50  # changes that are looked for one by one (30 us each); with more, all is made anew
_HASH: Final = Struct("=q")


def key_of(server: Server) -> Key:
    return server.address.host, server.address.port


class IndexedList(tuple[Server, ...]):
    """Servers in the order that users see."""

    _text: bytes | None = None
    _index: bytes | None = None  # 8 bytes a server: the hash of its key

    def dump(self) -> bytes:
        """Its dump (lb.upsync.dump). The first call costs 1 us a server."""
        if self._text is None:
            self._text = dump.data(self)
        return self._text

    def places(self, keys: Set[Key]) -> list[int]:
        """Where the servers with these keys are, ascending."""
        if len(keys) > FEW:
            return [at for at, one in enumerate(self) if key_of(one) in keys]
        if self._index is None:
            self._index = _hashes(self)
        return sorted(at for key in keys for at in _found(self._index, key) if key_of(self[at]) == key)

    def edited(self, head: Sequence[Server], edits: Edits) -> IndexedList:
        """With `head` before all others, and `edits`, in which a server keeps its key."""
        kept = list(self)
        for at, now in reversed(edits):
            kept[at : at + 1] = [now] if now is not None else []
        made = IndexedList([*head, *kept])
        if len(head) + len(edits) <= FEW:
            made._text = self._edited_text(head, edits)
            made._index = self._edited_index(head, edits)
        return made

    def _edited_text(self, head: Sequence[Server], edits: Edits) -> bytes | None:
        if self._text is None:
            return None
        text, done = memoryview(self._text), 0  # `done`: always at the start of a line
        parts: list[bytes | memoryview] = [dump.line(one) for one in head]
        for at, now in edits:
            line = dump.line(self[at])
            start = done if self._text.startswith(line, done) else self._text.index(b"\n" + line, done) + 1
            parts.append(text[done:start])
            if now is not None:
                parts.append(dump.line(now))
            done = start + len(line)
        return b"".join([*parts, text[done:]])

    def _edited_index(self, head: Sequence[Server], edits: Edits) -> bytes | None:
        if self._index is None:
            return None
        index = bytearray(self._index)
        for at, now in reversed(edits):
            if now is None:
                del index[at * _HASH.size : (at + 1) * _HASH.size]
        return _hashes(head) + index


def _hashes(servers: Sequence[Server]) -> bytes:
    return b"".join(_HASH.pack(hash(key_of(one))) for one in servers)


def _found(index: bytes, key: Key) -> Iterator[int]:
    """Places with the hash of `key`."""
    wanted, at = _HASH.pack(hash(key)), -1
    while (at := index.find(wanted, at + 1)) >= 0:
        if at % _HASH.size == 0:
            yield at // _HASH.size


def dump_of(servers: Sequence[Server]) -> bytes:
    """The dump of a list that may be a IndexedList."""
    return servers.dump() if isinstance(servers, IndexedList) else dump.data(servers)
