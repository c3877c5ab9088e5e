"""The hot parser held against h11: what lb accepts, h11 accepts, and reads the same out of it.

Messages are made by hypothesis from good pieces and a few bad ones: about half are accepted. Where the two differ,
lb is the stricter one, but for these, which the tests take into account:

* Empty lines before a request: lb skips up to 32 (RFC 9112 2.2), h11 none.
* HTTP/1.2 to 1.9: lb reads them as 1.1 (RFC 9110 6.2) and wants a Host; h11 keeps the number.
* h11 gives up on heads over 16 KiB; the pieces here are short.
"""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import _probe

# ---------------------------------------------------------------- messages

# Kind of piece: good ones, bad ones (bad for one of the two parsers at least, or mostly).
METHODS = [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"get", b"X!"], [b"GE(T", b"", b"G\xc9T", b"TRACE", b" GET"]
TARGETS = (
    [
        *(b"/", b"/a/b.c?d=e&f", b"/%41%2f", b"//x", b"/[]", b"http://b/c", b"http://b:1", b"HTTP://[::1]:8/?q"),
        *(b"/\\", b"/\xc3", b"/?%&|^{}", b"http://b/\xc3\xa9?\xff%"),
    ],
    [
        b"*",
        b"/%4",
        b"/#f",
        b"/a b",
        b"a",
        b"http://u@b/",
        b"http://b%41/",
        b"https://b/",
        b"/\x7f",
        b"",
    ],
)
VERSIONS = (
    [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.9"],
    [b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"", b"HTTP/1.1 "],
)
STATUSES = [b"200", b"200", b"404", b"204", b"304", b"999", b"100", b"103"], [b"20", b"099", b"2000", b" 200"]
REASONS = [b" OK", b"", b" ", b" a\tb\xff"], [b"OK", b" \x00", b"\t"]
NAMES = [b"X-A", b"Accept", b"Cookie", b"a.b|c~", b"under_score", b"X" * 20], [b"", b"X Y", b"X\x80", b"X(Y", b"X "]
VALUES = (
    [b"", b"a", b"a b\tc", b"\xff\x80", b"x" * 70, b'"q"'],
    [b"a\x00b", b"a\x0b", b"a\r\n b", b"\x7f", b"a\rb", b"a\nb"],
)
LENGTHS = [b"0", b"5", b"017", b"9" * 18], [b"5, 5", b"+5", b"5 5", b"", b"0x5", b"9" * 19, b"\xb2"]
CODINGS = [b"chunked", b"Chunked"], [b"gzip", b"gzip, chunked", b"chunked, chunked", b"x", b"", b"chunked;a"]
CONNECTIONS = [b"close", b"keep-alive", b"Keep-Alive, x-a", b"upgrade", b",,"], [b"a b", b"host"]
EXPECTS = [b"100-continue", b"100-Continue"], [b"x", b""]
WHITE = [b" ", b"", b"\t", b"  \t "], [b"\x0b"]
LINE_ENDS = [b"\r\n"], [b"\n", b"\r", b"\r\r\n"]

Pieces = tuple[list[bytes], list[bytes]]


def pick(draw: st.DrawFn, pieces: Pieces, rare: int = 20) -> bytes:
    """A good piece, or once in `rare` times a bad one."""
    return draw(st.sampled_from(pieces[draw(st.integers(1, rare)) == rare]))


@st.composite
def framing(draw: st.DrawFn) -> list[bytes]:
    """Mostly one field, or none, that frames a body."""
    kinds = [
        [b"Content-Length"],
        [b"transfer-encoding"],
        [],
        [],
        [b"content-length"] * 2,
        [b"Content-Length", b"Transfer-Encoding"],
    ]
    names = kinds[draw(st.integers(0, 3 if draw(st.integers(0, 9)) else 5))]
    return [name + b":" + pick(draw, CODINGS if b"ransfer" in name else LENGTHS) for name in names]


@st.composite
def others(draw: st.DrawFn) -> bytes:
    name = pick(draw, ([b"Connection", b"Upgrade", b"Expect", *NAMES[0] * 2], NAMES[1]))
    value = pick(draw, {b"Connection": CONNECTIONS, b"Expect": EXPECTS}.get(name, VALUES))
    return name + b":" + pick(draw, WHITE, 40) + value + pick(draw, WHITE, 40)


@st.composite
def message(draw: st.DrawFn, first: bytes, host: list[bytes]) -> bytes:
    fields = draw(st.permutations([*host, *draw(framing()), *draw(st.lists(others(), max_size=4))]))
    raw = b"".join(line + pick(draw, LINE_ENDS, 80) for line in [first, *fields, b""])
    if draw(st.integers(0, 9)) > 0:
        return raw
    at = draw(st.integers(0, len(raw)))  # one in ten has a byte put in, taken out or changed
    put = draw(st.binary(max_size=1) | st.sampled_from([b"\r", b"\n", b" ", b"\t", b"\x00", b":", b"\r\n"]))
    return raw[:at] + put + raw[at + draw(st.integers(0, 1)) :]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    first = b" ".join(pick(draw, pieces) for pieces in (METHODS, TARGETS, VERSIONS))
    hosts = [[b"Host: a"], [b"hOST:a:80"], [b"Host: [::1]"]], [[], [b"Host: a"] * 2, [b"Host: a,b"], [b"Host:"]]
    return draw(message(first, draw(st.sampled_from(hosts[draw(st.integers(1, 20)) == 20]))))


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    return draw(message(pick(draw, VERSIONS) + b" " + pick(draw, STATUSES) + pick(draw, REASONS), []))


# ---------------------------------------------------------------- comparison


def read_by_h11(connection: h11.Connection, raw: bytes) -> Any:
    """The first event that h11 makes of these bytes; a test fails with h11's reason if it refuses them."""
    connection.receive_data(raw)
    try:
        return connection.next_event()
    except h11.RemoteProtocolError as error:
        pytest.fail(f"lb accepts what h11 refuses: {error}: {raw!r}")


def check_fields(head: dict[str, Any], seen: Any) -> None:
    ours = [(field["name"].lower(), field["value"]) for field in head["fields"]]
    theirs = list(seen.headers)
    if "chunked" in head["flags"]:  # h11 writes the coding in lower case
        ours = [(name, b"chunked" if name == b"transfer-encoding" else value) for name, value in ours]
    assert ours == theirs


def check_framing(head: dict[str, Any], connection: h11.Connection, to_the_end: bool) -> None:
    """h11 wants as many body bytes as lb would take, and no more."""
    if "chunked" in head["flags"]:
        connection.receive_data(b"3\r\nabc\r\n0\r\n\r\n")
        assert body_of(connection) == (b"abc", True)
    elif head["length"] > 0:
        given_length = min(head["length"], 50)
        connection.receive_data(b"x" * given_length)
        assert body_of(connection) == (b"x" * given_length, head["length"] == given_length)
    elif head["length"] < 0 and to_the_end:
        connection.receive_data(b"abc")
        assert body_of(connection) == (b"abc", False)
    else:
        assert body_of(connection) == (b"", True)


def body_of(connection: h11.Connection) -> tuple[bytes, bool]:
    """The data that is there, and whether the message ended with it."""
    data = b""
    while isinstance(seen := connection.next_event(), h11.Data):
        data += bytes(seen.data)
    return data, isinstance(seen, h11.EndOfMessage)


@settings(max_examples=1000, deadline=None)
@given(raw=requests())
def test_requests(raw: bytes) -> None:
    check_request(raw)


def check_request(raw: bytes) -> None:
    head = _probe.parse_request(raw)
    if head["result"] != "done":
        return
    assert head["size"] <= len(raw)
    connection = h11.Connection(h11.SERVER)
    target = head["target"]  # h11 wants printable ASCII there; browsers send more
    plain = bytes(0x7E if byte >= 0x80 else byte for byte in target)
    seen = read_by_h11(
        connection, raw[head["start"] : head["size"]].replace(b" " + target + b" ", b" " + plain + b" ", 1)
    )
    assert isinstance(seen, h11.Request)
    assert (seen.method, seen.target) == (head["method"], plain)
    assert (seen.http_version > b"1.0") == head["minor"]
    check_fields(head, seen)
    check_framing(head, connection, False)


@settings(max_examples=1000, deadline=None)
@given(raw=responses())
def test_responses(raw: bytes) -> None:
    check_response(raw)


def check_response(raw: bytes) -> None:
    head = _probe.parse_response(raw)
    if head["result"] != "done":
        return
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    seen = read_by_h11(connection, raw[: head["size"]])
    assert isinstance(seen, (h11.Response, h11.InformationalResponse))
    assert (seen.status_code, seen.reason) == (head["status"], head["reason"])
    check_fields(head, seen)
    if head["status"] >= 200 and head["status"] not in (204, 304):
        check_framing(head, connection, True)


# ---------------------------------------------------------------- the other way round

TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=40).map(str.encode)
TEXTS = st.text([chr(code) for code in [9, *range(32, 127), *range(128, 256)]], max_size=60).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
PLAIN_FIELDS = st.lists(st.tuples(TOKENS.map(lambda name: b"X-" + name), TEXTS), max_size=20)


@settings(max_examples=200, deadline=None)
@given(
    method=TOKENS.filter(lambda text: len(text) <= 32), fields=PLAIN_FIELDS, length=st.none() | st.integers(0, 10**9)
)
def test_good_requests_are_accepted(method: bytes, fields: list[tuple[bytes, bytes]], length: int | None) -> None:
    """What h11 writes, lb reads back."""
    headers = [(b"Host", b"a.example:80"), *fields]
    if length is not None:
        headers.append((b"Content-Length", b"%d" % length))
    event_sent = h11.Request(method=method, target=b"/a?b", headers=headers)
    raw = h11.Connection(h11.CLIENT).send(event_sent)
    head = _probe.parse_request(raw)
    assert head["result"] == "done"
    assert (head["method"], head["target"], head["host"]) == (method, b"/a?b", b"a.example")
    assert head["length"] == (-1 if length is None else length)
    assert [(field["name"].lower(), field["value"]) for field in head["fields"]] == list(event_sent.headers)
