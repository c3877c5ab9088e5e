"""systemd/: the units are correct, as hard as they say, and fit the program that they start."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from lb.cli import parse
from tests.harness.lb import BINARY, ROOT

UNITS = ROOT / "systemd"
WORST = 1.5  # exposure; the units of other balancers have 7.8 to 9.6

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units, with this work tree's lb in place of /opt/lb."""
    made = []
    for unit in ("lb.service", "lb.socket"):
        text = (UNITS / unit).read_text().replace("/opt/lb/bin/lb", str(BINARY))
        (tmp_path / unit).write_text(text)
        made.append(str(tmp_path / unit))
    return made


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C"}
    )


@needs_systemd
def test_units_are_correct(units: list[str]) -> None:
    done = analyze("verify", "--man=no", *units)
    ours = [line for line in done.stderr.splitlines() if "lb.s" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
def test_exposure() -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(UNITS / "lb.service"))
    found = re.search(r"Overall exposure level for lb.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= WORST, done.stdout


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(UNITS / "lb.service")
    return unit["Service"]


def test_what_it_must_not_forbid() -> None:
    """Affinity of workers, PCRE's machine code, ports below 1024."""
    text = (UNITS / "lb.service").read_text()
    assert not re.search(r"^MemoryDenyWriteExecute=", text, re.MULTILINE)
    assert not re.search(r"^SystemCallFilter=.*@resources", text, re.MULTILINE)
    assert not re.search(r"^PrivateUsers=", text, re.MULTILINE)
    assert service()["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"


def test_commands_are_lbs(tmp_path: Path) -> None:
    """A reload tests the file that the start reads, before it signals."""
    text = (UNITS / "lb.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    test, signal = re.findall(r"^ExecReload=(.*)$", text, re.MULTILINE)
    started, tested = (parse(shlex.split(line)[1:]) for line in (start, test))
    assert tested.test and not started.test
    assert (started.prefix, started.conf, started.globals) == (tested.prefix, tested.conf, tested.globals)
    assert signal == "kill -HUP $MAINPID"
    assert service()["Type"] == "notify"


def test_it_comes_back_by_itself() -> None:
    """When the master is killed its workers are ended with it, and the unit starts anew."""
    unit = service()
    assert unit["Restart"] == "always" and float(unit["RestartSec"].removesuffix("ms")) < 1000
    assert unit["KillMode"] in ("mixed", "control-group")  # `process` and `none` would leave the workers on the ports
    units = configparser.ConfigParser(strict=False, interpolation=None)
    units.read(UNITS / "lb.service")
    assert units["Unit"]["StartLimitIntervalSec"] == "0"  # nor does it give up after a few times
