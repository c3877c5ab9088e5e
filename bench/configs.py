"""Configuration texts that scenarios have in common: what each contestant needs to run at all, and tuned alike.

lb reads nginx's configuration: both get the same text, but for the directives that only nginx wants (its temporary
folders, and what it needs to keep connections to backends open, which lb does by itself).
"""

from __future__ import annotations

_NGINX_TEMP = """
    client_body_temp_path @dir@/tmp; proxy_temp_path @dir@/tmp; fastcgi_temp_path @dir@/tmp;
    uwsgi_temp_path @dir@/tmp; scgi_temp_path @dir@/tmp;"""
_MAIN = """daemon off;
worker_processes {workers};
worker_rlimit_nofile 20000;
pid @dir@/{kind}.pid;
error_log @dir@/error.log {level};
events {{ worker_connections 15000; }}
"""
KEEP = 'proxy_http_version 1.1; proxy_set_header Connection "";'
SERVERS = "server 127.0.0.1:@http1@; server 127.0.0.1:@http2@; server 127.0.0.1:@http3@;"


def _main(kind: str, workers: int) -> str:
    return _MAIN.format(kind=kind, workers=workers, level="crit")


def nginx_http(kind: str, *, upstream: str, location: str = "", http: str = "", workers: int = 1, tls: str = "") -> str:
    """nginx or lb, one HTTP server before one upstream `u`."""
    if kind == "nginx":
        http = _NGINX_TEMP + http
    if tls:
        http += " ssl_protocols TLSv1.2 TLSv1.3;"  # nginx 1.22 has no 1.3 by default
        http += f" ssl_certificate @certificate-{tls}@/cert.pem; ssl_certificate_key @certificate-{tls}@/key.pem;"
    return (
        _main(kind, workers)
        + f"""
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;{http}
    upstream u {{ {upstream} }}
    server {{
        listen 127.0.0.1:@port@ backlog=4096{" ssl" if tls else ""};
        location / {{
            proxy_pass http://u;
            {location}
        }}
    }}
}}
"""
    )


def nginx_stream(kind: str, *, server: str, workers: int = 1) -> str:
    """nginx or lb, one TCP server before one backend."""
    return (
        _main(kind, workers)
        + f"""
stream {{
    upstream u {{ server {server}; }}
    server {{ listen 127.0.0.1:@port@ backlog=4096; proxy_pass u; proxy_timeout 600s; }}
}}
"""
    )


def haproxy(
    mode: str,
    *,
    backend: str,
    defaults: str = "",
    threads: int = 1,
    maxconn: int = 2000,
    top: str = "",
    tls: str = "",
    bind: str = "",
) -> str:
    """HAProxy, one frontend before one backend `u`."""
    return f"""
global
    nbthread {threads}
    maxconn {maxconn}
    {top}
defaults
    mode {mode}
    timeout connect 10s
    timeout client 600s
    timeout server 600s
    {defaults}
frontend f
    bind 127.0.0.1:@port@ backlog 4096{f" ssl crt @certificate-{tls}@/both.pem" if tls else ""}{bind}
    default_backend u
backend u
    {backend}
"""


HAPROXY_SERVERS = "\n    ".join(f"server s{n} 127.0.0.1:@http{n}@" for n in (1, 2, 3))
