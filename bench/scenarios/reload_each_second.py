"""64 keep-alive clients while the proxy is reloaded each second: failed requests a reload.

HAProxy runs as master and worker here, as it must to be reloaded.  The quiet throughput is taken just before, with the
same client, so that the loss shows in the column `extra.share` of the JSON.
"""

from __future__ import annotations

import threading

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario
from bench.stand import Stand

ORDER = 100
RELOADS = 10
UPSTREAM = configs.SERVERS + " keepalive 64;"


def reload_each_second(proxy: Proxy, over: threading.Event) -> None:
    for _ in range(RELOADS):
        if over.wait(1.0):
            return
        proxy.reload()


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    quiet = stand.wrk(proxy, connections=64)
    over = threading.Event()
    reloader = threading.Thread(target=reload_each_second, args=(proxy, over))
    reloader.start()
    try:
        load = stand.wrk(proxy, connections=64, seconds=RELOADS + 1)
    finally:
        over.set()
        reloader.join()
    share = load.per_second / quiet.per_second
    extra = {"failed": load.errors, "reloads": RELOADS, "quiet_per_second": quiet.per_second, "share": share}
    return Result(load.errors / RELOADS, None, None, load.per_second, load.p50_us, load.p99_us, load.errors, extra)


SCENARIO = Scenario(
    name="reload_each_second",
    title="a reload each second under 64 keep-alive clients",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_http("nginx", upstream=UPSTREAM, location=configs.KEEP)),
        "haproxy": Contestant("haproxy", configs.haproxy("http", backend=configs.HAPROXY_SERVERS, top="master-worker")),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=UPSTREAM, location=configs.KEEP)),
    },
    run=run,
    unit="failed/reload",
    limit=0,
    fresh=True,
    most_rounds=2,
)
