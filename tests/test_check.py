"""Active checks by a process of their own: what they ask, how they judge, and what a worker does with it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter

import psutil
import pytest

from tests.harness.backend import Reply
from tests.harness.lb import title_of
from tests.harness.wait import wait_for

CONF = """
worker_processes 2;
http {
    access_log off;
    upstream u { @method@ @servers@ @check@ }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
}
"""
FAST = "check interval=50 rise=2 fall=2 timeout=400 type=http;"


@pytest.fixture
def checked(run_lb):
    """checked(*"address parameters", check=, method=) -> Lb."""

    def start(*servers, check=FAST, method=""):
        lines = " ".join(f"server {server};" for server in servers)
        return run_lb(CONF, servers=lines, check=check, method=method)

    return start


class Server:
    """A backend whose checks can be made to fail: what is asked with GET /up is a check."""

    def __init__(self, http_backend):
        self.status = 200
        self.checks = 0
        self.served = 0
        self.connections: set[int] = set()
        self.backend = http_backend(self.answer)
        self.address = self.backend.address

    def answer(self, request):
        if request.target == "/up":
            self.checks += 1
            self.connections.add(request.connection)
            return Reply(self.status, b"checked")
        self.served += 1
        return Reply(body=self.address.encode())


SEND = r'check_http_send "GET /up HTTP/1.1\r\nHost: $check_host\r\n\r\n";'


@pytest.fixture
def server(http_backend):
    return lambda: Server(http_backend)


def checker(lb) -> psutil.Process:
    return next(one for one in lb.master.children() if title_of(one).startswith("lb: checker process"))


def answers(lb, connect, count=20):
    """Of as many requests: the bodies (or statuses) of both workers."""
    found = Counter()
    for _ in range(count):
        reply = connect(lb.port("http")).request()
        found[reply.body.decode() if reply.status == 200 else reply.status] += 1
    return found


def test_a_server_whose_checks_fail_gets_nothing_until_they_pass_again(checked, server, connect):
    a, b = server(), server()
    lb = checked(a.address, b.address, check=FAST + SEND)
    lb.wait_log(f"enable check peer: {a.address} ")
    lb.wait_log(f"enable check peer: {b.address} ")
    assert answers(lb, connect).keys() == {a.address, b.address}
    a.status = 503
    lb.wait_log(f"disable check peer: {a.address} : refusing answer 503")
    assert answers(lb, connect) == {b.address: 20}
    b.status = 404
    lb.wait_log(f"disable check peer: {b.address} : refusing answer 404")
    assert answers(lb, connect, 4) == {502: 4}
    assert "no live upstreams" in lb.log
    a.status = 302
    wait_for(lambda: lb.log.count(f"enable check peer: {a.address} ") == 2)
    assert answers(lb, connect) == {a.address: 20}


def test_until_the_first_checks_have_passed_a_server_is_down(checked, server, connect):
    a = server()
    a.status = 500
    lb = checked(a.address, check=FAST + SEND)
    assert answers(lb, connect, 2) == {502: 2}
    lb.wait_log(f"disable check peer: {a.address} ")
    a.status = 200
    lb.wait_log(f"enable check peer: {a.address} ")
    assert answers(lb, connect, 2) == {a.address: 2}


def test_with_default_down_false_it_is_up_until_they_fail(checked, server, connect):
    a = server()
    a.status = 500
    lb = checked(a.address, check="check interval=1000 fall=3 type=http default_down=false;" + SEND)
    assert answers(lb, connect, 2) == {a.address: 2}
    lb.wait_log(f"disable check peer: {a.address} ")
    assert answers(lb, connect, 2) == {502: 2}


def test_the_first_checks_do_not_wait_for_the_interval(checked, server):
    """The module's defaults would take a minute: rise=2 interval=30000."""
    a = server()
    checked(a.address, check="check type=http;" + SEND).wait_log(f"enable check peer: {a.address} ")


def test_connections_are_kept_for_the_next_check(checked, server):
    a = server()
    checked(a.address, check=FAST + SEND + "check_keepalive_requests 5;")
    wait_for(lambda: a.checks >= 12)
    assert len(a.connections) <= 3
    b = server()
    checked(b.address, check=FAST + SEND + "check_keepalive_requests 1;")
    wait_for(lambda: b.checks >= 5)
    assert len(b.connections) >= 5


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_kept_connection_that_ends_as_it_is_asked_says_nothing_of_the_server(checked, raw_backend, end):
    """A server that closes idle connections just then: it is asked again on a new one, and not failed."""

    def script(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.recv_head()
        if end == "reset":
            connection.reset()

    a = raw_backend(script)
    lb = checked(a.address, check="check interval=20 rise=1 fall=1 timeout=2s type=http;" + SEND)
    wait_for(lambda: a.accepted >= 8)
    assert "disable" not in lb.log and "check failed" not in lb.log


def test_one_that_ends_new_connections_too_is_failed(checked, raw_backend):
    answers_once = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]

    def script(connection):
        connection.recv_head()
        if answers_once:
            connection.send(answers_once.pop())
            connection.recv_head()

    lb = checked(raw_backend(script).address, check="check interval=20 rise=1 fall=1 timeout=2s type=http;" + SEND)
    lb.wait_log("disable check peer: .* : the (server closed the connection|connection broke)")


def test_what_is_expected_is_said(checked, server, connect):
    a = server()
    a.status = 404
    lb = checked(a.address, check=FAST + SEND + "check_http_expect_alive http_4xx;")
    lb.wait_log(f"enable check peer: {a.address} ")
    a.status = 200
    lb.wait_log(f"disable check peer: {a.address} : refusing answer 200")


def test_a_server_that_hangs_on_a_kept_connection_is_noticed(checked, http_backend, connect):
    """With the module it is not: it never asks again on a kept connection."""
    hangs, released = threading.Event(), threading.Event()
    a = http_backend(lambda request: Reply(body=b"a", wait=released if hangs.is_set() else None))
    lb = checked(a.address, check="check interval=50 rise=1 fall=2 timeout=100 type=http;" + SEND)
    lb.wait_log("enable check")
    hangs.set()
    lb.wait_log(f"disable check peer: {a.address} : timed out while waiting for the answer")
    hangs.clear()
    released.set()
    wait_for(lambda: lb.log.count("enable check") == 2)
    assert answers(lb, connect, 2) == {"a": 2}


@pytest.mark.parametrize(
    "method",
    [
        "",
        "least_conn;",
        "ip_hash;",
        "hash $uri;",
        "hash $uri consistent;",
        "random;",
        "random two;",
        "least_time header;",
    ],
)
def test_every_method_obeys(checked, server, connect, method):
    a, b, c = server(), server(), server()
    lb = checked(a.address, b.address, c.address, check=FAST + SEND, method=method)
    for one in (a, b, c):
        lb.wait_log(f"enable check peer: {one.address} ")
    a.status = b.status = 500
    for one in (a, b):
        lb.wait_log(f"disable check peer: {one.address} ")
    assert answers(lb, connect) == {c.address: 20}


def test_backups_are_checked_too(checked, server, connect):
    a, b = server(), server()
    lb = checked(a.address, f"{b.address} backup", check=FAST + SEND)
    lb.wait_log(f"enable check peer: {b.address} ")
    lb.wait_log(f"enable check peer: {a.address} ")
    assert answers(lb, connect, 4) == {a.address: 4}
    a.status = 500
    lb.wait_log(f"disable check peer: {a.address} ")
    assert answers(lb, connect, 4) == {b.address: 4}


def test_a_server_that_is_down_in_the_file_is_not_asked(checked, server):
    a, b = server(), server()
    checked(a.address, f"{b.address} down", check=FAST + SEND)
    wait_for(lambda: a.checks > 3)
    assert b.checks == 0


def test_when_the_checker_dies_what_is_known_holds_and_it_is_started_again(checked, server, connect):
    a, b = server(), server()
    lb = checked(a.address, b.address, check=FAST + SEND)
    lb.expect_log(r"checker process \d+ exited on signal 9")
    lb.wait_log(f"enable check peer: {a.address} ")
    a.status = 500
    lb.wait_log(f"disable check peer: {a.address} ")
    before = checker(lb)
    before.kill()
    lb.wait_log("exited on signal 9")
    assert answers(lb, connect, 6) == {b.address: 6}
    wait_for(lambda: [one for one in lb.master.children() if title_of(one).startswith("lb: checker") and one != before])
    a.status = 200
    wait_for(lambda: lb.log.count(f"enable check peer: {a.address} ") == 2)
    assert lb.log.count(f"enable check peer: {b.address} ") == 1  # it was up all the time
    assert answers(lb, connect).keys() == {a.address, b.address}


def test_a_reload_keeps_what_is_known(checked, server, connect):
    a, b = server(), server()
    lb = checked(a.address, b.address, check=FAST + SEND)
    for one in (a, b):
        lb.wait_log(f"enable check peer: {one.address} ")
    a.status = 500
    lb.wait_log(f"disable check peer: {a.address} ")
    lb.reload()
    assert answers(lb, connect, 6) == {b.address: 6}
    assert lb.log.count(f"disable check peer: {a.address} ") == 1
    a.status = 200
    wait_for(lambda: lb.log.count(f"enable check peer: {a.address} ") == 2)
    assert answers(lb, connect).keys() == {a.address, b.address}


def test_port_is_that_of_the_checks_alone(checked, server, connect):
    a, health = server(), server()
    lb = checked(a.address, check=f"check interval=50 rise=1 fall=1 type=http port={health.backend.port};" + SEND)
    lb.wait_log("enable check")
    assert answers(lb, connect, 2) == {a.address: 2} and a.checks == 0 and health.checks > 0
    health.status = 500
    lb.wait_log("disable check")
    assert answers(lb, connect, 2) == {502: 2}


def test_a_start_waits_for_the_first_checks(checked, server, connect):
    """Not a moment of 502, though servers are down until they have been checked."""
    a = server()
    lb = checked(a.address, check="check type=http;" + SEND)
    assert answers(lb, connect, 4) == {a.address: 4}


def test_a_reload_with_new_servers_does_so_too(checked, server, connect):
    a, b = server(), server()
    lb = checked(a.address, check="check type=http;" + SEND)
    lb.reload(lb.file.read_text().replace(a.address, b.address))
    assert answers(lb, connect, 4) == {b.address: 4}


CONSUL = """
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    upstream u { server 127.0.0.1:1 down; @check@
        upsync @path@ upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=off;
        upsync_dump_path @dump@; }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
}
"""


def shown(lb) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=10) as answer:
        return {one["address"]: one["state"] for one in json.load(answer)["upstreams"][0]["servers"]}


def test_servers_of_consul_are_checked_when_they_come_and_forgotten_when_they_go(
    run_lb, server, consul, connect, tmp_path
):
    a, b = server(), server()
    consul.put("test", a.address, weight=1)
    lb = run_lb(CONSUL, path=consul.path("test"), dump=tmp_path / "dump", check=FAST + SEND)
    lb.wait_log(f"enable check peer: {a.address} ")
    b.status = 500
    consul.put("test", b.address, weight=1)
    lb.wait_log(f"check failed with peer: {b.address} ")
    wait_for(lambda: shown(lb).get(b.address) == "unhealthy")
    assert answers(lb, connect, 6) == {a.address: 6}
    consul.delete("test", b.address)
    wait_for(lambda: b.address not in shown(lb))
    done = b.checks
    wait_for(lambda: a.checks > 20)
    assert b.checks <= done + 1
    b.status = 200
    consul.put("test", b.address, weight=1)  # what was known of it is forgotten: it begins anew
    lb.wait_log(f"enable check peer: {b.address} ")
    wait_for(lambda: answers(lb, connect, 6).keys() == {a.address, b.address})


SLOW = """
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    upstream u { @method@ server @a@ slow_start=100; server @b@; @check@ }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
}
"""


@pytest.mark.parametrize("method", ["", "least_conn;"])
def test_who_comes_up_begins_with_a_part_of_its_weight(run_lb, server, connect, method):
    a, b = server(), server()
    lb = run_lb(SLOW, a=a.address, b=b.address, check=FAST + SEND, method=method)
    for one in (a, b):
        lb.wait_log(f"enable check peer: {one.address} ")
    a.status = 500
    lb.wait_log(f"disable check peer: {a.address} ")
    assert answers(lb, connect, 4) == {b.address: 4}
    a.status = 200
    wait_for(lambda: lb.log.count(f"enable check peer: {a.address} ") == 2)
    wait_for(lambda: _slow(lb)[a.address] is not None)
    assert answers(lb, connect, 40)[b.address] >= 30


def _slow(lb):
    with urllib.request.urlopen(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=10) as answer:
        return {one["address"]: one["slow_start"] for one in json.load(answer)["upstreams"][0]["servers"]}


def test_idle_connections_to_who_goes_down_are_closed(checked, server, connect):
    a, b = server(), server()
    lb = checked(a.address, b.address, check=FAST + SEND + "check_keepalive_requests 1;")
    for one in (a, b):
        lb.wait_log(f"enable check peer: {one.address} ")
    answers(lb, connect, 20)
    wait_for(lambda: _kept(lb, a) > 0)
    a.status = 500
    lb.wait_log(f"disable check peer: {a.address} ")
    wait_for(lambda: _kept(lb, a) == 0)
    assert _kept(lb, b) > 0


def _kept(lb, one):
    """Connections of workers to this server."""
    found = [worker.net_connections("tcp") for worker in lb.workers]
    return sum(1 for all_ in found for each in all_ if each.raddr and each.raddr.port == one.backend.port)
