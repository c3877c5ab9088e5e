"""Clients that are slow, idle, many or greedy (T01 to T05, T16, T17 of the strictness rules), with real sockets.

Scaled to a shared machine: hundreds to thousands of connections instead of ten thousand; doc/limits.md says how far.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.wait import wait_for

FAST = "http { access_log off; @settings@ server { listen 127.0.0.1:@http@ backlog=4096; return 204; } }"


def rss(lb):
    return next(iter(lb.workers)).memory_info().rss


def test_t01_heads_that_drip(run_lb, connect):
    """The time of a head runs from its first byte, not from its last: 408 and the end, while others are served."""
    lb = run_lb(FAST, settings="client_header_timeout 1s;")
    slow = [connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ") for _ in range(100)]
    fast = connect(lb.port("http"))
    started = time.monotonic()
    open_ = list(slow)
    while open_:
        assert time.monotonic() - started < 10, f"{len(open_)} clients still drip"
        assert fast.request().status == 204
        for client in list(open_):
            try:
                client.send(b"y")
            except OSError:
                open_.remove(client)
        time.sleep(0.05)
    statuses = []
    for client in slow:
        try:
            statuses.append(client.response().status)
        except (OSError, AssertionError):
            pass  # the byte after the answer made it a reset
    assert set(statuses) <= {408}
    lb.wait_log(r"client timed out \(110: Connection timed out\) while reading client request headers")


@pytest.mark.plain("the cutting transport itself keeps 16 KiB for a connection")
def test_t01_memory_of_half_a_head(run_lb):
    """At most 2 KiB for a connection with half a head."""
    lb = run_lb(FAST, settings="client_header_timeout 60s;")
    count = 2000
    with ExitStack() as stack:
        for _ in range(50):  # what is made once is made before
            stack.enter_context(lb.client()).send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        before = rss(lb)
        for _ in range(count):
            stack.enter_context(lb.client()).send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with lb.client() as last:
            assert last.request().status == 204
        assert (rss(lb) - before) / count <= 2048


def test_t02_bodies_that_drip(run_lb, http_backend, connect):
    """client_body_timeout lies between two reads: a steady drip is a slow client, a pause is 408."""
    back = http_backend()
    lb = run_lb(
        "http { access_log off; client_body_timeout 1s; server { listen 127.0.0.1:@http@;"
        " location / { proxy_pass http://@back@; } } }",
        back=back.address,
    )
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n"
    steady = connect(lb.port("http")).send(head)
    for _ in range(8):
        time.sleep(0.25)  # together more than the timeout
        steady.send(b"x")
    assert steady.response().status == 200
    paused = connect(lb.port("http")).send(head + b"xx")
    assert paused.response().status == 408
    paused.expect_closed()
    assert [request.body for request in back.requests] == [b"x" * 8]


def test_t04_an_idle_swarm_gives_way(run_lb, connect):
    """No slots left: those that have been idle longest are closed, the new ones are served."""
    lb = run_lb(
        "events { worker_connections 64; }\n" + FAST,
        settings="keepalive_timeout 60s;",
    )
    idle = []
    for _ in range(300):
        idle.append(connect(lb.port("http")))
        assert idle[-1].request().status == 204
    idle[0].expect_closed()
    assert idle[-1].request().status == 204


def test_t05_no_descriptors(run_lb, connect):
    """EMFILE: accepting pauses without a busy loop, is said a few times only, and goes on when there are some again."""
    lb = run_lb(
        "worker_rlimit_nofile 128;\nevents { worker_connections 1000; }\n" + FAST, settings="keepalive_timeout 60s;"
    )
    lb.expected += [r"accept4\(\) failed \(24: Too many open files\)"]
    busy = [connect(lb.port("http")).send(b"GET / HT") for _ in range(200)]
    lb.wait_log(r"accept4\(\) failed \(24: Too many open files\)")
    used = next(iter(lb.workers)).cpu_times()
    lines = lb.log.count("Too many open files")
    time.sleep(1)  # what it does in a second of want
    later = next(iter(lb.workers)).cpu_times()
    assert later.user + later.system - used.user - used.system < 0.5
    assert lb.log.count("Too many open files") - lines <= 12
    for client in busy:
        client.close()
    wait_for(lambda: connect(lb.port("http")).request().status == 204, "lb to accept again")


def test_t16_only_the_logs_know_the_wall_clock():
    """All deadlines are monotonic: the wall clock is read in one place, for logs, fields and the status port."""
    rooms = [*Path("lb/fast").rglob("*.pyx"), *Path("lb/fast").rglob("*.pxd")]
    found = {
        room.name: re.findall(r"clock_gettime\(CLOCK_REALTIME|\btime\(NULL\)|gettimeofday", room.read_text())
        for room in rooms
    }
    assert {name: len(uses) for name, uses in found.items() if uses} == {"loop.pyx": 1}
    users = {room.name for room in rooms if re.search(r"\benv\.wall\b", room.read_text())}
    fields = {"request.pxd", "header_filter.pxd", "local_reply.pyx", "info.pyx", "sticky.pyx"}
    shown = {"stats.pyx", "slow_start.pyx", "verdict.pyx", "table.pyx"}
    assert users <= {"loop.pyx"} | fields | shown


def test_t17_the_largest_heads(run_lb):
    """500 connections with nearly the largest head each hold no more than that, and one byte more is refused."""
    lb = run_lb(FAST, settings="client_header_timeout 60s;")
    largest = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: " % i + b"y" * 8000 + b"\r\n" for i in range(4))
    before = rss(lb)
    with ExitStack() as stack:
        clients = [stack.enter_context(lb.client()).send(largest) for _ in range(500)]
        with lb.client() as client:
            assert client.request().status == 204
        assert rss(lb) - before < 500 * 70_000
        assert clients[0].send(b"Z: " + b"z" * 800).response().status == 400
        assert clients[1].send(b"\r\n").response().status == 204
        with lb.client() as client:
            assert client.send(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n").response().status == 414
