"""Heads of requests and responses: what the parser reads out of them. What it refuses is in test_head_refusals.py.

Every sample is also given in all its prefixes (the parser has no state: that is every split, and byte by byte). The
probe puts each text next to a guard page.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import _probe


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"".join(text + b"\r\n" for text in (line, *([host] if host else []), *fields, b""))


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(text + b"\r\n" for text in (line, *fields, b""))


def accepted(raw: bytes, **limits: int) -> dict[str, Any]:
    head: dict[str, Any] = _probe.parse_request(raw, **limits)
    assert head["result"] == "done", head
    return head


def accepted_response(raw: bytes) -> dict[str, Any]:
    head: dict[str, Any] = _probe.parse_response(raw)
    assert head["result"] == "done", head
    return head


# ---------------------------------------------------------------- what is read

SAMPLES = {
    "smallest": b"G / HTTP/1.0\r\n\r\n",
    "empty lines": b"\r\n\r\n" + request(),
    "curl": request(b"User-Agent: curl/7.88.1", b"Accept: */*"),
    "spaces": request(b"X: \t a \t b\t ", b"Y:", b"Z:\t"),
    "absolute": request(line=b"GET http://b.c:81/p?q HTTP/1.1"),
    "asterisk": request(line=b"OPTIONS * HTTP/1.1"),
    "chunked": request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1"),
    "odd names": request(b"a!#$%&'*+.^`|~: x", b"under_score: y", b"long-" + b"x" * 40 + b": z"),
    "escapes": request(line=b"GET /a%20b/%7E?c%2f=%3F HTTP/1.1"),
    "long": request(b"Cookie: " + b"abc=def; " * 40, line=b"GET /" + b"seg/" * 30 + b" HTTP/1.1"),
}
RESPONSE_SAMPLES = {
    "smallest": b"HTTP/1.0 200\r\n\r\n",
    "usual": response(b"Server: x", b"Content-Length: 3", b"Set-Cookie: a", b"Set-Cookie: b"),
    "no reason": response(b"X: y", line=b"HTTP/1.1 404 "),
    "reason": response(line=b"HTTP/1.1 999 a\tb \xff"),
    "interim": response(line=b"HTTP/1.1 103 Early Hints"),
}


@pytest.mark.parametrize("raw", SAMPLES.values(), ids=SAMPLES)
def test_request_in_every_split(raw: bytes) -> None:
    whole = accepted(raw)
    assert whole["size"] == len(raw)
    assert {_probe.parse_request(raw[:cut])["result"] for cut in range(len(raw))} == {"more"}
    assert _probe.parse_request(raw + b"\x00GET") == whole


@pytest.mark.parametrize("raw", RESPONSE_SAMPLES.values(), ids=RESPONSE_SAMPLES)
def test_response_in_every_split(raw: bytes) -> None:
    whole = accepted_response(raw)
    assert whole["size"] == len(raw)
    assert {_probe.parse_response(raw[:cut])["result"] for cut in range(len(raw))} == {"more"}
    assert _probe.parse_response(raw + b"\x00body") == whole


def test_request_line_and_fields() -> None:
    head = accepted(b"\r\n" + request(b"X-Y:  z ", line=b"PUT /a?b=c HTTP/1.1", host=b"hOsT:\tExample.org:8080"))
    assert head["start"] == 2
    assert (head["method"], head["target"], head["path"]) == (b"PUT", b"/a?b=c", b"/a?b=c")
    assert (head["host"], head["authority"]) == (b"Example.org", b"Example.org:8080")
    assert [(field["name"], field["value"]) for field in head["fields"]] == [
        (b"hOsT", b"Example.org:8080"),
        (b"X-Y", b"z"),
    ]
    assert (head["minor"], head["length"], head["flags"]) == (1, -1, {"host"})


def test_status_line() -> None:
    head = accepted_response(response(b"Content-Length: 0", line=b"HTTP/1.0 503 Service Unavailable"))
    assert (head["status"], head["reason"], head["minor"], head["length"]) == (503, b"Service Unavailable", 0, 0)
    assert accepted_response(response(line=b"HTTP/1.1 200"))["reason"] == b""


def test_method_ids() -> None:
    names = [b"x", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"]
    for number, name in enumerate(names):
        head = accepted(request(line=name + b" / HTTP/1.1"))
        assert (head["method"], head["method_id"]) == (name, number)
    webdav = [b"MKCOL", b"COPY", b"MOVE", b"PROPFIND", b"PROPPATCH", b"LOCK", b"UNLOCK"]
    for number, name in enumerate(webdav, 10):
        assert accepted(request(line=name + b" / HTTP/1.1"))["method_id"] == number
    for name in (b"get", b"Post", b"GETS", b"PROPFINDX", b"lock", b"!#$%&'*+-.^_`|~", b"x" * 32):
        head = accepted(request(line=name + b" / HTTP/1.1"))
        assert (head["method"], head["method_id"]) == (name, 0)


def test_minor_versions() -> None:
    for digit in b"0123456789":
        line = b"GET / HTTP/1." + bytes([digit])
        assert accepted(request(line=line))["minor"] == (digit != ord("0"))


KNOWN_FIELDS = (
    b"Host Connection Content-Length Transfer-Encoding TE Trailer Upgrade Keep-Alive Proxy-Connection Proxy Expect "
    b"Date Server Content-Type User-Agent Referer X-Forwarded-For Cookie Location Set-Cookie X-Accel-Buffering X-Pad "
    b"Last-Modified Authorization Accept-Encoding If-Modified-Since Range"
).split()
HOP_FIELDS = set(b"Connection Transfer-Encoding TE Trailer Upgrade Keep-Alive Proxy-Connection Proxy".split())


@pytest.mark.parametrize("number,name", list(enumerate(KNOWN_FIELDS, 1)), ids=lambda value: str(value))
def test_field_ids(number: int, name: bytes) -> None:
    for text in (name, name.lower(), name.upper(), name.swapcase()):
        value = b": chunked" if name == b"Transfer-Encoding" else b": 1"
        field = accepted_response(response(text + value))["fields"][0]
        assert (field["id"], field["hop"]) == (number, name in HOP_FIELDS)
    for at in range(len(name)) if name != b"X-Accel-Buffering" else range(8):
        other = name[:at] + b"q" + name[at + 1 :]
        assert accepted_response(response(other + b": 1"))["fields"][0]["id"] == 0
    assert accepted_response(response(name[:-1] + b": 1", name + b"q: 1"))["fields"][0]["id"] == (
        21 if name == b"X-Accel-Buffering" else 0
    )


@pytest.mark.parametrize(
    "target,path,quoted",
    [
        (b"/", b"/", False),
        (b"/a.b/c-d_e~f?x=1&y=%41//../.", b"/a.b/c-d_e~f?x=1&y=%41//../.", False),
        (b"/!$&'()*+,;=:@[]?!$&'()*+,;=:@[]/?", b"/!$&'()*+,;=:@[]?!$&'()*+,;=:@[]/?", False),
        (b"/%41", b"/%41", True),
        (b'/a|b^{c}\\"<d>`', b'/a|b^{c}\\"<d>`', False),
        (b"/\xc3\xa9\x80\xff?\xc3\xa9", b"/\xc3\xa9\x80\xff?\xc3\xa9", False),
        (b'/?100%&a=%zz|^{}\\"<>`%', b'/?100%&a=%zz|^{}\\"<>`%', False),
        (b"/%2f?%", b"/%2f?%", True),
        (b"//evil/p", b"//evil/p", True),
        (b"/a/./b", b"/a/./b", True),
        (b"/0123456789abcdef/..", b"/0123456789abcdef/..", True),
        (b"/0123456789abcd//", b"/0123456789abcd//", True),
        (b"/.well-known", b"/.well-known", True),
        (b"http://b", b"", False),
        (b"http://b/c?d", b"/c?d", False),
        (b"HTTP://B:80?d", b"?d", False),
        (b"http://b//c", b"//c", True),
    ],
)
def test_targets(target: bytes, path: bytes, quoted: bool) -> None:
    head = accepted(request(line=b"GET " + target + b" HTTP/1.1"))
    assert (head["target"], head["path"], "quoted" in head["flags"]) == (target, path, quoted)
    assert head["form"] == (0 if target[:1] == b"/" else 1)


def test_absolute_form_goes_before_host() -> None:
    head = accepted(request(line=b"GET http://b.example:81/ HTTP/1.1", host=b"Host: other:82"))
    assert (head["host"], head["authority"]) == (b"b.example", b"b.example:81")


@pytest.mark.parametrize(
    "text,host,authority",
    [
        (b"a", b"a", b"a"),
        (b"A-b.c_d~1", b"A-b.c_d~1", b"A-b.c_d~1"),
        (b"a:", b"a", b"a"),
        (b"a:1", b"a", b"a:1"),
        (b"a:65535", b"a", b"a:65535"),
        (b"a.", b"a", b"a."),
        (b"a.:80", b"a", b"a.:80"),
        (b"127.0.0.1:80", b"127.0.0.1", b"127.0.0.1:80"),
        (b"[::1]", b"[::1]", b"[::1]"),
        (b"[::1]:", b"[::1]", b"[::1]"),
        (b"[1:2:3:4:5:6:7:8]:80", b"[1:2:3:4:5:6:7:8]", b"[1:2:3:4:5:6:7:8]:80"),
        (b"[::ffff:1.2.3.4]", b"[::ffff:1.2.3.4]", b"[::ffff:1.2.3.4]"),
        (b"[1111:2222:3333:4444:5555:6666:123.123.123.123]", *[b"[1111:2222:3333:4444:5555:6666:123.123.123.123]"] * 2),
    ],
)
def test_hosts(text: bytes, host: bytes, authority: bytes) -> None:
    for raw in (request(host=b"Host: " + text), request(line=b"GET http://" + text + b"/ HTTP/1.1")):
        head = accepted(raw)
        assert (head["host"], head["authority"]) == (host, authority)


BAD_HOSTS = (
    b".a a..b a/b u@a a:80:80 a:99999 a:65536 a:0 a:+1 a:8x a:000080 a:123456 a,b a;b a#x a\\b a%41 \xffa a?b a|b a*b "
    b"(a) a\tb : :80 . .. ::1] [::1 [] [:] [1:2] [::1]a [::1]:x [::1].a [g::] [::1%25lo] [v1.a] [1:2:3:4:5:6:7:8:9] "
    b"[::1::] [11112222333344445555666677778888:1111:2222:3333:4444]"
).split(b" ")


@pytest.mark.parametrize("text", [b"", b"a b", *BAD_HOSTS])
def test_bad_hosts(text: bytes) -> None:
    head = _probe.parse_request(request(host=b"Host: " + text))
    assert (head["result"], head["error"], head["rule"]) == ("bad", 400, "invalid host in Host field")
    if text not in (b"a/b", b"a?b"):  # in a target these are a host and a path
        head = _probe.parse_request(request(line=b"GET http://" + text + b"/ HTTP/1.1"))
        assert (head["result"], head["error"]) == ("bad", 400)


# ---------------------------------------------------------------- what the fields mean


@pytest.mark.parametrize(
    "fields,flags",
    [
        ([b"Connection: close"], {"close"}),
        ([b"Connection: Keep-Alive"], {"keep-alive"}),
        ([b"Connection: keep-alive, close"], {"keep-alive", "close"}),
        ([b"Connection: keep-alive", b"Connection: ,, CLOSE ,"], {"keep-alive", "close"}),
        ([b"Connection: ,,,"], set()),
        ([b"Connection:"], set()),
        ([b"Connection: upgrade"], set()),
        ([b"Upgrade: websocket"], set()),
        ([b"Upgrade: websocket", b"Connection: x, Upgrade"], {"upgrade"}),
        ([b"Expect: 100-continue"], {"expect"}),
        ([b"Expect: 100-Continue", b"Content-Length: 1"], {"expect"}),
        ([b"Expect: 100-continue", b"Content-Length: 0"], {"expect"}),
        ([b"Expect: 100-continue", b"Transfer-Encoding: chunked"], {"expect", "chunked"}),
        ([b"Transfer-Encoding:\tCHUNKED "], {"chunked"}),
    ],
)
def test_flags(fields: list[bytes], flags: set[str]) -> None:
    assert accepted(request(*fields))["flags"] == flags | {"host"}


def test_http_10_has_no_upgrade_and_no_expectation() -> None:
    fields = [b"Connection: upgrade", b"Upgrade: x", b"Expect: 100-continue", b"Content-Length: 3"]
    assert accepted(request(*fields, line=b"POST / HTTP/1.0", host=b""))["flags"] == set()


@pytest.mark.parametrize("text,length", [(b"0", 0), (b"007", 7), (b"9" * 18, 10**18 - 1), (b"\t5 \t", 5)])
def test_content_length(text: bytes, length: int) -> None:
    assert accepted(request(b"Content-Length:" + text))["length"] == length
    assert accepted_response(response(b"Content-Length:" + text))["length"] == length


def hop_names(head: dict[str, Any]) -> set[bytes]:
    return {field["name"] for field in head["fields"] if field["hop"]}


def test_connection_names_fields() -> None:
    fields = [b"x-a: 1", b"X-B: 2", b"Connection: x-b", b"COOKIE: c", b"X-A: 3", b"X: 4"]
    raw = request(b"Connection: close, X-A,Cookie", *fields)
    assert hop_names(accepted(raw)) == {b"x-a", b"Connection", b"X-B", b"COOKIE", b"X-A"}
    names = b",".join(b"x-%d" % number for number in range(32))
    assert hop_names(accepted(request(b"X-31: y", b"X-32: y", b"Connection: " + names + b", close \t"))) == {
        b"X-31",
        b"Connection",
    }
    raw = request(b"Connection: X-Forwarded-For", b"X-Forwarded-For: 6.6.6.6")
    assert hop_names(accepted(raw)) == {b"Connection", b"X-Forwarded-For"}


def test_a_response_with_a_bad_connection_field_is_only_not_reused() -> None:
    for text in (b"a b", b"Content-Length", b'"close"', b",".join([b"x"] * 40)):
        raw = response(b"Connection: " + text, b"Transfer-Encoding: chunked")
        assert accepted_response(raw)["flags"] == {"close", "chunked"}


def test_odd_names() -> None:
    names = [b"Content_Length", b"Transfer_Encoding", b"_", b"X-Accel-a_b", b"x.y", b"!#$%*+^`|~", b"a-b", b"0", b"-"]
    fields = accepted(request(*(name + b": 5" for name in names)))["fields"][1:]
    assert [field["bad_name"] for field in fields] == [True] * 6 + [False] * 3
    fields = accepted_response(response(*(name + b": 5" for name in names)))["fields"]
    assert not any(field["bad_name"] for field in fields)


def test_limits() -> None:
    fields = [b"X%d: y" % i for i in range(9)]
    assert len(accepted(request(*fields), max_fields=10)["fields"]) == 10
    head = _probe.parse_request(request(*fields), max_fields=9)
    assert (head["error"], head["rule"]) == (400, "too many fields")
    assert accepted(request(line=b"GET /123456789 HTTP/1.1"), max_target=10)["target"] == b"/123456789"
    for raw in (request(line=b"GET /1234567890 HTTP/1.1"), b"GET /1234567890", b"GET /1234567890\x00"):
        head = _probe.parse_request(raw, max_target=10)
        assert (head["error"], head["rule"], head["at"]) == (414, "target too long", 14)
    assert _probe.parse_request(b"GET /123\x007890", max_target=10)["rule"] == "invalid byte in target"


# ---------------------------------------------------------------- byte classes


def class_of(text: str) -> set[int]:
    return {ord(character) for character in text}


ALNUM = class_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
CLASSES = {  # bit: RFC 9110, 9112 and 3986, by hand
    1: ALNUM | class_of("!#$%&'*+-.^_`|~"),
    2: (set(range(33, 127)) | set(range(128, 256))) - class_of("#%"),
    4: {9} | set(range(32, 127)) | set(range(128, 256)),
    8: ALNUM | class_of("-"),
    16: ALNUM | class_of("-._~"),
    32: {9} | set(range(32, 127)) - class_of('"\\') | set(range(128, 256)),
    64: set(range(33)) | set(range(127, 256)) | class_of('"#%<>?\\^`{|}'),
    128: class_of("0123456789abcdefABCDEF"),
}


@pytest.mark.parametrize("bit", CLASSES)
def test_byte_classes(bit: int) -> None:
    assert {byte for byte in range(256) if _probe.byte_class(byte) & bit} == CLASSES[bit]


@pytest.mark.parametrize("what", ["value", "name"])
@given(text=st.lists(st.sampled_from(b"aZ09-~ \t\r\n\x00\x1f\x7f\x80\xff@[`{/:"), max_size=50).map(bytes))
def test_scans_agree_with_the_table(what: str, text: bytes) -> None:
    raw = b"x" * 17 + text
    assert _probe.scan(what, raw, 17, False) == _probe.scan(what, raw, 17, True)


@given(text=st.lists(st.sampled_from(b"aZ09-_~!$&;=[]@/.//..% ?#<>\\^`{|}\x7f\x80"), max_size=50).map(bytes))
def test_target_scan_agrees_with_the_table(text: bytes) -> None:
    """The fast one may stop earlier, at a byte that may stand there: going on from it must lead to the same."""
    raw, rare = b"x" * 16 + b"/" + text, b'!$]~"<>\\^`{|}\x80'
    at, dots = 17, False
    while True:
        step, seen = _probe.scan("target", raw, at, False)
        at, dots = at + step, dots or seen
        if at == len(raw) or raw[at] not in rare:
            break
        at += 1
    assert (at - 17, dots) == _probe.scan("target", raw, 17, True)
