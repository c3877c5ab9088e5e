"""HTTP over TLS, against the same of nginx and HAProxy: all three on the OpenSSL that they were built with."""

from __future__ import annotations

import subprocess
import time

from bench import configs
from bench.machine import LOAD_CORE
from bench.proxies import Proxy, pin, wait_for
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import LOAD, Load, Stand

ORDER = 15
UPSTREAM = configs.SERVERS + " keepalive 64;"
IDLE_FIRST, IDLE_MORE = 500, 4000
FLOOD = 500  # full handshakes a second


def contestants(tls: str = "p256", workers: int = 1, maxconn: int = 9000) -> dict[str, Contestant]:
    def nginx(kind: str) -> str:
        return configs.nginx_http(kind, upstream=UPSTREAM, location=configs.KEEP, tls=tls, workers=workers)

    haproxy = configs.haproxy(
        "http",
        backend=configs.HAPROXY_SERVERS,
        defaults="http-reuse always",
        maxconn=maxconn,
        tls=tls,
        threads=workers,
        top="tune.ssl.default-dh-param 2048",
    )
    return {
        "nginx": Contestant("nginx", nginx("nginx")),
        "haproxy": Contestant("haproxy", haproxy),
        "lb": Contestant("lb", nginx("lb")),
    }


def keepalive(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.wrk(proxy, connections=64, scheme="https"))


def long_answers(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.wrk(proxy, connections=8, path="/1m", scheme="https"))


def handshakes(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    return stand.measure(proxy, lambda: stand.tls(proxy, "handshakes"))


def flood(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    """Latency of keep-alive clients, open loop, while full handshakes arrive."""
    command = [str(LOAD.with_name("tls")), "handshakes", f"--port={proxy.port}", f"--rate={FLOOD}"]
    command.append(f"--seconds={stand.seconds + 1:g}")
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=pin(LOAD_CORE))
    try:
        time.sleep(0.3)
        seen: Load = stand.tls(proxy, "requests", "--rate=500", "--connections=16")
    finally:
        other.terminate()
        other.wait()
    return Result(seen.p99_us, p50_us=seen.p50_us, p99_us=seen.p99_us, errors=seen.errors, extra=dict(seen.detail))


def idle(proxy: Proxy, _: Contestant, __: Stand) -> Result:
    held = []
    sizes = []
    try:
        for count in (IDLE_FIRST, IDLE_MORE):
            command = [str(LOAD.with_name("tls")), "idle", f"--port={proxy.port}", f"--count={count}"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            held.append(process)
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the client of idle connections has failed")
            sizes.append(proxy.rss())
    finally:
        for process in held:
            process.kill()
            process.communicate()
    return Result((sizes[1] - sizes[0]) / IDLE_MORE, errors=0, extra={"rss": sizes})


def resumed(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    """Per cent of connections with a session that is resumed, over 10 reloads, all workers."""
    session = stand.directory / f"session-{proxy.label}-{time.monotonic_ns()}"
    total = good = 0
    for _ in range(10):
        seen = stand.tls(proxy, "resume", "--count=20", f"--session={session}")
        total += seen.requests
        good += int(seen.detail["reused"])
        before = set(proxy.pids())
        if contestant.kind == "haproxy":
            break  # in the foreground it has no master to reload
        proxy.reload()
        wait_for(lambda before=before: set(proxy.pids()) and not before & set(proxy.pids()), "new workers")
    return Result(100 * good / total, errors=0)


def _scenario(name: str, title: str, run, **options) -> Scenario:  # type: ignore[no-untyped-def]
    return Scenario(name=name, title=title, run=run, **{"contestants": contestants(), **options})


SCENARIOS = (
    _scenario(
        "tls_keepalive", "HTTPS, keep-alive, 64 connections, 128-byte body", keepalive, ratios=against(0.75, 0.65)
    ),
    _scenario("tls_1m", "HTTPS, 1 MiB a response, 8 connections", long_answers, ratios=against(0.80, 0.80)),
    _scenario(
        "tls_handshake",
        "full handshakes, P-256",
        handshakes,
        unit="CPU us/handshake",
        tool="bench/tls.c",
        ratios=against(1.0, 1.0),
    ),
    _scenario(
        "tls_handshake_rsa",
        "full handshakes, RSA-2048",
        handshakes,
        contestants=contestants("rsa"),
        unit="CPU us/handshake",
        tool="bench/tls.c",
        ratios=against(1.0, 1.0),
    ),
    _scenario(
        "tls_flood",
        f"p99 of keep-alive clients (500 requests a second, open loop) while {FLOOD} full handshakes a second arrive",
        flood,
        unit="p99 us",
        tool="bench/tls.c",
        ratios=against(0.5),
    ),
    _scenario(
        "tls_idle",
        f"memory of an idle TLS connection: RSS that {IDLE_MORE:,} of them add",
        idle,
        unit="bytes/connection",
        tool="bench/tls.c",
        ratios=against(),
        limit=1200,
        fresh=True,
        most_rounds=3,
    ),
    _scenario(
        "tls_resume",
        "sessions resumed over 10 reloads, 2 workers",
        resumed,
        contestants=contestants(workers=2),
        unit="per cent",
        tool="bench/tls.c",
        workers=2,
        limit=100,
        better="higher",
        most_rounds=1,
        fresh=True,
    ),
)
