"""What a checked configuration is: plain frozen data, the one contract between reader, master, workers and engine.

The reader (`lb.config.load`) is the only maker of these objects.  Everything is already inherited, resolved and
range-checked: a user of the model never looks at a directive again.  Times are integer milliseconds (`*_ms`), sizes
are bytes.  `where` is `file:line` of the directive, for messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lb.model.acme import AcmeIssuer as AcmeIssuer
from lb.model.acme import AcmeOrder as AcmeOrder
from lb.model.auth import Auth as Auth
from lb.model.check import Check as Check
from lb.model.check import CheckStatus as CheckStatus
from lb.model.clients import AccessRule, LimitRule, LimitZone, Network, RealIp
from lb.model.logs import AccessLog as AccessLog
from lb.model.logs import ErrorLog as ErrorLog
from lb.model.logs import LogCache as LogCache
from lb.model.logs import LogFormat as LogFormat
from lb.model.logs import LogLevel as LogLevel
from lb.model.logs import Syslog as Syslog
from lb.model.places import Bind as Bind
from lb.model.places import TryFiles as TryFiles
from lb.model.process import WorkerProcess as WorkerProcess
from lb.model.sticky import Sticky as Sticky
from lb.model.tls import TlsClient as TlsClient
from lb.model.tls import TlsServer as TlsServer
from lb.model.upsync import ShrinkGuard as ShrinkGuard
from lb.model.upsync import Upsync as Upsync
from lb.model.upsync import UpsyncTls as UpsyncTls
from lb.model.values import AddField as AddField
from lb.model.values import Address as Address
from lb.model.values import Balancer as Balancer
from lb.model.values import Regex as Regex
from lb.model.values import Value as Value
from lb.model.values import Var as Var


@dataclass(frozen=True, slots=True)
class Server:
    """One server of an upstream, from a `server` line or from Consul: what the engine balances over."""

    name: str  # the address as text, shown by upstream_show and in the dump
    address: Address
    weight: int = 1
    max_fails: int = 1
    fail_timeout_s: int = 10
    max_conns: int = 0  # 0: no limit
    backup: bool = False
    down: bool = False
    # the address as in the file, "" where it is `name`: `hash KEY consistent` goes by it
    written: str = field(default="", compare=False)
    slow_start_s: int = 0  # over which its weight grows when it comes back; 0: at once, or upsync_slow_start
    drain: bool = False  # only what `sticky` binds to it
    route: str = ""  # of `sticky`; "": the MD5 of its address

    @property
    def away(self) -> bool:
        """Nothing new comes to it."""
        return self.down or self.drain


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named group of servers, or the implicit one of `proxy_pass http://ADDRESS` (`implicit`)."""

    kind: Literal["http", "stream"]
    name: str
    servers: tuple[Server, ...]
    balancer: Balancer = "round_robin"
    hash_key: Value = ()  # of `hash`
    hash_consistent: bool = False
    random_two: bool = False  # `random two`: the one with fewer connections of two
    least_time: Literal["connect", "header", "last_byte"] = "last_byte"  # which time; a stream's first_byte is "header"
    least_time_inflight: bool = False  # the time that unanswered requests have waited counts as well
    keepalive: int = 32  # idle connections kept per worker, all servers together; 0: none
    keepalive_local: bool = True  # only a request of the location that a connection served before may have it
    keepalive_timeout_ms: int = 60_000
    keepalive_requests: int = 1000
    keepalive_time_ms: int = 3_600_000
    sticky: Sticky | None = None
    upsync: Upsync | None = None
    check: Check | None = None
    implicit: bool = False
    where: str = ""

    @property
    def method(self) -> str:
        """The name of the engine's row: one of _fast.BALANCE_METHODS."""
        return self.balancer + " consistent" * self.hash_consistent + " two" * self.random_two


@dataclass(frozen=True, slots=True)
class ProxyPass:
    upstream: int  # position in Config.upstreams
    host: str  # $proxy_host: name[:port] as written
    uri: str | None = None  # the URI part of proxy_pass: replaces the location's prefix; None: the target as received
    tls: int = -1  # place in Config.tls_up: https://, or variables that may make it so
    url: Value | None = None  # proxy_pass with variables: the whole URL; then upstream is -1, host and uri are unused


@dataclass(frozen=True, slots=True)
class Return:
    status: int
    text: Value = ()  # body, or the Location of 301 302 303 307 308


@dataclass(frozen=True, slots=True)
class UpstreamShow:
    pass


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """A location (or server) with no other handler: HttpSettings.files."""


Handler = ProxyPass | UpstreamShow | CheckStatus | StaticFiles


# ---- routing and rewriting


@dataclass(frozen=True, slots=True)
class Map:
    """One map{}: the variable `name` is made from `source`. Keys are lower case; the first match of each kind wins."""

    name: str
    source: Value
    default: Value = ()
    exact: tuple[tuple[str, Value], ...] = ()  # with `hostnames` also "*.x", ".x" and "x.*"
    regexes: tuple[tuple[Regex, Value], ...] = ()
    hostnames: bool = False
    volatile: bool = False  # made anew each time it is asked for


@dataclass(frozen=True, slots=True)
class Set:
    name: str  # a name in Config.variables, or "args"
    value: Value


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`rewrite`. `uri` is the new path, or, with `redirect`, the whole Location."""

    regex: Regex
    uri: Value
    args: Value | None = None  # what follows the first ? of the replacement; None: there is none
    add_args: bool = True  # the request's own arguments are added: the replacement does not end in ?
    redirect: int = 0  # 301 or 302
    last: bool = False  # no further operations in this round
    here: bool = False  # flag `break`: the request stays in its location


@dataclass(frozen=True, slots=True)
class Break:
    pass


@dataclass(frozen=True, slots=True)
class Condition:
    """Of an `if`. kind: "true" (neither empty nor 0), "=", "~" (regex), "-f", "-d", "-e", "-x"."""

    kind: Literal["true", "=", "~", "-f", "-d", "-e", "-x"]
    value: Value
    text: Value = ()  # "=": what it is compared with
    regex: Regex | None = None
    negate: bool = False


@dataclass(frozen=True, slots=True)
class If:
    condition: Condition
    ops: tuple[Op, ...]
    location: Location | None = None  # the implicit location of an `if` in a location


Op = Set | Rewrite | Return | Break | If


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """What is done instead of the built-in page of `statuses`."""

    statuses: tuple[int, ...]
    overwrite: int = -1  # the status that the client sees: -1 the same, 0 that of the page, else this one
    target: Value = ()  # /URI with or without a query, @named, or a URL to redirect to


@dataclass(frozen=True, slots=True)
class Swap:
    """One proxy_redirect, proxy_cookie_domain or proxy_cookie_path: the beginning `pattern` becomes `replacement`.

    With a `regex` the whole text does, where that matches.
    """

    pattern: Value
    replacement: Value
    regex: Regex | None = None


@dataclass(frozen=True, slots=True)
class CookieFlags:
    """One proxy_cookie_flags, for the cookie `name`, or those whose name `regex` matches."""

    name: Value
    flags: tuple[Value, ...]  # each comes to secure, nosecure, samesite=lax...; a variable's other words are ignored
    regex: Regex | None = None


@dataclass(frozen=True, slots=True)
class Expires:
    """`expires`: what Expires and Cache-Control say."""

    kind: Literal["off", "epoch", "max", "access", "modified", "daily", "text"]
    seconds: int = 0
    text: Value = ()  # "text": what it comes to is read as the directive's words
    modified: bool = False  # and its times count from Last-Modified


@dataclass(frozen=True, slots=True)
class HeaderFilter:
    """What becomes of an answer's fields on their way to the client."""

    hide: tuple[str, ...] = ()  # lower case, beyond what is always hidden
    passed: tuple[str, ...] = ()  # lower case, of what is hidden otherwise
    redirects: tuple[Swap, ...] = ()
    cookie_domains: tuple[Swap, ...] = ()
    cookie_paths: tuple[Swap, ...] = ()
    cookie_flags: tuple[CookieFlags, ...] = ()
    add: tuple[AddField, ...] = ()
    trailers: tuple[AddField, ...] = ()
    expires: Expires | None = None


@dataclass(frozen=True, slots=True)
class Gzip:
    """`gzip on`, and which answers it is for."""

    types: tuple[str, ...] = ("text/html",)  # lower case; "*": any
    level: int = 1
    min_length: int = 20
    buffers: int = 16 * (8 << 10)  # bytes, all of them
    proxied: tuple[str, ...] = ("off",)
    http_version: Literal["1.0", "1.1"] = "1.1"
    vary: bool = False
    disable: tuple[Regex, ...] = ()
    disable_msie6: bool = False


@dataclass(frozen=True, slots=True)
class TempPath:
    """A directory for temporary files, with the digits of its levels of directories."""

    directory: str  # absolute, no slash at its end
    levels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Files:
    """Which file a path stands for, and how it is sent."""

    root: Value  # absolute, but for a variable at its start
    # `alias`: the bytes at the start of a path that `root` replaces; -1: of a regular expression's location, where
    # `root` is the whole name; 0: a path stands behind `root`, which ends in no slash
    alias: int = 0
    index: tuple[Value, ...] = (("index.html",),)
    types: tuple[tuple[str, str], ...] = (("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg"))
    log_not_found: bool = True
    etag: bool = True
    if_modified_since: Literal["off", "exact", "before"] = "exact"
    max_ranges: int | None = None  # None: no limit


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Everything that http, server and location inherit from each other."""

    set_headers: tuple[tuple[str, Value], ...] = ()  # proxy_set_header as written; the engine adds the defaults
    proxy_http_version: Literal["1.0", "1.1"] = "1.1"
    proxy_connect_timeout_ms: int = 60_000
    proxy_read_timeout_ms: int = 60_000
    proxy_send_timeout_ms: int = 60_000
    proxy_socket_keepalive: bool = False
    proxy_socket_rcvbuf: int = 0  # bytes; 0: the kernel's choice, as for sndbuf
    proxy_socket_sndbuf: int = 0
    proxy_bind: Bind | None = None
    keepalive_timeout_ms: int = 75_000  # 0: no keep-alive with clients
    keepalive_requests: int = 1000
    client_header_timeout_ms: int = 60_000
    client_body_timeout_ms: int = 60_000
    send_timeout_ms: int = 60_000
    client_header_buffer_size: int = 1 << 10
    large_client_header_buffers: tuple[int, int] = (4, 8 << 10)  # number, bytes of each
    max_headers: int = 1000
    underscores_in_headers: bool = False
    ignore_invalid_headers: bool = True
    lenient_requests: bool = False
    keepalive_time_ms: int = 3_600_000
    keepalive_min_timeout_ms: int = 0
    http2_max_concurrent_streams: int = 128
    http2_body_preread_size: int = 64 << 10
    http2_chunk_size: int = 8 << 10
    lingering_close: Literal["off", "on", "always"] = "on"
    lingering_time_ms: int = 30_000
    lingering_timeout_ms: int = 5_000
    chunked_transfer_encoding: bool = True
    keepalive_header_s: int = 0  # N of `Keep-Alive: timeout=N`; 0: no such field
    keepalive_disable: tuple[str, ...] = ()
    reset_timedout_connection: bool = False
    default_type: str = "text/plain"
    server_tokens: Literal["on", "off"] = "on"
    tcp_nodelay: bool = True
    client_max_body_size: int = 1 << 20  # 0: no limit
    access_logs: tuple[AccessLog, ...] = ()  # (): off
    error_logs: tuple[ErrorLog, ...] = ()  # (): those of Config
    access: tuple[AccessRule, ...] = ()  # the first that fits the client decides
    realip: RealIp | None = None
    auth: Auth | None = None
    limits: tuple[LimitRule, ...] = ()
    limit_req_status: int = 503
    limit_req_log_level: LogLevel = "error"
    limit_req_dry_run: bool = False
    header_filter: HeaderFilter = HeaderFilter()
    gzip: Gzip | None = None  # None: off
    proxy_method: Value | None = None  # None: the client's
    proxy_set_body: Value | None = None
    proxy_pass_request_headers: bool = True
    proxy_pass_request_body: bool = True
    proxy_request_buffering: bool = True
    client_body_buffer_size: int = 16 << 10
    client_body_in_file_only: Literal["on", "clean", "off"] = "off"
    client_body_in_single_buffer: bool = False
    proxy_pass_trailers: bool = False
    proxy_lenient: bool = False
    proxy_ignore_headers: tuple[str, ...] = ()  # lower case
    proxy_buffering: bool = True
    proxy_buffer_size: int = 4 << 10
    proxy_buffers: int = 8 * (4 << 10)  # bytes, all of them
    proxy_max_temp_file_size: int = 1 << 30  # 0: no files
    early_hints: tuple[Value, ...] = ()
    client_body_temp: TempPath = TempPath("client_body_temp")
    proxy_temp: TempPath = TempPath("proxy_temp")
    next_upstream: tuple[str, ...] = ("error", "timeout")
    next_upstream_tries: int = 0  # 0: no limit
    next_upstream_timeout_ms: int = 0  # 0: no limit
    next_upstream_budget: tuple[int, int] | None = None  # share in 1/10000, retries a second that always pass
    error_pages: tuple[ErrorPage, ...] = ()
    recursive_error_pages: bool = False
    proxy_intercept_errors: bool = False
    absolute_redirect: bool = True
    port_in_redirect: bool = True
    server_name_in_redirect: bool = False
    files: Files = Files(root=("html",))
    proxy_tls_sni: bool = False
    proxy_tls_name: Value = (Var("proxy_host"),)


Match = Literal["exact", "prefix", "noregex", "regex", "named", "none"]  # =, nothing, ^~, ~ or ~*, @; if, limit_except


@dataclass(frozen=True, slots=True)
class Location:
    match: Match
    pattern: str  # as written, without the modifier; of a named one with the @
    handler: Handler
    settings: HttpSettings
    where: str = ""
    regex: Regex | None = None
    locations: tuple[Location, ...] = ()  # nested ones, in file order
    ops: tuple[Op, ...] = ()  # run before the handler
    internal: bool = False
    except_methods: tuple[str, ...] = ()  # limit_except: the methods that stay here
    except_location: Location | None = None  # where the others go
    try_files: TryFiles | None = None


@dataclass(frozen=True, slots=True)
class HttpServer:
    names: tuple[str, ...]  # lower case; "" matches a request without Host; "*.x", ".x", "x.*"; a regex with its "~"
    locations: tuple[Location, ...]
    handler: Handler  # what the server does where no location matches
    settings: HttpSettings
    where: str = ""
    regexes: tuple[Regex, ...] = ()  # of the names that begin with "~", in file order
    ops: tuple[Op, ...] = ()  # run before a location is looked for
    tls: int = -1  # place in Config.tls; -1: none of its own
    merge_slashes: bool = True
    try_files: TryFiles | None = None  # where no location matches


@dataclass(frozen=True, slots=True)
class StreamServer:
    """A server of stream{}: `show` or `text` answers, else `target` or `upstream` is where connections go."""

    upstream: int  # position in Config.upstreams; -1: none
    target: Value | None = None  # proxy_pass with variables: an upstream's name, or an address with its port
    text: Value | None = None  # `return`
    show: bool = False  # `upstream_show`
    sets: tuple[Set, ...] = ()  # in file order, when a connection has been accepted
    proxy_connect_timeout_ms: int = 60_000
    proxy_timeout_ms: int = 600_000
    tcp_nodelay: bool = True
    access_logs: tuple[AccessLog, ...] = ()
    error_logs: tuple[ErrorLog, ...] = ()  # (): those of Config
    next_upstream: bool = True
    half_close: bool = False
    access: tuple[AccessRule, ...] = ()
    realip: RealIp | None = None
    proxy_protocol: Literal["off", "on", "v2"] = "off"  # servers get a PROXY header: of version 1, of version 2
    proxy_protocol_timeout_ms: int = 30_000
    proxy_socket_keepalive: bool = False
    proxy_socket_rcvbuf: int = 0  # bytes; 0: the kernel's choice, as for sndbuf
    proxy_socket_sndbuf: int = 0
    proxy_bind: Bind | None = None
    buffer_size: int = 64 << 10  # the most that one read takes
    tls: int = -1  # place in Config.tls
    proxy_tls: int = -1  # place in Config.tls_up
    proxy_tls_sni: bool = False
    proxy_tls_name: Value = ()
    ssl_preread: bool = False  # the client's first bytes are looked at before a server is chosen
    preread_buffer_size: int = 16 << 10
    preread_timeout_ms: int = 30_000
    next_upstream_tries: int = 0  # 0: no limit
    next_upstream_timeout_ms: int = 0  # 0: no limit
    next_upstream_budget: tuple[int, int] | None = None  # share in 1/10000, retries a second that always pass
    where: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to bind, with the servers behind it. Two `listen` of one address in http{} are one Listener."""

    address: Address
    text: str  # as nginx prints it in messages: 0.0.0.0:8080, [::]:80, unix:/run/x.sock
    backlog: int = 511
    reuseport: bool = False
    ipv6only: bool = True
    sndbuf: int = 0  # 0: the kernel's default, as for rcvbuf
    rcvbuf: int = 0
    so_keepalive: tuple[int, int, int] | bool | None = None  # idle s, interval s, probes (0: the kernel's)
    fastopen: int = 0  # length of the queue; 0: off
    proxy_protocol: bool = False  # connections begin with a PROXY header
    multipath: bool = False  # Multipath TCP
    ssl: bool = False  # TLS
    http2: bool = False  # in clear text: for who begins with its preface
    http: tuple[HttpServer, ...] = ()  # servers in file order
    default_server: int = 0  # position in http
    stream: StreamServer | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    path: str  # the main file, absolute
    prefix: str  # -p, absolute, with trailing slash: what relative paths start from
    files: tuple[str, ...] = ()  # every file read, each once, in reading order
    worker_processes: int = 1
    worker_connections: int = 512
    debug_clients: tuple[Network, ...] = ()  # debug_connection
    worker_rlimit_nofile: int | None = None
    process: WorkerProcess = field(default=WorkerProcess())  # its CPUs, priority, core file, directory, environment
    worker_shutdown_timeout_ms: int = 0  # how long a graceful stop may take; 0: no limit
    worker_orphan_timeout_ms: int = 0  # how long a worker serves whose master is gone; 0: until it is told to stop
    pid: str = ""
    daemon: bool = True
    user: str | None = None
    group: str | None = None
    error_logs: tuple[ErrorLog, ...] = ()
    error_log_given: bool = False  # in the main context of a file; else `error_logs` is the default, which -e replaces
    log_paths: tuple[str, ...] = ()  # every file that servers and locations log to, access and error
    syslogs: tuple[tuple[str, Syslog], ...] = ()  # every `syslog:`, by its text
    temp_paths: tuple[str, ...] = ()  # directories for temporary files of the locations that pass requests on
    uses_stderr: bool = False  # some log is stderr: it must stay what it is
    upstreams: tuple[Upstream, ...] = ()
    listeners: tuple[Listener, ...] = ()
    status_listen: tuple[Address, ...] = ()
    status_hosts: tuple[str, ...] = ()  # names that a request to a status port may be for; ".NAME": and those below
    variables: tuple[str, ...] = ()  # those that set, map and named captures define
    maps: tuple[Map, ...] = ()
    limit_zones: tuple[LimitZone, ...] = ()
    http2_recv_buffer_size: int = 256 << 10
    check_memory: int = 0  # bytes of shared memory for what checks say; 0: no upstream has any
    tls: tuple[TlsServer, ...] = ()  # what servers say of TLS to clients; empty in what lies with `compiled`
    tls_up: tuple[TlsClient, ...] = ()  # the same of TLS to servers
    acme: tuple[AcmeIssuer, ...] = ()  # acme_issuer, those that certificates are wanted of
    tls_users: tuple[tuple[str, ...], ...] = ()  # of each: the names (or addresses) of the servers that use it
    transparent: bool = False  # some proxy_bind is: workers keep CAP_NET_RAW
    passwords: bool = False  # some auth_basic asks for them
    warnings: tuple[str, ...] = field(default=())  # complete lines for the log, without "lb: [warn] "

    @property
    def processes(self) -> int:
        """The workers, and the checker if there is one."""
        return self.worker_processes + (self.check_memory > 0)
