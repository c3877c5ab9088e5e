"""One certificate: order -> challenges, answered by every worker -> private key, CSR -> chain."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import time
from collections.abc import Callable
from typing import Any, Final

from acme import challenges, client, crypto_util, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lb.acme.account import Account, Misconfigured, make_key, pem_of
from lb.acme.store import Challenge
from lb.model.acme import AcmeOrder

VALIDATE_WITHIN_S: Final = 120.0  # all names of an order
FINALIZE_WITHIN_S: Final = 90.0
POLL_S: Final = 1.0
ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")  # RFC 8737 section 6.1

Publish = Callable[[list[Challenge]], None]  # they are answered everywhere when it returns
Pause = Callable[[float], None]


class Refused(Exception):
    """The ACME server did not find at our names what it had asked for, or has not said so in time."""


def issue(account: Account, order: AcmeOrder, publish: Publish, pause: Pause) -> bytes:
    """The new private key and the chain, PEM. Raises Refused, and what Account does."""
    acme = account.client()
    key = pem_of(make_key(order.key))
    made = acme.new_order(_csr(key, order), profile=_profile(account, acme))
    asked = [(one, _challenge(account, one)) for one in made.authorizations if not _is_over(one)]
    if asked:
        try:
            publish([_answer(account, one, body) for one, body in asked])
            for _, body in asked:
                acme.answer_challenge(body, challenges.HTTP01Response(key_authorization=_authorization(account, body)))
            _wait(acme, account, [one for one, _ in asked], pause)
        finally:
            publish([])
    done = acme.finalize_order(
        made,
        datetime.datetime.now() + datetime.timedelta(seconds=FINALIZE_WITHIN_S),
        fetch_alternative_chains=bool(account.issuer.preferred_chain),
    )
    return key + _chain(account, done).encode()


def _csr(key: bytes, order: AcmeOrder) -> bytes:
    names = [one for one in order.identifiers if not _is_ip(one)]
    addresses = [ipaddress.ip_address(one) for one in order.identifiers if _is_ip(one)]
    return crypto_util.make_csr(key, domains=names or None, ipaddrs=addresses or None)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _profile(account: Account, acme: client.ClientV2) -> str | None:
    wanted = account.issuer.profile
    if not wanted or wanted in (acme.directory.meta.profiles or {}):
        return wanted or None
    if account.issuer.profile_required:
        raise Misconfigured(f'the ACME server has no profile "{wanted}"')
    return None


# ---- challenges


def _is_over(authorization: messages.AuthorizationResource) -> bool:
    return bool(authorization.body.status == messages.STATUS_VALID)


def _challenge(account: Account, authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    offered = {_kind(one): one for one in authorization.body.challenges}
    if account.issuer.challenge not in offered:
        name = authorization.body.identifier.value
        raise Refused(f"the ACME server does not offer {account.issuer.challenge} for {name}: {', '.join(offered)}")
    return offered[account.issuer.challenge]


def _kind(body: messages.ChallengeBody) -> str:
    """The library knows no tls-alpn-01 any more."""
    return (
        str(body.chall.jobj.get("type")) if isinstance(body.chall, challenges.UnrecognizedChallenge) else body.chall.typ
    )


def _token(body: messages.ChallengeBody) -> str:
    if isinstance(body.chall, challenges.UnrecognizedChallenge):
        return str(body.chall.jobj.get("token", ""))
    return str(body.chall.encode("token"))


def _authorization(account: Account, body: messages.ChallengeBody) -> str:
    """RFC 8555 section 8.1."""
    return f"{_token(body)}.{account.thumbprint}"


def _answer(account: Account, authorization: messages.AuthorizationResource, body: messages.ChallengeBody) -> Challenge:
    text = _authorization(account, body).encode()
    if account.issuer.challenge == "http-01":
        return False, _token(body).encode(), text, b""
    return _handshake(authorization.body.identifier.value, text)


def _handshake(name: str, authorization: bytes) -> Challenge:
    """A certificate of its own for tls-alpn-01 (RFC 8737 section 3; for an address RFC 8738 section 6)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lb acme challenge")])
    address = ipaddress.ip_address(name) if _is_ip(name) else None
    alternative = x509.DNSName(name) if address is None else x509.IPAddress(address)
    now = datetime.datetime.now(datetime.UTC)
    proof = b"\x04\x20" + hashlib.sha256(authorization).digest()
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, proof), critical=True)
        .sign(key, hashes.SHA256())
    )
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    sni = name if address is None else address.reverse_pointer
    return True, sni.lower().encode(), certificate.public_bytes(serialization.Encoding.DER), der


def _wait(acme: client.ClientV2, account: Account, waiting: list[Any], pause: Pause) -> None:
    """Until all names are found to be ours."""
    until = time.monotonic() + VALIDATE_WITHIN_S
    while waiting:
        pause(min(max(account.net.retry_after or POLL_S, POLL_S), 10.0))
        found = [acme.poll(one)[0] for one in waiting]
        for one in found:
            if one.body.status not in (messages.STATUS_PENDING, messages.STATUS_PROCESSING, messages.STATUS_VALID):
                raise Refused(_why(one))
        waiting = [one for one in found if one.body.status != messages.STATUS_VALID]
        if waiting and time.monotonic() > until:
            names = ", ".join(one.body.identifier.value for one in waiting)
            raise Refused(f"the ACME server has not asked for the challenge of {names} in time")


def _why(authorization: messages.AuthorizationResource) -> str:
    name = authorization.body.identifier.value
    errors = [one.error for one in authorization.body.challenges if one.error is not None]
    said = "; ".join(str(one.detail or one.typ) for one in errors)
    return f"{name} was not found to be ours: {said or authorization.body.status.name}"


# ---- the chain


def _chain(account: Account, done: messages.OrderResource) -> str:
    wanted = account.issuer.preferred_chain
    for chain in (done.fullchain_pem, *(done.alternative_fullchains_pem or ())) if wanted else ():
        top = x509.load_pem_x509_certificates(chain.encode())[-1]
        if any(one.value == wanted for one in top.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)):
            return str(chain)
    return str(done.fullchain_pem)
