"""The record layer of lb/fast/tls against OpenSSL: what one seals the other opens, what one refuses the other refuses.

Every call of the probe is made at both ends of memory between two guard pages (tests/_probe_tls.pyx).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import _probe
from tests.openssl_pair import OpenSSLError, Side, make_certificate, pair
from tests.tls_layers import ALERT, DATA, HANDSHAKE, SUITES, layers, take_over

NAMES = {
    ("TLSv1.3", "ec"): ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
    ("TLSv1.2", "ec"): [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ],
    ("TLSv1.2", "rsa"): [
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        *(f"{way}-RSA-{aead}" for way in ("ECDHE", "DHE") for aead in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")),
        *(f"{way}-RSA-CHACHA20-POLY1305" for way in ("ECDHE", "DHE")),
    ],
}
ALL = [(version, kind, name) for (version, kind), names in NAMES.items() for name in names]
V13 = [one for one in ALL if one[0] == "TLSv1.3"]
V12 = [one for one in ALL if one[1] == "ec" and one[0] == "TLSv1.2"]
SIZES = [1, 2, 15, 16, 17, 100, 300, 1023, 1024, 1025, 4096, 16383, 16384]
every_suite = pytest.mark.parametrize(("version", "kind", "name"), ALL, ids=[one[2] for one in ALL])
either_role = pytest.mark.parametrize("server", [True, False], ids=["as server", "as client"])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tls")
    return {kind: make_certificate(folder, kind) for kind in ("ec", "rsa")}


Talk = tuple[_probe.TlsLayer, Side]


def start(certificates: dict[str, Path], one: tuple[str, str, str], server: bool) -> Talk:
    """Our layer in the place of one side, and the other side."""
    version, kind, name = one
    client, peer, _ = pair(certificates[kind], version, name)
    me, other = (peer, client) if server else (client, peer)
    return take_over(me, version, server), other


def records(layer: _probe.TlsLayer, wire: bytes) -> Iterator[tuple[int, bytes]]:
    while wire:
        used, kind, content = layer.open(wire)
        yield kind, content
        wire = wire[used:]


def read(layer: _probe.TlsLayer, wire: bytes) -> bytes:
    found = list(records(layer, wire))
    assert {kind for kind, _ in found} <= {DATA}
    return b"".join(content for _, content in found)


def only_messages(layer: _probe.TlsLayer, wire: bytes) -> list[str]:
    events: list[str] = []
    for kind, content in records(layer, wire):
        assert kind == HANDSHAKE
        events += layer.messages(content)
    return events


# ---- with OpenSSL


def test_every_aead_is_there() -> None:
    assert _probe.TLS_WORKS == 7


@either_role
@every_suite
def test_data_both_ways(certificates: dict[str, Path], version: str, kind: str, name: str, server: bool) -> None:
    layer, other = start(certificates, (version, kind, name), server)
    for number, size in enumerate([*SIZES, *SIZES]):
        data = bytes(i * number % 251 for i in range(size))
        assert other.read(layer.seal(data, DATA, number % 2 == 0)) == data
        assert read(layer, other.write(data)) == data
    wire = b"".join(other.write(b"%d" % i) for i in range(300))
    assert read(layer, wire) == b"".join(b"%d" % i for i in range(300))
    assert other.read(b"".join(layer.seal(b"%d" % i) for i in range(300))).endswith(b"298299")
    assert read(layer, other.write(b"x" * 100_000)) == b"x" * 100_000, "several records of one write"
    assert layer.seqs == (26 + 300 + 7 + (version == "TLSv1.2"), 26 + 300 + (version == "TLSv1.2"))


@either_role
@pytest.mark.parametrize("one", [*V13, *V12], ids=lambda one: one[2])
def test_connections_take_turns(certificates: dict[str, Path], one: tuple[str, str, str], server: bool) -> None:
    """All share the contexts of the process."""
    talks = [start(certificates, one, server) for _ in range(4)]
    for step in range(60):
        layer, other = talks[step * step % 7 % 4]
        assert other.read(layer.seal(b"%d" % step)) == b"%d" % step
        assert read(talks[step % 4][0], talks[step % 4][1].write(b"y%d" % step)) == b"y%d" % step


@either_role
@pytest.mark.parametrize("one", [*V13, *V12], ids=lambda one: one[2])
def test_close_and_alerts(certificates: dict[str, Path], one: tuple[str, str, str], server: bool) -> None:
    layer, other = start(certificates, one, server)
    ((kind, content),) = records(layer, other.close())
    assert (kind, layer.alert(content)) == (ALERT, "closed")
    with pytest.raises(OpenSSLError, match="closed"):
        other.read(layer.send_alert(0))
    layer, other = start(certificates, one, server)
    with pytest.raises(OpenSSLError, match="alert internal error"):
        other.read(layer.send_alert(80))


@either_role
@pytest.mark.parametrize("one", V13, ids=lambda one: one[2])
def test_key_updates(certificates: dict[str, Path], one: tuple[str, str, str], server: bool) -> None:
    layer, other = start(certificates, one, server)
    for step in range(40):
        ask = step % 3 == 0
        expected = ["update asked" if ask else "updated"]
        assert only_messages(layer, other.update(ask)) == expected
        assert read(layer, other.write(b"after")) == b"after"
        wire = layer.update(step % 2 == 0)
        assert other.read(wire + layer.seal(b"sealed anew")) == b"sealed anew"
        assert layer.seqs[1] == 1
        if step % 2 == 0:  # OpenSSL answers with its next write
            wire = other.write(b"x")
            (kind, content), data = records_with_messages(layer, wire)
            assert (kind, content, data) == (HANDSHAKE, ["updated"], (DATA, b"x"))


def records_with_messages(layer: _probe.TlsLayer, wire: bytes) -> tuple[tuple[int, list[str]], tuple[int, bytes]]:
    """A record of messages and one of data: the first changes the keys of the second."""
    used, kind, content = layer.open(wire)
    events = layer.messages(content)
    _, data_kind, data = layer.open(wire[used:])
    return (kind, events), (data_kind, data)


@pytest.mark.parametrize("one", V13, ids=lambda one: one[2])
def test_tickets(certificates: dict[str, Path], one: tuple[str, str, str]) -> None:
    client, server, wire = pair(certificates["ec"], one[0], one[2], tickets=3)
    assert _probe.tls_count(wire) == 3
    as_client, as_server = take_over(client, one[0], False), take_over(server, one[0], True)
    assert only_messages(as_client, wire) == ["ticket"] * 3
    as_server.set(tx_seq=_probe.tls_count(wire))
    assert client.read(wire + as_server.seal(b"after tickets")) == b"after tickets"
    assert read(as_client, server.write(b"too")) == b"too"


@pytest.mark.parametrize("one", V12, ids=lambda one: one[2])
def test_renegotiation(certificates: dict[str, Path], one: tuple[str, str, str]) -> None:
    for server in (True, False):  # ClientHello, HelloRequest
        layer, other = start(certificates, one, server)
        assert only_messages(layer, other.renegotiate()) == ["renegotiation"]


def test_suites_that_are_not_ours(certificates: dict[str, Path]) -> None:
    for name in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-CCM"):
        client, _, _ = pair(certificates["ec"], "TLSv1.2", f"{name}:@SECLEVEL=0")
        assert _probe.tls_suite(client.suite) == -1
    client, _, _ = pair(certificates["ec"], "TLSv1.3", "TLS_AES_128_CCM_SHA256")
    assert _probe.tls_suite(client.suite) == -1
    layer = _probe.TlsLayer()
    assert not layer.start13(-1, True, b"x" * 32, b"x" * 32)
    assert not layer.start13(3, True, b"x" * 32, b"x" * 32)
    assert not layer.start13(0, True, b"x" * 48, b"x" * 48), "a secret of another length"
    assert layer.seal(b"x") is None, "no keys, no record"


# ---- what both refuse, and the alert that OpenSSL then sends

CCS13 = b"\x14\x03\x03\x00\x01\x01"


def flipped(record: bytes, at: int) -> bytes:
    at %= len(record)
    return record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]


BAD_BOTH = {
    "tag": lambda s: [flipped(s.seal(b"hello"), -1)],
    "replayed": lambda s: [s.seal(b"hello")] * 2,
    "dropped": lambda s: [s.seal(b"a"), s.seal(b"b")][1:],
    "type 24": lambda s: [s.seal(b"hello", 24)],
    "type 20 inside": lambda s: [s.seal(b"\x01", 20)],
    "33 empty records": lambda s: [s.seal(b"") for _ in range(33)],
    "overflow": lambda s: [s.set(most=17000) or s.seal(b"x" * 16385)],
    "length": lambda _: [b"\x17\x03\x03\xff\xff" + b"x" * 100],
    "no room for a tag": lambda _: [b"\x17\x03\x03\x00\x0f" + b"x" * 15],
}
BAD_13 = {
    "change_cipher_spec": lambda _: [CCS13],
    "alert in the clear": lambda _: [b"\x15\x03\x03\x00\x02\x02\x28"],
    "handshake in the clear": lambda _: [b"\x16\x03\x03\x00\x05\x18\x00\x00\x01\x00"],
    "version": lambda s: [b"\x17\x03\x01" + s.seal(b"hello")[3:]],
    "major version": lambda s: [b"\x17\x04\x03" + s.seal(b"hello")[3:]],
    "zeros": lambda s: [s.seal(b"\0\0\0", 0)],
    "empty handshake": lambda s: [s.seal(b"\x16", 0)],
    "empty alert": lambda s: [s.seal(b"\x15", 0)],
    "key update and more": lambda s: [s.seal(b"\x18\0\0\x01\0\x18\0\0\x01\0", HANDSHAKE)],
    "key update 2": lambda s: [s.seal(b"\x18\0\0\x01\x02", HANDSHAKE)],
    "key update, length 2": lambda s: [s.seal(b"\x18\0\0\x02\0\0", HANDSHAKE)],
    "key update, length 0": lambda s: [s.seal(b"\x18\0\0\0", HANDSHAKE)],
    "data inside a message": lambda s: [s.seal(b"\x18\0\0", HANDSHAKE), s.seal(b"x")],
    "unknown message": lambda s: [s.seal(b"\x0b\0\0\0", HANDSHAKE)],
    "an alert of one byte": lambda s: [s.seal(b"\x01", ALERT)],
}
BAD_12 = {
    "version": lambda s: [b"\x17\x03\x01" + s.seal(b"hello")[3:]],
    "major version": lambda s: [b"\x17\x04\x03" + s.seal(b"hello")[3:]],
    "nonce or first byte": lambda s: [flipped(s.seal(b"hello"), 6)],
    "unknown message": lambda s: [s.seal(b"\x0b\0\0\0", HANDSHAKE)],
    "hello request with a body": lambda s: [s.seal(b"\0\0\0\x01\0", HANDSHAKE)],
    "level 3": lambda s: [s.seal(b"\x03\x50", ALERT)],
}
# Where OpenSSL 3.0's alert is another one: illegal_parameter for a KeyUpdate that is too long, and unexpected_message
# for an alert that is too short. RFC 8446 section 6.2 has decode_error for both.
OTHER_ALERT = {("TLSv1.3", "key update, length 2"), ("TLSv1.3", "an alert of one byte")}
# From 3.0.19 on its alert is internal_error for a record of TLS 1.2 that has no room for a tag; before, and here,
# bad_record_mac.
SOMETIMES = {("TLSv1.2", "no room for a tag"): 80}


def refusal(layer: _probe.TlsLayer, wire: bytes) -> int:
    """The alert with which `wire` is refused."""
    with pytest.raises(_probe.TlsAlert) as caught:
        while wire:
            found = layer.open(wire)
            assert found is not None, "waits for more"
            used, kind, content = found
            wire = wire[used:]
            if kind == HANDSHAKE:
                layer.messages(content)
            elif kind == ALERT:
                layer.alert(content)
    assert_refuses_for_ever(layer, int(caught.value.args[0]))
    return int(caught.value.args[0])


def assert_refuses_for_ever(layer: _probe.TlsLayer, alert: int) -> None:
    for wire in (b"", b"\x17", CCS13, b"\x17\x03\x03\x00\x14" + b"x" * 20):
        with pytest.raises(_probe.TlsAlert) as caught:
            layer.open(wire)
        assert caught.value.args[0] == alert


CASES = [
    *((one, name, make) for one in (V13[0], V13[2], V12[0], V12[2]) for name, make in BAD_BOTH.items()),
    *((one, name, make) for one in (V13[0], V13[2]) for name, make in BAD_13.items()),
    *((one, name, make) for one in (V12[0], V12[2]) for name, make in BAD_12.items()),
]


@pytest.mark.parametrize(("one", "name", "make"), CASES, ids=[f"{one[2]}-{name}" for one, name, _ in CASES])
def test_refused_as_openssl_does(
    certificates: dict[str, Path], one: tuple[str, str, str], name: str, make: object
) -> None:
    """What a layer in the client's place makes goes to OpenSSL's server and to a layer in its place."""
    client, server, _ = pair(certificates["ec"], one[0], one[2])
    sender = take_over(client, one[0], False)
    wire = b"".join(make(sender))  # type: ignore[operator]
    ours = refusal(take_over(server, one[0], True), wire)
    with pytest.raises(OpenSSLError):
        server.read(wire)
        server.read(b"x" * 70000)
    sent = list(records(take_over(client, one[0], False), server.take()))
    kind, alert = sent[-1]
    assert kind == ALERT and alert[0] == 2
    if alert[1] == SOMETIMES.get((one[0], name)):
        assert ours == 20
    elif (one[0], name) not in OTHER_ALERT:
        assert (name, alert[1]) == (name, ours)
    else:
        assert alert[1] != ours, "strike it from OTHER_ALERT"


def test_padding_beyond_the_limit_is_refused() -> None:
    """RFC 8446 section 5.4; OpenSSL 3.0 takes it."""
    sender, receiver = layers(0)
    sender.set(most=17000)
    assert receiver.open(sender.seal(b"a\x17" + b"\0" * (16384 - 2), 0))[1:] == (DATA, b"a")
    assert refusal(receiver, sender.seal(b"a\x17" + b"\0" * (16384 - 1), 0)) == 22


def test_padding_is_stripped() -> None:
    sender, receiver = layers(0)
    for padding in (1, 2, 15, 16, 255, 1000):
        assert receiver.open(sender.seal(b"a\0b\x17" + b"\0" * (padding - 1), 0))[1:] == (DATA, b"a\0b")
        assert receiver.open(sender.seal(b"\x17" + b"\0" * (padding - 1), 0))[1:] == (DATA, b"")
        assert receiver.open(sender.seal(b"c"))[1:] == (DATA, b"c")


# ---- every byte


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("version13", [True, False])
@pytest.mark.parametrize("size", [0, 1, 40])
def test_split_at_every_byte(suite: int, version13: bool, size: int) -> None:
    sender, receiver = layers(suite, version13)
    record = sender.seal(b"x" * size)
    for cut in range(len(record)):
        assert receiver.open(record[:cut]) is None
        assert _probe.tls_size(record[:cut]) > cut
    assert receiver.open(record + b"\xff" * 40) == (len(record), DATA, b"x" * size)
    assert _probe.tls_size(record) == len(record)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("version13", [True, False])
def test_every_flipped_bit_is_refused(suite: int, version13: bool) -> None:
    sender, _ = layers(suite, version13)
    record = sender.seal(b"hello")
    for at in range(len(record)):
        for bit in range(8):
            bad = record[:at] + bytes([record[at] ^ 1 << bit]) + record[at + 1 :]
            _, receiver = layers(suite, version13)
            alert = refusal(receiver, bad + b"x" * 40000)
            assert alert in ({10, 50, 70, 22, 20} if at < 5 else {20}), (at, bit, alert)


@pytest.mark.parametrize("version13", [True, False])
def test_lengths(version13: bool) -> None:
    """The header alone decides: nothing is waited for that cannot be right."""
    most = 16384 + (256 if version13 else 24)
    least = 17 if version13 else 24
    for length in [*range(least + 2), most - 1, most, most + 1, 16384 + 2048, 16384 + 2049, 65535]:
        _, receiver = layers(0, version13)
        head = b"\x17\x03\x03" + length.to_bytes(2, "big")
        if least <= length <= most:
            assert receiver.open(head) is None
        else:
            assert refusal(receiver, head) == (20 if length < least else 22)
