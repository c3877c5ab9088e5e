"""The Python face of the engine (`lb/fast/api.pyx`): everything that a worker and the master call."""

import mmap
from collections.abc import Mapping, Sequence
from typing import Any

from lb.config.model import Config, ErrorLog, Server

STOP_RELOAD: int  # finish what runs; idle keep-alive clients get a last chance (`Connection: close` on the next answer)
STOP_QUIT: int  # finish what runs; close idle connections at once
STOP_NOW: int  # close everything

VARIABLES: frozenset[str]  # names that a Value may use; a name that ends in "_" is a family: "http_"
BUILD: str  # "release", "debug", "asan", "profile" or "coverage"
BUILT: dict[str, str]  # with what the engine was built: mode, flags, compiler, cython

class Engine:
    """One worker's event loop. Made in the worker after the fork; one per process."""

    def __init__(
        self,
        config: Config,
        listeners: Sequence[int | None],  # a listening fd per Config.listeners, inherited from the master
        *,
        worker: int,  # 0-based slot
        workers: int,
        shm: mmap.mmap,  # of stats_size(workers) bytes, mapped by the master before the fork
        logs: Mapping[str, int],  # path of an access or error log -> fd open for appending
        error_fd: int,  # the first error log
        error_level: str,
        error_logs: Sequence[ErrorLog] = (),  # of the main context, the first one included; (): error_fd alone
    ) -> None: ...
    def publish(self, upstream: int, servers: Sequence[Server], show: bytes) -> None:
        """Replace the servers of upstream number `upstream`. Any thread; returns at once, the loop swaps soon after.

        `show` is the text of this upstream for /upstream_show (see lb.upsync.show.block).
        """
    def learned(self) -> list[Any]:
        """Any thread: what a new worker should know: per upstream [[place] * 2, {server: [fails, checked, turn]}]."""
    def start_with(self, learned: dict[int, Any]) -> None:
        """Before run(), after the first publish of each: what an old worker has `learned`, by upstream number here."""
    def run(self) -> None:
        """Serve until stopped and drained. Holds no GIL from start to end.

        Takes SIGTERM, SIGINT (STOP_NOW) and SIGQUIT (STOP_QUIT) by signalfd: the worker blocks these three, and
        SIGUSR1, SIGHUP, SIGWINCH, in its main thread before it starts any other thread.
        """
    def stop(self, mode: int) -> None:
        """Any thread."""
    def reopen(self, logs: Mapping[str, int], error_fd: int) -> None:
        """Any thread: use these fds for logs from now on; the engine closes the old ones."""
    def open_handles(self) -> dict[str, int]:
        """After run(): what is still open, by kind (all zero, or the engine leaks)."""

def regex_check(pattern: str, caseless: bool = False) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Groups, and named captures with their groups, of a PCRE2 expression. Raises ValueError with nginx's text."""

def stats_size(workers: int) -> int: ...
def read_stats(shm: mmap.mmap, worker: int) -> dict[str, int]:
    """Counters of one worker slot, readable by the master at any time. Keys: generation pid accepts connections
    active idle requests upstream_connects upstream_reuses retries bytes_in bytes_out heartbeat_ms ..."""

def clear_stats(shm: mmap.mmap, worker: int) -> None:
    """The master, before it forks a new worker into this slot."""
