"""From scopes to the frozen model: inheritance, defaults and what only the whole configuration can tell.

Pure but for two looks at the process (its file limit); runs only when the files are free of errors.
"""

from __future__ import annotations

import resource
from dataclasses import replace
from typing import Any

from lb.config import acme, table_check, table_check_types, table_process, table_resolver, tls, tls_upstream
from lb.config.errors import Problem
from lb.config.reader import Reader
from lb.config.scope import (
    HttpServerScope,
    IfDraft,
    ListenerDraft,
    LocationScope,
    OpDraft,
    Scope,
    StreamServerScope,
    UpstreamScope,
)
from lb.config.table_access import realip
from lb.config.table_answer import header_filter
from lb.config.table_auth import auth
from lb.config.table_files import files
from lb.config.table_gzip import gzip_settings
from lb.config.variables import did_you_mean, shown
from lb.model import (
    AccessLog,
    Config,
    ErrorLog,
    Handler,
    HttpServer,
    HttpSettings,
    If,
    Listener,
    Location,
    Op,
    ProxyPass,
    StaticFiles,
    StreamServer,
    TempPath,
    Upstream,
    Value,
)
from lb.model.clients import Network

# Field of the model -> directive.
_HTTP_FIELDS = {
    "proxy_http_version": "proxy_http_version",
    "proxy_connect_timeout_ms": "proxy_connect_timeout",
    "proxy_read_timeout_ms": "proxy_read_timeout",
    "proxy_send_timeout_ms": "proxy_send_timeout",
    "proxy_socket_keepalive": "proxy_socket_keepalive",
    "proxy_socket_rcvbuf": "proxy_socket_rcvbuf",
    "proxy_socket_sndbuf": "proxy_socket_sndbuf",
    "keepalive_timeout_ms": "keepalive_timeout",
    "keepalive_requests": "keepalive_requests",
    "client_header_timeout_ms": "client_header_timeout",
    "client_body_timeout_ms": "client_body_timeout",
    "send_timeout_ms": "send_timeout",
    "client_max_body_size": "client_max_body_size",
    "proxy_method": "proxy_method",
    "proxy_request_buffering": "proxy_request_buffering",
    "proxy_buffering": "proxy_buffering",
    "proxy_pass_trailers": "proxy_pass_trailers",
    "proxy_lenient": "proxy_lenient",
    "proxy_buffer_size": "proxy_buffer_size",
    "proxy_buffers": "proxy_buffers",
    "proxy_max_temp_file_size": "proxy_max_temp_file_size",
    "client_body_buffer_size": "client_body_buffer_size",
    "client_body_in_file_only": "client_body_in_file_only",
    "client_body_in_single_buffer": "client_body_in_single_buffer",
    "proxy_set_body": "proxy_set_body",
    "proxy_pass_request_headers": "proxy_pass_request_headers",
    "proxy_pass_request_body": "proxy_pass_request_body",
    "next_upstream": "proxy_next_upstream",
    "next_upstream_tries": "proxy_next_upstream_tries",
    "next_upstream_timeout_ms": "proxy_next_upstream_timeout",
    "next_upstream_budget": "proxy_next_upstream_budget",
    "client_header_buffer_size": "client_header_buffer_size",
    "large_client_header_buffers": "large_client_header_buffers",
    "max_headers": "max_headers",
    "underscores_in_headers": "underscores_in_headers",
    "ignore_invalid_headers": "ignore_invalid_headers",
    "lenient_requests": "lenient_requests",
    "keepalive_time_ms": "keepalive_time",
    "http2_max_concurrent_streams": "http2_max_concurrent_streams",
    "http2_body_preread_size": "http2_body_preread_size",
    "http2_chunk_size": "http2_chunk_size",
    "keepalive_min_timeout_ms": "keepalive_min_timeout",
    "lingering_close": "lingering_close",
    "lingering_time_ms": "lingering_time",
    "lingering_timeout_ms": "lingering_timeout",
    "chunked_transfer_encoding": "chunked_transfer_encoding",
    "keepalive_disable": "keepalive_disable",
    "reset_timedout_connection": "reset_timedout_connection",
    "default_type": "default_type",
    "server_tokens": "server_tokens",
    "tcp_nodelay": "tcp_nodelay",
    "recursive_error_pages": "recursive_error_pages",
    "proxy_intercept_errors": "proxy_intercept_errors",
    "absolute_redirect": "absolute_redirect",
    "port_in_redirect": "port_in_redirect",
    "server_name_in_redirect": "server_name_in_redirect",
    "limit_req_status": "limit_req_status",
    "limit_req_log_level": "limit_req_log_level",
    "limit_req_dry_run": "limit_req_dry_run",
    "proxy_tls_sni": "proxy_ssl_server_name",
    "proxy_tls_name": "proxy_ssl_name",
}
_UPSTREAM_FIELDS = {
    "keepalive": "keepalive",
    "keepalive_timeout_ms": "keepalive_timeout",
    "keepalive_requests": "keepalive_requests",
    "keepalive_time_ms": "keepalive_time",
    "sticky": "sticky",
}
_STREAM_FIELDS = {
    "proxy_connect_timeout_ms": "proxy_connect_timeout",
    "proxy_timeout_ms": "proxy_timeout",
    "next_upstream": "proxy_next_upstream",
    "next_upstream_tries": "proxy_next_upstream_tries",
    "next_upstream_timeout_ms": "proxy_next_upstream_timeout",
    "next_upstream_budget": "proxy_next_upstream_budget",
    "tcp_nodelay": "tcp_nodelay",
    "half_close": "proxy_half_close",
    "proxy_protocol": "proxy_protocol",
    "proxy_protocol_timeout_ms": "proxy_protocol_timeout",
    "proxy_socket_keepalive": "proxy_socket_keepalive",
    "proxy_socket_rcvbuf": "proxy_socket_rcvbuf",
    "proxy_socket_sndbuf": "proxy_socket_sndbuf",
    "buffer_size": "proxy_buffer_size",
    "proxy_tls_sni": "proxy_ssl_server_name",
    "ssl_preread": "ssl_preread",
    "preread_buffer_size": "preread_buffer_size",
    "preread_timeout_ms": "preread_timeout",
}
_MAIN_FIELDS = {
    "worker_processes": "worker_processes",
    "worker_rlimit_nofile": "worker_rlimit_nofile",
    "worker_shutdown_timeout_ms": "worker_shutdown_timeout",
    "worker_orphan_timeout_ms": "worker_orphan_timeout",
    "daemon": "daemon",
}
_RECV_BUFFER = 256 << 10  # Config's default
_DEFAULT_CONNECTIONS = 512  # Config's default, which the checks need too


def check_whole(reader: Reader) -> None:
    """What no single block can know. Adds to the reader's problems and warnings."""
    main = reader.main
    if reader.syntax_error:
        return
    if "events" not in main.values and not reader.problems:
        reader.problems.append(Problem('no "events" section in configuration'))
    for name, node in reader.unknown:
        if name not in reader.variables:
            reader.refuse(f'unknown "{shown(name)}" variable', node, did_you_mean(name, reader.variables))
    missing = [name for name in reader.limits_used if name not in reader.limit_zones]
    reader.problems += [Problem(f'zero size shared memory zone "{name}"') for name in missing]
    reader.listeners.check_overlap(main.status_listen)
    acme.check(reader)
    table_resolver.check(reader)
    tls.check(reader)
    tls_upstream.check(reader)
    table_check_types.finish(reader)
    table_check.memory(reader)
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
    listeners = tuple(_listener(draft, servers) for draft in reader.listeners.drafts.values())
    return Config(
        path=reader.path,
        prefix=reader.prefix,
        files=tuple(reader.files),
        process=table_process.build(reader),
        worker_connections=_connections(main),
        debug_clients=_debug_clients(main),
        pid=values.get("pid", reader.full_name("logs/lb.pid")),
        user=user,
        group=group,
        error_log_given=bool(main.error_logs),
        error_logs=tuple(main.error_logs) or (ErrorLog(reader.full_name("logs/error.log")),),
        upstreams=tuple(_upstream(draft) for draft in reader.upstreams.drafts),
        listeners=listeners,
        log_paths=tuple(sorted(reader.log_paths - {"stderr"})),
        syslogs=tuple(reader.syslogs.items()),
        temp_paths=tuple(sorted(reader.temp_paths)),
        uses_stderr="stderr" in reader.log_paths or any(log.path == "stderr" for log in main.error_logs),
        variables=tuple(reader.variables),
        maps=tuple(reader.maps),
        tls=tuple(reader.tls),
        tls_up=tuple(reader.tls_up),
        tls_users=tls.users(reader),
        acme=acme.issuers(reader),
        check_memory=table_check.memory(reader),
        http2_recv_buffer_size=_recv_buffer(main),
        limit_zones=tuple(zone for zone, _ in reader.limit_zones.values()),
        transparent=reader.transparent,
        passwords=reader.passwords,
        status_listen=tuple(address for address, _ in main.status_listen),
        status_hosts=tuple(main.status_hosts),
        warnings=tuple(reader.warnings),
        **_given(main, _MAIN_FIELDS),
    )


def _recv_buffer(main: Scope) -> int:
    http = main.values.get("http")
    return http.values.get("http2_recv_buffer_size", _RECV_BUFFER) if http else _RECV_BUFFER


def _connections(main: Scope) -> int:
    events = main.values.get("events")
    return events.values.get("worker_connections", _DEFAULT_CONNECTIONS) if events else _DEFAULT_CONNECTIONS


def _debug_clients(main: Scope) -> tuple[Network, ...]:
    events = main.values.get("events")
    return tuple(events.values.get("debug_connection", ())) if events else ()


def _upstream(draft: UpstreamScope) -> Upstream:
    return Upstream(
        kind=draft.kind,
        name=draft.name,
        servers=tuple(draft.servers),
        balancer=draft.balancer or "round_robin",
        hash_key=draft.hash_key,
        hash_consistent=draft.hash_consistent,
        random_two=draft.random_two,
        least_time=draft.least_time,
        least_time_inflight=draft.least_time_inflight,
        keepalive_local=draft.values.get("keepalive_local", True),
        upsync=draft.upsync,
        check=table_check.complete(draft),
        implicit=not draft.defined,
        where=draft.node.where if draft.node else "",
        **(_given_here(draft) if draft.kind == "http" else {"keepalive": 0}),  # TCP connections are never shared
    )


def _given_here(draft: UpstreamScope) -> dict[str, Any]:
    """An upstream inherits nothing: keepalive_timeout of http{} is that of clients."""
    return {field: draft.values[name] for field, name in _UPSTREAM_FIELDS.items() if name in draft.values}


def _http_servers(reader: Reader) -> dict[int, HttpServer]:
    """The servers of http{}, by id of their scope: several listeners share one object."""
    http = reader.main.values.get("http")
    return {id(scope): _http_server(scope) for scope in http.servers} if http else {}


def _http_server(scope: HttpServerScope) -> HttpServer:
    return HttpServer(
        names=tuple(scope.names) or ("",),
        locations=tuple(_location(inner) for inner in scope.locations),
        handler=scope.content or StaticFiles(),
        settings=_settings(scope),
        where=scope.node.where if scope.node else "",
        regexes=tuple(scope.regexes),
        ops=_ops(scope.ops),
        tls=scope.tls,
        merge_slashes=scope.inherited("merge_slashes", True),
        try_files=scope.values.get("try_files"),
    )


def _location(scope: LocationScope) -> Location:
    handler, settings = _handler(scope), _settings(scope)
    if isinstance(handler, ProxyPass):
        scope.reader.temp_paths |= {settings.client_body_temp.directory, settings.proxy_temp.directory}
    return Location(
        match=scope.match,
        pattern=scope.pattern,
        handler=handler,
        settings=settings,
        where=scope.node.where if scope.node else "",
        regex=scope.regex,
        locations=tuple(_location(inner) for inner in scope.locations),
        ops=_ops(scope.ops) if scope.context != "if" else (),  # those of an if{} run where the if{} stands
        internal=scope.internal,
        except_methods=scope.except_methods,
        except_location=_location(scope.except_scope) if scope.except_scope else None,
        try_files=scope.values.get("try_files"),  # not inherited
    )


def _handler(scope: LocationScope) -> Handler:
    """An implicit location (if, limit_except) does what the one around it does, unless it says otherwise."""
    if scope.content is None and scope.match == "none" and isinstance(scope.parent, LocationScope):
        return _handler(scope.parent)
    if isinstance(scope.content, ProxyPass) and id(scope) in scope.reader.tls_at:
        return replace(scope.content, tls=scope.reader.tls_at[id(scope)])
    return scope.content or StaticFiles()


def _ops(drafts: list[OpDraft]) -> tuple[Op, ...]:
    return tuple(_if(draft) if isinstance(draft, IfDraft) else draft for draft in drafts)


def _if(draft: IfDraft) -> If:
    location = _location(draft.scope) if isinstance(draft.scope, LocationScope) else None
    return If(draft.condition, _ops(draft.scope.ops), location)


def _settings(scope: Scope) -> HttpSettings:
    headers = tuple(scope.inherited("proxy_set_header", ()))
    return HttpSettings(
        set_headers=headers,
        access_logs=_access_logs(scope),
        error_logs=_error_logs(scope),
        access=tuple(scope.inherited("access", ())),
        realip=realip(scope),
        auth=auth(scope),
        limits=tuple(scope.inherited("limit_req", ())),
        header_filter=header_filter(scope),
        gzip=gzip_settings(scope),
        keepalive_header_s=scope.inherited("keepalive_header", 0),
        early_hints=scope.inherited("early_hints", ()),
        proxy_bind=scope.inherited("proxy_bind", None),
        proxy_ignore_headers=scope.inherited("proxy_ignore_headers", ()),
        client_body_temp=_temp(scope, "client_body_temp"),
        proxy_temp=_temp(scope, "proxy_temp"),
        error_pages=tuple(scope.inherited("error_page", ())),
        files=files(scope),
        **_given(scope, _HTTP_FIELDS),
    )


def _temp(scope: Scope, name: str) -> TempPath:
    default = TempPath(scope.reader.full_name(name))
    found: TempPath = scope.inherited(f"{name}_path", default)
    return found


def _given(scope: Scope, fields: dict[str, str]) -> dict[str, Any]:
    """What the files set, on this level or around it, by field of the model: the model knows the defaults."""
    found = dict(scope.values)
    level = scope.parent
    while level is not None:  # once for all fields: few of them are set anywhere, and there are many locations
        found = level.values | found
        level = level.parent
    return {field: value for field, name in fields.items() if (value := found.get(name)) is not None}


def _access_logs(scope: Scope) -> tuple[AccessLog, ...]:
    """Of the nearest level that says anything; there, `off` beats any file. Without any, http has nginx's default."""
    level: Scope | None = scope
    found: tuple[AccessLog, ...] | None = None
    while level is not None and found is None:
        if "access_log" in level.values:
            found = () if "access_log_off" in level.values else tuple(level.values["access_log"])
        level = level.parent
    if found is None:
        stream = isinstance(scope, StreamServerScope)
        found = () if stream else (AccessLog(scope.reader.full_name("logs/access.log")),)
    scope.reader.log_paths.update(log.path for log in found if log.syslog is None and log.name is None)
    cache = scope.inherited("open_log_file_cache", None)
    return tuple(replace(log, cache=cache) if log.name is not None else log for log in found)


def _error_logs(scope: Scope) -> tuple[ErrorLog, ...]:
    """Of the nearest level inside http{} or stream{}; (): the main ones hold."""
    found: list[ErrorLog] = scope.inherited("error_log", [])
    scope.reader.log_paths.update(log.path for log in found if log.syslog is None)
    return tuple(found)


def _listener(draft: ListenerDraft, servers: dict[int, HttpServer]) -> Listener:
    default = draft.default or (draft.servers[0] if draft.servers else None)
    position = next((i for i, scope in enumerate(draft.servers) if scope is default), 0)
    return Listener(
        address=draft.address,
        text=draft.text,
        backlog=draft.backlog,
        reuseport=draft.reuseport,
        ipv6only=draft.ipv6only,
        sndbuf=draft.sndbuf,
        rcvbuf=draft.rcvbuf,
        so_keepalive=draft.so_keepalive,
        fastopen=draft.fastopen,
        proxy_protocol=draft.proxy_protocol,
        multipath=draft.multipath,
        ssl=draft.ssl,
        http2=draft.http2 or bool(default and default.inherited("http2", False)),
        http=tuple(servers[id(scope)] for scope in draft.servers),
        default_server=position,
        stream=_stream_server(draft.stream) if draft.stream else None,
        where=draft.node.where,
    )


def _stream_server(scope: StreamServerScope) -> StreamServer:
    return StreamServer(
        upstream=scope.upstream,
        target=scope.target,
        text=scope.text,
        show=scope.show,
        sets=tuple(scope.sets),
        where=scope.node.where if scope.node else "",
        access_logs=_access_logs(scope),
        error_logs=_error_logs(scope),
        access=tuple(scope.inherited("access", ())),
        realip=realip(scope),
        proxy_bind=scope.inherited("proxy_bind", None),
        tls=scope.tls,
        proxy_tls=scope.reader.tls_at.get(id(scope), -1),
        proxy_tls_name=_stream_name(scope),
        **_given(scope, _STREAM_FIELDS),
    )


def _stream_name(scope: StreamServerScope) -> Value:
    """proxy_ssl_name, else the host that proxy_pass names."""
    drafts = scope.reader.upstreams.drafts
    host: Value = (drafts[scope.upstream].name,) if scope.upstream >= 0 else ()
    found: Value = scope.inherited("proxy_ssl_name", scope.target or host)
    return found
