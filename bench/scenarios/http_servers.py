"""What the length of a server list costs: 3, 1,000 and 10,000 servers, weighted round robin, no pooled connections.

Without pools, so that only the choice differs: 10,000 servers cannot all have an idle connection.  The servers are
addresses of 127/8 at one backend.  HAProxy gets 4,000 at most (its own limit for weights in round robin is 4,095).
"""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.stand import Stand

ORDER = 60


def addresses(count: int) -> list[str]:
    """Distinct loopback addresses, all of one backend."""
    return [f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:@http1@" for n in range(count)]


def nginx(kind: str, count: int) -> str:
    servers = "\n        ".join(f"server {address} weight={1 + n % 3};" for n, address in enumerate(addresses(count)))
    return configs.nginx_http(kind, upstream=servers + (" keepalive 0;" if kind == "lb" else ""))


def haproxy(count: int) -> str:
    servers = [f"server s{n} {address} weight {1 + n % 3}" for n, address in enumerate(addresses(count))]
    return configs.haproxy(
        "http",
        backend="\n    ".join(["balance roundrobin", *servers]),
        defaults="http-reuse never\n    option http-server-close",
    )


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.wrk(proxy, connections=64))


SCENARIO = Scenario(
    name="http_servers",
    title="HTTP, a list of 3, 1,000 and 10,000 servers, a connection to the backend for each request",
    contestants={
        **{f"nginx {n:,}": Contestant("nginx", nginx("nginx", n)) for n in (3, 1000, 10000)},
        **{f"haproxy {n:,}": Contestant("haproxy", haproxy(n)) for n in (3, 1000, 4000)},
        **{f"lb {n:,}": Contestant("lb", nginx("lb", n)) for n in (3, 1000, 10000)},
    },
    run=run,
    ratios=(
        Ratio("nginx 10,000", "nginx 3"),
        Ratio("haproxy 4,000", "haproxy 3"),
        Ratio("lb 10,000", "lb 3", 1.10),
        Ratio("lb 3", "nginx 3"),
        Ratio("lb 10,000", "nginx 10,000"),
    ),
)
