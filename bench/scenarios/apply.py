"""10,000 servers in Consul, one of them comes or goes: CPU time of a worker for one change, nothing else running.

From Consul's answer (1.8 MB) to the list in use, all threads of the worker: receiving, reading JSON, what changed, the
table, for `hash ... consistent` its ring of 1.6 million points, the loop's swap.
"""

from __future__ import annotations

import base64
import json
import time

import requests

from bench import configs
from bench.proxies import Proxy, wait_for
from bench.scenario import Contestant, Result, Scenario
from bench.stand import Stand

ORDER = 112
SERVERS = 10_000
CHANGES = 8
EACH = 0.6  # seconds between changes
BATCH = 64  # operations of one transaction
VALUE = b'{"weight":1, "max_fails":2, "fail_timeout":10}'


def contestant(balancer: str) -> Contestant:
    options = "upsync_timeout=6m upsync_interval=100ms upsync_type=consul strong_dependency=on"
    upsync = f"upsync 127.0.0.1:@consul@/v1/kv/upstreams/apply {options}; upsync_dump_path @dir@/apply.conf;"
    text = configs.nginx_http("lb", upstream=f"server 127.0.0.1:9; {balancer} {upsync} keepalive 256;")
    return Contestant("lb", text.replace("error.log crit", "error.log notice"), balancer)


def fill(stand: Stand) -> None:
    """Once: the list, by transactions."""
    if "apply.filled" in stand.memory:
        return
    stand.consul_client()
    value = base64.b64encode(VALUE).decode()
    keys = [f"upstreams/apply/10.{n // 62500}.{n // 250 % 250}.{1 + n % 250}:8080" for n in range(SERVERS)]
    for first in range(0, SERVERS, BATCH):
        body = [{"KV": {"Verb": "set", "Key": key, "Value": value}} for key in keys[first : first + BATCH]]
        url = f"http://127.0.0.1:{stand.ports['consul']}/v1/txn"
        requests.put(url, data=json.dumps(body), timeout=30).raise_for_status()
    stand.memory["apply.filled"] = True
    time.sleep(3)  # the list has come


def count(proxy: Proxy) -> int:
    """Changes that its worker has applied."""
    return (proxy.directory / "error.log").read_text().count(" servers at index ")


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    fill(stand)
    client = stand.consul_client()
    wait_for(lambda: count(proxy) > 0, "the first list")
    time.sleep(EACH)
    before, applied = proxy.cpu(), count(proxy)
    for number in range(CHANGES):
        key = "upstreams/apply/10.9.9.9:8080"
        if number % 2:
            client.kv.delete(key)
        else:
            client.kv.put(key, '{"weight":1}')
        time.sleep(EACH)
    spent = proxy.cpu().since(before)
    applied = count(proxy) - applied
    if applied != CHANGES:
        raise RuntimeError(f"{applied} of {CHANGES} changes were applied")
    each = spent.total * 1e3 / CHANGES
    return Result(each, user=each * spent.user_share, system=each * (1 - spent.user_share), errors=0)


BALANCERS = {"round robin": "", "least_conn": "least_conn;", "hash": "hash $request_uri;"}
BALANCERS["hash consistent"] = "hash $request_uri consistent;"

SCENARIO = Scenario(
    name="apply",
    title=f"{SERVERS:,} servers in Consul, one comes or goes: CPU time of a worker",
    contestants={f"lb {name}": contestant(balancer) for name, balancer in BALANCERS.items()},
    run=run,
    unit="CPU ms/change",
    tool="Consul",
    fresh=True,
    most_rounds=3,
)
