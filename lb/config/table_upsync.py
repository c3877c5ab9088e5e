"""The directives of nginx-upsync-module that stand in upstream{}, with its texts and defaults.

Source: /doc of that module and what it was observed to do.  Its host is not resolved here: the puller does that, again
before each connection, so that a dead resolver does not stop the start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lb.config.directive import Context, Directive, full_path
from lb.config.errors import Refused
from lb.config.model import Upsync
from lb.config.scope import UpstreamScope
from lb.config.tree import Node
from lb.config.values import parse_flag, parse_msec, parse_number

_BOTH: tuple[Context, ...] = ("upstream", "stream upstream")
_TYPES_LATER = ("consul_services", "consul_health", "etcd")
_DEFAULT_PORT = 80
_LB_WORDS = {"roundrobin": "round_robin", "ip_hash": "ip_hash", "least_conn": "least_conn"}


@dataclass(slots=True)
class _Params:
    timeout_ms: int = 0  # 0: not given
    interval_ms: int = 0
    strong_dependency: bool = False
    kind: str = ""


def upsync(scope: UpstreamScope, node: Node) -> None:
    """`upsync HOST[:PORT]/PATH [params]`; a second one replaces the first, as in the module."""
    params = _Params()
    for word in node.args[1:]:
        _param(params, word)
    if not params.kind:
        raise Refused("upsync_server: upsync_type cannt be null", 'write "upsync_type=consul"')
    host, port, path = _target(node.args[0])
    unset = Upsync(host, port, path, "consul", strong_dependency=params.strong_dependency, where=node.where)
    scope.upsync = replace(
        unset,
        timeout_ms=params.timeout_ms or unset.timeout_ms,  # the module takes 0 for "not given"
        interval_ms=params.interval_ms or unset.interval_ms,
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
    elif key == "strong_dependency" and equals:
        flag = parse_flag(text)
        if flag is None:
            raise Refused(f'invalid value "{word}", it must be "on" or "off"')
        params.strong_dependency = flag
    else:
        raise Refused(f'upsync_server: invalid parameter: "{word}"', _KNOWN_PARAMS)


_KNOWN_PARAMS = "upsync knows upsync_timeout=, upsync_interval=, upsync_type= and strong_dependency="


def _kind(text: str) -> str:
    if text == "consul":
        return text
    hint = f'"{text}" is not there yet, only upsync_type=consul is' if text in _TYPES_LATER else "it must be consul"
    raise Refused("upsync_server: upsync_type invalid para", hint)


def _target(text: str) -> tuple[str, int, str]:
    """Host, port and path, split at the first slash and the first colon, as the module does."""
    server, slash, path = text.partition("/")
    if not slash:
        raise Refused("upsync_server: please input conf_server upstream key in upstream")
    host, colon, digits = server.partition(":")
    port = parse_number(digits) if colon else _DEFAULT_PORT
    if port is None or not 1 <= port <= 65535:
        raise Refused("upsync_server: conf server port is invalid", "the form is HOST:PORT/v1/kv/PATH, without http://")
    if not host:
        raise Refused(f'upsync_server: no host in upstream "{server}"')
    return host, port, f"/{path}"


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
        scope.upsync = replace(scope.upsync, dump_path=dump)
        _check_own_dump(scope, dump, scope.values.get("upsync_dump_path.node", node))
    _check_lb(scope)


def _check_own_dump(scope: UpstreamScope, dump: str, node: Node) -> None:
    if "/" in scope.name and "upsync_dump_path" not in scope.values:
        scope.reader.refuse(f'upstream "{scope.name}" needs "upsync_dump_path"', node, "its name is no file name")
    owner = scope.reader.dumps.setdefault(dump, scope)
    if owner is not scope:
        message = f'the dump file "{dump}" is that of upstream "{owner.name}" already'
        scope.reader.refuse(message, node, 'give each upstream its own "upsync_dump_path"')


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
        "HOST[:PORT]/PATH upsync_type=consul [upsync_timeout=TIME] [upsync_interval=TIME] [strong_dependency=on|off]",
        (1, None),
        "upsync_timeout=6m upsync_interval=5s strong_dependency=off",
        "Takes the servers of the upstream from the keys under PATH of a Consul agent and follows their changes; "
        "with strong_dependency=on, Consul must answer before the first request is served.",
        "differs: only upsync_type=consul; HOST is resolved by the puller, not when the file is read",
        upsync,
    ),
    Directive(
        "upsync_dump_path",
        _BOTH,
        "FILE",
        (1, 1),
        "/tmp/servers_NAME.conf",
        "The file that the last known servers are written to, and read from at a start without Consul.",
        "differs: a relative name starts from the prefix; two upstreams with one file are refused",
        upsync_dump_path,
    ),
    Directive(
        "upsync_lb",
        _BOTH,
        "roundrobin | ip_hash | least_conn",
        (1, 1),
        "",
        "Selects nothing, as in nginx-upsync-module: lb warns if it is not what least_conn or ip_hash selected.",
        "differs: warns where the module is silent",
        upsync_lb,
    ),
)
