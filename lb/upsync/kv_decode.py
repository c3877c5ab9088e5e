"""The body of /v1/kv/PREFIX?recurse -> (key, value) pairs, without reading again what was in the last answer.

Consul sends the whole directory for every change.  So only the part in which the body differs from the last one is
looked at (lb/fast/upstream/diff.pyx: 0.1 ms for a megabyte).  Its objects are flat: it is cut at `},{`, and each piece
is looked up among those of the same part of the last body; only new ones are parsed.

Every piece of the last body was one object, so its cuts were true ones, and so is every cut in what has not changed.
A cut inside a string leaves a piece that is no JSON by itself (its quotes do not match).  Then, as with anything else
unexpected, the whole text is parsed, and nothing is remembered.
"""

from __future__ import annotations

import binascii
import json
import operator
from bisect import bisect_left
from typing import Any, Final

from lb import _fast
from lb.upsync.entries import Entry
from lb.upsync.source import SourceError

_CUT: Final = "},{"
_SPACE: Final = b" \t\r\n"


class Decoder:
    """Remembers one answer."""

    def __init__(self) -> None:
        self.ordered = False  # the keys of the last answer ascend, none comes twice
        self._text = memoryview(b"")  # the last answer, cut into pieces of which each is ...
        self._entries: list[Entry] = []  # ... one of these

    def entries(self, body: bytes | memoryview) -> list[Entry]:
        """As Consul sorted them; not to be changed. Pairs that have not changed are the same objects.

        `body` is kept, and must stay as it is until another one was taken. Raises SourceError, ValueError.
        """
        text = _stripped(memoryview(body))
        found = self._pieces(text) if bytes(text[:2]) == b"[{" and bytes(text[-2:]) == b"}]" else None
        if found is None:
            found = _whole(str(text, "utf-8", "replace"))
            self.ordered, self._text, self._entries = False, memoryview(b""), []
        return found

    def _pieces(self, text: memoryview) -> list[Entry] | None:
        """None: it cannot be cut."""
        start = rest = 1
        if self.ordered:
            apart = _fast.objects_apart(self._text, text)
            if apart is None:
                self._text = text
                return self._entries
            start, rest = apart
        at, after, known = self._known(start, rest)
        try:
            fresh = [known.get(piece) or _entry(json.loads("{" + piece + "}")) for piece in _cut(text, start, rest)]
        except json.JSONDecodeError:
            return None
        around = [*self._entries[max(at - 1, 0) : at], *fresh, *self._entries[after : after + 1]]
        self.ordered = _ascend(around)  # the others are as they were
        self._text = text
        self._entries = [*self._entries[:at], *fresh, *self._entries[after:]]
        return self._entries

    def _known(self, start: int, rest: int) -> tuple[int, int, dict[str, Entry]]:
        """A part of the last answer: where its entries begin and end, and what its pieces say."""
        if not self._entries:
            return 0, 0, {}
        pieces = _cut(self._text, start, rest)
        at = 0
        if self.ordered:
            first, _ = _entry(json.loads("{" + pieces[0] + "}"))
            at = bisect_left(self._entries, first, key=operator.itemgetter(0))
        after = at + len(pieces)
        return at, after, dict(zip(pieces, self._entries[at:after], strict=True))


def _stripped(text: memoryview) -> memoryview:
    end = len(text)
    while end and text[end - 1] in _SPACE:
        end -= 1
    return text[:end]


def _cut(text: memoryview, start: int, rest: int) -> list[str]:
    """The insides of the objects in text[start:-rest]."""
    return str(text[start + 1 : -rest - 1], "utf-8", "replace").split(_CUT)


def _ascend(entries: list[Entry]) -> bool:
    keys = [key for key, _ in entries]
    return all(map(operator.lt, keys, keys[1:]))


def _whole(text: str) -> list[Entry]:
    items = json.loads(text)
    if items is None:  # as the module takes it
        return []
    if not isinstance(items, list):
        raise SourceError("the answer is not a list of keys")
    return [_entry(item) for item in items]


def _entry(item: Any) -> Entry:
    key, value = (item.get("Key"), item.get("Value")) if isinstance(item, dict) else (None, None)
    if not isinstance(key, str) or not (value is None or isinstance(value, str)):
        raise SourceError("the answer is not a list of keys with values")
    return key, binascii.a2b_base64(value) if value else None
