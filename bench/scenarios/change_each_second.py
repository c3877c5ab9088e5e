"""Servers that come and go through Consul, ten changes a second, under 64 keep-alive clients: lb against itself, quiet.

What is compared is how many requests the worker does in a second of its own CPU time, with its pullers.  Client,
backends and Consul share the other core: requests a second of wall time would measure them.  p99 is in the table.
"""

from __future__ import annotations

import threading

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.stand import Stand

ORDER = 110
EACH = 0.1  # seconds between changes
REAL = [f"127.0.0.1:@http{n}@" for n in (1, 2, 3)]


def upstream(name: str) -> str:
    options = "upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=off"
    path = f"127.0.0.1:@consul@/v1/kv/upstreams/{name}"
    return f"{configs.SERVERS} upsync {path} {options}; upsync_dump_path @dir@/dump.conf; keepalive 64;"


def contestant(variant: str) -> Contestant:
    text = configs.nginx_http("lb", upstream=upstream(variant), location=configs.KEEP)
    return Contestant("lb", text, variant)


def change(stand: Stand, name: str, over: threading.Event) -> int:
    """Add a server, remove it again, and so on, until `over`: the number of changes."""
    count = 0
    client = stand.consul_client()
    port = stand.ports["http1"]
    while not over.wait(EACH):
        key = f"upstreams/{name}/127.0.9.{1 + count // 2 % 200}:{port}"
        if count % 2:
            client.kv.delete(key)
        else:
            client.kv.put(key, '{"weight":1}')
        count += 1
    return count


def run(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    client = stand.consul_client()
    for server in REAL:
        client.kv.put(f"upstreams/{contestant.variant}/{stand.fill(server)}", '{"weight":1}')
    stand.wrk(proxy, connections=64, seconds=1)  # the list has come, connections are open
    over, counts = threading.Event(), [0]

    def changer() -> None:
        counts[0] = change(stand, contestant.variant, over)

    thread = threading.Thread(target=changer)
    if contestant.variant == "changing":
        thread.start()
    try:
        result = stand.measure(proxy, lambda: stand.wrk(proxy, connections=64, seconds=max(stand.seconds, 5)))
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
    result.extra["changes"] = counts[0]
    result.extra["cpu_us_per_request"] = result.value
    result.value = 1e6 / result.value
    return result


SCENARIO = Scenario(
    name="change_each_second",
    title="ten changes of servers a second through Consul",
    contestants={"lb quiet": contestant("quiet"), "lb changing": contestant("changing")},
    run=run,
    unit="requests/CPU s",
    ratios=(Ratio("lb changing", "lb quiet", 0.995),),
    better="higher",
)
