"""Everybody misbehaves at once, by seeded plans: split, stall, reset, half-close, answer early, pipeline, abort.

Meanwhile lists change and workers are replaced. Each answer must be right or cleanly broken, no body may be mixed up or
made to look whole, no POST may be sent twice, nothing may hang; the harness then looks for leaks. Longer:

    LB_TORTURE_S=300 LB_TORTURE_SEED=7 pytest tests/test_engine_torture.py
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from signal import SIGHUP

import pytest

from tests.torture_http import Client, Server
from tests.torture_tcp import TcpClient, TcpServer

SECONDS = float(os.environ.get("LB_TORTURE_S", "3"))
SEEDS = [int(seed) for seed in os.environ.get("LB_TORTURE_SEED", "1").split(",")]
HTTP = """
worker_processes 2;
events { worker_connections 4096; }
http {
    access_log access.log;
    upstream u { @servers@ }
    server {
        listen 127.0.0.1:@http@ @listen@;
        client_max_body_size 0;
        @inside@
        location / { proxy_pass http://u; }
        location /stall/ { proxy_pass http://u; proxy_read_timeout 300ms; }
    }
}
"""
STREAM = """
worker_processes 2;
stream {
    upstream u { @servers@ }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; proxy_half_close on; }
}
"""


async def torture(clients, change, pause, until):
    """All clients until the time is up, and `change()` now and then."""

    async def keep_changing():
        while True:
            await asyncio.sleep(random.uniform(*pause))
            await asyncio.to_thread(change)

    changing = asyncio.create_task(keep_changing())
    await asyncio.gather(*(client.run(until) for client in clients))
    changing.cancel()
    await asyncio.gather(changing, return_exceptions=True)


def check(server, clients, good):
    """No party has a complaint, and a third of the exchanges went well: not everything was broken."""
    total = sum((client.outcomes for client in clients), start=Counter())
    print(total, sum(total.values()))
    faults = [fault for party in (server, *clients) for fault in party.faults]
    assert not faults, "\n".join(faults[:10])
    assert total["reset at connect"] <= 3
    assert total[good] > sum(total.values()) // 3


def http_clients(lb, rnd, count=48, **options):
    seeds = [rnd.randrange(1 << 40) for _ in range(200_000)]
    return [Client(lb.port("http"), random.Random(rnd.random()), seeds[n::count], **options) for n in range(count)]


@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("head", "listen", "inside"),
    [
        ("", "", "proxy_request_buffering off;"),  # bodies stream and splice
        ("least_conn;", "sndbuf=16k rcvbuf=16k", "client_body_buffer_size 8k;"),  # they wait, in memory and on disk
        ("hash $request_uri;", "sndbuf=16k rcvbuf=16k", "proxy_request_buffering off; proxy_buffering off;"),
        ("random two;", "sndbuf=16k", "proxy_buffers 4 4k; proxy_max_temp_file_size 100k;"),
    ],
    ids=["stream", "wait", "small", "mixed"],
)
def test_http_while_workers_are_replaced(world, seed, head, listen, inside):
    rnd = random.Random(seed)
    lb = world.new_lb()

    async def run():
        server = Server()
        ports = [await server.listen() for _ in range(3)]
        lines = " ".join(f"server 127.0.0.1:{port} max_fails=0 weight={n};" for n, port in enumerate(ports, 1))
        await asyncio.to_thread(lb.start, HTTP, servers=head + lines, listen=listen, inside=inside)
        clients = http_clients(lb, rnd)
        until = asyncio.get_running_loop().time() + SECONDS
        await torture(clients, lambda: lb.signal(SIGHUP), (0.8, 1.6), until)
        return server, clients

    check(*asyncio.run(run()), "200")


@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("balancer", ["", "least_conn;"], ids=["round_robin", "least_conn"])
def test_http_while_lists_change(world, consul, seed, balancer):
    """Servers come, go, change, fail, and are down or backup for a while: 502 may come of it, nothing worse."""
    rnd = random.Random(seed)
    lb = world.new_lb()
    source = (
        f"server 127.0.0.1:{world.closed_port()}; upsync {consul.path('u')} upsync_type=consul upsync_interval=50ms "
        f"upsync_timeout=1m strong_dependency=on; upsync_dump_path {world.directory}/dump.conf;"
    )

    async def run():
        server = Server()
        ports = [await server.listen() for _ in range(8)]
        for port in ports[:4]:
            consul.put("u", f"127.0.0.1:{port}", max_fails=0)
        await asyncio.to_thread(
            lb.start, HTTP, servers=balancer + source, listen="", inside="proxy_request_buffering off;"
        )

        def change():
            name = f"127.0.0.1:{rnd.choice(ports[1:])}"
            if rnd.random() < 0.4:
                consul.delete("u", name)
                return
            numbers = {"weight": rnd.randint(1, 5), "max_fails": rnd.choice((0, 0, 1, 3)), "fail_timeout": 1}
            flags = {flag: int(rnd.random() < 0.2) for flag in ("down", "backup")}
            consul.put("u", name, **numbers, **flags, max_conns=rnd.choice((0, 0, 2)))

        clients = http_clients(lb, rnd, servers_fail=True)
        until = asyncio.get_running_loop().time() + SECONDS
        await torture(clients, change, (0.01, 0.1), until)
        return server, clients

    check(*asyncio.run(run()), "200")


@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.parametrize("seed", SEEDS)
def test_tcp_while_workers_are_replaced(world, seed):
    rnd = random.Random(seed)
    lb = world.new_lb()

    async def run():
        server = TcpServer()
        ports = [await server.listen() for _ in range(2)]
        lines = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        await asyncio.to_thread(lb.start, STREAM, servers=lines)
        seeds = [rnd.randrange(1 << 40) for _ in range(200_000)]
        clients = [TcpClient(lb.port("tcp"), random.Random(rnd.random()), seeds[n::24]) for n in range(24)]
        until = asyncio.get_running_loop().time() + SECONDS
        await torture(clients, lambda: lb.signal(SIGHUP), (0.8, 1.6), until)
        return server, clients

    check(*asyncio.run(run()), "whole")
