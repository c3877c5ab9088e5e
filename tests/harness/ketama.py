"""The ring of `hash ... consistent` in Python, as Cache::Memcached::Fast and nginx make it."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping

Ring = list[tuple[int, str]]  # hash -> HOST:PORT, in order, each hash once


def ketama(weights: Mapping[str, int]) -> Ring:
    points: dict[int, str] = {}
    for name, weight in weights.items():
        host, _, port = name.rpartition(":")
        base, previous = zlib.crc32(f"{host}\0{port}".encode()), bytes(4)
        for _ in range(160 * weight):
            made = zlib.crc32(previous, base)
            points.setdefault(made, name)
            previous = made.to_bytes(4, "little")
    return sorted(points.items())


def on_ring(points: Ring, keys: Iterable[str]) -> list[str]:
    """The server of each key."""
    at = [bisect_left(points, (zlib.crc32(key.encode()), "")) for key in keys]
    return [points[i % len(points)][1] for i in at]
