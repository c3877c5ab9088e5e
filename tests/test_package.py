"""The wheel: it holds the compiled engine and not its source, and works in a virtual environment of its own.

Not part of `make test`, as it compiles once more: `make package`.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.harness.lb import ROOT

pytestmark = [pytest.mark.package, pytest.mark.timeout(900)]


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is committed or changed: no build folder, nothing compiled in place."""
    source = tmp_path_factory.mktemp("source")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and name.partition("/")[0] in ("lb", "setup.py", "pyproject.toml", "README.md"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    target = tmp_path_factory.mktemp("wheel")
    build = ("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target, source)
    run(sys.executable, "-m", "pip", *build, cwd=source)
    (made,) = target.glob("lb-*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; its dependencies are those of this one, found over a .pth file."""
    home = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", home, cwd=home)
    python = home / "bin/python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=home)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=home).stdout.strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def test_wheel_holds_the_engine_and_not_its_source(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("lb/_fast.") and name.endswith(".so")]
    assert {"lb/py.typed", "lb/_fast.pyi", "lb/cli.py", "lb/status/page.html"} <= set(names)
    assert [name for name in names if name.endswith((".pyx", ".pxd", ".h", ".c"))] == []
    assert [name for name in names if not name.startswith(("lb/", "lb-"))] == []


def test_it_runs(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import lb._fast; print(lb._fast.__file__)", cwd=tmp_path).stdout
    assert where.startswith(str(python.parents[1]))
    command = python.parent / "lb"
    assert "extension mode: release, flags: " in run(command, "-V", cwd=tmp_path).stderr
    (tmp_path / "logs").mkdir()
    file = tmp_path / "lb.conf"
    file.write_text("events {}\nhttp { server { listen 127.0.0.1:1; return 204; } }\n")
    done = run(command, "-t", "-p", f"{tmp_path}/", "-c", file, cwd=tmp_path)
    assert done.stderr.endswith(f"lb: configuration file {file} test is successful\n")
