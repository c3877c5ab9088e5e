"""The ring of `hash ... consistent`: sorted, merged and searched as a plain Python list would be. Through the probe."""

from __future__ import annotations

import random
import zlib

import pytest

from tests import _probe


@pytest.mark.parametrize(
    ("name", "base"),
    [
        (b"127.0.0.1:80", b"127.0.0.1\x0080"),
        (b"[::1]:8080", b"[::1]\x008080"),
        (b"unix:/run/x.sock", b"/run/x.sock\0"),
        (b"host", b"host\0"),
        (b"10", b"10\0"),
    ],
)
def test_points_of_a_server(name: bytes, base: bytes) -> None:
    expected = []
    previous = b"\0\0\0\0"
    for _ in range(320):
        expected.append(zlib.crc32(previous, zlib.crc32(base)))
        previous = expected[-1].to_bytes(4, "little")
    assert _probe.ring_of(name, 320) == expected


def expected_ring(points: list[tuple[int, int]], orders: list[int]) -> list[tuple[int, int]]:
    return sorted(points, key=lambda point: (point[0], orders[point[1]]))


@pytest.mark.parametrize("bits", [4, 12, 32])
@pytest.mark.parametrize("seed", range(8))
def test_merged_is_made_anew(seed: int, bits: int) -> None:
    """Few bits: nearly every hash is there several times."""
    chance = random.Random(seed * 100 + bits)
    orders = list(range(20))
    chance.shuffle(orders)
    now: list[tuple[int, int]] = []
    alive: set[int] = set()
    for _ in range(12):
        gone = set(chance.sample(sorted(alive), chance.randint(0, len(alive))))
        alive -= gone
        # A server is new, or changed: in both cases none of its old points stay
        changed = {number for number in range(20) if chance.random() < 0.2}
        fresh = []
        for number in changed:  # of one server all points differ
            values = {chance.randrange(1 << bits) for _ in range(chance.randint(0, 30))}
            fresh += [(value, number) for value in values]
        stays = sorted(alive - changed)
        kept = [point for point in now if point[1] in stays]
        now, after = _probe.ring(now, stays, fresh, orders)
        alive = set(stays) | changed
        assert now == expected_ring(kept + fresh, orders)
        for at, following in enumerate(after):
            larger = [i for i in range(at, len(now)) if now[i][0] != now[at][0]]
            assert following == (larger[0] if larger else 0)
