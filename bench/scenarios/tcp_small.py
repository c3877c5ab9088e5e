"""TCP relay: 64 connections, each sends 128 bytes, gets 128 back, and sends again."""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Ratio, Result, Scenario, against
from bench.stand import Stand

ORDER = 20
SERVER = "127.0.0.1:@tcp_small@"


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.drive(proxy, "--request=128", "--response=128", connections=64))


SCENARIO = Scenario(
    name="tcp_small",
    title="TCP, 64 connections, 128 bytes each way",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_stream("nginx", server=SERVER)),
        "haproxy": Contestant("haproxy", configs.haproxy("tcp", backend=f"server s1 {SERVER}")),
        "lb": Contestant("lb", configs.nginx_stream("lb", server=SERVER)),
        "floor": Contestant("floor", "@port@ @tcp_small@ 256"),
    },
    run=run,
    unit="CPU us/exchange",
    tool="bench/load.c (closed loop)",
    ratios=(*against(nginx=1.00), Ratio("lb", "floor")),
)
