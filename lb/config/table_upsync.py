"""The directives of nginx-upsync-module that stand in upstream{}, with its texts and defaults.

Source: /doc of that module and what it was observed to do.  Its host is not resolved here: the puller does that, again
before each connection, so that a dead resolver does not stop the start.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, replace

from lb.config.consul_path import parse as parse_path
from lb.config.consul_path import without_token
from lb.config.directive import Context, Directive, full_path
from lb.config.errors import Refused
from lb.config.scope import UpstreamScope
from lb.config.tree import Node
from lb.config.values import parse_flag, parse_msec, parse_number
from lb.model import Upsync

_BOTH: tuple[Context, ...] = ("upstream", "stream upstream")
_TYPES = ("consul", "consul_services", "consul_health")
_HEALTH = ("strict", "warning", "passing")
_DEFAULT_PORT = 80
_LB_WORDS = {"roundrobin": "round_robin", "ip_hash": "ip_hash", "least_conn": "least_conn", "hash_modula": "hash"}
_LB_WORDS["hash_ketama"] = "hash"


@dataclass(slots=True)
class _Params:
    timeout_ms: int = 0  # 0: not given
    interval_ms: int = 0
    strong_dependency: bool = False
    kind: str = ""
    health: str = ""


def upsync(scope: UpstreamScope, node: Node) -> None:
    """`upsync HOST[:PORT]/PATH [params]`; a second one replaces the first, as in the module."""
    params = _Params()
    for word in node.args[1:]:
        _param(params, word)
    if not params.kind:
        raise Refused("upsync_server: upsync_type cannt be null", 'write "upsync_type=consul"')
    (host, port), others, path = _target(node.args[0])
    try:
        query = parse_path(params.kind, path)
    except ValueError as error:
        raise Refused(f"upsync_server: {error}", _FORMS[params.kind]) from None
    if params.health and params.kind != "consul_health":
        raise Refused(f'upsync_server: upsync_health needs "upsync_type=consul_health", not {params.kind}')
    unset = Upsync(host, port, without_token(path), "consul")
    scope.upsync = replace(
        unset,
        kind=params.kind,  # type: ignore[arg-type]  # checked by _kind
        timeout_ms=params.timeout_ms or unset.timeout_ms,  # the module takes 0 for "not given"
        interval_ms=params.interval_ms or unset.interval_ms,
        strong_dependency=params.strong_dependency,
        where=node.where,
        others=others,
        health=params.health or unset.health,  # type: ignore[arg-type]
        token=query.token,
    )


def _param(params: _Params, word: str) -> None:
    key, equals, text = word.partition("=")
    if key in ("upsync_timeout", "upsync_interval") and equals:
        value = parse_msec(text)
        if value is None:
            space = " " if key == "upsync_interval" else ""  # the module's two texts differ
            raise Refused(f'upsync_server: invalid parameter:{space}"{word}"')
        setattr(params, "timeout_ms" if key == "upsync_timeout" else "interval_ms", value)
    elif key == "upsync_type" and equals:
        params.kind = _kind(text)
    elif key == "upsync_health" and equals:
        if text not in _HEALTH:
            raise Refused(f'invalid value "{word}", it must be "strict", "warning" or "passing"')
        params.health = text
    elif key == "strong_dependency" and equals:
        flag = parse_flag(text)
        if flag is None:
            raise Refused(f'invalid value "{word}", it must be "on" or "off"')
        params.strong_dependency = flag
    else:
        raise Refused(f'upsync_server: invalid parameter: "{word}"', _KNOWN_PARAMS)


_KNOWN_PARAMS = "upsync knows upsync_timeout=, upsync_interval=, upsync_type=, upsync_health= and strong_dependency="
_FORMS = {
    "consul": "the form is HOST:PORT/v1/kv/PREFIX upsync_type=consul",
    "consul_services": "the form is HOST:PORT/v1/catalog/service/NAME upsync_type=consul_services",
    "consul_health": "the form is HOST:PORT/v1/health/service/NAME upsync_type=consul_health",
}


def _kind(text: str) -> str:
    if text in _TYPES:
        return text
    if text == "etcd":
        hint = "lb does not speak etcd's v2 API, which etcd itself has removed: use consul"
    else:
        hint = "it must be consul, consul_services or consul_health"
    raise Refused("upsync_server: upsync_type invalid para", hint)


Place = tuple[str, int]


def _target(text: str) -> tuple[Place, tuple[Place, ...], str]:
    """The Consul addresses and the path, split at the first slash, as the module does."""
    servers, slash, path = text.partition("/")
    if not slash:
        raise Refused("upsync_server: please input conf_server upstream key in upstream")
    first, *others = [_place(server) for server in servers.split(",")]
    return first, tuple(others), f"/{path}"


def _place(server: str) -> Place:
    """HOST[:PORT], or [IPV6][:PORT], which the module does not know."""
    if server.startswith("["):
        host, bracket, rest = server[1:].partition("]")
        try:
            host = str(ipaddress.IPv6Address(host))
        except ValueError:
            bracket = ""
        colon, digits = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise Refused(f'upsync_server: no host in upstream "{server}"')
    else:
        host, colon, digits = server.partition(":")
    port = parse_number(digits) if colon else _DEFAULT_PORT
    if port is None or not 1 <= port <= 65535:
        hint = "the form is HOST:PORT[,HOST:PORT]/PATH, without http://; for https see upsync_ssl"
        raise Refused("upsync_server: conf server port is invalid", hint)
    if not host:
        raise Refused(f'upsync_server: no host in upstream "{server}"')
    return host, port


def upsync_dump_path(scope: UpstreamScope, node: Node) -> None:
    """The last one counts, as in the module."""
    scope.values["upsync_dump_path"] = full_path(scope, node.args[0])
    scope.values["upsync_dump_path.node"] = node


def upsync_lb(scope: UpstreamScope, node: Node) -> None:
    """In the module too it selects nothing: kept to be compared with what the upstream's own directives select."""
    scope.values["upsync_lb"] = node


def finish(scope: UpstreamScope, node: Node) -> None:
    """At the end of an upstream: the default dump file, and warnings about what has no effect."""
    dump: str = scope.values.get("upsync_dump_path", f"/tmp/servers_{scope.name}.conf")
    if scope.upsync is None:
        if "upsync_dump_path" in scope.values:
            message = f'"upsync_dump_path" has no effect without "upsync" in upstream "{scope.name}"'
            scope.reader.warn(message, scope.values["upsync_dump_path.node"])
    else:
        if scope.upsync.strong_dependency and "upsync_dump_path" not in scope.values:
            message = f'upstream "{scope.name}" depends on Consul and names no "upsync_dump_path": '
            message += f"a start without Consul uses {dump}, in a directory where others may write, too"
            scope.reader.warn(message, node)
        scope.upsync = replace(scope.upsync, dump_path=dump)
        _check_own_dump(scope, dump, scope.values.get("upsync_dump_path.node", node))
        _take_from_dump(scope, dump)
    _check_lb(scope)


def _check_own_dump(scope: UpstreamScope, dump: str, node: Node) -> None:
    if "/" in scope.name and "upsync_dump_path" not in scope.values:
        scope.reader.refuse(f'upstream "{scope.name}" needs "upsync_dump_path"', node, "its name is no file name")
    owner = scope.reader.dumps.setdefault(dump, scope)
    if owner is not scope:
        message = f'the dump file "{dump}" is that of upstream "{owner.name}" already'
        scope.reader.refuse(message, node, 'give each upstream its own "upsync_dump_path"')


def _take_from_dump(scope: UpstreamScope, dump: str) -> None:
    """The module's users include the dump: a backup server in it is Consul's, and must not stay as the file's do."""
    own = {file for file in {line.file for line in scope.lines} if os.path.realpath(file) == os.path.realpath(dump)}
    if own:
        pairs = zip(scope.servers, scope.lines, strict=True)
        scope.servers = [replace(one, backup=False) if line.file in own else one for one, line in pairs]
        scope.backup_lines = [line for line in scope.backup_lines if line.file not in own]


def _check_lb(scope: UpstreamScope) -> None:
    node: Node | None = scope.values.get("upsync_lb")
    chosen = scope.balancer or "round_robin"
    if node is not None and _LB_WORDS.get(node.args[0]) != chosen:
        message = f'"upsync_lb {node.args[0]}" selects nothing, upstream "{scope.name}" is balanced by {chosen}'
        scope.reader.warn(message, node)


DIRECTIVES = (
    Directive(
        "upsync",
        _BOTH,
        "HOST[:PORT][,HOST[:PORT]...]/PATH upsync_type=consul|consul_services|consul_health [upsync_timeout=TIME] "
        "[upsync_interval=TIME] [strong_dependency=on|off] [upsync_health=strict|warning|passing]",
        (1, None),
        "upsync_timeout=6m upsync_interval=5s strong_dependency=off upsync_health=strict",
        "Takes the servers of the upstream from the keys under PATH of a Consul agent, or from a service of its "
        "catalog, and follows their changes; with strong_dependency=on, Consul must answer before the first request "
        "is served.",
        "differs: no etcd; several addresses of one Consul cluster, IPv6, upsync_health; HOST is resolved by the "
        "puller, not when the file is read",
        upsync,
    ),
    Directive(
        "upsync_dump_path",
        _BOTH,
        "FILE",
        (1, 1),
        "/tmp/servers_NAME.conf",
        "The file that the last known servers are written to, and read from at a start without Consul.",
        "differs: a relative name starts from the prefix; two upstreams with one file are refused; only a file of root "
        "or of the master's user, which nobody else may write to, is read",
        upsync_dump_path,
    ),
    Directive(
        "upsync_lb",
        _BOTH,
        "roundrobin | ip_hash | least_conn | hash_modula | hash_ketama",
        (1, 1),
        "",
        "Selects nothing, as in nginx-upsync-module: lb warns if it is not what the upstream's own directive selected.",
        "differs: warns where the module is silent",
        upsync_lb,
    ),
)
