"""TLS for the harness: a client's socket that speaks it, and the configuration of any test with `ssl` on its listeners.

With --tls the tests of traffic run over TLS (`make over-tls`): what they say of HTTP and of TCP
sessions must hold there, too.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import ssl
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

ENGINE = ""  # ssl_record_engine of all tests that run over TLS (--tls); "": they do not
PORTS: set[int] = set()  # where clients speak TLS
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@cache
def material() -> tuple[str, str]:
    """Files of a certificate and its key, made once in a process."""
    directory = Path(tempfile.mkdtemp(prefix="lb-tls-"))
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    directory.chmod(0o755)
    return str(certificate), str(key)


def over_tls(text: str) -> str:
    """The same configuration with `ssl` on each TCP address that no server of it is asked on."""
    asked = set(re.findall(r"(?:server\s+|//)[\w.\[\]]*:(\d+)", text))

    def listen(match: re.Match[str]) -> str:
        port = re.match(r"\s*(?:[\w.*\[\]]*:)?(\d+)\b", match[1])
        if port is None or port[1] in asked or "ssl" in match[1].split():
            return match[0]
        PORTS.add(int(port[1]))
        return f"listen {match[1]} ssl;"

    certificate, key = material()
    lines = f"ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_record_engine {ENGINE};"
    text = re.sub(r"(?<![\w$.-])listen\s+([^;{}]+);", listen, text)
    return re.sub(r"(?m)^(\s*(?:http|stream)\s*\{)", rf"\1 {lines}", text)


class TlsSocket:
    """A socket of one connection that speaks TLS; unlike ssl.SSLSocket it can end its own direction alone."""

    def __init__(self, sock: socket.socket, version: str = "1.3") -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = VERSIONS[version]
        self.raw = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._lock = threading.RLock()  # a test may send and receive at once
        self._step(self._tls.do_handshake)

    def _step(self, call, *arguments):  # type: ignore[no-untyped-def]
        while True:
            try:
                with self._lock:
                    result = call(*arguments)
                    self._flush()
                return result
            except ssl.SSLWantReadError:
                with self._lock:
                    self._flush()
                data = self.raw.recv(65536)
            with self._lock:
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()

    def _flush(self) -> None:
        if self._out.pending:
            self.raw.sendall(self._out.read())

    def sendall(self, data: bytes) -> None:
        for at in range(0, len(data), 1 << 16):
            self._step(self._tls.write, data[at : at + (1 << 16)])

    def send(self, data: bytes) -> int:
        self.sendall(data)
        return len(data)

    def recv(self, count: int) -> bytes:
        try:
            got: bytes = self._step(self._tls.read, count)
            return got
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def shutdown(self, how: int) -> None:
        """close_notify and FIN; nothing where the other side has left already."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._flush()
        try:
            self.raw.shutdown(how)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self.raw, name)
