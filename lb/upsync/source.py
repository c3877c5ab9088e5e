"""Where servers come from: the interface that a registry implements. Consul's KV store is one (consul_kv),
its catalog another (consul_services).

A source belongs to one thread.  It keeps no list and decides nothing: it asks, with deadlines, and says what it was
told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from lb.model import Upsync
from lb.upsync.entries import Listing


class SourceError(Exception):
    """The registry gave no usable answer; the text says why, in one line. The connection is closed.

    `busy`: it asked for less traffic, so an immediate second try would make it worse (429).  `alone`: the query is for
    several upstreams, and one for each might do.  `name`: who gave no answer.
    """

    def __init__(self, text: str, *, busy: bool = False, alone: bool = False, name: str = "") -> None:
        super().__init__(text)
        self.busy = busy
        self.alone = alone
        self.name = name


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer. `index` 0: the registry gave none, so nothing can be waited for."""

    index: int
    entries: Any  # the registry's own; None: what is watched does not exist
    full: bool = True  # asked for without an index, so its own counts also when it is lower than before
    wait_s: float = 0.0  # how long the registry was asked to wait for a change


class Source(Protocol):
    """One query for one or several upstreams. What asks raises SourceError, and Stopped when the thread is to end."""

    @property
    def name(self) -> str:
        """For messages: HOST:PORT."""

    def read(self) -> Answer:
        """Everything, at once."""

    def watch(self, index: int, at_most_s: float) -> Answer:
        """Everything, as soon as it is not as it was at `index`, or after a while as it is."""

    def listing(self, answer: Answer, upsync: Upsync) -> Listing | None:
        """The part of an answer that belongs to one upstream; None: there is none."""

    def index_of(self, answer: Answer, upsync: Upsync) -> int:
        """The index of that part: the answer's own, where all have one."""

    def confirmed(self, name: str) -> int | None:
        """The number of servers that an operator has confirmed for an upstream whose update is held."""

    def close(self) -> None:
        """Give back the connection. The next read would make a new one."""


def watched(upsync: Upsync) -> str:
    """What an upstream follows, as a text that two configurations can be compared by."""
    policy = f"#{upsync.health}" if upsync.health != "strict" else ""
    return f"{upsync.kind}://{place(upsync.host, upsync.port)}{upsync.path}{policy}"


def place(host: str, port: int) -> str:
    """HOST:PORT, also of an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
