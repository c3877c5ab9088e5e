"""The walk through the files: each statement is looked up in the table, checked and applied to its scope.

`Reader` owns what one load gathers: problems, warnings, files read, upstreams and listeners in order of registration.
A problem does not end the walk: the rest of the file is checked too, so that one run shows everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from lb.config.address import Resolver
from lb.config.directive import Context, Directive
from lb.config.errors import Problem, Refused, os_error, printable
from lb.config.listeners import Listeners
from lb.config.scope import HttpServerScope, IssuerScope, MainScope, Scope, UpstreamScope
from lb.config.slips import slip
from lb.config.tree import Node, Statement, parse
from lb.config.upstreams import Upstreams
from lb.config.variables import take_unknown
from lb.model import Map, Syslog
from lb.model.acme import AcmeOrder
from lb.model.clients import LimitZone
from lb.model.tls import Certificate, TlsClient, TlsServer

Find = Callable[[Node, Context], Directive]  # the lookup in the table; raises Refused

MAX_FILE = 64 << 20  # bytes; a device given by mistake must not fill the memory


class Reader:
    """One load of one main file."""

    def __init__(self, path: str, prefix: str, find: Find) -> None:
        self.find = find
        self.prefix = prefix  # absolute, with trailing slash
        self.path = self.full_name(path)
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.files: list[str] = []
        self.opened: list[tuple[int, int]] = []  # (device, inode) of the files we are in the middle of
        self.resolver = Resolver()
        self.upstreams = Upstreams(self)
        self.listeners = Listeners(self)
        self.dumps: dict[str, UpstreamScope] = {}  # dump file -> the upstream that writes it
        self.main = MainScope("main", self)
        self.temp_paths: set[str] = set()  # directories for temporary files of locations that pass requests on
        self.log_paths: set[str] = set()  # every file that servers and locations log to
        self.log_buffers: dict[str, tuple[int, int, int]] = {}  # path -> buffer, flush and gzip of its access_log
        self.syslogs: dict[str, Syslog] = {}  # every `syslog:`, by its text
        self.variables: dict[str, None] = {}  # defined by set, map and named captures, in order
        self.maps: list[Map] = []
        self.limit_zones: dict[str, tuple[LimitZone, str]] = {}  # with the key as written
        self.limits_used: list[str] = []  # zones that must be there in the end
        self.tls: dict[TlsServer, int] = {}  # what servers say of TLS -> place in Config.tls
        self.sticky_zones: dict[str, tuple[str, int]] = {}  # of `sticky learn`: upstream, bytes
        self.tls_caches: dict[str, tuple[int, str]] = {}  # zones of ssl_session_cache: bytes, http or stream
        self.tls_up: dict[TlsClient, int] = {}  # what is said of TLS to servers -> place in Config.tls_up
        self.tls_proxies: list[tuple[Scope, Node]] = []  # where there is some
        self.tls_at: dict[int, int] = {}  # id of such a scope -> place in Config.tls_up
        self.tls_files: dict[tuple[str, str], Certificate] = {}  # by the names of certificate and key
        self.acme_issuers: dict[str, IssuerScope] = {}
        self.acme_wanted: list[tuple[HttpServerScope, Node]] = []  # every acme_certificate
        self.acme_orders: dict[int, AcmeOrder] = {}  # what comes of it, by id of the server's scope
        self.open_targets: list[tuple[Scope, str]] = []  # of proxy_pass, with variables
        self.transparent = False  # some proxy_bind is
        self.passwords = False  # some auth_basic asks for them
        self.unknown: list[tuple[str, Node]] = []  # names that must be among them in the end, and where
        self.where = ""  # FILE:LINE of the statement that is being read
        self.syntax_error = False  # something may be missing only because a file was cut short

    def full_name(self, name: str) -> str:
        """nginx's full name: relative to the prefix."""
        return name if name.startswith("/") else self.prefix + name

    def include_name(self, name: str) -> str:
        """Relative to the directory of the main file."""
        return name if name.startswith("/") else self.path[: self.path.rindex("/") + 1] + name

    def warn(self, message: str, node: Node | None = None) -> None:
        self.warnings.append(printable(f"{message} in {node.where}" if node else message))

    def refuse(self, message: str, node: Node, hint: str = "") -> None:
        self.problems.append(Problem(message, node.file, node.line, hint))

    def read(self, path: str, scope: Scope) -> None:
        """Walk through one file. Raises Refused if it cannot be read."""
        with self.open(path) as statements:
            self.walk(statements, scope)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[list[Statement]]:
        """The statements of one file, which counts as being read meanwhile. Raises Refused if it cannot be read."""
        file = Path(path)
        try:
            with file.open("rb") as stream:
                data = stream.read(MAX_FILE + 1)
            identity = (file.stat().st_dev, file.stat().st_ino)
        except OSError as error:
            raise Refused(os_error("open", path, error)) from None
        if len(data) > MAX_FILE:
            raise Refused(f'"{path}" is longer than {MAX_FILE} bytes')
        if identity in self.opened:
            raise Refused(f'"{path}" includes itself')
        if path not in self.files:
            self.files.append(path)
        self.opened.append(identity)
        yield parse(data, path)
        self.opened.pop()

    def walk(self, statements: list[Statement], scope: Scope) -> None:
        """Check and apply the statements of one block."""
        for statement in statements:
            if isinstance(statement, Problem):
                self.problems.append(statement)
                self.syntax_error = True
            else:
                self._apply(statement, scope)

    def walk_block(self, node: Node, scope: Scope) -> bool:
        """Walk into the block of `node`. True: nothing was refused in it, so what is missing is missing."""
        before = len(self.problems)
        self.walk(node.block or [], scope)
        return len(self.problems) == before

    def _apply(self, node: Node, scope: Scope) -> None:
        self.where = node.where
        try:
            self.find(node, scope.context).apply(scope, node)
        except Refused as refused:
            file, line = (refused.file, refused.line) if refused.file else (node.file, node.line)
            self.problems.append(Problem(refused.message, file, line, refused.hint or slip(node, refused.message)))
            # What stands in a refused block is not checked: its meaning depends on the block.
        finally:
            self.unknown += [(name, node) for name in take_unknown()]
