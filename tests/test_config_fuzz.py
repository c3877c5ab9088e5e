"""Whatever the bytes: a Config or a ConfigError whose lines name a place, never another exception."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lb.config import ConfigError, load
from lb.config.address import AddressError
from lb.config.table import DIRECTIVES
from lb.model import Config
from tests.test_config_bad import FILES
from tests.test_config_files import EXAMPLES

SEEDS = [path.read_bytes() for path in (*EXAMPLES, *FILES)]
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = [b"{", b"}", b";", b'"', b"'", b"\\", b"$", b"${", b"#", b"\n", b" ", b"0", b"-1", b"\xff", b"\0", b"x" * 5000]
WORDS += [entry.name.encode() for entry in DIRECTIVES] + [b"127.0.0.1:80", b"unix:", b"[::1]", b"http://", b"*", b"="]


@pytest.fixture(autouse=True)
def no_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Mutated host names must not go out to the DNS."""

    def refuse(host: str) -> None:
        raise AddressError("host not found")

    monkeypatch.setattr("lb.config.address.lookup", refuse)
    yield


def attempt(folder: Path, data: bytes) -> None:
    (folder / "lb.conf").write_bytes(data)
    try:
        assert isinstance(load("lb.conf", prefix=str(folder)), Config)
    except ConfigError as error:
        assert error.errors
        assert str(error).encode()  # printable, also where the file is not UTF-8


@FUZZ
@given(data=st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    attempt(tmp_path, data)


@FUZZ
@given(words=st.lists(st.sampled_from(WORDS), max_size=40))
def test_any_words(tmp_path: Path, words: list[bytes]) -> None:
    attempt(tmp_path, b" ".join(words))
    attempt(tmp_path, b"".join(words))


@FUZZ
@given(data=st.data())
def test_mutated_configurations(tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 20)))
        text = text[:begin] + data.draw(st.sampled_from([b"", *WORDS])) + text[end:]
    attempt(tmp_path, text)


@FUZZ
@given(globals=st.text(max_size=60))
def test_any_globals(tmp_path: Path, globals: str) -> None:
    (tmp_path / "lb.conf").write_text("events {}\n")
    try:
        load("lb.conf", prefix=str(tmp_path), globals=globals)
    except ConfigError as error:
        assert str(error).encode()
