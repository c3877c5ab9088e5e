"""Record layers for tests: of a side of OpenSSL's, or two that belong together."""

from __future__ import annotations

from tests import _probe
from tests.openssl_pair import Side

ALERT, HANDSHAKE, DATA = 21, 22, 23
SUITES = [0, 1, 2]


def take_over(me: Side, version: str, server: bool) -> _probe.TlsLayer:
    """Our layer in the place of this side, whose handshake is done."""
    layer, suite = _probe.TlsLayer(), _probe.tls_suite(me.suite)
    if version == "TLSv1.3":
        secrets = [me.secrets["CLIENT_TRAFFIC_SECRET_0"], me.secrets["SERVER_TRAFFIC_SECRET_0"]]
        assert layer.start13(suite, server, *(secrets if server else secrets[::-1]))
    else:
        assert layer.start12(suite, server, me.master, *me.randoms)
    return layer


def one_layer(suite: int, version13: bool, server: bool, seed: int = 0) -> _probe.TlsLayer:
    layer, n = _probe.TlsLayer(), 48 if suite == 1 else 32
    if version13:
        client, server_secret = bytes([seed % 256, 1]) * (n // 2), bytes([seed % 256, 2]) * (n // 2)
        assert layer.start13(suite, server, *((client, server_secret) if server else (server_secret, client)))
    else:
        assert layer.start12(suite, server, bytes([seed % 256]) * 48, b"c" * 32, b"s" * 32)
    return layer


def layers(suite: int, version13: bool = True, seed: int = 0) -> tuple[_probe.TlsLayer, _probe.TlsLayer]:
    """(a client's, its server's): from the same secrets each time."""
    return one_layer(suite, version13, False, seed), one_layer(suite, version13, True, seed)
