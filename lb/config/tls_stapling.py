"""ssl_stapling without a file: of each certificate its issuer, and the OCSP responder to ask.

    of_server: certificates, authorities, what the directives say -> Stapling, nginx's warnings

The reader of the configuration calls it, and the child of the master that reads a pair anew (ssl_certificate_watch).
Nobody is asked anything here: names are looked up when a response is fetched (lb/master/ocsp.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from lb._fast import tls_ocsp_issuer, tls_ocsp_url
from lb.model.tls import Certificate, Staple, Stapling

PREFIX = "http://"
PORT = 80
BAD_PREFIX = "invalid URL prefix"


class BadUrl(ValueError):
    """Of a responder; the text is nginx's."""

    @property
    def is_prefix(self) -> bool:
        return str(self) == BAD_PREFIX


def of_server(
    certificates: Sequence[Certificate], authorities: Sequence[bytes], told: Stapling
) -> tuple[Stapling, list[str]]:
    """`authorities`: DER of ssl_trusted_certificate and ssl_client_certificate. What is doubtful is a warning, as in
    nginx, and that certificate is shown without a response."""
    staples, warnings = [], []
    for place, one in enumerate(certificates):
        made = _staple(place, one, authorities, told.responder)
        if isinstance(made, Staple):
            staples.append(made)
        else:
            warnings.append(f'"ssl_stapling" ignored, {made} certificate "{one.file}"')
    return replace(told, staples=tuple(staples)), warnings


def _staple(place: int, one: Certificate, authorities: Sequence[bytes], responder: str) -> Staple | str:
    """nginx looks for the issuer first."""
    issuer = tls_ocsp_issuer(one.chain[0], [*one.chain[1:], *authorities])
    if issuer is None:
        return "issuer certificate not found for"
    url = responder or tls_ocsp_url(one.chain[0])
    if not url:
        return "no OCSP responder URL in the"
    try:
        target(url)
    except BadUrl as error:
        shown = url if error.is_prefix else url[len(PREFIX) :]  # as nginx says it
        return f'{error} in OCSP responder "{shown}" in the'
    return Staple(place, issuer, url)


def target(url: str) -> tuple[str, int, str]:
    """(host, port, path) of a responder. Raises BadUrl."""
    if url[: len(PREFIX)].lower() != PREFIX or len(url) == len(PREFIX):
        raise BadUrl(BAD_PREFIX)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise BadUrl("invalid URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadUrl("invalid port" if "[" not in url else "invalid host") from None
    if not host or parts.username is not None:
        raise BadUrl("no host" if not host else "invalid host")
    if port == 0:
        raise BadUrl("invalid port")
    return host, port or PORT, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
