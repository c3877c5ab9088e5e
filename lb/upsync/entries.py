"""Consul's answer -> servers: which keys are servers, with which attributes, and what is wrong with the others.

Pure: (key, value) pairs in, a Listing out.  The rules and messages are the module's (upsync-behaviour section 1.4),
except that a prefix takes whole path segments (`upstreams/test` not `upstreams/test2`), that two keys with one
address are one server (the module: a list that is broken until a restart), and that each message says its key.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lb.model import Address, Server
from lb.upsync.address import MAX_TEXT, AddressError, parse_server
from lb.upsync.values import Attributes, attributes, printable

MAX_SERVERS: Final = 100_000  # of one upstream; what comes after them is skipped and said
MAX_PROBLEMS: Final = 100  # messages kept of one answer; the others are counted in the last one
_SHOWN_KEY: Final = 256  # characters of a key in a message

Entry = tuple[str, bytes | None]  # a key with its value; Consul has no value for an empty one


@dataclass(frozen=True, slots=True)
class Listing:
    """One upstream's part of an answer: servers in Consul's (lexicographic) order, and what is wrong with the rest.

    A server of a host name has an address of family AF_UNSPEC; `hosts` are these names.  One that was made of the last
    one (lb.upsync.incremental) says what has changed `since` then: `gone` and `fresh`, in the order of keys; a server
    that is altered is in both.
    """

    servers: tuple[Server, ...]
    problems: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    mark: object = field(default_factory=object, compare=False)  # stands for this Listing
    since: object = field(default=None, compare=False)  # the mark of the last one; None: not made of it
    gone: tuple[Server, ...] = field(default=(), compare=False)
    fresh: tuple[Server, ...] = field(default=(), compare=False)


class Read(NamedTuple):
    """What one key with this value is: a server, or not, and what is wrong with it."""

    server: Server | None
    place: tuple[str, int] | None  # of a server with nothing wrong: two entries with one place are one server
    problems: tuple[str, ...]


Memo = dict[Entry, Read]  # of the last answer: most entries of the next one are the same


def under(prefix: str, key: str) -> bool:
    """Whether the key lies in the directory `prefix`, or is it: whole segments, so test2/x is not under test."""
    directory = prefix.rstrip("/")
    return not directory or key == directory or key.startswith(directory + "/")


def listing(entries: Iterable[Entry], prefix: str = "", memo: Memo | None = None) -> Listing:
    """The servers among the entries under `prefix`.

    With a `memo` (empty at first, kept by the caller for the next answer), entries that have not changed cost next
    to nothing, and their servers are the same objects.
    """
    if prefix:
        entries = [entry for entry in entries if under(prefix, entry[0])]
    return Reader({} if memo is None else memo).listing(entries)


class Collector:
    """Servers, each address once, and messages, up to a bound: a Listing in the making."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, int], tuple[str, Server]] = {}  # by (host, port): what it is called, the server
        self._problems: list[str] = []
        self._more_problems = 0

    def add(self, label: str, server: Server) -> None:
        """`label`: what messages call it."""
        place = (server.address.host, server.address.port)
        if place in self._servers:
            first = _shown(self._servers[place][0])
            self.problem(f"upsync: {_shown(label)} has the address of {first}: one server, values of the latter")
        elif len(self._servers) >= MAX_SERVERS:
            self.problem(f"upsync: {_shown(label)} is skipped: more than {MAX_SERVERS} servers")
        else:
            self._servers[place] = (label, server)

    def problem(self, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(text)
        else:
            self._more_problems += 1

    def listing(self) -> Listing:
        if self._more_problems:
            self._problems.append(f"upsync: {self._more_problems} more entries with problems")
        servers = tuple([server for _, server in self._servers.values()])
        return Listing(servers, tuple(self._problems), hosts_of(servers))


def hosts_of(servers: Iterable[Server]) -> frozenset[str]:
    return frozenset([one.address.host for one in servers if one.address.family == socket.AF_UNSPEC])


class Reader:
    """Goes through one answer. Keys mostly have a handful of different values, so each value is read once."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._values: dict[bytes | None, tuple[Attributes, tuple[str, ...]]] = {}

    def listing(self, entries: Iterable[Entry]) -> Listing:
        given = list(entries)
        reads = {entry: self.read(entry) for entry in given}
        self._memo.clear()  # keys that are gone must not fill it
        self._memo.update(reads)
        servers = [read.server for read in reads.values() if read.server is not None]
        places = {read.place for read in reads.values()}
        if len(places) == len(reads) == len(given) <= MAX_SERVERS and None not in places:
            return Listing(tuple(servers), (), hosts_of(servers))  # nearly always: nothing wrong, nothing twice
        return self._with_problems(given, reads)

    def read(self, entry: Entry) -> Read:
        """Not looked at again, if the memo has it."""
        return self._memo.get(entry) or self._look_at(*entry)

    @staticmethod
    def _with_problems(given: list[Entry], reads: Memo) -> Listing:
        found = Collector()
        for entry in given:
            read = reads[entry]
            for problem in read.problems:
                found.problem(problem)
            if read.server is not None:
                found.add(entry[0], read.server)
        return found.listing()

    def _look_at(self, key: str, value: bytes | None) -> Read:
        _, slash, text = key.rpartition("/")
        if not slash:
            return Read(None, None, (f"upsync_check_key: {_shown(key)} is illegal, dont contains slash '/'",))
        try:
            address = parse_server(text)
        except AddressError as error:
            problem = f"upsync_check_key: {error.reason} in /{printable(text[:MAX_TEXT])}: {_shown(key)} skipped"
            return Read(None, None, (problem,))
        if value not in self._values:
            self._values[value] = attributes(value)
        found, problems = self._values[value]
        said = tuple([f"{problem}: {_shown(key)}" for problem in problems]) if problems else ()
        return Read(_server(text, address, found), None if said else (address.host, address.port), said)


def _server(name: str, address: Address, found: Attributes) -> Server:
    return Server(
        name=str(address) if address.family == socket.AF_UNIX else name,
        address=address,
        weight=found.weight,
        max_fails=found.max_fails,
        fail_timeout_s=found.fail_timeout_s,
        max_conns=found.max_conns,
        backup=found.backup,
        down=found.down,
        slow_start_s=found.slow_start_s,
    )


def _shown(key: str) -> str:
    return printable(key if len(key) <= _SHOWN_KEY else key[:_SHOWN_KEY] + "...")
