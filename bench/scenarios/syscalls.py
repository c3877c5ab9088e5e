"""System calls a request, by `strace -c`, with 32 busy keep-alive connections.

strace is attached before the load begins and detached after it ends, so that its count belongs to wrk's count of
requests.  The rates in this table mean nothing: strace slows all.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time

from bench.proxies import Proxy, wait_for
from bench.scenario import Contestant, Result, Scenario, against
from bench.scenarios import http_keepalive
from bench.stand import Stand

ORDER = 70


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    report = proxy.directory / "strace.txt"
    pids = [f"-p{pid}" for pid in proxy.pids()]
    tracer = subprocess.Popen(["strace", "-c", "-f", "-o", str(report), *pids], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace: {line or tracer.stderr.read()}")
        load = stand.wrk(proxy, connections=32, seconds=max(stand.seconds, 2))
        time.sleep(0.2)  # wrk has closed its connections: let the worker see it
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    wait_for(report.exists, "strace's report")
    calls = parse(report.read_text())
    each = {name: round(count / load.requests, 3) for name, count in calls.items() if count / load.requests >= 0.001}
    return Result(sum(calls.values()) / load.requests, errors=load.errors, extra={"calls_per_request": each})


def parse(text: str) -> dict[str, int]:
    """strace -c: name -> calls."""
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$", text, re.M)
    return {name: int(calls) for calls, name in rows if name != "total"}


SCENARIO = Scenario(
    name="syscalls",
    title="system calls a request, HTTP keep-alive on both sides, 32 busy connections",
    contestants=http_keepalive.SCENARIO.contestants,
    run=run,
    unit="calls/request",
    tool="wrk, strace -c",
    ratios=against(),
    limit=4.3,
    most_rounds=3,
)
