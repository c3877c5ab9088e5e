"""Early data, ALPN, commands, DH parameters, several certificates: what a client gets of each."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.backend import HttpBackend, Reply
from tests.harness.lb import Lb
from tests.harness.wait import wait_for
from tests.harness.world import World
from tests.tls_visits import chained, client_context, openssl, self_signed, visit

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
PAIR = "ssl_certificate @dir@/a.test.crt; ssl_certificate_key @dir@/a.test.key;"
HTTP = (
    """http { access_log off; server { listen 127.0.0.1:@http@ ssl; server_name a.test; %s @settings@
    location / { return 200 "early=$ssl_early_data uri=$uri"; }
    location /up/ { proxy_pass http://127.0.0.1:@up@; proxy_set_header Early-Data $ssl_early_data; } } @more@ }"""
    % PAIR
)
STREAM = "stream { server { listen 127.0.0.1:@http@ ssl; %s @settings@ return ok; } }" % PAIR


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    for kind in ("ecdsa", "rsa", "ed25519"):
        self_signed(directory, f"{kind}.test", kind)
    for kind in ("ecdsa", "rsa"):
        chained(directory, f"chain-{kind}", kind)
    self_signed(directory, "a.test", "ecdsa")
    self_signed(directory, "old.test", "rsa")
    return directory


@pytest.fixture
def start(run_lb: Callable[..., Lb], certificates: Path) -> Callable[..., Lb]:
    def run(settings: str = "", text: str = HTTP, more: str = "", up: int = 1) -> Lb:
        return run_lb(text, settings=settings, dir=certificates, more=more, up=up)

    return run


def s_client(lb: Lb, *arguments: object, text: bytes = b"") -> bytes:
    return openssl("s_client", "-connect", f"127.0.0.1:{lb.port('http')}", *arguments, text=text)


# ---- early data


def early(lb: Lb, tmp_path: Path, request: bytes, *, name: str = "a.test") -> bytes:
    """A session, and then this request in early data of the next connection."""
    session, data = tmp_path / "session", tmp_path / "early"
    get = b"GET /first HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % name.encode()
    s_client(lb, "-tls1_3", "-servername", name, "-sess_out", session, "-ign_eof", text=get)
    data.write_bytes(request)
    return s_client(
        lb, *["-tls1_3", "-servername", name, "-sess_in", session, "-early_data", data, "-ign_eof"], text=get
    )


GET = b"GET /early HTTP/1.1\r\nHost: a.test\r\n\r\n"


def test_a_request_in_early_data_is_answered_before_the_handshake_is_done(start, tmp_path: Path) -> None:
    lb = start("ssl_early_data on;")
    said = early(lb, tmp_path, GET)
    assert b"Early data was accepted" in said
    assert b"early=1 uri=/early" in said and b"early= uri=/first" in said
    assert said.index(b"early=1 uri=/early") < said.index(b"early= uri=/first")


def test_the_server_is_told_and_may_refuse(start, http_backend: Callable[..., HttpBackend], tmp_path: Path) -> None:
    seen: list[str | None] = []

    def handler(request):
        seen.append(request.header("early-data"))
        return Reply(425 if request.header("early-data") else 200, body=b"body")

    backend = http_backend(handler)
    lb = start("ssl_early_data on;", up=backend.port)
    said = early(lb, tmp_path, GET.replace(b"/early", b"/up/x"))
    assert b"HTTP/1.1 425" in said and seen == ["1"]
    assert b"early= uri=/first" in said


@pytest.mark.parametrize("settings", ["ssl_early_data on;", "ssl_early_data on; ssl_record_engine openssl;"])
def test_a_body_over_many_early_records_and_a_large_answer(start, http_backend, tmp_path: Path, settings: str) -> None:
    backend = http_backend(lambda request: Reply(200, body=request.body * 40))
    lb = start(settings, up=backend.port)
    body = b"0123456789abcdef" * 700
    head = b"POST /up/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(body)
    said = early(lb, tmp_path, head + body)
    assert b"Early data was accepted" in said
    assert said.count(b"0123456789abcdef") >= 700 * 40 - 100  # s_client writes its own lines between
    assert b"early= uri=/first" in said


def test_early_data_that_was_recorded_is_only_early_data(start, http_backend, tmp_path: Path) -> None:
    """Whoever sends the first bytes again is no client: the server is told each time, and lb goes on."""
    seen: list[tuple[str, str | None]] = []

    def handler(request):
        seen.append((request.target, request.header("early-data")))
        return Reply(200, body=b"body")

    lb = start("ssl_early_data on;", up=http_backend(handler).port)
    request = GET.replace(b"/early", b"/up/x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorded: list[bytes] = []

        def record() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(2)
                with contextlib.suppress(TimeoutError):
                    while piece := sock.recv(65536):
                        recorded.append(piece)

        recorder = threading.Thread(target=record)
        recorder.start()
        session, data = tmp_path / "session", tmp_path / "early"
        get = b"GET /first HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        s_client(lb, "-tls1_3", "-sess_out", session, "-ign_eof", text=get)
        data.write_bytes(request)
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        openssl("s_client", "-connect", address, "-tls1_3", "-sess_in", session, "-early_data", data)
        recorder.join()
    for number in range(1, 4):
        with socket.create_connection(("127.0.0.1", lb.port("http")), 30) as sock:
            sock.sendall(b"".join(recorded))
            wait_for(lambda number=number: len(seen) == number)
    assert seen == [("/up/x", "1")] * 3
    with socket.create_connection(("127.0.0.1", lb.port("http")), 30) as sock:
        sock.sendall(b"".join(recorded)[:-20])  # cut inside the early record
    assert visit(lb.port("http"), client_context()).body == b"early= uri=/"


def test_early_data_of_a_name_only(start, tmp_path: Path) -> None:
    more = (
        "server { listen 127.0.0.1:@http@ ssl; server_name b.test; %s ssl_early_data on; return 200 $ssl_early_data; }"
    )
    lb = start("", text=HTTP.replace("@more@", more % PAIR))
    assert b"Early data was accepted" not in early(lb, tmp_path, GET)
    said = early(lb, tmp_path, GET.replace(b"a.test", b"b.test"), name="b.test")
    assert b"Early data was accepted" in said and b"\r\n\r\n1" in said


def test_plain_handshakes_beside_early_data(start) -> None:
    lb = start("ssl_early_data on;")
    for version in (V12, V13):
        assert visit(lb.port("http"), client_context(version)).body == b"early= uri=/"


# ---- ALPN


@pytest.mark.parametrize(
    ("text", "settings", "asked", "got"),
    [
        (HTTP, "", ("h2", "http/1.1"), "http/1.1"),
        (HTTP, "", ("http/1.0", "http/1.1"), "http/1.1"),
        (HTTP, "", ("http/0.9",), "http/0.9"),
        (HTTP, "", (), None),
        (STREAM, "ssl_alpn one two;", ("two", "one"), "one"),
        (STREAM, "", ("two", "one"), None),
    ],
)
def test_alpn(start, text: str, settings: str, asked: tuple[str, ...], got: str | None) -> None:
    lb = start(settings, text=text)
    assert visit(lb.port("http"), client_context(alpn=asked)).alpn == got


@pytest.mark.parametrize(("text", "settings"), [(HTTP, ""), (STREAM, "ssl_alpn one two;")])
def test_no_common_protocol_is_alert_120(start, text: str, settings: str) -> None:
    lb = start(settings, text=text)
    assert b"alert number 120" in s_client(lb, "-alpn", "h3,spdy")


# ---- commands


def test_commands_come_last_and_hold_for_each_name(start) -> None:
    more = (
        "server { listen 127.0.0.1:@http@ ssl; server_name b.test; %s ssl_protocols TLSv1.2 TLSv1.3; "
        "ssl_conf_command MinProtocol TLSv1.3; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256; "
        "ssl_conf_command Groups P-384; return 200 b; }"
    )
    lb = start("ssl_conf_command MaxProtocol TLSv1.2;", text=HTTP.replace("@more@", more % PAIR))
    assert visit(lb.port("http"), client_context(), name="a.test").cipher.startswith("ECDHE")
    assert visit(lb.port("http"), client_context(), name="b.test").cipher == "TLS_CHACHA20_POLY1305_SHA256"
    assert b"Server Temp Key: ECDH, secp384r1" in s_client(lb, "-servername", "b.test")
    with pytest.raises(ssl.SSLError):
        visit(lb.port("http"), client_context(V12), name="b.test")
    with pytest.raises(ssl.SSLError):
        visit(lb.port("http"), client_context(V13), name="a.test")


def test_prioritize_chacha(start) -> None:
    lb = start("ssl_prefer_server_ciphers on; ssl_conf_command Options PrioritizeChaCha;")
    first = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384"
    assert b"Cipher is ECDHE-ECDSA-CHACHA20" in s_client(lb, "-tls1_2", "-cipher", first)
    turned = ":".join(reversed(first.split(":")))
    assert b"Cipher is ECDHE-ECDSA-AES256" in s_client(lb, "-tls1_2", "-cipher", turned)


# ---- DH


def test_dh_parameters(start, tmp_path: Path) -> None:
    params = tmp_path / "dh.pem"
    params.write_bytes(openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"))
    pair = PAIR.replace("a.test", "old.test")
    lb = start(f"ssl_dhparam {params};", text=HTTP.replace(PAIR, pair))
    said = s_client(lb, "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256")
    assert b"Cipher is DHE-RSA-AES128-GCM-SHA256" in said and b"DH, 2048 bits" in said
    lb.reload(HTTP.replace(PAIR, pair), settings="")
    assert b"handshake failure" in s_client(lb, "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256")


# ---- certificates


def pairs(*names: str) -> str:
    return "".join(f"ssl_certificate @dir@/{name}.crt; ssl_certificate_key @dir@/{name}.key; " for name in names)


def test_the_client_chooses_the_kind_of_certificate(start) -> None:
    lb = start(text=HTTP.replace(PAIR, pairs("ecdsa.test", "rsa.test", "ed25519.test")))
    for algorithms, name in (("ECDSA+SHA256", "ecdsa"), ("rsa_pss_rsae_sha256", "rsa"), ("ed25519", "ed25519")):
        for version in ("-tls1_2", "-tls1_3"):
            assert f"CN = {name}.test".encode() in s_client(lb, version, "-sigalgs", algorithms), (algorithms, version)


def test_each_kind_has_its_own_chain(start, certificates: Path) -> None:
    lb = start(text=HTTP.replace(PAIR, pairs("chain-ecdsa", "chain-rsa")))
    for algorithms, kind in (("ECDSA+SHA256", "ecdsa"), ("rsa_pss_rsae_sha256", "rsa")):
        said = s_client(lb, "-sigalgs", f"{algorithms}:RSA+SHA256", "-CAfile", certificates / f"chain-{kind}.ca")
        subjects = re.findall(rb"^ *\d s:CN = (.*)$", said, re.MULTILINE)
        assert subjects == [b"chain-%s" % kind.encode(), b"chain-%s middle" % kind.encode()]
        assert b"Verify return code: 0 (ok)" in said


def test_ed25519_alone(start) -> None:
    lb = start(text=HTTP.replace(PAIR, pairs("ed25519.test")))
    assert visit(lb.port("http"), client_context(V13)).body == b"early= uri=/"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ssl_session_ticket_key /no/file;", 'open() "/no/file" failed (2: No such file or directory)'),
        ("ssl_session_ticket_key @short@;", '"@short@" must be 48 or 80 bytes'),
        (
            "ssl_conf_command Nope x;",
            'SSL_CONF_cmd("Nope", "x") failed (SSL: error:0A000182:SSL routines::unknown cmd name',
        ),
        ("ssl_conf_command Options Nope;", 'SSL_CONF_cmd("Options", "Nope") failed (SSL: error:0A000180:'),
        ("ssl_conf_command Ciphersuites NOPE;", 'SSL_CONF_cmd("Ciphersuites", "NOPE") failed (SSL: error:0A0000B9:'),
        ("ssl_dhparam /no/file;", 'BIO_new_file("/no/file") failed ('),
        ("ssl_dhparam @short@;", 'PEM_read_bio_DHparams("@short@") failed (SSL: error:'),
    ],
)
@pytest.mark.parametrize("where", ["http", "stream"])
def test_what_openssl_or_a_file_refuses_has_its_line(
    world: World, certificates: Path, line: str, said: str, where: str
) -> None:
    lb = world.new_lb()
    short = lb.directory / "short"
    short.write_bytes(b"short")
    text = {"http": HTTP, "stream": STREAM}[where].replace("@settings@", f"\n{line}\n")
    lb.write(text.replace("@more@", ""), dir=certificates, up=1, short=short)
    number = 1 + lb.file.read_text().split("\n").index(line.replace("@short@", str(short)))
    run = lb.command("-t")
    assert run.returncode == 1
    assert f"[emerg] {said.replace('@short@', str(short))}" in run.stderr
    assert f" in {lb.file}:{number}" in run.stderr
