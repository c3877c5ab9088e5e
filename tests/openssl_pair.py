"""OpenSSL against itself or against our record layer, in memory: libssl by ctypes, since Python's ssl cannot choose a
suite of TLS 1.3, update keys, or see a cut stream.

    client, server = pair(cert, "TLSv1.3", "TLS_AES_128_GCM_SHA256");  client.secrets -> a TlsLayer of either side
"""

from __future__ import annotations

import ctypes
import ctypes.util
import subprocess
from pathlib import Path

P, N = ctypes.c_void_p, ctypes.c_int
KEYLOG = ctypes.CFUNCTYPE(None, P, ctypes.c_char_p)
VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
WANT_READ, ZERO_RETURN = 2, 6


def library(name: str, functions: dict[str, tuple[object, list[object]]]) -> ctypes.CDLL:
    found = ctypes.CDLL(ctypes.util.find_library(name))
    for function, (result, arguments) in functions.items():
        getattr(found, function).restype = result
        getattr(found, function).argtypes = arguments
    return found


ssl = library(
    "ssl",
    {
        "TLS_method": (P, []),
        "SSL_CTX_new": (P, [P]),
        "SSL_CTX_free": (None, [P]),
        "SSL_CTX_ctrl": (ctypes.c_long, [P, N, ctypes.c_long, P]),
        "SSL_CTX_set_ciphersuites": (N, [P, ctypes.c_char_p]),
        "SSL_CTX_set_cipher_list": (N, [P, ctypes.c_char_p]),
        "SSL_CTX_use_certificate_file": (N, [P, ctypes.c_char_p, N]),
        "SSL_CTX_use_PrivateKey_file": (N, [P, ctypes.c_char_p, N]),
        "SSL_CTX_set_keylog_callback": (None, [P, KEYLOG]),
        "SSL_CTX_set_num_tickets": (N, [P, ctypes.c_size_t]),
        "SSL_new": (P, [P]),
        "SSL_free": (None, [P]),
        "SSL_set_bio": (None, [P, P, P]),
        "SSL_set_connect_state": (None, [P]),
        "SSL_set_accept_state": (None, [P]),
        "SSL_do_handshake": (N, [P]),
        "SSL_get_error": (N, [P, N]),
        "SSL_read": (N, [P, P, N]),
        "SSL_write": (N, [P, P, N]),
        "SSL_shutdown": (N, [P]),
        "SSL_key_update": (N, [P, N]),
        "SSL_get_current_cipher": (P, [P]),
        "SSL_CIPHER_get_protocol_id": (ctypes.c_uint16, [P]),
        "SSL_get_session": (P, [P]),
        "SSL_SESSION_get_master_key": (ctypes.c_size_t, [P, P, ctypes.c_size_t]),
        "SSL_get_client_random": (ctypes.c_size_t, [P, P, ctypes.c_size_t]),
        "SSL_get_server_random": (ctypes.c_size_t, [P, P, ctypes.c_size_t]),
        "SSL_renegotiate": (N, [P]),
    },
)
crypto = library(
    "crypto",
    {
        "BIO_new": (P, [P]),
        "BIO_s_mem": (P, []),
        "BIO_read": (N, [P, P, N]),
        "BIO_write": (N, [P, ctypes.c_char_p, N]),
        "BIO_ctrl": (ctypes.c_long, [P, N, ctypes.c_long, P]),
        "ERR_get_error": (ctypes.c_ulong, []),
        "ERR_reason_error_string": (ctypes.c_char_p, [ctypes.c_ulong]),
    },
)
SET_DH_AUTO, SET_MIN, SET_MAX, SET_EOF_RETURN = 118, 123, 124, 130


class OpenSSLError(Exception):
    """What libssl said."""


class Side:
    """One end of a connection, its wire in memory."""

    def __init__(self, version: str, suite: str, certificate: Path | None, tickets: int) -> None:
        self.secrets: dict[str, bytes] = {}
        self.context = ssl.SSL_CTX_new(ssl.TLS_method())
        self.keylog = KEYLOG(self.note)  # kept: libssl calls it
        ssl.SSL_CTX_set_keylog_callback(self.context, self.keylog)
        for limit in (SET_MIN, SET_MAX):
            ssl.SSL_CTX_ctrl(self.context, limit, VERSIONS[version], None)
        chosen = ssl.SSL_CTX_set_ciphersuites if version == "TLSv1.3" else ssl.SSL_CTX_set_cipher_list
        assert chosen(self.context, suite.encode()) == 1
        if certificate:
            assert ssl.SSL_CTX_use_certificate_file(self.context, str(certificate).encode(), 1) == 1
            assert ssl.SSL_CTX_use_PrivateKey_file(self.context, str(certificate).encode(), 1) == 1
            ssl.SSL_CTX_set_num_tickets(self.context, tickets)
            ssl.SSL_CTX_ctrl(self.context, SET_DH_AUTO, 1, None)
        self.ssl = ssl.SSL_new(self.context)
        self.input, self.output = (crypto.BIO_new(crypto.BIO_s_mem()) for _ in range(2))
        for bio in (self.input, self.output):
            crypto.BIO_ctrl(bio, SET_EOF_RETURN, -1, None)
        ssl.SSL_set_bio(self.ssl, self.input, self.output)
        (ssl.SSL_set_accept_state if certificate else ssl.SSL_set_connect_state)(self.ssl)

    def __del__(self) -> None:
        ssl.SSL_free(self.ssl)
        ssl.SSL_CTX_free(self.context)

    def note(self, _ssl: int, line: bytes) -> None:
        label, _, secret = line.decode().split()
        self.secrets[label] = bytes.fromhex(secret)

    def take(self) -> bytes:
        """What it has put on the wire."""
        room = ctypes.create_string_buffer(1 << 20)
        got = crypto.BIO_read(self.output, room, len(room))
        return room.raw[: max(got, 0)]

    def give(self, wire: bytes) -> None:
        assert crypto.BIO_write(self.input, wire, len(wire)) == len(wire) or not wire

    def check(self, result: int) -> bool:
        """True: done; False: more must come."""
        if result > 0:
            return True
        if ssl.SSL_get_error(self.ssl, result) == WANT_READ:
            return False
        raise OpenSSLError((crypto.ERR_reason_error_string(crypto.ERR_get_error()) or b"closed").decode())

    def handshake(self) -> bool:
        return self.check(ssl.SSL_do_handshake(self.ssl))

    def write(self, data: bytes) -> bytes:
        assert self.check(ssl.SSL_write(self.ssl, data, len(data)))
        return self.take()

    def read(self, wire: bytes = b"") -> bytes:
        """All data that is to be had once `wire` has come."""
        self.give(wire)
        room, found = ctypes.create_string_buffer(1 << 15), b""
        while True:
            got = ssl.SSL_read(self.ssl, room, len(room))
            if not self.check(got):
                return found
            found += room.raw[:got]

    def update(self, ask: bool) -> bytes:
        assert ssl.SSL_key_update(self.ssl, 1 if ask else 0) == 1
        assert self.handshake()
        return self.take()

    def renegotiate(self) -> bytes:
        assert ssl.SSL_renegotiate(self.ssl) == 1
        self.handshake()
        return self.take()

    def close(self) -> bytes:
        ssl.SSL_shutdown(self.ssl)
        return self.take()

    @property
    def suite(self) -> int:
        return ssl.SSL_CIPHER_get_protocol_id(ssl.SSL_get_current_cipher(self.ssl))

    @property
    def master(self) -> bytes:
        room = ctypes.create_string_buffer(48)
        assert ssl.SSL_SESSION_get_master_key(ssl.SSL_get_session(self.ssl), room, 48) == 48
        return room.raw

    @property
    def randoms(self) -> tuple[bytes, bytes]:
        """The client's, the server's."""
        client, server = (ctypes.create_string_buffer(32) for _ in range(2))
        assert ssl.SSL_get_client_random(self.ssl, client, 32) == 32 == ssl.SSL_get_server_random(self.ssl, server, 32)
        return client.raw, server.raw


def pair(certificate: Path, version: str, suite: str, tickets: int = 0) -> tuple[Side, Side, bytes]:
    """(client, server, what the server sent after the client's Finished: tickets), the handshake done."""
    client = Side(version, suite, None, 0)
    server = Side(version, suite, certificate, tickets)
    done = [False, False]
    wire = b""
    for _ in range(10):
        done[0] = client.handshake()
        server.give(client.take())
        done[1] = server.handshake()
        wire = server.take()
        if all(done):
            return client, server, wire
        client.give(wire)
    raise AssertionError("no handshake")


def make_certificate(folder: Path, kind: str) -> Path:
    """A key of kind ec or rsa and its certificate in one file."""
    path, alone = folder / f"{kind}.pem", folder / f"{kind}.crt"
    key = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "30", "-subj", "/CN=a"]
    subprocess.run([*command, "-keyout", str(path), "-out", str(alone)], check=True, capture_output=True)
    path.write_text(path.read_text() + alone.read_text())
    return path
