"""Which keys are servers and what their values give: every row of upsync-behaviour section 1.4, and lb's bounds."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.model import Address, Server
from lb.upsync.entries import MAX_PROBLEMS, Listing, Memo, listing, under
from lb.upsync.values import MAX_VALUE, Attributes, attributes

KEY = "upstreams/test/127.0.0.1:80"
SOME = st.sampled_from([None, b"{}", b'{"weight":2}', b"bad", b'{"down":9}'])


def one(key: str, value: bytes | None = None, prefix: str = "") -> Listing:
    return listing([(key, value)], prefix)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("p/127.0.0.1", "upsync_check_key: has no port in /127.0.0.1:"),
        ("p/localhost", "upsync_check_key: has no port in /localhost:"),
        ("upstreams/test/", "upsync_check_key: has no port in /:"),
        ("upstreams/127.0.0.1:80/", "upsync_check_key: has no port in /:"),
        ("p/127.0.0.1:0", "upsync_check_key: invalid port in /127.0.0.1:0:"),
        ("p/127.0.0.1:65536", "upsync_check_key: invalid port in /127.0.0.1:65536:"),
        ("p/127.0.0.1:abc", "upsync_check_key: invalid port in /127.0.0.1:abc:"),
        ("p/127.0.0.1:", "upsync_check_key: invalid port in /127.0.0.1::"),
        ("p/127.0.0.1:21802-a", "upsync_check_key: invalid port in /127.0.0.1:21802-a:"),
        ("p/127.0.0.1:21802:x", "upsync_check_key: invalid port in /127.0.0.1:21802:x:"),
        ("p/127.0.0.1:+80", "upsync_check_key: invalid port in /127.0.0.1:+80:"),
        ("p/127.0.0.1:\uff18\uff10", "upsync_check_key: invalid port in /127.0.0.1:\uff18\uff10:"),
        ("p/127.0.0.1:99999999999999999999", "upsync_check_key: invalid port in /127.0.0.1:99999999999999999999:"),
        ("p/localhost:0", "upsync_check_key: invalid port in /localhost:0:"),
        ("p/local host:80", "upsync_check_key: invalid ip in /local host:80:"),
        ("p/-a.b:80", "upsync_check_key: invalid ip in /-a.b:80:"),
        ("p/a..b:80", "upsync_check_key: invalid ip in /a..b:80:"),
        ("p/a.b.0x7f:80", "upsync_check_key: invalid ip in /a.b.0x7f:80:"),
        ("p/0x7f000001:80", "upsync_check_key: invalid ip in /0x7f000001:80:"),
        (f"p/{'a.' * 64}b:80", f"upsync_check_key: invalid ip in /{'a.' * 64}"),
        ("p/127.1:80", "upsync_check_key: invalid ip in /127.1:80:"),
        ("p/999.1.1.1:80", "upsync_check_key: invalid ip in /999.1.1.1:80:"),
        ("p/255.255.255.255:80", "upsync_check_key: invalid ip in /255.255.255.255:80:"),
        ("p/ 127.0.0.1:80", "upsync_check_key: invalid ip in / 127.0.0.1:80:"),
        ("p/127.0.0.1.1:80", "upsync_check_key: invalid ip in /127.0.0.1.1:80:"),
        ("p/1..2.3:80", "upsync_check_key: invalid ip in /1..2.3:80:"),
        ("p/unix:x", "upsync_check_key: invalid ip in /unix:x:"),
        ("p/unix:%2F\ud800", r"upsync_check_key: invalid ip in /unix:%2F\ud800:"),
        ("p/unix:%2Fa b", "upsync_check_key: invalid ip in /unix:%2Fa b:"),
        ("p/unix:%2Fa%20b", "upsync_check_key: invalid ip in /unix:%2Fa%20b:"),
        ("p/unix:%2Fa\xa0", r"upsync_check_key: invalid ip in /unix:%2Fa\xa0:"),
        ("p/unix:%2Fa;%0Aserver 6.6.6.6:80", "upsync_check_key: invalid ip in /unix:%2Fa;%0Aserver 6.6.6.6:80:"),
        ("p/unix:%2Fa%7B", "upsync_check_key: invalid ip in /unix:%2Fa%7B:"),
        ("p/[::g]:80", "upsync_check_key: invalid ip in /[::g]:80:"),
        ("p/[::1%eth0]:80", "upsync_check_key: invalid ip in /[::1%eth0]:80:"),
        ("p/[::1]", "upsync_check_key: has no port in /[::1]:"),
        ("p/[::1]80", "upsync_check_key: has no port in /[::1]80:"),
        ("p/::1:80", "upsync_check_key: invalid ip in /::1:80:"),
        ("127.0.0.1:80", "upsync_check_key: 127.0.0.1:80 is illegal, dont contains slash '/'"),
    ],
)
def test_a_key_that_is_no_server_is_skipped_with_the_modules_message(key: str, message: str) -> None:
    found = one(key)
    assert found.servers == ()
    assert len(found.problems) == 1
    assert found.problems[0].startswith(message), found.problems


@pytest.mark.parametrize(
    ("key", "name", "host", "port"),
    [
        ("p/127.0.0.1:80", "127.0.0.1:80", "127.0.0.1", 80),
        ("p/sub/127.0.0.1:80", "127.0.0.1:80", "127.0.0.1", 80),
        ("p/a/b/c/10.1.2.3:65535", "10.1.2.3:65535", "10.1.2.3", 65535),
        ("p/127.0.0.01:80", "127.0.0.01:80", "127.0.0.1", 80),
        ("p/127.0.0.1:0080", "127.0.0.1:0080", "127.0.0.1", 80),
        ("p/0.0.0.0:80", "0.0.0.0:80", "0.0.0.0", 80),
    ],
)
def test_a_server_is_shown_as_written(key: str, name: str, host: str, port: int) -> None:
    found = one(key)
    assert found.problems == ()
    assert [(s.name, s.address) for s in found.servers] == [(name, Address(socket.AF_INET, host, port))]


def test_ipv6_is_taken_beyond_the_module() -> None:
    found = one("p/[2001:DB8::0:1]:8080")
    assert found.servers[0].name == "[2001:DB8::0:1]:8080"
    assert found.servers[0].address == Address(socket.AF_INET6, "2001:db8::1", 8080)


def test_a_prefix_is_whole_path_segments() -> None:
    entries = [(f"upstreams/{part}/127.0.0.1:{port}", None) for part, port in (("test", 1), ("test2", 2), ("tes", 3))]
    for prefix in ("upstreams/test", "upstreams/test/"):
        assert [s.address.port for s in listing(entries, prefix).servers] == [1]
    assert [s.address.port for s in listing(entries, "upstreams").servers] == [1, 2, 3]
    assert [s.address.port for s in listing(entries, "").servers] == [1, 2, 3]
    assert under("a/127.0.0.1:80", "a/127.0.0.1:80")


def test_two_keys_with_one_address_are_one_server_with_one_warning() -> None:
    entries = [
        ("u/test/127.0.0.1:80", b'{"weight":9}'),
        ("u/test/127.0.0.1:81", None),
        ("u/test/sub/127.0.0.1:80", b'{"weight":2}'),
        ("u/test/sub/127.0.0.01:0081", None),
    ]
    found = listing(entries, "u/test")
    assert [(s.name, s.weight) for s in found.servers] == [("127.0.0.1:80", 9), ("127.0.0.1:81", 1)]
    assert found.problems == (
        "upsync: u/test/sub/127.0.0.1:80 has the address of u/test/127.0.0.1:80: one server, values of the latter",
        "upsync: u/test/sub/127.0.0.01:0081 has the address of u/test/127.0.0.1:81: one server, values of the latter",
    )
    assert [s.weight for s in listing(entries[1:], "u/test").servers] == [1, 2], "deleting one of them leaves it"


PARSE_FAILED = "upsync_parse_json: parse '{}' failed"


def invalid(name: str, default: int) -> str:
    return f'upsync_parse_json: "{name}" value is invalid, setting default value {default}'


@pytest.mark.parametrize(
    ("key", "name", "host", "port"),
    [
        ("p/localhost:80", "localhost:80", "localhost", 80),
        ("p/Web-1.example.COM.:8080", "Web-1.example.COM.:8080", "web-1.example.com", 8080),
        ("p/_db.1a:5432", "_db.1a:5432", "_db.1a", 5432),
    ],
)
def test_a_host_name_is_left_to_the_resolver(key: str, name: str, host: str, port: int) -> None:
    found = one(key)
    assert found == Listing((Server(name, Address(socket.AF_UNSPEC, host, port), max_fails=2),), (), frozenset({host}))


@pytest.mark.parametrize(
    "value", [None, b"", b"{}", b" {} ", b"[]", b"[1,2]", b"null", b"true", b"5", b'"x"', b"1.5e3"]
)
def test_a_value_without_attributes_gives_the_defaults(value: bytes | None) -> None:
    assert attributes(value) == (Attributes(1, 2, 10, 0, False, False), ())


@pytest.mark.parametrize(
    ("json", "weight", "said"),
    [
        (b"5", 5, False),
        (b'"7"', 7, False),
        (b"1e3", 1000, False),
        (b"1.9", 1, False),
        (b"100000", 100000, False),
        (b"2147483647", 2147483647, False),
        (b"true", 1, False),
        (b"0", 1, True),
        (b"0.9", 1, True),
        (b'""', 1, True),
        (b'"abc"', 1, True),
        (b'" 7"', 1, True),
        (b'"-3"', 1, True),
        (b'"1.5"', 1, True),
        (b"null", 1, True),
        (b"false", 1, True),
        (b"[]", 1, True),
        (b"{}", 1, True),
        # the module is silent here; the value is the same
        (b"-3", 1, True),
        (b"99999999999", 1, True),
        (b"1e400", 1, True),
        (b'"99999999999"', 1, True),
    ],
)
def test_weight(json: bytes, weight: int, said: bool) -> None:
    found, problems = attributes(b'{"weight":' + json + b"}")
    assert found.weight == weight
    assert problems == ((invalid("weight", 1),) if said else ())


@pytest.mark.parametrize(
    ("json", "expected", "said"),
    [
        (b"0", 0, False),
        (b'"5"', 5, False),
        (b"null", 0, False),
        (b"-1", 2, True),
        (b'"x"', 2, True),
        (b'""', 2, True),
    ],
)
def test_max_fails(json: bytes, expected: int, said: bool) -> None:
    found, problems = attributes(b'{"max_fails":' + json + b"}")
    assert found.max_fails == expected
    assert problems == ((invalid("max_fails", 2),) if said else ())


@pytest.mark.parametrize(
    ("json", "expected", "said"),
    [(b"0", 0, False), (b'"30"', 30, False), (b"-5", 10, True), (b'"30s"', 10, True), (b"1.9", 1, False)],
)
def test_fail_timeout(json: bytes, expected: int, said: bool) -> None:
    found, problems = attributes(b'{"fail_timeout":' + json + b"}")
    assert found.fail_timeout_s == expected
    assert problems == ((invalid("fail_timeout", 10),) if said else ())


@pytest.mark.parametrize("name", ["down", "backup"])
@pytest.mark.parametrize(
    ("json", "expected", "said"),
    [
        (b"1", True, False),
        (b'"1"', True, False),
        (b"true", True, False),
        (b"0", False, False),
        (b'"0"', False, False),
        (b"false", False, False),
        (b"null", False, False),
        (b"2", False, True),
        (b"-1", False, True),
        (b'"yes"', False, True),
    ],
)
def test_down_and_backup(name: str, json: bytes, expected: bool, said: bool) -> None:
    found, problems = attributes(b'{"' + name.encode() + b'":' + json + b"}")
    assert getattr(found, name) is expected
    assert problems == ((invalid(name, 0),) if said else ())


def test_max_conns_counts_and_what_is_unknown_does_not() -> None:
    assert attributes(b'{"max_conns":100,"slow_start":5,"x":{"weight":3}}') == (
        Attributes(max_conns=100, slow_start_s=5),
        (),
    )


def test_names_in_any_case_and_the_first_of_two() -> None:
    assert attributes(b'{"Weight":4,"weight":5,"MAX_FAILS":"3"}')[0] == Attributes(weight=4, max_fails=3)


def test_what_follows_the_value_is_ignored() -> None:
    assert attributes(b'\n {"weight":4} and \x00 more }')[0].weight == 4


def test_a_line_break_inside_a_string_is_no_error() -> None:
    assert attributes(b'{"note":"a\nb","weight":4}') == (Attributes(weight=4), ())


@pytest.mark.parametrize(
    "value",
    [
        b'{"weight":',
        b"hello",
        b"{'weight':4}",
        b'value={"weight":4}',
        b"\xff\xfe",
        b"   ",
        b"NaN",
        b'{"weight":Infinity}',
    ],
)
def test_a_value_that_is_no_json_gives_the_defaults_and_says_so(value: bytes) -> None:
    found, problems = attributes(value)
    assert found == Attributes()
    assert len(problems) == 1
    assert problems[0].startswith("upsync_parse_json: parse '")
    assert problems[0].endswith("' failed")
    assert problems[0].isprintable()


@pytest.mark.parametrize("value", [b"[" * MAX_VALUE, b'{"a":' * 3000, b'{"weight":' + b"1" * 5000 + b"}"])
def test_deep_and_long_values_are_errors_not_crashes(value: bytes) -> None:
    found, problems = attributes(value)
    assert found == Attributes()
    assert len(problems) == 1
    assert len(problems[0]) < 400


def test_a_value_up_to_the_bound_is_read_and_a_longer_one_is_not() -> None:
    text = b'{"weight":4,"note":"%s"}'
    fits = text % (b"x" * (MAX_VALUE - len(text) + 2))
    assert len(fits) == MAX_VALUE
    assert attributes(fits) == (Attributes(weight=4), ())
    found, problems = attributes(fits + b" ")
    assert found == Attributes()
    assert problems == (f"upsync_parse_json: value is {MAX_VALUE + 1} bytes long, more than {MAX_VALUE}: not read",)


def test_a_bad_value_is_said_with_its_key_and_the_server_is_taken() -> None:
    found = listing([(KEY, b"hello"), ("upstreams/test/127.0.0.1:81", b'{"weight":0,"down":7}')])
    assert [s.address.port for s in found.servers] == [80, 81]
    assert found.problems == (
        f"upsync_parse_json: parse 'hello' failed: {KEY}",
        'upsync_parse_json: "weight" value is invalid, setting default value 1: upstreams/test/127.0.0.1:81',
        'upsync_parse_json: "down" value is invalid, setting default value 0: upstreams/test/127.0.0.1:81',
    )


def test_the_same_bad_value_is_said_for_each_key() -> None:
    found = listing([(f"p/127.0.0.1:{port}", b"hello") for port in (1, 2)])
    assert [problem.rpartition(": ")[2] for problem in found.problems] == ["p/127.0.0.1:1", "p/127.0.0.1:2"]


def test_messages_are_bounded_and_printable() -> None:
    entries = [(f"p/\n\x1b[31m{'k' * 5000}{number}", None) for number in range(MAX_PROBLEMS + 5)]
    problems = listing(entries).problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1] == "upsync: 5 more entries with problems"
    assert all(problem.isprintable() and len(problem) < 600 for problem in problems)


def test_messages_need_no_module_that_is_not_loaded() -> None:
    """A worker whose user may not read Python's library: one binary value must not cost the whole list."""
    script = (
        "import sys; from lb.upsync.entries import listing; sys.path.clear(); sys.meta_path.clear()\n"
        "found = listing([('p/127.0.0.1:80', b'\\x16\\xff\\n'), ('p/\\x1b[31m', None)])\n"
        "print(len(found.servers), *found.problems, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(r"1|upsync_parse_json: parse '\x16\xff\n' failed"), done.stdout
    assert r"\x1b[31m" in done.stdout


@given(st.binary(max_size=200))
def test_any_value_gives_attributes_in_range(value: bytes) -> None:
    found, _ = attributes(value)
    assert found.weight >= 1
    assert min(found.max_fails, found.fail_timeout_s, found.max_conns) >= 0


@given(st.lists(st.tuples(st.text(max_size=60), st.none() | st.binary(max_size=30)), max_size=20))
def test_any_answer_gives_servers_with_different_addresses(entries: list[tuple[str, bytes | None]]) -> None:
    found = listing(entries)
    assert len({server.address for server in found.servers}) == len(found.servers)


@given(
    st.lists(st.dictionaries(st.sampled_from(["u/1.1.1.1:1", "u/1.1.1.1:01", "u/1.1.1.2:2", "u/x"]), SOME), max_size=4)
)
def test_the_memo_changes_nothing_but_the_work(answers: list[dict[str, bytes | None]]) -> None:
    memo: Memo = {}
    before: Memo = {}
    for answer in answers:
        assert listing(answer.items(), "u", memo) == listing(answer.items(), "u")
        assert set(memo) == set(answer.items())
        assert all(memo[entry] is before[entry] for entry in answer.items() if entry in before)
        before = dict(memo)
