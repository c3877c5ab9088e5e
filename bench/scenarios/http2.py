"""HTTP/2 in clear text from clients, HTTP/1.1 to three backends: 8 connections with 8 streams each, and 32 with one."""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import Stand

ORDER = 12
UPSTREAM = configs.SERVERS + " keepalive 64;"


def _scenario(connections: int, streams: int, nginx: float, haproxy: float) -> Scenario:
    def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
        return stand.measure(proxy, lambda: stand.h2load(proxy, connections=connections, streams=streams))

    def like_nginx(kind: str) -> Contestant:
        return Contestant(
            kind, configs.nginx_http(kind, upstream=UPSTREAM, location=configs.KEEP, http=" http2 on;")
        )  # nginx 1.25 or later

    return Scenario(
        name=f"http2_{connections}x{streams}",
        title=f"HTTP/2 to HTTP/1.1, {connections} connections with {streams} streams, 128-byte body",
        contestants={
            "nginx": like_nginx("nginx"),
            "haproxy": Contestant(
                "haproxy",
                configs.haproxy(
                    "http", backend=configs.HAPROXY_SERVERS, defaults="http-reuse always", bind=" proto h2"
                ),
            ),
            "lb": like_nginx("lb"),
        },
        run=run,
        tool="h2load (closed loop)",
        ratios=against(nginx=nginx, haproxy=haproxy),
    )


SCENARIOS = (_scenario(8, 8, 0.55, 0.75), _scenario(32, 1, 0.85, 0.85))
