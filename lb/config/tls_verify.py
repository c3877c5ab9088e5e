"""What a server says of its clients' certificates, and of the status of its own: files become fields of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lb.config import tls_files
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.model.tls import Stapling

if TYPE_CHECKING:
    from lb.config.tree import Node
    from lb.model.tls import Certificate


def read(scope: Scope, certificates: tuple[Certificate, ...]) -> dict[str, Any]:
    """Fields of TlsServer. Raises Refused with the place of the directive."""
    from lb._fast import tls_certificates, tls_crls  # here, because the engine itself imports lb.model

    verify = scope.inherited("ssl_verify_client", "off")
    authorities: tuple[str, Node] | None = scope.inherited("ssl_client_certificate", None)
    trusted: tuple[str, Node] | None = scope.inherited("ssl_trusted_certificate", None)
    if verify in ("on", "optional") and authorities is None and trusted is None:
        raise Refused("no ssl_client_certificate for ssl_verify_client")
    named = _files(authorities, "SSL_CTX_load_verify_locations", tls_certificates)
    more = _files(trusted, "SSL_CTX_load_verify_locations", tls_certificates)
    return {
        "client_authorities": named,
        "trusted": more,
        "crls": _files(scope.inherited("ssl_crl", None), "X509_LOOKUP_load_file", tls_crls),
    } | _stapled(scope, certificates, named + more)


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


def _stapled(scope: Scope, certificates: tuple[Certificate, ...], authorities: tuple[bytes, ...]) -> dict[str, Any]:
    """The response to staple, or whence it comes; what is doubtful there is nginx's warning."""
    from lb._fast import tls_ocsp_response
    from lb.config import tls_stapling

    if not scope.inherited("ssl_stapling", False) or not certificates:
        return {}
    file: tuple[str, Node] | None = scope.inherited("ssl_stapling_file", None)
    if file is not None:
        return {"ocsp_response": _read(file, "d2i_OCSP_RESPONSE_bio", tls_ocsp_response)}
    told = Stapling(scope.inherited("ssl_stapling_responder", ""), scope.inherited("ssl_stapling_verify", False))
    made, warnings = tls_stapling.of_server(certificates, authorities, told)
    for message in warnings:
        if message not in scope.reader.warnings:  # of several servers with one certificate
            scope.reader.warn(message)
    return {"stapling": made}
