"""slow_start: a server that comes back, or is new from Consul, gets its weight little by little. Through the real lb.

A slow start of an hour stays at its first part, 4/256, for as long as a test takes; without one a server of two gets
half.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.harness.backend import RawConnection, Reply
from tests.harness.wait import wait_for
from tests.test_counters import servers
from tests.test_pool_unasked import ok

METHODS = {
    "round_robin": "",
    "least_conn": "least_conn;",
    "least_time": "least_time header;",
    "hash": "hash $uri;",
    "consistent": "hash $uri consistent;",
    "random": "random;",
    "two": "random two;",
}
COUNT = 200
FEW, MANY = 30, 60  # of COUNT: more than 4/256 of two servers ever come to; fewer than half
CONF = """
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    @upstreams@
    server { listen 127.0.0.1:@http@; location = /show { upstream_show; } @places@ }
}
"""


class Sick:
    """A script for raw_backend: answers "a", while it is not `bad`."""

    bad = False

    def __call__(self, connection: RawConnection) -> None:
        connection.recv_head()
        if not self.bad:
            connection.send(ok(b"a").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))


def who(lb: Any, name: str, count: int = COUNT, first: int = 0) -> list[bytes]:
    """The bodies of `count` requests with different paths."""
    with lb.client() as client:
        answers = [client.request(target=f"/{name}/{first + i}") for i in range(count)]
    assert {one.status for one in answers} == {200}
    return [one.body for one in answers]


@pytest.fixture
def sick(run_lb, raw_backend, http_backend):
    """sick(slow_start) -> (lb, script of "a"): an upstream for each method, with "a" and "b"."""

    def start(slow_start: str) -> tuple[Any, Sick, str]:
        script = Sick()
        a, b = raw_backend(script).address, http_backend(lambda _: Reply(body=b"b")).address
        upstreams = places = ""
        for name, line in METHODS.items():
            upstreams += f"upstream {name} {{ {line} server {a} fail_timeout=1s {slow_start}; server {b}; }}\n"
            places += f"location /{name}/ {{ proxy_pass http://{name}; }}\n"
        lb = run_lb(CONF, upstreams=upstreams, places=places)
        lb.expect_log("upstream")
        return lb, script, a

    return start


def fail_and_return(lb: Any, script: Sick, address: str) -> None:
    """In each upstream "a" is left out for its failure, and comes back."""
    script.bad = True
    for name in METHODS:
        wait_for(lambda name=name: who(lb, name, 20) and servers(lb, name)[address]["state"] == "failed", "failed")
    script.bad = False
    for name in METHODS:
        wait_for(lambda name=name: who(lb, name, 20) and servers(lb, name)[address]["state"] == "up", "back")


def test_after_failures_a_small_part(sick):
    lb, script, address = sick("slow_start=1h")
    for name in METHODS:  # nobody starts slowly at the start
        assert servers(lb, name)[address]["slow_start"] is None
        assert who(lb, name).count(b"a") > MANY, name
    fail_and_return(lb, script, address)
    for name in METHODS:
        assert 0 <= servers(lb, name)[address]["slow_start"] < 1, name
        first = who(lb, name)
        assert first.count(b"a") < FEW, name
        if name in ("hash", "consistent"):  # a key does not flap
            assert who(lb, name) == first
    lb.reload()
    for name in METHODS:  # a new worker goes on where the old one was
        wait_for(lambda name=name: servers(lb, name)[address]["slow_start"] is not None, "it to be handed on")
        assert who(lb, name).count(b"a") < FEW, name


def test_without_it_the_whole_at_once(sick):
    lb, script, address = sick("")
    fail_and_return(lb, script, address)
    for name in METHODS:
        assert servers(lb, name)[address]["slow_start"] is None
        assert who(lb, name).count(b"a") > MANY, name


def test_its_weight_is_whole_after_the_time(sick):
    lb, script, address = sick("slow_start=2s")
    fail_and_return(lb, script, address)
    for name in METHODS:
        wait_for(lambda name=name: servers(lb, name)[address]["slow_start"] is None, "its end")
        assert who(lb, name).count(b"a") > MANY, name


def test_the_only_one_that_may_be_asked_takes_all(run_lb, raw_backend, http_backend, world):
    """Slow, but the others are down, or a backup, which is for when there is none."""
    script = Sick()
    a = raw_backend(script).address
    backup = http_backend(lambda _: Reply(body=b"backup")).address
    closed = f"127.0.0.1:{world.closed_port()}"
    upstreams = places = ""
    for name, line in METHODS.items():
        other = f"{backup} backup" if name in ("round_robin", "least_conn", "least_time") else f"{closed} down"
        upstreams += f"upstream {name} {{ {line} server {a} fail_timeout=1s slow_start=1h; server {other}; }}\n"
        places += f"location /{name}/ {{ proxy_pass http://{name}; }}\n"
    lb = run_lb(CONF, upstreams=upstreams, places=places)
    lb.expect_log("upstream")
    script.bad = True
    with lb.client() as client:
        for name in METHODS:
            client.request(target=f"/{name}/")
        lb.wait_log("(?s)(temporarily disabled.*){7}")
        script.bad = False
        for name in METHODS:
            wait_for(lambda name=name: client.request(target=f"/{name}/").body == b"a", "back")
            wait_for(lambda name=name: servers(lb, name)[a]["slow_start"] is not None, "slow")
            assert who(lb, name) == [b"a"] * COUNT, name


UPSYNC = """upsync %s upsync_type=consul strong_dependency=%s; upsync_dump_path %s;"""


@pytest.fixture
def site(world, run_lb, consul):
    """site(in_upstream) -> lb, with an upstream for each method, all with the servers of Consul's "u"."""

    def start(inside: str = "", strong: str = "on") -> Any:
        upstreams = places = ""
        for name, line in METHODS.items():
            dump = world.directory / f"{name}.conf"
            sync = UPSYNC % (consul.path("u"), strong, dump)
            upstreams += f"upstream {name} {{ {line} server 127.0.0.1:11111; {sync} {inside} }}\n"
            places += f"location /{name}/ {{ proxy_pass http://{name}; }}\n"
        return run_lb(CONF, upstreams=upstreams, places=places)

    return start


def part(lb: Any, name: str) -> Counter[bytes]:
    return Counter(who(lb, name))


def test_new_from_consul(site, consul, http_backend):
    """Who is there at the start has its whole weight; who arrives starts slowly, as its entry says."""
    one, two, new, plain, down = (
        http_backend(lambda _, body=body: Reply(body=body)) for body in (b"1", b"2", b"n", b"p", b"d")
    )
    consul.put("u", one.address, weight=1)
    consul.put("u", two.address, weight=1)
    lb = site()
    for name in METHODS:
        assert min(part(lb, name)[body] for body in (b"1", b"2")) > MANY, name
        assert {row["slow_start"] for row in servers(lb, name).values()} == {None}
    consul.put("u", down.address, weight=1, slow_start=3600, down=1)
    consul.put("u", new.address, weight=1, slow_start=3600)
    consul.put("u", plain.address, weight=1)

    def there(name: str) -> bool:
        found = servers(lb, name)
        return new.address in found and plain.address in found and down.address in found

    for name in METHODS:
        wait_for(lambda name=name: there(name), "the new ones")
        wait_for(lambda name=name: servers(lb, name)[new.address]["slow_start"] is not None, "its slow start")
        found = part(lb, name)
        assert found[b"n"] < FEW < found[b"p"] + 8, (name, found)
        assert found[b"d"] == 0
    consul.put("u", down.address, weight=1, slow_start=3600)  # an operator brings it up
    for name in METHODS:
        wait_for(lambda name=name: servers(lb, name)[down.address]["slow_start"] is not None, "it to come up")
        assert part(lb, name)[b"d"] < FEW, name


def test_upsync_slow_start_is_for_all_that_arrive(site, consul, http_backend):
    one, new = (http_backend(lambda _, body=body: Reply(body=body)) for body in (b"1", b"n"))
    consul.put("u", one.address, weight=1)
    lb = site("upsync_slow_start 1h;")
    consul.put("u", new.address, weight=1)
    for name in METHODS:
        wait_for(lambda name=name: new.address in servers(lb, name), "the new one")
        wait_for(lambda name=name: servers(lb, name)[new.address]["slow_start"] is not None, "its slow start")
        assert part(lb, name)[b"n"] < FEW, name
    consul.delete("u", one.address)  # now it is the only one
    for name in METHODS:
        wait_for(lambda name=name: one.address not in servers(lb, name), "the old one to leave")
        assert part(lb, name) == {b"n": COUNT}, name


def test_where_all_are_new_nobody_starts_slowly(site, consul, http_backend):
    """As at a start without Consul: its first answer takes the place of what the file had."""
    first = http_backend()
    lb = site("upsync_slow_start 1h;", "off")
    lb.expect_log("upsync|consul")
    consul.put("u", first.address, weight=1)
    for name in METHODS:
        wait_for(lambda name=name: first.address in servers(lb, name), "the list")
        assert servers(lb, name)[first.address]["slow_start"] is None, name
