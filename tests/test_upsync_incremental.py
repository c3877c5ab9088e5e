"""A change costs what it changes: the quick way gives what the plain way gives, and says what has changed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb import _fast, upstream_show
from lb.model import Server, ShrinkGuard
from lb.upsync.entries import Entry, Listing, listing
from lb.upsync.guard import Guard
from lb.upsync.incremental import Incremental
from lb.upsync.merge import Change, Order, change
from lb.upsync.report import Report, digest_of
from lb.upsync.start import initial, published
from lb.upsync.upstream_sync import UpstreamSync
from tests.upsync_fakes import Recorder, server, upstream

SEEDS = given(st.integers(0, 1 << 32))
GOOD = [None, b"{}", b'{"weight":3}', b'{"down":1}', b'{"backup":1}']
BAD = [b"bad", b'{"weight":0}']


class Store:
    """Keys with values, and the entries of each answer: what has not changed is the same object."""

    def __init__(self, rnd: random.Random, hosts: int = 60) -> None:
        self.rnd = rnd
        self.hosts = hosts
        self.entries: dict[str, Entry] = {}

    def put(self, key: str, value: bytes | None) -> None:
        self.entries[key] = (key, value)

    def edit(self, odd: float = 0.0) -> list[Entry]:
        """A few changes; `odd`: the share of those that leave the quick way."""
        for _ in range(self.rnd.choice([0, 1, 1, 1, 2, 5, 30])):
            port = self.rnd.randrange(self.hosts)
            key = f"u/127.0.0.1:{8000 + port}"
            if self.rnd.random() < 0.4:
                self.entries.pop(key, None)
            elif self.rnd.random() >= odd:
                self.put(key, self.rnd.choice(GOOD))
            else:
                twice, name = f"u/127.0.0.01:{8000 + port}", f"u/host{port}:80"
                self.put(self.rnd.choice([key, twice, name, "u/x"]), self.rnd.choice(BAD + GOOD))
        if odd and self.rnd.random() < 0.5:
            for key in [key for key, entry in self.entries.items() if len(key) != 16 or entry[1] in BAD]:
                del self.entries[key]
        self.put("u/127.0.0.2:80", None)
        return [self.entries[key] for key in sorted(self.entries)]


def places(servers: tuple[Server, ...]) -> Counter[Server]:
    return Counter(servers)


@SEEDS
def test_what_is_carried_over_is_what_would_be_read(seed: int) -> None:
    rnd = random.Random(seed)
    store, carry = Store(rnd), Incremental()
    before = Listing(())
    quick = 0
    for _ in range(15):
        entries = store.edit(odd=0.1 if seed % 2 else 0.0)
        found = carry.listing(entries)
        assert found == listing(entries)
        assert set(carry.memo) == set(entries)
        if found.since is not None:
            quick += 1
            assert found.since is before.mark
            assert places(before.servers) - places(found.gone) + places(found.fresh) == places(found.servers)
            assert not found.problems and not found.hosts
            assert {id(one) for one in found.servers} <= {id(one) for one in (*before.servers, *found.fresh)}
        before = found
    assert seed % 2 or quick == 14


def test_a_place_that_is_left_and_one_that_is_not() -> None:
    carry = Incremental()
    carry.listing([("u/127.0.0.1:80", None), ("u/127.0.0.1:81", None)])
    found = carry.listing([("u/127.0.0.01:80", None), ("u/127.0.0.1:81", None)])
    assert found.since is not None
    assert [one.name for one in (*found.gone, *found.fresh)] == ["127.0.0.1:80", "127.0.0.01:80"]
    found = carry.listing([("u/127.0.0.01:80", None), ("u/127.0.0.1:80", None)])
    assert found.since is None
    assert len(found.problems) == 1


@pytest.mark.parametrize("entries", [[], [("u/x", None)], [("u/a.b:80", None)], [("u/127.0.0.1:80", b"x")]])
def test_after_an_answer_that_is_not_plain_all_is_read(entries: list[Entry]) -> None:
    carry = Incremental()
    good: Entry = ("u/127.0.0.1:81", None)
    assert carry.listing([good]).since is None
    assert carry.listing([good, *entries]) == listing([good, *entries])
    back = carry.listing([good])
    assert (back.since is None) == bool(entries)
    assert back == listing([good])


@SEEDS
def test_the_directorys_own_key_is_said_and_costs_nothing(seed: int) -> None:
    rnd = random.Random(seed)
    store, carry = Store(rnd), Incremental()
    for turn in range(8):
        entries = [*([("u/", None)] if rnd.random() < 0.8 else []), *store.edit()]
        found = carry.listing(entries)
        assert found == listing(entries)
        assert (found.since is not None) == (turn > 0)
        assert len(found.problems) == (entries[0][0] == "u/")
    only = carry.listing([("u/", None)])
    assert only == listing([("u/", None)])
    assert carry.listing([("u/", None), ("u/127.0.0.1:80", None)]).since is only.mark


@SEEDS
def test_lists_in_any_order_are_carried_over(seed: int) -> None:
    """What is not in order costs more, and nothing else."""
    rnd = random.Random(seed)
    pool = [(f"k{n}", None) for n in range(9)]
    old, new = rnd.sample(pool, rnd.randrange(10)), rnd.sample(pool, rnd.randrange(10))
    if rnd.random() < 0.5:
        old, new = sorted(old), sorted(new)
        expected = {entry[0] for entry in old} ^ {entry[0] for entry in new}
    else:
        expected = None
    found, gone, fresh = _fast.carry_over(old, [entry[0] for entry in old], new)
    assert [new[at][0] if one is None else one for at, one in enumerate(found)] == [entry[0] for entry in new]
    assert [at for at, one in enumerate(found) if one is None] == fresh
    came = Counter(new[at] for at in fresh)
    assert Counter(old) - Counter(old[at] for at in gone) + came == Counter(new)
    assert expected is None or {old[at][0] for at in gone} | {new[at][0] for at in fresh} == expected


def test_a_value_for_each_entry() -> None:
    with pytest.raises(ValueError, match="1 values for 2 entries"):
        _fast.carry_over([("a", None), ("b", None)], [1], [])


def same(one: Change, two: Change) -> bool:
    """The same change; what goes and what is altered may be told in another order."""
    return (
        one.servers == two.servers
        and one.added == two.added
        and Counter(one.removed) == Counter(two.removed)
        and Counter(one.altered) == Counter(two.altered)
    )


@SEEDS
def test_an_order_gives_the_change_and_the_text_of_the_plain_way(seed: int) -> None:
    rnd = random.Random(seed)
    store, carry = Store(rnd), Incremental()
    first = carry.listing(store.edit())
    current = change((), first.servers).servers
    order = Order(current)
    guard = Guard(ShrinkGuard(20))
    for _ in range(15):
        found = carry.listing(store.edit())
        assert found.since is not None
        plain = change(current, found.servers)
        plan = order.plan(found.gone, found.fresh)
        assert plan is not None
        lost, won = order.balance(plan)
        counted = guard.weighs(lost, order.usable, order.usable + won - lost, lambda: None, 0.0)
        assert counted == guard.holds(current, plain.servers, lambda: None, 0.0)
        assert order.plan(found.gone, found.fresh) == plan, "a plan changes nothing"
        quick = order.take(plan)
        assert same(quick, plain)
        assert bool(quick) == bool(plain)
        current = quick.servers
        assert order.text("u") == upstream_show.block("u", current, from_file=False)
        assert order.usable == sum(not one.down for one in current)


def test_a_plan_of_another_list_is_none() -> None:
    order = Order([server("127.0.0.1:1"), server("127.0.0.1:2")])
    other = server("127.0.0.1:3")
    assert order.plan([other], []) is None
    assert order.plan([], [server("127.0.0.1:1")]) is None
    assert other.address not in order
    assert server("127.0.0.1:2").address in order


def test_a_server_that_is_written_otherwise_is_altered() -> None:
    one = server("127.0.0.1:1")
    now = replace(one, written="a:1")
    plan = Order([one]).plan([one], [now])
    assert plan is not None
    assert plan.altered == ((one, now),)


# ---- the follower


class Engine:
    """What it would balance over, kept by the changes that it is told."""

    def __init__(self, servers: tuple[Server, ...]) -> None:
        self.servers = servers
        self.show = b""
        self.told: list[Change | None] = []
        self.refuse = False

    def publish(self, servers: tuple[Server, ...], text: bytes, told: Change | None) -> None:
        if self.refuse:
            raise ValueError("refused")
        self.told.append(told)
        if told is not None:
            gone = {one.address for one in told.removed}
            now = {was.address: after for was, after in told.altered}
            assert all(one in self.servers for one in (*told.removed, *[was for was, _ in told.altered]))
            assert not {one.address for one in told.added} & {one.address for one in self.servers}
            kept = [now.get(one.address, one) for one in self.servers if one.address not in gone]
            assert servers == (*reversed(told.added), *kept)
        self.servers, self.show = servers, text


FILE = server("127.0.0.9:9")
TURNED = tuple(server(f"127.0.0.1:{8000 + n}") for n in range(3))
BACKUP = replace(server("127.0.0.1:8001"), backup=True)


def following(engine: Engine, **options: object) -> tuple[UpstreamSync, list[Report]]:
    reports: list[Report] = []
    one = upstream(1, **options)
    start = initial(one, None, 0)
    engine.servers = published(one, start)[0]
    return UpstreamSync(one, start, engine.publish, reports.append, Recorder()), reports


@SEEDS
def test_the_engine_is_told_what_has_changed(seed: int) -> None:
    """Beside a follower that looks at all of each list; with problems, host names, refusals, held updates between."""
    rnd = random.Random(seed)
    servers = rnd.choice([(FILE,), (FILE, BACKUP), (server("127.0.0.2:80"), server("127.0.0.1:8003")), TURNED])
    guard = ShrinkGuard(30) if seed % 2 else None
    quick, plain = Engine(()), Engine(())
    pairs = [following(engine, servers=servers, guard=guard, resolve_ms=0) for engine in (quick, plain)]
    store, carry = Store(rnd, hosts=12), Incremental()
    found: Listing | None = None
    for index in range(1, 25):
        if rnd.random() < 0.9:
            found = carry.listing(store.edit(odd=0.02))
        given = found if rnd.random() < 0.95 else rnd.choice([None, Listing(())])
        agreed = rnd.choice([None, None, 1])
        quick.refuse = plain.refuse = rnd.random() < 0.1
        raised = []
        for (follower, _), one in zip(pairs, (given, given and replace(given, mark=object(), since=None)), strict=True):
            try:
                follower.take(one, index, lambda agreed=agreed: agreed)  # type: ignore[misc]
            except ValueError as error:
                raised.append(str(error))
        assert len(raised) in (0, 2)
        assert (quick.servers, quick.show) == (plain.servers, plain.show)
        said = [[replace(one, at=0.0, delta=None).to_json() for one in reports[-1:]] for _, reports in pairs]
        assert said[0] == said[1]
    assert all(digest_of(report.servers) == report.digest for report in pairs[0][1])


def test_when_the_engine_is_told_and_when_not() -> None:
    engine = Engine(())
    follower, reports = following(engine, servers=(FILE, BACKUP))
    carry = Incremental()
    entries: list[Entry] = [("u/127.0.0.1:8005", None), ("u/127.0.0.1:8006", None)]
    follower.take(carry.listing(entries), 1)
    assert engine.told.pop() is None, "the file's list is another one"
    fresh: Entry = ("u/127.0.0.1:8007", None)
    follower.take(carry.listing([*entries, fresh]), 2)
    told = engine.told.pop()
    assert told is not None
    assert [one.name for one in told.added] == ["127.0.0.1:8007"]
    assert engine.servers[-1] is BACKUP
    follower.take(carry.listing([*entries, ("u/127.0.0.1:8007", b'{"weight":1}')]), 3)
    assert not engine.told, "a value that says the same"
    follower.take(carry.listing([("u/127.0.0.1:8001", None), *entries]), 4)
    assert engine.told.pop() is None, "the address of a server of the file"
    assert BACKUP not in engine.servers
    follower.take(carry.listing(entries), 5)
    engine.told.clear()
    engine.refuse = True
    with pytest.raises(ValueError, match="refused"):
        follower.take(carry.listing([*entries, fresh]), 6)
    engine.refuse = False
    assert len(reports[-1].servers) == 2
    for index in (7, 8):
        entries.append((f"u/127.0.0.1:801{index}", None))
        follower.take(carry.listing(list(entries)), index)
    assert [told is None for told in engine.told] == [True, False], "the engine refused the last one"
    assert len(reports[-1].servers) == 4


def test_a_files_list_is_turned_around_by_the_first_change() -> None:
    engine = Engine(())
    follower, reports = following(engine, servers=TURNED)
    carry = Incremental()
    entries: list[Entry] = [(f"u/{one.name}", None) for one in TURNED]
    follower.take(carry.listing(list(entries)), 1)
    assert engine.told.pop() == Change(TURNED)
    entries[1] = (entries[1][0], b'{"weight":5}')
    follower.take(carry.listing(list(entries)), 2)
    told = engine.told.pop()
    assert told is not None and told.altered
    assert [one.address.port for one in engine.servers] == [8000, 8001, 8002]
    for index in (3, 4):
        entries.append((f"u/127.0.0.1:800{index}", None))
        follower.take(carry.listing(list(entries)), index)
    assert [told is None for told in engine.told] == [True, False]
    assert [one.address.port for one in engine.servers] == [8004, 8003, 8002, 8001, 8000]
    assert len(reports[-1].servers) == 5


def test_ip_hash_gets_its_own_order_and_no_change() -> None:
    engine = Engine(())
    one = replace(upstream(1), balancer="ip_hash")
    follower = UpstreamSync(one, initial(one, None, 0), engine.publish, lambda _: None, Recorder())
    carry = Incremental()
    entries: list[Entry] = [("u/127.0.0.1:80", None)]
    for port in (82, 81):
        entries = sorted([*entries, (f"u/127.0.0.1:{port}", None)])
        follower.take(carry.listing(entries), port)
    assert [one.address.port for one in engine.servers] == [80, 81, 82]
    assert engine.told == [None, None]


def test_a_held_update_changes_nothing() -> None:
    engine = Engine(())
    follower, reports = following(engine, guard=ShrinkGuard(50))
    carry = Incremental()
    entries: list[Entry] = [(f"u/127.0.0.1:800{n}", None) for n in range(5)]
    follower.take(carry.listing(entries[:4]), 1)
    follower.take(carry.listing(entries), 2)
    count = len(engine.told)
    short = carry.listing(entries[:1])
    for index in (3, 4):
        follower.take(short, index)
        assert reports[-1].held.endswith("it would take away 4 of 5 usable servers")
    assert len(engine.told) == count
    follower.take(carry.listing(entries[1:]), 5)
    told = engine.told.pop()
    assert told is not None
    assert [one.name for one in told.removed] == ["127.0.0.1:8000"]
    assert not reports[-1].held
