"""Directives that nginx knows and lb does not (yet), and what to do about each: the hint after `unknown directive`.

crossplane's table of nginx's directives tells which they are; `_REASONS` says more about those that are common.
"""

from __future__ import annotations

from crossplane.analyzer import DIRECTIVES

_REASONS = {
    "use": "lb always uses epoll: leave it out",
    "multi_accept": "lb decides this itself: leave it out",
    "accept_mutex": "lb never takes turns in accepting (EPOLLEXCLUSIVE): leave it out",
    "master_process": "lb always runs a master and workers: leave it out",
    "autoindex": "lb lists no directories: leave it out",
    "load_module": "lb loads no modules, http and stream are built in: leave it out",
}
_NO_TLS = ("ssl_", "proxy_ssl_")
_LATER = "a directive of nginx that lb does not have yet"
_NEW = {
    "proxy_cookie_flags",
    "early_hints",
    "proxy_pass_trailers",
    "http2",
    "keepalive_time",
    "keepalive_min_timeout",
    "proxy_socket_keepalive",
    "ssl_reject_handshake",
    "max_headers",
    "sticky",
    "pass",
    "proxy_half_close",
}


def reason(name: str) -> str:
    """Why lb refuses a directive of nginx; "" for a name that nginx does not know either."""
    if name in _REASONS:
        return f'"{name}": {_REASONS[name]}'
    if name not in DIRECTIVES and name not in _NEW:
        return ""
    if name.startswith(_NO_TLS):
        return f'"{name}": TLS is not there yet'
    return f'"{name}": {_LATER}'
