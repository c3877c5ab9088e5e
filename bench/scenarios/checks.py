"""Active checks of HTTP: CPU time of one, of all processes, while nobody asks for anything else.

The servers are addresses of 127/8, all of one nginx, which counts the checks that came. HAProxy opens a connection for
each check; lb does so, too (lb-new), or asks on the one that it has (lb).
"""

from __future__ import annotations

import re
import time
import urllib.request

from bench import configs
from bench.proxies import Proxy, wait_for
from bench.scenario import Contestant, Ratio, Result, Scenario
from bench.stand import Stand

ORDER = 116
SETTLE = 4  # seconds until the first verdicts are in, and the checks spread


def addresses(count: int) -> list[str]:
    return [f"127.{10 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:@http1@" for n in range(count)]


def lb(count: int, requests: int) -> str:
    servers = " ".join(f"server {one};" for one in addresses(count))
    close = r"Connection: close\r\n" if requests == 1 else ""  # as HAProxy asks
    send = rf'check_http_send "GET / HTTP/1.1\r\nHost: check\r\n{close}\r\n";'
    kept = f"check_keepalive_requests {requests};"
    check = f"check interval=1000 rise=2 fall=3 timeout=900 type=http; {send} {kept}"
    return configs.nginx_http("lb", upstream=f"{servers} {check}")


def haproxy(count: int) -> str:
    lines = [f"server s{n} {one} check inter 1s fall 3 rise 2" for n, one in enumerate(addresses(count))]
    send = "http-check send meth GET uri / ver HTTP/1.1 hdr Host check"
    option = f"option httpchk\n    {send}\n    timeout check 900ms\n    "
    return configs.haproxy("http", backend=option + "\n    ".join(lines), maxconn=2000)


def counted(stand: Stand) -> int:
    """Requests that the backend has had."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stand.ports['http1']}/count", timeout=10) as answer:
        found = re.search(r"(\d+) (\d+) (\d+) \n", answer.read().decode())
    assert found is not None
    return int(found[3])


def run(proxy: Proxy, contestant: Contestant, stand: Stand) -> Result:
    servers = int(contestant.variant)
    wait_for(lambda: served(stand) > servers // 2, "the checks to run", 30)
    time.sleep(SETTLE)
    cpu, before = proxy.cpu(), counted(stand)
    time.sleep(stand.seconds)
    used, checks = proxy.cpu().since(cpu), counted(stand) - before - 1
    each = used.total * 1e6 / checks
    share = used.user_share
    return Result(each, user=each * share, system=each * (1 - share), per_second=checks / stand.seconds)


def served(stand: Stand) -> int:
    before = counted(stand)
    time.sleep(1)
    return counted(stand) - before


def scenario(servers: int) -> Scenario:
    contestants = {
        "haproxy": Contestant("haproxy", haproxy(servers), str(servers)),
        "lb-new": Contestant("lb", lb(servers, 1), str(servers)),
        "lb": Contestant("lb", lb(servers, 1_000_000), str(servers)),
    }
    return Scenario(
        name=f"checks_{servers}",
        title=f"active checks of {servers:,} servers, one a second each",
        contestants=contestants,
        run=run,
        unit="CPU us/check",
        tool="nobody asks",
        ratios=(Ratio("lb", "haproxy", 0.15), Ratio("lb-new", "haproxy", 0.5)),
        fresh=True,
        most_rounds=3,
    )


SCENARIOS = (scenario(2000), scenario(10_000))
