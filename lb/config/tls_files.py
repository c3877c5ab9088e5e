"""Certificates and private keys from their files: what may be wrong with a file is said here, and nothing here waits.

    read_pair: both files, with what they were when they were read (stamps) -> Certificate, key

The reader of the configuration calls it, and the child of the master that reads a pair anew (ssl_certificate_watch).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from lb._fast import tls_certificates, tls_facts, tls_key
from lb.config import tls_keys
from lb.model.tls import Certificate, Stamp

T = TypeVar("T")

MOST: Final = 1 << 20  # bytes of a file: a chain of hundreds
DER_START: Final = b"\x30\x82"  # of what lies in a .cer or .der: a SEQUENCE of more than 255 bytes


class BadFile(Exception):
    """A file cannot be used. `key`: it is the key's; `str()`: nginx's text; `hint`: what to do about it."""

    def __init__(self, message: str, hint: str = "", *, key: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.key = key


def read_pair(file: str, key_file: str, password_file: str, passwords: Sequence[bytes], where: str) -> Certificate:
    """The key goes to `tls_keys`. Raises BadFile."""
    complaint = f'cannot load certificate "{file}": '
    pem, stamp = _read(file, complaint)
    chain = _parsed(pem, complaint, tls_certificates)
    complaint = f'cannot load certificate key "{key_file}": '
    try:
        pem, key_stamp = _read(key_file, complaint)
        key = _parsed(pem, complaint, lambda text: tls_key(text, passwords))
    except BadFile as bad:
        bad.key = True
        raise
    facts = tls_facts(chain[0])
    return Certificate(file, key_file, chain, tls_keys.keep(key), facts, password_file, (stamp, key_stamp), where)


def read(file: str, complaint: str, parse: Callable[[bytes], T]) -> T:
    """What a file of PEM comes to. Raises BadFile: `complaint`: and why."""
    return _parsed(_read(file, f"{complaint}: ")[0], f"{complaint}: ", parse)


def passwords_of(file: str) -> list[bytes]:
    """One on a line. Raises OSError."""
    with open(file, "rb") as stream:
        return [line for line in stream.read(MOST).splitlines() if line]


def stamp_of(found: os.stat_result) -> Stamp:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def stamp(file: str) -> Stamp:
    """() if it is not there."""
    try:
        return stamp_of(os.stat(file))
    except OSError:
        return ()


def _read(file: str, complaint: str) -> tuple[bytes, Stamp]:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO without a writer must not hold us up
    except OSError as error:
        raise BadFile(f"{complaint}open() failed ({error.errno}: {error.strerror})") from None
    with open(fd, "rb", buffering=0) as stream:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BadFile(f"{complaint}it is {_kind(found.st_mode)}, not a file")
        try:
            pem = stream.read(MOST + 1) or b""
        except OSError as error:
            raise BadFile(f"{complaint}read() failed ({error.errno}: {error.strerror})") from None
    if len(pem) > MOST:
        raise BadFile(f"{complaint}it is longer than {MOST} bytes")
    return pem, stamp_of(found)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _parsed(pem: bytes, complaint: str, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(pem)
    except ValueError as error:
        raise BadFile(f"{complaint}{error}", _hint(pem)) from None


def _hint(pem: bytes) -> str:
    if not pem:
        return "the file is empty"
    if pem.startswith(DER_START):
        return "this looks like DER; openssl x509 (or openssl pkey) -inform DER -in FILE makes PEM of it"
    if b"ENCRYPTED" in pem:
        return "the key is encrypted: ssl_password_file names the file with its password"
    if b"-----BEGIN" not in pem:
        return "there is no PEM in it"
    return ""
