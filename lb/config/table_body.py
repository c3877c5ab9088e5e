"""Where bodies wait: a request's body before a server is chosen, a response that its client does not keep up with."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, Context, Directive, enum, flag, full_path, once, size
from lb.config.errors import Refused
from lb.config.scope import HttpScope, HttpServerScope, LocationScope, Scope
from lb.config.tree import Node
from lb.config.values import parse_number, parse_size
from lb.config.variables import compile_value
from lb.model import TempPath

_LEVELS: tuple[Context, ...] = ("http", "server", "location")


def temp_path(scope: Scope, node: Node) -> None:
    """PATH [LEVEL [LEVEL [LEVEL]]]"""
    once(scope, node)
    path = full_path(scope, node.args[0])
    levels = []
    for text in node.args[1:]:
        level = parse_number(text)
        if not level or level > 3:
            raise Refused(f'"{node.name}" directive invalid value')
        levels.append(level)
    scope.values[node.name] = TempPath(path.rstrip("/"), tuple(levels))


def proxy_buffers(scope: Scope, node: Node) -> None:
    once(scope, node)
    count, length = parse_number(node.args[0]), parse_size(node.args[1], "km")
    if not count or not length:
        raise Refused(f'"{node.name}" directive invalid value')
    if count < 2:
        raise Refused('there must be at least 2 "proxy_buffers"')
    scope.values[node.name] = count * length
    scope.values["proxy_buffers_of"] = (count, length)


def check_buffers(http: HttpScope) -> str:
    """nginx's complaint about the first server or location whose buffers do not go together, or ""."""
    waiting: list[HttpServerScope | LocationScope] = [*http.servers]
    while waiting:
        scope = waiting.pop(0)
        complaint = _buffers_complaint(scope)
        if complaint:
            return complaint
        waiting[:0] = scope.locations
    return ""


def _buffers_complaint(scope: Scope) -> str:
    head = scope.inherited("proxy_buffer_size", 4 << 10)
    count, length = scope.inherited("proxy_buffers_of", (8, 4 << 10))
    most = max(head, length)
    least = "must be equal to or greater than the maximum of the value of "
    least += '"proxy_buffer_size" and one of the "proxy_buffers"'
    busy = scope.inherited("proxy_busy_buffers_size", 2 * most)
    if busy < most:
        return f'"proxy_busy_buffers_size" {least}'
    if busy > (count - 1) * length:
        return '"proxy_busy_buffers_size" must be less than the size of all "proxy_buffers" minus one buffer'
    if scope.inherited("proxy_temp_file_write_size", 2 * most) < most:
        return f'"proxy_temp_file_write_size" {least}'
    if 0 < scope.inherited("proxy_max_temp_file_size", 1 << 30) < most:
        return f'"proxy_max_temp_file_size" must be equal to zero to disable temporary files usage or {least}'
    return ""


def early_hints(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = tuple(compile_value(text) for text in node.args)


def _temp(name: str, what: str) -> Directive:
    return Directive(
        name,
        _LEVELS,
        "DIRECTORY [LEVEL1 [LEVEL2 [LEVEL3]]]",
        (1, 4),
        name.removesuffix("_path"),
        f"Where temporary files for {what} lie, in up to three levels of directories.",
        AS_NGINX,
        temp_path,
    )


def _flag(name: str, default: str, doc: str, compat: str = AS_NGINX) -> Directive:
    return Directive(name, _LEVELS, "on | off", (1, 1), default, doc, compat, flag)


def _size(name: str, default: str, doc: str, compat: str = AS_NGINX) -> Directive:
    return Directive(name, _LEVELS, "SIZE", (1, 1), default, doc, compat, size)


DIRECTIVES = (
    _flag(
        "proxy_request_buffering",
        "on",
        "Whether a request's body is read whole before a server is chosen; off: it is passed on as it comes, and the "
        "request is not sent to another server once bytes of its body have left.",
    ),
    _size("client_body_buffer_size", "16k", "How much of a body memory keeps; a longer one lies in a file."),
    Directive(
        "client_body_in_file_only",
        _LEVELS,
        "on | clean | off",
        (1, 1),
        "off",
        "Whether every body that is read whole lies in a file; `on` leaves the files there, `clean` removes them.",
        AS_NGINX,
        enum("on", "clean", "off"),
    ),
    _flag("client_body_in_single_buffer", "off", "Whether a body that fits into memory lies there in one piece."),
    _flag(
        "proxy_buffering",
        "on",
        "Whether a response that its client does not keep up with is read all the same and waits in lb.",
        "differs: nothing waits while the client keeps up",
    ),
    _size(
        "proxy_buffer_size",
        "4k",
        "The largest head of a response, else 502 (upstream sent too big header).",
        "differs: at most 1m",
    ),
    Directive(
        "proxy_buffers",
        _LEVELS,
        "NUMBER SIZE",
        (2, 2),
        "8 4k",
        "How much of a response waits in memory for its client: NUMBER times SIZE; what goes beyond lies in a file.",
        "differs: memory is taken as it is needed, not in pieces of SIZE",
        proxy_buffers,
    ),
    _size(
        "proxy_max_temp_file_size",
        "1024m",
        "How much of a response waits in a file for its client before the server has to wait; 0: no file.",
    ),
    _size(
        "proxy_busy_buffers_size",
        "",
        "How much of a response nginx has on its way to the client while the rest is read. lb sends what it has: "
        "SIZE is checked against the other buffers and not used.",
        "differs: not used",
    ),
    _size(
        "proxy_temp_file_write_size",
        "",
        "How much nginx writes to a temporary file at once. lb writes what it has read: SIZE is checked "
        "against the other buffers and not used.",
        "differs: not used",
    ),
    Directive(
        "early_hints",
        _LEVELS,
        "VALUE ...",
        (1, None),
        "",
        "Passes a server's 103 response to the client if one of the values is neither empty nor 0.",
        AS_NGINX,
        early_hints,
    ),
    _temp("client_body_temp_path", "request bodies"),
    _temp("proxy_temp_path", "responses"),
)
