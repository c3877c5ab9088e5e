"""Everything that one test started, ended and checked in the one order in which the checks mean something.

Clients close, backends close (so lb must close its idle pooled connections), then lb must be quiet, then lb stops; then
the log, the processes and the backends' own errors are looked at.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from tests.harness.backend import Handler, HttpBackend, Listener, RawBackend, Script
from tests.harness.client import Client
from tests.harness.consul import ConsulAgent
from tests.harness.faults import FaultProxy
from tests.harness.lb import Lb
from tests.harness.wait import free_port


class World:
    """Makes the parties of a test, and ends them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lbs: list[Lb] = []
        self.listeners: list[Listener] = []
        self.clients: list[Client] = []
        self.agents: list[ConsulAgent] = []
        self.own_remotes: set[int] = set()  # ports that workers talk to by themselves: Consul

    def new_lb(self) -> Lb:
        """An Lb that is not started yet."""
        directory = self.directory / f"lb{len(self.lbs)}"
        directory.mkdir()
        let_others_in(directory)
        lb = Lb(directory)
        self.lbs.append(lb)
        return lb

    def run_lb(self, text: str, **values: object) -> Lb:
        """Start lb on a configuration text; see tests/harness/lb.py for its placeholders."""
        return self.new_lb().start(text, **values)

    def http_backend(self, handler: Handler | None = None, port: int | None = None) -> HttpBackend:
        return self._keep(HttpBackend(handler, port))

    def raw_backend(self, *scripts: Script, port: int | None = None) -> RawBackend:
        return self._keep(RawBackend(*scripts, port=port))

    def fault_proxy(self, target: int) -> FaultProxy:
        proxy = self._keep(FaultProxy(target))
        self.own_remotes.add(proxy.port)
        return proxy

    def consul_agent(self) -> ConsulAgent:
        """An agent of the test's own, which it may stop, kill and start again."""
        agent = ConsulAgent(self.directory / f"consul{len(self.agents)}")
        self.agents.append(agent)
        self.own_remotes.add(agent.port)
        return agent.start()

    def connect(self, port: int, **options: object) -> Client:
        client = Client(port, **options)  # type: ignore[arg-type]
        self.clients.append(client)
        return client

    def closed_port(self) -> int:
        """A port where nobody listens: connections are refused."""
        return free_port()

    def _keep(self, listener: Listener) -> Listener:
        self.listeners.append(listener)
        return listener

    def end(self, failed: bool) -> None:
        """End all parties. Errors are raised, chained, when everything has been ended."""
        steps: list[Callable[[], object]] = []
        steps += [client.close for client in self.clients]
        steps += [listener.stop for listener in self.listeners]
        running = [lb for lb in self.lbs if lb.process is not None]
        remotes = frozenset(self.own_remotes)
        if not failed:
            steps += [lambda lb=lb: lb.check_quiet(remotes) for lb in running if lb.process.poll() is None]  # type: ignore[union-attr,misc]
        steps += [lambda lb=lb: _stop(lb) for lb in running]  # type: ignore[misc]
        steps += [agent.kill for agent in self.agents]
        if not failed:
            steps += [lb.check_log for lb in running]
            steps += [lambda listener=listener: _check_errors(listener) for listener in self.listeners]  # type: ignore[misc]
        _run_all(steps)


def let_others_in(directory: Path) -> None:
    """A master that is root has workers who are not: they need a way to what lies in the test's directory."""
    for one in (directory, *directory.parents):
        info = one.stat()
        if info.st_uid == os.geteuid() and info.st_mode & 0o055 != 0o055:
            one.chmod(info.st_mode & 0o7777 | 0o055)


def _stop(lb: Lb) -> None:
    """TERM what still runs. The exit code is the test's business when the test itself has ended it."""
    assert lb.process is not None
    already = lb.process.poll() is not None
    code = lb.stop()
    assert already or code == 0, f"lb ended with {code}:\n{lb.log[-3000:]}"


def _check_errors(listener: Listener) -> None:
    if listener.errors:
        raise AssertionError(f"backend {listener.address}: {listener.errors}") from listener.errors[0]


def _run_all(steps: list[Callable[[], object]]) -> None:
    with contextlib.ExitStack() as stack:
        for step in reversed(steps):
            stack.callback(step)
