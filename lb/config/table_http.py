"""The blocks of http{}, what requests are matched with, and the settings for clients."""

from __future__ import annotations

import os
import socket
from typing import Literal

from lb.config.directive import AS_NGINX, AS_UPSYNC, Context, Directive, msec, number, once, size
from lb.config.errors import Refused
from lb.config.listeners import ListenOptions
from lb.config.model import Address, UpstreamShow
from lb.config.scope import HttpScope, HttpServerScope, LocationScope, Scope
from lb.config.tree import Node
from lb.config.values import ascii_lower, parse_msec, parse_seconds

_LEVELS: tuple[Context, ...] = ("http", "server", "location")


def http(scope: Scope, node: Node) -> None:
    once(scope, node)
    inner = HttpScope("http", scope.reader, scope)
    scope.values["http"] = inner
    scope.reader.walk_block(node, inner)
    if not scope.reader.syntax_error:
        scope.reader.upstreams.finish("http")
        scope.reader.listeners.warn_of_conflicts()


def server(scope: HttpScope, node: Node) -> None:
    inner = HttpServerScope("server", scope.reader, scope, node=node)
    scope.servers.append(inner)
    clean = scope.reader.walk_block(node, inner)
    _check_duplicates(inner)
    if clean and not inner.listens:
        port = 80 if os.geteuid() == 0 else 8000
        address = Address(socket.AF_INET, "0.0.0.0", port)
        scope.reader.listeners.add_http(address, inner, ListenOptions(), node)


def _check_duplicates(scope: HttpServerScope) -> None:
    seen: set[tuple[str, str]] = set()
    for location in scope.locations:
        key = (location.match, location.pattern)
        if key in seen and location.node is not None:
            scope.reader.refuse(f'duplicate location "{location.pattern}"', location.node)
        seen.add(key)


def server_name(scope: HttpServerScope, node: Node) -> None:
    for name in node.args:
        if (name[:1] == "*" and (len(name) < 3 or name[1] != ".")) or name == ".":
            raise Refused(f'server name "{name}" is invalid')
        if (name and name[0] in "*.~") or name.endswith(".*"):
            raise Refused(f'server name "{name}" is invalid', "wildcard and regular expression names are not there yet")
        if "/" in name:
            scope.reader.warn(f'server name "{name}" has suspicious symbols', node)
        name = socket.gethostname() if name == "$hostname" else name
        if ascii_lower(name) not in scope.names:
            scope.names.append(ascii_lower(name))


def location(scope: HttpServerScope, node: Node) -> None:
    match, pattern = _location_match(node)
    inner = LocationScope("location", scope.reader, scope, node=node, match=match, pattern=pattern)
    scope.locations.append(inner)
    scope.reader.walk_block(node, inner)


def _location_match(node: Node) -> tuple[Literal["exact", "prefix"], str]:
    modifier, pattern = node.args if len(node.args) == 2 else _split_modifier(node.args[0])
    if modifier in ("~", "~*"):
        raise Refused(f'invalid location modifier "{modifier}"', "regular expression locations are not there yet")
    if modifier not in ("", "=", "^~"):
        raise Refused(f'invalid location modifier "{modifier}"')
    if pattern.startswith("@") and not modifier:
        raise Refused(f'invalid location "{pattern}"', "named locations are not there yet")
    return ("exact" if modifier == "=" else "prefix"), pattern


def _split_modifier(text: str) -> tuple[str, str]:
    """The modifier may stand without a space: location =/path."""
    for modifier in ("=", "^~", "~*", "~"):
        if text.startswith(modifier):
            return modifier, text[len(modifier) :]
    return "", text


def upstream_show(scope: LocationScope, node: Node) -> None:
    scope.content = UpstreamShow()


def keepalive_timeout(scope: Scope, node: Node) -> None:
    once(scope, node)
    value = parse_msec(node.args[0])
    if value is None:
        raise Refused('"keepalive_timeout" directive invalid value')
    header = parse_seconds(node.args[1]) if len(node.args) > 1 else 0
    if header is None:
        raise Refused('"keepalive_timeout" directive invalid value')
    scope.values[node.name] = value
    scope.values["keepalive_header"] = header


def _blocks() -> tuple[Directive, ...]:
    return (
        Directive(
            "http", ("main",), "{ ... }", (0, 0), "", "The block for HTTP servers and upstreams.", AS_NGINX, http, True
        ),
        Directive("server", ("http",), "{ ... }", (0, 0), "", "A virtual HTTP server.", AS_NGINX, server, True),
        Directive(
            "location",
            ("server",),
            "[= | ^~] PATH { ... }",
            (1, 2),
            "",
            "What is done with requests whose decoded path is PATH (=) or begins with PATH; the longest match wins.",
            "differs: no regular expressions, no names, no location in a location",
            location,
            True,
        ),
        Directive(
            "server_name",
            ("server",),
            "NAME ...",
            (1, None),
            '""',
            'The host names that the server answers to; "" stands for requests without a Host field.',
            "differs: no wildcards, no regular expressions",
            server_name,
        ),
        Directive(
            "upstream_show",
            ("location",),
            "",
            (0, 0),
            "",
            "Answers with the servers of the upstream that the query string names, or of all upstreams.",
            AS_UPSYNC,
            upstream_show,
        ),
    )


def _client_settings() -> tuple[Directive, ...]:
    return (
        Directive(
            "client_header_timeout",
            ("http", "server"),
            "TIME",
            (1, 1),
            "60s",
            "The time a client has to send a whole request head, else 408.",
            AS_NGINX,
            msec,
        ),
        Directive(
            "client_body_timeout",
            _LEVELS,
            "TIME",
            (1, 1),
            "60s",
            "The longest pause between two reads of a request body, else 408.",
            AS_NGINX,
            msec,
        ),
        Directive(
            "client_max_body_size",
            _LEVELS,
            "SIZE",
            (1, 1),
            "1m",
            "The longest request body, else 413; 0 sets no limit.",
            AS_NGINX,
            size,
        ),
        Directive(
            "send_timeout",
            _LEVELS,
            "TIME",
            (1, 1),
            "60s",
            "The longest pause between two writes of a response to the client; then the connection is closed.",
            AS_NGINX,
            msec,
        ),
        Directive(
            "keepalive_timeout",
            _LEVELS,
            "TIME [HEADER_TIME]",
            (1, 2),
            "75s",
            "How long an idle connection of a client is kept; 0 closes it after each response. HEADER_TIME is told to "
            "clients in a Keep-Alive field.",
            AS_NGINX,
            keepalive_timeout,
        ),
        Directive(
            "keepalive_requests",
            _LEVELS,
            "NUMBER",
            (1, 1),
            "1000",
            "How many requests a client may make on one connection before it is closed.",
            AS_NGINX,
            number,
        ),
    )


DIRECTIVES = (*_blocks(), *_client_settings())
