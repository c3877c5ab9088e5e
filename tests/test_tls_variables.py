"""Variables of TLS: the same values as nginx's, in http; what they are where there is no TLS."""

from __future__ import annotations

import pytest

from tests.tls_authority import authority, connect_tls, get, read_all

NAMES = [
    "protocol",
    "cipher",
    "ciphers",
    "curve",
    "curves",
    "session_reused",
    "server_name",
    "client_verify",
    "client_cert",
    "client_escaped_cert",
    "client_raw_cert",
    "client_s_dn",
    "client_i_dn",
    "client_s_dn_legacy",
    "client_i_dn_legacy",
    "client_serial",
    "client_fingerprint",
    "client_v_start",
    "client_v_end",
    "client_v_remain",
    "early_data",
]
CONFIG = """
http { access_log access.log;
    ssl_certificate @cert@; ssl_certificate_key @key@; ssl_protocols TLSv1.2 TLSv1.3;
    server { listen 127.0.0.1:@http@; listen 127.0.0.1:@tls@ ssl; server_name A.test;
        ssl_verify_client optional_no_ca; ssl_client_certificate @ca@;
        location / { return 200 "@all@"; }
        location /scheme { return 200 "$scheme [$https] $server_port"; }
        location /moved { return 301 /x; } }
}
"""
ALL = "\\n".join(f"{name}=$ssl_{name};" for name in NAMES)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("client", ["", "client", "odd"])
def test_as_nginx(pair, version, client):
    text = CONFIG.replace("listen 127.0.0.1:@http@; listen 127.0.0.1:@tls@ ssl;", "listen 127.0.0.1:@http@ ssl;")
    both = pair(text, all=ALL, **authority().values())
    ports = [one for one in (both.lb.port("http"), both.nginx) if one is not None]
    answers = [get(port, "a.test", client=client, version=version).partition(b"\r\n\r\n")[2] for port in ports]
    ours = answers[0]
    assert ours == answers[-1] and b"protocol=TLSv%s;" % version.encode() in ours
    if client == "client":
        assert b"client_serial=0A7F;" in ours and b"client_verify=SUCCESS;" in ours


def test_without_tls_they_are_empty(run_lb, connect):
    lb = run_lb(CONFIG, all=ALL, **authority().values())
    answer = connect(lb.port("http")).request(target="/")
    assert answer.body.decode().split("\n") == [f"{name}=;" for name in NAMES]
    assert connect(lb.port("http")).request(target="/scheme").body == b"http [] %d" % lb.port("http")


def test_scheme_and_redirects(run_lb):
    lb = run_lb(CONFIG, all=ALL, **authority().values())
    port = lb.port("tls")
    assert get(port, "a.test", "/scheme").endswith(b"https [on] %d" % port)
    assert b"Location: https://a.test:%d/x\r\n" % port in get(port, "a.test", "/moved")
    assert get(port, "a.test", "https://a.test/scheme").endswith(b"https [on] %d" % port)
    assert get(port, "a.test", "HTTPS://a.test/scheme").endswith(b"https [on] %d" % port)
    assert get(port, "a.test", "httpss://a.test/scheme").startswith(b"HTTP/1.1 400 ")


def test_a_target_of_https_without_tls_is_refused(run_lb, connect):
    lb = run_lb(CONFIG, all=ALL, **authority().values())
    assert connect(lb.port("http")).request(target="https://a.test/scheme").status == 400


def test_in_stream(run_lb):
    lb = run_lb(
        """stream { server { listen 127.0.0.1:@tls@ ssl; ssl_certificate @cert@; ssl_certificate_key @key@;
            return "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_curve $ssl_sigalg"; } }""",
        **authority().values(),
    )
    said = read_all(connect_tls(lb.port("tls"), "b.test"))
    assert said.startswith(b"TLSv1.3 b.test . ") and said.endswith(b" ecdsa_secp256r1_sha256")
