"""Counters of servers and workers through the real lb: they add up against what the clients did, whatever happens."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.harness import backend as raw
from tests.harness.backend import Reply
from tests.harness.wait import free_port, wait_for
from tests.master_tools import pids, workers

HTTP = """
worker_processes 2;
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    upstream u { @servers@ }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; @inside@ } }
}
"""


def status(lb: Any) -> dict[str, Any]:
    with lb.client("status") as client:
        answer = client.request(target="/status.json")
        assert answer.status == 200
        return json.loads(answer.body)


def upstream(lb: Any, name: str = "u") -> dict[str, Any]:
    return next(one for one in status(lb)["upstreams"] if one["name"] == name)


def servers(lb: Any, name: str = "u") -> dict[str, dict[str, Any]]:
    return {one["address"]: one for one in upstream(lb, name)["servers"]}


def totals(lb: Any, name: str = "u") -> dict[str, Any]:
    return upstream(lb, name)["totals"]


@pytest.fixture
def proxy(run_lb):
    """proxy(*backends, inside="") -> Lb; a backend is one, or an address."""

    def start(*backends, inside=""):
        lines = [f"server {getattr(one, 'address', one)};" for one in backends]
        return run_lb(HTTP, servers=" ".join(lines), inside=inside)

    return start


def ask(lb: Any, count: int, target: str = "/", status: int = 200) -> None:
    for _ in range(count):
        with lb.client() as client:
            assert client.request(target=target).status == status


def test_requests_add_up(proxy, http_backend):
    """By server and in all; classes of answers; bytes as the servers saw them; times for each."""
    statuses = {"/200": 200, "/301": 301, "/404": 404, "/503": 503}
    backends = [http_backend(lambda request: Reply(statuses[request.target], body=b"x" * 100)) for _ in range(2)]
    lb = proxy(*backends)
    for target, code in statuses.items():
        ask(lb, 6, target, code)
    wait_for(lambda: totals(lb)["requests"] == 24, lambda: f"{totals(lb)}")
    found = totals(lb)
    assert found["responses"] == {"1xx": 0, "2xx": 6, "3xx": 6, "4xx": 6, "5xx": 6}
    assert found["bytes_in"] > 2400
    assert (found["active"], found["failures"], found["retries"], found["no_live"]) == (0, 0, 0, 0)
    assert found["connects"] == found["connect"]["count"] >= 2
    assert found["first_byte"]["count"] == found["response"]["count"] == 24
    assert 0 < found["response"]["p50"] <= found["response"]["p99"]
    for backend in backends:
        assert servers(lb)[backend.address]["requests"] == len(backend.requests)
        assert servers(lb)[backend.address]["state"] == "up"


def test_sums_never_fall_over_a_kill_and_reloads(proxy, http_backend):
    """Also while workers die and new ones begin: every look in between shows at least what was there before."""
    backends = [http_backend(lambda _: Reply()) for _ in range(2)]
    lb = proxy(*backends)
    ask(lb, 10)
    wait_for(lambda: totals(lb)["requests"] == 10)
    before = {address: one["requests"] for address, one in servers(lb).items()}
    lb.expect_log("exited on signal 9")
    old = pids(lb)
    workers(lb)[0].kill()
    wait_for(lambda: totals(lb)["requests"] == 10 and len(pids(lb)) == 2 and pids(lb) != old)
    assert {address: one["requests"] for address, one in servers(lb).items()} == before
    lb.wait_ready()
    ask(lb, 5)
    for count in (15, 20):
        lb.reload()
        ask(lb, 5)
        wait_for(lambda count=count: totals(lb)["requests"] == count + 5, lambda: f"{totals(lb)}")
    told = status(lb)
    assert sum(one["requests"] for one in servers(lb).values()) == 25
    assert (told["reload"]["count"], told["reload"]["result"], told["restarts"]) == (2, "ok", 1)
    assert {one["state"] for one in servers(lb).values()} == {"up"}
    since = {one["since"] for one in servers(lb).values()}
    assert since == {told["started"]}, "neither a new worker nor a reload has changed a server"


def test_failed_server_and_the_next_one(proxy, http_backend):
    """A refused connection is a failure and a retry; the server is failed, with the time and that of the next try."""
    good = http_backend(lambda _: Reply())
    dead = f"127.0.0.1:{free_port()}"
    lb = proxy(good, dead)
    ask(lb, 12)
    found = wait_for(lambda: servers(lb) if totals(lb)["retries"] else None)
    bad, well = found[dead], found[good.address]
    assert (well["requests"], well["state"], well["failures"]) == (12, "up", 0)
    assert bad["state"] == "failed"
    assert bad["failures"] == bad["retries"] == bad["requests"] == bad["connects"] > 0
    assert status(lb)["started"] < bad["since"] < bad["retry_at"]
    assert bad["connect"]["count"] == bad["response"]["count"] == 0


def test_no_live_servers(run_lb):
    """Two servers that fail at once: further requests find none."""
    dead = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    lb = run_lb(
        HTTP.replace("worker_processes 2", "worker_processes 1"),
        servers=" ".join(f"server {one};" for one in dead),
        inside="",
    )
    ask(lb, 3, status=502)
    found = totals(lb)
    assert (found["no_live"], found["failures"], found["retries"], found["requests"]) == (2, 2, 1, 2)


def test_server_comes_back(run_lb, http_backend):
    """failed, and up again since the try that worked."""
    broken = [True]
    backend = http_backend(lambda _: Reply(503) if broken[0] else Reply())
    other = http_backend(lambda _: Reply())
    lb = run_lb(
        HTTP.replace("worker_processes 2", "worker_processes 1"),
        servers=f"server {backend.address} fail_timeout=1s; server {other.address};",
        inside="proxy_next_upstream http_503;",
    )
    ask(lb, 2)
    failed = wait_for(lambda: one if (one := servers(lb)[backend.address])["state"] == "failed" else None)
    broken[0] = False

    def tried() -> bool:
        ask(lb, 1)
        return servers(lb)[backend.address]["state"] == "up"

    wait_for(tried)
    assert servers(lb)[backend.address]["since"] > failed["since"]


def test_addresses_that_variables_give(run_lb, http_backend):
    """They are of no upstream: counted together."""
    backend = http_backend(lambda _: Reply())
    lb = run_lb(
        "status_listen 127.0.0.1:@status@;\nhttp { access_log off; "
        "server { listen 127.0.0.1:@http@; location / { proxy_pass http://127.0.0.1:$arg_p; } } }"
    )
    ask(lb, 3, f"/?p={backend.port}")
    assert status(lb)["direct"]["requests"] == status(lb)["direct"]["responses"]["2xx"] == 3
    assert status(lb)["upstreams"] == []


STREAM = """
worker_processes 2;
status_listen 127.0.0.1:@status@;
stream {
    upstream u { @servers@ }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; }
}
"""


def test_sessions(run_lb, raw_backend, connect):
    """Bytes of a session count while it runs; stub_status counts it as open, and as nothing else, as nginx."""
    backend = raw_backend(raw.echo)
    lb = run_lb(STREAM, servers=f"server {backend.address};")
    clients = [connect(lb.port("tcp")) for _ in range(4)]
    for client in clients:
        assert client.send(b"x" * 1000).recv_exactly(1000) == b"x" * 1000
    found = wait_for(lambda: one if (one := totals(lb))["bytes_in"] == 4000 else None, lambda: f"{totals(lb)}")
    assert (found["requests"], found["active"], found["bytes_out"], found["first_byte"]["count"]) == (4, 4, 4000, 4)
    assert (found["connect"]["count"], found["response"]["count"]) == (4, 0)
    told = status(lb)["connections"]
    assert (told["active"], told["reading"], told["writing"], told["waiting"]) == (4, 0, 0, 0)
    for client in clients:
        client.close()
    wait_for(lambda: totals(lb)["active"] == 0)
    assert totals(lb)["response"]["count"] == 4


VALUE = '{"weight":2, "max_fails":2, "fail_timeout":10}'
UPSYNC = HTTP.replace(
    "@servers@",
    "server 127.0.0.1:11111;\n upsync @path@ upsync_timeout=6m upsync_interval=100ms upsync_type=consul"
    " strong_dependency=off;\n upsync_dump_path @dump@;",
)


@pytest.mark.consul
def test_servers_come_and_go(run_lb, http_backend, consul, tmp_path):
    """The sum of the upstream stays when a server goes, and its own counts are back when it comes back."""
    backends = [http_backend(lambda _: Reply()) for _ in range(2)]
    for backend in backends:
        consul.put("u", backend.address, VALUE)
    lb = run_lb(UPSYNC, path=consul.path("u"), dump=tmp_path / "d", inside="")
    first, second = (backend.address for backend in backends)
    wait_for(lambda: servers(lb).keys() == {first, second})
    ask(lb, 10)
    wait_for(lambda: totals(lb)["requests"] == 10, lambda: f"{totals(lb)}")
    assert servers(lb)[first]["weight"] == 2
    before = servers(lb)[second]["requests"]
    assert before > 0
    consul.delete("u", second)
    wait_for(lambda: servers(lb).keys() == {first})
    assert totals(lb)["requests"] == 10
    ask(lb, 4)
    consul.put("u", second, VALUE)
    started = status(lb)["started"]
    wait_for(lambda: second in (one := servers(lb)) and (one[second]["since"] or 0) > started)
    wait_for(lambda: totals(lb)["requests"] == 14)
    assert servers(lb)[second]["requests"] >= before


@pytest.mark.consul
def test_removed_server_drains(run_lb, http_backend, connect, consul, tmp_path):
    """While its last request runs it is shown, as draining."""
    release = threading.Event()
    slow = http_backend(lambda _: Reply(wait=release))
    other = http_backend(lambda _: Reply())
    consul.put("u", slow.address, VALUE)
    lb = run_lb(UPSYNC, path=consul.path("u"), dump=tmp_path / "d", inside="")
    wait_for(lambda: servers(lb).keys() == {slow.address})
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: servers(lb)[slow.address]["active"] == 1)
    consul.put("u", other.address, VALUE)
    consul.delete("u", slow.address)
    found = wait_for(lambda: one if (one := servers(lb)[slow.address])["state"] == "draining" else None)
    assert found["active"] == 1
    release.set()
    assert client.response().status == 200
    wait_for(lambda: servers(lb).keys() == {other.address})


def test_stub_status_of_a_silent_client(run_lb, connect):
    """Accepted and silent: waiting, as in nginx; with half a head: reading; between requests: waiting."""
    lb = run_lb(
        "status_listen 127.0.0.1:@status@;\nhttp { access_log off; server { listen 127.0.0.1:@http@; return 200 r; } }"
    )

    def told() -> tuple[int, int, int, int]:
        found = status(lb)["connections"]
        return found["active"], found["reading"], found["writing"], found["waiting"]

    silent, half, idle = (connect(lb.port("http")) for _ in range(3))
    wait_for(lambda: told() == (3, 0, 0, 3), lambda: f"{told()}")
    half.send(b"GET / HT")
    assert idle.request().status == 200
    wait_for(lambda: told() == (3, 1, 0, 2), lambda: f"{told()}")
    for client in (silent, half, idle):
        client.close()
    wait_for(lambda: told() == (0, 0, 0, 0))


def test_sessions_over_a_reload(run_lb, raw_backend, connect):
    """An old worker's session counts on, and is part of the sums when its worker has ended."""
    backend = raw_backend(raw.echo)
    lb = run_lb(STREAM, servers=f"server {backend.address};")
    old = connect(lb.port("tcp"))
    assert old.send(b"x" * 100).recv_exactly(100) == b"x" * 100
    lb.reload()
    new = connect(lb.port("tcp"))
    for client in (old, new):
        assert client.send(b"x" * 100).recv_exactly(100) == b"x" * 100
    wait_for(lambda: totals(lb)["bytes_in"] == totals(lb)["bytes_out"] == 300, lambda: f"{totals(lb)}")
    assert (totals(lb)["active"], totals(lb)["requests"]) == (2, 2)
    assert servers(lb)[backend.address]["state"] == "up"
    old.close()
    wait_for(lambda: {one["generation"] for one in status(lb)["workers"]} == {2})
    wait_for(lambda: totals(lb)["active"] == 1)
    assert (totals(lb)["bytes_in"], totals(lb)["requests"], totals(lb)["response"]["count"]) == (300, 2, 1)


def test_failed_stays_failed_over_a_reload(proxy, http_backend):
    good = http_backend(lambda _: Reply())
    dead = f"127.0.0.1:{free_port()}"
    lb = proxy(good, dead)
    ask(lb, 12)
    before = wait_for(lambda: one if (one := servers(lb)[dead])["state"] == "failed" else None)
    lb.reload()
    after = wait_for(lambda: servers(lb)[dead] if status(lb)["generation"] == 2 else None)
    assert (after["state"], after["since"]) == ("failed", before["since"])


def test_since_when_over_a_reload_that_nobody_watched(proxy, http_backend):
    good = http_backend(lambda _: Reply())
    dead = f"127.0.0.1:{free_port()}"
    lb = proxy(good, dead)
    ask(lb, 12)
    lb.wait_log("upstream server temporarily disabled")
    lb.reload()
    assert servers(lb)[dead]["state"] == "failed"
    assert servers(lb)[dead]["since"] > status(lb)["started"]


def test_tunnels(run_lb, raw_backend, connect):
    """An upgraded connection: a 1xx answer, and bytes while it is open."""

    def switch(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        raw.echo(connection)

    backend = raw_backend(switch)
    lb = run_lb(
        HTTP,
        servers=f"server {backend.address};",
        inside='proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";',
    )
    client = connect(lb.port("http"))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    assert b" 101 " in client.recv_until(b"\r\n\r\n")
    assert client.send(b"x" * 5000).recv_exactly(5000) == b"x" * 5000
    found = wait_for(lambda: one if (one := totals(lb))["bytes_in"] > 5000 else None, lambda: f"{totals(lb)}")
    assert (found["responses"]["1xx"], found["active"], found["first_byte"]["count"]) == (1, 1, 1)
    assert found["bytes_out"] > 5000
    client.close()
    wait_for(lambda: totals(lb)["active"] == 0)
