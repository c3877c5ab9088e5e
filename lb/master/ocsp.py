"""An OCSP response is asked for (RFC 6960, appendix A) and looked at, in a child of the master, which may wait.

The child is what a worker is to the master: it has the worker's user, and nothing that it says is believed to be more
than JSON.  What a responder sends is bounded in bytes; the master bounds the time.
"""

from __future__ import annotations

import base64
import http.client
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from lb import _fast
from lb.config.tls_stapling import target
from lb.process.identity import Identity

MOST: Final = 64 << 10  # bytes of a response; they have 500 to 3,000
WITHIN_S: Final = 60.0  # nginx's, though that is for each step
ERROR_MOST: Final = 500  # characters
TYPE: Final = "application/ocsp-response"
GOOD: Final = "good"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked, and who may sign the answer. All certificates are DER."""

    file: str  # of the certificate: for the log
    chain: tuple[bytes, ...]
    issuer: bytes
    url: str
    verify: bool
    trusted: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`der` is good until `until` (Unix seconds; 0: it does not say), or `error` says why there is none."""

    der: bytes = b""
    until: int = 0
    error: str = ""


class Refused(Exception):
    """What the responder sent is of no use."""


def fetch(wanted: Wanted, identity: Identity | None) -> dict[str, Any]:
    """In the child. What `read` understands."""
    if identity is not None:
        identity.assume()
    try:
        return _fetched(wanted)
    except (Refused, ValueError, OSError, http.client.HTTPException) as error:
        return {"error": _why(error)}


def read(said: object) -> Answer:
    """Of what a child says: whatever it is."""
    if not isinstance(said, dict):
        return Answer(error="no answer")
    try:
        if said.get("error"):
            return Answer(error="".join(c if c.isprintable() else "?" for c in str(said["error"])[:ERROR_MOST]))
        return Answer(base64.b64decode(said["der"], validate=True), int(said["until"]))
    except (KeyError, TypeError, ValueError):
        return Answer(error="no answer")


def _fetched(wanted: Wanted) -> dict[str, Any]:
    der = _asked(wanted.url, _fast.tls_ocsp_request(wanted.chain[0], wanted.issuer))
    status, until = _fast.tls_ocsp_status(der, wanted.chain, wanted.issuer, wanted.verify, wanted.trusted, wanted.crls)
    if status != GOOD:
        raise Refused(f'certificate status "{status}" in the OCSP response')
    return {"der": base64.b64encode(der).decode(), "until": until}


def _asked(url: str, request: bytes) -> bytes:
    """By GET, as nginx: caches between us and the responder may answer."""
    host, port, path = target(url)
    connection = http.client.HTTPConnection(host, port, timeout=WITHIN_S)
    try:
        path += ("" if path.endswith("/") else "/") + quote(base64.b64encode(request).decode(), safe="")
        connection.request("GET", path, headers={"Connection": "close", "Accept": TYPE})
        answer = connection.getresponse()
        if answer.status != 200:
            raise Refused(f"OCSP responder answered {answer.status}")
        kind = answer.headers.get("Content-Type", "")
        if kind.partition(";")[0].strip().lower() != TYPE:
            raise Refused(f'OCSP responder sent invalid "Content-Type" header: "{kind[:80]}"')
        if (answer.length or 0) > MOST:
            raise Refused("OCSP responder sent a too large response")
        body = answer.read(MOST + 1)
        if len(body) > MOST:
            raise Refused("OCSP responder sent a too large response")
        if answer.length:
            raise Refused("OCSP responder prematurely closed connection")
        return body
    finally:
        connection.close()


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "OCSP responder timed out"
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "OCSP responder prematurely closed connection"
    if isinstance(error, http.client.HTTPException):
        return "OCSP responder sent invalid response"
    if isinstance(error, socket.gaierror):
        return f"OCSP responder could not be resolved ({error.errno}: {error.strerror})"
    if isinstance(error, OSError) and error.errno is not None:
        return f"OCSP responder cannot be asked ({error.errno}: {error.strerror})"
    return str(error)
