"""Keys, the account at the ACME server, and the requests to it."""

from __future__ import annotations

import datetime
import ssl
import time
from typing import Any, Final

import requests
from acme import client as acme_client
from acme import errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.b64 import b64encode
from josepy.jwa import ES256, ES384, ES512, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA
from josepy.util import ComparableECKey, ComparableRSAKey

import lb
from lb.acme import schedule
from lb.acme.store import Store
from lb.model.acme import AcmeIssuer

TIMEOUT_S: Final = 30
NONCES: Final = 3  # times two: the library tries each twice
ACCOUNT_KEY: Final = "account.key"
CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {"256": ec.SECP256R1, "384": ec.SECP384R1, "521": ec.SECP521R1}
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Network(acme_client.ClientNetwork):
    """Remembers of the last answer what the library's exceptions do not tell."""

    status: int = 0  # 0: none has come
    retry_after: float | None = None  # seconds

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        self.status, self.retry_after = 0, None
        answer = super()._send_request(method, url, *args, **kwargs)
        self.status = answer.status_code
        self.retry_after = schedule.retry_after(answer.headers.get("Retry-After"), time.time())
        return answer

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """A nonce that the server does not want (any more) comes with a new one (RFC 8555 section 6.5)."""
        for _ in range(NONCES):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


def make_key(kind: str) -> Key:
    """ecdsa:256, rsa:2048, ..."""
    name, _, size = kind.partition(":")
    if name == "ecdsa":
        return ec.generate_private_key(CURVES[size]())
    return rsa.generate_private_key(65537, int(size))


def pem_of(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Account:
    """Logged in with its first use. Raises what `acme` and `requests` raise, OSError, and Misconfigured."""

    def __init__(self, issuer: AcmeIssuer, store: Store) -> None:
        self.issuer = issuer
        self.jwk, algorithm = _jwk(_account_key(issuer, store))
        self.net = Network(
            self.jwk,
            alg=algorithm,
            verify_ssl=_verify(issuer),  # type: ignore[arg-type]  # it goes to requests, which takes a path as well
            user_agent=f"lb/{lb.__version__}",
            timeout=TIMEOUT_S,
        )
        self._client: acme_client.ClientV2 | None = None

    @property
    def thumbprint(self) -> str:
        return b64encode(self.jwk.thumbprint()).decode()

    def renewal_time(self, chain: bytes) -> tuple[datetime.datetime | None, datetime.datetime]:
        """When the ACME server wants it to be renewed (ARI, RFC 9773), and when to ask again; None: it does not say."""
        return (self._client or self._new()).renewal_time(chain)

    def _new(self) -> acme_client.ClientV2:
        directory = messages.Directory.from_json(self.net.get(self.issuer.uri).json())
        return acme_client.ClientV2(directory, self.net)

    def client(self) -> acme_client.ClientV2:
        if self._client is None:
            made = self._new()
            self._log_in(made)
            self._client = made
        return self._client

    def _log_in(self, made: acme_client.ClientV2) -> None:
        """The account of our key: found, or made."""
        terms = made.directory.meta.terms_of_service
        if terms and not self.issuer.accept_terms:
            raise Misconfigured(f"the terms of service {terms} are not accepted (accept_terms_of_service)")
        if made.directory.meta.external_account_required and not self.issuer.eab_kid:
            raise Misconfigured("the ACME server wants an external_account_key")
        wanted: dict[str, Any] = {"contact": self.issuer.contacts}
        if self.issuer.accept_terms:
            wanted["terms_of_service_agreed"] = True
        if self.issuer.eab_kid:
            wanted["external_account_binding"] = messages.ExternalAccountBinding.from_data(
                self.jwk.public_key(), self.issuer.eab_kid, self.issuer.eab_key, made.directory
            )
        request = messages.NewRegistration(**wanted)
        try:
            made.new_account(request)
        except errors.ConflictError as known:
            self.net.account = messages.RegistrationResource(body=messages.Registration(), uri=known.location)


class Misconfigured(Exception):
    """Only another configuration helps."""


def _account_key(issuer: AcmeIssuer, store: Store) -> Key:
    """That of a file; else the one below state_path, which is made once. Several machines: the caller has the lock."""
    if issuer.account_key.partition(":")[0] not in ("ecdsa", "rsa"):
        with open(issuer.account_key, "rb") as stream:
            return _loaded(stream.read())
    text = store.read(ACCOUNT_KEY)
    if not text:
        text = pem_of(make_key(issuer.account_key))
        store.write(ACCOUNT_KEY, text)
    return _loaded(text)


def _loaded(text: bytes) -> Key:
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError):
        raise Misconfigured("the account's key cannot be read") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise Misconfigured("the account's key is neither ECDSA nor RSA")
    return key


def _jwk(key: Key) -> tuple[JWK, JWASignature]:
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=ComparableRSAKey(key)), RS256
    algorithms = {256: ES256, 384: ES384, 521: ES512}
    return JWKEC(key=ComparableECKey(key)), algorithms[key.key_size]


def _verify(issuer: AcmeIssuer) -> bool | str:
    """As requests takes it. The system's authorities, as nginx's module does, not those that came with a library."""
    if not issuer.verify:
        return False
    paths = ssl.get_default_verify_paths()
    return issuer.trusted or paths.cafile or paths.capath or True
