"""`make screenshot`: doc/status-page.png and doc/status-page-phone.png, of a real lb under load with a server down.

It takes two minutes, until the lines of the page are full.  The ports 8081 and 9001 to 9007 of 127.0.0.1 must be free.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

from tests.harness.browser import Browser, find
from tests.harness.consul import ConsulAgent, KeySpace
from tests.harness.lb import Lb
from tests.harness.wait import is_listening, wait_for

DOC = Path(__file__).resolve().parents[1] / "doc"
LOOK_S, DOWN_S = 125, 24  # how long the page is looked at, and for how long of it a server is down
VICTIM = 9005
CONF = """
worker_processes 2;
error_log error.log warn;
http {
    access_log off;
    status_listen 127.0.0.1:8081;
    upstream shop {
        server 127.0.0.1:9001;
        upsync @path@ upsync_timeout=6m upsync_interval=500ms upsync_type=consul strong_dependency=off;
        upsync_dump_path servers_shop.conf;
    }
    upstream api {
        least_conn;
        server 127.0.0.1:9004 weight=2;
        server 127.0.0.1:9005 max_fails=3 fail_timeout=10s;
        server 127.0.0.1:9006;
        server 127.0.0.1:9007 backup;
    }
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://shop; }
        location /api/ { proxy_pass http://api; }
    }
}
"""


@contextmanager
def backends(*ports: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "lb.demo.backends", *map(str, ports)], stderr=subprocess.DEVNULL)
    wait_for(lambda: all(is_listening(port) for port in ports), "the backends")
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def load(port: int) -> Iterator[None]:
    """Three clients that ask faster and slower, in waves."""
    over = threading.Event()

    def run(number: int) -> None:
        session = requests.Session()
        path = ("/", "/", "/api/orders")[number % 3]
        while not over.wait(0.02 + 0.015 * math.sin(time.monotonic() / (5 + 3 * number))):
            session.get(f"http://127.0.0.1:{port}{path}", timeout=10)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def main() -> None:
    program = find()
    if program is None:
        sys.exit("screenshot: no Chromium here")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lb-shot-")))
        directory.chmod(0o755)
        consul = ConsulAgent(directory / "consul").start()
        stack.callback(consul.kill)
        stack.enter_context(backends(9001, 9002, 9003, 9004, 9006, 9007))
        victim = stack.enter_context(backends(VICTIM))
        keys = KeySpace(consul, "demo")
        for port in (9001, 9002, 9003):
            keys.put("shop", f"127.0.0.1:{port}", weight=2 if port == 9001 else 1)
        lb = Lb(directory)
        stack.callback(lambda: lb.process and lb.stop())
        lb.start(CONF, path=keys.path("shop"))
        stack.enter_context(load(lb.port("http")))
        browser = Browser(program, directory / "chromium")
        stack.callback(browser.close)
        take(browser, victim)


def take(browser: Browser, victim: subprocess.Popen[bytes]) -> None:
    tab = browser.tab(1120, 900)
    tab.go("http://127.0.0.1:8081/")
    until = time.monotonic() + LOOK_S
    while time.monotonic() < until:
        if time.monotonic() > until - DOWN_S:
            victim.terminate()
        browser.listen(0.5)
    tab.wait_text("lb skips it until", "#problems")
    tab.picture(DOC / "status-page.png", full=True)
    tab.resize(360, 760, scale=2, mobile=True)
    tab.scheme(True)
    browser.listen(1.0)
    tab.wait_text("lb skips it until", "#problems")
    tab.picture(DOC / "status-page-phone.png")
    assert not tab.complaints, tab.complaints


if __name__ == "__main__":
    main()
