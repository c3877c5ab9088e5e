"""The blocks of http{}, what requests are matched with, and the settings for clients."""

from __future__ import annotations

import os
import socket

from lb.config.directive import AS_NGINX, AS_UPSYNC, Context, Directive, msec, number, once, size
from lb.config.errors import Refused
from lb.config.listeners import ListenOptions
from lb.config.scope import HttpScope, HttpServerScope, LocationScope, Scope
from lb.config.table_body import check_buffers
from lb.config.table_location import check_duplicates
from lb.config.tree import Node
from lb.config.values import parse_msec, parse_seconds
from lb.model import Address, UpstreamShow

_LEVELS: tuple[Context, ...] = ("http", "server", "location")


def http(scope: Scope, node: Node) -> None:
    once(scope, node)
    inner = HttpScope("http", scope.reader, scope)
    scope.values["http"] = inner
    clean = scope.reader.walk_block(node, inner)
    if not scope.reader.syntax_error:
        scope.reader.upstreams.finish("http")
        complaint = check_buffers(inner) if clean else ""
        if complaint:
            raise Refused(complaint, file=node.file, line=node.end)
        scope.reader.listeners.warn_of_conflicts()


def server(scope: HttpScope, node: Node) -> None:
    inner = HttpServerScope("server", scope.reader, scope, node=node)
    scope.servers.append(inner)
    clean = scope.reader.walk_block(node, inner)
    check_duplicates(inner.locations, scope.reader)
    if clean and not inner.listens:
        port = 80 if os.geteuid() == 0 else 8000
        address = Address(socket.AF_INET, "0.0.0.0", port)
        scope.reader.listeners.add_http(address, inner, ListenOptions(), node)


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
