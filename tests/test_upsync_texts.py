"""Order, /upstream_show, the dump and the report: the module's bytes (upsync-behaviour sections 3.1 and 4)."""

from __future__ import annotations

import json
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb import upstream_show
from lb.model import Address, Server
from lb.upsync import dump
from lb.upsync.entries import listing
from lb.upsync.merge import merge
from lb.upsync.report import Report
from tests.upsync_fakes import names, server

A, B, C, D, E = (server(f"127.0.0.1:800{n}") for n in range(1, 6))
PLACEHOLDER = server("127.0.0.1:11111", max_fails=1)


class TestOrder:
    def test_the_first_answer_replaces_the_placeholder_and_turns_consuls_order_around(self) -> None:
        assert merge([PLACEHOLDER], [A, B, C], from_file=True) == (C, B, A)

    def test_new_ones_go_to_the_head_one_by_one(self) -> None:
        assert merge([C, A], [A, B, C, D], from_file=False) == (D, B, C, A)

    def test_an_update_keeps_its_place(self) -> None:
        heavy = server(B.name, weight=5)
        assert merge([C, B, A], [A, heavy, C]) == (C, heavy, A)

    def test_a_removed_one_goes_and_comes_back_at_the_head(self) -> None:
        without = merge([C, B, A], [B, C])
        assert without == (C, B)
        assert merge(without, [A, B, C]) == (A, C, B)

    def test_a_list_of_the_file_turns_around_when_it_gains_or_loses_one(self) -> None:
        assert merge([A, B, C], [A, B, C, D], from_file=True) == (D, C, B, A)
        assert merge([A, B, C], [A, C], from_file=True) == (C, A)

    def test_and_not_when_it_only_gets_other_attributes(self) -> None:
        heavy = server(B.name, weight=5)
        assert merge([A, B, C], [A, heavy, C], from_file=True) == (A, heavy, C)

    def test_a_file_with_the_same_address_twice(self) -> None:
        assert merge([A, A, B], [A, B], from_file=True) == (B, A)

    def test_one_address_under_another_name_is_an_update(self) -> None:
        padded = Server("127.0.0.1:08001", A.address, max_fails=2)
        assert merge([B, A], [padded, B]) == (B, padded)

    @given(*[st.lists(st.sampled_from([A, B, C, D, E]), unique=True)] * 2, st.booleans())
    def test_the_result_is_the_answer_in_some_order(self, old: list[Server], new: list[Server], file: bool) -> None:
        assert sorted(names(merge(old, new, from_file=file))) == sorted(names(new))


class TestShow:
    def test_the_block_of_section_4_2(self) -> None:
        values = [(1, b""), (2, b'{"weight":10,"max_fails":3,"fail_timeout":20}')]
        values += [(3, b'{"weight":2,"down":1}'), (4, b'{"weight":3,"backup":1}')]
        answer = listing([(f"u/test/127.0.0.1:2180{n}", value) for n, value in values])
        servers = merge([PLACEHOLDER], answer.servers, from_file=True)
        assert servers[0].backup
        text = upstream_show.block("test", servers, from_file=False)
        assert text == (
            b"Upstream name: test; Backend server count: 4\n"
            b"        server 127.0.0.1:21804 weight=3 max_fails=2 fail_timeout=10s;\n"
            b"        server 127.0.0.1:21803 weight=2 max_fails=2 fail_timeout=10s down;\n"
            b"        server 127.0.0.1:21802 weight=10 max_fails=3 fail_timeout=20s;\n"
            b"        server 127.0.0.1:21801 weight=1 max_fails=2 fail_timeout=10s;\n"
        )
        assert len(text) == 331, "the Content-Length that nginx sent"

    def test_all_upstreams_of_section_4_3(self) -> None:
        unix = Server("unix:/tmp/x.sock", Address(socket.AF_UNIX, "/tmp/x.sock"))
        backend = [
            server("127.0.0.1:8090", weight=10, max_fails=3),
            server("127.0.0.1:8091", max_fails=1, down=True),
            server("127.0.0.1:8092", max_fails=1, backup=True),
            unix,
        ]
        implicit = [server("127.0.0.1:21801", max_fails=1)]
        blocks = [
            ("backend", upstream_show.block("backend", backend)),
            ("127.0.0.1:21801", upstream_show.block("127.0.0.1:21801", implicit, implicit=True)),
        ]
        assert upstream_show.page(blocks) == (
            b"Upstream name: backend; Backend server count: 3\n"
            b"        server 127.0.0.1:8090 weight=10 max_fails=3 fail_timeout=10s;\n"
            b"        server 127.0.0.1:8091 weight=1 max_fails=1 fail_timeout=10s down;\n"
            b"        server unix:/tmp/x.sock weight=1 max_fails=1 fail_timeout=10s;\n"
            b"\n"
            b"Upstream name: 127.0.0.1; Backend server count: 1\n"
            b"        server 127.0.0.1:21801 weight=0 max_fails=0 fail_timeout=0s;\n"
            b"\n"
        )

    @pytest.mark.parametrize(
        ("name", "shown"),
        [("127.0.0.1:80", b"127.0.0.1"), ("[::1]:80", b"[::1]"), ("[::1]", b"[::1]"), ("host", b"host")],
    )
    def test_an_implicit_upstream_has_its_host_as_name(self, name: str, shown: bytes) -> None:
        assert (
            upstream_show.block(name, [], implicit=True) == b"Upstream name: " + shown + b"; Backend server count: 0\n"
        )

    def test_a_name_is_the_whole_query_in_any_case(self) -> None:
        blocks = [("Test", b"one\n"), ("test2", b"two\n")]
        assert upstream_show.page(blocks, b"test") == b"one\n"
        assert upstream_show.page(blocks, b"TEST2") == b"two\n"
        assert upstream_show.page(blocks, b"") == b"one\n\ntwo\n\n"

    @pytest.mark.parametrize("query", [b"nosuch", b"test&x=1", b"tes", b"test "])
    def test_an_unknown_name(self, query: bytes) -> None:
        text = upstream_show.page([("test", b"one\n")], query)
        assert text == b"The upstream you requested does not exist. Please double-check the name"
        assert len(text) == 71

    def test_no_upstreams(self) -> None:
        assert upstream_show.page([], b"") == upstream_show.page([], b"test") == b"No upstreams defined"


DUMPED = (
    server("127.0.0.1:21803", weight=2),
    server("127.0.0.1:21802", weight=10, max_fails=3, fail_timeout_s=20, down=True),
    server("127.0.0.1:21801"),
)
DUMP = (
    "server 127.0.0.1:21803 weight=2 max_fails=2 fail_timeout=10s;\n"
    "server 127.0.0.1:21802 weight=10 max_fails=3 fail_timeout=20s down;\n"
    "server 127.0.0.1:21801 weight=1 max_fails=2 fail_timeout=10s;\n"
)

any_server = st.builds(
    Server,
    name=st.just("replaced"),
    address=st.builds(
        Address,
        family=st.just(socket.AF_INET),
        host=st.ip_addresses(v=4).map(str).filter(lambda host: host != "255.255.255.255"),
        port=st.integers(1, 65535),
    ),
    weight=st.integers(1, 2**31 - 1),
    max_fails=st.integers(0, 2**31 - 1),
    fail_timeout_s=st.integers(0, 2**31 - 1),
    max_conns=st.integers(0, 2**31 - 1),
    backup=st.booleans(),
    down=st.booleans(),
    slow_start_s=st.integers(0, 2**31 - 1),
).map(lambda one: Server(str(one.address), *[getattr(one, f) for f in Server.__slots__[1:]]))


class TestDump:
    def test_the_bytes_of_section_4_1(self, tmp_path: Path) -> None:
        path = tmp_path / "servers_test.conf"
        dump.write(str(path), DUMPED)
        assert path.read_bytes() == DUMP.encode()
        assert path.stat().st_size == 192
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert dump.read(str(path)) == DUMPED
        assert os.listdir(tmp_path) == ["servers_test.conf"]

    @given(st.lists(any_server, min_size=1, unique_by=lambda one: one.address))
    def test_reading_back_gives_the_same_list(self, servers: list[Server]) -> None:
        directory = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
        path = directory / f"lb-test-dump-{os.getpid()}"
        try:
            path.write_bytes(dump.data(servers))
            assert dump.read(str(path)) == tuple(servers)
        finally:
            path.unlink()

    def test_ipv6_and_unix_servers_come_back(self, tmp_path: Path) -> None:
        servers = (
            Server("[::1]:80", Address(socket.AF_INET6, "::1", 80)),
            Server("unix:/run/x.sock", Address(socket.AF_UNIX, "/run/x.sock")),
        )
        dump.write(str(tmp_path / "dump"), servers)
        assert dump.read(str(tmp_path / "dump")) == servers

    def test_a_write_replaces_the_file_and_leaves_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "dump"
        dump.write(str(path), DUMPED)
        before = path.stat().st_ino
        dump.write(str(path), [A])
        assert path.stat().st_ino != before, "written in place: a crash would leave half a file"
        assert dump.read(str(path)) == (A,)
        assert os.listdir(tmp_path) == ["dump"]

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "dump").symlink_to("real/dump")
        dump.write(str(tmp_path / "dump"), [A])
        assert (tmp_path / "dump").is_symlink()
        assert dump.read(str(tmp_path / "real/dump")) == (A,)

    def test_the_link_of_another_user_is_replaced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In /tmp, where the default is, it would let anybody choose what root overwrites."""
        (tmp_path / "precious").write_text("x")
        (tmp_path / "dump").symlink_to("precious")
        if os.geteuid() == 0:
            os.lchown(tmp_path / "dump", 12345, 12345)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
        dump.write(str(tmp_path / "dump"), [A])
        assert (tmp_path / "precious").read_text() == "x"
        assert dump.read(str(tmp_path / "dump")) == (A,)

    def test_an_empty_list_is_never_written(self, tmp_path: Path) -> None:
        dump.write(str(tmp_path / "dump"), [A])
        with pytest.raises(ValueError, match="an empty server list is not written"):
            dump.write(str(tmp_path / "dump"), [])
        assert dump.read(str(tmp_path / "dump")) == (A,)

    def test_a_failed_write_leaves_the_old_file_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "dump"
        dump.write(str(path), DUMPED)

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            dump.write(str(path), [A])
        assert dump.read(str(path)) == DUMPED
        assert os.listdir(tmp_path) == ["dump"]

    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            dump.write(str(tmp_path / "none/dump"), [A])

    def test_people_may_edit_it(self, tmp_path: Path) -> None:
        path = tmp_path / "dump"
        path.write_text("# ours\n\n\tserver  127.0.0.1:80   fail_timeout=5s weight=3 ;\n")
        (read,) = dump.read(str(path))
        assert (read.name, read.weight, read.max_fails, read.fail_timeout_s) == ("127.0.0.1:80", 3, 1, 5)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "empty or cut off"),
            ("\n", "no servers"),
            ("# nothing\n", "no servers"),
            (DUMP[:-1], "empty or cut off"),
            (DUMP + "server 127.0.0.1:1 wei", "empty or cut off"),
            (DUMP + "server 127.0.0.1:1 wei\n", ':4: no semicolon at the end in "server 127.0.0.1:1 wei"'),
            (DUMP + "server;\n", ":4: not a server"),
            (DUMP + ";\n", ":4: not a server"),
            (DUMP + "upstream x;\n", ":4: not a server"),
            (DUMP + "server localhost:80;\n", ":4: invalid ip"),
            (DUMP + "server 127.0.0.1:0;\n", ":4: invalid port"),
            (DUMP + "server 127.0.0.1;\n", ":4: has no port"),
            (DUMP + "server 127.0.0.1:1 weight=0;\n", ":4: weight=0 is out of range"),
            (DUMP + "server 127.0.0.1:1 weight=9999999999;\n", ":4: weight=9999999999 is out of range"),
            (DUMP + "server 127.0.0.1:1 weight=-1;\n", ":4: unknown parameter weight=-1"),
            (DUMP + "server 127.0.0.1:1 weight=1s;\n", ":4: unknown parameter weight=1s"),
            (DUMP + "server 127.0.0.1:1 fail_timeout=1;\n", ":4: unknown parameter fail_timeout=1"),
            (DUMP + "server 127.0.0.1:1 weight=1 weight=2;\n", ":4: weight repeats"),
            (DUMP + "server 127.0.0.1:1 down down;\n", ":4: down repeats"),
            (DUMP + "server 127.0.0.1:1 slow;\n", ":4: unknown parameter slow"),
            (DUMP + "server 127.0.0.1:21801;\n", ":4: 127.0.0.1:21801 is there twice"),
            ("\x00\xff\n", ':1: no semicolon at the end in "\\x00\\udcff"'),
        ],
    )
    def test_a_damaged_file_is_refused_whole_with_the_line(self, tmp_path: Path, text: str, reason: str) -> None:
        path = tmp_path / "dump"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(dump.DumpError) as caught:
            dump.read(str(path))
        assert str(caught.value).startswith(str(path))
        assert reason in str(caught.value)

    def test_a_file_that_cannot_be_read_is_no_dump_but_a_missing_one_is_said_to_be_missing(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(FileNotFoundError):
            dump.read(str(tmp_path / "none"))
        with pytest.raises(dump.DumpError, match="Is a directory"):
            dump.read(str(tmp_path))

    def test_a_huge_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "dump"
        with path.open("wb") as file:
            file.truncate(dump.MAX_BYTES + 1)
        with pytest.raises(dump.DumpError, match="larger than"):
            dump.read(str(path))


class TestReport:
    REPORT = Report(3, "consul", 42, 1700000000.25, DUMPED, "error", ("one", "two"), "consul://127.0.0.1:8500/x")

    def test_it_survives_the_channel(self) -> None:
        slow = replace(DUMPED[0], slow_start_s=30)
        for one in (self.REPORT, self.REPORT.with_servers((slow, replace(slow, written="a:1"), DUMPED[1]))):
            assert Report.from_json(json.loads(json.dumps(one.to_json()))).servers == one.servers
        assert Report.from_json(json.loads(json.dumps(self.REPORT.to_json()))) == self.REPORT

    @pytest.mark.parametrize(
        "change",
        [
            {"source": "etcd"},
            {"servers": [["a"]]},
            {"servers": None},
            {"index": "x"},
            {"upstream": None},
            {"skipped": 1},
        ],
    )
    def test_what_is_no_report_is_refused(self, change: dict[str, object]) -> None:
        with pytest.raises(ValueError):
            Report.from_json(self.REPORT.to_json() | change)
        with pytest.raises(ValueError, match="not a report"):
            Report.from_json({})
