"""The part of the model that is about TLS."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import Literal


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain, and where its key is. The key itself is beside the model: it must be in no text of it."""

    file: str
    key_file: str
    chain: tuple[bytes, ...]  # DER, the server's own first
    key_digest: bytes  # SHA-256 of the key's DER: another key is another certificate


@dataclass(frozen=True, slots=True)
class SessionCache:
    """ssl_session_cache. A zone is known by name and size; one of `builtin` has no name, and is each worker's own."""

    kind: Literal["off", "none", "builtin", "shared"] = "none"
    name: str = ""
    size: int = 0  # bytes


_NOT_OF_SESSIONS = {  # what may change, or differ on another machine, while sessions stay good
    "certificates",
    "buffer_size",
    "handshake_timeout_ms",
    "record_engine",
    "ciphers",
    "prefer_server_ciphers",
    "groups",
    "protocols",
    "session_cache",
    "session_timeout_s",
    "session_tickets",
    "ticket_keys",
    "early_data",
    "conf_commands",
    "dh_params",
}


@dataclass(frozen=True, slots=True)
class TlsServer:
    """What a server says of TLS to its clients. Equal ones share an SSL_CTX."""

    certificates: tuple[Certificate, ...] = ()
    protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ciphers: str = "HIGH:!aNULL:!MD5"
    prefer_server_ciphers: bool = False
    groups: str = ""  # ssl_ecdh_curve; "": OpenSSL's own
    buffer_size: int = 16 << 10
    handshake_timeout_ms: int = 60_000
    verify_client: Literal["off", "on", "optional", "optional_no_ca"] = "off"
    reject_handshake: bool = False
    session_cache: SessionCache = SessionCache()
    session_timeout_s: int = 300
    session_tickets: bool = True
    ticket_keys: tuple[str, ...] = ()  # files; the first encrypts; (): the master's own ring
    early_data: bool = False
    alpn: tuple[str, ...] = ()
    dh_params: bytes = b""  # PEM
    conf_commands: tuple[tuple[str, str, bytes], ...] = ()  # name, value, SHA-256 of the file that it names, or empty
    record_engine: Literal["openssl", "lb"] = "lb"

    def session_context(self) -> bytes:
        """32 bytes that its sessions are bound to: its certificates, and whatever says who may come in."""
        leaves = [certificate.chain[0] for certificate in self.certificates]
        rest = [(one.name, getattr(self, one.name)) for one in fields(self) if one.name not in _NOT_OF_SESSIONS]
        return hashlib.sha256(repr((leaves, rest)).encode()).digest()


@dataclass(slots=True)
class TlsKeys:
    """Private keys of Config.tls, as DER; they never leave the process that reads them but by `Compiled`."""

    by_digest: dict[bytes, bytes] = field(default_factory=dict, repr=False)
