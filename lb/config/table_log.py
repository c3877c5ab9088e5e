"""`error_log`, `log_format` and `access_log`: one set of functions for main, http and stream."""

from __future__ import annotations

from typing import Any, Literal, cast

from lb.config.directive import AS_NGINX, Context, Directive, full_path
from lb.config.errors import Refused
from lb.config.model import AccessLog, ErrorLog, LogFormat, LogLevel, Value
from lb.config.scope import Kind, MainScope, Scope
from lb.config.tree import Node
from lb.config.values import parse_msec, parse_size
from lb.config.variables import compile_value

LEVELS: tuple[LogLevel, ...] = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
_HTTP: tuple[Context, ...] = ("http", "server", "location")
_STREAM: tuple[Context, ...] = ("stream", "stream server")
_LATER = "lb does not have it yet"


def error_log(scope: Scope, node: Node) -> None:
    name, levels = node.args[0], node.args[1:]
    if name.startswith(("syslog:", "memory:")):
        raise Refused(f'invalid parameter "{name}"', f'"{name.partition(":")[0]}:" in error_log: {_LATER}')
    for level in levels:
        if level not in LEVELS:
            raise Refused(f'invalid log level "{level}"')
    if len(levels) > 1:
        raise Refused(f'duplicate log level "{levels[1]}"')
    chosen: LogLevel = next((known for known in LEVELS if known in levels), "error")
    log = ErrorLog(name if name == "stderr" else full_path(scope, name), chosen)
    if isinstance(scope, MainScope):
        scope.error_logs.append(log)
    else:
        scope.values.setdefault("error_log", []).append(log)


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
    """access_log PATH [FORMAT] [buffer=SIZE] [flush=TIME] [if=VALUE] | off"""
    name, *rest = node.args
    logs: list[AccessLog] = scope.values.setdefault("access_log", [])
    if name == "off":
        if rest:
            raise Refused(f'invalid parameter "{rest[0]}"')
        scope.values["access_log_off"] = True
        return
    if name.startswith("syslog:") or "$" in name:
        raise Refused(f'invalid parameter "{name}"', f'"syslog:" and variables in the name of a log: {_LATER}')
    log = AccessLog(full_path(scope, name), _format(scope, rest), **_parameters(name, rest[1:], _kind(scope)))
    _check_buffers(scope, name, log)
    logs.append(log)


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
    """buffer=, flush= and if= as fields of model.AccessLog."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key == "buffer" and equals:
            found["buffer"] = parse_size(text)
            if not found["buffer"]:
                raise Refused(f'invalid buffer size "{text}"')
        elif key == "flush" and equals:
            found["flush_ms"] = parse_msec(text)
            if not found["flush_ms"]:
                raise Refused(f'invalid flush time "{text}"')
        elif key == "if" and equals:
            found["condition"] = _condition(text, kind)
        else:
            hint = "lb does not compress logs: let logrotate do it" if key == "gzip" else ""
            raise Refused(f'invalid parameter "{word}"', hint)
    if "flush_ms" in found and "buffer" not in found:
        raise Refused(f'no buffer is defined for access_log "{path}"')
    return found


def _condition(text: str, kind: Kind) -> Value:
    return compile_value(text, kind)


def _check_buffers(scope: Scope, name: str, log: AccessLog) -> None:
    """One file has one buffer, however many directives name it."""
    known = scope.reader.log_buffers.setdefault(log.path, (log.buffer, log.flush_ms))
    if known != (log.buffer, log.flush_ms):
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
        "full or `flush` has passed; with `if`, only where VALUE is neither empty nor 0. What a full disk or a blocked "
        "pipe does not take is dropped and counted.",
        "differs: no gzip=, no syslog:, no variables in the name",
        access_log,
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
        "FILE | stderr [debug|info|notice|warn|error|crit|alert|emerg]",
        (1, None),
        "logs/error.log error",
        "Where messages of this level and worse are written; may be repeated. A level that has one does not write to "
        "those of the levels around it.",
        "differs: no syslog: and memory:",
        error_log,
    ),
    _log_format("http"),
    _log_format("stream"),
    _access_log(
        (*_HTTP, "if", "limit_except"),
        "FILE [FORMAT] [buffer=SIZE] [flush=TIME] [if=VALUE] | off",
        "logs/access.log combined",
    ),
    _access_log(_STREAM, "FILE FORMAT [buffer=SIZE] [flush=TIME] [if=VALUE] | off", "off"),
)
