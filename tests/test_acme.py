"""ACME against pebble, which really asks for the challenges: issue, renewal, faults, several machines, keys."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGABRT, SIGKILL, SIGUSR2
from socket import create_connection
from typing import Any

import psutil
import pytest
import requests
from cryptography import x509

from tests.certificates import make
from tests.harness.browser import Browser, Tab, find
from tests.harness.client import Client
from tests.harness.lb import Lb, title_of
from tests.harness.pebble import BIN, Pebble
from tests.harness.wait import free_port, wait_for

pytestmark = pytest.mark.skipif(not (BIN / "pebble").exists(), reason="no pebble: make pebble")

CONF = """
worker_processes 2;
http {
    status_listen 127.0.0.1:@status@;
    acme_issuer ca {
        uri @uri@; ssl_trusted_certificate @ca@; state_path @state@; contact a@example.test;
        challenge @challenge@; accept_terms_of_service; @more@
    }
    server { listen 127.0.0.1:@http@; return 301 https://$host$request_uri; }
    server {
        listen 127.0.0.1:@https@ ssl;
        server_name @names@;
        acme_certificate ca @order@;
        ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key; ssl_certificate_cache max=2;
        location / { return 200 "it is $host"; }
    }
}
"""
PENDING = r"no certificate has been issued yet for this server's acme_certificate"


@pytest.fixture
def pebbles() -> Iterator[list[Pebble]]:
    started: list[Pebble] = []
    yield started
    for one in started:
        one.stop()


@pytest.fixture
def pebble(tmp_path: Path, pebbles: list[Pebble]) -> Pebble:
    """Not started."""
    pebbles.append(Pebble(tmp_path / "pebble", free_port(), free_port()))
    return pebbles[0]


def values(pebble: Pebble, state: Path | str, **more: object) -> dict[str, object]:
    given = {"uri": pebble.uri, "ca": pebble.pair.pem, "http": pebble.config["httpPort"], "more": "", "order": ""}
    given |= {"https": pebble.config["tlsPort"], "state": state, "challenge": "http-01", "names": "a.test"}
    return given | more


def shown(port: int, name: str = "a.test", *alpn: str) -> x509.Certificate | None:
    """The certificate that a client gets; None: the handshake is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    with create_connection(("127.0.0.1", port), 30) as sock:
        try:
            with context.wrap_socket(sock, server_hostname=name) as made:
                assert made.selected_alpn_protocol() == (alpn[-1] if alpn else None)
                return x509.load_der_x509_certificate(made.getpeercert(binary_form=True) or b"")
        except (ssl.SSLError, ConnectionError):
            return None


def issued(port: int, name: str = "a.test") -> x509.Certificate | None:
    """By pebble, in many handshakes in a row: of all workers."""
    first = shown(port, name)
    if first is None or "Pebble" not in first.issuer.rfc4514_string():
        return None
    return first if all(shown(port, name) == first for _ in range(8)) else None


def wait_issued(lb: Lb, name: str = "a.test") -> x509.Certificate:
    wait_for(lambda: state(lb)["state"] == "valid", lambda: f"a certificate for {name}:\n{lb.log[-4000:]}")
    return wait_for(lambda: issued(lb.port("https"), name), lambda: f"it to be used:\n{lb.log[-4000:]}")


def names_of(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted([*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))])


def state(lb: Lb) -> dict[str, Any]:
    (one,) = requests.get(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=30).json()["acme"]
    found: dict[str, Any] = one
    return found


def orders(pebble: Pebble) -> int:
    return pebble.log.count("Issued certificate serial")


def acme_process(lb: Lb) -> psutil.Process:
    return wait_for(
        lambda: next((one for one in lb.master.children() if title_of(one) == "lb: acme"), None), "the process for ACME"
    )


# ---- issued


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_first_certificate(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path, challenge: str) -> None:
    """Of a name and what `.NAME` stands for; until it is there handshakes are refused, and lb runs all the same."""
    lb = run_lb(CONF, **values(pebble, tmp_path / "state", challenge=challenge, names=".a.test 127.0.0.1"))
    assert shown(lb.port("https")) is None  # pebble does not run yet
    lb.expect_log(PENDING)
    lb.wait_log(r"\[error\] .*acme: certificate \"www.a.test\" of issuer \"ca\": the ACME server is not to be had")
    pebble.start()
    certificate = wait_issued(lb)
    assert names_of(certificate) == ["127.0.0.1", "a.test", "www.a.test"]
    root = tmp_path / "root.pem"
    root.write_text(pebble.root())
    where = f"a.test:{lb.port('https')}:127.0.0.1"
    curl = ["curl", "-sS", "--resolve", where, "--cacert", str(root), f"https://a.test:{lb.port('https')}/"]
    assert subprocess.run(curl, capture_output=True, text=True, check=False).stdout == "it is a.test"
    said = wait_for(lambda: (one := state(lb))["state"] == "valid" and one, "the state")
    assert said["names"] == ["www.a.test", "a.test", "127.0.0.1"]
    assert said["error"] == "" and said["not_after"] == certificate.not_valid_after_utc.timestamp()
    begin, life = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc
    renewed_after = (said["next"] - begin) / (life.timestamp() - begin)
    assert 0.64 < renewed_after < 0.69
    if challenge == "tls-alpn-01":
        assert "challenge tls-alpn-01 was answered" in lb.log


def test_keys_and_chains_of_other_kinds(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    """key=rsa; an account key of RSA in a file; external_account_key; state_path off."""
    pebble.config |= {
        "externalAccountBindingRequired": True,
        "externalAccountMACKeys": {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
    }
    pebble.env["PEBBLE_ALTERNATE_ROOTS"] = "2"
    pebble.start()
    account = make(tmp_path, "account", key="rsa:2048").key
    key = tmp_path / "eab"
    key.write_text("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n")
    other = re.search(r"CN = (Pebble Root CA \w+)", _subject(pebble._answers("roots/1", pebble.management)))
    assert other is not None
    more = f'external_account_key kid-1 {key}; account_key {account}; preferred_chain "{other[1]}"; profile none;'
    lb = run_lb(CONF, **values(pebble, "off", more=more, order="b.test key=rsa:2048"))
    certificate = wait_issued(lb, "b.test")
    assert names_of(certificate) == ["b.test"]
    assert certificate.public_key().key_size == 2048  # type: ignore[union-attr]
    file = Path(state(lb)["file"])
    assert file.parent.parent in (Path("/run"), Path("/dev/shm"))
    top = x509.load_pem_x509_certificates(file.read_bytes())[-1]
    assert top.issuer.rfc4514_string() == f"CN={other[1]}"
    lb.reload()
    assert issued(lb.port("https"), "b.test") == certificate
    lb.stop()
    assert not file.parent.exists()


def _subject(pem: bytes) -> str:
    command = ["openssl", "x509", "-noout", "-subject"]
    return subprocess.run(command, input=pem, capture_output=True, check=True).stdout.decode()


# ---- challenges, as anybody may ask


def challenged(lb: Lb, directory: Path, *rows: tuple[bool, bytes, bytes, bytes]) -> None:
    """As a machine that shares state_path publishes them."""
    packed = [[alpn, *(base64.b64encode(one).decode() for one in rest)] for alpn, *rest in rows]
    fresh = directory / "fresh"
    fresh.write_text(json.dumps(packed))
    fresh.rename(directory / "challenges.json")


def test_what_is_answered_and_what_is_not(
    run_lb: Callable[..., Lb], connect: Callable[..., Client], pebble: Pebble, tmp_path: Path
) -> None:
    lb = run_lb(CONF, **values(pebble, tmp_path / "state"))
    wait_for((tmp_path / "state" / "machines").exists, "state_path")
    challenged(lb, tmp_path / "state", (False, b"token-1", b"token-1.print", b""))
    path = "/.well-known/acme-challenge/"
    port = lb.port("http")
    wait_for(lambda: connect(port).request(target=f"{path}token-1").status == 200, "the challenge")
    for _ in range(8):  # whichever worker it is
        answer = connect(port).request(target=f"{path}token-1", headers="Host: whoever\r\n")
        assert (answer.status, answer.body) == (200, b"token-1.print")
        assert answer.header("content-type") == "text/plain"
    for other in ("token-2", "token-1x", "token", "", "token-1/"):
        assert connect(port).request(target=f"{path}{other}").status == 301
    assert connect(port).request("POST", target=f"{path}token-1").status == 301
    assert connect(port).request("HEAD", target=f"{path}token-1").status == 301
    challenged(lb, tmp_path / "state")
    wait_for(lambda: connect(port).request(target=f"{path}token-1").status == 301, "the end of the challenge")


def test_a_handshake_for_a_challenge_that_is_none(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    pebble.start()
    lb = run_lb(CONF, **values(pebble, tmp_path / "state", challenge="tls-alpn-01"))
    certificate = wait_issued(lb)
    assert shown(lb.port("https"), "a.test", "acme-tls/1") is None  # alert 120, as before there was ACME
    assert shown(lb.port("https"), "a.test", "acme-tls/1", "http/1.1") == certificate


# ---- renewal, and what goes wrong


def old_certificate(tmp_path: Path, lb: Lb) -> bytes:
    """In the place of the one that pebble has issued: one with less than a third of its life left."""
    pair = make(tmp_path, "old", "a.test", days=(-80, 10))
    (file,) = (tmp_path / "state").glob("*.pem")
    file.write_bytes(pair.key.read_bytes() + pair.pem.read_bytes())
    return pair.der()


def test_renewal_and_a_server_that_is_away(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    """The old certificate serves for as long as there is no new one, and log, page and metrics say why."""
    pebble.start()
    lb = run_lb(CONF, **values(pebble, tmp_path / "state"))
    first = wait_issued(lb)
    lb.stop()
    old = x509.load_der_x509_certificate(old_certificate(tmp_path, lb))
    pebble.stop()
    lb.spawn()
    lb.wait_ready()
    lb.wait_log(r"\[warn\] .*the ACME server is not to be had: .*; next try in \d+ s; the old certificate stays")
    assert shown(lb.port("https")) == old
    said = wait_for(lambda: (one := state(lb))["state"] == "failing" and one, "the state")
    assert "not to be had" in said["error"] and said["failures"] >= 1 and said["next"] > said["error_at"]
    text = requests.get(f"http://127.0.0.1:{lb.port('status')}/metrics", timeout=30).text
    assert re.search(r'^lb_acme_failures\{issuer="ca",name="a.test-\w+"\} [1-9]', text, re.M), text
    assert re.search(r'^lb_acme_waiting\{issuer="ca",name="a.test-\w+"\} 0', text, re.M), text
    assert shown(lb.port("https")) == old
    pebble.start()
    second = wait_issued(lb)
    assert second.serial_number != first.serial_number
    assert wait_for(lambda: (one := state(lb))["state"] == "valid" and one, "the state")["error"] == ""


def test_a_name_that_is_not_ours(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    """pebble asks where nobody answers; a reload does not ask at once again."""
    pebble.config["httpPort"] = free_port()
    pebble.start()
    lb = run_lb(CONF, **values(pebble, tmp_path / "state", http=free_port()))
    lb.wait_log(
        r"\[error\] .*acme: certificate \"a.test\" of issuer \"ca\": a.test was not found to be ours: .*60 s|61 s"
    )
    said = state(lb)
    assert said["state"] == "failing" and said["not_after"] is None
    lb.reload()
    assert wait_for(lambda: state(lb)["next"] == said["next"], "the same next try")
    lb.stop()
    lb.spawn()
    lb.wait_ready()
    again = wait_for(lambda: (one := state(lb))["state"] == "failing" and one, "the state after a start")
    assert (again["error"], again["failures"]) == (said["error"], 1)
    assert again["next"] == pytest.approx(said["error_at"] + 60, abs=0.01)


class Limited(BaseHTTPRequestHandler):
    """An ACME server whose limit we have reached."""

    asked: list[str]
    after: str
    window: tuple[str, str] = ("", "")  # of ARI

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Replay-Nonce", "bm9uY2U")
        self.end_headers()

    def do_GET(self) -> None:
        if self.path.startswith("/renewalInfo/"):
            self._json(200, {"suggestedWindow": dict(zip(("start", "end"), self.window, strict=True))})
            return
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        names = ["newNonce", "newAccount", "newOrder", "revokeCert"] + ["renewalInfo"] * bool(self.window[0])
        self._json(200, {name: f"{here}/{name}" for name in names})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        self._json(429, {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many orders"}, self.after)

    def _json(self, status: int, body: dict[str, Any], after: str = "") -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status == 429 else "application/json")
        self.send_header("Content-Length", str(len(text)))
        if after:
            self.send_header("Retry-After", after)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def limited() -> Iterator[Callable[[str], tuple[str, list[str]]]]:
    """limited(RETRY_AFTER) -> its URL, the paths of POST requests."""
    servers: list[ThreadingHTTPServer] = []

    def start(after: str) -> tuple[str, list[str]]:
        handler = type("One", (Limited,), {"asked": [], "after": after})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}/dir", handler.asked  # type: ignore[attr-defined]

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


def test_a_limit_of_the_server_is_kept(
    run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path, limited: Callable[[str], tuple[str, list[str]]]
) -> None:
    """Over reloads and starts."""
    uri, asked = limited("7200")
    lb = run_lb(CONF, **values(pebble, tmp_path / "state", uri=uri))
    lb.wait_log(
        r"\[error\] .*acme: certificate \"a.test\" of issuer \"ca\": rateLimited: too many orders; next try in 7[23]"
    )
    said = state(lb)
    assert said["state"] == "failing" and 7200 <= said["next"] - said["error_at"] < 7400
    lb.reload()
    lb.stop()
    lb.spawn()
    lb.wait_ready()
    again = wait_for(lambda: (one := state(lb))["state"] == "failing" and one, "the state after a start")
    assert again["next"] == said["next"]
    assert asked == ["/newAccount"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip("no Chromium here")
    made = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


def test_the_page(
    run_lb: Callable[..., Lb],
    pebble: Pebble,
    tmp_path: Path,
    limited: Callable[[str], tuple[str, list[str]]],
    browser: Browser,
) -> None:
    """A certificate that is not there yet, and one that is not renewed."""
    uri, _ = limited("7200")
    lb = run_lb(CONF, **values(pebble, tmp_path / "state", uri=uri))
    said = wait_for(lambda: (one := state(lb))["state"] == "failing" and one, "the state")
    tab: Tab = browser.tab()
    tab.go(f"http://127.0.0.1:{lb.port('status')}/")
    tab.wait_text("a certificate is not issued", "#headline")
    tab.wait_text("ACME issuer ca has not issued the certificate of a.test: rateLimited: too many orders", "#problems")
    tab.wait_text("Handshakes for it are refused.", "#problems")
    assert re.search(r"a\.test\s+\S+\.pem\s+not issued yet\s+ACME issuer ca", tab.text("#tls")), tab.text("#tls")
    assert tab.complaints == []
    pair = make(tmp_path, "old", "a.test", days=(-80, 10))
    lb.stop()
    Path(said["file"]).write_bytes(pair.key.read_bytes() + pair.pem.read_bytes())
    lb.spawn()
    lb.wait_ready()
    tab.wait_text("The old one serves until", "#problems")
    tab.wait_text("watched, not renewed", "#tls")
    assert [one for one in tab.complaints if "ERR_CONNECTION_REFUSED" not in one] == []


def test_after_the_limit_it_is_tried_again(
    run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path, limited: Callable[[str], tuple[str, list[str]]]
) -> None:
    uri, asked = limited("1")
    run_lb(CONF, **values(pebble, tmp_path / "state", uri=uri))
    wait_for(lambda: len(asked) >= 2, "the second try")


def test_the_server_wants_it_renewed(
    run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path, limited: Callable[[str], tuple[str, list[str]]]
) -> None:
    """ARI (RFC 9773): long before two thirds of its life, or after them."""
    uri, asked = limited("7200")
    lb = run_lb(CONF, **values(pebble, tmp_path / "state", uri=uri))
    file = Path(wait_for(lambda: (one := state(lb))["state"] == "failing" and one, "the file's name")["file"])
    lb.stop()
    file.with_suffix(".json").unlink()
    signer = make(tmp_path, "authority", is_ca=True, extra="subjectKeyIdentifier = hash")
    young = make(tmp_path, "young", "a.test", days=(-1, 89), signer=signer, extra="authorityKeyIdentifier = keyid")
    file.write_bytes(young.key.read_bytes() + young.pem.read_bytes())
    Limited.window = ("2100-01-01T00:00:00Z", "2100-01-01T00:00:00Z")  # later than it lives
    try:
        lb.spawn()
        lb.wait_ready()
        end = x509.load_der_x509_certificate(young.der()).not_valid_after_utc.timestamp()
        wait_for(lambda: state(lb)["next"] == end, "the time that the server has said")
        assert asked == ["/newAccount"]
        lb.stop()
        Limited.window = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")
        lb.spawn()
        lb.wait_ready()
        wait_for(lambda: asked == ["/newAccount", "/newAccount"], "a new order")
        lb.wait_log("rateLimited: too many orders; next try in .*; the old certificate stays")
    finally:
        Limited.window = ("", "")


def test_terms_that_are_not_accepted(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    pebble.start()
    lb = run_lb(CONF.replace("accept_terms_of_service;", ""), **values(pebble, tmp_path / "state"))
    lb.wait_log(r"the terms of service data:\S+ are not accepted \(accept_terms_of_service\)")
    lb.reload(CONF)
    wait_issued(lb)


def test_an_acme_server_that_nobody_vouches_for(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    pebble.start()
    other = make(tmp_path, "other", "localhost")
    lb = run_lb(CONF, **values(pebble, tmp_path / "state", ca=other.pem))
    lb.wait_log(r"the ACME server is not to be had: .*certificate verify failed")
    lb.reload(CONF, more="ssl_verify off;")
    wait_issued(lb)


# ---- several machines, reloads, processes


FRONT = """
stream {
    upstream both { server 127.0.0.1:@one@; server 127.0.0.1:@two@; }
    server { listen 127.0.0.1:@front@; proxy_pass both; }
}
"""


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_two_machines_with_one_state_path(
    run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path, challenge: str
) -> None:
    """One orders; what pebble asks comes to either, and both have the certificate."""
    http = challenge == "http-01"
    ports = free_port(), free_port()
    given = [
        values(pebble, tmp_path / "state", challenge=challenge, **{"http" if http else "https": port}) for port in ports
    ]
    for one in given:
        one["https" if http else "http"] = free_port()
    front = pebble.config["httpPort" if http else "tlsPort"]
    run_lb(FRONT, one=ports[0], two=ports[1], front=front)
    one, two = (run_lb(CONF, **some) for some in given)
    pebble.start()
    certificates = [wait_issued(lb) for lb in (one, two)]
    assert certificates[0] == certificates[1]
    assert orders(pebble) == 1
    assert sum("was issued, until" in lb.log and "acme: certificate" in lb.log for lb in (one, two)) >= 1
    assert "may not answer" not in one.log + two.log
    two.stop()
    wait_for(lambda: len(list((tmp_path / "state/machines").iterdir())) == 1, "the other machine alone")


def test_reloads_keep_the_process_and_the_certificate(
    run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path
) -> None:
    pebble.start()
    lb = run_lb(CONF, **values(pebble, tmp_path / "state"))
    first = wait_issued(lb)
    process = acme_process(lb)
    lb.reload()
    assert issued(lb.port("https")) == first
    assert acme_process(lb).pid == process.pid
    lb.reload(CONF, names="a.test b.test")  # another certificate, by another process
    second = wait_issued(lb, "b.test")
    assert names_of(second) == ["a.test", "b.test"] and orders(pebble) == 2
    assert acme_process(lb).pid != process.pid
    lb.reload(CONF.replace("acme_certificate ca @order@;", "return 204;").replace("$acme_certificate", "@file@"),
              file=_split(tmp_path, state(lb)["file"]))  # fmt: skip
    wait_for(lambda: not [one for one in lb.master.children() if title_of(one) == "lb: acme"], "no process for ACME")


def _split(tmp_path: Path, file: str) -> str:
    """For `@file@` and `@file@_key`: the same file under both names."""
    for name in ("used", "used_key"):
        (tmp_path / name).write_bytes(Path(file).read_bytes())
    return str(tmp_path / "used")


def test_the_process_dies_and_comes_again(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    lb = run_lb(CONF, **values(pebble, tmp_path / "state"))
    process = acme_process(lb)
    process.send_signal(SIGKILL)
    lb.wait_log(r"\[error\] .*the process for ACME has ended \(-9\), the next one in 1 s")
    wait_for(lambda: acme_process(lb).pid != process.pid, "another process")
    pebble.start()
    wait_issued(lb)


def test_it_ends_with_its_master(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    lb = run_lb(CONF, **values(pebble, tmp_path / "state"))
    process = acme_process(lb)
    lb.expect_log("the master is gone, the worker serves on")
    workers = lb.workers
    lb.master.send_signal(SIGKILL)
    wait_for(lambda: not process.is_running(), "the end of the process for ACME")
    for worker in workers:
        worker.terminate()


def test_a_new_binary_waits_for_the_old_one(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    """Workers of the old one have not its challenges."""
    lb = run_lb(CONF, **values(pebble, tmp_path / "state"))
    acme_process(lb)
    old = lb.master
    lb.signal(SIGUSR2)
    new = wait_for(
        lambda: next((one for one in old.children() if "master" in title_of(one) and one.pid != old.pid), None),
        "the new",
    )
    wait_for(lambda: [one for one in new.children() if "worker" in title_of(one)], "its workers")
    assert not [one for one in new.children() if title_of(one) == "lb: acme"]
    new.terminate()
    wait_for(lambda: not new.is_running(), "its end")


# ---- keys


def test_keys_are_nowhere(run_lb: Callable[..., Lb], pebble: Pebble, tmp_path: Path) -> None:
    pebble.start()
    lb = run_lb(
        CONF.replace("http {", "error_log error.log info;\nerror_log debug.log debug;\nhttp {"),
        **values(pebble, tmp_path / "state"),
    )
    wait_issued(lb)
    files = [*(tmp_path / "state").glob("*.pem"), tmp_path / "state/account.key"]
    assert len(files) == 2
    secrets = []
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        found = re.search(r"-----BEGIN PRIVATE KEY-----\n(.*?)-----END", file.read_text(), re.S)
        assert found is not None
        secrets += [found[1].splitlines()[1], found[1].replace("\n", "")[40:80]]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    status = f"http://127.0.0.1:{lb.port('status')}"
    texts = [lb.log, (lb.directory / "debug.log").read_text(), lb.command("-T").stdout]
    texts += [requests.get(f"{status}/{path}", timeout=30).text for path in ("status.json", "metrics", "")]
    for text in texts:
        assert text and not any(secret in text for secret in secrets)
    pid = acme_process(lb).pid
    command = re.sub(r"\0", " ", Path(f"/proc/{pid}/cmdline").read_text())
    assert "state" not in command
    assert _leaves_core(subprocess.Popen(["sleep", "60"], cwd=tmp_path))  # else nothing is shown by what follows
    resource.prlimit(pid, resource.RLIMIT_CORE, (-1, -1))
    os.kill(pid, SIGABRT)
    lb.wait_log(r"the process for ACME has ended \(-6\), ")


def _leaves_core(process: subprocess.Popen[bytes]) -> bool:
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (-1, -1))
    process.send_signal(SIGABRT)
    return os.WCOREDUMP(os.waitpid(process.pid, 0)[1])
