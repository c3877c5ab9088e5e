"""What the pure rooms cost: nanoseconds per head, per chunked body and per path, and instructions per head.

    python -m bench.parser                  times (the least of several runs; the machine's noise shows in the rest)
    python -m bench.parser --instructions   instructions as callgrind counts them: the same on every run
    python -m bench.parser --check          times against TARGETS; exit status 1 when one is missed by far

Run by hand, after `make build` (it uses tests._probe). No network.
"""

from __future__ import annotations

import re
import subprocess
import sys

from tests import _probe

BROWSER = (
    b"Host: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
    b"Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"
)
REQUESTS = {
    "least": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "wrk": b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    "curl": b"GET /proxy_test HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    "browser": b"GET /some/path/index.html?x=1&y=2 HTTP/1.1\r\n" + BROWSER + b"\r\n",
    "cookies": b"GET /some/path/index.html HTTP/1.1\r\n"
    + BROWSER
    + b"Cookie: "
    + b"name=0123456789; " * 25
    + b"\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\n"
    + BROWSER
    + b"".join(b"X-Field-%02d: value\r\n" % i for i in range(20))
    + b"\r\n",
    "escaped target": b"GET /" + b"%E2%82%AC" * 10 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
}
RESPONSES = {
    "answer": b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 15:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\n",
}
BODIES = {
    "16 chunks of 1000": (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 16 + b"0\r\n\r\n",
    "100 chunks of 10": (b"a\r\n" + b"x" * 10 + b"\r\n") * 100 + b"0\r\n\r\n",
}
PATHS = [b"/bar", b"/some/path/index.html?x=1&y=2", b"/a/%62//../c?x", b"/" + b"%E2%82%AC" * 10]

TARGETS = {"wrk": 60.0, "browser": 300.0}  # ns
HEADS = {**REQUESTS, **RESPONSES}


def time_head(name: str, rounds: int) -> float:
    return float(_probe.time_head(HEADS[name], rounds, name in RESPONSES)[0])


def best(measure: object, *arguments: object) -> float:
    return min(measure(*arguments) for _ in range(7))  # type: ignore[operator]


def times() -> dict[str, float]:
    for name, raw in HEADS.items():
        assert _probe.time_head(raw, 1, name in RESPONSES)[1] == "done", name
    return {name: best(time_head, name, 100_000) for name in HEADS}


def show_times() -> dict[str, float]:
    measured = times()
    print(f"{'head':20} {'bytes':>6} {'ns':>8} {'ns/byte':>8}")
    for name, cost in measured.items():
        print(f"{name:20} {len(HEADS[name]):6} {cost:8.1f} {cost / len(HEADS[name]):8.2f}")
    for name, body in BODIES.items():
        cost = best(lambda text: _probe.time_chunks(text, 2_000)[0], body)
        print(f"{name:20} {len(body):6} {cost:8.1f} {cost / len(body):8.2f}")
    for path in PATHS:
        cost = best(_probe.time_normalise, path, 100_000)
        print(f"{path.decode()[:20]:20} {len(path):6} {cost:8.1f} {cost / len(path):8.2f}")
    return measured


def count(name: str, rounds: int) -> int:
    """Instructions of a whole Python that parses this head so many times."""
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        sys.executable,
        "-m",
        "bench.parser",
        "--one",
    ]
    run = subprocess.run([*command, name, str(rounds)], capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    assert found is not None, run.stderr
    return int(found[1])


def show_instructions() -> None:
    rounds = 20_000
    print(f"{'head':20} {'bytes':>6} {'instructions':>12}")
    for name, raw in HEADS.items():
        print(f"{name:20} {len(raw):6} {(count(name, rounds + 1) - count(name, 1)) / rounds:12.0f}")


def check() -> int:
    """A rough gate: twice the target is a miss, since the machine may be busy."""
    missed = {name: cost for name, cost in show_times().items() if name in TARGETS and cost > 2 * TARGETS[name]}
    for name, cost in missed.items():
        print(f"missed: {name} takes {cost:.0f} ns, the target is {TARGETS[name]:.0f}")
    return 1 if missed else 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        time_head(arguments[1], int(arguments[2]))
    elif arguments == ["--instructions"]:
        show_instructions()
    elif arguments == ["--check"]:
        return check()
    else:
        show_times()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
