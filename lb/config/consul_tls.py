"""What https to Consul needs: contexts, made of files that only root may be able to read.

A worker makes them before it becomes its user (`keep`); its pullers, which start later, take those (`context`).  The
master keeps none, so each worker reads the files anew, and a reload brings a new certificate.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterable

from lb.model import UpsyncTls

_kept: dict[UpsyncTls, ssl.SSLContext] = {}  # of this worker


def read(tls: UpsyncTls) -> ssl.SSLContext:
    """Raises OSError (ssl.SSLError among them) for files that cannot be used."""
    made = ssl.create_default_context(cafile=tls.ca or None)
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        made.load_cert_chain(tls.certificate, tls.key or None, password="")
    with contextlib.suppress(NotImplementedError):
        made.set_alpn_protocols(["http/1.1"])
    return made


def keep(wanted: Iterable[UpsyncTls | None]) -> None:
    """Read the files while they may be read. What cannot be used is left to `context`, whose caller says it."""
    for tls in wanted:
        if tls is not None and tls not in _kept:
            with contextlib.suppress(OSError):
                _kept[tls] = read(tls)


def context(tls: UpsyncTls) -> ssl.SSLContext:
    """What was kept, else read(tls)."""
    return _kept.get(tls) or read(tls)
