"""Directives of the main and events contexts, and `include`, which stands anywhere."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import re

from lb.config.directive import AS_NGINX, LB_ONLY, Context, Directive, flag, msec, number, once, path
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_number

MAX_WORKERS = 1024  # as nginx
_EVERYWHERE: tuple[Context, ...] = (
    "main", "events", "http", "upstream", "acme_issuer", "server", "location", "server if", "if", "limit_except",
    "stream", "stream upstream", "stream server",
)  # fmt: skip


def include(scope: Scope, node: Node) -> None:
    """A pattern may match nothing; a plain name must exist."""
    name = scope.reader.include_name(node.args[0])
    if not re.search(r"[*?\[]", name):
        scope.reader.read(name, scope)
        return
    for match in sorted(glob.glob(name), key=os.fsencode):
        try:
            scope.reader.read(match, scope)
        except Refused as refused:
            scope.reader.refuse(refused.message, node, refused.hint)


def events(scope: Scope, node: Node) -> None:
    once(scope, node)
    inner = Scope("events", scope.reader, scope)
    scope.values["events"] = inner
    scope.reader.walk_block(node, inner)


def worker_connections(scope: Scope, node: Node) -> None:
    once(scope, node)
    value = parse_number(node.args[0])
    if value is None:
        raise Refused(f'invalid number "{node.args[0]}"')
    scope.values[node.name] = value


def worker_processes(scope: Scope, node: Node) -> None:
    once(scope, node)
    text = node.args[0]
    value = len(os.sched_getaffinity(0)) if text == "auto" else parse_number(text)
    if not value or value > MAX_WORKERS:
        raise Refused('"worker_processes" directive invalid value', f'it must be "auto" or 1 to {MAX_WORKERS}')
    scope.values[node.name] = value


def user(scope: Scope, node: Node) -> None:
    """As nginx: the group of the user's own name if none is given; only root can change to another user."""
    once(scope, node)
    scope.values[node.name] = None
    if os.geteuid() != 0:
        message = 'the "user" directive makes sense only if the master process runs with super-user privileges, ignored'
        scope.reader.warn(message, node)
        return
    name, group = node.args[0], node.args[-1]
    try:
        pwd.getpwnam(name)
    except (KeyError, UnicodeError):
        raise Refused(f'getpwnam("{name}") failed') from None
    try:
        grp.getgrnam(group)
    except (KeyError, UnicodeError):
        raise Refused(f'getgrnam("{group}") failed') from None
    scope.values[node.name] = (name, group)


DIRECTIVES = (
    Directive(
        "include",
        _EVERYWHERE,
        "FILE | PATTERN",
        (1, 1),
        "",
        "Reads another file, or all files that match a pattern in alphabetic order, as if it stood here; "
        "relative names start from the directory of the main file.",
        AS_NGINX,
        include,
    ),
    Directive(
        "worker_processes",
        ("main",),
        "NUMBER | auto",
        (1, 1),
        "1",
        "The number of worker processes; auto is one for each CPU that lb may run on.",
        "differs: 0 is refused",
        worker_processes,
    ),
    Directive(
        "worker_rlimit_nofile",
        ("main",),
        "NUMBER",
        (1, 1),
        "the limit lb was started with",
        "The limit of open files of a worker.",
        AS_NGINX,
        number,
    ),
    Directive(
        "worker_shutdown_timeout",
        ("main",),
        "TIME",
        (1, 1),
        "no limit",
        "How long a worker that finishes (quit, reload) may take; then it closes what is still open.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "worker_orphan_timeout",
        ("main",),
        "TIME",
        (1, 1),
        "0",
        "How long a worker serves on when its master was killed; then it leaves as after `quit`. 0: until it is told "
        "to stop, by `lb -s quit` or `lb -s stop` of this configuration. A time makes sense where something starts lb "
        "again by itself and leaves the workers alone (systemd does not: it ends them with their master).",
        LB_ONLY,
        msec,
    ),
    Directive(
        "pid",
        ("main",),
        "FILE",
        (1, 1),
        "logs/lb.pid",
        "The file that holds the process number of the master.",
        "differs: the default's name",
        path,
    ),
    Directive(
        "daemon",
        ("main",),
        "on | off",
        (1, 1),
        "on",
        "Whether the master goes into the background.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "user",
        ("main",),
        "USER [GROUP]",
        (1, 2),
        "nobody",
        "The user and group that workers run as when root starts lb; the group's name is the user's if none is given.",
        AS_NGINX,
        user,
    ),
    Directive(
        "events",
        ("main",),
        "{ ... }",
        (0, 0),
        "",
        "The block for the handling of connections; it must be there, if only as `events {}`.",
        AS_NGINX,
        events,
        block=True,
    ),
    Directive(
        "worker_connections",
        ("events",),
        "NUMBER",
        (1, 1),
        "512",
        "The most connections that a worker holds at once, with clients and with servers together.",
        AS_NGINX,
        worker_connections,
    ),
)
