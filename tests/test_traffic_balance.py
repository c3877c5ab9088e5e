"""Which server gets a request: weights, backup, down, max_conns, the three balancers; servers and locations by name."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from tests.harness.backend import Reply
from tests.harness.wait import wait_for

UPSTREAM = """
http {
    access_log off;
    upstream u { @head@ @servers@ }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
}
"""


@pytest.fixture
def balanced(run_lb):
    """balanced(*"address parameters", head="") -> Lb."""

    def start(*servers, head=""):
        return run_lb(UPSTREAM, head=head, servers=" ".join(f"server {server};" for server in servers))

    return start


def answers(client, count, **options):
    return Counter(client.request(**options).body.decode() for _ in range(count))


def test_round_robin_by_weight(balanced, http_backend, connect):
    a, b, c = http_backend(), http_backend(), http_backend()
    lb = balanced(f"{a.address} weight=5", b.address, f"{c.address} weight=2")
    got = answers(connect(lb.port("http")), 80)
    assert got == {a.address: 50, b.address: 10, c.address: 20}


def test_round_robin_is_smooth(balanced, http_backend, connect):
    """Weights 5, 1, 1: the heavy server is never taken more than three times in a row (nginx: a a b a c a a)."""
    a, b, c = http_backend(), http_backend(), http_backend()
    client = connect(balanced(f"{a.address} weight=5", b.address, c.address).port("http"))
    turns = [client.request().body.decode() == a.address for _ in range(70)]
    runs = "".join("a" if turn else " " for turn in turns).split()
    assert max(len(run) for run in runs) <= 4
    assert sum(turns) == 50


def test_down_gets_nothing(balanced, http_backend, connect):
    a, b = http_backend(), http_backend()
    assert answers(connect(balanced(f"{a.address} down", b.address).port("http")), 10) == {b.address: 10}
    assert a.accepted == 0


def test_backup_only_when_all_others_fail(balanced, http_backend, world, connect):
    a, b = http_backend(), http_backend()
    client = connect(balanced(f"{a.address} max_fails=1 fail_timeout=60", f"{b.address} backup").port("http"))
    assert answers(client, 10) == {a.address: 10}
    a.stop()
    assert answers(client, 10) == {b.address: 10}


def test_all_down_is_502(balanced, http_backend, connect):
    a, b = http_backend(), http_backend()
    lb = balanced(f"{a.address} down", f"{b.address} down")
    assert connect(lb.port("http")).request().status == 502
    assert a.accepted == b.accepted == 0
    lb.wait_log(r"no live upstreams while connecting to upstream")


def test_max_conns(balanced, http_backend, connect):
    release = threading.Event()
    a = http_backend(lambda _: Reply(body=b"a", wait=release))
    b = http_backend(lambda _: Reply(body=b"b", wait=release))
    lb = balanced(f"{a.address} max_conns=2", b.address)
    clients = [connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(10)]
    wait_for(lambda: len(a.requests) + len(b.requests) == 10)
    assert (len(a.requests), len(b.requests)) == (2, 8)
    release.set()
    assert Counter(client.response().body for client in clients) == {b"a": 2, b"b": 8}


def test_least_conn_prefers_the_idle_server(balanced, http_backend, connect):
    release = threading.Event()
    a = http_backend(lambda _: Reply(body=b"a", wait=release))
    b = http_backend(lambda _: Reply(body=b"b"))
    lb = balanced(a.address, b.address, head="least_conn;")
    clients = [connect(lb.port("http")) for _ in range(3)]
    for client in clients[:2]:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: a.requests)
    # `a` has a request and never answers: all others go to `b`
    assert answers(clients[2], 10) == {"b": 10}
    release.set()
    assert sorted(client.response().body for client in clients[:2]) == [b"a", b"b"]


def test_ip_hash_keeps_a_client_at_its_server(balanced, http_backend, connect):
    backends = [http_backend() for _ in range(4)]
    lb = balanced(*(b.address for b in backends), head="ip_hash;")
    for last in range(1, 6):  # nginx hashes the first three octets
        got = answers(connect(lb.port("http"), source=f"127.0.{last}.1"), 10)
        assert len(got) == 1
    assert len({next(iter(answers(connect(lb.port("http"), source=f"127.{n}.0.1"), 1))) for n in range(30)}) > 1


def test_ip_hash_moves_on_when_the_server_fails(balanced, http_backend, connect):
    backends = {b.address: b for b in (http_backend(), http_backend(), http_backend())}
    client = connect(balanced(*backends, head="ip_hash;").port("http"))
    first = client.request().body.decode()
    backends[first].stop()
    others = answers(client, 10)
    assert sum(others.values()) == 10
    assert first not in others


NAMES = """
http {
    access_log off;
    server { listen 127.0.0.1:@http@; server_name one.example; location / { return 200 one; } }
    server { listen 127.0.0.1:@http@; server_name two.example alias.example; location / { return 200 two; } }
    server { listen 127.0.0.1:@http@ default_server; server_name _; location / { return 200 default; } }
    server { listen 127.0.0.1:@other@; server_name one.example; location / { return 200 other; } }
}
"""


def test_server_by_name(run_lb, connect):
    lb = run_lb(NAMES)
    client = connect(lb.port("http"))
    expected = {
        "one.example": b"one", "ONE.Example:8080": b"one", "two.example": b"two", "alias.example": b"two",
        "three.example": b"default", "one.example.": b"one",
    }  # fmt: skip
    got = {host: client.request(headers=f"Host: {host}\r\n").body for host in expected}
    assert got == expected
    assert connect(lb.port("other")).request(headers="Host: two.example\r\n").body == b"other"


LOCATIONS = """
http {
    access_log off;
    server {
        listen 127.0.0.1:@http@;
        location / { return 200 root; }
        location /a { return 200 a; }
        location /a/b/ { return 200 ab; }
        location = /a/exact { return 200 exact; }
        location /moved/ { proxy_pass http://127.0.0.1:@backend@/new/; }
        location /kept/ { proxy_pass http://127.0.0.1:@backend@; }
    }
}
"""


def test_longest_location_wins(run_lb, http_backend, connect):
    lb = run_lb(LOCATIONS, backend=http_backend().port)
    client = connect(lb.port("http"))
    expected = {
        "/": b"root", "/x": b"root", "/a": b"a", "/abc": b"a", "/a/b": b"a", "/a/b/": b"ab", "/a/b/c?d": b"ab",
        "/a/exact": b"exact", "/a/exact?q=/a/b/": b"exact", "/a/exact/": b"a", "/a/./b/c": b"ab",
        "/x/../a/exact": b"exact", "/%61/exact": b"exact", "//a//b/": b"ab",
    }  # fmt: skip
    assert {target: client.request(target=target).body for target in expected} == expected


def test_proxy_pass_with_and_without_uri(run_lb, http_backend, connect):
    backend = http_backend()
    client = connect(run_lb(LOCATIONS, backend=backend.port).port("http"))
    targets = ["/moved/x?y=1", "/kept/x?y=1", "/kept/a%2Fb"]
    assert [client.request(target=target).status for target in targets] == [200] * 3
    assert [request.target for request in backend.requests] == ["/new/x?y=1", "/kept/x?y=1", "/kept/a%2Fb"]


def test_requests_of_one_worker_spread_over_workers(run_lb, http_backend, connect):
    """Two workers, each with its own round robin: together they are still fair, and both work."""
    a, b = http_backend(), http_backend()
    text = "worker_processes 2;\n" + UPSTREAM
    lb = run_lb(text, head="", servers=f"server {a.address}; server {b.address};")
    for _ in range(40):
        with connect(lb.port("http")) as client:
            assert client.request().status == 200
    counts = sorted([len(a.requests), len(b.requests)])
    assert sum(counts) == 40
    assert counts[0] >= 18  # each worker is exact by itself: at most one request apart in each
