"""The body of /v1/kv/PREFIX?recurse -> (key, value) pairs, without reading again what was in the last answer.

Consul sends the whole directory for every change.  Its objects are flat, so the text is cut at `},{` and each piece is
looked up among those of the last answer; only new ones are parsed.  A cut inside a string leaves a piece that is no
JSON by itself (its quotes do not match), and then, as with anything else unexpected, the whole text is parsed.
"""

from __future__ import annotations

import binascii
import json
from typing import Any

from lb.upsync.entries import Entry
from lb.upsync.source import SourceError


class Decoder:
    """Remembers one answer."""

    def __init__(self) -> None:
        self._known: dict[str, Entry] = {}  # a piece -> what it says

    def entries(self, body: str) -> list[Entry]:
        """As Consul sorted them. Unchanged pairs are the same objects. Raises SourceError, ValueError."""
        text = body.strip()
        if not (text.startswith("[{") and text.endswith("}]")):
            return _whole(text)
        pieces = text[2:-2].split("},{")
        found = [self._known.get(piece) for piece in pieces]
        if None in found:
            try:
                pairs = zip(pieces, found, strict=True)
                found = [_entry(json.loads("{" + piece + "}")) if one is None else one for piece, one in pairs]
            except json.JSONDecodeError:
                return _whole(text)
        entries: list[Entry] = found  # type: ignore[assignment]  # no None is left
        self._known = dict(zip(pieces, entries, strict=True))
        return entries


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
