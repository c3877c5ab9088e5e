"""Certificates made by openssl, and visits of a client of TLS that keeps its session."""

from __future__ import annotations

import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.harness.wait import DEADLINE

KINDS = {
    "ecdsa": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    "rsa": ["-newkey", "rsa:2048"],
    "ed25519": ["-newkey", "ed25519"],
}


def openssl(*arguments: object, text: bytes = b"") -> bytes:
    """stdout and stderr of a command of openssl."""
    run = subprocess.run(
        ["openssl", *map(str, arguments)], input=text, capture_output=True, timeout=DEADLINE, check=False
    )
    return run.stdout + run.stderr


def self_signed(directory: Path, name: str, kind: str = "ecdsa") -> None:
    """NAME.crt and NAME.key."""
    made = directory / f"{name}.crt"
    openssl(
        *["req", "-x509", *KINDS[kind], "-nodes", "-days", "30", "-subj", f"/CN={name}"],
        *["-addext", f"subjectAltName=DNS:{name}", "-keyout", directory / f"{name}.key", "-out", made],
    )
    assert made.exists()


def chained(directory: Path, name: str, kind: str) -> None:
    """NAME.crt with its intermediate, NAME.key, and NAME.ca."""
    root, middle = directory / f"{name}.ca", directory / f"{name}.middle"
    openssl(
        *["req", "-x509", *KINDS[kind], "-nodes", "-days", "30", "-subj", f"/CN={name} root"],
        *["-keyout", f"{root}.key", "-out", root],
    )
    extensions = directory / "middle.ext"
    extensions.write_text("basicConstraints=critical,CA:TRUE\n")
    _signed(directory, kind, f"{name} middle", middle, root, ["-extfile", extensions])
    leaf = directory / f"{name}.leaf"
    _signed(directory, kind, name, leaf, middle, [])
    (directory / f"{name}.crt").write_bytes(leaf.read_bytes() + middle.read_bytes())
    (directory / f"{name}.key").write_bytes(Path(f"{leaf}.key").read_bytes())


def _signed(directory: Path, kind: str, subject: str, out: Path, issuer: Path, more: list[object]) -> None:
    request = directory / "request.csr"
    openssl("req", *KINDS[kind], "-nodes", "-subj", f"/CN={subject}", "-keyout", f"{out}.key", "-out", request)
    command = [
        "x509",
        "-req",
        "-days",
        "30",
        "-CAcreateserial",
        "-in",
        request,
        "-CA",
        issuer,
        "-CAkey",
        f"{issuer}.key",
    ]
    openssl(*command, "-out", out, *more)
    assert out.exists() and out.stat().st_size


@dataclass
class Visit:
    answer: bytes
    session: ssl.SSLSession | None
    resumed: bool
    cipher: str
    alpn: str | None

    @property
    def body(self) -> bytes:
        return self.answer.partition(b"\r\n\r\n")[2]


def client_context(
    version: ssl.TLSVersion | None = None, *, tickets: bool = True, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if version is not None:
        made.minimum_version = made.maximum_version = version
    if not tickets:
        made.options |= ssl.OP_NO_TICKET
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


def visit(
    port: int,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    *,
    name: str | None = None,
    target: str = "/",
) -> Visit:
    """One request on a connection of its own."""
    plain = socket.create_connection(("127.0.0.1", port), DEADLINE)
    with context.wrap_socket(plain, server_hostname=name, session=session) as sock:
        host = name or "x"
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        cipher = sock.cipher()
        return Visit(
            answer,
            sock.session,
            bool(sock.session_reused),
            cipher[0] if cipher else "",
            sock.selected_alpn_protocol(),
        )
