"""Where servers come from: the interface that a registry implements. Consul's KV store is one (consul_kv).

A source belongs to one thread.  It keeps no list and decides nothing: it asks, with deadlines, and says what it was
told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lb.config.model import Upsync
from lb.upsync.entries import Entry, Listing


class SourceError(Exception):
    """The registry gave no usable answer; the text says why, in one line. The connection is closed.

    `busy`: it asked for less traffic, so an immediate second try would make it worse (429).
    """

    def __init__(self, text: str, *, busy: bool = False) -> None:
        super().__init__(text)
        self.busy = busy


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer. `index` 0: the registry gave none, so nothing can be waited for."""

    index: int
    entries: Sequence[Entry] | None  # None: what is watched does not exist
    full: bool = True  # asked for without an index, so its own counts also when it is lower than before


class Source(Protocol):
    """Both reads raise SourceError, and Stopped when the thread is to end."""

    name: str  # for messages: HOST:PORT

    def read(self) -> Answer:
        """Everything, at once."""

    def watch(self, index: int) -> Answer:
        """Everything, as soon as it is not as it was at `index`, or after a while as it is."""

    def listing(self, answer: Answer, upsync: Upsync) -> Listing:
        """The part of an answer (that has entries) that belongs to one upstream."""

    def close(self) -> None:
        """Give back the connection. The next read would make a new one."""


def watched(upsync: Upsync) -> str:
    """What an upstream follows, as a text that two configurations can be compared by."""
    host = f"[{upsync.host}]" if ":" in upsync.host else upsync.host
    return f"{upsync.kind}://{host}:{upsync.port}{upsync.path}"
