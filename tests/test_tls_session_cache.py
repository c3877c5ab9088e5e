"""The cache of sessions by itself: what is kept, what is pushed out, dead workers, rubbish in the memory."""

from __future__ import annotations

import os
import random

from tests._probe import Sessions


def test_what_was_put_is_found_until_its_time() -> None:
    zone = Sessions(4)
    for number in range(40):
        zone.put(b"id%030d" % number, b"session %d" % number, 0, 100)
    assert all(zone.get(b"id%030d" % number, 99) == b"session %d" % number for number in range(40))
    assert zone.get(b"id%030d" % 0, 100) is None
    zone.put(b"id%030d" % 0, b"again", 50, 200)
    assert zone.get(b"id%030d" % 0, 150) == b"again"
    zone.drop(b"id%030d" % 0)
    assert zone.get(b"id%030d" % 0, 150) is None
    assert not zone.has(b"again")  # nothing of it stays


def test_the_oldest_goes_where_there_is_no_room() -> None:
    zone = Sessions(1)
    for number in range(100):
        zone.put(b"%032d" % number, os.urandom(200), 0, 100)
    kept = [number for number in range(100) if zone.get(b"%032d" % number, 1)]
    assert kept == list(range(100 - len(kept), 100)) and 25 < len(kept) < 40
    zone.put(b"x" * 32, bytes(4001), 0, 100)  # more than one may be
    assert zone.get(b"x" * 32, 1) is None
    zone.put(b"x" * 32, b"l" * 4000, 0, 100)
    assert zone.get(b"x" * 32, 1) == b"l" * 4000


def test_the_lock_of_a_dead_worker_is_taken_from_it() -> None:
    zone = Sessions(3)
    zone.put(b"a" * 32, b"session", 0, 100, pid=7)
    zone.die(7, os.urandom(500))
    assert zone.get(b"a" * 32, 1, pid=8) is None  # held: a full handshake, nobody waits
    zone.put(b"b" * 32, b"other", 0, 100, pid=8)
    assert zone.get(b"b" * 32, 1, pid=8) is None
    assert zone.release(6) == 0
    assert zone.release(7) == 3
    zone.put(b"b" * 32, b"other", 0, 100, pid=8)
    assert zone.get(b"b" * 32, 1, pid=9) == b"other"


def test_rubbish_is_no_session() -> None:
    dice = random.Random(5)
    for _ in range(300):
        zone = Sessions(1)
        zone.put(b"a" * 32, b"session", 0, 100)
        zone.spoil(dice.randbytes(dice.randrange(1, 8128)), dice.randrange(0, 1 << 16))
        assert zone.get(b"a" * 32, 1) in (None, b"session")
        zone.put(b"b" * 32, b"other", 0, 100)
        zone.drop(b"a" * 32)
        assert zone.get(b"b" * 32, 1) in (b"other", None)
