"""What active checks do to requests, and requests to checks.

checks_cost: a request's cost (the worker's CPU time alone) with 10,000 servers, checked or not.
checks_busy: the worker at 100 % (it compresses 1 MiB for each request) on the core of who asks the servers: how many
servers of 20 are taken for down that are not. `--seconds 60` is the run of the issue.
checks_verdict: a server begins to refuse its checks: ms from its first refusal to the last request that it gets.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import statistics
import threading
import time

import psutil

from bench import configs
from bench.machine import LOAD_CORE, cpu_of
from bench.proxies import Proxy, wait_for
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.scenarios.checks import addresses
from bench.stand import Stand

ORDER = 118
SEND = r'check_http_send "GET / HTTP/1.1\r\nHost: check\r\n\r\n"; check_keepalive_requests 1000000;'
SETTLE = 3


def workers_of(proxy: Proxy) -> list[int]:
    """Without lb's checker."""
    return [pid for pid in proxy.pids() if not psutil.Process(pid).cmdline()[0].startswith("lb: checker")]


def checker_aside(proxy: Proxy) -> None:
    for pid in set(proxy.pids()) - set(workers_of(proxy)):
        psutil.Process(pid).cpu_affinity([LOAD_CORE])


# ---- what they cost a request


def long_list(check: str) -> str:
    servers = " ".join(f"server {one};" for one in addresses(10_000))
    return configs.nginx_http("lb", upstream=f"{servers} {check} keepalive 0;")


def run_cost(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    checker_aside(proxy)
    time.sleep(SETTLE)
    before = cpu_of(workers_of(proxy))
    load = stand.wrk(proxy, connections=64)
    used = cpu_of(workers_of(proxy)).since(before)
    each = used.total * 1e6 / load.requests
    return Result(
        each,
        user=each * used.user_share,
        system=each * (1 - used.user_share),
        per_second=load.per_second,
        p99_us=load.p99_us,
        errors=load.errors,
    )


COST = Scenario(
    name="checks_cost",
    title="a request with 10,000 servers, checked every 10 s or not; the worker alone",
    contestants={
        "lb": Contestant("lb", long_list("")),
        "lb-checked": Contestant("lb", long_list(f"check interval=10000 timeout=5000 rise=1 type=http; {SEND}")),
    },
    run=run_cost,
    ratios=(Ratio("lb-checked", "lb", 1.02),),
)


# ---- a busy worker


def busy_lb() -> str:
    servers = " ".join(f"server {one};" for one in addresses(20))
    check = f"check interval=100 rise=1 fall=1 timeout=50 type=http; {SEND}"
    gzip = " gzip on; gzip_comp_level 1; gzip_types *;"
    text = configs.nginx_http("lb", upstream=f"{servers} {check}", http=gzip)
    return text.replace("error.log crit", "error.log error")


def busy_haproxy() -> str:
    lines = [f"server s{n} {one} check inter 100ms fall 1 rise 1" for n, one in enumerate(addresses(20))]
    option = (
        "option httpchk\n    http-check send meth GET uri / ver HTTP/1.1 hdr Host check\n    timeout check 50ms\n    "
    )
    return configs.haproxy("http", backend=option + "compression algo gzip\n    " + "\n    ".join(lines), maxconn=2000)


def run_busy(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    time.sleep(SETTLE)
    before, began = cpu_of(workers_of(proxy)), time.monotonic()
    load = stand.wrk(proxy, connections=32, path="/1m", headers=("Accept-Encoding: gzip",))
    share = cpu_of(workers_of(proxy)).since(before).total / (time.monotonic() - began)
    log = "".join(one.read_text(errors="replace") for one in proxy.directory.glob("*.log"))
    down = len(re.findall(r"disable check peer|Server u/s\d+ is DOWN", log))
    return Result(down, per_second=load.per_second, p99_us=load.p99_us, errors=load.errors, extra={"worker": share})


BUSY = Scenario(
    name="checks_busy",
    title="20 servers checked every 100 ms within 50 ms, while the worker, on the same core, is at 100 %",
    contestants={"haproxy": Contestant("haproxy", busy_haproxy()), "lb": Contestant("lb", busy_lb())},
    run=run_busy,
    unit="false down",
    limit=0,
    fresh=True,
    most_rounds=1,
)


# ---- from verdict to effect


class Turncoat:
    """A server whose checks (GET /up) can be refused; it knows when it did first, and when the last request came."""

    ANSWER = b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok"

    def __init__(self, port: int) -> None:
        self.refuses = False
        self.refused = self.last = 0.0
        self.passed = self.served = 0
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self._events = selectors.DefaultSelector()
        self._events.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._events.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._listener:
                    client, _ = sock.accept()
                    self._events.register(client, selectors.EVENT_READ)
                elif not self._serve(sock):
                    self._events.unregister(sock)
                    sock.close()

    def _serve(self, sock: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            data = sock.recv(4096)
            if not data:
                return False
            if not data.startswith(b"GET /up"):
                self.last, self.served = time.monotonic(), self.served + 1
                sock.sendall(self.ANSWER % b"200 OK")
            elif self.refuses:
                sock.sendall(self.ANSWER % b"503 No")
                self.refused = self.refused or time.monotonic()
            else:
                sock.sendall(self.ANSWER % b"200 OK")
                self.passed += 1
            return True
        return False

    def turn(self) -> float:
        """ms from its first refusal to the last request."""
        before, passed = self.served, self.passed
        wait_for(lambda: self.served > before + 20 and self.passed > passed + 2, "the server to be used")
        self.refused, self.refuses = 0.0, True
        wait_for(
            lambda: self.refused and time.monotonic() - max(self.last, self.refused) > 0.1, "the server to be left"
        )
        self.refuses = False
        return max(self.last - self.refused, 0.0) * 1e3

    def stop(self) -> None:
        self._ended = True
        self._thread.join()
        for key in list(self._events.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]


def verdict_lb() -> str:
    send = r'check_http_send "GET /up HTTP/1.1\r\nHost: check\r\n\r\n";'
    check = f"check interval=50 rise=1 fall=1 timeout=500 type=http; {send}"
    return configs.nginx_http(
        "lb", upstream=f"server 127.0.0.1:@turncoat@; server 127.0.0.1:@http1@; {check}", workers=2
    )


def verdict_haproxy() -> str:
    check = "option httpchk\n    http-check send meth GET uri /up ver HTTP/1.1 hdr Host check\n    "
    rest = "check inter 50ms fall 1 rise 1"
    lines = f"http-reuse always\n    server a 127.0.0.1:@turncoat@ {rest}\n    server b 127.0.0.1:@http1@ {rest}"
    return configs.haproxy("http", backend=check + lines, threads=2)


def run_verdict(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    """`busy`: 64 connections ask as fast as they can; else 500 requests a second, and workers sleep between them."""
    server = Turncoat(stand.ports["turncoat"])
    rate = () if contestant.variant == "busy" else ("--rate=500",)
    connections = 64 if contestant.variant == "busy" else 16
    seconds = max(stand.seconds, 5)
    load = threading.Thread(
        target=stand.drive, args=(proxy, "--http=/", *rate), kwargs={"connections": connections, "seconds": seconds}
    )
    took = []
    try:
        load.start()
        until = time.monotonic() + seconds - 1.5
        while time.monotonic() < until:
            took.append(server.turn())
    finally:
        load.join()
        server.stop()
    return Result(max(took), p50_us=statistics.median(took) * 1e3, extra={"ms": took})


VERDICT = Scenario(
    name="checks_verdict",
    title="ms from a server's first refusal to its last request, two workers; at most, and the median",
    contestants={
        "haproxy": Contestant("haproxy", verdict_haproxy(), "calm"),
        "haproxy-busy": Contestant("haproxy", verdict_haproxy(), "busy"),
        "lb": Contestant("lb", verdict_lb(), "calm"),
        "lb-busy": Contestant("lb", verdict_lb(), "busy"),
    },
    run=run_verdict,
    unit="ms at most",
    tool="bench/load.c",
    limit=5,
    workers=2,
    fresh=True,
    most_rounds=2,
)

SCENARIOS = (COST, BUSY, VERDICT)
