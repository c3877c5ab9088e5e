"""What the workers say about Consul's lists, and the dump files that follow from it.

The master only listens: each worker pulls by itself.  Of each (worker, upstream) the last report is kept; the list
with the highest Consul index among living workers is what is known of an upstream, the newest generation first (an old
worker that drains hears of nothing any more): it is shown, dumped, and given to new workers.  Looking at the last
reports, not at the highest index ever seen, follows a Consul whose index starts again.

A dump is written once per change, by one child at a time (a disk may make fsync wait), never by a worker.  Lists are
kept as Rolls, which keep the text of their dumps: a change among 5,000 servers costs the lines of what has changed.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Final

from lb.log import Log
from lb.master.child import Outcome
from lb.master.dump_writer import DumpWriter
from lb.model import Config, Server, Upstream
from lb.process.loop import Loop, doubled
from lb.upsync.indexed_list import IndexedList, dump_of
from lb.upsync.report import Report
from lb.upsync.source import watched

Key = tuple[
    str, str, str
]  # kind and name of an upstream, and what it follows: the same over reloads, unlike its position

BATCH: Final = 100  # files that a child is told to write at once, at most,
BATCH_SERVERS: Final = 10_000  # and about as many lines: the first time, each costs the master 1 us
WRITE_WITHIN_S: Final = 30.0  # and its time for them
LINGER_S: Final = 10.0  # the child stays after a write: the next change mostly comes soon, and a fork costs 1 ms
RETRY_S: Final = 1.0  # after a failed write; doubles up to
RETRY_MAX_S: Final = 60.0


def key_of(upstream: Upstream) -> Key:
    return upstream.kind, upstream.name, watched(upstream.upsync) if upstream.upsync is not None else ""


class Reports:
    """The last report of each (worker pid, upstream), and what is known from them."""

    def __init__(self) -> None:
        self._last: dict[Key, dict[int, Report]] = {}
        self._known: dict[Key, Report] = {}
        self._asked: dict[tuple[Key, int], int] = {}  # digest of a list that is not here -> pid asked for it
        self._to_ask: list[tuple[int, int]] = []
        self._generations: dict[int, int] = {}  # pid -> number of its generation

    def take(self, pid: int, upstream: Upstream, report: Report, generation: int = 0) -> None:
        """Keep it, and learn from it if its list is here; else somebody is to be asked for it (`to_ask`)."""
        key = key_of(upstream)
        self._generations[pid] = generation
        last = self._last.setdefault(key, {})
        lists = self._lists(key)
        last[pid] = report = _completed(lists, report)
        if not _is_whole(report):
            self._want(key, pid, report)
        else:
            self._asked.pop((key, report.digest), None)
            if report.digest not in lists:
                _share(last, report)
            self._ask_others(pid, {key})  # it has another list by now than the one it was asked for
        self._learn(key)

    def _learn(self, key: Key) -> None:
        whole = [(pid, said) for pid, said in self._last[key].items() if _is_whole(said)]
        if whole:
            self._known[key] = max(whole, key=self._worth)[1]

    def _worth(self, said: tuple[int, Report]) -> tuple[bool, int, int, float]:
        pid, report = said
        return report.source == "consul", self._generations[pid], report.index, report.at

    def _lists(self, key: Key) -> dict[int, IndexedList]:
        """The lists that are here, by digest. Workers may differ in the order: what is known comes first."""
        known = self._known.get(key)
        said = [known, *self._last[key].values()] if known is not None else list(self._last[key].values())
        return {one.digest: one.servers for one in reversed(said) if isinstance(one.servers, IndexedList)}

    def _want(self, key: Key, pid: int, report: Report) -> None:
        if (key, report.digest) not in self._asked:
            self._asked[key, report.digest] = pid
            self._to_ask.append((pid, report.upstream))

    def to_ask(self) -> list[tuple[int, int]]:
        """(pid, number of the upstream in its configuration): each list that is not here comes from one worker."""
        found, self._to_ask = self._to_ask, []
        return found

    def forget(self, pid: int) -> None:
        """The worker is dead. What is known from it stays known; another is asked for what it was asked for."""
        for last in self._last.values():
            last.pop(pid, None)
        self._generations.pop(pid, None)
        self._ask_others(pid, self._last.keys())

    def _ask_others(self, pid: int, keys: Container[Key]) -> None:
        """For the lists that will not come from this worker."""
        for key, digest in [one for one, asked in self._asked.items() if asked == pid and one[0] in keys]:
            del self._asked[key, digest]
            for other, said in self._last.get(key, {}).items():
                if said.digest == digest and not _is_whole(said):
                    self._want(key, other, said)

    def known(self, upstream: Upstream) -> Report | None:
        return self._known.get(key_of(upstream))

    def by_worker(self, upstream: Upstream) -> dict[int, Report]:
        """pid -> last report of this upstream, of living workers."""
        return dict(self._last.get(key_of(upstream), {}))

    def for_start(self, config: Config) -> dict[int, Report]:
        """What new workers of this configuration begin with, by the position of the upstream in it."""
        return {
            number: replace(report, upstream=number, servers=tuple(report.servers))
            for number, upstream in enumerate(config.upstreams)
            if upstream.upsync is not None and (report := self._known.get(key_of(upstream))) is not None
        }

    def keep_only(self, config: Config) -> None:
        """After a reload: forget the upstreams that are gone."""
        keys = {key_of(upstream) for upstream in config.upstreams}
        for table in (self._last, self._known):
            for key in [key for key in table if key not in keys]:
                del table[key]
        self._asked = {wanted: pid for wanted, pid in self._asked.items() if wanted[0] in keys}


def _completed(lists: dict[int, IndexedList], report: Report) -> Report:
    """With its list indexed, if that is here, follows from one that is here, or came with it. Without its delta."""
    here = lists.get(report.digest)
    if here is not None and len(here) == report.count:  # of all workers but the first one
        return replace(report, servers=here, delta=None)
    base = lists.get(report.delta.of) if report.delta is not None else None
    if base is not None and report.delta is not None:
        servers, digest = report.delta.applied(base)
        if digest == report.digest and len(servers) == report.count:
            return replace(report, servers=servers, delta=None)
    return replace(
        report, servers=IndexedList(report.servers) if len(report.servers) == report.count else (), delta=None
    )


def _is_whole(report: Report) -> bool:
    """Whether its list is here."""
    return isinstance(report.servers, IndexedList)


def _share(last: dict[int, Report], report: Report) -> None:
    """Its list is new here: give it to those that wait for it too."""
    for pid, said in last.items():
        if (said.digest, said.count) == (report.digest, report.count) and said is not report:
            last[pid] = replace(said, servers=report.servers)


@dataclass(slots=True)
class Failure:
    """A dump file that could not be written: said once, tried again later."""

    tries: int
    text: str


class Dumps:
    """The dump files still to write. One child at a time writes what is due, and stays for what comes soon after."""

    def __init__(self, loop: Loop, log: Log) -> None:
        self._loop = loop
        self._log = log
        self._wanted: dict[str, tuple[Server, ...]] = {}  # path -> the last list asked for
        self._pending: dict[str, tuple[Server, ...]] = {}
        self._writing: dict[str, tuple[Server, ...]] = {}
        self._failing: dict[str, Failure] = {}
        self._retry_at = 0.0
        self._linger_until = 0.0
        self.dump_writer: DumpWriter | None = None
        self.failures = 0  # writes that failed, since the start

    def want(self, path: str, servers: tuple[Server, ...]) -> None:
        """Write this list to `path`, unless it was the last one asked for; it supersedes one that waits."""
        last = self._wanted.get(path)
        if last is servers or last == servers:
            return
        self._wanted[path] = servers
        self._pending[path] = servers
        if path not in self._failing:
            self._retry_at = 0.0

    def keep_only(self, paths: Container[str]) -> None:
        """After a reload: forget the files that the configuration does not name any more."""
        for table in (self._wanted, self._pending, self._writing, self._failing):
            for path in [path for path in table if path not in paths]:
                del table[path]

    @property
    def busy(self) -> bool:
        return self.dump_writer is not None and self.dump_writer.busy

    @property
    def idle(self) -> bool:
        """Nothing is being written and nothing could be written now (at the end: do not wait for a broken disk)."""
        return not self._writing and not self.busy and all(path in self._failing for path in self._pending)

    def step(self, now: float) -> None:
        """Take the result of a write that is over; start one that is due; let a child go that has nothing to do."""
        if self.dump_writer is not None:
            self.dump_writer.check(now)
            if self.dump_writer.outcome is not None:
                self._finish(now, self.dump_writer.outcome)
        if self.busy:
            return
        if self._pending and now >= self._retry_at:
            self._start(now)
        elif self.dump_writer is not None and (self.dump_writer.gone or now >= self._linger_until):
            self.dump_writer.close()
            self.dump_writer = None

    def _start(self, now: float) -> None:
        try:
            if self.dump_writer is None or self.dump_writer.gone:
                self.dump_writer = DumpWriter(self._loop)
        except OSError as error:
            self._retry_at = now + RETRY_S
            self._log.error(f"fork() failed ({error.errno}: {error.strerror}) while writing dump files")
            return
        self._writing = self._due()
        for path in self._writing:
            del self._pending[path]
        self.dump_writer.write({path: dump_of(some) for path, some in self._writing.items()}, now + WRITE_WITHIN_S)

    def _due(self) -> dict[str, tuple[Server, ...]]:
        """What waits, up to one batch."""
        due: dict[str, tuple[Server, ...]] = {}
        count = 0
        for path, servers in self._pending.items():
            due[path] = servers
            count += len(servers)
            if len(due) == BATCH or count >= BATCH_SERVERS:
                break
        return due

    def _finish(self, now: float, outcome: Outcome) -> None:
        assert self.dump_writer is not None
        self.dump_writer.outcome = None
        self._linger_until = now + LINGER_S
        failed: dict[str, str] = outcome.value if not outcome.error else dict.fromkeys(self._writing, outcome.error)
        failed = {path: text for path, text in failed.items() if path in self._writing}  # and not forgotten meanwhile
        for path, servers in self._writing.items():
            if path in failed:
                self._failed(path, servers, failed[path])
            else:
                self._written(path, servers)
        self._writing = {}
        if failed:
            tries = max(self._failing[path].tries for path in failed)
            self._retry_at = now + doubled(RETRY_S, tries - 1, RETRY_MAX_S)

    def _failed(self, path: str, servers: tuple[Server, ...], text: str) -> None:
        self.failures += 1
        failure = self._failing.setdefault(path, Failure(0, ""))
        failure.tries += 1
        if failure.text != text:
            failure.text = text
            self._log.error(f'upsync_dump_server: dump file "{path}" cannot be written, will be tried again: {text}')
        self._pending.setdefault(path, servers)  # unless something newer waits

    def _written(self, path: str, servers: tuple[Server, ...]) -> None:
        again = ", at last" if self._failing.pop(path, None) else ""
        self._log.notice(
            f"upsync_dump_server: dump conf file {path} succeeded, number of servers is {len(servers)}{again}"
        )

    def close_copy(self) -> None:
        """In a forked worker."""
        if self.dump_writer is not None:
            self.dump_writer.close_copy()

    def close(self) -> None:
        """At the end of the master."""
        if self.dump_writer is not None:
            self.dump_writer.reap()

    def deadline(self) -> float | None:
        if self.dump_writer is not None and self.dump_writer.busy:
            return self.dump_writer.give_up_at
        if self.dump_writer is not None and self.dump_writer.outcome is not None:
            return 0.0  # the order could not even be given
        times = [self._retry_at] if self._pending else []
        times += [self._linger_until] if self.dump_writer is not None else []
        return min(times, default=None)

    def failing(self) -> dict[str, str]:
        """path -> why it cannot be written, for the status port."""
        return {path: failure.text for path, failure in self._failing.items()}
