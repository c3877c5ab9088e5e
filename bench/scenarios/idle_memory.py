"""Resident memory of an idle keep-alive connection: what 8,000 more of them add to 500, each after one request."""

from __future__ import annotations

import socket

from bench import configs
from bench.proxies import Proxy
from bench.scenario import Contestant, Result, Scenario, against
from bench.stand import Stand

ORDER = 80
FIRST, MORE = 500, 8000
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
UPSTREAM = configs.SERVERS + " keepalive 64;"


def open_connections(port: int, count: int) -> list[socket.socket]:
    """Each has made one request and read its answer."""
    opened = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        opened.append(sock)
        sock.sendall(REQUEST)
        seen = b""
        while not seen.endswith(b"x\n"):
            part = sock.recv(4096)
            if not part:
                raise RuntimeError(f"closed after {len(opened)} connections: {seen[:100]!r}")
            seen += part
    return opened


def run(proxy: Proxy, _: Contestant, stand: Stand) -> Result:
    sockets: list[socket.socket] = []
    try:
        sockets += open_connections(proxy.port, FIRST)
        before = proxy.rss()
        sockets += open_connections(proxy.port, MORE)
        after = proxy.rss()
    finally:
        for sock in sockets:
            sock.close()
    return Result((after - before) / MORE, errors=0, extra={"rss_before": before, "rss_after": after})


SCENARIO = Scenario(
    name="idle_memory",
    title=f"memory of an idle keep-alive connection: RSS that {MORE:,} of them add",
    contestants={
        "nginx": Contestant("nginx", configs.nginx_http("nginx", upstream=UPSTREAM, location=configs.KEEP)),
        "haproxy": Contestant("haproxy", configs.haproxy("http", backend=configs.HAPROXY_SERVERS, maxconn=9000)),
        "lb": Contestant("lb", configs.nginx_http("lb", upstream=UPSTREAM, location=configs.KEEP)),
    },
    run=run,
    unit="bytes/connection",
    tool="Python sockets",
    ratios=against(),
    limit=600,
    fresh=True,
    most_rounds=3,
)
