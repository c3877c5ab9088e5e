"""What a server says of its clients' certificates, and of the status of its own: files become fields of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lb.config import tls_files
from lb.config.errors import Refused
from lb.config.scope import Scope

if TYPE_CHECKING:
    from lb.config.tree import Node
    from lb.model.tls import Certificate

_NO_FETCH = "lb fetches no OCSP responses yet: ssl_stapling_file gives one that something else fetches"


def read(scope: Scope, certificates: tuple[Certificate, ...]) -> dict[str, Any]:
    """Fields of TlsServer. Raises Refused with the place of the directive."""
    from lb._fast import tls_certificates, tls_crls  # here, because the engine itself imports lb.model

    verify = scope.inherited("ssl_verify_client", "off")
    authorities: tuple[str, Node] | None = scope.inherited("ssl_client_certificate", None)
    trusted: tuple[str, Node] | None = scope.inherited("ssl_trusted_certificate", None)
    if verify in ("on", "optional") and authorities is None and trusted is None:
        raise Refused("no ssl_client_certificate for ssl_verify_client")
    return {
        "client_authorities": _files(authorities, "SSL_CTX_load_verify_locations", tls_certificates),
        "trusted": _files(trusted, "SSL_CTX_load_verify_locations", tls_certificates),
        "crls": _files(scope.inherited("ssl_crl", None), "X509_LOOKUP_load_file", tls_crls),
        "ocsp_response": _stapled(scope, certificates),
    }


def _files(file: tuple[str, Node] | None, call: str, parse: Any) -> tuple[bytes, ...]:
    if file is None:
        return ()
    found: tuple[bytes, ...] = _read(file, call, parse)
    return found


def _read(file: tuple[str, Node], call: str, parse: Any) -> Any:
    name, node = file
    try:
        return tls_files.read(name, f'{call}("{name}") failed', parse)
    except tls_files.BadFile as error:
        raise Refused(str(error), error.hint, file=node.file, line=node.line) from None


def _stapled(scope: Scope, certificates: tuple[Certificate, ...]) -> bytes:
    """The response to staple; none where the certificate has no responder, which is nginx's warning too."""
    from lb._fast import tls_has_responder, tls_ocsp_response

    if not scope.inherited("ssl_stapling", False) or not certificates:
        return b""
    file: tuple[str, Node] | None = scope.inherited("ssl_stapling_file", None)
    if file is not None:
        made: bytes = _read(file, "d2i_OCSP_RESPONSE_bio", tls_ocsp_response)
        return made
    first = certificates[0]
    if tls_has_responder(first.chain[0]):
        raise Refused(f'OCSP responses for certificate "{first.file}" cannot be fetched', _NO_FETCH)
    message = f'"ssl_stapling" ignored, no OCSP responder URL in the certificate "{first.file}"'
    scope.reader.warn(message)
    return b""
