"""A server's certificates read anew (ssl_certificate_watch): the child of the master does it, which may wait."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lb._fast import tls_check, tls_renewal_write
from lb.config import tls_keys, tls_stapling
from lb.config.tls_files import BadFile, passwords_of, read_pair
from lb.model.tls import Certificate, TlsServer


@dataclass(frozen=True, slots=True)
class Renewed:
    """What came of it for one place of Config.tls. `error`: why the old ones stay; `warnings`: of ssl_stapling."""

    place: int
    server: TlsServer | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()


def renew(due: Sequence[tuple[int, TlsServer]], fd: int) -> list[Renewed]:
    """Read and check the certificates of these; the good ones are in `fd`, with their keys, for tls_renewal_read."""
    found = [_renewed(place, server) for place, server in due]
    tls_renewal_write(fd, [(one.place, one.server, list(_keys(one.server))) for one in found if one.server is not None])
    return found


def _renewed(place: int, server: TlsServer) -> Renewed:
    warnings: list[str] = []
    try:
        come = tuple(one for one in server.awaited if os.path.exists(one.file))
        certificates = tuple(_again(one) for one in (*server.certificates, *come))
        awaited = tuple(one for one in server.awaited if one not in come)
        made = replace(server, certificates=certificates, awaited=awaited)
        if server.stapling is not None:
            told = replace(server.stapling, staples=())
            authorities = server.client_authorities + server.trusted
            told, warnings = tls_stapling.of_server(made.certificates, authorities, told)
            made = replace(made, stapling=told)
        tls_check(made, list(_keys(made)))
    except (BadFile, ValueError) as error:
        return Renewed(place, error=str(error))
    except OSError as error:
        return Renewed(place, error=f"ssl_password_file: {error}")
    return Renewed(place, made, warnings=tuple(warnings))


def _again(one: Certificate) -> Certificate:
    passwords = passwords_of(one.password_file) if one.password_file else []
    return read_pair(one.file, one.key_file, one.password_file, passwords, one.where)


def _keys(server: TlsServer) -> Iterator[bytes]:
    return (tls_keys.kept[one.key_digest] for one in server.certificates)
