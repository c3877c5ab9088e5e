"""Fuzzes the pure rooms under the address and undefined behaviour sanitizers: `python -m tests.fuzz [SECONDS [SEED]]`.

Builds tests/fuzz/rooms.pyx (what must hold of every answer) and driver.c (a coverage-guided fuzzer that needs only gcc)
into build/fuzz, once with SSE2 and once with the plain scans, and runs each for SECONDS (30). The seeds are the wire
cases and the corpus of earlier runs (tests/data/fuzz-corpus.txt, which tests/test_fuzz.py runs too). A bad input stays
in build/fuzz; `python -m tests.fuzz FILE...` runs inputs again, `python -m tests.fuzz --keep` makes the corpus of the
last run the repository's.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/fuzz"
OUT = ROOT / "build/fuzz"
VARIANTS = {"sse2": [], "plain": ["-DLB_NO_SIMD"]}
SANITIZE = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# The directives of setup.py that change what the C code does.
DIRECTIVES = "language_level=3,boundscheck=False,wraparound=False,cdivision=True,initializedcheck=False"
CORPUS = ROOT / "tests/data/fuzz-corpus.txt"
LARGEST_KEPT = 512  # bytes of an input that goes into the repository
LENIENT = [
    (0, b"\nGET / HTTP/1.1\nHost: a\n\n"),
    (1, b"\nHTTP/1.0 200 O\x01K\nX: \x7f\nTransfer-Encoding: chunked\n\n"),
    (2, b"  05 \r\nhello\r\n0  \r\nX: \x01\r\n\r\n"),
]
PATHS = [b"/a/%62//../c?x", b"/0123456789abcdef/./..", b"/..", b"/%2e%2e%2f%00", b"?q"]


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def build(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    c_file = out / "rooms.c"
    run(
        sys.executable,
        "-m",
        "cython",
        "-X",
        DIRECTIVES,
        "-I",
        ".",
        "--line-directives",
        "-o",
        c_file,
        HERE / "rooms.pyx",
    )
    include = ["-I", sysconfig.get_path("include"), "-I", "lb/fast/c"]
    run("gcc", *SANITIZE, "-c", HERE / "driver.c", "-o", out / "driver.o")
    for name, flags in VARIANTS.items():
        rooms = out / f"rooms-{name}.o"
        quiet = "-Wno-unused-function"
        run("gcc", *SANITIZE, "-fsanitize-coverage=trace-pc", quiet, *flags, *include, "-c", c_file, "-o", rooms)
        # The module's Python part is never run, so nothing of Python is linked.
        loose = "-Wl,--unresolved-symbols=ignore-all"
        run("gcc", *SANITIZE, "-no-pie", loose, rooms, out / "driver.o", "-o", out / f"fuzz-{name}")


def corpus() -> list[bytes]:
    """The inputs that earlier runs found worth keeping: room, split (2 bytes), text."""
    return [bytes.fromhex(line) for line in CORPUS.read_text().split()]


def keep() -> None:
    """What the variants of the last run reached, without the long ones, becomes the corpus."""
    found = {line for name in VARIANTS for line in (OUT / f"crash-{name}.corpus").read_text().split()}
    small = sorted((line for line in found if len(line) <= 2 * LARGEST_KEPT), key=lambda line: (len(line), line))
    CORPUS.write_text("".join(line + "\n" for line in small))


def write_seeds(out: Path) -> list[Path]:
    """One file per text and room that fits it."""
    texts: list[tuple[int, bytes]] = [*LENIENT, *((3, path) for path in PATHS)]
    for line in (ROOT / "tests/data/wire-cases.jsonl").open():
        case = json.loads(line)
        raw = base64.b64decode(case["raw_b64"])
        if len(raw) < 4000:
            texts.append((int(case["kind"] == "response"), raw))
            texts.append((2, raw.partition(b"\r\n\r\n")[2] or raw))
    texts += [(room + 4, text) for room, text in texts if room < 3]  # read leniently
    inputs = [bytes([room, 0, len(text) // 2 % 256]) + text for room, text in texts] + corpus()
    folder = out / "seeds"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:04}" for number in range(len(inputs))]
    for path, text in zip(paths, inputs, strict=True):
        path.write_bytes(text)
    return paths


def main(arguments: list[str]) -> int:
    if arguments == ["--keep"]:
        keep()
        return 0
    build(OUT)
    if arguments and not arguments[0].isdigit():
        return max(subprocess.run([OUT / f"fuzz-{name}", "-", *arguments], cwd=ROOT).returncode for name in VARIANTS)
    seconds = arguments[0] if arguments else "30"
    seed = arguments[1] if len(arguments) > 1 else str(int(time.time()))
    seeds = write_seeds(OUT)
    for name in VARIANTS:
        print(f"fuzz: {name}, {seconds} s, seed {seed}", flush=True)
        crash = OUT / f"crash-{name}"
        if subprocess.run([OUT / f"fuzz-{name}", seconds, seed, crash, *seeds], cwd=ROOT).returncode != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
