"""ACME without an ACME server: when to try again, state_path, what the configuration makes of names."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lb.acme import schedule
from lb.acme.schedule import Failures, Life
from lb.acme.store import Challenge, Store
from lb.config import Config, ConfigError, load

ISSUER = "acme_issuer x { uri https://acme.test/dir; state_path /nowhere/state; }"
SHOWN = "ssl_certificate $acme_certificate; ssl_certificate_key ${acme_certificate_key};"


def read(tmp_path: Path, http: str) -> Config:
    file = tmp_path / "lb.conf"
    file.write_text(f"events {{}}\nhttp {{\n{http}\n}}\n")
    return load(str(file), prefix=str(tmp_path))


# ---- when


def test_steps_of_failures() -> None:
    now = 1_000_000.0
    for kind, steps in (
        ("away", [5, 10, 20, 40, 80, 160, 320, 600, 600]),
        ("refused", [60, 600, 6000, 86400, 86400]),
        ("ours", [60, 600, 6000, 86400]),
    ):
        known = schedule.NONE
        for step in steps:
            known = schedule.failed(known, kind, "x", now)  # type: ignore[arg-type]
            assert step <= known.next - now <= step * 1.02


def test_a_failure_of_another_kind_begins_anew() -> None:
    many = Failures("refused", 4, "x", 0.0, 9.0)
    assert schedule.failed(many, "away", "y", 0.0).next < 6


@pytest.mark.parametrize(
    ("kind", "said", "least", "most"),
    [
        ("limited", 7200.0, 7200, 7400),
        ("limited", None, 3600, 3700),
        ("limited", 0.0, 1, 2),
        ("limited", 1e9, 7 * 86400, 7.2 * 86400),
        ("away", 120.0, 120, 123),
        ("refused", 10.0, 60, 62),
    ],
)
def test_retry_after_counts(kind: schedule.Kind, said: float | None, least: float, most: float) -> None:
    assert least <= schedule.failed(schedule.NONE, kind, "x", 0.0, said).next <= most


def test_after_a_start() -> None:
    def known(kind: schedule.Kind) -> Failures:
        return Failures(kind, 3, "x", 1000.0, 9000.0)

    assert schedule.after_start(known("limited"), 2000.0) == 9000
    assert schedule.after_start(known("away"), 2000.0) == 2000
    assert schedule.after_start(known("ours"), 2000.0) == 2000
    assert schedule.after_start(known("refused"), 2000.0) == 1060


def test_retry_after_as_it_is_written() -> None:
    assert schedule.retry_after("120", 0.0) == 120
    assert schedule.retry_after("Thu, 01 Jan 1970 00:10:00 GMT", 60.0) == 540
    assert schedule.retry_after("Thu, 01 Jan 1970 00:10:00 GMT", 9999.0) == 0
    assert [schedule.retry_after(text, 0.0) for text in (None, "", "soon", "-5")] == [None] * 4


def test_renewal_is_at_two_thirds() -> None:
    days = [Life(serial, 0.0, 90.0).renew_at() for serial in range(1000)]
    assert 58 < min(days) < 58.5 and 61.5 < max(days) < 62
    assert Life(7, 0.0, 90.0).renew_at() == days[7]  # the same on each machine


# ---- state_path


def test_files_are_ours_alone(tmp_path: Path) -> None:
    store = Store(f"{tmp_path}/a/state")
    old = os.umask(0)
    try:
        store.prepare()
        store.write("x.pem", b"one")
        store.write("x.pem", b"two")
    finally:
        os.umask(old)
    assert store.read("x.pem") == b"two" and store.read("y.pem") == b""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path(store.path).iterdir()}
    assert modes == {"x.pem": 0o600, "machines": 0o700}
    assert stat.S_IMODE(Path(store.path).stat().st_mode) == 0o700


def test_a_directory_of_everybody_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="can be written to by everybody"):
        Store(str(tmp_path)).prepare()


def _try_lock(path: str, found: multiprocessing.SimpleQueue[bool]) -> None:
    with Store(path).lock() as mine:
        found.put(mine)


def test_one_process_has_the_lock(tmp_path: Path) -> None:
    found: multiprocessing.SimpleQueue[bool] = multiprocessing.SimpleQueue()

    def other() -> bool:
        process = multiprocessing.get_context("fork").Process(target=_try_lock, args=(str(tmp_path), found))
        process.start()
        process.join()
        return found.get()

    with Store(str(tmp_path)).lock() as mine:
        assert mine and not other()
    assert other()


def test_machines_and_challenges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`two` is behind until it has read what `one` has published; who says nothing for a minute is gone."""
    one, two = Store(str(tmp_path)), Store(str(tmp_path))
    one.prepare()
    monkeypatch.setattr(two, "_me", "elsewhere-17")
    two.announce()
    challenge: Challenge = (False, b"token", b"token.print", b"")
    one.publish([challenge])
    assert one.look() and one.challenges == [challenge] and not one.look()
    assert one.behind() == ["elsewhere-17"]
    assert two.look() and two.challenges == [challenge]
    two.announce()
    assert one.behind() == []
    one.publish([])
    assert one.look() and one.challenges == [] and one.behind() == ["elsewhere-17"]
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert one.behind() == [] and not (tmp_path / "machines/elsewhere-17").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '[[0, "!", "", ""]]', "[[0]]"])
def test_challenges_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "challenges.json").write_text(text)
    store = Store(str(tmp_path))
    assert store.look() and store.challenges == []


# ---- the configuration


def test_what_is_wanted(tmp_path: Path) -> None:
    servers = f"""
        {ISSUER}
        server {{ listen 8443 ssl; server_name .A.test b.test; acme_certificate x; {SHOWN} }}
        server {{ listen 8443 ssl; server_name c.test; acme_certificate x .a.test b.test; {SHOWN} }}
        server {{ listen 8443 ssl; server_name d.test ~e; acme_certificate x ::1 [::1] d.test key=rsa; {SHOWN} }}
        server {{ listen 8443 ssl; server_name f.test; acme_certificate x key=ecdsa:384; {SHOWN} }}
    """
    config = read(tmp_path, servers)
    (issuer,) = config.acme
    assert [(one.identifiers, one.key) for one in issuer.orders] == [
        (("www.a.test", "a.test", "b.test"), "ecdsa:256"),
        (("::1", "d.test"), "rsa:2048"),
        (("f.test",), "ecdsa:384"),
    ]
    files = [one.file for one in issuer.orders]
    assert [name.rpartition("-")[0] for name in files] == [
        "/nowhere/state/www.a.test", "/nowhere/state/--1", "/nowhere/state/f.test"
    ]  # fmt: skip
    assert [[one.file for one in server.awaited] for server in config.tls] == [[file] for file in files]
    assert all(server.watch and not server.certificates for server in config.tls)


def test_an_issuer_of_which_nothing_is_wanted(tmp_path: Path) -> None:
    assert read(tmp_path, f"{ISSUER} server {{ listen 8080; }}").acme == ()


def test_a_regular_expression_is_passed_over(tmp_path: Path) -> None:
    config = read(
        tmp_path, f"{ISSUER} server {{ listen 8443 ssl; server_name ~x a.test; acme_certificate x; {SHOWN} }}"
    )
    said = f'"acme_certificate": unsupported regular expression in server_name: ~x in {tmp_path}/lb.conf:3'
    assert said in config.warnings


def test_the_resolver_of_the_example(tmp_path: Path) -> None:
    config = read(tmp_path, f"resolver 127.0.0.1:53 valid=10s;\n{ISSUER}\nserver {{ listen 8080; }}")
    where = f"{tmp_path}/lb.conf:3"
    assert config.warnings[0] == (
        f'"resolver" is not used: lb asks the system\'s resolver for the name of an ACME server in {where}'
    )


@pytest.mark.parametrize("package", ["acme", "josepy", "cryptography"])
def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real: Callable[[str], object] = importlib.metadata.distribution

    def distribution(name: str) -> object:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, ISSUER)
    first, hint = str(caught.value.errors[0]).split("\n")
    assert first == f'"acme_issuer" needs the Python package {package} in {tmp_path}/lb.conf:3'
    assert "pip install 'lb[acme]'" in hint


def test_a_file_that_is_no_certificate_is_asked_for_again(tmp_path: Path) -> None:
    issuer = ISSUER.replace("/nowhere", str(tmp_path))
    server = f"{issuer} server {{ listen 8443 ssl; server_name a.test; acme_certificate x; {SHOWN} }}"
    file = Path(read(tmp_path, server).acme[0].orders[0].file)
    file.parent.mkdir()
    file.write_text("nonsense")
    config = read(tmp_path, server)
    assert config.tls[0].awaited and any("another one will be asked for" in one for one in config.warnings)
