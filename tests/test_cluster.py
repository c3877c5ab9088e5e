"""Two lb and a cluster of three real Consul servers: whatever happens to the cluster, no request fails, and both agree.

On loopback addresses, and, where namespaces can be made (root), on five machines with cables that can be pulled.

Slow (elections take seconds): `make test-cluster`, not part of `make test`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness.backend import HttpBackend
from tests.harness.client import Client
from tests.harness.cluster import ELECTION_S, Cluster, Member
from tests.harness.lb import Lb
from tests.harness.netns import Network, usable
from tests.harness.wait import wait_for
from tests.harness.world import World, let_others_in

pytestmark = [pytest.mark.consul, pytest.mark.cluster]

CONFIG = """
worker_processes 2;
http {
    access_log off;
    keepalive_requests 1000000;
    status_listen @host@:@status@;
    upstream test {
        server 127.0.0.1:9;
        hash $arg_key consistent;
        upsync @consul@/v1/kv/upstreams/test upsync_interval=200ms upsync_type=consul strong_dependency=on;
        upsync_dump_path test.dump;
    }
    server { listen @host@:@http@; location / { proxy_pass http://test; } }
}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield made.start()
    finally:
        made.stop()


class Load:
    """Requests, one after the other, to each lb, until the end; every answer must be 200."""

    def __init__(self, lbs: list[Lb]) -> None:
        self.bad: list[Any] = []
        self.count = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(lb.port("http"), lb.host), daemon=True) for lb in lbs]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int, host: str) -> None:
        client = Client(port, host)
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                status = client.request(target=f"/?key={number}").status
            except Exception as error:  # whatever it is, it is a failed request
                status, client = error, Client(port, host)
            if status != 200:
                self.bad.append(status)
            self.count += 1
            self._over.wait(0.002)
        client.close()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(15)
        assert self.count > 100
        assert not self.bad, self.bad[:5]


@pytest.fixture
def pair(cluster: Cluster, world: World, run_lb: Callable[..., Lb], http_backend: Any) -> Any:
    """(two lb, the backends that Consul names)."""
    requests.delete(f"http://{cluster.members[0].address}/v1/kv/upstreams/?recurse", timeout=5)
    backends = [http_backend() for _ in range(4)]
    for backend in backends[:3]:
        assert cluster.put(f"upstreams/test/{backend.address}")
    world.own_remotes.add(cluster.http)
    first, second, third = (member.address for member in cluster.members)
    orders = ((first, second, third), (second, third, first))
    lbs = [run_lb(CONFIG, consul=",".join(order), host="127.0.0.1") for order in orders]
    for lb in lbs:
        lb.expect_log()
    return lbs, backends


def serves(lb: Lb) -> bool:
    """The harness asks the kernel of this machine, which does not see the ports of another."""
    try:
        return applied(lb)[1]
    except requests.RequestException:
        return False


def applied(lb: Lb) -> tuple[set[str], bool]:
    page = requests.get(f"http://{lb.host}:{lb.port('status')}/upstream_show.json?test", timeout=5).json()
    one = page["upstreams"][0]
    return {server["server"] for server in one["servers"]}, one["consul"]["in_sync"]


def wait_agreed(lbs: list[Lb], expected: set[str]) -> None:
    wait_for(
        lambda: all(applied(lb) == (expected, True) for lb in lbs),
        lambda: json.dumps([sorted(applied(lb)[0]) for lb in lbs]) + lbs[0].log[-3000:],
        ELECTION_S,
    )
    keys = range(60)
    clients = [Client(lb.port("http"), lb.host) for lb in lbs]
    chosen = [[client.request(target=f"/?key={key}").body for key in keys] for client in clients]
    for client in clients:
        client.close()
    assert chosen[0] == chosen[-1], "one key, two servers"
    assert {body.decode() for body in chosen[0]} <= expected


def other_than(cluster: Cluster, gone: Member) -> list[Member]:
    return [member for member in cluster.members if member is not gone]


def story(cluster: Cluster, pair: Any, hurt: Callable[[Member], None], heal: Callable[[Member], None]) -> None:
    """The leader is hurt, the list changes meanwhile, the leader comes back, the list changes again."""
    lbs, backends = pair
    wait_agreed(lbs, {backend.address for backend in backends[:3]})
    load = Load(lbs)
    leader = cluster.wait_leader()
    hurt(leader)
    try:
        rest = other_than(cluster, leader)
        cluster.wait_leader(rest)
        assert cluster.put(f"upstreams/test/{backends[3].address}", "", rest)
        wait_agreed(lbs, {backend.address for backend in backends})
    finally:
        heal(leader)
    cluster.wait_leader()
    address = cluster.members[0].address
    requests.delete(f"http://{address}/v1/kv/upstreams/test/{backends[0].address}", timeout=5)
    wait_agreed(lbs, {backend.address for backend in backends[1:]})
    load.end()


def test_the_leader_is_killed_and_started_again(cluster: Cluster, pair: Any) -> None:
    story(cluster, pair, Member.kill, Member.start)


def test_the_leader_hangs(cluster: Cluster, pair: Any) -> None:
    """Stopped: its kernel still answers for it, it does not."""
    story(cluster, pair, Member.pause, Member.resume)


# Five machines: Consul servers on 0 to 2, lb on 3 and 4. Clients and backends are reached by another network.


class FarBackend(HttpBackend):
    """Where all machines see it, whatever happens to the network between them."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Namespaces, and Consul servers in the first three."""
    why_not = usable()
    if why_not:
        pytest.skip(why_not)
    network = Network(5)
    made = Cluster(tmp_path_factory.mktemp("machines"), network)
    try:
        yield made.start()
    finally:
        made.stop()
        network.close()


@pytest.fixture
def far(machines: Cluster, tmp_path: Path) -> Iterator[Any]:
    """(two lb on machines of their own, the backends that Consul names). The first prefers the leader."""
    network = machines.network
    assert network is not None
    leader = machines.wait_leader()
    requests.delete(f"http://{leader.address}/v1/kv/upstreams/?recurse", timeout=5)
    rest = other_than(machines, leader)
    orders = ([leader, *rest], [*rest, leader])
    with ExitStack() as stack:
        FarBackend.host = network.own
        backends = [FarBackend() for _ in range(4)]
        for backend in backends:
            stack.callback(backend.stop)
        for backend in backends[:3]:
            assert machines.put(f"upstreams/test/{backend.address}")
        lbs = []
        for node, order in zip((3, 4), orders, strict=True):
            directory = tmp_path / f"lb{node}"
            directory.mkdir()
            let_others_in(directory)
            one = Lb(directory)
            one.inside, one.host = network.inside(node), network.address(node)
            one.write(CONFIG, host=one.host, consul=",".join(f"{member.host}:{machines.http}" for member in order))
            one.spawn()
            stack.callback(one.stop)
            lbs.append(one)
            wait_for(lambda one=one: serves(one), lambda one=one: one.log)
        yield lbs, backends, leader


def test_a_split_that_drops_packets(machines: Cluster, far: Any) -> None:
    """The leader and one lb on one side, the other two servers and lb on the other, and the list changes meanwhile."""
    lbs, backends, leader = far
    network = machines.network
    assert network is not None
    wait_agreed(lbs, {backend.address for backend in backends[:3]})
    load = Load(lbs)
    network.cut("ctl", [leader.node, 3])
    try:
        rest = other_than(machines, leader)
        machines.wait_leader(rest)
        assert machines.put(f"upstreams/test/{backends[3].address}", "", rest)
        wait_agreed(lbs[1:], {backend.address for backend in backends})
        wait_for(lambda: "is lost: " in lbs[0].log, lambda: lbs[0].log[-3000:], ELECTION_S)
        assert applied(lbs[0])[0] == {backend.address for backend in backends[:3]}, "the last good list"
    finally:
        network.heal("ctl")
    machines.wait_leader()
    wait_agreed(lbs, {backend.address for backend in backends})
    requests.delete(f"http://{rest[0].address}/v1/kv/upstreams/test/{backends[0].address}", timeout=5)
    wait_agreed(lbs, {backend.address for backend in backends[1:]})
    load.end()


def test_an_agent_is_restarted_and_an_lb_is_cut_off(machines: Cluster, far: Any) -> None:
    """The server that an lb asks is killed and comes back; then the lb is alone for a while."""
    lbs, backends, leader = far
    network = machines.network
    assert network is not None
    wait_agreed(lbs, {backend.address for backend in backends[:3]})
    load = Load(lbs)
    asked = other_than(machines, leader)[0]  # by the second lb
    asked.kill()
    wait_for(lambda: machines.put(f"upstreams/test/{backends[3].address}", "", [leader]), "a write", ELECTION_S)
    wait_agreed(lbs, {backend.address for backend in backends})
    asked.start()
    machines.wait_leader()
    network.cut("ctl", [4])
    requests.delete(f"http://{leader.address}/v1/kv/upstreams/test/{backends[0].address}", timeout=5)
    wait_agreed(lbs[:1], {backend.address for backend in backends[1:]})
    wait_for(lambda: "is lost: " in lbs[1].log, lambda: lbs[1].log[-3000:], ELECTION_S)
    assert applied(lbs[1])[0] == {backend.address for backend in backends}
    network.heal("ctl")
    wait_agreed(lbs, {backend.address for backend in backends[1:]})
    load.end()
