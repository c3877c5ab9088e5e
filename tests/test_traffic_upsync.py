"""The main job, end to end: nginx's file with upsync, a real Consul, the real lb, real traffic.

The file is the one that operators of nginx-upsync-module have; only ports and paths differ.
"""

from __future__ import annotations

import re
import threading
from collections import Counter

import psutil
import pytest

from tests.harness import backend as raw
from tests.harness.lb import title_of
from tests.harness.wait import wait_for

FILE = """
worker_processes @workers@;
events {
worker_connections 4096; ## Default: 1024
}

http {
access_log off;
status_listen 127.0.0.1:@status@;
upstream test {
# fake server otherwise ngx_http_upstream will report error when startup
server 127.0.0.1:11111;

# all backend server will pull from consul when startup and will delete fake server
upsync @path@ upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=@strong@;
upsync_dump_path @dump@;
}

upstream bar {
server @bar@ weight=1 fail_timeout=10 max_fails=3;
}

server {
listen 127.0.0.1:@http@;

location = /proxy_test {
proxy_pass http://test;
}

location = /bar {
proxy_pass http://bar;
}

location = /upstream_show {
upstream_show;
}

}
}
"""
PLAIN = {"weight": 1, "max_fails": 2, "fail_timeout": 10}


class Site:
    """lb on FILE, with what the test asks of it."""

    def __init__(self, world, path, *, strong="off", workers=1):
        self.world = world
        self.bar = world.http_backend()
        self.dump = world.directory / "servers_test.conf"
        self.lb = world.new_lb()
        values = {"path": path, "dump": self.dump, "bar": self.bar.address, "strong": strong, "workers": workers}
        self.lb.start(FILE, **values)
        self.client = world.connect(self.lb.port("http"))

    def show(self, query="?test"):
        response = self.client.request(target=f"/upstream_show{query}")
        assert response.status == 200
        return response.body.decode()

    def listed(self):
        return set(re.findall(r"^ +server (\S+) ", self.show(), re.MULTILINE))

    def wait_servers(self, *backends):
        wanted = {backend.address for backend in backends}
        wait_for(
            lambda: self.listed() == wanted, lambda: f"{wanted} to be listed: {self.show()}\n{self.lb.log[-2000:]}"
        )

    def answers(self, count, client=None):
        """Who answered `count` requests; each must be 200."""
        got = Counter()
        for _ in range(count):
            response = (client or self.client).request(target="/proxy_test")
            assert response.status == 200, response
            got[response.body.decode()] += 1
        return got

    def restart(self):
        self.lb.stop()
        self.lb.spawn()
        self.lb.wait_ready()
        self.client = self.world.connect(self.lb.port("http"))


@pytest.fixture
def site(world, consul):
    """site(**options) -> Site on the shared Consul."""
    return lambda **options: Site(world, consul.path("test"), **options)


def test_from_put_to_delete(site, consul, http_backend):
    running = site()
    a, b, c = http_backend(), http_backend(), http_backend()
    for backend in (a, b, c):
        consul.put("test", backend.address, **PLAIN)
    running.wait_servers(a, b, c)

    line = "server {} weight=1 max_fails=2 fail_timeout=10s;"
    head, *rest = running.show().splitlines()
    assert head == "Upstream name: test; Backend server count: 3"
    assert sorted(rest) == sorted("        " + line.format(backend.address) for backend in (a, b, c))
    wait_for(running.dump.exists)
    wait_for(lambda: len(running.dump.read_text().splitlines()) == 3)
    assert sorted(running.dump.read_text().splitlines()) == sorted(line.format(x.address) for x in (a, b, c))
    assert running.answers(30) == {a.address: 10, b.address: 10, c.address: 10}

    everything = running.show("")
    assert "Upstream name: test; Backend server count: 3\n" in everything
    assert "Upstream name: bar; Backend server count: 1\n" in everything
    assert running.client.request(target="/bar").body.decode() == running.bar.address

    consul.delete("test", b.address)
    running.wait_servers(a, c)
    before = len(b.requests)
    assert running.answers(20) == {a.address: 10, c.address: 10}
    assert len(b.requests) == before
    wait_for(lambda: b.open == 0, "the pooled connection to a removed server to be closed")
    wait_for(lambda: b.address not in running.dump.read_text())

    consul.put("test", a.address, **{**PLAIN, "weight": 3})
    wait_for(lambda: f"server {a.address} weight=3" in running.show())
    assert running.answers(40) == {a.address: 30, c.address: 10}

    consul.put("test", a.address, **{**PLAIN, "down": 1})
    wait_for(lambda: "down;" in running.show())
    assert running.answers(10) == {c.address: 10}


def test_the_last_list_survives_the_removal_of_all_keys(site, consul, http_backend):
    running = site()
    a = http_backend()
    consul.put("test", a.address, **PLAIN)
    running.wait_servers(a)
    consul.delete("test")
    # a change elsewhere wakes the watcher again: it must have seen the empty prefix by then
    running.lb.wait_log(r"(?i)upsync.*test")
    assert running.answers(20) == {a.address: 20}
    assert running.listed() == {a.address}


def test_bad_entries_do_not_harm_the_good_ones(site, consul, http_backend):
    running = site()
    a = http_backend()
    consul.put("test", "no-port", **PLAIN)
    consul.put("test", "127.0.0.1:99999", **PLAIN)
    consul.put("test", a.address, "not json at all")
    b = http_backend()
    consul.put("test", b.address, **PLAIN)
    wait_for(lambda: b.address in running.listed())
    assert running.listed() <= {a.address, b.address}
    assert running.answers(10).total() == 10


def test_starts_from_the_dump_when_consul_is_dead(world, consul_agent, http_backend):
    a, b = http_backend(), http_backend()
    prefix = "upstreams/test"
    for backend in (a, b):
        consul_agent.client.kv.put(f"{prefix}/{backend.address}", '{"weight":1}')
    running = Site(world, f"{consul_agent.address}/v1/kv/{prefix}")
    running.wait_servers(a, b)
    wait_for(lambda: running.dump.exists() and len(running.dump.read_text().splitlines()) == 2)
    consul_agent.kill()
    running.restart()
    assert running.listed() == {a.address, b.address}
    assert running.answers(10) == {a.address: 5, b.address: 5}
    # and follows again when Consul is back
    consul_agent.start()
    consul_agent.client.kv.delete(f"{prefix}/{a.address}")
    running.wait_servers(b)


def test_starts_from_the_file_without_consul_and_dump(world, http_backend):
    running = Site(world, f"127.0.0.1:{world.closed_port()}/v1/kv/upstreams/test")
    assert running.listed() == {"127.0.0.1:11111"}
    assert running.client.request(target="/bar").status == 200
    assert running.client.request(target="/proxy_test").status == 502


@pytest.mark.parametrize("strong", ["on", "off"])
def test_the_first_request_already_sees_consul(site, consul, http_backend, strong):
    a = http_backend()
    consul.put("test", a.address, **PLAIN)
    running = site(strong=strong)
    if strong == "on":
        assert running.answers(5) == {a.address: 5}
    running.wait_servers(a)


def test_consul_that_goes_and_comes_back(world, consul_agent, http_backend):
    a, b = http_backend(), http_backend()
    consul_agent.client.kv.put(f"upstreams/test/{a.address}", '{"weight":1}')
    running = Site(world, f"{consul_agent.address}/v1/kv/upstreams/test")
    running.wait_servers(a)
    consul_agent.kill()
    assert running.answers(10) == {a.address: 10}
    consul_agent.start()
    consul_agent.client.kv.put(f"upstreams/test/{b.address}", '{"weight":1}')
    running.wait_servers(a, b)


def test_reload_keeps_the_list_while_consul_hangs(world, consul_agent, http_backend):
    a = http_backend()
    consul_agent.client.kv.put(f"upstreams/test/{a.address}", '{"weight":1}')
    running = Site(world, f"{consul_agent.address}/v1/kv/upstreams/test")
    running.wait_servers(a)
    consul_agent.pause()
    try:
        running.lb.reload()
        fresh = world.connect(running.lb.port("http"))
        assert running.answers(10, fresh) == {a.address: 10}
    finally:
        consul_agent.resume()


def test_every_worker_follows(site, consul, http_backend):
    """Two workers, two connections each at least: all see the change, and the status port says so."""
    running = site(workers=2)
    a = http_backend()
    consul.put("test", a.address, **PLAIN)
    status = running.world.connect(running.lb.port("status"))
    index = wait_for(lambda: _applied_index(status, a.address))
    assert index > 0
    for _ in range(10):
        client = running.world.connect(running.lb.port("http"))
        assert running.answers(1, client) == {a.address: 1}


def test_one_child_writes_the_dumps_and_ends_with_the_master(site, consul, http_backend):
    """Over changes, a reload and a worker's death, in which it is no worker; it holds up nothing, and nothing stays."""
    running = site(workers=2)
    lb, servers, seen = running.lb, [], set()
    for event in ("start", "change", "reload", "death", "last"):
        if event == "reload":
            lb.reload()
        if event == "death":
            lb.expect_log(r"worker process \d+ exited on signal 9")
            lb.workers[-1].kill()
        servers.append(http_backend().address)
        consul.put("test", servers[-1], **PLAIN)
        wait_for(lambda: _dumped(running.dump) == set(servers), lambda: f"{servers} in the dump\n{lb.log[-2000:]}")
        seen.update(_scribes(lb))
    assert len(seen) == 1, "each change within 10 s of the last one"
    (dump_writer,) = seen
    assert lb.stop() == 0
    assert not dump_writer.is_running()


def test_no_child_outlives_a_master_that_is_killed(world, consul, http_backend):
    running = Site(world, consul.path("test"))
    a = http_backend()
    consul.put("test", a.address, **PLAIN)
    wait_for(lambda: _dumped(running.dump) == {a.address}, "the dump")
    (dump_writer,) = _scribes(running.lb)
    running.lb.kill()
    wait_for(lambda: not dump_writer.is_running() or dump_writer.status() == psutil.STATUS_ZOMBIE, "the child to end")


def _dumped(path):
    return set(re.findall(r"^server (\S+) ", path.read_text(), re.MULTILINE)) if path.exists() else set()


def _scribes(lb):
    return [child for child in lb.master.children() if title_of(child) == "lb: writing dump files"]


def _applied_index(status, address):
    """The Consul index that both workers have applied, or 0."""
    body = status.request(target="/upstream_show.json?test").body.decode()
    indexes = {int(number) for number in re.findall(r'"index": ?(\d+)', body)}
    workers = len(re.findall(r'"pid": ?\d+', body))
    return indexes.pop() if address in body and len(indexes) == 1 and workers >= 2 else 0


def test_changes_under_load_lose_no_request(site, consul, http_backend, world):
    """Clients that never stop, servers that come and go: every request is answered, by a listed server."""
    running = site(workers=2)
    fixed = http_backend()
    moving = [http_backend() for _ in range(3)]
    consul.put("test", fixed.address, **PLAIN)
    status = world.connect(running.lb.port("status"))
    wait_for(lambda: _applied_index(status, fixed.address), "both workers to have left the file's placeholder")
    over = threading.Event()
    counts, failures = Counter(), []

    def ask() -> None:
        client = world.connect(running.lb.port("http"))
        while not over.is_set():
            response = client.request(target="/proxy_test")
            counts[response.status] += 1
            if response.status != 200:
                failures.append(response)
            if response.header("connection") == "close":  # keepalive_requests
                client = world.connect(running.lb.port("http"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            for backend in moving:
                consul.put("test", backend.address, **PLAIN)
            running.wait_servers(fixed, *moving)
            for backend in moving:
                consul.delete("test", backend.address)
            running.wait_servers(fixed)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert counts[200] > 100
    assert sum(len(backend.requests) for backend in moving) > 0
    for backend in moving:
        wait_for(lambda backend=backend: backend.open == 0, "both workers to leave a removed server")


STREAM = """
stream {
    upstream test {
        server 127.0.0.1:11111;
        upsync @path@ upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=off;
        upsync_dump_path @dump@;
    }
    server { listen 127.0.0.1:@tcp@; proxy_pass test; proxy_connect_timeout 1s; }
}
"""


def test_stream_upstream_follows_too(run_lb, consul, raw_backend, connect, tmp_path):
    a, b = raw_backend(raw.echo), raw_backend(raw.echo)
    lb = run_lb(STREAM, path=consul.path("test"), dump=tmp_path / "dump.conf")

    def answered() -> bool:
        with connect(lb.port("tcp")) as client:
            try:
                return client.send(b"ping").recv_exactly(4) == b"ping"
            except (AssertionError, OSError):
                return False

    consul.put("test", a.address, **PLAIN)
    wait_for(answered, "the server of Consul to be used")
    long = connect(lb.port("tcp")).send(b"stay")
    assert long.recv_exactly(4) == b"stay"
    consul.put("test", b.address, **PLAIN)
    consul.delete("test", a.address)
    wait_for(lambda: answered() and b.accepted > 0)
    before = a.accepted
    for _ in range(6):
        assert answered()
    assert a.accepted == before
    assert long.send(b"still").recv_exactly(5) == b"still"  # what runs goes on
