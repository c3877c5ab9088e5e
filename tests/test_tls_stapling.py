"""ssl_stapling that fetches: each certificate's OCSP response, from good responders and from bad ones."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from types import SimpleNamespace
from typing import Any, Literal

import psutil
import pytest
import requests

from lb.master.ocsp import read
from lb.master.stapling import Stapling as StaplingOfMaster
from lb.master.stapling import pause
from lb.model.tls import Certificate, Staple, Stapling, TlsServer
from lb.process.loop import Loop
from tests import ocsp_responder
from tests.certificates import Pair, make
from tests.harness.lb import Lb
from tests.harness.wait import wait_for
from tests.ocsp_responder import Answer, Handler, Responder
from tests.tls_authority import authority
from tests.tls_visits import client_context, visit

CONF = """
worker_processes 2;
http {
    status_listen 127.0.0.1:@status@;
    resolver 127.0.0.53 valid=300s; resolver_timeout 5s;
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name a.test;
        @pairs@
        ssl_certificate_watch on;
        ssl_stapling on;
        @more@
        return 200 hello;
    }
}
"""
TRUST = "ssl_stapling_verify on; ssl_trusted_certificate @root@;"


@pytest.fixture
def root(tmp_path: Path) -> Pair:
    return make(tmp_path, "root", is_ca=True)


@pytest.fixture
def responder() -> Iterator[Callable[[Answer], Responder]]:
    made: list[Responder] = []

    def start(answer: Answer) -> Responder:
        made.append(Responder(answer))
        return made[-1]

    yield start
    for one in made:
        one.close()


def leaf(root: Pair, name: str, url: str, key: str = "ec:P-256") -> Pair:
    extra = "authorityKeyIdentifier = keyid\n" + (f"authorityInfoAccess = OCSP;URI:{url}" if url else "")
    return make(root.directory, name, "a.test", key=key, signer=root, extra=extra)


def pairs(*some: Pair) -> str:
    return " ".join(f"ssl_certificate {one.pem}; ssl_certificate_key {one.key};" for one in some)


def start(run_lb: Callable[..., Lb], root: Pair, *some: Pair, more: str = TRUST) -> Lb:
    conf = CONF.replace("@pairs@", pairs(*some)).replace("@more@", more)
    return run_lb(conf.replace("@root@", str(root.pem)))


def status(lb: Lb, *options: str) -> str:
    """What a client is told of the certificate's status: openssl s_client's text."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{lb.port('http')}", "-servername", "a.test", "-status"]
    return subprocess.run([*command, *options], input="", capture_output=True, text=True, timeout=30).stdout


def is_good(lb: Lb, *options: str) -> bool:
    said = status(lb, *options)
    return "OCSP Response Status: successful" in said and "Cert Status: good" in said


def is_none(lb: Lb, *options: str) -> bool:
    return "OCSP response: no response sent" in status(lb, *options)


def all_good(lb: Lb, *options: str) -> bool:
    return all(is_good(lb, *options) for _ in range(6))


def shown(lb: Lb) -> dict[str, object]:
    one = requests.get(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=30).json()["certificates"][0]
    found: dict[str, object] = one["staple"]
    return found


def well(root: Pair, **given: float) -> Answer:
    return lambda handler: handler.give(ocsp_responder.make(handler.asked, root, **given))


@contextmanager
def openssl_responder(root: Pair, *leaves: Pair) -> Iterator[int]:
    """`openssl ocsp`: knows these as good."""
    lines = []
    for one in leaves:
        command = ["openssl", "x509", "-in", str(one.pem), "-noout", "-serial"]
        serial = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]
        lines.append(f"V\t491231235959Z\t\t{serial}\tunknown\t/CN={one.name}\n")
    index = root.directory / "ocsp-index"
    index.write_text("".join(lines))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    files = ["-index", str(index), "-rsigner", str(root.pem), "-rkey", str(root.key), "-CA", str(root.pem)]
    command = ["openssl", "ocsp", "-port", str(port), *files, "-ndays", "5", "-ignore_err"]
    said = root.directory / "ocsp-said"  # a connection without a request would hold it up for good
    with said.open("wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
    try:
        wait_for(lambda: "waiting for OCSP client" in said.read_text(), "the responder")
        yield port
    finally:
        process.kill()
        process.wait()


def test_each_certificate_has_its_own_before_a_client_asks(run_lb: Callable[..., Lb], root: Pair) -> None:
    ec, rsa = leaf(root, "ec", "http://nowhere.invalid/"), leaf(root, "rsa", "http://nowhere.invalid/", "rsa:2048")
    with openssl_responder(root, ec, rsa) as port:
        lb = start(run_lb, root, ec, rsa, more=TRUST + f"ssl_stapling_responder http://127.0.0.1:{port};")
        wait_for(lambda: shown(lb)["sent"], lambda: f"a response\n{lb.log}")
        rsa_only = ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
        ec_only = ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        wait_for(lambda: all_good(lb, *rsa_only), lambda: f"the RSA certificate's\n{lb.log}")
        wait_for(lambda: all_good(lb, *ec_only), "the ECDSA certificate's")
        assert _serial(status(lb, *rsa_only)) != _serial(status(lb, *ec_only))
        assert all_good(lb)
    assert shown(lb)["error"] == ""


def _serial(said: str) -> str:
    found = re.search(r"Serial Number: (\w+)\n", said)
    assert found, said
    return found[1]


def test_a_worker_that_starts_later_and_a_reload_have_it(run_lb, root, responder) -> None:
    one = responder(well(root))
    lb = start(run_lb, root, leaf(root, "leaf", one.url))
    wait_for(lambda: all_good(lb), lambda: f"a response\n{lb.log}")
    one.close()  # nobody can be asked any more
    lb.expect_log(r"exited on signal 9")
    for worker in list(lb.workers):
        os.kill(worker.pid, SIGKILL)
    wait_for(lambda: lb.log.count("exited on signal 9") == 2, "both workers to be reaped")
    lb.wait_ready()
    assert all_good(lb)
    lb.file.write_text(lb.file.read_text().replace("ssl_stapling on;", "ssl_stapling on; ssl_buffer_size 4k;"))
    lb.reload()
    assert all_good(lb)
    assert len(one.requests) == 1


def test_it_is_renewed_before_its_end_and_never_sent_after_it(run_lb, root, responder) -> None:
    answers: list[Answer] = [well(root, until=14)]
    one = responder(lambda handler: answers[0](handler))
    lb = start(run_lb, root, leaf(root, "leaf", one.url))
    wait_for(lambda: all_good(lb), lambda: f"a response\n{lb.log}")
    wait_for(lambda: len(one.requests) >= 2, "the second request, at half of its time")
    answers[0] = lambda handler: handler.give(b"", status=503)
    lb.expect_log(
        r"OCSP responder answered 503 while requesting certificate status, responder: 127.0.0.1, certificate: "
    )
    wait_for(lambda: shown(lb)["error"], lambda: f"a failure\n{lb.log}")
    assert is_good(lb), "the last good one while the responder is away"
    assert shown(lb)["sent"]
    wait_for(lambda: is_none(lb), "its end")
    assert not shown(lb)["sent"]


def test_a_changed_pair_gets_a_response_of_its_own(run_lb, root, responder) -> None:
    one = responder(well(root))
    pair = leaf(root, "leaf", one.url)
    (root.directory / "other").mkdir()
    lb = start(run_lb, root, pair)
    wait_for(lambda: all_good(lb), lambda: f"a response\n{lb.log}")
    before = _serial(status(lb))
    pair.replace_by(leaf(root, "next", one.url))
    wait_for(lambda: all_good(lb) and _serial(status(lb)) != before, lambda: f"the new one's\n{lb.log}")
    pair.replace_by(leaf(root, "last", ""))
    lb.wait_log(rf'\[warn\] .*"ssl_stapling" ignored, no OCSP responder URL in the certificate "{pair.pem}"')
    wait_for(lambda: is_none(lb), "none, of a certificate without a responder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes someone else")
def test_it_is_asked_as_the_workers_user(run_lb, root, responder) -> None:
    askers: list[int] = []

    def answer(handler: Handler) -> None:
        askers.append(handler.asker())
        well(root)(handler)

    lb = start(run_lb, root, leaf(root, "leaf", responder(answer).url))
    wait_for(lambda: askers, "it to ask")
    assert askers == [psutil.Process(next(iter(lb.workers)).pid).uids().real] != [0]


def _hang(handler: Handler) -> None:
    handler.server.responder.over.wait()  # type: ignore[attr-defined]


def _huge(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n")
    for _ in range(100):
        handler.wfile.write(bytes(1 << 20))


def _cut(handler: Handler) -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: 900\r\n\r\n"
    handler.wfile.write(head + b"some")


UNAUTHORIZED = bytes.fromhex("30030a0106")
BAD = {  # what it does, and nginx's words of it where nginx has some
    "garbage": (lambda _: lambda handler: handler.give(b"garbage"), r"d2i_OCSP_RESPONSE\(\) failed \(SSL: err"),
    "empty": (lambda _: lambda handler: handler.give(b""), r"d2i_OCSP_RESPONSE\(\) failed"),
    "no HTTP": (lambda _: lambda handler: handler.wfile.write(b"hello\r\n"), "OCSP responder sent invalid response"),
    "silent end": (lambda _: lambda handler: None, "OCSP responder prematurely closed connection"),
    "cut": (lambda _: _cut, "OCSP responder prematurely closed connection"),
    "100 MB": (lambda _: _huge, "OCSP responder sent a too large response"),
    "page": (
        lambda _: lambda handler: handler.give(b"<html>", "text/html"),
        'OCSP responder sent invalid "Content-Type" header: "text/html"',
    ),
    "unauthorized": (
        lambda _: lambda handler: handler.give(UNAUTHORIZED),
        r"OCSP response not successful \(6: unauthorized\)",
    ),
    "expired": (lambda root: well(root, since=-9000, until=-3600), r"OCSP_check_validity\(\) failed .*status expired"),
    "just expired": (lambda root: well(root, since=-9000, until=-60), "the OCSP response has expired"),
    "of tomorrow": (lambda root: well(root, since=86400, until=90000), r"OCSP_check_validity\(\) failed .*not yet val"),
    "another serial": (lambda root: well(root, serial=77), "certificate status not found in the OCSP response"),
    "revoked": (lambda root: well(root, status=0xA1), 'certificate status "revoked" in the OCSP response'),
    "unknown": (lambda root: well(root, status=0x82), 'certificate status "unknown" in the OCSP response'),
    "a stranger": (
        lambda root: well(make(root.directory, "stranger", is_ca=True)),
        r"OCSP_basic_verify\(\) failed \(SSL: error:.*certificate verify error:Verify error: self-signed certificate\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_responder_that_misbehaves(run_lb, root, responder, kind: str) -> None:
    answer, said = BAD[kind]
    one = responder(answer(root))
    lb = start(run_lb, root, leaf(root, "leaf", one.url))
    text = (
        rf"\[error\] .*{said}.* while requesting certificate status, responder: 127.0.0.1, certificate: \".*leaf.pem\""
    )
    lb.expect_log(text)
    wait_for(lambda: re.search(text, lb.log), lambda: f"the line in the log\n{lb.log}")
    assert is_none(lb)
    assert not shown(lb)["sent"] and shown(lb)["error"]


def test_one_that_hangs_holds_up_nobody(run_lb, root, responder) -> None:
    bad, good = responder(_hang), responder(well(root))
    slow, leaf_ = leaf(root, "slow", bad.url, "rsa:2048"), leaf(root, "leaf", good.url)
    lb = start(run_lb, root, slow, leaf_)
    wait_for(lambda: bad.requests, "it to be asked")
    wait_for(lambda: all_good(lb), lambda: f"the other one's\n{lb.log}")
    assert is_none(lb, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    lb.reload()  # and a reload while it hangs
    assert all_good(lb)


def test_without_verification_any_signer_will_do(run_lb, root, responder) -> None:
    one = responder(well(make(root.directory, "stranger", is_ca=True)))
    lb = start(run_lb, root, leaf(root, "leaf", one.url), more="ssl_trusted_certificate @root@;")
    wait_for(lambda: all_good(lb), lambda: f"a response\n{lb.log}")


def test_warnings_of_what_cannot_be_fetched(run_lb, root) -> None:
    """nginx looks for the issuer before the responder."""
    pair = leaf(root, "leaf", "")
    lb = start(run_lb, root, pair, more="")
    lb.wait_log(rf'\[warn\] .*"ssl_stapling" ignored, issuer certificate not found for certificate "{pair.pem}"')
    lb.file.write_text(
        lb.file.read_text().replace("ssl_stapling on;", f"ssl_stapling on; ssl_trusted_certificate {root.pem};")
    )
    lb.reload()
    lb.wait_log(rf'\[warn\] .*"ssl_stapling" ignored, no OCSP responder URL in the certificate "{pair.pem}"')
    lb.file.write_text(
        lb.file.read_text().replace("ssl_stapling on;", "ssl_stapling on; ssl_stapling_responder https://a/;")
    )
    lb.reload()
    lb.wait_log(
        r'\[warn\] .*"ssl_stapling" ignored, invalid URL prefix in OCSP responder "https://a/" in the certificate "'
    )
    assert is_none(lb)


def test_a_changed_stapling_file_ends_no_session(run_lb, tmp_path: Path) -> None:
    file = tmp_path / "response.der"
    shutil.copy(authority().ocsp_response(), file)
    lb = run_lb(
        """http { server { listen 127.0.0.1:@http@ ssl; ssl_certificate @cert@; ssl_certificate_key @key@;
            ssl_stapling on; ssl_stapling_file @file@; return 200 $pid; } }""",
        file=file,
        **authority().values(),
    )
    context = client_context(ssl.TLSVersion.TLSv1_2)
    first = visit(lb.port("http"), context)
    assert first.session is not None and is_good(lb)
    before = file.read_bytes()
    shutil.copy(authority().ocsp_response(), file)
    assert file.read_bytes() != before
    lb.reload()
    assert visit(lb.port("http"), context, first.session).resumed


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch, root: Pair, responder) -> None:
    """The child that waits is killed, and it is asked again later; what was good before stays."""
    monkeypatch.setattr("lb.master.stapling.WITHIN_S", 0.3)
    one = responder(_hang)
    pair = leaf(root, "leaf", one.url)
    certificate = Certificate(str(pair.pem), "", (pair.der(), root.der()), b"")
    server = TlsServer((certificate,), stapling=Stapling(staples=(Staple(0, root.der(), one.url),)))
    lines, loop = Lines(), Loop()
    stapling = StaplingOfMaster(loop, lines, lambda *_: None)  # type: ignore[arg-type]
    stapling.follow(SimpleNamespace(config=SimpleNamespace(tls=(server,)), identity=None))  # type: ignore[arg-type]

    def turn() -> bool:
        for callback, events in loop.turn(0.05):
            callback(events)
        stapling.step(time.monotonic())
        return bool(lines.told)

    wait_for(turn, "the end of it")
    assert lines.told == [
        f'OCSP responder timed out while requesting certificate status, responder: 127.0.0.1, certificate: "{pair.pem}"'
    ]
    assert time.monotonic() + 5 < stapling.deadline() < time.monotonic() + 11
    stapling.close()
    loop.close()


class Lines:
    """A log of errors."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def error(self, text: str) -> None:
        self.told.append(text)


OF_CLIENTS = {"verify_depth": 3, "client_authorities": (b"x",), "trusted": (b"x",), "crls": (b"x",)}


@pytest.mark.parametrize(
    ("change", "verify", "ends"),
    [
        ({"ocsp_response": b"x"}, "on", False),
        ({"stapling": Stapling(verify=True)}, "on", False),
        ({"alpn": ("imap",)}, "on", False),
        *(({name: value}, "off", False) for name, value in OF_CLIENTS.items()),
        *(({name: value}, "on", True) for name, value in OF_CLIENTS.items()),
        ({"verify_client": "optional"}, "on", True),
    ],
    ids=str,
)
def test_what_ends_sessions(change: dict[str, Any], verify: Literal["on", "off"], ends: bool) -> None:
    """What says who may come in, and nothing else."""
    server = TlsServer(verify_client=verify)
    assert (replace(server, **change).session_context() != server.session_context()) == ends


@pytest.mark.parametrize(
    ("left", "want"), [(7 * 86400, 3600), (1800, 1500), (600, 300), (60, 30), (2, 1), (float("inf"), 3600)]
)
def test_when_a_response_is_renewed(left: float, want: float) -> None:
    assert pause(left) == want


@pytest.mark.parametrize(
    "said", [None, [], {}, {"der": 3}, {"der": "!", "until": 1}, {"der": "", "until": "x"}, {"der": ""}]
)
def test_a_child_is_not_believed(said: object) -> None:
    assert read(said).error == "no answer"
    assert read({"error": "a\nb\0"}).error == "a?b?"
