"""Latency against offered load, open loop: requests come when they come, whether or not the proxy keeps up.

wrk waits for an answer before it asks again, and so hides the tail; bench/load.c counts from the moment a request was
due.  The rates are shares of what the first contestant can do at most in closed loop, found once; the client shares its
core with the backend, which is `load serve` here, and costs more per request in open loop: hence no shares near 1.
"""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import Stand

ORDER = 130
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
COMPARED = 0.4
UPSTREAM = "server 127.0.0.1:@http_light@; keepalive 256;"


def capacity(proxy: Proxy, stand: Stand) -> float:
    """Requests a second in closed loop, of whoever is asked first: the scale for all."""
    if "latency.capacity" not in stand.memory:
        tries = [stand.drive(proxy, "--http=/", connections=64, seconds=1, warm=0.3) for _ in range(3)]
        stand.memory["latency.capacity"] = max(load.per_second for load in tries)
    return float(stand.memory["latency.capacity"])  # type: ignore[arg-type]


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    most = capacity(proxy, stand)
    series = {}
    for share in SHARES:
        load = stand.drive(proxy, "--http=/", f"--rate={most * share:.0f}", connections=256, warm=0.3)
        series[str(share)] = {"rate": most * share, **load.detail}
        if share == COMPARED:
            compared = load
    return Result(
        compared.p99_us,
        per_second=compared.per_second,
        p50_us=compared.p50_us,
        p99_us=compared.p99_us,
        errors=compared.errors,
        extra={"series": series},
    )


SCENARIO = Scenario(
    name="latency",
    title=f"latency at {COMPARED:.0%} of the capacity (others: picture and JSON), Poisson arrivals",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_http("nginx", upstream=UPSTREAM, location=configs.KEEP)),
        "haproxy": Contestant(
            "haproxy",
            configs.haproxy("http", backend="server s1 127.0.0.1:@http_light@", defaults="http-reuse always"),
        ),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=UPSTREAM, location=configs.KEEP)),
    },
    run=run,
    unit="p99 us",
    tool="bench/load.c (open loop)",
    ratios=against(),
    most_rounds=3,
)
