"""The chunk decoder: data out of framing, in place, the same in every split; and every rule by which it refuses."""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests import _probe

BODIES = {
    b"0\r\n\r\n": b"",
    b"5\r\nhello\r\n0\r\n\r\n": b"hello",
    b"000000000000005\r\nhello\r\n000\r\n\r\n": b"hello",
    b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n": b"0123456789" * 2,
    b"5\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\n\r\n": b"hello, world",
    b"2\r\n\r\n\r\n0\r\n\r\n": b"\r\n",
    b"1\r\nx\r\n000000000000001\r\ny\r\n000000000000000\r\n\r\n": b"xy",
    b"5;a\r\nhello\r\n0;b=c\r\n\r\n": b"hello",
    b'5;a="x;y\\"\xff\t";b=c;d\r\nhello\r\n0\r\n\r\n': b"hello",
    b'5 ;a = b\t; c\t=\t"d" ;e\r\nhello\r\n0\r\n\r\n': b"hello",
    b'1;a=""\r\nx\r\n0\r\n\r\n': b"x",
    b"1\r\nx\r\n0\r\nTrailer-A: 1\r\nb_!~:\r\nc:\td \xff\t\r\n\r\n": b"x",
    b"1\r\nx\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: x\r\nHost: evil\r\n\r\n": b"x",
}


def decode(pieces: list[bytes]) -> tuple[str, bytes, int]:
    """(result, all data, bytes used of all); a decoder that has ended stays so."""
    decoder = _probe.ChunkDecoder()
    data, used, result = b"", 0, "more"
    for piece in pieces:
        result, out, took = decoder.feed(piece)
        data, used = data + out, used + took
        if result != "more":
            assert decoder.feed(b"0\r\n\r\n") == (result, b"", 0)
            break
        assert took == len(piece)
    assert decoder.total == len(data)
    return (decoder.rule or result), data, used


@pytest.mark.parametrize("raw", BODIES)
def test_in_every_split(raw: bytes) -> None:
    expected = ("done", BODIES[raw], len(raw))
    assert decode([raw]) == expected
    assert decode([raw + b"GET / HTTP/1.1\r\n"]) == expected
    assert decode([raw[at : at + 1] for at in range(len(raw))]) == expected
    for cut in range(len(raw)):
        assert decode([raw[:cut]])[0] == "more"
        assert decode([raw[:cut], raw[cut:] + b"5"]) == expected


def test_an_empty_piece_changes_nothing() -> None:
    assert decode([b"", b"1\r\n", b"", b"x", b"", b"\r\n0\r\n\r\n"]) == ("done", b"x", 11)


def test_large_chunks() -> None:
    data = bytes(range(256)) * 1024
    raw = b"%x\r\n%b\r\n" % (len(data), data) * 3 + b"0\r\n\r\n"
    assert decode([raw]) == ("done", data * 3, len(raw))
    assert decode([raw[at : at + 4096] for at in range(0, len(raw), 4096)]) == ("done", data * 3, len(raw))


def test_the_largest_size_is_waited_for() -> None:
    assert decode([b"fffffffffffffff\r\nabc"]) == ("more", b"abc", 20)


# ---------------------------------------------------------------- refusals

REFUSED = [  # rule, what is taken, the byte at fault and what follows
    *[("invalid chunk size", b"", text)
      for text in (b"\r\n", b"\n", b"g", b"-5\r\n", b"+5\r\n", b" 5\r\n", b";a\r\n", b"\x00")],
    *[("invalid chunk size", b"5", text)
      for text in (b"g", b"\x00\r\n", b"_0", b".0\r\n", b",5", b"\xa0", b"\x0b\r\n")],
    ("invalid chunk size", b"0", b"x5\r\n"),
    ("chunk size too long", b"0" * 15, b"5\r\n"),
    ("chunk size too long", b"f" * 15, b"f\r\n"),
    ("chunk size line does not end with CRLF", b"5", b"\nhello"),
    ("chunk size line does not end with CRLF", b"5\r", b"\rhello"),
    ("chunk size line does not end with CRLF", b"5\r", b"hello"),
    ("chunk size line does not end with CRLF", b"5;a", b"\nhello"),
    ("chunk size line does not end with CRLF", b"5;a\r", b"b\r\nhello"),
    ("invalid chunk extension", b"5\t", b"\r\nhello"),
    ("invalid chunk extension", b"5 ", b"5\r\nhello"),
    ("invalid chunk extension", b"5;", b"\r\nhello"),
    ("invalid chunk extension", b"5;", b"=a\r\nhello"),
    ("invalid chunk extension", b"5;", b";a\r\nhello"),
    ("invalid chunk extension", b"5;a ", b"\r\nhello"),
    ("invalid chunk extension", b"5;a ", b"b\r\nhello"),
    ("invalid chunk extension", b"5;a=", b"\r\nhello"),
    ("invalid chunk extension", b"5;a=", b";b\r\nhello"),
    ("invalid chunk extension", b"5;a=b", b"=c\r\nhello"),
    ("invalid chunk extension", b"5;a=b ", b"\r\nhello"),
    ("invalid chunk extension", b"5;a=b", b'"c"\r\nhello'),
    ("invalid chunk extension", b'5;a="', b"\r\nhello"),
    ("invalid chunk extension", b'5;a="', b"\nhello"),
    ("invalid chunk extension", b'5;a="\\', b"\nhello"),
    ("invalid chunk extension", b'5;a="b"', b"c\r\nhello"),
    ("invalid chunk extension", b"5;a", b"\x00\r\nhello"),
    ("invalid chunk extension", b"5;", b"\xe9\r\nhello"),
    ("chunk extensions too long", b"5;" + b"a" * 1024, b"a"),
    ("chunk data not followed by CRLF", b"5\r\nhello", b"X\r\n0\r\n\r\n"),
    ("chunk data not followed by CRLF", b"5\r\nhello", b"\n0\r\n\r\n"),
    ("chunk data not followed by CRLF", b"5\r\nhello\r", b"0\r\n\r\n"),
    ("chunk data not followed by CRLF", b"5\r\nhell\n\r", b"0\r\n\r\n"),
    ("bare CR at end of fields", b"0\r\n\r", b"X\r\n\r\n"),
    ("invalid byte in field name", b"0\r\n", b"\n"),
    ("invalid byte in field name", b"0\r\n", b"\x00"),
    ("invalid byte in field name", b"0\r\nX", b"(: y"),
    ("empty field name", b"0\r\n", b": y\r\n\r\n"),
    ("white space after field name", b"0\r\nX", b" : y\r\n\r\n"),
    ("field line without colon", b"0\r\nno-colon", b"\r\n\r\n"),
    ("field line without colon", b"0\r\nno-colon", b"\n"),
    ("folded field line", b"0\r\n", b" X: y\r\n\r\n"),
    ("folded field line", b"0\r\nX: y\r\n", b"\tz\r\n\r\n"),
    ("bare LF in field value", b"0\r\nX: y", b"\n\r\n"),
    ("bare CR in field value", b"0\r\nX: y\r", b"z\r\n"),
    ("NUL in field value", b"0\r\nX: y", b"\x00"),
    ("control byte in field value", b"0\r\nX: y", b"\x7f"),
    ("trailer section too long", b"0\r\n" + b"T: x\r\n" * 1365 + b"T:", b" x\r\n\r\n"),
    ("trailer section too long", b"0\r\nX:" + b"y" * 8190, b"y"),
]  # fmt: skip


@pytest.mark.parametrize("rule,taken,rest", REFUSED)
def test_refused(rule: str, taken: bytes, rest: bytes) -> None:
    raw = taken + rest
    whole = decode([raw])
    assert (whole[0], whole[2]) == (rule, len(taken))
    assert decode([taken])[0] == "more"
    cuts = range(len(raw) + 1) if len(raw) < 200 else range(0, len(raw), 97)
    assert all(decode([raw[:cut], raw[cut:]]) == whole for cut in cuts)
    assert decode([raw[at : at + 1] for at in range(len(raw))]) == whole


def test_every_rule_has_a_sample() -> None:
    assert {rule for rule, _, _ in REFUSED} >= _probe.CHUNK_RULES


def test_extensions_are_paid_for_by_data() -> None:
    """Many small chunks with long extensions are refused, the same extensions on larger chunks are not."""
    small = b"1;" + b"a" * 100 + b"\r\nx\r\n"
    rule, data, _ = decode([small * 1000])
    assert rule == "chunk extensions too long"
    assert 150 < len(data) < 250
    signed = b"100;signature=" + b"0" * 64 + b"\r\n" + b"x" * 256 + b"\r\n"
    assert decode([signed * 1000 + b"0\r\n\r\n"])[0] == "done"


# ---------------------------------------------------------------- the oracle

PIECES = (
    [
        b"0",
        b"5",
        b"a",
        b"\r\n",
        b"\r\n",
        b"hello",
        b"0123456789",
        b";",
        b"a",
        b"=",
        b'"',
        b"\\",
        b" ",
        b"\t",
        b"T: x",
        b":",
    ],
    [b"\n", b"\r", b"\x00", b"\xff", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nT: x\r\n\r\n", b"x", b"GET"],
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Chunks of which a few pieces are wrong, or pieces in any order."""
    if draw(st.integers(0, 3)) == 0:
        return b"".join(draw(st.lists(st.sampled_from([*PIECES[0], *PIECES[1]]), max_size=12)))
    raw = b""
    for size in [*draw(st.lists(st.integers(1, 20), max_size=4)), 0]:
        line = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % size
        extension = draw(
            st.sampled_from([b"", b"", b";a", b";a=b", b';a="b;c"', b" ;a", b";", b" ", b";a = b", b";\xe9"])
        )
        raw += line + extension + draw(st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r"]))
        raw += (b"x" * size + b"\r\n") if size else b""
    trailers = draw(
        st.lists(st.sampled_from([b"T: x", b"a_b:", b"c:\xff", b"no", b" d: e", b"e : f", b":"]), max_size=2)
    )
    raw += b"".join(line + b"\r\n" for line in trailers) + b"\r\n"
    at = draw(st.integers(0, len(raw) * 4))
    return raw if at >= len(raw) else raw[:at] + draw(st.binary(max_size=2)) + raw[at + draw(st.integers(0, 1)) :]


def h11_body(raw: bytes) -> bytes:
    """The data that h11 reads out of the body; it must be whole and nothing may be left over."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.next_event()
    connection.receive_data(raw)
    data = b""
    while isinstance(seen := connection.next_event(), h11.Data):
        data += bytes(seen.data)
    assert isinstance(seen, h11.EndOfMessage)
    assert connection.trailing_data[0] == b""
    return data


def without_white_space(raw: bytes) -> bytes:
    """The one thing that lb takes and h11 does not: bad white space before a ";" (RFC 9112 7.1.1: MUST be parsed)."""
    return raw.replace(b" ;", b";").replace(b"\t;", b";")


@settings(max_examples=1000, deadline=None)
@given(raw=bodies(), cut=st.integers(0, 200))
def test_h11_accepts_what_lb_accepts(raw: bytes, cut: int) -> None:
    result, data, used = decode([raw])
    event("done" if result == "done" else "more" if result == "more" else "bad")
    assert decode([raw[:cut], raw[cut:]]) == (result, data, used)
    if result == "done":
        assert h11_body(without_white_space(raw[:used])) == data


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=10), cuts=st.lists(st.integers(0, 4000), max_size=5)
)
def test_what_h11_writes_is_read_back(pieces: list[bytes], cuts: list[int]) -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Transfer-Encoding", "chunked")]))
    raw = b"".join(connection.send(h11.Data(data=piece)) for piece in pieces) + connection.send(h11.EndOfMessage())
    at = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    assert decode([raw[begin:end] for begin, end in pairwise(at)]) == ("done", b"".join(pieces), len(raw))
