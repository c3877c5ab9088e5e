"""What the record layer costs beside OpenSSL's own: nanoseconds a record, the least of several runs.

    python -m bench.records

Run by hand, after `make build` (it uses tests._probe). No network. OpenSSL's figures are SSL_write and SSL_read over
memory BIOs, called through ctypes; what a call and the clock cost there is taken off. `turns`: each record has the keys
of another connection than the one before; `apart`: from other memory, not in place.
"""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import _probe
from tests.openssl_pair import Side, crypto, make_certificate, pair, ssl
from tests.tls_layers import take_over

SUITES = {
    "1.3 AES-128-GCM": ("TLSv1.3", "TLS_AES_128_GCM_SHA256"),
    "1.3 AES-256-GCM": ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    "1.3 ChaCha20": ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    "1.2 AES-128-GCM": ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    "1.2 ChaCha20": ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
}
OURS = ("open 100", "seal 300", "turns", "seal 16 k", "apart 16 k")
THEIRS = ("read 100", "write 300", "write 16 k")
RUNS = 9


def best(measure: Callable[..., float], *arguments: object) -> float:
    return min(measure(*arguments) for _ in range(RUNS))


def timed_call(rounds: int = 10_000) -> float:
    """Nanoseconds between two readings of the clock around a call through ctypes that does next to nothing."""
    total = 0
    for _ in range(rounds):
        start = time.perf_counter_ns()
        crypto.ERR_get_error()
        total += time.perf_counter_ns() - start
    return total / rounds


def openssl_write(me: Side, n: int, rounds: int) -> float:
    data, room, total = b"x" * n, ctypes.create_string_buffer(n + 64), 0
    for _ in range(rounds):
        start = time.perf_counter_ns()
        ssl.SSL_write(me.ssl, data, n)
        total += time.perf_counter_ns() - start
        crypto.BIO_read(me.output, room, n + 64)
    return total / rounds


def openssl_read(me: Side, other: Side, n: int, rounds: int) -> float:
    room, total = ctypes.create_string_buffer(n), 0
    wires = [other.write(b"x" * n) for _ in range(rounds)]
    for wire in wires:
        me.give(wire)
        start = time.perf_counter_ns()
        ssl.SSL_read(me.ssl, room, n)
        total += time.perf_counter_ns() - start
    return total / rounds


def ours(client: Side, server: Side, version: str) -> list[float]:
    mine, other, theirs = (take_over(side, version, side is server) for side in (server, server, client))
    record = theirs.seal(b"x" * 100)
    return [
        best(_probe.time_open, mine, record, 5000),
        best(_probe.time_seal, mine, 300, 5000),
        best(_probe.time_seal, mine, 300, 5000, other),
        best(_probe.time_seal, mine, 16384, 500),
        best(_probe.time_seal_apart, mine, b"x" * 16384, 500),
    ]


def openssl(client: Side, server: Side) -> list[float]:
    call = best(timed_call)
    return [
        best(openssl_read, server, client, 100, 1000) - call,
        best(openssl_write, server, 300, 1000) - call,
        best(openssl_write, server, 16384, 300) - call,
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder), "ec")
        print(f"{'ns':16}" + "".join(f"{title:>12}" for title in OURS + THEIRS))
        for name, (version, suite) in SUITES.items():
            client, server, _ = pair(certificate, version, suite)
            figures = ours(client, server, version) + openssl(client, server)
            print(f"{name:16}" + "".join(f"{figure:12.0f}" for figure in figures))


if __name__ == "__main__":
    main()
