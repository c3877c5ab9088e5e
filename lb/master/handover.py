"""What workers have learned of their servers (failures, positions of the balancers), from one generation to the next.

It is asked for when a reload begins and comes while the new file is read, so that nobody waits for it; a worker that
does not answer within a quarter of a second is stuck, and its successor starts without.  A worker hands on to the one
in its slot; one without a predecessor takes what slot 0 knows, at a position of its own.
"""

from __future__ import annotations

from typing import Any, Final

from lb.master.generation import Generation
from lb.model import Config, Upstream

ANSWER_S: Final = 0.25
_UINT32: Final = (1 << 32) - 1
_INT64: Final = (1 << 62) - 1  # ms: far from where a sum with another overflows

Name = tuple[str, str]  # kind and name: the same over reloads, unlike an upstream's position


def _name(upstream: Upstream) -> Name:
    return upstream.kind, upstream.name


def _is_learned(one: Any) -> bool:
    """[[position, position], {server: [failures, checked, turn(, slow start began)]}]: see upstream/state.pyx."""
    if not isinstance(one, list) or len(one) != 2 or not isinstance(one[1], dict):
        return False
    positions, peers = one
    if not isinstance(positions, list) or len(positions) != 2:
        return False
    return all(_is_whole(position, _UINT32) for position in positions) and all(map(_is_peer, peers.values()))


def _is_peer(known: Any) -> bool:
    if not isinstance(known, list) or len(known) not in (3, 4):
        return False
    fails, checked, turn, *began = known
    times = all(_is_whole(time, _INT64) for time in (checked, *began))
    return _is_whole(fails, _UINT32) and times and type(turn) in (int, float) and abs(turn) <= _INT64


def _is_whole(value: Any, high: int) -> bool:
    return type(value) is int and 0 <= value <= high


class Handover:
    """The answers of one generation."""

    def __init__(self) -> None:
        self._generation: Generation | None = None
        self._missing: set[int] = set()  # slots
        self._until = 0.0
        self._said: dict[int, dict[Name, Any]] = {}  # by slot

    def begin(self, generation: Generation, slots: set[int], now: float) -> None:
        """Forget what was said before; these slots are asked."""
        self._generation = generation
        self._missing = slots
        self._until = now + ANSWER_S
        self._said = {}

    def take(self, generation: int, slot: int, upstreams: Any) -> None:
        """An answer. Raises ValueError for one that no engine gives."""
        if self._generation is None or generation != self._generation.number:
            return
        names = [_name(upstream) for upstream in self._generation.config.upstreams]
        if not isinstance(upstreams, list) or len(upstreams) != len(names):
            raise ValueError("not one entry per upstream in what a worker has learned")
        if not all(map(_is_learned, upstreams)):
            raise ValueError("what a worker has learned has another form than the engine's")
        self._said[slot] = dict(zip(names, upstreams, strict=True))
        self._missing.discard(slot)

    def until(self) -> float:
        """time.monotonic() until which answers may still come; 0: all are there."""
        return self._until if self._missing else 0.0

    def give(self, config: Config) -> dict[int, dict[int, Any]]:
        """For each slot of the next generation: the upstream's position there -> what is known of it."""
        said, self._said, self._generation = self._said, {}, None
        self._missing = set()
        given = {slot: _for_slot(said, slot, config) for slot in range(config.worker_processes)} if said else {}
        return {slot: known for slot, known in given.items() if known}


def _for_slot(said: dict[int, dict[Name, Any]], slot: int, config: Config) -> dict[int, Any]:
    before = said.get(slot)
    known = before if before is not None else said[min(said)]
    found = {}
    for number, upstream in enumerate(config.upstreams):
        if _name(upstream) in known:
            positions, peers = known[_name(upstream)]
            spread = [(position + slot) & _UINT32 for position in positions]
            found[number] = [positions if before is not None else spread, peers]
    return found
