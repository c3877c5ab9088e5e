"""A path to Consul that drops packets, without FIN, RST or ICMP: noticed all the same (in namespaces)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness.netns import Network, usable
from tests.harness.wait import wait_for
from tests.upsync_fakes import FakeConsul, Following, followers

WHY_NOT = usable()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
LOST = "is lost: "
BACK = " is back after "


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(1)
    yield made
    made.close()


@pytest.fixture
def consul(network: Network) -> Iterator[FakeConsul]:
    class FarConsul(FakeConsul):
        host = network.address(0)

    fake = network.call(0, FarConsul)
    yield fake
    fake.stop()
    assert not fake.errors, fake.errors


@pytest.fixture
def follow(consul: FakeConsul) -> Iterator[Callable[..., Following]]:
    with followers(consul) as make:
        yield lambda **options: make(host=consul.host, **options)


@pytest.fixture(autouse=True)
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a minute: else the end of a short query would find out."""
    monkeypatch.setattr("lb.upsync.consul.FIRST_WAIT_S", 55.0)


@pytest.mark.parametrize("interval_ms", [500, 5000])
def test_a_path_that_drops_packets_costs_an_interval_not_minutes(
    network: Network,
    consul: FakeConsul,
    follow: Callable[..., Following],
    interval_ms: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is given up; the new server comes when the path is back; a line for the loss, one for its end."""
    if interval_ms == 500:  # lb's own signs notice it, sooner than the kernel's probes (2 s): it must do without them
        monkeypatch.setattr("lb.upsync.connection.PlainSocket._watch_path", lambda self: None)
    consul.put("127.0.0.1:8001")
    one = follow(interval_ms=interval_ms).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) == 2, "the blocking query")
    network.cut("svc", [0])
    cut = time.monotonic()
    consul.put("127.0.0.1:8002")
    wait_for(lambda: one.log.having("asking on a fresh connection"), lambda: str(one.log.lines), 30)
    noticed = time.monotonic() - cut
    if interval_ms == 500:  # the second try fails, too
        wait_for(lambda: one.log.having(LOST), lambda: str(one.log.lines), 30)
    network.heal("svc")
    healed = time.monotonic()
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    applied = time.monotonic() - healed
    print(f"interval {interval_ms} ms: noticed after {noticed:.1f} s, applied {applied:.1f} s after the path was back")
    if interval_ms == 500:
        wait_for(lambda: one.log.having(BACK))
    assert len(one.log.having(LOST)) == len(one.log.having(BACK)) <= 1


def test_a_short_drop_costs_nothing_but_itself(
    network: Network, consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    """TCP sends again what was lost: no reconnection, nothing in the log."""
    consul.put("127.0.0.1:8001")
    one = follow(interval_ms=5000).wait_names("127.0.0.1:8001")
    wait_for(lambda: len(consul.queries) == 2, "the blocking query")
    network.cut("svc", [0])
    consul.put("127.0.0.1:8002")
    time.sleep(0.15)  # of the 5 s after which the path would be given up
    network.heal("svc")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    assert consul.accepted == 1
    assert not one.log.having("asking on a fresh connection")
