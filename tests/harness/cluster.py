"""Three real Consul servers on 127.0.1.1 to 127.0.1.3, which elect a leader: `make test-cluster`.

Each has the same ports on an address of its own; every one is started, paused and killed by its own pid.  Or each is a
machine of its own (netns): the first three nodes of a Network, which see each other on `ctl`, and the test on `svc`.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import requests

from tests.harness.consul import BINARY
from tests.harness.netns import Network
from tests.harness.wait import free_port, wait_for

ELECTION_S = 40.0


class Member:
    """One server of the cluster."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        network = cluster.network
        self.node = number - 1
        self.host = f"127.0.1.{number}" if network is None else network.address(self.node, "ctl")
        self.directory = cluster.directory / f"server{number}"
        self.address = f"{self.host if network is None else network.address(self.node)}:{cluster.http}"
        self._inside = [] if network is None else network.inside(self.node)
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        ports = self._cluster
        client = self.host if ports.network is None else "0.0.0.0"
        command = [
            *self._inside, str(BINARY), "agent", "-server", "-bootstrap-expect=3", f"-node=server-{self.host}",
            f"-bind={self.host}", f"-client={client}", f"-data-dir={self.directory}/data",
            f"-http-port={ports.http}", f"-server-port={ports.server}", f"-serf-lan-port={ports.serf}",
            f"-serf-wan-port={ports.wan}", "-dns-port=-1", "-grpc-port=-1",
            *[f"-retry-join={member.host}:{ports.serf}" for member in ports.members], "-retry-interval=1s",
            "-hcl=performance { raft_multiplier = 1 } leave_on_terminate = false disable_update_check = true",
        ]  # fmt: skip
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(15)
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://{self.address}/v1/{path}", timeout=3)


class Cluster:
    def __init__(self, directory: Path, network: Network | None = None) -> None:
        self.directory = directory
        self.network = network
        self.http, self.server, self.serf, self.wan = (free_port() for _ in range(4))
        self.members = [Member(self, number) for number in (1, 2, 3)]

    def start(self) -> Cluster:
        for member in self.members:
            member.start()
        self.wait_leader()
        return self

    def wait_leader(self, among: list[Member] | None = None) -> Member:
        """Until the living agree on a leader that takes writes."""
        living = self.members if among is None else among

        def agreed() -> Member | None:
            try:
                said = {member.get("status/leader").json() for member in living}
                host = said.pop().partition(":")[0]
                leader = next((member for member in living if member.host == host), None)
                return leader if not said and leader is not None and self.put("harness/ready", "1", living) else None
            except (requests.RequestException, ValueError):
                return None

        found = wait_for(agreed, "a leader", ELECTION_S)
        assert found is not None
        return found

    def put(self, key: str, value: str = "", among: list[Member] | None = None) -> bool:
        member = (among or self.members)[0]
        return requests.put(f"http://{member.address}/v1/kv/{key}", data=value, timeout=5).text.strip() == "true"

    def stop(self) -> None:
        for member in self.members:
            member.kill()
