"""The plain case: HTTP, keep-alive on both sides, 64 clients, a body of 128 bytes, three backends."""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import Stand

ORDER = 10
UPSTREAM = configs.SERVERS + " keepalive 64;"


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.wrk(proxy, connections=64))


SCENARIO = Scenario(
    name="http_keepalive",
    title="HTTP, keep-alive on both sides, 64 connections, 128-byte body",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_http("nginx", upstream=UPSTREAM, location=configs.KEEP)),
        "haproxy": Contestant(
            "haproxy",
            configs.haproxy("http", backend=configs.HAPROXY_SERVERS, defaults="http-reuse always"),
        ),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=UPSTREAM, location=configs.KEEP)),
    },
    run=run,
    ratios=against(nginx=0.90),
)
