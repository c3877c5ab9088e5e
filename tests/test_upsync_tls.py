"""https to Consul, with certificates made by openssl; the ACL token of a file; what is never shown."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lb.model import UpsyncTls
from tests.harness.wait import wait_for
from tests.upsync_fakes import FakeConsul, Following, followers, running_consul, send

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make_certificate(directory: Path, name: str, signer: str = "") -> None:
    """directory/name.pem and .key, signed by itself or by `signer`."""
    base, key = str(directory / name), ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{base}.key")
    by = ("-CA", f"{directory / signer}.pem", "-CAkey", f"{directory / signer}.key") if signer else ()
    if signer:
        openssl("req", *key, *subject, "-out", f"{base}.csr")
        extension = directory / f"{name}.ext"
        extension.write_text(f"subjectAltName=DNS:{name}\n")
        openssl("x509", "-req", "-in", f"{base}.csr", *by, "-CAcreateserial", "-out", f"{base}.pem", "-days", "2",
                "-extfile", str(extension))  # fmt: skip
    else:
        openssl("req", "-x509", *key, *subject, "-out", f"{base}.pem", "-days", "2")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    make_certificate(directory, "ca")
    make_certificate(directory, "server.dc1.consul", "ca")
    make_certificate(directory, "lb", "ca")
    make_certificate(directory, "stranger")
    return directory


class TlsConsul(FakeConsul):
    """The scripted Consul behind TLS, which asks for a client certificate of `ca`."""

    def __init__(self, keys: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(keys / "server.dc1.consul.pem", keys / "server.dc1.consul.key")
        self.context.load_verify_locations(keys / "ca.pem")
        self.context.verify_mode = ssl.CERT_REQUIRED
        super().__init__()

    def serve(self, sock, number):  # type: ignore[no-untyped-def]
        try:
            wrapped = self.context.wrap_socket(sock, server_side=True)
        except OSError:
            return
        with wrapped:
            try:
                super().serve(wrapped, number)
            except OSError:
                return


@pytest.fixture
def consul(keys: Path) -> Iterator[TlsConsul]:
    fake = TlsConsul(keys)
    yield fake
    fake.stop()


@pytest.fixture
def follow(consul: TlsConsul) -> Iterator[Callable[..., Following]]:
    with followers(consul) as make:
        yield make


def tls(keys: Path, **options: object) -> UpsyncTls:
    settings = {"ca": keys / "ca.pem", "certificate": keys / "lb.pem", "key": keys / "lb.key"} | options
    return UpsyncTls(**{name: value if name == "verify" else str(value) for name, value in settings.items()})  # type: ignore[arg-type]


def test_https_with_both_certificates(consul: TlsConsul, follow: Callable[..., Following], keys: Path) -> None:
    consul.put("127.0.0.1:8001")
    one = follow(tls=tls(keys, name="server.dc1.consul")).wait_names("127.0.0.1:8001")
    consul.put("127.0.0.1:8002")
    one.wait_names("127.0.0.1:8002", "127.0.0.1:8001")
    for port in range(9000, 9300):  # an answer of several records
        consul.entries[f"upstreams/test/127.0.0.1:{port}"] = b"{}" + b" " * 200
    consul.put("127.0.0.1:8003")
    wait_for(lambda: len(one.applied[-1]) == 303, "a long answer")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "other.name"}, "Hostname mismatch"),
        ({"name": ""}, "IP address mismatch"),
        ({"ca": "stranger.pem", "name": "server.dc1.consul"}, "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_a_consul_that_is_not_the_one(
    consul: TlsConsul, follow: Callable[..., Following], keys: Path, options: dict[str, str], reason: str
) -> None:
    if "ca" in options:
        options = options | {"ca": str(keys / options["ca"])}
    consul.put("127.0.0.1:8001")
    one = follow(tls=tls(keys, **options))
    wait_for(lambda: one.log.having(" is lost: "), "the loss")
    assert one.log.having(reason), one.log.lines
    assert not one.applied


def test_without_verification(consul: TlsConsul, follow: Callable[..., Following], keys: Path) -> None:
    consul.put("127.0.0.1:8001")
    follow(tls=tls(keys, ca="", verify=False)).wait_names("127.0.0.1:8001")


def test_a_stranger_is_refused_by_consul(consul: TlsConsul, follow: Callable[..., Following], keys: Path) -> None:
    pair = {"certificate": keys / "stranger.pem", "key": keys / "stranger.key"}
    one = follow(tls=tls(keys, name="server.dc1.consul", **pair))
    wait_for(lambda: one.log.having(" is lost: "), "the loss")


WORKER = """
http {
    access_log off;
    upstream test {
        server 127.0.0.1:9;
        upsync 127.0.0.1:@consul@/v1/kv/upstreams/test upsync_timeout=6m upsync_interval=200ms upsync_type=consul;
        @tls@
    }
    server { listen 127.0.0.1:@http@; location / { upstream_show; } }
}
"""
FILES = """upsync_ssl on; upsync_ssl_name server.dc1.consul; upsync_ssl_trusted_certificate @keys@/ca.pem;
        upsync_ssl_certificate @keys@/lb.pem; upsync_ssl_certificate_key @keys@/lb.key;"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only a worker of root's lb becomes another user")
def test_a_key_that_only_root_may_read(consul: TlsConsul, keys: Path, run_lb, connect) -> None:  # type: ignore[no-untyped-def]
    """As keys are kept. A reload, too, makes workers that begin as root."""
    keys.chmod(0o700)
    (keys / "lb.key").chmod(0o600)
    consul.put("127.0.0.1:8001")
    lb = run_lb(WORKER.replace("@tls@", FILES), consul=consul.port, keys=keys)
    assert lb.workers[0].uids().real != 0

    def shows(server: str) -> bool:
        return server.encode() in connect(lb.port("http")).request().body

    wait_for(lambda: shows("127.0.0.1:8001"), lambda: f"the list over https:\n{lb.log}")
    lb.reload()
    consul.put("127.0.0.1:8002")
    wait_for(lambda: shows("127.0.0.1:8002"), lambda: f"the next list:\n{lb.log}")
    assert "asking on a fresh connection" not in lb.log
    assert lb.stop() == 0  # before Consul


def test_a_worker_says_what_garbage_it_was_sent(run_lb, http_backend) -> None:  # type: ignore[no-untyped-def]
    """It has another user, perhaps one who may not read Python's library: nothing is imported then any more."""
    with running_consul() as consul:
        consul.put("127.0.0.1:8001")
        for _ in range(8):
            consul.fault(send(b"\x00\xff\x16\x03\xe2\x80\xa8garbage\r\n\r\n", more=False))
        lb = run_lb(WORKER.replace("@tls@", ""), consul=consul.port)
        wait_for(lambda: " is lost: \\x00" in lb.log, lambda: f"the loss:\n{lb.log}")
        wait_for(lambda: " is back after " in lb.log, lambda: f"the end of it:\n{lb.log}")


def test_the_token_of_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with running_consul() as consul, followers(consul) as make:
        consul.put("127.0.0.1:8001")
        one = make(token="first", token_file=str(file)).wait_names("127.0.0.1:8001")
        assert consul.queries[0].headers["x-consul-token"] == "first"
        file.unlink()
        count = len(consul.queries)
        wait_for(lambda: len(consul.queries) > count + 1, "more queries")
        assert consul.queries[-1].headers["x-consul-token"] == "first"
        file.write_text("second\n")
        wait_for(lambda: consul.queries[-1].headers["x-consul-token"] == "second", "the new token")
        assert not [line for line in one.log.lines if "first" in line[1] or "second" in line[1]]
        assert "first" not in repr(one.reports) + repr(one.puller)
