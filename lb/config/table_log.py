"""`error_log`, `log_format` and `access_log`: one set of functions for main, http and stream."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, cast

from lb.config.directive import AS_NGINX, Context, Directive, full_path, once
from lb.config.errors import Refused
from lb.config.scope import Kind, MainScope, Scope
from lb.config.syslog import PREFIX, parse_syslog
from lb.config.table_access import named, network
from lb.config.tree import Node
from lb.config.values import parse_msec, parse_number, parse_size
from lb.config.variables import compile_value
from lb.model import AccessLog, ErrorLog, LogCache, LogFormat, LogLevel, Syslog, Value, Var
from lb.model.clients import Network

LEVELS: tuple[LogLevel, ...] = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
_HTTP: tuple[Context, ...] = ("http", "server", "location")
_STREAM: tuple[Context, ...] = ("stream", "stream server")
_TARGET = "FILE | stderr | syslog:server=ADDRESS[,facility=NAME][,severity=NAME][,tag=TAG][,nohostname]"
MAX_BUFFER = 1 << 30
GZIP_BUFFER = 64 << 10  # of `gzip` without `buffer=`


def error_log(scope: Scope, node: Node) -> None:
    name, levels = node.args[0], node.args[1:]
    if name.startswith("memory:"):
        raise Refused(f'invalid parameter "{name}"', "lb keeps no log in memory")
    for level in levels:
        if level not in LEVELS:
            raise Refused(f'invalid log level "{level}"')
    if len(levels) > 1:
        raise Refused(f'duplicate log level "{levels[1]}"')
    chosen: LogLevel = next((known for known in LEVELS if known in levels), "error")
    log = ErrorLog(_target(scope, name), chosen, _syslog(scope, name))
    if isinstance(scope, MainScope):
        scope.error_logs.append(log)
    else:
        scope.values.setdefault("error_log", []).append(log)


def debug_connection(scope: Scope, node: Node) -> None:
    clients: list[Network] = scope.values.setdefault(node.name, [])
    found = network(scope, node)
    clients += [found] if found is not None else named(scope, node, "host not found")


def _target(scope: Scope, name: str) -> str:
    """What a log is known by: its absolute path, `stderr`, or the text of its `syslog:`."""
    return name if name == "stderr" or name.startswith(PREFIX) else full_path(scope, name)


def _syslog(scope: Scope, name: str) -> Syslog | None:
    if not name.startswith(PREFIX):
        return None
    if name not in scope.reader.syslogs:
        scope.reader.syslogs[name] = parse_syslog(scope, name)
    return scope.reader.syslogs[name]


def _kind(scope: Scope) -> Kind:
    return "stream" if scope.context in _STREAM else "http"


def log_format(scope: Scope, node: Node) -> None:
    """log_format NAME [escape=default|json|none] TEXT ..."""
    name, *texts = node.args
    formats: dict[str, LogFormat] = scope.values.setdefault("log_format", {})
    if name in formats or (name == "combined" and _kind(scope) == "http"):
        raise Refused(f'duplicate "log_format" name "{name}"')
    escape = "default"
    if texts[0].startswith("escape="):
        escape = texts.pop(0).removeprefix("escape=")
        if escape not in ("default", "json", "none"):
            raise Refused(f'unknown log format escaping "{escape}"')
    value = compile_value("".join(texts), _kind(scope))
    formats[name] = LogFormat(value, cast(Literal["default", "json", "none"], escape))


def access_log(scope: Scope, node: Node) -> None:
    """access_log PATH [FORMAT] [buffer=SIZE] [gzip[=LEVEL]] [flush=TIME] [if=VALUE] | off"""
    name, *rest = node.args
    logs: list[AccessLog] = scope.values.setdefault("access_log", [])
    if name == "off":
        if rest:
            raise Refused(f'invalid parameter "{rest[0]}"')
        scope.values["access_log_off"] = True
        return
    syslog = _syslog(scope, name)
    log = AccessLog(_target(scope, name), syslog=syslog, name=_variable_name(scope, name) if syslog is None else None)
    log = replace(log, format=_format(scope, rest), **_parameters(name, rest[1:], _kind(scope)))
    _check_buffers(scope, name, log)
    logs.append(log)


def _variable_name(scope: Scope, name: str) -> Value | None:
    """The absolute name of a file, where it has variables."""
    value = compile_value(_target(scope, name), _kind(scope)) if "$" in name else ()
    return value if any(isinstance(part, Var) for part in value) else None


def _format(scope: Scope, rest: list[str]) -> LogFormat:
    """The named format, which must stand before; combined without a name (http only)."""
    formats: dict[str, LogFormat] = scope.inherited("log_format", {})
    stream = _kind(scope) == "stream"
    if not rest and stream:
        raise Refused("log format is not specified")
    name = rest[0] if rest else "combined"
    if name == "combined" and not stream:
        return LogFormat()
    if name not in formats:
        raise Refused(f'unknown log format "{name}"')
    return formats[name]


def _parameters(path: str, words: list[str], kind: Kind) -> dict[str, Any]:
    """buffer=, gzip, flush= and if= as fields of model.AccessLog."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key == "buffer" and equals:
            found["buffer"] = parse_size(text)
            if not found["buffer"]:
                raise Refused(f'invalid buffer size "{text}"')
            if found["buffer"] > MAX_BUFFER:
                raise Refused(f'invalid buffer size "{text}"', "each worker has such a buffer: 1g at most")
        elif key == "flush" and equals:
            found["flush_ms"] = parse_msec(text)
            if not found["flush_ms"]:
                raise Refused(f'invalid flush time "{text}"')
        elif key == "if" and equals:
            found["condition"] = _condition(text, kind)
        elif key == "gzip":
            found["gzip"] = _level(text) if equals else 1
            found.setdefault("buffer", GZIP_BUFFER)
        else:
            raise Refused(f'invalid parameter "{word}"')
    if "flush_ms" in found and "buffer" not in found:
        raise Refused(f'no buffer is defined for access_log "{path}"')
    return found


def _level(text: str) -> int:
    if not re.fullmatch("[1-9]", text):
        raise Refused(f'invalid compression level "{text}"')
    return int(text)


def _condition(text: str, kind: Kind) -> Value:
    return compile_value(text, kind)


def open_log_file_cache(scope: Scope, node: Node) -> None:
    """open_log_file_cache max=N [inactive=TIME] [valid=TIME] [min_uses=N] | off"""
    once(scope, node)
    scope.values[node.name] = None
    if node.args == ("off",):
        return
    found: dict[str, int] = {}
    for word in node.args:
        key, _, text = word.partition("=")
        field, parse = _CACHE.get(key, ("", parse_number))
        value = parse(text) if field else None
        if value is None:
            raise Refused(f'invalid "{node.name}" parameter "{word}"')
        found[field] = value
    if not found.get("most"):
        raise Refused(f'"{node.name}" must have "max" parameter')
    scope.values[node.name] = LogCache(**found)


_CACHE: dict[str, tuple[str, Callable[[str], int | None]]] = {
    "max": ("most", parse_number),
    "inactive": ("inactive_ms", parse_msec),
    "valid": ("valid_ms", parse_msec),
    "min_uses": ("min_uses", parse_number),
}


def _check_buffers(scope: Scope, name: str, log: AccessLog) -> None:
    """One file has one buffer, however many directives name it; those that say nothing of a buffer use it too."""
    if not log.buffer:
        return
    if log.syslog is not None:
        raise Refused("logs to syslog cannot be buffered")
    if log.name is not None:
        raise Refused("buffered logs cannot have variables in name")
    wanted = (log.buffer, log.flush_ms, log.gzip)
    if scope.reader.log_buffers.setdefault(log.path, wanted) != wanted:
        raise Refused(f'access_log "{name}" already defined with conflicting parameters')


def _access_log(contexts: tuple[Context, ...], syntax: str, default: str) -> Directive:
    return Directive(
        "access_log",
        contexts,
        syntax,
        (1, None),
        default,
        "Writes one line for each request or session; may be repeated; `off` turns the log off on this level. FORMAT "
        "must have been defined before. Lines are gathered and written once per turn of the loop, or when `buffer` is "
        "full or `flush` has passed; with `if`, only where VALUE is neither empty nor 0; with `gzip`, compressed. A "
        "file whose name has variables is opened by the worker for each line, unless open_log_file_cache keeps it; a "
        "name in which the variables put `..` is refused. What a full disk, a blocked pipe or a syslog server does not "
        "take is dropped and counted.",
        "differs: stderr is lb's stderr; the tag of syslog is `lb` by default",
        access_log,
    )


def _log_cache(contexts: tuple[Context, ...]) -> Directive:
    return Directive(
        "open_log_file_cache",
        contexts,
        "max=N [inactive=TIME] [valid=TIME] [min_uses=N] | off",
        (1, 4),
        "off",
        "Keeps the files of logs whose names have variables open: at most N in each worker, the one used longest ago "
        "gives way. One that was not used for `inactive` (10s), or less than `min_uses` times, is closed; after "
        "`valid` (60s) lb looks whether the name still means this file.",
        "differs: USR1 closes them all",
        open_log_file_cache,
    )


def _log_format(context: Context) -> Directive:
    return Directive(
        "log_format",
        (context,),
        "NAME [escape=default|json|none] TEXT ...",
        (2, None),
        "combined" if context == "http" else "",
        "A format for access_log. `escape` says how values of variables are written: default as \\xHH and `-` for what "
        "is not there, json for strings of JSON, none as they are.",
        AS_NGINX,
        log_format,
    )


DIRECTIVES = (
    Directive(
        "error_log",
        ("main", *_HTTP, *_STREAM),
        f"{_TARGET} [debug|info|notice|warn|error|crit|alert|emerg]",
        (1, None),
        "logs/error.log error",
        "Where messages of this level and worse are written; may be repeated. A level that has one does not write to "
        "those of the levels around it. To syslog, a line has the severity of its own level. `debug` tells each step "
        "of a connection: what was read and sent, which server and location it came to, timers, the end. It holds the "
        "fields of requests and answers, cookies and passwords too.",
        "differs: no memory:; the tag of syslog is `lb` by default",
        error_log,
    ),
    Directive(
        "debug_connection",
        ("events",),
        "ADDRESS | ADDRESS/BITS | HOST | unix:",
        (1, 1),
        "",
        "Clients whose connections are told of step by step, in every error log that their requests write to, whatever "
        "its level; may be repeated. The address is that of the connection, not the one of set_real_ip_from.",
        "differs: it is always built in",
        debug_connection,
    ),
    _log_format("http"),
    _log_format("stream"),
    _access_log(
        (*_HTTP, "if", "limit_except"),
        f"{_TARGET} [FORMAT] [buffer=SIZE] [gzip[=LEVEL]] [flush=TIME] [if=VALUE] | off",
        "logs/access.log combined",
    ),
    _access_log(_STREAM, f"{_TARGET} FORMAT [buffer=SIZE] [gzip[=LEVEL]] [flush=TIME] [if=VALUE] | off", "off"),
    _log_cache(_HTTP),
    _log_cache(_STREAM),
)
