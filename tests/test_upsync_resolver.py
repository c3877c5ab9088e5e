"""Host names as servers: looked up beside the loop and the pullers, again and again; the last good answer stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lb.config.address import AddressError
from lb.model import Address
from lb.upsync import dump
from lb.upsync.report import Report
from lb.upsync.resolver import Found, Resolver
from tests.harness.wait import DEADLINE, wait_for
from tests.upsync_fakes import FakeConsul, Following, followers, names, running_consul

V4, V6 = 2, 10


class Zone:
    """A name server: what it knows may change, it may know nothing, and it may be slow."""

    def __init__(self, **known: str) -> None:
        self.known = dict(known)
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        self.open.wait(DEADLINE)
        if host not in self.known:
            raise AddressError("host not found")
        return [Address(V6 if ":" in ip else V4, ip) for ip in self.known[host].split()]


@pytest.fixture
def zone() -> Zone:
    return Zone(db="10.0.0.2 10.0.0.1", web="::1 127.0.0.1")


@pytest.fixture
def resolver(zone: Zone) -> Iterator[Resolver]:
    made = Resolver(zone)
    yield made
    zone.open.set()
    made.stop()


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with running_consul() as fake:
        yield fake


@pytest.fixture
def follow(consul: FakeConsul, resolver: Resolver) -> Iterator[Callable[..., Following]]:
    with followers(consul) as make:
        yield lambda **options: make(resolver=resolver, **options)


def nothing() -> None:
    pass


def test_addresses_come_in_order_and_are_asked_for_again(zone: Zone, resolver: Resolver) -> None:
    told = threading.Event()
    resolver.want("me", {"db", "web", "none"}, 0.01, told.set)
    resolver.wait({"db", "web", "none"}, DEADLINE)
    assert resolver.known("db") == Found((Address(V4, "10.0.0.1"), Address(V4, "10.0.0.2")))
    assert resolver.known("web") == Found((Address(V4, "127.0.0.1"), Address(V6, "::1")))
    assert resolver.known("none") == Found(error="host not found")
    assert told.wait(DEADLINE)
    told.clear()
    zone.known["db"] = "10.0.0.1 10.0.0.2"  # turned round, as name servers do: nothing new
    count = zone.asked.count("db")
    wait_for(lambda: zone.asked.count("db") > count + 3)
    assert not told.is_set()
    zone.known["db"] = "10.0.0.9"
    assert told.wait(DEADLINE)
    assert resolver.known("db") == Found((Address(V4, "10.0.0.9"),))


def test_the_last_good_answer_stays(zone: Zone, resolver: Resolver) -> None:
    resolver.want("me", {"db"}, 0.01, nothing)
    resolver.wait({"db"}, DEADLINE)
    good = zone.known.pop("db")
    wait_for(lambda: resolver.known("db").error == "host not found")
    assert len(resolver.known("db").addresses) == 2
    zone.known["db"] = good
    wait_for(lambda: resolver.known("db").error == "")


def test_a_name_that_nobody_wants_is_forgotten(zone: Zone, resolver: Resolver) -> None:
    resolver.want("me", {"db"}, 0.01, nothing)
    resolver.want("you", {"db", "web"}, 0.01, nothing)
    resolver.wait({"db", "web"}, DEADLINE)
    resolver.want("you", (), 0.01, nothing)
    assert resolver.known("web") is None
    assert resolver.known("db") is not None
    resolver.want("me", {"web"}, 0.01, nothing)
    assert resolver.known("db") is None


def test_a_slow_name_holds_up_no_other(zone: Zone, resolver: Resolver) -> None:
    zone.open.clear()
    resolver.want("me", {"db"}, 60, nothing)
    wait_for(lambda: zone.asked == ["db"])
    resolver.wait({"db"}, 0.01)  # ends though nothing is known
    zone.open.set()
    resolver.want("you", {"web"}, 60, nothing)
    resolver.wait({"web", "db"}, DEADLINE)
    assert resolver.known("web") and resolver.known("db")


def test_each_address_is_a_server_with_the_values_of_its_entry(
    consul: FakeConsul, follow: Callable[..., Following]
) -> None:
    consul.put("db:5432", b'{"weight":3, "down":1}')
    consul.put("10.0.0.3:5432")
    one = follow().wait_names("10.0.0.2:5432", "10.0.0.1:5432", "10.0.0.3:5432")
    first, second, third = one.applied[-1]
    assert (first.weight, first.down, first.written) == (3, True, "db:5432")
    assert (second.weight, second.down, second.written) == (3, True, "db:5432")
    assert (third.weight, third.down, third.written) == (1, False, "")
    consul.delete("db:5432")
    one.wait_names("10.0.0.3:5432")


def test_other_addresses_are_applied_without_a_word_of_consul(
    consul: FakeConsul, follow: Callable[..., Following], zone: Zone
) -> None:
    consul.put("db:5432")
    one = follow(resolve_ms=20).wait_names("10.0.0.2:5432", "10.0.0.1:5432")
    zone.known["db"] = "10.0.0.2 10.0.0.7"
    one.wait_names("10.0.0.7:5432", "10.0.0.2:5432")
    del zone.known["db"]
    lost = "upsync: host db: host not found: keeping 2 addresses"
    wait_for(lambda: one.last.skipped == (lost,), lambda: str(one.last))
    asked = len(zone.asked)
    wait_for(lambda: len(zone.asked) > asked + 5)
    zone.known["db"] = "10.0.0.2 10.0.0.7"
    wait_for(lambda: one.last.skipped == ())
    assert len(one.log.having(lost)) == 1
    assert len(one.log.having("upsync: host db is found")) == 1
    assert len(one.applied) == 2
    assert len(consul.queries) < asked, "Consul was not asked for it"


def test_a_name_that_is_not_found_is_skipped_and_taken_when_it_is(
    consul: FakeConsul, follow: Callable[..., Following], zone: Zone
) -> None:
    consul.put("127.0.0.1:8001")
    consul.put("new:8002")
    one = follow(resolve_ms=20).wait_names("127.0.0.1:8001")
    assert one.last.skipped == ("upsync: host new: host not found: skipped",)
    zone.known["new"] = "10.1.1.1"
    one.wait_names("10.1.1.1:8002", "127.0.0.1:8001")


def test_a_dead_name_server_takes_no_server_away(
    consul: FakeConsul, follow: Callable[..., Following], zone: Zone, tmp_path: Path
) -> None:
    """A new worker, after a reload or from the dump, keeps what the old one had found."""
    consul.put("db:5432", b'{"weight":3}')
    consul.put("127.0.0.1:8001")
    one = follow().wait_names("10.0.0.2:5432", "10.0.0.1:5432", "127.0.0.1:8001")
    wait_for(lambda: one.last.count == 3)
    zone.open.clear()  # no answer any more, to the new resolver
    known = Report.from_json(one.last.to_json())
    reloaded = Resolver(zone)
    path = tmp_path / "u.dump"
    dump.write(str(path), one.last.servers)
    assert "server 10.0.0.1:5432 weight=3 max_fails=2 fail_timeout=10s; # db:5432\n" in path.read_text()
    for start in ({"known": known}, {"dump_path": str(path)}):
        with followers(consul) as make:
            other = make(resolver=reloaded, **start)
            kept = ("upsync: host db: no answer yet: keeping 2 addresses",)
            wait_for(lambda other=other, kept=kept: other.last.skipped == kept)
            assert (other.last.source, other.last.index) == ("consul", consul.index)
            assert set(names(other.last.servers)) == set(names(one.last.servers))
    reloaded.stop()


def test_two_names_with_one_address_are_one_server(
    consul: FakeConsul, follow: Callable[..., Following], zone: Zone
) -> None:
    zone.known["other"] = "10.0.0.1"
    consul.put("db:80", b'{"weight":2}')
    consul.put("other:80", b'{"weight":7}')
    one = follow().wait_names("10.0.0.2:80", "10.0.0.1:80")
    assert [server.weight for server in one.applied[-1]] == [2, 2]
    wait_for(lambda: one.last.skipped)
    assert one.last.skipped == ("upsync: other:80 has the address of db:80: one server, values of the latter",)


def test_off_skips_names_as_the_module_does(consul: FakeConsul, follow: Callable[..., Following], zone: Zone) -> None:
    consul.put("127.0.0.1:8001")
    consul.put("db:80")
    one = follow(resolve_ms=0).wait_names("127.0.0.1:8001")
    wait_for(lambda: one.last.skipped)
    assert one.last.skipped == ("upsync_check_key: invalid ip in /db:80: skipped (upsync_resolve off)",)
    assert not zone.asked
