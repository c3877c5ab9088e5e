"""HTTP with a body of 1 MiB and Content-Length, keep-alive on both sides, 8 clients.

nginx may not write the body to a temporary file: that would measure its disk, and no one would want it here.
"""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import Stand

ORDER = 30
UPSTREAM = configs.SERVERS + " keepalive 64;"


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.wrk(proxy, connections=8, path="/1m"))


SCENARIO = Scenario(
    name="http_1m",
    title="HTTP, 1 MiB body, 8 keep-alive connections",
    contestants={
        "nginx": Contestant(
            "nginx",
            configs.nginx_http("nginx", upstream=UPSTREAM, location=configs.KEEP + " proxy_max_temp_file_size 0;"),
        ),
        "haproxy": Contestant(
            "haproxy",
            configs.haproxy("http", backend=configs.HAPROXY_SERVERS, defaults="http-reuse always"),
        ),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=UPSTREAM, location=configs.KEEP)),
    },
    run=run,
    ratios=against(nginx=0.45),
)
