"""ssl_certificate_watch: new files are used by new handshakes without a reload; what cannot be used changes nothing."""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from socket import create_connection

import pytest
import requests

from tests.certificates import Pair, make
from tests.harness.backend import HttpBackend, RawBackend, echo
from tests.harness.lb import Lb
from tests.harness.wait import wait_for

CONF = """
worker_processes 2;
http {
    status_listen 127.0.0.1:@status@;
    ssl_certificate_watch on;
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name a.test;
        ssl_certificate @pem@; ssl_certificate_key @key@;
        location / { proxy_pass http://@backend@; }
    }
}
"""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make(tmp_path, "served", "a.test")


@pytest.fixture
def other(tmp_path: Path) -> Pair:
    (tmp_path / "other").mkdir()
    return make(tmp_path / "other", "other", "a.test", key="rsa:2048")


@contextmanager
def talking(port: int, name: str = "a.test") -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with create_connection(("127.0.0.1", port), 30) as sock, context.wrap_socket(sock, server_hostname=name) as made:
        yield made


def shown(port: int, name: str = "a.test") -> bytes:
    """The certificate that a client gets, as DER."""
    with talking(port, name) as client:
        return client.getpeercert(binary_form=True) or b""


def all_show(port: int, want: bytes) -> bool:
    """Many in a row: of all workers."""
    return all(shown(port) == want for _ in range(12))


def get(client: ssl.SSLSocket) -> bytes:
    client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    return client.recv(65536)


def state(lb: Lb) -> dict[str, object]:
    (one,) = requests.get(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=30).json()["certificates"]
    found: dict[str, object] = one
    return found


def renewals(lb: Lb) -> dict[str, float]:
    text = requests.get(f"http://127.0.0.1:{lb.port('status')}/metrics", timeout=30).text
    lines = [line.rsplit(None, 1) for line in text.splitlines() if line.startswith("lb_tls_certificate_")]
    return {re.sub(r"\{(?!result).*\}", "", name): float(value) for name, value in lines}


def start(run_lb: Callable[..., Lb], pair: Pair, backend: HttpBackend) -> Lb:
    return run_lb(CONF, pem=pair.pem, key=pair.key, backend=backend.address)


def test_new_files_are_used_and_nothing_else_happens(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], pair: Pair, other: Pair
) -> None:
    lb = start(run_lb, pair, http_backend())
    old, new = pair.der(), other.der()
    assert all_show(lb.port("http"), old)
    workers = {worker.pid for worker in lb.workers}
    with talking(lb.port("http")) as before:
        assert b"HTTP/1.1 200 " in get(before)
        pair.replace_by(other)
        wait_for(lambda: shown(lb.port("http")) == new, lambda: f"the new certificate\n{lb.log}")
        wait_for(lambda: all_show(lb.port("http"), new), "the new certificate in all workers")
        assert b"HTTP/1.1 200 " in get(before)  # the connection of before lives on
    assert {worker.pid for worker in lb.workers} == workers
    assert f'the certificate "{pair.pem}" has changed, new handshakes use it: serial {state(lb)["serial"]}' in lb.log
    assert renewals(lb)['lb_tls_certificate_renewals_total{result="ok"}'] == 1
    assert "reconfiguring" not in lb.log
    assert state(lb)["key_type"] == "RSA"


def test_a_worker_that_starts_later_and_a_reload_have_it(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], pair: Pair, other: Pair
) -> None:
    lb = start(run_lb, pair, http_backend())
    pair.replace_by(other)
    wait_for(lambda: all_show(lb.port("http"), other.der()), "the new certificate")
    lb.expect_log(r"exited on signal 9")
    for worker in list(lb.workers):
        os.kill(worker.pid, SIGKILL)
    wait_for(lambda: lb.log.count("exited on signal 9") == 2, "both workers to be reaped")
    lb.wait_ready()
    assert all_show(lb.port("http"), other.der())
    lb.reload()
    assert all_show(lb.port("http"), other.der())
    again = make(pair.directory, "again", "a.test")
    pair.replace_by(again)
    wait_for(lambda: all_show(lb.port("http"), again.der()), "the next one, after the reload")


def test_what_does_not_load_keeps_the_old_one_and_says_so_once(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], pair: Pair, other: Pair
) -> None:
    lb = start(run_lb, pair, http_backend())
    old = pair.der()
    good_key = pair.key.read_bytes()
    pair.key.write_bytes(other.key.read_bytes())
    wait_for(lambda: state(lb)["error"], lambda: f"the error\n{lb.log}")
    error = str(state(lb)["error"])
    assert error.startswith(f'SSL_CTX_use_PrivateKey("{pair.key}") failed (SSL: error:'), error
    assert all_show(lb.port("http"), old)
    assert renewals(lb)["lb_tls_certificate_watch_failing"] == 1
    pair.key.unlink()  # another state of the files, another error
    wait_for(lambda: "open() failed (2" in str(state(lb)["error"]), "the second error")
    assert lb.log.count("a certificate has changed and is not used, the old one stays: ") == 2
    pair.key.write_bytes(good_key)
    wait_for(lambda: not state(lb)["error"], "the good key again")
    assert renewals(lb)["lb_tls_certificate_watch_failing"] == 0
    assert all_show(lb.port("http"), old)
    assert lb.log.count("is not used, the old one stays: ") == 2


def test_a_certificate_that_waits_for_its_key(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], pair: Pair, other: Pair
) -> None:
    """Certificate first, its key after lb has looked: used when both are there."""
    lb = start(run_lb, pair, http_backend())
    pair.pem.write_bytes(other.pem.read_bytes())
    wait_for(lambda: state(lb)["error"], "the error")
    pair.key.write_bytes(other.key.read_bytes())
    wait_for(lambda: all_show(lb.port("http"), other.der()), "the new certificate")
    assert not state(lb)["error"]


def test_a_link_that_is_turned_round(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], pair: Pair, other: Pair, tmp_path: Path
) -> None:
    """As Kubernetes does it: the files are behind a link to a directory."""
    other.pem.rename(other.directory / "served.pem")
    other.key.rename(other.directory / "served.key")
    now = tmp_path / "now"
    now.symlink_to(pair.directory)
    lb = start(run_lb, Pair(now, "served"), http_backend())
    fresh = tmp_path / "fresh"
    fresh.symlink_to(other.directory)
    fresh.rename(now)
    want = Pair(other.directory, "served").der()
    wait_for(lambda: all_show(lb.port("http"), want), "the new certificate")


def test_a_stream_server_and_one_that_is_not_watched(
    run_lb: Callable[..., Lb], raw_backend: Callable[..., RawBackend], pair: Pair, other: Pair
) -> None:
    lb = run_lb(
        """
        stream {
            ssl_certificate @pem@; ssl_certificate_key @key@;
            server { listen 127.0.0.1:@watched@ ssl; ssl_certificate_watch on; proxy_pass @backend@; }
            server { listen 127.0.0.1:@still@ ssl; proxy_pass @backend@; }
        }
        """,
        pem=pair.pem, key=pair.key, backend=raw_backend(echo).address,
    )  # fmt: skip
    old = pair.der()
    pair.replace_by(other)
    wait_for(lambda: shown(lb.port("watched")) == other.der(), "the new certificate")
    assert shown(lb.port("still")) == old


def test_changes_under_load_lose_no_handshake(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], pair: Pair, other: Pair, tmp_path: Path
) -> None:
    lb = start(run_lb, pair, http_backend())
    (tmp_path / "first").mkdir()
    first = Pair(tmp_path / "first", "first")
    first.pem.write_bytes(pair.pem.read_bytes())
    first.key.write_bytes(pair.key.read_bytes())
    over, faults, count = threading.Event(), [], [0]

    def load() -> None:
        while not over.is_set():
            try:
                with talking(lb.port("http")) as client:
                    assert b"HTTP/1.1 200 " in get(client)
                    count[0] += 1
            except (OSError, AssertionError) as error:
                faults.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(4):
            pair.replace_by(first if number % 2 else other)
            wait_for(lambda number=number: lb.log.count("new handshakes use it") == number + 1, lambda: lb.log)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert not faults
    assert count[0] > 20
