"""The part of the model that is about ACME (RFC 8555): who issues certificates, and which are wanted of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class AcmeOrder:
    """One certificate, of an `acme_certificate`. Servers that want the same share it."""

    identifiers: tuple[str, ...]  # DNS names in lower case, IP addresses
    key: str  # ecdsa:256, rsa:2048, ...
    file: str  # its private key and chain, once issued: below state_path
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class AcmeIssuer:
    """An `acme_issuer` with what is wanted of it."""

    name: str
    uri: str  # of its directory
    state_path: str  # a directory
    in_memory: bool = False  # state_path off: it goes with lb
    orders: tuple[AcmeOrder, ...] = ()
    account_key: str = "ecdsa:256"  # or rsa:2048, ..., or a file
    challenge: Literal["http-01", "tls-alpn-01"] = "http-01"
    contacts: tuple[str, ...] = ()  # URLs
    eab_kid: str = ""  # external account binding; "": none
    eab_key: str = field(default="", repr=False)  # base64url
    preferred_chain: str = ""
    profile: str = ""
    profile_required: bool = False
    trusted: str = ""  # file; "": the system's
    verify: bool = True
    accept_terms: bool = False
    where: str = field(default="", compare=False)
