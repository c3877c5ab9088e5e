"""The part of the model that is about TLS."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import Literal

from lb.model.values import Value

Stamp = tuple[int, ...]  # of a file: device, inode, mtime and ctime in ns, size; (): it is not there


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says of itself (X.509). Times are Unix seconds."""

    names: tuple[str, ...] = ()  # DNS and IP of its SAN, else its CN; lower case
    subject: str = ""  # RFC 2253, as the issuer
    issuer: str = ""
    serial: str = ""  # hexadecimal
    not_before: int = 0
    not_after: int = 0
    key_type: str = ""  # RSA, EC, ED25519, ...
    key_bits: int = 0
    signed_with: str = ""  # the hash of its signature: SHA256, ...; "": it has none of its own
    self_signed: bool = False
    fingerprint: str = ""  # SHA-256 of its DER, hexadecimal


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain, and where its key is. The key is beside the model: in no text of it."""

    file: str
    key_file: str
    chain: tuple[bytes, ...]  # DER, the server's own first
    key_digest: bytes  # SHA-256 of the key's DER: another key is another certificate
    facts: CertificateFacts = field(default=CertificateFacts(), compare=False, repr=False)
    password_file: str = field(default="", compare=False, repr=False)
    stamps: tuple[Stamp, ...] = field(default=(), compare=False, repr=False)  # of both files, as they were read
    where: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SessionCache:
    """ssl_session_cache. A zone is known by name and size; one of `builtin` has no name, and is each worker's own."""

    kind: Literal["off", "none", "builtin", "shared"] = "none"
    name: str = ""
    size: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class Staple:
    """Where the OCSP response of a certificate comes from (ssl_stapling)."""

    certificate: int  # place in TlsServer.certificates
    issuer: bytes  # DER
    url: str  # of the responder


@dataclass(frozen=True, slots=True)
class Stapling:
    """ssl_stapling without a file: responses are fetched. A certificate that is not in `staples` has none."""

    responder: str = ""  # ssl_stapling_responder; "": the one that each certificate names
    verify: bool = False  # ssl_stapling_verify
    staples: tuple[Staple, ...] = ()


_NOT_OF_SESSIONS = {  # what may change, or differ on another machine, while sessions stay good
    "certificates",
    "buffer_size",
    "handshake_timeout_ms",
    "record_engine",
    "watch",
    "awaited",
    "lazy_cache",
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
    "ocsp_response",
    "stapling",
    "alpn",  # a handshake that resumes agrees on it anew (RFC 7301 section 3.1)
}
_OF_CLIENTS = {"verify_depth", "client_authorities", "trusted", "crls"}  # who may come in, where that is asked


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
    verify_depth: int = 1
    client_authorities: tuple[bytes, ...] = ()  # DER, of ssl_client_certificate: their names are sent
    trusted: tuple[bytes, ...] = ()  # DER, of ssl_trusted_certificate
    crls: tuple[bytes, ...] = ()  # DER of lists of revoked certificates
    ocsp_response: bytes = b""  # DER, of ssl_stapling_file
    stapling: Stapling | None = None
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
    watch: bool = False  # ssl_certificate_watch, and where there is an acme_certificate
    awaited: tuple[Certificate, ...] = ()  # of acme_certificate, not issued yet: files that will come
    lazy: tuple[tuple[Value, Value], ...] = ()  # in place of `certificates`: files that variables name, and their keys
    lazy_cache: tuple[int, int, int] | None = None  # ssl_certificate_cache: max, inactive and valid in ms

    def session_context(self) -> bytes:
        """32 bytes that its sessions are bound to: its certificates, and whatever says who may come in."""
        leaves = [certificate.chain[0] for certificate in self.certificates]
        apart = _NOT_OF_SESSIONS if self.verify_client != "off" else _NOT_OF_SESSIONS | _OF_CLIENTS
        rest = [(one.name, getattr(self, one.name)) for one in fields(self) if one.name not in apart]
        return hashlib.sha256(repr((leaves, rest)).encode()).digest()


@dataclass(frozen=True, slots=True)
class TlsClient:
    """What a location, or a server of stream{}, says of TLS to its servers. Equal ones share an SSL_CTX."""

    certificates: tuple[Certificate, ...] = ()  # one, or none
    protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ciphers: str = "DEFAULT"
    verify: bool = False
    verify_depth: int = 1
    trusted: tuple[bytes, ...] = ()  # DER of authorities
    crls: tuple[bytes, ...] = ()  # DER of lists of revoked certificates
    session_reuse: bool = True
    conf_commands: tuple[tuple[str, str, bytes], ...] = ()  # as TlsServer's
    alpn: tuple[str, ...] = ()
    key_log: str = ""  # path
    lazy: tuple[tuple[Value, Value], ...] = ()  # one or none, in place of `certificates`: files that variables name
    lazy_cache: tuple[int, int, int] | None = None
    in_stream: bool = False
