"""5,000 servers in Consul and a change each second: the tail of the latency against the same list when it is quiet.

Open loop at a modest rate (bench/load.c), so that nothing hides a stall.  Every address is the same backend.  Consul
stands for another machine: it and whoever makes the changes get what load and backend, which are SCHED_FIFO, leave of
their core.  (SCHED_IDLE for Consul alone is not enough: once begun it keeps the core for up to a tick, 4 ms.)  lb's own
threads are as lb makes them.  What Consul costs all the same (it sends the whole list, 0.9 MB, for each change) shows
in "lb beside": the changes go to another directory, which somebody else reads, and lb's own list stays.  Needs root.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time

import requests

from bench import configs
from bench.machine import LOAD_CORE
from bench.proxies import Proxy
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.stand import Stand

ORDER = 115
SERVERS = 5000
RATE = 2000  # requests a second
EACH = 1.0  # seconds between changes
BATCH = 64  # operations of one transaction
SETTLE = 2  # seconds after a start, for the list
OURS, OTHER = "upstreams", "beside"  # directories of the same list


def contestant(variant: str) -> Contestant:
    options = "upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=on"
    upsync = f"upsync 127.0.0.1:@consul@/v1/kv/upstreams/churn {options}; upsync_dump_path @dir@/churn.conf;"
    text = configs.nginx_http("lb", upstream=f"server 127.0.0.1:9; {upsync} keepalive 256;", location=configs.KEEP)
    return Contestant("lb", text, variant)


def fill(stand: Stand, port: int) -> None:
    """Once: the lists, by transactions."""
    if "churn.filled" in stand.memory:
        return
    stand.consul_client()
    value = base64.b64encode(b'{"weight":1, "max_fails":2, "fail_timeout":10}').decode()
    names = [f"churn/127.1.{n // 250}.{1 + n % 250}:{port}" for n in range(SERVERS)]
    keys = [f"{directory}/{name}" for directory in (OURS, OTHER) for name in names]
    for first in range(0, len(keys), BATCH):
        body = [{"KV": {"Verb": "set", "Key": key, "Value": value}} for key in keys[first : first + BATCH]]
        url = f"http://127.0.0.1:{stand.ports['consul']}/v1/txn"
        requests.put(url, data=json.dumps(body), timeout=30).raise_for_status()
    stand.consul_aside()
    stand.memory["churn.filled"] = True


def step_aside() -> None:
    """This thread takes only what the load leaves of its core."""
    os.sched_setaffinity(0, {LOAD_CORE})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def change(stand: Stand, directory: str, port: int, over: threading.Event, counts: list[int]) -> None:
    """A server comes, goes, comes, until `over`."""
    step_aside()
    client = stand.consul_client()
    while not over.wait(EACH):
        key = f"{directory}/churn/127.2.0.{1 + counts[0] // 2 % 200}:{port}"
        if counts[0] % 2:
            client.kv.delete(key)
        else:
            client.kv.put(key, '{"weight":1}')
        counts[0] += 1


def read_along(stand: Stand, over: threading.Event) -> None:
    """Take what Consul sends for each change of OTHER, until `over`."""
    step_aside()
    index = "0"
    with requests.Session() as session:
        while not over.is_set():
            url = f"http://127.0.0.1:{stand.ports['consul']}/v1/kv/{OTHER}/?recurse=1&index={index}&wait=2s"
            with session.get(url, stream=True, timeout=30) as answer:
                index = answer.headers["X-Consul-Index"]
                for _ in answer.iter_content(1 << 16):
                    pass


def run(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    port = stand.ports["http1"]
    fill(stand, port)
    time.sleep(SETTLE)
    over, counts = threading.Event(), [0]
    threads = []
    if contestant.variant != "quiet":
        directory = OURS if contestant.variant == "changing" else OTHER
        threads.append(threading.Thread(target=change, args=(stand, directory, port, over, counts)))
    if contestant.variant == "beside":
        threads.append(threading.Thread(target=read_along, args=(stand, over)))
    for thread in threads:
        thread.start()
    try:
        seconds = max(stand.seconds, 10)
        with stand.load_first():
            load = stand.drive(proxy, "--http=/", f"--rate={RATE}", connections=64, seconds=seconds, warm=1)
    finally:
        over.set()
        for thread in threads:
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
    contestants={f"lb {variant}": contestant(variant) for variant in ("quiet", "beside", "changing")},
    run=run,
    unit="p99 us",
    tool="bench/load.c (open loop)",
    ratios=(Ratio("lb changing", "lb quiet", 1.2), Ratio("lb beside", "lb quiet"), Ratio("lb changing", "lb beside")),
    fresh=True,
    most_rounds=5,
)
