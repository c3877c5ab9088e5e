"""The demo's Consul: a real agent in memory (`consul agent -dev`) on the port that conf/demo-consul.conf names."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import consul
import requests

PORT: Final = 8500
PREFIX: Final = "upstreams/demo"
VALUE: Final = '{"weight":1, "max_fails":2, "fail_timeout":10}'


def find() -> str | None:
    """The consul program: the one that `make consul` put beside our Python, else that of PATH."""
    ours = Path(sys.executable).parent / "consul"
    return str(ours) if ours.exists() else shutil.which("consul")


def command(program: str) -> list[str]:
    """One node, loopback only; ports that nobody uses here are free ones, so that it gets along with another agent."""
    server, lan, wan = _free_ports(3)
    return [
        program,
        "agent",
        "-dev",
        "-bind=127.0.0.1",
        "-client=127.0.0.1",
        f"-http-port={PORT}",
        "-dns-port=-1",
        "-grpc-port=-1",
        f"-server-port={server}",
        f"-serf-lan-port={lan}",
        f"-serf-wan-port={wan}",
        "-log-level=warn",
        "-hcl=disable_update_check = true",
    ]


def register(servers: Sequence[str]) -> bool:
    """Put the servers (host:port) below the prefix. False: Consul has no leader yet."""
    client = consul.Consul(host="127.0.0.1", port=PORT)
    try:
        return all(client.kv.put(f"{PREFIX}/{server}", VALUE) for server in servers)
    except (consul.ConsulException, requests.RequestException):
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
