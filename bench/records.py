"""What the record layer costs beside OpenSSL's own: nanoseconds a record, the least of several runs.

    python -m bench.records

Run by hand, after `make build` (it uses tests._probe). No network. OpenSSL's figures are SSL_write and SSL_read over memory
BIOs, called through ctypes, whose own cost (a call of nothing) is taken off; `taking turns`: each record has the keys of another
connection than the one before.
"""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import _probe
from tests.openssl_pair import Side, crypto, make_certificate, pair, ssl

SUITES = {
    "1.3 AES-128-GCM": ("TLSv1.3", "TLS_AES_128_GCM_SHA256"),
    "1.3 AES-256-GCM": ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    "1.3 ChaCha20": ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    "1.2 AES-128-GCM": ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    "1.2 ChaCha20": ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
}
RUNS = 9


def best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(RUNS))


def layer(me: Side, version: str, server: bool) -> _probe.TlsLayer:
    made = _probe.TlsLayer()
    suite = _probe.tls_suite(me.suite)
    if version == "TLSv1.3":
        secrets = [me.secrets["CLIENT_TRAFFIC_SECRET_0"], me.secrets["SERVER_TRAFFIC_SECRET_0"]]
        assert made.start13(suite, server, *(secrets if server else secrets[::-1]))
    else:
        assert made.start12(suite, server, me.master, *me.randoms)
    return made


def a_call(rounds: int = 20_000) -> float:
    """Nanoseconds of a call through ctypes that does nothing much."""
    room = ctypes.create_string_buffer(16)
    start = time.perf_counter_ns()
    for _ in range(rounds):
        ssl.SSL_get_error(None, 1) if False else crypto.ERR_get_error()
    assert room is not None
    return (time.perf_counter_ns() - start) / rounds


def openssl_write(me: Side, n: int, rounds: int) -> float:
    data, room = b"x" * n, ctypes.create_string_buffer(n + 64)
    total = 0
    for _ in range(rounds):
        start = time.perf_counter_ns()
        ssl.SSL_write(me.ssl, data, n)
        total += time.perf_counter_ns() - start
        crypto.BIO_read(me.output, room, n + 64)
    return total / rounds


def openssl_read(me: Side, other: Side, n: int, rounds: int) -> float:
    room = ctypes.create_string_buffer(n)
    total = 0
    for _ in range(rounds):
        me.give(other.write(b"x" * n))
        start = time.perf_counter_ns()
        ssl.SSL_read(me.ssl, room, n)
        total += time.perf_counter_ns() - start
    return total / rounds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder), "ec")
        call = best(a_call) + 2 * best(lambda: empty_clock())
        titles = ("open 100", "seal 300", "taking turns", "seal 16 k", "apart 16 k", "SSL_read 100", "write 300", "write 16 k")
        print(f"{'ns':16}" + "".join(f"{title:>13}" for title in titles))
        for name, (version, suite) in SUITES.items():
            client, server, _ = pair(certificate, version, suite)
            mine, theirs, other = layer(server, version, True), layer(client, version, False), layer(server, version, True)
            record = theirs.seal(b"x" * 100)
            mine.set(rx_seq=theirs.seqs[1] - 1)
            figures = [
                best(lambda: _probe.time_open(mine, record, 5000)),
                best(lambda: _probe.time_seal(mine, 300, 5000)),
                best(lambda: _probe.time_seal(mine, 300, 5000, other)),
                best(lambda: _probe.time_seal(mine, 16384, 500)),
                best(lambda: _probe.time_seal_apart(mine, b"x" * 16384, 500)),
                best(lambda: openssl_read(server, client, 100, 1000)) - call,
                best(lambda: openssl_write(server, 300, 1000)) - call,
                best(lambda: openssl_write(server, 16384, 300)) - call,
            ]
            print(f"{name:16}" + "".join(f"{figure:13.0f}" for figure in figures))


def empty_clock(rounds: int = 10_000) -> float:
    """Nanoseconds that reading the clock adds to a measured call: one of its two readings."""
    total = 0
    for _ in range(rounds):
        start = time.perf_counter_ns()
        total += time.perf_counter_ns() - start
    return total / rounds / 2


if __name__ == "__main__":
    main()
