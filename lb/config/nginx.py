"""Directives and parameters that nginx knows and lb does not (yet), and what to do about each: the hint of a refusal.

crossplane's table of nginx's directives tells which they are; `_NEW` has those of later versions, to 1.31;
`_REASONS`, `_PARTS` and `_PARAMETERS` say why.
"""

from __future__ import annotations

from crossplane.analyzer import DIRECTIVES

_REASONS = {
    "use": "lb always uses epoll: leave it out",
    "master_process": "lb always runs a master and workers: leave it out",
    "autoindex": "lb lists no directories: leave it out",
    "pass": "it hands a connection to another server{}, which lb cannot do yet: proxy_pass to that server's address",
    "ssl_certificate_compression": "lb sends certificates as they are (RFC 8879 needs OpenSSL 3.2): leave it out",
    "ssl_key_log": "lb writes keys of its clients nowhere: leave it out",
    "num_map": "a directive of nginx's commercial version",
    "auth_require": "a directive of nginx's commercial version",
    "internal_redirect": "a directive of nginx's commercial version",
    "proxy_allow_upstream": "a directive of nginx's commercial version",
    "proxy_bind_dynamic": "a directive of nginx's commercial version; proxy_bind is worked out once for a request",
    "proxy_request_dynamic": "a directive of nginx's commercial version",
}
_PARTS = {  # by the beginning of their names
    "resolver": "lb asks the system's resolver when the file is read, and by upsync while it runs; no others yet, as "
    "names that variables make would need: name upstreams, and leave it out",
    "ssl_ocsp": "lb does not ask for the OCSP status of clients' certificates yet: ssl_crl is there",
    "ssl_": "lb does not have it yet",
    "tunnel_": "lb is no forward proxy: it answers CONNECT with 405, whoever may ask for whatever address",
    "fastcgi_": "lb speaks HTTP/1.1 with servers, FastCGI not yet",
    "uwsgi_": "lb speaks HTTP/1.1 with servers, uwsgi not yet",
    "scgi_": "lb speaks HTTP/1.1 with servers, not SCGI",
    "grpc_": "lb speaks HTTP/1.1 with servers, HTTP/2 not yet",
    "memcached_": "lb speaks HTTP/1.1 with servers, not memcached's protocol",
    "proxy_cache": "lb has no cache yet",
    "http3": "lb speaks no QUIC",
    "quic_": "lb speaks no QUIC",
    "perl": "lb runs no Perl",
    "js_": "lb runs no njs",
    "auth_jwt": "a directive of nginx's commercial version",
    "health_check": "a directive of nginx's commercial version: `check` in `upstream` asks servers, doc/checks.md",
}
_LATER = "a directive of nginx that lb does not have yet"
_PARAMETERS = {
    ("server", "resolve"): "names are looked up when the file is read, and by upsync while lb runs",
    ("server", "service"): "names are looked up when the file is read; SRV records not yet",
    ("sticky", "sync"): "machines share no sessions: `cookie` and `route` need none, every machine knows them",
    ("listen", "spdy"): "nginx has none any more either",
    ("listen", "quic"): "lb speaks no QUIC",
    ("listen", "udp"): "UDP is not there yet",
    ("listen", "deferred"): "lb accepts at once and counts who is silent: leave it out",
    ("listen", "setfib"): "Linux has no such option: leave it out",
    ("listen", "accept_filter"): "Linux has no such option: leave it out",
}
_NEW = {  # those that crossplane's table does not have
    "auth_delay",
    "acme_issuer",
    "acme_certificate",
    "acme_shared_zone",
    "add_header_inherit",
    "add_trailer_inherit",
    "least_time",
    "proxy_socket_rcvbuf",
    "proxy_socket_sndbuf",
    "proxy_allow_upstream",
    "proxy_bind_dynamic",
    "proxy_request_dynamic",
    "ssl_alpn",
    "ssl_conf_command",
    "ssl_certificate_cache",
    "ssl_certificate_compression",
    "ssl_ech_file",
    "ssl_key_log",
    "ssl_object_cache_inheritable",
    "proxy_ssl_certificate_cache",
    "proxy_ssl_alpn",
    "proxy_ssl_conf_command",
    "proxy_ssl_key_log",
    "tunnel_allow_upstream",
    "tunnel_bind",
    "tunnel_bind_dynamic",
    "tunnel_buffer_size",
    "tunnel_connect_timeout",
    "tunnel_next_upstream",
    "tunnel_next_upstream_timeout",
    "tunnel_next_upstream_tries",
    "tunnel_pass",
    "tunnel_read_timeout",
    "tunnel_send_lowat",
    "tunnel_send_timeout",
    "tunnel_socket_keepalive",
    "tunnel_socket_rcvbuf",
    "tunnel_socket_sndbuf",
    "fastcgi_socket_rcvbuf",
    "fastcgi_socket_sndbuf",
    "grpc_socket_rcvbuf",
    "grpc_socket_sndbuf",
    "memcached_socket_rcvbuf",
    "memcached_socket_sndbuf",
    "scgi_socket_rcvbuf",
    "scgi_socket_sndbuf",
    "uwsgi_socket_rcvbuf",
    "uwsgi_socket_sndbuf",
    "num_map",
    "auth_require",
    "internal_redirect",
    "http3",
    "http3_hq",
    "http3_max_concurrent_streams",
    "http3_stream_buffer_size",
    "quic_active_connection_id_limit",
    "quic_bpf",
    "quic_gso",
    "quic_host_key",
    "quic_retry",
    "resolver",
    "resolver_timeout",
    "proxy_cookie_flags",
    "early_hints",
    "proxy_pass_trailers",
    "http2",
    "http2_pool_size",
    "keepalive_time",
    "keepalive_min_timeout",
    "proxy_socket_keepalive",
    "ssl_reject_handshake",
    "max_headers",
    "pass",
    "proxy_half_close",
}


def reason(name: str) -> str:
    """Why lb refuses a directive of nginx; "" for a name that nginx does not know either."""
    if name in _REASONS:
        return f'"{name}": {_REASONS[name]}'
    if name not in DIRECTIVES and name not in _NEW:
        return ""
    why = next((text for part, text in _PARTS.items() if name.startswith(part)), _LATER)
    return f'"{name}": {why}'


def parameter_reason(directive: str, word: str) -> str:
    """Why lb refuses `word` as a parameter of a directive that it has; "" for one that nginx does not know either."""
    key = word.partition("=")[0]
    why = _PARAMETERS.get((directive, key), "")
    return f'"{key}" of "{directive}": {why}' if why else ""
