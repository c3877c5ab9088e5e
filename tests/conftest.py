"""Fixtures: `world` makes lb, backends, clients and Consul for one test, and checks at its end that nothing is left.

The others are its methods under short names.  See tests/harness/__init__.py.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import tls_socket
from tests.harness.backend import HttpBackend, RawBackend
from tests.harness.client import Client
from tests.harness.consul import ConsulAgent, KeySpace
from tests.harness.faults import FaultProxy
from tests.harness.lb import Lb, build_mode
from tests.harness.nginx import BINARY, Nginx
from tests.harness.pair import Pair, start_nginx
from tests.harness.world import World

_outcome = pytest.StashKey[bool]()


_own_basetemp = pytest.StashKey[str]()


# Files whose tests run on the cutting transport (lb/fast/io/cutting.pyx), too, where the build has it; `make cutting`
# runs more of them, on it alone.
ON_BOTH = {"test_traffic_http", "test_traffic_tcp", "test_websocket", "test_files", "test_proxy_protocol"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cutting", metavar="SEED", type=int, help="lb on the cutting transport (builds with checks)")
    parser.addoption(
        "--tls", metavar="ENGINE", choices=("lb", "openssl"), help="clients of lb speak TLS: which ssl_record_engine"
    )


def has_cutting() -> bool:
    return build_mode() in ("debug", "dev", "asan", "coverage")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In a build that has it, the tests of ON_BOTH run on either transport."""
    options = metafunc.config.option
    if "transport" in metafunc.fixturenames and options.cutting is None and not options.tls and has_cutting():
        plain_only = any(mark.name == "plain" for mark in metafunc.definition.iter_markers())
        if metafunc.module.__name__.rpartition(".")[2] in ON_BOTH and not plain_only:
            metafunc.parametrize("transport", ["plain", "cutting"], indirect=True)


@pytest.fixture
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What lb's connections are made of: plain sockets, or the cutting transport with a seed of the test's own."""
    seed = request.config.option.cutting
    name: str = getattr(request, "param", "plain" if seed is None else "cutting")
    if name == "cutting" and request.node.get_closest_marker("plain"):
        pytest.skip(request.node.get_closest_marker("plain").args[0])
    if name == "cutting":
        number = zlib.crc32(request.node.name.encode()) + (seed or 0)
        monkeypatch.setenv("LB_CUTTING", str(number))
        print(f"LB_CUTTING={number}")
    return name


def pytest_sessionstart(session: pytest.Session) -> None:
    """Tests import lb._fast: in a sanitized build that works where libasan was loaded before Python."""
    if build_mode() == "asan" and "libasan" not in os.environ.get("LD_PRELOAD", ""):
        raise pytest.UsageError("build/mode is asan: `make test-asan TESTS=...` runs the tests with libasan loaded")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Temporary directories of this run alone: as it starts, each pytest takes away others' right to enter
    /tmp/pytest-of-USER, and with it that of the workers (another user) of a run that goes on."""
    tls_socket.ENGINE = config.option.tls or ""
    if config.option.basetemp is None:
        config.option.basetemp = config.stash[_own_basetemp] = tempfile.mkdtemp(prefix="lb-tests-")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What failed may be looked at."""
    if exitstatus == 0 and _own_basetemp in session.config.stash:
        shutil.rmtree(session.config.stash[_own_basetemp], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The cluster's tests take a minute: only those who ask for them get them. An asan build skips some more."""
    if "cluster" not in config.option.markexpr:
        items[:] = [item for item in items if item.get_closest_marker("cluster") is None]
    for item in items if config.option.tls else ():
        mark = item.get_closest_marker("cleartext")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))
    if build_mode() == "asan":
        for item in items:
            if mark := item.get_closest_marker("unsanitized"):
                item.add_marker(pytest.mark.skip(reason=f"asan build: {mark.args[0]}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember a failure: the checks at the end would only hide it behind their own."""
    report = yield
    if call.when == "call":
        item.stash[_outcome] = report.failed  # type: ignore[attr-defined]
    return report  # type: ignore[return-value]


@pytest.fixture
def world(tmp_path, transport: str, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    failed = request.node.stash.get(_outcome, True)
    if failed:
        for lb in made.lbs:
            print(f"--- {lb.file}\n{lb.file.read_text() if lb.file.exists() else ''}\n--- log\n{lb.log[-8000:]}")
    made.end(failed)


@pytest.fixture
def run_lb(world: World) -> Callable[..., Lb]:
    """run_lb(text, **values) -> Lb, started and ready."""
    return world.run_lb


@pytest.fixture
def http_backend(world: World) -> Callable[..., HttpBackend]:
    """http_backend(handler=None) -> HttpBackend."""
    return world.http_backend


@pytest.fixture
def raw_backend(world: World) -> Callable[..., RawBackend]:
    """raw_backend(*scripts) -> RawBackend."""
    return world.raw_backend


@pytest.fixture
def fault_proxy(world: World) -> Callable[[int], FaultProxy]:
    """fault_proxy(target_port) -> FaultProxy."""
    return world.fault_proxy


@pytest.fixture
def connect(world: World) -> Callable[..., Client]:
    """connect(port) -> Client, closed at the end of the test."""
    return world.connect


@pytest.fixture(scope="session")
def shared_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """One real agent for all tests that do not stop it."""
    agent = ConsulAgent(tmp_path_factory.mktemp("consul")).start()
    yield agent
    agent.kill()


@pytest.fixture
def consul(shared_consul: ConsulAgent, world: World, request: pytest.FixtureRequest) -> KeySpace:
    """Keys of this test alone in the shared agent."""
    world.own_remotes.add(shared_consul.port)
    space = KeySpace(shared_consul, re.sub(r"\W+", "-", request.node.name))
    space.clear()
    return space


@pytest.fixture
def consul_agent(world: World) -> ConsulAgent:
    """An agent of this test alone: stop(), kill(), pause(), start()."""
    return world.consul_agent()


@pytest.fixture
def pair(world: World, tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """pair(text, backend=None, **values) -> Pair: lb, and nginx with the same configuration."""
    started: list[Nginx] = []

    def start(text: str, backend: HttpBackend | None = None, **values: object) -> Pair:
        texts = {name: str(value) for name, value in values.items()}
        if backend is not None:
            texts["backend"] = backend.address
        lb = world.run_lb(text, **texts)
        if BINARY is None:
            return Pair(lb, None, backend)
        nginx, port = start_nginx(tmp_path / f"nginx{len(started)}", text, lb.values)
        started.append(nginx)
        return Pair(lb, port, backend)

    yield start
    for nginx in started:
        nginx.stop()
