"""A connection for each request, on both sides: what accept, connect and close cost."""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import Stand

ORDER = 50


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.wrk(proxy, connections=64, headers=("Connection: close",)))


SCENARIO = Scenario(
    name="conn_per_request",
    title="HTTP, a new connection for each request on both sides, 64 at a time",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_http("nginx", upstream=configs.SERVERS)),
        "haproxy": Contestant(
            "haproxy",
            configs.haproxy("http", backend=configs.HAPROXY_SERVERS, defaults="http-reuse never\n    option httpclose"),
        ),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=configs.SERVERS + " keepalive 0;")),
    },
    run=run,
    ratios=against(nginx=1.00),
)
