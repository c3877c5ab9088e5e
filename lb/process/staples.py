"""OCSP responses as they travel from the master to its workers, in JSON (lb/process/channel.py)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

# place of Config.tls, SHA-256 of the certificate, until (Unix seconds), base64 of the response
Row = tuple[int, str, int, str]


def rows_of(body: Any) -> Iterator[tuple[int, bytes, bytes, int]]:
    """What Engine.staple takes: place, SHA-256 of the certificate, response, until."""
    for place, digest, until, text in body:
        yield int(place), bytes.fromhex(digest), base64.b64decode(text), int(until)
