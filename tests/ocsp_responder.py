"""An OCSP responder for tests that answers as it is told: well, or badly. Answers are made here, signed by openssl.

Responder(answer): `answer(handler)` sends whatever it likes; `good(...)`, `Der` and others below make what it may send
"""

from __future__ import annotations

import base64
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from tests.certificates import Pair

Answer = Callable[["Handler"], None]

SHA1 = bytes.fromhex("06052b0e03021a0500")
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
BASIC = bytes.fromhex("06092b0601050507300101")


def tlv(tag: int, *parts: bytes) -> bytes:
    """DER: a value of this tag."""
    body = b"".join(parts)
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x80 + (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8)
    return bytes([tag]) + size + body


def items(der: bytes) -> list[tuple[int, bytes, bytes]]:
    """Of a SEQUENCE: tag, body, whole of each."""
    found, at = [], 0
    while at < len(der):
        n, begin = der[at + 1], at + 2
        if n & 0x80:
            begin += n & 0x7F
            n = int.from_bytes(der[at + 2 : begin])
        found.append((der[at], der[begin : begin + n], der[at : begin + n]))
        at = begin + n
    return found


def _time(at: float) -> bytes:
    return tlv(0x18, time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at)).encode())


def _signed(key: Path, data: bytes) -> bytes:
    command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    return subprocess.run(command, input=data, check=True, capture_output=True).stdout


def make(
    request: bytes, signer: Pair, *, since: float = -60, until: float | None = 3600, status: int = 0x80, serial: int = 0
) -> bytes:
    """An OCSPResponse to an OCSPRequest (DER). `since`, `until`: from now; `serial`: of another certificate; `status`:
    0x80 good, 0xA1 revoked, 0x82 unknown. The signer's certificate is in it."""
    now = time.time()
    certificate = signer.der()
    of = items(items(items(items(items(request)[0][1])[0][1])[0][1])[0][1])[0]
    algorithm, name, key, number = (whole for _, _, whole in items(of[1]))
    if serial:
        number = tlv(2, bytes([serial]))
    cert_status = tlv(0xA1, _time(now - 60)) if status == 0xA1 else tlv(status)
    one = [tlv(0x30, algorithm, name, key, number), cert_status, _time(now + since)]
    if until is not None:
        one.append(tlv(0xA0, _time(now + until)))
    spki = [whole for _, _, whole in items(items(items(certificate)[0][1])[0][1])][6]
    bits = items(items(spki)[0][1])[1][1][1:]
    data = tlv(0x30, tlv(0xA2, tlv(4, sha1(bits).digest())), _time(now), tlv(0x30, tlv(0x30, *one)))
    basic = tlv(0x30, data, ECDSA_SHA256, tlv(3, b"\0", _signed(signer.key, data)), tlv(0xA0, tlv(0x30, certificate)))
    return tlv(0x30, tlv(0x0A, b"\0"), tlv(0xA0, tlv(0x30, BASIC, tlv(4, basic))))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        responder: Responder = self.server.responder  # type: ignore[attr-defined]
        self.asked = base64.b64decode(unquote(self.path.rpartition("/")[2]))
        with responder.changed:
            responder.requests.append(self.asked)
            responder.changed.notify_all()
        try:
            responder.answer(self)
        except OSError:  # it does not want to hear more
            pass

    def asker(self) -> int:
        """The user of the process that asks."""
        host, port = self.client_address[:2]
        local = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return next(int(row[7]) for row in rows if row[1] == local)

    def give(self, body: bytes, kind: str = "application/ocsp-response", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@dataclass
class Responder:
    """Listens from its making on."""

    answer: Answer
    requests: list[bytes] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.responder = self  # type: ignore[attr-defined]
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/status"

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
