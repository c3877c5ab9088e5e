"""Private keys that this process has read: beside the model, so that they are in no text and no copy of it."""

from __future__ import annotations

import hashlib

kept: dict[bytes, bytes] = {}  # SHA-256 of a key's DER -> the DER


def keep(key: bytes) -> bytes:
    """The digest that stands for the key in the model."""
    digest = hashlib.sha256(key).digest()
    kept[digest] = key
    return digest
