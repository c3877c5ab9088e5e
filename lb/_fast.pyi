"""The Python face of the engine (`lb/fast/compile/engine.pyx`): everything that a worker and the master call."""

import mmap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from lb.model import Config, ErrorLog, Server, TlsServer
from lb.model.tls import CertificateFacts, TlsClient
from lb.upsync.merge import Change

T = TypeVar("T")

STOP_RELOAD: int  # finish what runs; idle keep-alive clients get a last chance (`Connection: close` on the next answer)
STOP_QUIT: int  # finish what runs; close idle connections at once
STOP_NOW: int  # close everything

VARIABLES: frozenset[str]  # names that a Value may use; a name that ends in "_" is a family: "http_"
NGINX_VERSION: str  # whose behaviour lb follows
PHASES: tuple[str, ...]  # of an exchange, as in Request.phase
BUILD: str  # "release", "debug", "asan", "profile" or "coverage"
CUTTING: bool  # is the cutting transport of the tests built in (LB_CUTTING=SEED selects it)
BUILT: dict[str, str]  # with what the engine was built: mode, flags, compiler, cython

BALANCE_METHODS: tuple[str, ...]  # lb.model.Upstream.method may be one of them
BALANCE_BY_ORDER: frozenset[str]  # of them, those that go by the order of the list

class Compiled:
    """The configuration as the engine reads it: filled once, in a child of the master, and shared by all workers.

    How it lives is said in lb/fast/compile/compiled.pyx.  It goes, with all its memory, when nobody refers to it.
    """

    def __init__(self) -> None:
        """Reserves addresses and a descriptor. Raises OSError."""
    def descriptors(self) -> tuple[int, int]:
        """Which descriptors a child must keep to `fill` it; -1 after the first `step`."""
    def fill(self, config: Config, error_logs: Sequence[ErrorLog], keys: dict[bytes, bytes] | None = None) -> None:
        """Compile `config`; in this process, or in a child of the one that calls `step`. `error_logs`: of the main
        context, one at least; `keys`: private keys as DER, by the SHA-256 of it. Raises MemoryError for one that is
        larger than what is reserved: 1 GiB.
        """
    def step(self, tls: Sequence[TlsServer | TlsClient] = ()) -> bool:
        """After `fill` has returned, here or in the child: some ms of what is left to do. True: it is done.

        `tls`: Config.tls. Raises OSError, and ValueError when nothing has filled it, or OpenSSL refuses a certificate.
        """
    def renew(self, place: int, conf: TlsServer, keys: Sequence[bytes]) -> None:
        """After `step`, in the master: workers that are forked from now on use this at that place of Config.tls.

        Raises ValueError.
        """

    def staple(self, place: int, digest: bytes, response: bytes, until: int) -> None:
        """After `step`, in the master: workers that are forked from now on show this OCSP response, until then (Unix
        seconds), with the certificate of this SHA-256, if that place of Config.tls has it. Raises ValueError.
        """

def tls_certificates(pem: bytes, trusted: bool = True) -> tuple[bytes, ...]:
    """All certificates of a PEM text, as DER, in its order. Raises ValueError with nginx's words."""

def tls_key(pem: bytes, passwords: Sequence[bytes] = ()) -> bytes:
    """The private key of a PEM text, as DER; each password is tried. Raises ValueError with nginx's words."""

def tls_crls(pem: bytes) -> tuple[bytes, ...]:
    """All lists of revoked certificates of a PEM text, as DER. Raises ValueError."""

def tls_ocsp_response(der: bytes) -> bytes:
    """The same bytes, if they are an OCSP response in DER. Raises ValueError."""

def tls_ocsp_url(der: bytes) -> str:
    """Of the first OCSP responder that a certificate (DER) names; "": none. Raises ValueError."""

def tls_ocsp_issuer(der: bytes, others: Sequence[bytes]) -> bytes | None:
    """The first of `others` that may have issued a certificate. Raises ValueError."""

def tls_ocsp_request(der: bytes, issuer: bytes) -> bytes:
    """What to ask a responder of a certificate, as DER. Raises ValueError."""

def tls_ocsp_status(
    response: bytes,
    chain: Sequence[bytes],
    issuer: bytes,
    verify: bool,
    trusted: Sequence[bytes] = (),
    crls: Sequence[bytes] = (),
) -> tuple[str, int]:
    """The status of chain[0] ("good", "revoked", "unknown") by a responder's answer, and its nextUpdate in Unix
    seconds; 0: it names none. Its signature is good; `verify`: and by whom the issuer allows. Raises ValueError with
    nginx's words.
    """

def tls_check(conf: TlsServer | TlsClient, keys: Sequence[bytes]) -> None:
    """Does OpenSSL take it? `keys`: of its certificates, as DER. Raises ValueError."""

def tls_ticket_file(name: str) -> bytes:
    """The key in a file of ssl_session_ticket_key. Raises ValueError with nginx's words."""

def tls_dh_check(pem: bytes, name: str) -> None:
    """Are these parameters, of this file, for ssl_dhparam? Raises ValueError."""

def tls_command_check(name: str, value: str) -> None:
    """Does OpenSSL take this ssl_conf_command? Raises ValueError with nginx's words."""

def tls_command_type(name: str) -> str:
    """What the value of an ssl_conf_command names: "file", "dir" or ""."""

def tls_sessions_release(pid: int) -> None:
    """A worker is dead: locks in session caches that it held are taken from it."""

TICKET_RING_SIZE: int

class TlsRing:
    """Ticket keys in memory that this process shares with those that it forks."""

    fd: int  # memfd of the master's own; -1

    @staticmethod
    def own() -> TlsRing:
        """The master's. Made with its first use."""
    @staticmethod
    def made() -> TlsRing | None:
        """The master's, if it was made."""
    @staticmethod
    def adopt(fd: int) -> None:
        """The master's is that of the binary before us. Raises OSError."""
    @staticmethod
    def of_files(names: tuple[str, ...]) -> TlsRing:
        """Raises ValueError: a file is no key."""
    def load(self, names: tuple[str, ...]) -> None:
        """The keys of these files, instead of what it has. Raises ValueError: then nothing has changed."""
    def rotate(self, now: int, every: int, keep: int) -> bool:
        """Drop what is too old; True: there is a new key, because the first was `every` seconds old. `keep`: how long
        tickets live. `now`: time.monotonic()."""
    def names(self) -> tuple[bytes, ...]:
        """Of its keys, as they stand in every ticket (no secret); the first encrypts."""
    def due(self, every: int) -> float:
        """time.monotonic() of the next thing that `rotate` has to do."""

def tls_facts(der: bytes) -> CertificateFacts:
    """What a certificate says of itself. Raises ValueError."""

def tls_missing_issuer(chain: Sequence[bytes]) -> tuple[int, str, bool] | None:
    """(place in the chain, issuer, does it say where that is to be had) of the first certificate whose issuer is
    neither in the chain nor trusted by this machine; None: there is none such. `chain`: DER of each. Raises ValueError.
    """

def tls_security_level(ciphers: str) -> int:
    """OpenSSL's, as these ssl_ciphers leave it."""

def tls_renewal_write(fd: int, renewals: Sequence[tuple[int, TlsServer, Sequence[bytes]]]) -> None:
    """Of each a place in Config.tls, what is there from now on, and its keys as DER: for `tls_renewal_read`."""

def tls_renewal_read(fd: int) -> list[tuple[int, TlsServer, list[bytes]]]:
    """Any number of times."""

def tls_forget(secret: bytes) -> None:
    """Wipe it. It must have no other user."""

def arena_bytes() -> int:
    """Memory of all `Compiled` of this process."""

def layout() -> bytes:
    """JSON: where the fields of the engine's structs lie, and the names of its numbers (lb/inspect/)."""

class Engine:
    """One worker's event loop. Made in the worker after the fork; one per process.

    Every upstream must be published once before `run`.
    """

    def __init__(
        self,
        compiled: Compiled,
        config: Config,  # what `compiled` was made from; its listeners may lack their servers
        listeners: Sequence[int | None],  # a listening fd per Config.listeners, inherited from the master
        *,
        worker: int,  # 0-based slot, of config.processes
        shm: mmap.mmap,  # of stats_size(processes) bytes and its zones, mapped by the master before the fork
        logs: Mapping[str, int],  # path of an access or error log -> fd open for appending
        error_fd: int,  # the first error log
        checker: bool = False,  # asks the servers of upstreams with `check`, and has no listeners
    ) -> None: ...
    def publish(self, upstream: int, servers: Sequence[Server], show: bytes, change: Change | None = None) -> None:
        """Replace the servers of upstream number `upstream`. Any thread; returns at once, the loop swaps soon after.

        `show` is the text of this upstream for /upstream_show (see lb.upstream_show.block).  `change`: how they differ
        from the last list that was published: (*reversed(added), *kept), altered ones in place. It spares the work for
        the others.
        """
    def consul(self, upstream: int, good: bool) -> None:
        """Any thread: a query to Consul for upstream number `upstream` has ended; for the status port."""
    def passwords(self) -> None:
        """A thread of its own: check passwords of auth_basic until `passwords_end`. Only with Config.passwords."""
    def passwords_end(self) -> None:
        """After run(): all `passwords` return, when they have done what they are at."""
    def learned(self) -> list[Any]:
        """Any thread: what a new worker should know: per upstream [[place] * 2, {server: [fails, checked, turn]}]."""
    def unchecked(self) -> bool:
        """After start_with(), before run(): some upstream has no server only because none has been checked yet."""
    def start_with(self, learned: dict[int, Any]) -> None:
        """Before run(), after the first publish of each: what an old worker has `learned`, by upstream number here."""
    def run(self) -> None:
        """Serve until stopped and drained. Holds no GIL from start to end.

        Takes SIGTERM, SIGINT (STOP_NOW) and SIGQUIT (STOP_QUIT) by signalfd: the worker blocks these three, and
        SIGUSR1, SIGHUP, SIGWINCH, in its main thread before it starts any other thread.
        """
    def renew(self, place: int, conf: TlsServer, keys: Sequence[bytes]) -> None:
        """One thread, beside the loop: handshakes that begin after this turn use this at that place of Config.tls.

        Raises ValueError.
        """
    def staple(self, place: int, digest: bytes, response: bytes, until: int) -> None:
        """Any thread: handshakes after this turn show it, as Compiled.staple says. Raises ValueError."""
    def stop(self, mode: int) -> None:
        """Any thread."""
    def reopen(self, logs: Mapping[str, int], error_fd: int) -> None:
        """Any thread: use these fds for logs from now on; the engine closes the old ones."""
    def open_handles(self) -> dict[str, int]:
        """After run(): what is still open, by kind (all zero, or the engine leaks)."""

def regex_check(pattern: str, caseless: bool = False) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Groups, and named captures with their groups, of a PCRE2 expression. Raises ValueError with nginx's text."""

class Counter(NamedTuple):
    """A counter of a worker, as lb/fast/c/stats.h declares it."""

    name: str
    kind: str  # counter, named, gauge, private, glitch
    metric: str  # in /metrics, the sum of all workers: "", "NAME" or "NAME LABEL=VALUE"
    worker_metric: str  # the same for each worker
    help: str

class ServerCounter(NamedTuple):
    """A counter of a server, as lb/fast/c/stats.h declares it."""

    name: str
    kind: str  # counter, gauge, histogram, or sum: of the times of one
    metric: str  # "", "NAME" or "NAME LABEL=VALUE", behind lb_server_ and lb_upstream_
    help: str
    at: int  # place in a row
    cells: int  # numbers in a row: of a histogram len(SERVER_STATS_BOUNDS) + 1
    servers: bool  # False: of upstreams alone

COUNTERS: tuple[Counter, ...]
SERVER_COUNTERS: tuple[ServerCounter, ...]
SERVER_STATS_ROW: int  # numbers in a row of sums (server_stats_add)
SERVER_STATS_RETRY: int  # place in a row: Unix ms from which on a failed server is tried again
SERVER_STATS_STATE: int  # 0: no worker has said; 1 up, 2 down, 3 failed, 4 removed
SERVER_STATS_SINCE: int  # Unix ms of the change to it
SERVER_STATS_SLOW: int  # Unix ms of the end of its slow start, and behind it how many ms that takes; 0: it is in none
SERVER_STATS_BOUNDS: tuple[int, ...]  # bounds of the cells of a histogram, in ms; the last cell is what is above them
SERVER_STATS_OTHER: bytes  # the "address" of servers that have no counters of their own

def phases_walked() -> dict[tuple[str, str], int]: ...  # empty in a release build
STATS_BYTES: tuple[int, int]  # of one worker, of one server
def stats_size(workers: int, upstreams: int = 0) -> int: ...
def server_stats_add(
    shm: mmap.mmap,
    worker: int,
    layout: tuple[int, int],
    tables: Sequence[dict[bytes, bytearray]],
    *,
    dead: bool = False,
    serving: bool = True,
) -> None:
    """Add what one worker counted of its servers to `tables`: for each upstream number (and one behind them, for the
    addresses that variables gave) address -> row of SERVER_STATS_ROW uint64; b"" is the sum of the upstream.

    layout: workers, and bytes of their counters (lb.master.worker_stats.layout): the memory itself is not believed.
    A row: SERVER_COUNTERS, what each worker thinks of the server, and from server_stats_settle its state.
    dead: without what there is now. serving: with what a server is now.
    """

def server_stats_settle(
    rows: dict[bytes, bytearray], before: dict[bytes, bytearray], now: int, started: int
) -> list[bytes]:
    """After every server_stats_add: state and time in all rows of an upstream; `before`: its rows of an earlier moment.

    Times are Unix ms; `started`: of a state when nothing else is known. Returns the addresses that no worker has.
    """

def consul_notes(shm: mmap.mmap, worker: int, layout: tuple[int, int]) -> list[tuple[float, int]]:
    """For each upstream number of this worker: Unix time of Consul's last good answer (0: none), failed queries."""

CHECK_TYPE_NAMES: tuple[str, ...]
HEALTH_EACH: int  # bytes of a checked server

class HealthRow(NamedTuple):
    """What the checks say of one server. Times are Unix seconds, 0: never."""

    upstream: int
    name: str
    down: bool
    unseen: bool  # no verdict yet: `down` is default_down
    decided: str  # who has taken it out: agent, check; "": it is not
    rise: int  # checks passed in a row
    fall: int
    why: str  # how the last one ended: ok, none, connect, broken, closed, timeout, invalid, status, large, text, tls
    detail: int  # of it: errno, status, phase
    text: str  # the same in words
    since: float  # up or down
    ended: float  # the last check
    took_us: int
    checks: int
    failures: int
    skipped: int  # not sent, because requests had been answered
    agent: str  # the last line of its agent
    share: float  # of its weight, as the agent says
    late: int  # began late, because the one before took longer than the interval
    changes: int
    results: str  # the last ones, "+" and "-", the oldest first
    order: int  # in its upstream's list

def health_size(bytes_: int) -> tuple[int, int]:
    """For check_shm_size: what its part of the memory takes, and how many servers have room in it."""

def health_rows(shm: mmap.mmap, size: int) -> list[HealthRow]:
    """Of each checked server, in no order. `size`: Config.check_memory, the end of `shm`."""

def health_totals(shm: mmap.mmap, size: int) -> tuple[int, int, int, int, int] | None:
    """(places, used, servers that found none, reloads, ms that the checker was behind at most); None: no checks."""

def health_carry(shm: mmap.mmap, size: int, was: mmap.mmap, was_size: int, numbers: Mapping[int, int]) -> None:
    """Before the first fork of a generation: what the one before knows. numbers: of an upstream there -> here."""

def read_stats(shm: mmap.mmap, worker: int) -> dict[str, int]:
    """Counters of one worker slot by the names of COUNTERS, readable by the master at any time."""

def clear_stats(shm: mmap.mmap, worker: int, layout: tuple[int, int]) -> None:
    """The master, before it forks a new worker into this slot."""

def objects_apart(a: bytes | memoryview, b: bytes | memoryview) -> tuple[int, int] | None:
    """Where two JSON lists of objects, each "[{" to "}]", differ: (start, rest), a[start : -rest] and b[start : -rest].

    Both are whole objects, one at least, if each "},{" is the end of one and the beginning of the next.  None: equal.
    Raises ValueError for what is too short to be such a list.
    """

def carry_over(
    old: list[tuple[str, bytes | None]], values: list[T], new: list[tuple[str, bytes | None]]
) -> tuple[list[T | None], list[int], list[int]]:
    """Entries are the same when they are one object; both lists are in the order of their keys.

    `values` belong to `old`. Returns (those that belong to `new`, None for fresh entries; positions in `old` of entries
    that are gone; positions in `new` of fresh ones). In lists of another order it takes more for gone and fresh.
    Raises ValueError when there is not a value for each of `old`.
    """

def acme_board_make() -> None:
    """In the master, before it forks: the memory that challenges of ACME are answered from. Raises OSError."""

def acme_board_set(challenges: Sequence[tuple[bool, bytes, bytes, bytes]]) -> int:
    """(tls-alpn-01?, token or server name, key authorization or certificate, key) of each: answered by all from now on.

    How many there was room for. Raises ValueError: one is too long.
    """

def process_without_core() -> None:
    """This process, which has private keys, leaves no core."""
