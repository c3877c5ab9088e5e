"""A real Consul agent: a server of one node with its own ports and data directory, which survives a restart.

`KeySpace` is a part of the key-value store that belongs to one test: `upstreams/<test>/...`.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import consul as py_consul
import requests

from tests.harness.wait import free_port, wait_for

BINARY = Path(__file__).resolve().parents[2] / ".venv/bin/consul"


class ConsulAgent:
    """start(), stop(), kill(); the same ports and data after a restart."""

    def __init__(self, directory: Path) -> None:
        assert BINARY.exists(), f"{BINARY} is missing: run `make consul`"
        self.directory = directory
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = directory / "consul.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.client = py_consul.Consul(host="127.0.0.1", port=self.port)
        self._ports = {name: free_port() for name in ("server", "serf-lan", "serf-wan")}

    def start(self) -> ConsulAgent:
        self.directory.mkdir(parents=True, exist_ok=True)
        ports = [f"-{name}-port={port}" for name, port in self._ports.items()]
        command = [
            str(BINARY), "agent", "-server", "-bootstrap-expect=1", "-bind=127.0.0.1", "-client=127.0.0.1",
            f"-data-dir={self.directory}/data", f"-http-port={self.port}", "-dns-port=-1", "-grpc-port=-1", *ports,
            # one node elects itself: nothing to wait for; and blocking queries answer without up to 1/16 of jitter
            '-hcl=performance { raft_multiplier = 1 } leave_on_terminate = false disable_update_check = true',
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._is_leader, lambda: f"Consul to elect itself:\n{self.log.read_text()[-2000:]}", 30)
        return self

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers. `resume` undoes it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @property
    def index(self) -> int:
        """The X-Consul-Index of the whole store."""
        return int(self.client.kv.get("", recurse=True)[0])

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if number != signal.SIGKILL:
            self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(15)
        self.process = None

    def _is_leader(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"Consul ended with {code}:\n{self.log.read_text()[-2000:]}"
        try:
            leader = requests.get(f"http://{self.address}/v1/status/leader", timeout=2).json()
            # a leader is named before it takes writes
            return bool(leader) and bool(self.client.kv.put("harness/ready", "1"))
        except (requests.RequestException, ValueError, py_consul.ConsulException):
            return False


class KeySpace:
    """The keys of one test below `upstreams/<name>/`; removed at its end."""

    def __init__(self, agent: ConsulAgent, name: str) -> None:
        self.agent = agent
        self.prefix = f"upstreams/{name}"

    def key(self, upstream: str, server: str = "") -> str:
        return f"{self.prefix}/{upstream}/{server}" if server else f"{self.prefix}/{upstream}"

    def path(self, upstream: str) -> str:
        """The argument of `upsync`: 127.0.0.1:PORT/v1/kv/upstreams/<test>/<upstream>."""
        return f"{self.agent.address}/v1/kv/{self.key(upstream)}"

    def put(self, upstream: str, server: str, value: object = None, **attributes: int) -> None:
        """Register a server; `value` (bytes or str) as it is, else the attributes as JSON."""
        if value is None:
            value = json.dumps(attributes) if attributes else ""
        assert self.agent.client.kv.put(self.key(upstream, server), value)

    def delete(self, upstream: str, server: str = "") -> None:
        """Remove one server, or all of them."""
        recurse = None if server else True
        assert self.agent.client.kv.delete(self.key(upstream, server), recurse=recurse)

    def servers(self, upstream: str) -> dict[str, str]:
        """What Consul holds: host:port -> value."""
        _, found = self.agent.client.kv.get(self.key(upstream) + "/", recurse=True)
        return {item["Key"].rpartition("/")[2]: (item["Value"] or b"").decode() for item in found or []}

    def clear(self) -> None:
        self.agent.client.kv.delete(self.prefix + "/", recurse=True)
