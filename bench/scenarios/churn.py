"""5,000 servers in Consul and a change each second: the tail of the latency against the same list when it is quiet.

Open loop at a modest rate (bench/load.c), so that nothing hides a stall.  Every address is the same backend.  Consul
shares the core of the load and of the backend, and sends the whole list (0.9 MB) for each change: part of what changes
is theirs.
"""

from __future__ import annotations

import base64
import json
import threading
import time

import requests

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.stand import Stand

ORDER = 115
SERVERS = 5000
RATE = 2000  # requests a second
EACH = 1.0  # seconds between changes
BATCH = 64  # operations of one transaction


def contestant(variant: str) -> Contestant:
    options = "upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=on"
    upsync = f"upsync 127.0.0.1:@consul@/v1/kv/upstreams/churn {options}; upsync_dump_path @dir@/churn.conf;"
    text = configs.nginx_http("lb", upstream=f"server 127.0.0.1:9; {upsync} keepalive 256;", location=configs.KEEP)
    return Contestant("lb", text, variant)


def fill(stand: Stand, port: int) -> None:
    """Once: the list, by transactions."""
    if "churn.filled" in stand.memory:
        return
    stand.consul_client()
    value = base64.b64encode(b'{"weight":1, "max_fails":2, "fail_timeout":10}').decode()
    keys = [f"upstreams/churn/127.1.{n // 250}.{1 + n % 250}:{port}" for n in range(SERVERS)]
    for first in range(0, SERVERS, BATCH):
        body = [{"KV": {"Verb": "set", "Key": key, "Value": value}} for key in keys[first : first + BATCH]]
        url = f"http://127.0.0.1:{stand.ports['consul']}/v1/txn"
        requests.put(url, data=json.dumps(body), timeout=30).raise_for_status()
    stand.memory["churn.filled"] = True
    time.sleep(2)  # the list has come


def change(stand: Stand, port: int, over: threading.Event, counts: list[int]) -> None:
    """A server comes, goes, comes, until `over`."""
    client = stand.consul_client()
    while not over.wait(EACH):
        key = f"upstreams/churn/127.2.0.{1 + counts[0] // 2 % 200}:{port}"
        if counts[0] % 2:
            client.kv.delete(key)
        else:
            client.kv.put(key, '{"weight":1}')
        counts[0] += 1


def run(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    port = stand.ports["http1"]
    fill(stand, port)
    over, counts = threading.Event(), [0]
    thread = threading.Thread(target=change, args=(stand, port, over, counts))
    if contestant.variant == "changing":
        thread.start()
    try:
        seconds = max(stand.seconds, 6)
        load = stand.drive(proxy, "--http=/", f"--rate={RATE}", connections=64, seconds=seconds, warm=1)
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
    return Result(
        load.p99_us,
        per_second=load.per_second,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        errors=load.errors,
        extra={"changes": counts[0], **load.detail},
    )


SCENARIO = Scenario(
    name="churn",
    title=f"{SERVERS} servers in Consul, a change each second",
    contestants={"lb quiet": contestant("quiet"), "lb changing": contestant("changing")},
    run=run,
    unit="p99 us",
    tool="bench/load.c (open loop)",
    ratios=(Ratio("lb changing", "lb quiet", 1.2),),
    most_rounds=3,
)
