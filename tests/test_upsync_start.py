"""How a worker starts, with whatever is known, and how a puller ends: at once, whatever it waits for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lb.upsync import dump
from lb.upsync.start import initial, published, wait
from tests.harness.wait import DEADLINE, free_port, wait_for
from tests.upsync_fakes import (
    FakeConsul,
    Following,
    followers,
    names,
    running_consul,
    server,
    stall,
    upstream,
)

LOST = "is lost: "


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with running_consul() as fake:
        yield fake


@pytest.fixture
def follow(consul: FakeConsul) -> Iterator[Callable[..., Following]]:
    """follow(**options of the upstream) -> Following."""
    with followers(consul) as make:
        yield make


class TestStart:
    def test_from_the_file(self, consul: FakeConsul, tmp_path: Path) -> None:
        made = upstream(consul.port, str(tmp_path / "none"))
        report = initial(made, None, 3)
        assert (report.source, report.upstream, report.servers, report.error) == ("file", 3, made.servers, "")

    def test_from_the_dump(self, consul: FakeConsul, tmp_path: Path) -> None:
        path = str(tmp_path / "dump")
        dump.write(path, [server("127.0.0.1:8001", down=True)])
        report = initial(upstream(consul.port, path), None, 3)
        assert (report.source, report.servers) == ("dump", (server("127.0.0.1:8001", down=True),))

    def test_a_damaged_dump_leaves_the_file_and_is_said(self, follow: Callable[..., Following], tmp_path: Path) -> None:
        (tmp_path / "dump").write_text("server 127.0.0.1:80\n")
        one = follow(port=free_port(), dump_path=str(tmp_path / "dump"))
        assert one.start.source == "file"
        wait_for(lambda: one.log.having(LOST), "the loss")
        said = f'dump refused: {tmp_path}/dump:1: no semicolon at the end in "server 127.0.0.1:80"'
        assert ("error", f'upsync: upstream "test": {said}') in one.log.lines
        assert one.reports[0].error == said
        assert one.log.having("starts with 1 server from the configuration")

    def test_from_what_the_master_knows_unless_it_is_of_another_source(
        self, consul: FakeConsul, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "dump")
        dump.write(path, [server("127.0.0.1:8009")])
        made = upstream(consul.port, path)
        known = replace(initial(made, None, 0), source="consul", index=42, servers=(server("127.0.0.1:8001"),))
        report = initial(made, known, 5)
        assert (report.source, report.index, report.upstream) == ("consul", 42, 5)
        assert names(report.servers) == ["127.0.0.1:8001"]
        other = upstream(consul.port, path, path="/v1/kv/upstreams/other")
        assert initial(other, known, 5).source == "dump"

    def test_hashes_go_by_one_order_in_all_workers(self) -> None:
        """Whenever which server came."""
        made = replace(upstream(1), balancer="ip_hash")
        a, b = server("127.0.0.1:8001"), server("127.0.0.1:8002")
        for servers in ((a, b), (b, a)):
            report = replace(initial(made, None, 0), source="consul", servers=servers)
            engine, text = published(made, report)
            assert engine == (a, b)
            assert text.index(servers[0].name.encode()) < text.index(servers[1].name.encode())
            assert published(replace(made, balancer="round_robin"), report)[0] == servers
            assert published(made, replace(report, source="file"))[0] == servers

    def test_a_static_upstream(self) -> None:
        made = replace(upstream(1), upsync=None)
        report = initial(made, None, 2)
        assert (report.source, report.servers, report.watched) == ("file", made.servers, "")

    def test_the_order_goes_on_after_a_reload(self, consul: FakeConsul, follow: Callable[..., Following]) -> None:
        for port in (8001, 8002):
            consul.put(f"127.0.0.1:{port}")
        one = follow().wait_names("127.0.0.1:8002", "127.0.0.1:8001")
        consul.put("127.0.0.1:8000")
        one.wait_names("127.0.0.1:8000", "127.0.0.1:8002", "127.0.0.1:8001")
        wait_for(lambda: len(one.last.servers) == 3, "the report")
        consul.put("127.0.0.1:8003")
        two = follow(known=one.last)
        two.wait_names("127.0.0.1:8003", "127.0.0.1:8000", "127.0.0.1:8002", "127.0.0.1:8001")

    def test_first_is_set_by_an_answer_also_an_empty_one(self, follow: Callable[..., Following]) -> None:
        one = follow(strong_dependency=True)
        assert one.puller.first.wait(DEADLINE)
        assert one.last.error == "the key prefix does not exist"

    def test_first_is_set_when_consul_is_down_without_strong_dependency(self, follow: Callable[..., Following]) -> None:
        one = follow(port=free_port())
        assert one.puller.first.wait(DEADLINE)
        assert one.log.having("is lost: (111: Connection refused)")

    def test_strong_dependency_waits_for_a_consul_that_comes_up(self, follow: Callable[..., Following]) -> None:
        """Refused at first: first is not set before the list is there."""
        port = free_port()
        one = follow(port=port, strong_dependency=True)
        wait_for(lambda: one.log.having(LOST), "the first tries")
        assert not one.puller.first.is_set()
        late = FakeConsul(port)
        try:
            late.put("127.0.0.1:8001")
            assert one.puller.first.wait(DEADLINE)
            one.wait_names("127.0.0.1:8001")
        finally:
            one.end()
            late.stop()

    def test_the_worker_waits_for_a_bounded_time(self, consul: FakeConsul, follow: Callable[..., Following]) -> None:
        consul.fault(stall, stall, stall)
        pullers = [follow(strong_dependency=strong).puller for strong in (False, True, False)]
        assert [puller.patience_s for puller in pullers] == [0.25, 2.0, 0.25]
        for puller in pullers:
            puller.patience_s = 0.05
        wait(pullers)
        assert not any(puller.first.is_set() for puller in pullers)


class TestStop:
    def test_in_the_middle_of_a_blocking_query(self, consul: FakeConsul, follow: Callable[..., Following]) -> None:
        consul.put("127.0.0.1:8001")
        one = follow().wait_names("127.0.0.1:8001")
        wait_for(lambda: len(consul.queries) == 2, "the blocking query")
        self.ends_at_once(one)

    def test_while_it_waits_for_its_interval(self, consul: FakeConsul, follow: Callable[..., Following]) -> None:
        consul.put("127.0.0.1:8001")
        self.ends_at_once(follow(interval_ms=60_000).wait_names("127.0.0.1:8001"))

    def test_while_it_connects(self, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch) -> None:
        """A full accept queue: the kernel drops the SYN, as a black hole does."""
        monkeypatch.setattr("lb.upsync.consul.READ_S", 60.0)
        with socket.socket() as deaf, socket.socket() as filler, socket.socket() as more:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            for one in (filler, more):
                one.setblocking(False)
                one.connect_ex(deaf.getsockname())
            following = follow(port=deaf.getsockname()[1])
            wait_for(lambda: _connecting(deaf.getsockname()[1]) >= 1, "the connection attempt")
            self.ends_at_once(following)

    def test_before_the_start_and_twice(self, consul: FakeConsul, follow: Callable[..., Following]) -> None:
        one = follow()
        one.puller.stop()
        one.puller.stop()
        self.ends_at_once(one)
        one.puller.stop()

    @staticmethod
    def ends_at_once(one: Following) -> None:
        one.puller.stop()
        one.puller.join(DEADLINE)
        assert not one.puller.is_alive(), "it waits for something"  # which would last 55 s at least
        assert one.puller.first.is_set(), "a worker would wait for it"
        assert not one.log.having(LOST)


def _connecting(port: int) -> int:
    """Connections to a loopback port in SYN_SENT."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(row.split()[2] == f"0100007F:{port:04X}" and row.split()[3] == "02" for row in rows)
