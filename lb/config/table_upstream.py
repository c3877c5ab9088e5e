"""`upstream` and what stands in it, for http and for stream: one set of functions for both."""

from __future__ import annotations

import resource
from typing import Any, Literal

from lb.config.address import AddressError, parse
from lb.config.directive import AS_NGINX, Apply, Context, Directive, msec, number, once
from lb.config.errors import Refused
from lb.config.nginx import parameter_reason
from lb.config.scope import Kind, Scope, UpstreamScope
from lb.config.table_upsync import finish as finish_upsync
from lb.config.tree import Node
from lb.config.values import parse_number, parse_seconds, parse_size
from lb.config.variables import compile_value
from lb.model import Balancer, Server

_BOTH: tuple[Context, ...] = ("upstream", "stream upstream")
_TIMES: dict[Kind, dict[str, Literal["connect", "header", "last_byte"]]] = {
    "http": {"header": "header", "last_byte": "last_byte"},
    "stream": {"connect": "connect", "first_byte": "header", "last_byte": "last_byte"},
}
_LEAST_TIME: tuple[tuple[Kind, Context, str], ...] = (
    ("http", "upstream", "the times until the head or the last byte of an answer"),
    ("stream", "stream upstream", "the times until a connection, its first byte or its last"),
)


def upstream(kind: Kind) -> Apply:
    def apply(scope: Scope, node: Node) -> None:
        draft = scope.reader.upstreams.define(kind, node.args[0], node, scope)
        clean = scope.reader.walk_block(node, draft)
        finish_upsync(draft, node)
        if clean and not draft.servers:
            raise Refused("no servers are inside upstream", file=node.file, line=node.end)
        if draft.balancer in ("ip_hash", "hash", "random"):
            for line in draft.backup_lines:
                scope.reader.refuse('balancing method does not support parameter "backup"', line)

    return apply


def server(scope: UpstreamScope, node: Node) -> None:
    options = _options(node.args[1:])
    default_port = 80 if scope.kind == "http" else 0
    try:
        url = parse(node.args[0], default_port=default_port, base=scope.reader.prefix)
        addresses = scope.reader.resolver.addresses(url)
    except AddressError as error:
        raise Refused(f'{error} in upstream "{node.args[0]}"') from None
    if url.no_port and not default_port:
        raise Refused(f'no port in upstream "{node.args[0]}"')
    scope.servers += [Server(str(address), address, written=node.args[0], **options) for address in addresses]
    scope.lines += [node] * len(addresses)
    if options.get("backup"):
        scope.backup_lines.append(node)


def _options(words: tuple[str, ...]) -> dict[str, Any]:
    """Parameters of `server` as fields of model.Server. The last of two equal ones wins, as in nginx."""
    options: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        value: int | None = None
        if word in ("backup", "down", "drain"):
            key, value = "down" if word == "drain" else word, True
        elif equals and key in ("weight", "max_fails", "max_conns"):
            value = parse_number(text)
        elif equals and key in ("fail_timeout", "slow_start"):
            key, value = f"{key}_s", parse_seconds(text)
        if value is None or (key == "weight" and value == 0):
            raise Refused(f'invalid parameter "{word}"', parameter_reason("server", word))
        options[key] = value
    return options


def balancer(name: Balancer) -> Apply:
    def apply(scope: UpstreamScope, node: Node) -> None:
        if scope.balancer is not None:
            scope.reader.warn("load balancing method redefined", node)
        scope.balancer = name

    return apply


def hash_by(scope: UpstreamScope, node: Node) -> None:
    """hash KEY [consistent]"""
    balancer("hash")(scope, node)
    scope.hash_key = compile_value(node.args[0], scope.kind)
    scope.hash_consistent = len(node.args) == 2
    if scope.hash_consistent and node.args[1] != "consistent":
        raise Refused(f'invalid parameter "{node.args[1]}"')


def random(scope: UpstreamScope, node: Node) -> None:
    """random [two [least_conn]]"""
    balancer("random")(scope, node)
    for word, expected in zip(node.args, ("two", "least_conn"), strict=False):
        if word != expected:
            raise Refused(f'invalid parameter "{word}"')
    scope.random_two = bool(node.args)


def least_time(scope: UpstreamScope, node: Node) -> None:
    """header | last_byte [inflight]; in stream: connect | first_byte | last_byte [inflight]"""
    balancer("least_time")(scope, node)
    times = _TIMES[scope.kind]
    if node.args[0] not in times:
        raise Refused(f'invalid parameter "{node.args[0]}"', f"it may be {' or '.join(times)}")
    if len(node.args) == 2 and node.args[1] != "inflight":
        raise Refused(f'invalid parameter "{node.args[1]}"')
    scope.least_time = times[node.args[0]]
    scope.least_time_inflight = len(node.args) == 2


def zone(scope: UpstreamScope, node: Node) -> None:
    """zone NAME [SIZE]: checked as nginx does; the memory is not needed."""
    once(scope, node)
    if not node.args[0]:
        raise Refused(f'invalid zone name "{node.args[0]}"')
    if len(node.args) == 2:
        bytes_ = parse_size(node.args[1])
        if bytes_ is None:
            raise Refused(f'invalid zone size "{node.args[1]}"')
        if bytes_ < 8 * resource.getpagesize():
            raise Refused(f'zone "{node.args[0]}" is too small')
    scope.values[node.name] = True


def keepalive(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    value = parse_number(node.args[0])
    if value is None:
        raise Refused(f'invalid value "{node.args[0]}" in "keepalive" directive')
    if len(node.args) == 2 and node.args[1] != "local":
        raise Refused(f'invalid parameter "{node.args[1]}"')
    scope.values[node.name] = value
    scope.values["keepalive_local"] = len(node.args) == 2


def _block(kind: Kind) -> Directive:
    return Directive(
        "upstream",
        (kind,),
        "NAME { ... }",
        (1, 1),
        "",
        "A named group of servers that proxy_pass may name.",
        AS_NGINX,
        upstream(kind),
        block=True,
    )


DIRECTIVES = (
    _block("http"),
    _block("stream"),
    Directive(
        "server",
        _BOTH,
        "ADDRESS [weight=NUMBER] [max_fails=NUMBER] [fail_timeout=TIME] [max_conns=NUMBER] [slow_start=TIME] "
        "[backup] [down] [drain]",
        (1, None),
        "weight=1 max_fails=1 fail_timeout=10s max_conns=0 slow_start=0",
        "A server of the upstream: HOST[:PORT] (the port is 80 in http and must be given in stream) or unix:PATH; "
        "a host name stands for all its addresses. After `max_fails` failures (0: never) the server is left out for "
        "`fail_timeout`; they add up until a request succeeds that was sent more than `fail_timeout` after the last. "
        "`drain` is `down`: what runs goes on, nothing new comes. With `slow_start` a server that comes back (it was "
        "left out for its failures, or down) gets a small part of its weight at first, and all of it after "
        "TIME; of `hash` "
        "and `ip_hash` so many of its keys. Of an upstream that has no other server it changes nothing.",
        "differs: `slow_start` with every method; a relative unix path starts from the prefix; "
        "no `sticky` yet whose sessions `drain` would let in",
        server,
    ),
    Directive(
        "least_conn",
        _BOTH,
        "",
        (0, 0),
        "round robin",
        "Chooses the server with the fewest connections for its weight.",
        AS_NGINX,
        balancer("least_conn"),
    ),
    *(
        Directive(
            "least_time",
            (context,),
            f"{' | '.join(_TIMES[kind])} [inflight]",
            (1, 2),
            "round robin",
            f"Chooses the server that answers soonest: the mean of {times}, in steps of 20 ms up to 5 s, times its "
            "connections and one, for its weight; equals in turn. A mean is of the last answers (each counts an "
            "eighth), halves with each fail_timeout without a try, and begins anew with a reload. With `inflight` the "
            "time that unanswered ones have waited counts where it is longer.",
            "differs: nginx's mean is another; a worker knows its own answers only; of more than 4 servers some times "
            "are looked at again with each choice, not all",
            least_time,
        )
        for kind, context, times in _LEAST_TIME
    ),
    Directive(
        "ip_hash",
        ("upstream",),
        "",
        (0, 0),
        "round robin",
        "Chooses the server by the client's address: the first three numbers of IPv4, all of IPv6.",
        "differs: `backup` is refused also on server lines before it",
        balancer("ip_hash"),
    ),
    Directive(
        "hash",
        _BOTH,
        "KEY [consistent]",
        (1, 2),
        "round robin",
        "Chooses the server by the value KEY, which may use variables: the same server as nginx chooses. `consistent` "
        "is ketama with 160 points for each unit of weight (fewer when the whole ring would have more than 4 million): "
        "a changed list moves few keys. An empty key means round robin.",
        "differs: `backup` is refused also on server lines before it",
        hash_by,
    ),
    Directive(
        "random",
        _BOTH,
        "[two [least_conn]]",
        (0, 2),
        "round robin",
        "Chooses a random server by weight; with `two` the one of two such that has fewer connections for its weight.",
        "differs: of two that are equally busy the first drawn is taken, so that weights hold when servers are idle "
        "(nginx takes the second: the heaviest then gets least); `backup` is refused also on server lines before it",
        random,
    ),
    Directive(
        "zone",
        _BOTH,
        "NAME [SIZE]",
        (1, 2),
        "",
        "The name of shared memory for the upstream. Workers of lb are independent: each counts failures and "
        "connections by itself, so nothing is shared and NAME and SIZE are only checked.",
        "differs: shares nothing between workers",
        zone,
    ),
    Directive(
        "keepalive",
        ("upstream",),
        "NUMBER [local]",
        (1, 2),
        "32 local",
        "How many idle connections to all servers of the upstream a worker keeps; 0 keeps none. With `local` a "
        "connection is kept for the location whose request it served, else for any.",
        AS_NGINX,
        keepalive,
    ),
    Directive(
        "keepalive_timeout",
        ("upstream",),
        "TIME",
        (1, 1),
        "60s",
        "How long an idle connection to a server is kept.",
        AS_NGINX,
        msec,
    ),
    Directive(
        "keepalive_requests",
        ("upstream",),
        "NUMBER",
        (1, 1),
        "1000",
        "How many requests are made on one connection to a server before it is closed.",
        AS_NGINX,
        number,
    ),
    Directive(
        "keepalive_time",
        ("upstream",),
        "TIME",
        (1, 1),
        "1h",
        "How long requests are made on one connection to a server; it is closed after the request that passes it.",
        AS_NGINX,
        msec,
    ),
)
