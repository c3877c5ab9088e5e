"""A connection for each request, on both sides: what accept, connect and close cost.

From 1.29.7 on nginx keeps connections to servers unless it is told otherwise (`keepalive 0` is an error before): by
what it says to the server.
"""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import Stand

ORDER = 50
CLOSE = "proxy_http_version 1.1; proxy_set_header Connection close;"


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.wrk(proxy, connections=64, headers=("Connection: close",)))


SCENARIO = Scenario(
    name="conn_per_request",
    title="HTTP, a new connection for each request on both sides, 64 at a time",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_http("nginx", upstream=configs.SERVERS, location=CLOSE)),
        "haproxy": Contestant(
            "haproxy",
            configs.haproxy("http", backend=configs.HAPROXY_SERVERS, defaults="http-reuse never\n    option httpclose"),
        ),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=configs.SERVERS + " keepalive 0;")),
    },
    run=run,
    ratios=against(nginx=1.00),
)
