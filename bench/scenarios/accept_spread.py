"""How 1,000 long connections, opened one after the other, spread over 4 workers: the busiest by the idlest.

An idle machine is the hard case: an epoll on a shared queue wakes the last sleeper first, and one worker takes all.
HAProxy is left out: its threads are one process, and it deals connections out to them by itself.
"""

from __future__ import annotations

import socket
import time

import psutil

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.scenarios.idle_memory import open_connections
from bench.stand import Stand

ORDER = 90
CONNECTIONS, WORKERS = 1000, 4
UPSTREAM = configs.SERVERS + " keepalive 64;"


def clients_of(pid: int, port: int) -> int:
    """Established connections of a worker on the proxy's port."""
    found = psutil.Process(pid).net_connections(kind="tcp")
    return sum(1 for item in found if item.status == psutil.CONN_ESTABLISHED and item.laddr.port == port)


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    sockets: list[socket.socket] = []
    try:
        for _ in range(CONNECTIONS):
            sockets += open_connections(proxy.port, 1)
            time.sleep(0.0005)
        counts = sorted(clients_of(pid, proxy.port) for pid in proxy.pids())
    finally:
        for sock in sockets:
            sock.close()
    return Result(counts[-1] / max(counts[0], 1), errors=CONNECTIONS - sum(counts), extra={"by_worker": counts})


SCENARIO = Scenario(
    name="accept_spread",
    title=f"{CONNECTIONS:,} long connections over {WORKERS} workers: busiest by idlest",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_http("nginx", upstream=UPSTREAM, workers=WORKERS)),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=UPSTREAM, workers=WORKERS)),
    },
    run=run,
    unit="busiest/idlest",
    tool="Python sockets",
    ratios=(Ratio("lb", "nginx"),),
    limit=1.3,
    workers=WORKERS,
    pinned=False,
    fresh=True,
    most_rounds=5,
)
