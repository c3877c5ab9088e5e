"""The cutting transport (lb/fast/io/cutting.pyx): it is there in builds with checks, it cuts, and a release refuses it.

What it is for, the tests of traffic that run on it as well, is in conftest.py (ON_BOTH) and in `make cutting`.
"""

from __future__ import annotations

import os

import pytest

from lb import _fast
from tests.conftest import has_cutting
from tests.harness.lb import connections
from tests.harness.wait import wait_for
from tests.lone_engine import LoneEngine, in_child

CONF = """events {{}}
http {{ access_log off;
    upstream u {{ server 127.0.0.1:{port}; }}
    server {{ listen 127.0.0.1:{listen}; location / {{ proxy_pass http://u; }} }}
}}
"""
REQUESTS = 30


def turns(tmp_path, seed, most, least):
    """In the child: what `REQUESTS` requests, each on its own connection, cost in turns of the loop."""
    os.environ.pop("LB_CUTTING", None)
    if seed:
        os.environ["LB_CUTTING"] = seed
    engine = LoneEngine(tmp_path, CONF)
    engine.publish(0, [engine.server("127.0.0.1")])
    before = engine.stats("turns")
    for _ in range(REQUESTS):
        assert engine.get() == "127.0.0.1"
    wait_for(lambda: engine.stats("clients") == 0)
    taken = engine.stats("turns") - before
    engine.end()
    assert least <= taken <= most, taken


def refused(tmp_path):
    os.environ["LB_CUTTING"] = "1"
    with pytest.raises(RuntimeError, match="LB_CUTTING: this build has no cutting transport"):
        LoneEngine(tmp_path, CONF)


def test_the_harness_knows_which_builds_have_it():
    assert has_cutting() == _fast.CUTTING


@pytest.mark.skipif(_fast.CUTTING, reason="this build has it")
def test_a_release_refuses_it(tmp_path):
    in_child(refused, tmp_path)


@pytest.mark.skipif(not _fast.CUTTING, reason="a release build has none")
@pytest.mark.parametrize("seed", ["1", "77"])
def test_it_cuts(tmp_path, seed):
    """Every "not now" and every rest is a turn more. A plain request has about six."""
    in_child(turns, tmp_path, seed, 10**9, 15 * REQUESTS)


def test_plain_sockets_are_not_cut(tmp_path):
    in_child(turns, tmp_path, "", 12 * REQUESTS, REQUESTS)


# ---- the state between socket and protocol, which plain sockets pass at once

needs_it = pytest.mark.skipif(not _fast.CUTTING, reason="a release build has none")
HTTP = """http {
    access_log off;
    client_header_timeout 1s;
    proxy_connect_timeout 1s;
    upstream u { server @one@; server @two@; }
    server { listen 127.0.0.1:@http@ @option@; location / { proxy_pass http://u; } }
}
"""
STREAM = """stream {
    proxy_connect_timeout 1s;
    upstream u { server @one@; server @two@; }
    server { listen 127.0.0.1:@tcp@; proxy_pass u; }
}
"""


@pytest.fixture
def stalled(monkeypatch, run_lb, http_backend):
    """stalled(whose, text, **values) -> Lb on two servers."""

    def start(whose, text, **values):
        monkeypatch.setenv("LB_CUTTING", f"1:{whose}")
        return run_lb(text, one=http_backend().address, two=http_backend().address, **values)

    return start


@needs_it
@pytest.mark.parametrize(("option", "first"), [("", b""), ("proxy_protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n")])
def test_client_that_ends_no_handshake(stalled, connect, option, first):
    lb = stalled("clients", HTTP, option=option)
    client = connect(lb.port("http")).send(first + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    lb.wait_log("client timed out while handshaking, client: 127.0.0.1")
    client.expect_closed()


@needs_it
@pytest.mark.parametrize("text", [HTTP.replace("client_header_timeout 1s", "client_header_timeout 60s"), STREAM])
def test_client_that_leaves_its_handshake(stalled, connect, text):
    lb = stalled("clients", text, option="")
    connect(lb.port("tcp" if text is STREAM else "http")).send(b"hello").close()
    lb.wait_log("peer closed connection in handshake, client: 127.0.0.1")


@needs_it
def test_worker_ends_beside_a_handshake(stalled, connect):
    lb = stalled("clients", STREAM)
    client = connect(lb.port("tcp"))
    worker = lb.workers[0]
    wait_for(lambda: connections(worker))
    assert lb.stop() == 0
    client.expect_closed()


@needs_it
def test_servers_that_end_no_handshake(stalled, connect):
    """As one that accepts no connection: the next is asked, and the last answer is 504."""
    lb = stalled("servers", HTTP, option="")
    assert connect(lb.port("http")).request().status == 504
    assert lb.log.count("while handshaking with upstream") == 2


@needs_it
def test_session_whose_client_leaves_during_the_handshake_with_a_server(stalled, connect):
    lb = stalled("servers", STREAM.replace("connect_timeout 1s", "connect_timeout 60s"))
    client = connect(lb.port("tcp"))
    wait_for(lambda: len(connections(lb.workers[0])) == 2)
    client.reset()
    wait_for(lambda: not connections(lb.workers[0]))


# ---- what it has found

REFUSING = """http {
    access_log off;
    client_body_temp_path @directory@;
    client_body_buffer_size 8k;
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://@backend@; } }
}
"""


@needs_it
def test_a_refused_body_is_refused_once(monkeypatch, run_lb, http_backend, connect, tmp_path):
    """The answer waits for its client: the rest of the body must not be gathered, and refused, again."""
    monkeypatch.setenv("LB_CUTTING", "3")
    (tmp_path / "bodies").write_text("a file, not a directory")
    lb = run_lb(REFUSING, backend=http_backend().address, directory=tmp_path / "bodies")
    lb.expect_log(r"\[crit\] .*open\(\) of a temporary file failed")
    for _ in range(20):
        assert connect(lb.port("http")).request("POST", body=bytes(50_000)).status == 500
    assert lb.log.count("open() of a temporary file failed") == 20
