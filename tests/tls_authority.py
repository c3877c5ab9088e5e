"""An authority, certificates of it and of a stranger, its list of revoked ones: files for tests."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.harness.tls_socket import VERSIONS

NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
SUBJECT = "/C=DE/O=Smith, Sons/OU=a=b/CN=client one"


class Authority:
    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="lb-ca-"))
        self.directory.chmod(0o755)
        for name, subject in (("ca", "/CN=lb test CA"), ("odd", "/CN=odd")):
            self.run(f"req -x509 {NEW_KEY} -days 30 -keyout {name}.key -out {name}.pem", subject)
        for name, subject in (("client", SUBJECT), ("gone", "/CN=gone"), ("server", "/CN=localhost")):
            self.run(f"req {NEW_KEY} -keyout {name}.key -out {name}.csr", subject)
        (self.directory / "index.txt").write_text("")
        (self.directory / "serial").write_text("0A7F\n")
        (self.directory / "ca.cnf").write_text(
            "[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ncertificate=ca.pem\n"
            "private_key=ca.key\n"
            "default_md=sha256\ndefault_days=20\ndefault_crl_days=20\npolicy=p\nunique_subject=no\n"
            "[p]\ncountryName=optional\norganizationName=optional\norganizationalUnitName=optional\ncommonName=supplied\n"
        )
        for name in ("client", "gone", "server"):
            self.run(f"ca -config ca.cnf -batch -notext -in {name}.csr -out {name}.pem")
        self.run("ca -config ca.cnf -revoke gone.pem")
        self.run("ca -config ca.cnf -gencrl -out crl.pem")

    def run(self, command: str, subject: str = "", check: bool = True) -> str:
        words = ["openssl", *command.split(), *(["-subj", subject] if subject else [])]
        return subprocess.run(words, cwd=self.directory, check=check, capture_output=True, text=True).stdout

    def file(self, name: str) -> str:
        return str(self.directory / name)

    def ocsp_response(self) -> str:
        """Of the server's certificate, in DER."""
        who = "-rsigner ca.pem -rkey ca.key -CA ca.pem -issuer ca.pem -cert server.pem"
        self.run(f"ocsp -index index.txt {who} -respout r.der -ndays 5")
        return self.file("r.der")

    def values(self) -> dict[str, str]:
        """For run_lb: the server's pair and the authority."""
        names = {"cert": "server.pem", "key": "server.key", "ca": "ca.pem", "crl": "crl.pem"}
        return {value: self.file(name) for value, name in names.items()}


@cache
def authority() -> Authority:
    return Authority()


def connect_tls(
    port: int, name: str = "", client: str = "", version: str = "1.3", timeout: float = 30
) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = VERSIONS[version]
    if client:
        context.load_cert_chain(authority().file(f"{client}.pem"), authority().file(f"{client}.key"))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout), server_hostname=name or None)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while more := sock.recv(65536):
            data += more
    return data


def get(port: int, name: str, target: str = "/", client: str = "", version: str = "1.3", host: str = "") -> bytes:
    """The whole answer to one request."""
    with connect_tls(port, name, client, version) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n\r\n".encode())
        return read_all(sock)
