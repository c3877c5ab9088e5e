"""Sockets to servers, in http and in stream: where they come from, and their options."""

from __future__ import annotations

import ipaddress
import re

from lb.config.directive import AS_NGINX, Context, Directive, flag, once
from lb.config.errors import Refused
from lb.config.scope import Kind, Scope
from lb.config.tree import Node
from lb.config.values import parse_size
from lb.config.variables import compile_value
from lb.model import Bind

_LEVELS: tuple[Context, ...] = ("http", "server", "location", "stream", "stream server")
_STREAM: tuple[Context, ...] = ("stream", "stream server")
_ADDRESS = re.compile(r"(?P<v4>[0-9.]+)(?::(?P<port4>\d{1,5}))?|\[(?P<v6>[^]]+)\](?::(?P<port6>\d{1,5}))?|(?P<bare>.+)")


def proxy_bind(scope: Scope, node: Node) -> None:
    """ADDRESS[:PORT] [transparent] | off"""
    once(scope, node)
    text = node.args[0]
    if text == "off" and len(node.args) == 1:
        scope.values[node.name] = None
        return
    if len(node.args) == 2 and node.args[1] != "transparent":
        raise Refused(f'invalid parameter "{node.args[1]}"')
    if "$" not in text and not is_address(text):
        raise Refused(f'invalid address "{text}"')
    kind: Kind = "stream" if scope.context in _STREAM else "http"
    transparent = len(node.args) == 2
    scope.reader.transparent |= transparent
    scope.values[node.name] = Bind(compile_value(text, kind), transparent)


def is_address(text: str) -> bool:
    """1.2.3.4, 1.2.3.4:5, ::1, [::1] or [::1]:5"""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return False
    port = match["port4"] or match["port6"]
    try:
        ipaddress.ip_address(match["v4"] or match["v6"] or match["bare"])
    except ValueError:
        return False
    return port is None or 0 < int(port) < 65536


def buffer_size(scope: Scope, node: Node) -> None:
    once(scope, node)
    value = parse_size(node.args[0])
    if value is None or value >= 2**31:
        raise Refused(f'"{node.name}" directive invalid value')
    scope.values[node.name] = value


DIRECTIVES = (
    Directive(
        "proxy_bind",
        _LEVELS,
        "ADDRESS[:PORT] [transparent] | off",
        (1, 2),
        "",
        "The local address that connections to servers come from; ADDRESS may use variables, and nothing is bound "
        "where they come to an empty text. `transparent` allows an address of another machine, as $remote_addr: "
        "workers keep CAP_NET_RAW for it, and the routing must bring the answers back. An address that cannot be bound "
        "is 500.",
        "differs: a pooled connection goes only to requests with the same address; unix sockets are not bound",
        proxy_bind,
    ),
    Directive(
        "proxy_socket_keepalive",
        _LEVELS,
        "on | off",
        (1, 1),
        "off",
        "Whether the kernel probes idle connections to servers (SO_KEEPALIVE).",
        AS_NGINX,
        flag,
    ),
    *(
        Directive(
            name,
            _LEVELS,
            "SIZE",
            (1, 1),
            "0",
            f"The {what} buffer of connections to servers ({option}); with 0 the kernel chooses.",
            AS_NGINX,
            buffer_size,
        )
        for name, what, option in (
            ("proxy_socket_rcvbuf", "receive", "SO_RCVBUF"),
            ("proxy_socket_sndbuf", "send", "SO_SNDBUF"),
        )
    ),
)
