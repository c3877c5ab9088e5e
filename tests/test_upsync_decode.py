"""Consul's answers as bytes: received into memory that is used again, and only what has changed is read."""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb import _fast
from lb.upsync import consul_http
from lb.upsync.consul_http import Body, Unshareable
from lb.upsync.entries import Entry
from lb.upsync.kv_decode import Decoder
from lb.upsync.source import SourceError

KEYS = st.text(max_size=6) | st.sampled_from(
    ["a},{b", '"},{"Key":"x', "[{", "}]", '\\"', "a},{},{b", '},{"Key":"c"},{', "\\", "\u00e9},{", "u/127.0.0.1:80"]
)
VALUES = st.none() | st.binary(max_size=5)
ANSWER = st.dictionaries(KEYS, VALUES, max_size=12)
STEP = st.tuples(st.lists(KEYS, max_size=3), st.dictionaries(KEYS, VALUES, max_size=3))  # what goes, what comes


def body_of(answer: dict[str, bytes | None], *, spaces: bool = False, plain: bool = True, index: int = 7) -> bytes:
    rows = [
        {
            "LockIndex": 0,
            "Key": key,
            "Flags": 0,
            "Value": base64.b64encode(value).decode() if value else None,
            "CreateIndex": index,
        }
        for key, value in answer.items()
    ]
    text = json.dumps(rows, separators=(", ", ": ") if spaces else (",", ":"), ensure_ascii=not plain)
    return text.encode("utf-8", "surrogatepass")


def whole(body: bytes) -> list[Entry]:
    """What the answer says, read plainly."""
    items = json.loads(body.decode("utf-8", "replace"))
    return [(item["Key"], base64.b64decode(item["Value"]) if item["Value"] else None) for item in items]


@given(ANSWER, st.lists(STEP, max_size=5), st.booleans(), st.booleans(), st.booleans())
def test_an_answer_is_decoded_as_json_whatever_its_keys(
    answer: dict[str, bytes | None], steps: list[Any], ordered: bool, spaces: bool, plain: bool
) -> None:
    decoder = Decoder()
    last = bytearray()
    for gone, fresh in [([], {}), *steps]:
        answer = {key: value for key, value in answer.items() if key not in gone} | fresh
        given = dict(sorted(answer.items())) if ordered else answer
        body = bytearray(body_of(given, spaces=spaces, plain=plain))
        assert decoder.entries(memoryview(body)) == whole(bytes(body))
        last[:] = b"x" * len(last)  # memory that is used again
        last = body
        assert not decoder.ordered or list(given) == sorted(given)


@given(st.integers(0, 1 << 32))
def test_what_has_not_changed_stays_the_same_object(seed: int) -> None:
    """Many small changes of a longer list; every answer is an edit of the last one."""
    rnd = random.Random(seed)
    answer: dict[str, bytes | None] = {f"u/127.0.0.{n}:80": b"{}" for n in rnd.sample(range(100), 40)}
    decoder = Decoder()
    before: dict[str, Entry] = {}
    for _ in range(12):
        for _ in range(rnd.choice([0, 1, 1, 1, 2, 9])):
            key = f"u/127.0.0.{rnd.randrange(100)}:80"
            if rnd.random() < 0.4:
                answer.pop(key, None)
            else:
                answer[key] = rnd.choice([b"{}", b'{"weight":2}', None])
        answer.setdefault("u/last", None)
        body = body_of(dict(sorted(answer.items())))
        found = decoder.entries(body)
        assert found == whole(body)
        assert decoder.ordered
        assert all(before[key] is entry for entry in found for key in [entry[0]] if before.get(key) == entry)
        before = {entry[0]: entry for entry in found}


def test_an_answer_without_change_is_the_same_list() -> None:
    decoder = Decoder()
    body = body_of({"a": b"1", "b": b"2"})
    found = decoder.entries(body)
    assert decoder.entries(bytes(bytearray(body))) is found
    assert decoder.entries(body + b"\n") is found


def test_a_key_that_looks_like_an_empty_object_between_two_is_read() -> None:
    decoder = Decoder()
    for answer in ({"a},{},{b": b"1"}, {"a": None, "a},{},{b": b"1"}, {"a": None}, {"a": None, "b},{},{": None}):
        for _ in range(2):
            assert decoder.entries(body_of(answer)) == list(answer.items())


def test_bytes_that_are_no_text_are_replaced() -> None:
    decoder = Decoder()
    bodies = [body_of({"a": None, "b": None}), b'[{"Key":"a\xe2"},{"Key":"b"}]', b'[{"Key":"a\xff"},{"Key":"b"}]']
    assert [decoder.entries(body)[0][0] for body in bodies] == ["a", "a\ufffd", "a\ufffd"]
    again = decoder.entries(b'[{"Key":"a\xff"},{"Key":"a\xfe"},{"Key":"b"}]')
    assert [key for key, _ in again] == ["a\ufffd", "a\ufffd", "b"]
    assert not decoder.ordered


def test_a_bad_answer_is_forgotten() -> None:
    decoder = Decoder()
    good = body_of({"a": b"1", "b": b"2", "c": b"3"})
    found = decoder.entries(good)
    for bad in (good.replace(b'"b"', b"7"), good[:-1], good.replace(b'"Key":"b",', b""), good.replace(b"Mg==", b"M")):
        with pytest.raises((SourceError, ValueError)):
            decoder.entries(bad)
        assert decoder.entries(good) is found


@pytest.mark.parametrize(
    "body",
    [
        *("", "{}", "[", "[{]", "[{}]", "[{},{}]", '[{"Key":1}]', "[1]"),
        *('[{"Key":"a","Value":2}]', '[{"Key":"a"},{"Key"}]', '[{"Key":"a","Value":"A"}]'),
    ],
)
def test_an_answer_that_is_no_list_of_keys_is_refused(body: str) -> None:
    with pytest.raises((SourceError, ValueError)):
        Decoder().entries(body.encode())


@pytest.mark.parametrize("body", ["[]", "null", " [ ] "])
def test_no_keys(body: str) -> None:
    assert Decoder().entries(body.encode()) == []


@given(st.lists(st.integers(0, 3), min_size=1), st.lists(st.integers(0, 3), min_size=1), st.integers(1, 700))
def test_where_two_lists_differ(one: list[int], two: list[int], length: int) -> None:
    """The parts hold all that differs, are whole objects, and are no longer than they must be but for one object."""
    a, b = (b"[" + b",".join(b"{%s}" % (b"%d" % n * length) for n in each) + b"]" for each in (one, two))
    apart = _fast.objects_apart(a, b)
    if one == two:
        assert apart is None
        return
    assert apart is not None
    start, rest = apart
    parts = a[start:-rest], b[start:-rest]
    assert a[:start] == b[:start] and a[-rest:] == b[-rest:]
    assert all(part[:1] == b"{" and part[-1:] == b"}" for part in parts)
    counts = [part.count(b"},{") + 1 for part in parts]
    same = next((n for n, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), min(len(one), len(two)))
    back = list(zip(one[same:][::-1], two[same:][::-1], strict=False))
    tail = next((n for n, (x, y) in enumerate(back) if x != y), len(back))
    for count, each in zip(counts, (one, two), strict=True):
        assert max(len(each) - same - tail, 1) <= count <= len(each) - same - tail + 2


def test_what_is_no_list_of_objects_has_no_difference() -> None:
    for one, two in ((b"", b"[{}]"), (b"[{}]", b"[]"), (b"[{", b"[{")):
        with pytest.raises(ValueError, match="not a list of objects"):
            _fast.objects_apart(one, two)


# ---- receiving


class Wires:
    """A socket that has one answer."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self.data))  # type: ignore[arg-type]  # it is raw enough


def answer(body: bytes, how: str, cut: int = 0) -> http.client.HTTPResponse:
    """`how` it is framed; `cut`: so many bytes are missing at the end."""
    head = b"HTTP/1.1 200 OK\r\n"
    if how == "length":
        head += b"Content-Length: %d\r\n" % len(body)
    if how == "chunks":
        head += b"Transfer-Encoding: chunked\r\n"
        parts = [part for part in (body[: len(body) // 3], body[len(body) // 3 :]) if part] + [b""]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    data = head + b"\r\n" + body
    made = http.client.HTTPResponse(Wires(data[: len(data) - cut]))  # type: ignore[arg-type]
    made.begin()
    return made


HOW = pytest.mark.parametrize("how", ["length", "chunks", "end"])


@HOW
def test_bodies_of_any_length_one_after_the_other(how: str) -> None:
    body = Body()
    room = consul_http.LEAST_ROOM
    for length in (0, 1, room - 1, room, room + 1, 5 * room, 4 * room, 2 * room, 17, 1_000_000, 3, 2 * room, 100):
        data = random.Random(length).randbytes(length)
        body.fill(answer(data, how))
        assert bytes(body.view()) == data


@HOW
def test_memory_is_used_again_and_given_back(how: str) -> None:
    body = Body()
    body.fill(answer(bytes(900_000), how))
    body.fill(answer(bytes(900_000), how))
    first = body.view().obj
    body.fill(answer(bytes(901_000 if how != "length" else 899_000), how))
    assert body.view().obj is first
    for _ in range(2):
        body.fill(answer(b"[]", how))
    assert len(body.view().obj) <= consul_http.LEAST_ROOM


@HOW
def test_a_body_that_is_too_long(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_http, "MAX_BODY", 100_000)
    body = Body()
    body.fill(answer(bytes(100_000), how))
    text = "answer of 100001 bytes is larger than 100000" if how == "length" else "answer is larger than 100000 bytes"
    with pytest.raises(Unshareable, match=text):
        body.fill(answer(bytes(100_001), how))


@pytest.mark.parametrize(("how", "text"), [("length", "400 bytes read, 100 more"), ("chunks", "bytes read")])
def test_a_body_that_is_cut(how: str, text: str) -> None:
    with pytest.raises(http.client.IncompleteRead, match=text):
        Body().fill(answer(bytes(500), how, cut=100))
