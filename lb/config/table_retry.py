"""What is asked of servers beside fields: the request's method and body, and when the next server is asked."""

from __future__ import annotations

import re

from lb.config.directive import AS_NGINX, LB_ONLY, Context, Directive, flag, msec, number, once
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.table_proxy import TOKEN
from lb.config.tree import Node
from lb.config.values import parse_number
from lb.config.variables import compile_value

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
_STREAM: tuple[Context, ...] = ("stream", "stream server")
_CONDITIONS = (
    "error", "timeout", "invalid_header", "non_idempotent", "http_500", "http_502", "http_503", "http_504", "http_403",
    "http_404", "http_429", "off",
)  # fmt: skip
_PERCENT = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?%", re.ASCII)
_LEAST = 3  # retries in a second that a budget always lets pass
_UINT32 = (1 << 32) - 1


def next_upstream(scope: Scope, node: Node) -> None:
    once(scope, node)
    for word in node.args:
        if word not in _CONDITIONS:
            raise Refused(f'invalid value "{word}"')
    scope.values[node.name] = () if "off" in node.args else tuple(dict.fromkeys(node.args))


def proxy_method(scope: Scope, node: Node) -> None:
    once(scope, node)
    if "$" not in node.args[0] and not TOKEN.fullmatch(node.args[0]):
        raise Refused(f'invalid method "{node.args[0]}"')
    scope.values[node.name] = compile_value(node.args[0])


def proxy_set_body(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = compile_value(node.args[0])


def budget(scope: Scope, node: Node) -> None:
    """PERCENT% [min=NUMBER] | off, as (share in 1/10000, number)"""
    once(scope, node)
    first, *rest = node.args
    if first == "off" and not rest:
        scope.values[node.name] = None
        return
    match = _PERCENT.fullmatch(first)
    share = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else -1
    if not 0 <= share <= 10000:
        raise Refused(f'invalid value "{first}"', "a share of the requests, 0% to 100% with up to two decimals, or off")
    least: int | None = _LEAST
    for word in rest:
        key, equals, text = word.partition("=")
        least = parse_number(text, _UINT32) if equals and key == "min" else None
        if least is None:
            raise Refused(f'invalid parameter "{word}"', "min=NUMBER, retries in a second")
    scope.values[node.name] = (share, least)


def _budget(contexts: tuple[Context, ...], where: str) -> Directive:
    return Directive(
        "proxy_next_upstream_budget",
        contexts,
        "PERCENT% [min=NUMBER] | off",
        (1, 2),
        "off",
        f"At most this share of what an upstream was asked in the last 10 s may be retries; {_LEAST} in a second, or "
        "NUMBER, always may. What would be more is answered with the failure, so that a pool that fails is not "
        f"finished off by what it failed. Counted are {where} that have a budget; each worker counts its "
        "own, from nothing after a reload. A pooled connection that has ended costs nothing of it. The log says when "
        "refusing begins (warn) and that it has ended, after 10 s "
        "without (notice).",
        LB_ONLY,
        budget,
    )


DIRECTIVES = (
    Directive(
        "proxy_next_upstream",
        _LEVELS,
        "error | timeout | invalid_header | http_500 | http_502 | http_503 | http_504 | http_403 | http_404 | "
        "http_429 | non_idempotent | off ...",
        (1, None),
        "error timeout",
        "When a request is passed on to the next server, as long as nothing of an answer was sent to the client.",
        AS_NGINX,
        next_upstream,
    ),
    Directive(
        "proxy_next_upstream_tries",
        _LEVELS,
        "NUMBER",
        (1, 1),
        "0",
        "How many servers are asked for a request, the first included; 0 sets no limit.",
        AS_NGINX,
        number,
    ),
    Directive(
        "proxy_next_upstream_timeout",
        _LEVELS,
        "TIME",
        (1, 1),
        "0",
        "How long after the first server was chosen another may still be asked; 0 sets no limit.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "proxy_next_upstream",
        _STREAM,
        "on | off",
        (1, 1),
        "on",
        "Whether a connection that cannot be made to one server is passed to the next.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "proxy_next_upstream_tries",
        _STREAM,
        "NUMBER",
        (1, 1),
        "0",
        "How many servers are asked for a connection, the first included; 0 sets no limit.",
        AS_NGINX,
        number,
    ),
    Directive(
        "proxy_next_upstream_timeout",
        _STREAM,
        "TIME",
        (1, 1),
        "0",
        "How long after the first server was chosen another may still be asked; 0 sets no limit.",
        AS_NGINX,
        msec,
    ),
    _budget(_LEVELS, "the requests of locations"),
    _budget(_STREAM, "the sessions of servers"),
    Directive(
        "proxy_half_close",
        _STREAM,
        "on | off",
        (1, 1),
        "off",
        "Whether the end of one direction is passed on while the other goes on; off: it ends the session. A session "
        "whose server has ended counts no longer for least_conn and max_conns; it ends with its client, when the "
        "server's machine does not know the connection any more (probes after 5 s of silence), and in a stop after "
        "1 s of silence.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "proxy_method",
        _LEVELS,
        "METHOD",
        (1, 1),
        "",
        "The method of requests to servers instead of the client's.",
        "differs: a method that is no token is refused",
        proxy_method,
    ),
    Directive(
        "proxy_set_body",
        _LEVELS,
        "VALUE",
        (1, 1),
        "",
        "The body of requests to servers instead of the client's.",
        AS_NGINX,
        proxy_set_body,
    ),
    Directive(
        "proxy_pass_request_headers",
        _LEVELS,
        "on | off",
        (1, 1),
        "on",
        "Whether the fields of the client's request are passed to servers.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "proxy_pass_request_body",
        _LEVELS,
        "on | off",
        (1, 1),
        "on",
        "Whether the body of the client's request is passed to servers.",
        AS_NGINX,
        flag,
    ),
)
