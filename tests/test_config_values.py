"""Values and addresses: what they mean, and that nginx takes and refuses the same ones."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from lb.config.address import AddressError, parse
from lb.config.errors import Refused
from lb.config.values import parse_flag, parse_msec, parse_number, parse_seconds, parse_size
from lb.config.variables import STREAM_VARIABLES, VARIABLES, compile_value, known, take_unknown
from lb.model import Address, Var
from tests.test_config_bad import NGINX

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
MSEC = {
    "0": 0, "10": 10 * SECOND, "500ms": 500, "1s500ms": 1500, "1m30s": 90 * SECOND, "1h": HOUR, "1d": DAY,
    "1w2d": 9 * DAY, "1h 30m": 90 * MINUTE, "1m30": 90 * SECOND, "10 ": 10 * SECOND, "007s": 7 * SECOND, "1hm": HOUR,
    "": None, "s": None, "1x": None, "-1": None, "+1": None, "1.5s": None, "1s1m": None, "1s1s": None, "1M": None,
    "1y": None, " 1": SECOND, "1S": None, "1ms1s": None, "\u0661": None,
}  # fmt: skip
SECONDS = {
    "0": 0, "10": 10, "10s": 10, "1m30s": 90, "1M": 30 * 86_400, "1y1M": 395 * 86_400, "2w": 14 * 86_400,
    "1ms": None, "1s500ms": None, "1M1y": None, "": None, "a": None,
}  # fmt: skip
SIZES = {
    "0": 0, "1": 1, "8k": 8192, "8K": 8192, "1m": 1 << 20, "2G": 2 << 30,
    "": None, "k": None, "1t": None, "-1": None, "1 k": None, "1.5m": None, "9999999999999999999g": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MSEC.items())
def test_msec(text: str, expected: int | None) -> None:
    assert parse_msec(text) == expected


@pytest.mark.parametrize(("text", "expected"), SECONDS.items())
def test_seconds(text: str, expected: int | None) -> None:
    assert parse_seconds(text) == expected


@pytest.mark.parametrize(("text", "expected"), SIZES.items())
def test_size(text: str, expected: int | None) -> None:
    assert parse_size(text) == expected


def test_numbers_stay_in_what_the_engine_holds() -> None:
    assert parse_number("2147483647") == 2**31 - 1
    for text in ("2147483648", "9" * 30, "", "-1", "1k", "\u0661"):
        assert parse_number(text) is None
    assert parse_msec(f"{2**31}s") is None
    assert parse_seconds("100y") is None


def test_flags() -> None:
    assert [parse_flag(text) for text in ("on", "OFF", "yes", "")] == [True, False, None, None]


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize(
    ("directive", "values"),
    [
        ("proxy_read_timeout %s;", MSEC),
        ("client_max_body_size %s;", SIZES),
        ("upstream u { server 127.0.0.1 %s; }", {f"fail_timeout={text}": value for text, value in SECONDS.items()}),
    ],
)
def test_nginx_takes_and_refuses_the_same(directive: str, values: dict[str, int | None], tmp_path: Path) -> None:
    taken = {text: nginx_takes(directive, text, tmp_path) for text in values}
    assert taken == {text: value is not None for text, value in values.items()}


def nginx_takes(directive: str, text: str, folder: Path) -> bool:
    """Whether `nginx -t` accepts a value: whatever else it may say comes after the http block."""
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "t.conf").write_text("events {}\nhttp {\n%s\n}\n" % (directive % f'"{text}"'))
    command = [str(NGINX), "-t", "-p", f"{folder}/", "-e", "stderr", "-c", str(folder / "t.conf")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30).stderr
    return "t.conf:3" not in said


def inet(host: str, port: int) -> Address:
    return Address(socket.AF_INET, host, port)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [inet("0.0.0.0", 80)]),
        ("*", [inet("0.0.0.0", 1)]),
        ("*:8080", [inet("0.0.0.0", 8080)]),
        ("127.0.0.1", [inet("127.0.0.1", 1)]),
        ("010.0.0.1:080", [inet("10.0.0.1", 80)]),
        ("[::1]:80", [Address(socket.AF_INET6, "::1", 80)]),
        ("[0:0::1]", [Address(socket.AF_INET6, "::1", 1)]),
        ("unix:/run/x", [Address(socket.AF_UNIX, "/run/x")]),
        ("unix:run/x", [Address(socket.AF_UNIX, "/base/run/x")]),
    ],
)
def test_listen_addresses(text: str, expected: list[Address]) -> None:
    url = parse(text, default_port=1, listen=True, base="/base/")
    assert [url.literal] == expected


def test_port_ranges() -> None:
    url = parse("127.0.0.1:80-82", default_port=80, listen=True)
    assert (url.port, url.last_port) == (80, 82)
    url = parse("8080-8090", default_port=80, listen=True)
    assert (url.port, url.last_port, url.literal) == (8080, 8090, inet("0.0.0.0", 8080))
    with pytest.raises(AddressError, match="invalid port"):
        parse("127.0.0.1:80-82", default_port=80)


def test_uris() -> None:
    assert parse("a:81/b?c", default_port=80, uri=True).uri == "/b?c"
    assert parse("a?c/d", default_port=80, uri=True).uri == "?c/d"
    assert parse("[::1]/b", default_port=80, uri=True).uri == "/b"
    unix = parse("unix:/run/x:/b", default_port=80, uri=True)
    assert (unix.host, unix.uri, unix.unix) == ("/run/x", "/b", True)
    for text in ("a/b", "[::1]/b"):
        with pytest.raises(AddressError, match="invalid host"):
            parse(text, default_port=80)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("plain", ("plain",)),
        ("$host", (Var("host"),)),
        ("a${host}b$uri-c", ("a", Var("host"), "b", Var("uri"), "-c")),
        ("$host}", (Var("host"), "}")),
        ("$HTTP_X_Y$arg_", (Var("http_x_y"), Var("arg_"))),
        ("{}", ("{}",)),
    ],
)
def test_compiled_values(text: str, expected: tuple[str | Var, ...]) -> None:
    assert compile_value(text) == expected


@pytest.mark.parametrize("text", ["$", "a$-", "${}", "${", "${host"])
def test_refused_values(text: str) -> None:
    with pytest.raises(Refused):
        compile_value(text)


def test_names_that_only_the_configuration_can_define() -> None:
    take_unknown()
    assert compile_value("$nosuch$1${http}$host$12") == (
        Var("nosuch"),
        Var("1"),
        Var("http"),
        Var("host"),
        Var("1"),
        "2",
    )
    assert take_unknown() == ["nosuch", "http"]
    assert take_unknown() == []
    assert compile_value("$nosuch", "stream") == (Var("stream nosuch"),)
    assert take_unknown() == ["stream nosuch"]


def test_variables_are_those_of_the_engine() -> None:
    fast = pytest.importorskip("lb._fast")
    assert set(VARIABLES) | set(STREAM_VARIABLES) == set(fast.VARIABLES)


def test_known_variables() -> None:
    assert known("host") and known("cookie_a") and known("http_user_agent")
    assert not known("http") and not known("hosts") and not known("")
