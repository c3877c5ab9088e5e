"""The fuzzer builds, and what earlier runs found worth keeping holds: under the sanitizers, and beside h11.

`make fuzz` is the long run; its corpus is tests/data/fuzz-corpus.txt (tests/fuzz/__main__.py).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import test_head_oracle
from tests.fuzz import __main__ as runner

REQUEST, RESPONSE = 0, 1  # the room is the first byte, modulo 4


def test_h2_seeds_under_the_sanitizers(tmp_path: Path) -> None:
    runner.build_h2(tmp_path)
    command = [tmp_path / "fuzz-h2", "0", "1", tmp_path / "crash", *runner.write_h2_seeds(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuzzers, built apart from those of a run that may be going on."""
    folder = tmp_path_factory.mktemp("fuzz")
    runner.build(folder)
    return folder


@pytest.mark.parametrize("name", runner.VARIANTS)
def test_corpus_under_the_sanitizers(built: Path, tmp_path: Path, name: str) -> None:
    command = [built / f"fuzz-{name}", "0", "1", tmp_path / "crash", *runner.write_seeds(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tls_seeds_under_the_sanitizers(tmp_path: Path) -> None:
    runner.build_tls(tmp_path)
    command = [tmp_path / "fuzz-tls", "0", "1", tmp_path / "crash", *runner.write_tls_seeds(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def texts(room: int) -> list[bytes]:
    return [one[3:] for one in runner.corpus() if one[0] % 4 == room]


def test_corpus_beside_h11() -> None:
    requests, responses = texts(REQUEST), texts(RESPONSE)
    assert min(len(requests), len(responses)) > 20
    for raw in requests:
        test_head_oracle.check_request(raw)
    for raw in responses:
        test_head_oracle.check_response(raw)
