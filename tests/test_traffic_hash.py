"""hash, hash consistent and random: the same server as the real nginx for a thousand keys; whom backups, weights and
failures leave; what a change of the list moves."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from tests.harness.backend import Reply
from tests.harness.ketama import ketama, on_ring
from tests.harness.nginx import BINARY, STREAM, Nginx
from tests.harness.wait import free_port, wait_for

KEYS = [f"key-{i * 7919}" for i in range(1000)]
needs_nginx = pytest.mark.skipif(BINARY is None, reason="nginx is not installed")


@pytest.fixture
def nginx(tmp_path):
    (tmp_path / "nginx").mkdir()
    oracle = Nginx(tmp_path / "nginx")
    yield oracle
    oracle.stop()


def ports(count):
    return [free_port() for _ in range(count)]


def backends(numbers):
    """nginx servers that answer with their port."""
    return "".join(f'server {{ listen 127.0.0.1:{port}; return 200 "{port}"; }}' for port in numbers)


FRONT = """
http {{
    {more}
    upstream u {{ {method}; {servers} }}
    server {{ listen 127.0.0.1:{port}; keepalive_requests 100000;
             location / {{ proxy_pass http://u; }} }}
}}
"""


def chosen(client, keys=KEYS):
    return [client.request(target=f"/?k={key}").body.decode() for key in keys]


@needs_nginx
@pytest.mark.parametrize("method", ["hash $arg_k", "hash $arg_k consistent", "hash a$arg_k-$request_uri consistent"])
@pytest.mark.parametrize(
    "parameters",
    [["", "", ""], ["weight=5", "", "weight=2", "weight=3"], ["", "down", "weight=2", "", "", "", "", ""]],
    ids=["equal", "weighted", "one-down"],
)
def test_the_server_that_nginx_takes(run_lb, connect, nginx, method, parameters):
    numbers = ports(len(parameters))
    servers = " ".join(f"server 127.0.0.1:{port} {text};" for port, text in zip(numbers, parameters, strict=True))
    port = free_port()
    nginx.start(FRONT.format(more=backends(numbers), method=method, servers=servers, port=port), port)
    lb = run_lb(FRONT.format(more="access_log off;", method=method, servers=servers, port="@http@"))
    expected = chosen(connect(port))
    assert chosen(connect(lb.port("http"))) == expected
    assert len(set(expected)) == sum("down" not in text for text in parameters)


@needs_nginx
@pytest.mark.parametrize("method", ["hash $arg_k", "hash $arg_k consistent"])
def test_the_server_that_nginx_takes_when_one_fails(run_lb, connect, nginx, method):
    """A server that refuses: its keys go where nginx sends them."""
    numbers = ports(5)
    servers = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=600;" for port in numbers)
    port = free_port()
    nginx.start(FRONT.format(more=backends(numbers[1:]), method=method, servers=servers, port=port), port)
    lb = run_lb(FRONT.format(more="access_log off;", method=method, servers=servers, port="@http@"))
    assert chosen(connect(lb.port("http"))) == chosen(connect(port))


@needs_nginx
def test_names_without_a_port_and_host_names(run_lb, connect, nginx):
    """The ring goes by the text of the `server` line, not by the address that it stands for."""
    numbers = ports(3)
    servers = f"server localhost:{numbers[0]}; server 127.0.0.1:{numbers[1]}; server 127.1:{numbers[2]};"
    port = free_port()
    nginx.start(FRONT.format(more=backends(numbers), method="hash $arg_k consistent", servers=servers, port=port), port)
    lb = run_lb(FRONT.format(more="access_log off;", method="hash $arg_k consistent", servers=servers, port="@http@"))
    assert chosen(connect(lb.port("http"))) == chosen(connect(port))


STREAM_FRONT = """
{http}
stream {{
    upstream u {{ {method}; {servers} }}
    server {{ listen 127.0.0.1:{port}; proxy_pass u; }}
}}
"""


@needs_nginx
@pytest.mark.skipif(not STREAM.exists(), reason="nginx has no stream module")
@pytest.mark.parametrize("method", ["hash $remote_addr", "hash $remote_addr consistent", "hash $remote_addr-$protocol"])
def test_stream_takes_the_server_that_nginx_takes(run_lb, connect, nginx, method):
    numbers = ports(4)
    servers = " ".join(f"server 127.0.0.1:{port};" for port in numbers)
    port = free_port()
    text = STREAM_FRONT.format(http=f"http {{ {backends(numbers)} }}", method=method, servers=servers, port=port)
    nginx.start(text, port)
    sources = [f"127.0.1.{i}" for i in range(1, 60)]
    expected = [connect(port, source=source).request().body for source in sources]
    nginx.stop()
    nginx.start(text.replace(f"listen 127.0.0.1:{port}", f"listen 127.0.0.1:{free_port()}"), numbers[0])
    lb = run_lb(STREAM_FRONT.format(http="", method=method, servers=servers, port="@tcp@"), tcp=port)
    assert [connect(lb.port("tcp"), source=source).request().body for source in sources] == expected
    assert len(set(expected)) > 1


def test_an_empty_key_is_round_robin(run_lb, http_backend, connect):
    made = [http_backend() for _ in range(3)]
    servers = " ".join(f"server {one.address};" for one in made)
    for method in ("hash $arg_none", "hash $arg_none consistent"):
        lb = run_lb(FRONT.format(more="access_log off;", method=method, servers=servers, port="@http@"))
        client = connect(lb.port("http"))
        assert Counter(client.request().body.decode() for _ in range(30)) == {one.address: 10 for one in made}


@pytest.mark.parametrize("method", ["random", "random two", "random two least_conn"])
def test_random(run_lb, http_backend, connect, method):
    """By weight (within wide bounds), never a server that is down, and past one that refuses."""
    a, b, c = http_backend(), http_backend(), http_backend()
    dead = free_port()
    servers = f"server {a.address} weight=3; server {b.address}; server {c.address} down; server 127.0.0.1:{dead};"
    lb = run_lb(FRONT.format(more="access_log off;", method=method, servers=servers, port="@http@"))
    client = connect(lb.port("http"))
    got = Counter(client.request().body.decode() for _ in range(800))
    assert set(got) == {a.address, b.address}
    # 6 sigma; of two both are idle, and the first, which was drawn by weight, wins the tie (nginx: the second, so 600)
    assert abs(got[b.address] - 200) < 75
    assert got.total() == 800


def test_random_two_avoids_the_busy_server(run_lb, http_backend, connect):
    release = threading.Event()
    a = http_backend(lambda request: Reply(body=b"a", wait=release if request.target == "/wait" else None))
    b = http_backend(lambda request: Reply(body=b"b", wait=release if request.target == "/wait" else None))
    lb = run_lb(
        FRONT.format(
            more="access_log off;",
            method="random two",
            servers=f"server {a.address}; server {b.address};",
            port="@http@",
        )
    )
    held = connect(lb.port("http")).send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: len(a.requests) + len(b.requests) == 1)
    free = b"b" if a.requests else b"a"
    client = connect(lb.port("http"))
    # Two picks that are twice the busy server, 20 times in a row, are the one way to it.
    assert {client.request().body for _ in range(50)} == {free}
    release.set()
    held.response()


def test_the_ring_follows_each_change(run_lb, http_backend, connect, consul):
    """Merged from the last ring and what changed, over and over: always the ring that the list would give anew."""
    made = [http_backend() for _ in range(6)]
    weights = {one.address: 1 for one in made[:3]}
    for address in weights:
        consul.put("u", address)
    lb = run_lb(
        """http { access_log off; keepalive_requests 1000000;
            upstream u { hash $arg_k consistent; server 127.0.0.1:9; upsync_dump_path u.dump;
                         upsync @consul@ upsync_interval=10ms upsync_type=consul strong_dependency=on; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }""",
        consul=consul.path("u"),
    )
    client = connect(lb.port("http"))
    keys = KEYS[:200]
    for number, weight in ((3, 1), (0, 4), (1, 0), (4, 3), (0, 1), (1, 2), (3, 0), (5, 1), (0, 0)):
        address = made[number].address
        if weight:
            weights[address] = weight
            consul.put("u", address, weight=weight)
        else:
            del weights[address]
            consul.delete("u", address)
        expected = on_ring(ketama(weights), keys)
        wait_for(lambda expected=expected: chosen(client, keys) == expected)


def test_consul_moves_few_keys(run_lb, http_backend, connect, consul):
    """The ring is built anew from Consul's list: a server that leaves gives up its own keys only."""
    made = [http_backend() for _ in range(5)]
    for one in made:
        consul.put("u", one.address)
    lb = run_lb(
        """http { access_log off;
            upstream u { hash $arg_k consistent;
                         upsync @consul@ upsync_timeout=6m upsync_interval=50ms upsync_type=consul;
                         server @first@; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }""",
        consul=consul.path("u"),
        first=made[0].address,
    )
    client = connect(lb.port("http"))
    wait_for(lambda: len(set(chosen(client, KEYS[:100]))) == 5)
    before = chosen(client, KEYS[:300])
    consul.delete("u", made[2].address)
    wait_for(lambda: made[2].address not in chosen(client, KEYS[:100]))
    after = chosen(client, KEYS[:300])
    assert all(x == y for x, y in zip(before, after, strict=True) if x != made[2].address)
