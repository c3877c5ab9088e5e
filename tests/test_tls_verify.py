"""Certificates of clients: ssl_verify_client and what belongs to it, in http and stream; a stapled OCSP response."""

from __future__ import annotations

import subprocess

import pytest

from tests.tls_authority import authority, connect_tls, get, read_all

CONFIG = """
http { access_log access.log;
    ssl_certificate @cert@; ssl_certificate_key @key@; ssl_record_engine @engine@;
    server { listen 127.0.0.1:@tls@ ssl; server_name off.test; return 200 "$ssl_client_verify"; }
    server { listen 127.0.0.1:@tls@ ssl; server_name on.test; ssl_verify_client on; ssl_client_certificate @ca@;
        return 200 "$ssl_client_verify"; }
    server { listen 127.0.0.1:@tls@ ssl; server_name optional.test; ssl_verify_client optional;
        ssl_trusted_certificate @ca@;
        return 200 "$ssl_client_verify"; }
    server { listen 127.0.0.1:@tls@ ssl; server_name noca.test; ssl_verify_client optional_no_ca;
        return 200 "$ssl_client_verify"; }
    server { listen 127.0.0.1:@tls@ ssl; server_name crl.test; ssl_verify_client on; ssl_client_certificate @ca@;
        ssl_crl @crl@;
        return 200 "$ssl_client_verify"; }
    server { listen 127.0.0.1:@tls@ ssl; server_name page.test; ssl_verify_client on; ssl_client_certificate @ca@;
        error_page 495 =403 /bad; error_page 496 =401 /none;
        location /bad { return 403 "page: $ssl_client_verify"; } location /none { return 401 "page: none"; } }
}
"""
CASES = [  # name, client, status, a text of the answer
    ("off.test", "client", 200, b"NONE"),
    ("on.test", "", 400, b"No required SSL certificate was sent"),
    ("on.test", "client", 200, b"SUCCESS"),
    ("on.test", "odd", 400, b"The SSL certificate error"),
    ("optional.test", "", 200, b"NONE"),
    ("optional.test", "client", 200, b"SUCCESS"),
    ("optional.test", "odd", 400, b"The SSL certificate error"),
    ("noca.test", "", 200, b"NONE"),
    ("noca.test", "odd", 200, b"FAILED:self-signed certificate"),
    ("crl.test", "client", 200, b"SUCCESS"),
    ("crl.test", "gone", 400, b"The SSL certificate error"),
    ("on.test", "gone", 200, b"SUCCESS"),
    ("page.test", "odd", 403, b"page: FAILED:self-signed certificate"),
    ("page.test", "", 401, b"page: none"),
]


@pytest.mark.parametrize("engine", ["lb", "openssl"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_what_a_server_asks_for(run_lb, engine, version):
    lb = run_lb(CONFIG, engine=engine, **authority().values())
    for name, client, status, text in CASES:
        answer = get(lb.port("tls"), name, client=client, version=version)
        assert answer.startswith(b"HTTP/1.1 %d " % status) and text in answer, (name, client, answer)
    lb.wait_log(r"client sent no required SSL certificate while reading client request headers, client: .*on.test")
    lb.wait_log(
        r"client SSL certificate verify error: \(18:self-signed certificate\) while reading client request headers"
    )
    lb.wait_log(r"client SSL certificate verify error: \(23:certificate revoked\)")


def test_names_of_authorities_are_sent(run_lb):
    lb = run_lb(CONFIG, engine="lb", **authority().values())

    def hello(name: str) -> str:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{lb.port('tls')}", "-servername", name]
        return subprocess.run(command, input="", capture_output=True, text=True, timeout=30).stdout

    assert "Acceptable client certificate CA names\nCN = lb test CA" in hello("on.test")
    assert "No client certificate CA names sent" in hello("optional.test")


def test_another_host_than_the_handshakes(run_lb):
    """421 where one of both verifies clients."""
    lb = run_lb(CONFIG, engine="lb", **authority().values())
    assert get(lb.port("tls"), "off.test", host="on.test").startswith(b"HTTP/1.1 421 ")
    assert get(lb.port("tls"), "on.test", client="client", host="off.test").startswith(b"HTTP/1.1 421 ")


def test_sessions_of_stream(run_lb, raw_backend):
    lb = run_lb(
        """stream { log_format s '$status $ssl_client_verify $ssl_client_serial'; access_log access.log s;
        server { listen 127.0.0.1:@tls@ ssl; ssl_certificate @cert@; ssl_certificate_key @key@;
            ssl_verify_client on; ssl_client_certificate @ca@; return "hello $ssl_client_s_dn"; } }""",
        **authority().values(),
    )
    assert read_all(connect_tls(lb.port("tls"), client="client")) == b"hello CN=client one,OU=a=b,O=Smith\\, Sons,C=DE"
    assert read_all(connect_tls(lb.port("tls"))) == b""
    assert read_all(connect_tls(lb.port("tls"), client="odd")) == b""
    lb.wait_log(r"client sent no required SSL certificate while SSL handshaking, client: 127.0.0.1, server: 127.0.0.1:")
    lb.wait_log(r"client SSL certificate verify error: \(18:self-signed certificate\) while SSL handshaking, client: ")


def test_a_stapled_response(run_lb):
    lb = run_lb(
        """http { server { listen 127.0.0.1:@tls@ ssl; ssl_certificate @cert@; ssl_certificate_key @key@;
            ssl_stapling on; ssl_stapling_file @ocsp@; } }""",
        ocsp=authority().ocsp_response(),
        **authority().values(),
    )
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{lb.port('tls')}", "-status"]
    said = subprocess.run(command, input="", capture_output=True, text=True, timeout=30).stdout
    assert "OCSP Response Status: successful" in said and "Cert Status: good" in said
