"""From scopes to the frozen model: inheritance, defaults and what only the whole configuration can tell.

Pure but for two looks at the process (its file limit); runs only when the files are free of errors.
"""

from __future__ import annotations

import resource

from lb.config.errors import Problem
from lb.config.model import (
    Config,
    ErrorLog,
    Handler,
    HttpServer,
    HttpSettings,
    Listener,
    Location,
    NotFound,
    StreamServer,
    Upstream,
)
from lb.config.reader import Reader
from lb.config.scope import HttpServerScope, ListenerDraft, LocationScope, Scope, StreamServerScope, UpstreamScope

_DEFAULT_CONNECTIONS = 512


def check_whole(reader: Reader) -> None:
    """What no single block can know. Adds to the reader's problems and warnings."""
    main = reader.main
    if reader.syntax_error:
        return
    if "events" not in main.values and not reader.problems:
        reader.problems.append(Problem('no "events" section in configuration'))
    reader.listeners.check_overlap(main.status_listen)
    connections = _connections(main)
    sockets = len(reader.listeners.drafts)
    if "events" in main.values and connections < sockets + 1:
        message = f"{connections} worker_connections are not enough for {sockets} listening sockets"
        reader.problems.append(Problem(message))
    limit = main.values.get("worker_rlimit_nofile") or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if connections > limit != resource.RLIM_INFINITY:
        reader.warn(f"{connections} worker_connections exceed open file resource limit: {limit}")


def build(reader: Reader) -> Config:
    """The model of a configuration without problems."""
    main, values = reader.main, reader.main.values
    user, group = values.get("user") or (None, None)
    servers = _http_servers(reader)
    return Config(
        path=reader.path,
        prefix=reader.prefix,
        files=tuple(reader.files),
        worker_processes=values.get("worker_processes", 1),
        worker_connections=_connections(main),
        worker_rlimit_nofile=values.get("worker_rlimit_nofile"),
        pid=values.get("pid", reader.full_name("logs/lb.pid")),
        daemon=values.get("daemon", True),
        user=user,
        group=group,
        error_logs=tuple(main.error_logs) or (ErrorLog(reader.full_name("logs/error.log")),),
        upstreams=tuple(_upstream(draft) for draft in reader.upstreams.drafts),
        listeners=tuple(_listener(draft, servers) for draft in reader.listeners.drafts.values()),
        status_listen=tuple(address for address, _ in main.status_listen),
        warnings=tuple(reader.warnings),
    )


def _connections(main: Scope) -> int:
    events = main.values.get("events")
    return events.values.get("worker_connections", _DEFAULT_CONNECTIONS) if events else _DEFAULT_CONNECTIONS


def _upstream(draft: UpstreamScope) -> Upstream:
    http = draft.kind == "http"
    return Upstream(
        kind=draft.kind,
        name=draft.name,
        servers=tuple(draft.servers),
        balancer=draft.balancer or "round_robin",
        keepalive=draft.values.get("keepalive", 32) if http else 0,  # TCP connections are never shared
        keepalive_timeout_ms=draft.values.get("keepalive_timeout", 60_000),
        keepalive_requests=draft.values.get("keepalive_requests", 1000),
        upsync=draft.upsync,
        implicit=not draft.defined,
        where=draft.node.where if draft.node else "",
    )


def _http_servers(reader: Reader) -> dict[int, HttpServer]:
    """The servers of http{}, by id of their scope: several listeners share one object."""
    http = reader.main.values.get("http")
    return {id(scope): _http_server(scope) for scope in http.servers} if http else {}


def _http_server(scope: HttpServerScope) -> HttpServer:
    # A `return` in server{} answers before locations are looked at (nginx's server rewrite phase).
    locations = () if scope.returned else tuple(_location(inner) for inner in scope.locations)
    return HttpServer(
        names=tuple(scope.names) or ("",),
        locations=locations,
        handler=scope.returned or NotFound(),
        settings=_settings(scope),
        where=scope.node.where if scope.node else "",
    )


def _location(scope: LocationScope) -> Location:
    handler: Handler = scope.returned or scope.content or NotFound()
    where = scope.node.where if scope.node else ""
    return Location(scope.match, scope.pattern, handler, _settings(scope), where)


def _settings(scope: Scope) -> HttpSettings:
    get = scope.inherited
    return HttpSettings(
        set_headers=tuple(get("proxy_set_header", ())),
        proxy_http_version=get("proxy_http_version", "1.1"),
        proxy_connect_timeout_ms=get("proxy_connect_timeout", 60_000),
        proxy_read_timeout_ms=get("proxy_read_timeout", 60_000),
        proxy_send_timeout_ms=get("proxy_send_timeout", 60_000),
        keepalive_timeout_ms=get("keepalive_timeout", 75_000),
        keepalive_requests=get("keepalive_requests", 1000),
        client_header_timeout_ms=get("client_header_timeout", 60_000),
        client_body_timeout_ms=get("client_body_timeout", 60_000),
        send_timeout_ms=get("send_timeout", 60_000),
        client_max_body_size=get("client_max_body_size", 1 << 20),
        access_logs=_access_logs(scope),
    )


def _access_logs(scope: Scope) -> tuple[str, ...]:
    """Of the nearest level that says anything; there, `off` beats any file."""
    level: Scope | None = scope
    while level is not None:
        if "access_log" in level.values:
            off = "access_log_off" in level.values
            return () if off else tuple(dict.fromkeys(level.values["access_log"]))
        level = level.parent
    return (scope.reader.full_name("logs/access.log"),)


def _listener(draft: ListenerDraft, servers: dict[int, HttpServer]) -> Listener:
    default = draft.default or (draft.servers[0] if draft.servers else None)
    position = next((i for i, scope in enumerate(draft.servers) if scope is default), 0)
    return Listener(
        address=draft.address,
        text=draft.text,
        backlog=draft.backlog,
        reuseport=draft.reuseport,
        ipv6only=draft.ipv6only,
        http=tuple(servers[id(scope)] for scope in draft.servers),
        default_server=position,
        stream=_stream_server(draft.stream) if draft.stream else None,
        where=draft.node.where,
    )


def _stream_server(scope: StreamServerScope) -> StreamServer:
    assert scope.upstream is not None  # "no handler for server" otherwise
    return StreamServer(
        upstream=scope.upstream,
        proxy_connect_timeout_ms=scope.inherited("proxy_connect_timeout", 60_000),
        proxy_timeout_ms=scope.inherited("proxy_timeout", 600_000),
        where=scope.node.where if scope.node else "",
    )
