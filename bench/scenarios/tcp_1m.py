"""TCP in bulk: 8 connections, each sends 128 bytes and gets 1 MiB back, and so on."""

from __future__ import annotations

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Ratio, Result, Scenario, against
from bench.stand import Stand

ORDER = 40
SERVER = "127.0.0.1:@tcp_1m@"


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.drive(proxy, "--request=128", f"--response={1 << 20}", connections=8))


SCENARIO = Scenario(
    name="tcp_1m",
    title="TCP, 1 MiB for 128 bytes, 8 connections (HAProxy with splice)",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_stream("nginx", server=SERVER)),
        "haproxy": Contestant(
            "haproxy", configs.haproxy("tcp", backend=f"server s1 {SERVER}", defaults="option splice-auto")
        ),
        "lb": Contestant("lb", configs.nginx_stream("lb", server=SERVER)),
        "floor": Contestant("floor", "@port@ @tcp_1m@ 256"),
    },
    run=run,
    unit="CPU us/MiB",
    tool="bench/load.c (closed loop)",
    ratios=(*against(nginx=0.55, haproxy=0.80), Ratio("lb", "floor")),
)
