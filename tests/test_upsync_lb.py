"""Servers from a real Consul, in the real lb: services and health, http and stream, shared queries, reloads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
import requests

from lb.config.address import lookup
from tests.harness.consul import ConsulAgent, KeySpace
from tests.harness.ketama import ketama, on_ring
from tests.harness.lb import Lb
from tests.harness.wait import wait_for

pytestmark = pytest.mark.consul

SERVICE = """
worker_processes 2;
http {
    access_log off;
    status_listen 127.0.0.1:@status@;
    upstream web {
        server 127.0.0.1:@placeholder@;
        upsync @consul@/v1/@path@/service/@service@ upsync_interval=50ms upsync_type=@type@ strong_dependency=on @more@;
        upsync_dump_path web.dump;
    }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://web; } }
}
stream {
    upstream raw {
        server 127.0.0.1:@placeholder@;
        upsync @consul@/v1/@path@/service/@service@ upsync_interval=50ms upsync_type=@type@ strong_dependency=on @more@;
        upsync_dump_path raw.dump;
    }
    server { listen 127.0.0.1:@tcp@; proxy_pass raw; }
}
"""


class Service:
    """Instances of one service, registered with the agent."""

    def __init__(self, agent: ConsulAgent, name: str) -> None:
        self.agent = agent
        self.name = name
        self._made: set[str] = set()

    def add(self, port: int, *tags: str, ttl: bool = False) -> None:
        check = {"TTL": "10m", "Status": "passing", "CheckID": f"{self.name}-{port}-ttl"} if ttl else None
        body = {"ID": f"{self.name}-{port}", "Name": self.name, "Address": "127.0.0.1", "Port": port, "Tags": tags}
        self._put("service/register", body | ({"Check": check} if check else {}))
        self._made.add(f"{self.name}-{port}")

    def check(self, port: int, status: str) -> None:
        self._put(f"check/update/{self.name}-{port}-ttl", {"Status": status})

    def maintenance(self, port: int, on: bool) -> None:
        self._put(f"service/maintenance/{self.name}-{port}?enable={'true' if on else 'false'}", {})

    def remove(self, port: int) -> None:
        self._put(f"service/deregister/{self.name}-{port}", {})
        self._made.discard(f"{self.name}-{port}")

    def clear(self) -> None:
        for made in list(self._made):
            self._put(f"service/deregister/{made}", {})

    def _put(self, path: str, body: Any) -> None:
        answer = requests.put(f"http://{self.agent.address}/v1/agent/{path}", data=json.dumps(body), timeout=60)
        answer.raise_for_status()


@pytest.fixture
def service(consul: KeySpace, request: pytest.FixtureRequest) -> Iterator[Service]:
    made = Service(consul.agent, f"web-{abs(hash(request.node.name)) % 10**6}")
    yield made
    made.clear()


def shown(lb: Lb, name: str) -> list[tuple[str, bool]]:
    """(server, down) of an upstream, as the status port has it."""
    page = requests.get(f"http://127.0.0.1:{lb.port('status')}/upstream_show.json?{name}", timeout=60).json()
    return [(one["server"], one["down"]) for one in page["upstreams"][0]["servers"]]


def wait_workers(lb: Lb, name: str, expected: set[tuple[str, bool]]) -> None:
    """Until the status page has these servers, and every worker has applied the same index."""

    def agree() -> bool:
        page = requests.get(f"http://127.0.0.1:{lb.port('status')}/upstream_show.json?{name}", timeout=60).json()
        one = page["upstreams"][0]
        workers = one["consul"]["workers"]
        got = {(server["server"], server["down"]) for server in one["servers"]}
        return got == expected and len({worker["index"] for worker in workers}) == 1

    wait_for(agree, lambda: f"{expected}: {shown(lb, name)}\n{lb.log[-3000:]}")


def answers(client: Any, count: int) -> Counter[str]:
    return Counter(client.request().body.decode() for _ in range(count))


def test_a_service_with_its_tags_in_http_and_stream(
    service: Service, run_lb: Callable[..., Lb], http_backend: Any, connect: Any
) -> None:
    a, b = http_backend(), http_backend()
    service.add(a.port, "weight=2")
    service.add(b.port, "v2")
    values = {"consul": service.agent.address, "service": service.name, "placeholder": 9, "more": ""}
    lb = run_lb(SERVICE, path="catalog", type="consul_services", **values)
    for port in ("http", "tcp"):
        count = 3 if port == "http" else 1  # a TCP session stays with its server
        got = Counter[str]()
        for _ in range(30 if port == "tcp" else 1):
            got += answers(connect(lb.port(port)), count)
        assert set(got) <= {a.address, b.address}
    service.remove(a.port)
    wait_workers(lb, "web", {(b.address, False)})
    wait_workers(lb, "raw", {(b.address, False)})
    for _ in range(4):
        assert answers(connect(lb.port("http")), 4) == {b.address: 4}
        assert answers(connect(lb.port("tcp")), 1) == {b.address: 1}


def test_health_takes_failing_services_out_and_back(
    service: Service, run_lb: Callable[..., Lb], http_backend: Any, connect: Any
) -> None:
    a, b = http_backend(), http_backend()
    service.add(a.port, ttl=True)
    service.add(b.port, ttl=True)
    values = {"consul": service.agent.address, "service": service.name, "placeholder": 9, "more": ""}
    lb = run_lb(SERVICE, path="health", type="consul_health", **values)
    wait_workers(lb, "web", {(a.address, False), (b.address, False)})
    for fail in (
        lambda: service.check(a.port, "critical"),
        lambda: service.check(a.port, "warning"),
        lambda: service.maintenance(a.port, True),
    ):
        fail()
        for name in ("web", "raw"):
            wait_workers(lb, name, {(a.address, True), (b.address, False)})
        assert answers(connect(lb.port("http")), 6) == {b.address: 6}
        service.maintenance(a.port, False)
        service.check(a.port, "passing")
        wait_workers(lb, "web", {(a.address, False), (b.address, False)})


def test_health_policies(service: Service, run_lb: Callable[..., Lb], http_backend: Any) -> None:
    a, b = http_backend(), http_backend()
    service.add(a.port, ttl=True)
    service.add(b.port, ttl=True)
    service.check(b.port, "warning")
    values = {"consul": service.agent.address, "service": service.name, "placeholder": 9}
    lb = run_lb(SERVICE, path="health", type="consul_health", more="upsync_health=warning", **values)
    wait_workers(lb, "web", {(a.address, False), (b.address, False)})
    lb.reload(SERVICE, more="upsync_health=passing")
    wait_workers(lb, "web", {(a.address, False)})


UPSTREAMS = 60


def _many(consul: KeySpace) -> str:
    line = "upsync {} upsync_interval=50ms upsync_type=consul strong_dependency=on; upsync_dump_path u{}.dump;"
    blocks = "".join(
        f"upstream u{n} {{ server 127.0.0.1:9 down; {line.format(consul.path(f'u{n}'), n)} }}\n"
        for n in range(UPSTREAMS)
    )
    places = "".join(f"location /{n}/ {{ proxy_pass http://u{n}; }}\n" for n in range(UPSTREAMS))
    return f"""
worker_processes 4;
http {{
    access_log off;
    status_listen 127.0.0.1:@status@;
    {blocks}
    server {{ listen 127.0.0.1:@http@; {places} }}
}}
"""


def consul_side(agent: ConsulAgent) -> int:
    """Connections that Consul holds for clients, as the kernel sees them at Consul."""
    assert agent.process is not None
    found = psutil.Process(agent.process.pid).net_connections(kind="tcp")
    return sum(1 for one in found if one.raddr and one.laddr.port == agent.port)


def test_sixty_upstreams_and_reloads_cost_consul_a_connection_a_worker(
    consul_agent: ConsulAgent, run_lb: Callable[..., Lb], http_backend: Any, connect: Any
) -> None:
    """The module: 4 x 60 connections, and as many again at each reload until Consul resets them all (issue #302)."""
    space = KeySpace(consul_agent, "many")
    a, b = http_backend(), http_backend()
    for n in range(UPSTREAMS):
        space.put(f"u{n}", a.address)
    consul_agent.client.http.session.close()
    idle = consul_side(consul_agent)
    lb = run_lb(_many(space))
    most = 0
    for turn in range(5):
        if turn:
            lb.reload()
        wait_workers(lb, "u7", {(a.address, False)})
        most = max(most, consul_side(consul_agent) - idle)
    assert most <= 3 * 4 + 2, "one for each worker, two that Consul has not ended yet, and the test's own"
    space.put("u7", b.address)
    wait_workers(lb, "u7", {(a.address, False), (b.address, False)})
    space.delete("u7", a.address)
    wait_workers(lb, "u7", {(b.address, False)})
    assert answers_at(connect(lb.port("http")), "/7/") == b.address
    assert answers_at(connect(lb.port("http")), "/8/") == a.address


def answers_at(client: Any, path: str) -> str:
    return str(client.request(target=path).body.decode())


BALANCED = """
worker_processes 2;
http {
    access_log off;
    status_listen 127.0.0.1:@status@;
    upstream web {
        server 127.0.0.1:9;
        @balancer@
        upsync @consul@ upsync_interval=50ms upsync_type=consul strong_dependency=on;
        upsync_dump_path web.dump;
    }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://web; } }
}
"""


@pytest.mark.parametrize("balancer", ["", "least_conn;", "ip_hash;", "hash $uri;", "hash $uri consistent;", "random;"])
def test_every_balancer_follows_every_change(
    consul: KeySpace, run_lb: Callable[..., Lb], http_backend: Any, connect: Any, balancer: str
) -> None:
    """Servers come, go down, come back and are removed; with a backup that serves when nobody else does."""
    a, b, c = http_backend(), http_backend(), http_backend()
    consul.put("web", a.address)
    lb = run_lb(BALANCED, balancer=balancer, consul=consul.path("web"))
    wait_workers(lb, "web", {(a.address, False)})

    def got() -> set[str]:
        return {answers_at(connect(lb.port("http")), f"/{n}") for n in range(40)}

    assert got() == {a.address}
    consul.put("web", b.address)
    wait_workers(lb, "web", {(a.address, False), (b.address, False)})
    assert got() <= {a.address, b.address}
    if balancer != "ip_hash;":  # there, one client has one server
        assert got() == {a.address, b.address}
    consul.put("web", a.address, down=1)
    wait_workers(lb, "web", {(a.address, True), (b.address, False)})
    assert got() == {b.address}
    consul.delete("web", a.address)
    wait_workers(lb, "web", {(b.address, False)})
    assert got() == {b.address}
    if balancer not in ("ip_hash;", "hash $uri;", "hash $uri consistent;", "random;"):  # nginx has no backup with these
        consul.put("web", c.address, backup=1)
        wait_workers(lb, "web", {(b.address, False), (c.address, False)})
        assert got() == {b.address}
        consul.put("web", b.address, down=1)
        wait_workers(lb, "web", {(b.address, True), (c.address, False)})
        assert got() == {c.address}


def test_a_host_name_of_consul_is_all_its_addresses(
    consul: KeySpace, run_lb: Callable[..., Lb], http_backend: Any, connect: Any
) -> None:
    """localhost: its addresses are servers, the ring goes by the name; a reload knows them before any answer."""
    a, b = http_backend(), http_backend()
    found = {str(replace(one, port=a.port)) for one in lookup("localhost")}
    assert f"127.0.0.1:{a.port}" in found
    consul.put("web", f"localhost:{a.port}", weight=2)
    consul.put("web", b.address)
    lb = run_lb(BALANCED, balancer="hash $uri consistent;", consul=consul.path("web"))
    expected = {(name, False) for name in found} | {(b.address, False)}
    wait_workers(lb, "web", expected)
    paths = [f"/{n}" for n in range(60)]
    chosen = [answers_at(connect(lb.port("http")), path) for path in paths]
    points = ketama({f"localhost:{a.port}": 2, b.address: 1})
    assert chosen == [name.replace("localhost", "127.0.0.1") for name in on_ring(points, paths)]
    dump = (lb.directory / "web.dump").read_text()
    assert f"server 127.0.0.1:{a.port} weight=2 max_fails=2 fail_timeout=10s; # localhost:{a.port}\n" in dump
    lb.reload()
    wait_workers(lb, "web", expected)
    assert [answers_at(connect(lb.port("http")), path) for path in paths] == chosen
    consul.delete("web", f"localhost:{a.port}")
    wait_workers(lb, "web", {(b.address, False)})


CROWD = 28


def _crowd(agent: ConsulAgent) -> str:
    """Workers x services: more than lb would give a query each."""
    blocks, places = "", ""
    for n in range(CROWD):
        kind, path = ("consul_health", "health") if n % 2 else ("consul_services", "catalog")
        blocks += f"""upstream c{n} {{ server 127.0.0.1:9 down; upsync_dump_path c{n}.dump;
            upsync {agent.address}/v1/{path}/service/crowd-{n} upsync_interval=50ms upsync_type={kind}; }}\n"""
        places += f"location /{n}/ {{ proxy_pass http://c{n}; }}\n"
    return f"""
worker_processes 4;
http {{
    access_log off;
    status_listen 127.0.0.1:@status@;
    {blocks}
    server {{ listen 127.0.0.1:@http@; {places} }}
}}
"""


def test_many_services_cost_consul_two_connections_a_worker(
    consul_agent: ConsulAgent, run_lb: Callable[..., Lb], http_backend: Any, connect: Any
) -> None:
    """Each kind watches the catalog; checks are seen, too."""
    a, b = http_backend(), http_backend()
    services = [Service(consul_agent, f"crowd-{n}") for n in range(CROWD)]
    for one in services:
        one.add(a.port, ttl=True)
    idle = consul_side(consul_agent)
    lb = run_lb(_crowd(consul_agent))
    for n in range(CROWD):
        wait_workers(lb, f"c{n}", {(a.address, False)})
    assert consul_side(consul_agent) - idle <= 2 * 4
    for n in (4, 5):
        services[n].add(b.port, "weight=3")
        wait_workers(lb, f"c{n}", {(a.address, False), (b.address, False)})
        services[n].remove(a.port)
        wait_workers(lb, f"c{n}", {(b.address, False)})
        assert answers_at(connect(lb.port("http")), f"/{n}/") == b.address
    services[7].check(a.port, "critical")
    wait_workers(lb, "c7", {(a.address, True)})
    services[7].check(a.port, "passing")
    wait_workers(lb, "c7", {(a.address, False)})
    assert consul_side(consul_agent) - idle <= 2 * 4
    services[5].remove(b.port)
    wait_for(lambda: "the service does not exist" in lb.log, lambda: lb.log[-2000:])
    for one in services:
        one.clear()
