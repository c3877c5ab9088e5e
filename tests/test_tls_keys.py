"""Keys and their life, handshake messages and alerts after the handshake: the RFCs' vectors, bounds, wiping, random
talks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import _probe
from tests.tls_layers import ALERT, DATA, HANDSHAKE, SUITES, layers, one_layer

LAST = 2**64 - 1
UPDATE, UPDATE_ASK = b"\x18\0\0\x01\0", b"\x18\0\0\x01\x01"
TICKET = b"\x04\0\0\x0f" + b"\0\0\x1c\x20" + b"age!" + b"\x00" + b"\0\x02tt" + b"\0\0"
CLIENT_HELLO = b"\x01\0\0\x29" + b"\x03\x03" + b"r" * 32 + b"\0" + b"\0\x02\xc0\x2b" + b"\x01\0"


def alert_of(call: object, *arguments: object) -> int:
    with pytest.raises(_probe.TlsAlert) as caught:
        call(*arguments)  # type: ignore[operator]
    return int(caught.value.args[0])


# ---- vectors

RFC8448 = [  # section 3: secret, key, iv
    (
        "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
        "3fce516009c21727d0f2e4e86ee403bc",
        "5d313eb2671276ee13000b30",
    ),
    (
        "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
        "9f02283b6c9c07efc26bb9f2ac92e356",
        "cf782b88dd83549aadf1e984",
    ),
    (
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
        "17422dda596ed5d9acd890e3c63f5051",
        "5b78923dee08579033e523d9",
    ),
]
DATA_RECORD = (
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2"
    "977014bd1e3deae63aeebb21694915e4"
)
CLOSE_RECORD = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"


@pytest.mark.parametrize(("secret", "key", "iv"), RFC8448)
def test_keys_of_rfc_8448(secret: str, key: str, iv: str) -> None:
    assert _probe.tls_label(0, bytes.fromhex(secret), b"key", 16).hex() == key
    assert _probe.tls_label(0, bytes.fromhex(secret), b"iv", 12).hex() == iv


def test_records_of_rfc_8448() -> None:
    """The client's data and close_notify at the end of section 3, sealed and opened."""
    client, server = _probe.TlsLayer(), _probe.TlsLayer()
    mine, theirs = bytes.fromhex(RFC8448[2][0]), bytes.fromhex(RFC8448[1][0])
    assert client.start13(0, False, theirs, mine) and server.start13(0, True, mine, theirs)
    assert [part.hex() for part in client.keys] == [*RFC8448[1][1:], *RFC8448[2][1:]]
    assert client.seal(bytes(range(50))).hex() == DATA_RECORD
    assert client.send_alert(0).hex() == CLOSE_RECORD
    assert server.open(bytes.fromhex(DATA_RECORD))[1:] == (DATA, bytes(range(50)))
    assert server.open(bytes.fromhex(CLOSE_RECORD))[1:] == (ALERT, b"\x01\0")


PRF = [  # published with the IETF's TLS list: SHA-256, SHA-384
    (
        0,
        "9bbe436ba940f017b17652849a71db35",
        "a0ba9f936cda311827a6f796ffd5198c",
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17"
        "abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66",
    ),
    (
        1,
        "b80b733d6ceefcdc71566ea48e5567df",
        "cd665cf6a8447dd6ff8b27555edb7465",
        "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534cb400fed2700"
        "884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90fa0d31e2dec479e4f1a2"
        "6066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f",
    ),
]


@pytest.mark.parametrize(("suite", "secret", "seed", "out"), PRF)
def test_prf_of_tls_12(suite: int, secret: str, seed: str, out: str) -> None:
    for n in (1, 12, len(out) // 2):
        found = _probe.tls_prf(suite, bytes.fromhex(secret), b"test label" + bytes.fromhex(seed), n)
        assert found.hex() == out[: 2 * n]


def test_a_label_beyond_its_bounds() -> None:
    assert _probe.tls_label(0, b"x" * 32, b"key", 33) is None, "more than one hash"
    assert _probe.tls_label(0, b"x" * 32, b"l" * 22, 16) is None
    assert _probe.tls_label(0, b"x" * 32, b"l" * 21, 16)


# ---- life of keys


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("version13", [True, False])
def test_wiped(suite: int, version13: bool) -> None:
    """No byte of keys is left, neither there nor in the contexts of the process, and no record passes any more."""
    sender, receiver = layers(suite, version13)
    assert receiver.open(sender.seal(b"a"))
    assert sender.holds_context()[0] and receiver.holds_context()[1]
    for layer in (sender, receiver):
        assert any(layer.memory())
        copy = layer.moved()
        layer.wipe()
        assert not any(layer.memory())
        assert copy.holds_context() == (False, False), "the context would still seal and open with them"
        layer.wipe()
        assert layer.seal(b"a") is None
    other, its_peer = layers(suite, version13, 7)
    assert its_peer.open(other.seal(b"b"))[2] == b"b"


def test_memory_used_again_has_no_old_keys() -> None:
    """The contexts remember generations, not places."""
    old, peer = layers(0)
    record = old.seal(b"a")
    assert peer.open(record)
    assert peer.start13(0, True, b"new!" * 8, b"keys" * 8)  # without wiping
    with pytest.raises(_probe.TlsAlert):
        peer.open(record)
    fresh = _probe.TlsLayer()
    assert fresh.start13(0, False, b"keys" * 8, b"new!" * 8)
    assert peer.start13(0, True, b"new!" * 8, b"keys" * 8)
    assert peer.open(fresh.seal(b"b"))[2] == b"b"


def test_a_connection_moves_in_memory() -> None:
    sender, receiver = layers(2)
    assert receiver.open(sender.seal(b"a"))
    assert receiver.moved().open(sender.moved().seal(b"b"))[2] == b"b"


@pytest.mark.parametrize("suite", SUITES)
def test_the_sequence_never_wraps(suite: int) -> None:
    for version13 in (True, False):
        sender, receiver = layers(suite, version13)
        sender.set(tx_seq=LAST - 1)
        receiver.set(rx_seq=LAST - 1)
        assert receiver.open(sender.seal(b"last"))[2] == b"last"
        assert sender.seal(b"none") is None
        assert alert_of(receiver.open, b"\x17\x03\x03\0\x20" + b"x" * 32) == 80


def test_when_keys_are_worn() -> None:
    for suite, version13, limit in [(0, True, True), (1, True, True), (2, True, False), (0, False, False)]:
        sender, receiver = layers(suite, version13)
        sender.set(tx_seq=2**24 - 1)
        receiver.set(rx_seq=2**24 - 1)
        assert not sender.worn
        assert receiver.open(sender.seal(b"a"))
        assert sender.worn == limit
        if limit:
            assert receiver.messages(receiver.open(sender.update())[2]) == ["updated"]
            assert not sender.worn
            assert receiver.open(sender.seal(b"a"))


def test_sizes_that_are_not_sealed() -> None:
    sender, receiver = layers(0)
    assert sender.seal(b"x" * 16385) is None
    sender.set(most=100)
    assert sender.seal(b"x" * 101) is None and sender.seal(b"x" * 100)
    assert sender.seal(b"", ALERT) is None and sender.seal(b"", HANDSHAKE) is None
    receiver.set(rx_seq=1, rx_most=512)
    sender.set(most=1000)
    assert receiver.open(sender.seal(b"x" * 512))
    assert alert_of(receiver.open, sender.seal(b"x" * 513)) == 22
    assert layers(0, False)[0].update() is None, "TLS 1.2 has no KeyUpdate"


def test_nonces_of_12_are_numbers_of_records() -> None:
    sender, _ = layers(0, False)
    assert [sender.seal(b"x")[5:13] for _ in range(3)] == [number.to_bytes(8, "big") for number in (1, 2, 3)]
    sender, _ = layers(2, False)
    assert len(sender.seal(b"x")) == 5 + 1 + 16


def test_a_record_is_small() -> None:
    """Of the 1,200 bytes of an idle connection."""
    assert _probe.TLS_RECORD_BYTES <= 256


# ---- messages


def deliver(receiver: _probe.TlsLayer, sender: _probe.TlsLayer, *pieces: bytes) -> list[str]:
    """The pieces, each in a record; the sender's keys follow."""
    events: list[str] = []
    for piece in pieces:
        found = receiver.messages(receiver.open(sender.seal(piece, HANDSHAKE))[2])
        if set(found) & {"updated", "update asked"}:
            sender.next_keys()
        events += found
    return events


WHAT = {
    "update": (True, True, UPDATE, ["updated"]),
    "update asked": (True, True, UPDATE_ASK, ["update asked"]),
    "ticket": (True, False, TICKET, ["ticket"]),
    "tickets and update": (True, False, TICKET * 3 + UPDATE, ["ticket"] * 3 + ["updated"]),
    "hello": (False, True, CLIENT_HELLO, ["renegotiation"]),
    "hello request": (False, False, b"\0\0\0\0", ["renegotiation"]),
}


@pytest.mark.parametrize("what", WHAT)
def test_messages_in_pieces(what: str) -> None:
    version13, to_server, message, events = WHAT[what]
    client, server = layers(0, version13)
    sender, receiver = (client, server) if to_server else (server, client)
    for cut in range(1, len(message)):
        assert deliver(receiver, sender, message[:cut], message[cut:]) == events
        assert receiver.open(sender.seal(b"data"))[2] == b"data"
    assert deliver(receiver, sender, *(bytes([byte]) for byte in message)) == events
    assert receiver.open(sender.seal(b"data"))[2] == b"data"
    assert deliver(receiver, sender, message) == events


@pytest.mark.parametrize("what", WHAT)
def test_messages_that_may_not_come_here(what: str) -> None:
    """KeyUpdate in 1.3 only; of the others, each in its version and direction only."""
    version13, to_server, message, _ = WHAT[what]
    is_update = message[0] == 24
    for other_version, other_way in [(True, True), (True, False), (False, True), (False, False)]:
        if other_version == version13 and (is_update or other_way == to_server):
            continue
        client, server = layers(0, other_version)
        sender, receiver = (client, server) if other_way else (server, client)
        assert alert_of(deliver, receiver, sender, message) == 10


@pytest.mark.parametrize(
    ("head", "alert"),
    [
        (b"\x04\0\0\x0d", 50),
        (b"\x04\x02\x01\x0b", 50),
        (b"\x18\0\x01\0", 50),
        (b"\x18\0\0\0", 50),
        (b"\x14\0\0\x20", 10),
    ],
)
def test_lengths_of_messages(head: bytes, alert: int) -> None:
    """Known to be bad by their head alone."""
    client, server = layers(0)
    assert alert_of(deliver, client, server, head) == alert
    assert alert_of(client.open, b"") == alert


def test_messages_without_data_between_them_are_counted() -> None:
    client, server = layers(0)
    for _ in range(3):
        for _ in range(32):
            assert deliver(server, client, UPDATE) == ["updated"]
        assert server.open(client.seal(b"data"))
    for _ in range(32):
        deliver(server, client, UPDATE)
    assert server.open(client.seal(b"")), "no data"
    assert alert_of(deliver, server, client, UPDATE) == 10


def test_nothing_comes_inside_a_message_of_13() -> None:
    for kind, content in [(DATA, b"x"), (DATA, b""), (ALERT, b"\x01\0")]:
        client, server = layers(0)
        assert deliver(server, client, UPDATE[:2]) == []
        assert alert_of(server.open, client.seal(content, kind)) == 10
    client, server = layers(0, False)
    assert deliver(server, client, CLIENT_HELLO[:2]) == []
    assert server.open(client.seal(b"x")), "TLS 1.2 has no such rule"


ALERTS = {b"\x01\0": "closed", b"\x02\0": "closed", b"\x01\x5a": "warning", b"\x02\x14": "fatal"}
ALERTS_13 = {**ALERTS, b"\x01\x28": "fatal", b"\x01\x64": "fatal"}
ALERTS_12 = {**ALERTS, b"\x01\x28": "warning", b"\x01\x64": "warning"}


def test_alerts() -> None:
    for version13, expected in [(True, ALERTS_13), (False, ALERTS_12)]:
        for content, event in expected.items():
            assert layers(0, version13)[0].alert(content) == event
        for content in (b"\x01", b"\x01\0\x01", b"\x01\0\x01\0"):
            assert alert_of(layers(0, version13)[0].alert, content) == 50
    layer, _ = layers(0, False)
    assert [layer.alert(b"\x01\x5a") for _ in range(5)] == ["warning"] * 5
    assert alert_of(layer.alert, b"\x01\x5a") == 10


# ---- random talks

WORDS = st.sampled_from(["data", "update", "ask", "empty", "ticket"])
ACTIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), WORDS, st.binary()), max_size=30)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SUITES), st.booleans()), min_size=4, max_size=4), ACTIONS, st.integers(1, 90))
def test_random_talks(kinds: list[tuple[int, bool]], actions: list[tuple[int, int, str, bytes]], step: int) -> None:
    """Four connections by turns, both ways, each stream cut into pieces of `step` bytes: all arrives, in order."""
    talks = [layers(suite, version13, seed) for seed, (suite, version13) in enumerate(kinds)]
    for number, way, what, data in actions:
        sender, receiver = talks[number][way], talks[number][1 - way]
        wire, expected = b"", data * 40
        if what in ("update", "ask") and kinds[number][1]:
            wire = sender.update(what == "ask")
        elif what == "empty":
            wire = sender.seal(b"")
        elif what == "ticket" and kinds[number][1] and way == 1:
            wire = sender.seal(TICKET, HANDSHAKE)
        wire += sender.seal(expected, DATA, len(data) % 2 == 0) + sender.seal(b".", DATA)
        assert receive(receiver, wire, step) == expected + b"."


def receive(receiver: _probe.TlsLayer, wire: bytes, step: int) -> bytes:
    found, held = b"", b""
    for at in range(0, len(wire), step):
        held += wire[at : at + step]
        while opened := receiver.open(held):
            used, kind, content = opened
            held = held[used:]
            if kind == HANDSHAKE:
                receiver.messages(content)
            else:
                found += content
    assert held == b""
    return found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SUITES), st.booleans(), st.binary(max_size=200), st.data())
def test_random_damage(suite: int, version13: bool, data: bytes, choose: st.DataObject) -> None:
    """Whatever is changed, cut out or put in: what was sealed comes out, then nothing more."""
    sender, receiver = one_layer(suite, version13, False), one_layer(suite, version13, True)
    wire = b"".join(sender.seal(data + bytes([number])) for number in range(3))
    start = choose.draw(st.integers(0, len(wire) - 1))
    end = choose.draw(st.integers(start, len(wire)))
    bad = wire[:start] + choose.draw(st.binary(max_size=60)) + wire[end:]
    whole = 0
    while wire[: len(bad)] != bad[: len(wire)] and whole < 4:
        try:
            opened = receiver.open(bad)
        except _probe.TlsAlert:
            break
        if opened is None:
            break
        assert opened[2] == data + bytes([whole])
        assert wire.startswith(bad[: opened[0]]), "what came out was not sealed"
        bad, wire, whole = bad[opened[0] :], wire[opened[0] :], whole + 1
