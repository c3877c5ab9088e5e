"""Fuzzes the pure rooms under the address and undefined behaviour sanitizers: `python -m tests.fuzz [SECONDS [SEED]]`,
TLS records: `python -m tests.fuzz tls [SECONDS [SEED]]`, and HPACK with what follows it: `python -m tests.fuzz h2 ...`.

Builds tests/fuzz/rooms.pyx (what must hold of every answer) and driver.c (a coverage-guided fuzzer that needs only gcc)
into build/fuzz, once with SSE2 and once with the plain scans, and runs each for SECONDS (30). The seeds are the wire
cases and the corpus of earlier runs (tests/data/fuzz-corpus.txt, which tests/test_fuzz.py runs too). A bad input stays
in build/fuzz; `python -m tests.fuzz FILE...` runs inputs again, `python -m tests.fuzz --keep` makes the corpus of the
last run the repository's. The records (tls.pyx) have seeds of their own, and no corpus.
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
VARIANTS: dict[str, list[str]] = {"sse2": [], "plain": ["-DLB_NO_SIMD"]}
TLS: dict[str, list[str]] = {"tls": []}
H2: dict[str, list[str]] = {"h2": []}
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
    build_one(out, "rooms", VARIANTS, [])


def build_tls(out: Path) -> None:
    build_one(out, "tls", TLS, ["-lcrypto"])


def build_h2(out: Path) -> None:
    build_one(out, "h2", H2, [])


def build_one(out: Path, source: str, variants: dict[str, list[str]], libraries: list[str]) -> None:
    """One fuzzer for each variant of tests/fuzz/<source>.pyx."""
    out.mkdir(parents=True, exist_ok=True)
    c_file = out / f"{source}.c"
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
        HERE / f"{source}.pyx",
    )
    include = ["-I", sysconfig.get_path("include"), "-I", "lb/fast/c"]
    run("gcc", *SANITIZE, "-c", HERE / "driver.c", "-o", out / "driver.o")
    for name, flags in variants.items():
        rooms = out / f"{source}-{name}.o"
        quiet = "-Wno-unused-function"
        run("gcc", *SANITIZE, "-fsanitize-coverage=trace-pc", quiet, *flags, *include, "-c", c_file, "-o", rooms)
        # The module's Python part is never run, so nothing of Python is linked.
        loose = "-Wl,--unresolved-symbols=ignore-all"
        run("gcc", *SANITIZE, "-no-pie", loose, rooms, out / "driver.o", *libraries, "-o", out / f"fuzz-{name}")


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


def step(what: int, number: int, text: bytes = b"") -> bytes:
    """One step of a script: tests/fuzz/tls.pyx."""
    return bytes([what | number << 3]) + text


def write_tls_seeds(out: Path) -> list[Path]:
    """Scripts of each suite and version: data, messages, alerts, damage."""
    data, update, ticket = step(0, 5, b"hello"), b"\x18\0\0\x01\0", b"\x04\0\0\x0f" + b"t" * 15
    scripts = [
        data + step(0, 20, b"x" * 160) + step(7, 4, b"data") + step(0, 0),
        data + step(7, 2) + data + step(7, 3) + data,
        step(1, 5, update) + data + step(1, 3, update[:3]) + step(1, 2, update[3:]) + data,
        step(1, 19, ticket) + step(1, 7, ticket[:7]) + step(1, 12, ticket[7:]) + data,
        step(1, 4, b"\0\0\0\0") + step(1, 20, b"\x01\0\0\x29" + b"h" * 41) + data,
        step(2, 2, b"\x01\0") + step(2, 2, b"\x01\x5a") + step(2, 2, b"\x02\x28") + data,
        step(3, 6, b"\0ab\x17\0\0\0") + step(3, 3, b"\x14abc") + data,
        *(data + step(4, bit, bytes([at])) + data + data for at, bit in ((0, 1), (2, 2), (4, 3), (5, 1), (25, 7))),
        *(data + step(5, number) + data + data for number in (0, 1, 5, 31)),
        data + step(6, 6, b"\x14\x03\x03\0\x01\x01") + data,
        step(0, 0) * 40,
        step(1, 5, update) * 40,
    ]
    folder = out / "tls-seeds"
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [bytes([kind, piece]) + script for kind in range(16) for piece in (0, 1, 7) for script in scripts]
    paths = [folder / f"{number:04}" for number in range(len(inputs))]
    for path, text in zip(paths, inputs, strict=True):
        path.write_bytes(text)
    return paths


def write_h2_seeds(out: Path) -> list[Path]:
    """Connections of a few blocks: with and without Huffman's code, tables of some sizes that change."""
    from hpack import Encoder

    head = [(":method", "GET"), (":scheme", "http"), (":path", "/a?b"), (":authority", "x")]
    more = [
        ("cookie", "a=1"),
        ("x-y", "z" * 70),
        ("content-length", "5"),
        ("te", "trailers"),
        ("host", "x"),
        ("X", "\r\n"),
    ]
    folder = out / "h2-seeds"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(48):
        size = (0, 2, 5, 128)[number % 4]
        encoder, blocks = Encoder(), bytes([size])
        encoder.header_table_size = 32 * size
        for turn in range(4):
            if turn == 2 and number % 3 == 0:
                encoder.header_table_size = 16 * size
            block = encoder.encode([*head, *more[: (number + turn) % 7]], huffman=number % 2 == 0)
            blocks += len(block).to_bytes(2, "big") + block
        paths.append(folder / f"{number:04}")
        paths[-1].write_bytes(blocks)
    return paths


def main(arguments: list[str]) -> int:
    if arguments == ["--keep"]:
        keep()
        return 0
    variants, make, seeds_of = VARIANTS, build, write_seeds
    if arguments[:1] == ["tls"]:
        arguments, variants, make, seeds_of = arguments[1:], TLS, build_tls, write_tls_seeds
    if arguments[:1] == ["h2"]:
        arguments, variants, make, seeds_of = arguments[1:], H2, build_h2, write_h2_seeds
    make(OUT)
    if arguments and not arguments[0].isdigit():
        return max(subprocess.run([OUT / f"fuzz-{name}", "-", *arguments], cwd=ROOT).returncode for name in variants)
    seconds = arguments[0] if arguments else "30"
    seed = arguments[1] if len(arguments) > 1 else str(int(time.time()))
    seeds = seeds_of(OUT)
    for name in variants:
        print(f"fuzz: {name}, {seconds} s, seed {seed}", flush=True)
        crash = OUT / f"crash-{name}"
        if subprocess.run([OUT / f"fuzz-{name}", seconds, seed, crash, *seeds], cwd=ROOT).returncode != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
