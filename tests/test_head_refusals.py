"""Heads that are refused: by which rule, at which byte, with which status, and how soon.

A byte that nothing could make right is refused as soon as it is there, and every continuation gets the same refusal;
what only the whole head shows is refused when it is whole, never later.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests import _probe
from tests.test_head import accepted, request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"

REFUSED = [
    # rule, status, bytes before the byte at fault, that byte and what follows
    ("too many empty lines before the request line", 400, b"\r\n" * 32, b"\r\n"),
    ("bare CR in first line", 400, b"\r\n", b"\rGET"),
    ("invalid byte in method", 400, b"", b"\nGET / HTTP/1.1\r\n"),
    ("invalid byte in method", 400, b"", b" GET / HTTP/1.1\r\n"),
    ("invalid byte in method", 400, b"\r\n", b" GET / HTTP/1.1\r\n"),
    ("invalid byte in method", 400, b"", b"\x16\x03\x01"),
    ("invalid byte in method", 400, b"GET", b"\t/"),
    ("invalid byte in method", 400, b"GET", b"\r\n"),
    ("method too long", 501, b"x" * 32, b"x"),
    ("method CONNECT or TRACE", 405, b"", b"CONNECT a:443 HTTP/1.1\r\n"),
    ("method CONNECT or TRACE", 405, b"", b"TRACE / HTTP/1.1\r\n"),
    ("target is neither a path nor http://", 400, b"GET ", b" / HTTP/1.1"),
    ("target is neither a path nor http://", 400, b"GET ", b"a"),
    ("target is neither a path nor http://", 400, b"GET ", b"* HTTP/1.1"),
    ("target is neither a path nor http://", 400, b"GET ", b"?a HTTP/1.1"),
    ("target is neither a path nor http://", 400, b"GET http:", b"\x0f\x0f"),
    ("target is neither a path nor http://", 400, b"GET http", b"\x1a//"),
    ("target is neither a path nor http://", 400, b"GET http", b"s://a/ HTTP/1.1"),
    ("invalid byte in target", 400, b"OPTIONS *", b"a"),
    ("invalid byte in target", 400, b"OPTIONS *", b"/"),
    ("invalid byte in target", 400, b"GET /a", b"\x7f HTTP/1.1"),
    ("invalid byte in target", 400, b"GET /?a", b"\x7f HTTP/1.1"),
    ("invalid byte in target", 400, b"GET /?\xc3", b"\x1f HTTP/1.1"),
    ("invalid byte in target", 400, b"GET /?a=%", b"\0 HTTP/1.1"),
    ("percent sign without two hex digits in target", 400, b"GET /", b"%g0"),
    ("percent sign without two hex digits in target", 400, b"GET /", b"%0g?a"),
    ("percent sign without two hex digits in target", 400, b"GET /", b"% HTTP/1.1"),
    ("fragment in target", 400, b"GET /a?b", b"#c"),
    ("fragment in target", 400, b"GET http://a", b"#c"),
    ("invalid host in target", 400, b"GET http://", b"/p"),
    ("invalid host in target", 400, b"GET http://", b"a:b/ "),
    ("invalid byte in target", 400, b"GET http://u", b"@a/ HTTP/1.1"),
    ("invalid byte in target", 400, b"GET http://a", b"%41/ HTTP/1.1"),
    ("request line without HTTP version", 400, b"GET /", b"\r\n"),
    ("request line without HTTP version", 400, b"GET /", b"\n"),
    ("request line without HTTP version", 400, b"GET http://a", b"\r\n"),
    ("invalid HTTP version", 400, b"GET / ", b" HTTP/1.1"),
    ("invalid HTTP version", 400, b"GET / ", b"http/1.1"),
    ("invalid HTTP version", 400, b"GET / HTTP/", b"\r\n"),
    ("invalid HTTP version", 400, b"GET / HTTP/1", b",1\r\n"),
    ("invalid HTTP version", 400, b"GET / HTTP/1.1", b"0\r\n"),
    ("invalid HTTP version", 400, b"GET / HTTP/1.1", b" \r\n"),
    ("invalid HTTP version", 400, b"GET /a ", b"b HTTP/1.1"),
    ("HTTP version other than 1.x", 505, b"GET / HTTP/", b"2.0\r\n"),
    ("HTTP version other than 1.x", 505, b"GET / HTTP/", b"2.1\r\n"),
    ("bare CR in first line", 400, b"GET / HTTP/1.1", b"\r\r\n"),
    ("bare LF in first line", 400, b"GET / HTTP/1.1", b"\nHost: a"),
    ("white space before first field", 400, b"GET / HTTP/1.1\r\n", b" Host: a"),
    ("folded field line", 400, GET + b"X: y\r\n", b"\tz"),
    ("empty field name", 400, GET, b": x"),
    ("invalid byte in field name", 400, GET, b"\x00: x"),
    ("invalid byte in field name", 400, GET + b"X", b"(y): x"),
    ("invalid byte in field name", 400, GET + b"X", b"\xe9: x"),
    ("white space after field name", 400, GET + b"X", b" : x"),
    ("white space after field name", 400, GET + b"X-Y_Z", b"\t: x"),
    ("field line without colon", 400, GET + b"no-colon", b"\r\n"),
    ("field line without colon", 400, GET + b"no-colon", b"\n"),
    ("bare CR in field value", 400, GET + b"X: a", b"\rb"),
    ("bare CR in field value", 400, GET + b"X: a", b"\r\r\n"),
    ("bare LF in field value", 400, GET + b"X: a", b"\nb"),
    ("NUL in field value", 400, GET + b"X: 0123456789abcdef", b"\x00b"),
    ("control byte in field value", 400, GET + b"X: a", b"\x0bb"),
    ("control byte in field value", 400, GET + b"X: ", b"\x7f"),
    ("bare CR at end of fields", 400, GET, b"\r\x00"),
    ("invalid byte in field name", 400, GET, b"\n"),
]  # fmt: skip

# Found when the head is whole: the offset is that of the field's value, or of the last byte.
REFUSED_AT_THE_END = [
    ("no Host field in HTTP/1.1", 400, b"GET / HTTP/1.1\r\nX: y\r\n\r", b"\n"),
    ("more than one Host field", 400, GET + b"Host: ", b"a\r\n\r\n"),
    ("more than one Host field", 400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: ", b"b\r\n\r\n"),
    ("invalid host in Host field", 400, b"GET / HTTP/1.1\r\nHost: ", b"a/b\r\n\r\n"),
    ("invalid host in Host field", 400, b"GET http://a/ HTTP/1.1\r\nHost: ", b"a/b\r\n\r\n"),
    ("more than one Content-Length field", 400, GET + b"Content-Length: 5\r\nContent-Length: ", b"5\r\n\r\n"),
    ("both Content-Length and Transfer-Encoding", 400,
     GET + b"Content-Length: 5\r\nTransfer-Encoding: ", b"chunked\r\n\r\n"),
    ("more than one Transfer-Encoding field", 400,
     GET + b"Transfer-Encoding: chunked\r\ntransfer-encoding: ", b"chunked\r\n\r\n"),
    ("Transfer-Encoding in HTTP/1.0", 400, b"GET / HTTP/1.0\r\nTransfer-Encoding: ", b"chunked\r\n\r\n"),
    ("too many names in Connection", 400, GET + b"Connection: ", b"x," * 33 + b"\r\n\r\n"),
    ("more than one Expect field", 400,
     GET + b"Expect: 100-continue\r\nContent-Length: 5\r\nExpect: ", b"100-continue\r\n\r\n"),
]  # fmt: skip

VALUES = {  # (rule, status, field): values
    ("unknown expectation", 417, b"Expect"):
        [b"200-ok", b"y 100-continue", b"100-continue, x", b'"100-continue"', b"100-continu", b"100\x80continue"],
    ("invalid Content-Length", 400, b"Content-Length"):
        [b"", b"-5", b"+5", b"0x5", b"5.0", b'"5"', b"5_0", b"5, 5", b"5 5", b"5;", b"\xb25", b"1e3", b"1" * 19],
    ("invalid Transfer-Encoding", 400, b"Transfer-Encoding"):
        [b"", b"chunked;a=b", b'"chunked"', b"chunked\xa0", b"\x85chunked", b"chunked,", b",chunked",
         b"chunked chunked", b"gzip;q=1, chunked"],
    ("chunked is not the last transfer coding", 400, b"Transfer-Encoding"):
        [b"gzip", b"x-gzip", b"DEFLATE", b"x-compress", b"chunked, chunked", b"chunked ,\tx", b"x, gzip", b"x,gzip",
         b"chunked, x, chunked"],
    ("unknown transfer coding", 501, b"Transfer-Encoding"):
        [b"xchunked", b"identity", b"'chunked'", b"gzip, chunked", b"chunke", b"x-chunked", b"gzip,identity"],
    ("invalid Connection field", 400, b"Connection"):
        [b"a b", b'"close"', b"close;", b"close, x=y", b"\xff", b"close, \xe9"],
    ("Connection names a field that must stay", 400, b"Connection"):
        [b"host", b"close, Content-Length", b"TRANSFER-ENCODING", b"x-forwarded-proto", b"forwarded", b"x,Via"],
}  # fmt: skip
REFUSED_AT_THE_END += [
    (rule, status, GET + field + b": ", value + b"\r\n\r\n")
    for (rule, status, field), values in VALUES.items()
    for value in values
]

REFUSED_RESPONSES = [
    ("invalid HTTP version", b"", b"hello"),
    ("invalid HTTP version", b"", b"\r\nHTTP/1.1 200 OK"),
    ("invalid HTTP version", b"", b"http/1.1 200 OK"),
    ("invalid HTTP version", b"HTTP/1.1", b"0 200 OK"),
    ("HTTP version other than 1.x", b"HTTP/", b"2.0 200 OK"),
    ("invalid HTTP version", b"HTTP/1.1", b"\r\n"),
    ("invalid status code", b"HTTP/1.1 ", b" 200 OK"),
    ("invalid status code", b"HTTP/1.1 ", b"099 OK"),
    ("invalid status code", b"HTTP/1.1 20", b" OK"),
    ("invalid status code", b"HTTP/1.1 200", b"0 OK"),
    ("invalid status code", b"HTTP/1.1 200", b"OK"),
    ("bare LF in first line", b"HTTP/1.1 200", b"\n"),
    ("bare LF in first line", b"HTTP/1.1 200 OK", b"\n"),
    ("bare CR in first line", b"HTTP/1.1 200 OK", b"\rX"),
    ("invalid byte in reason phrase", b"HTTP/1.1 200 O", b"\x00K"),
    ("white space before first field", b"HTTP/1.1 200 OK\r\n", b" X: y"),
    ("white space after field name", b"HTTP/1.1 200 OK\r\nX", b" : y"),
    ("folded field line", b"HTTP/1.1 200 OK\r\nX: y\r\n", b" z"),
    ("field line without colon", b"HTTP/1.1 200 OK\r\nX", b"\r\n"),
    ("bare LF in field value", b"HTTP/1.1 200 OK\r\nX: a", b"\nSet-Cookie: b"),
]
REFUSED_RESPONSES_AT_THE_END = [
    ("more than one Content-Length field", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: ", b"2\r\n\r\n"),
    ("invalid Content-Length", b"HTTP/1.1 200 OK\r\nContent-Length: ", b"+2\r\n\r\n"),
    ("both Content-Length and Transfer-Encoding",
     b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: ", b"chunked\r\n\r\n"),
    ("chunked is not the last transfer coding",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ", b"chunked, identity\r\n\r\n"),
    ("unknown transfer coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ", b"xchunked\r\n\r\n"),
    ("Transfer-Encoding in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: ", b"chunked\r\n\r\n"),
    ("interim response with a body", b"HTTP/1.1 103 E\r\nContent-Length: ", b"5\r\n\r\n"),
    ("interim response with a body", b"HTTP/1.1 100 C\r\nTransfer-Encoding: ", b"chunked\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("rule,status,before,rest", REFUSED)
def test_refused_at_once(rule: str, status: int, before: bytes, rest: bytes) -> None:
    raw = before + rest
    refusal = _probe.parse_request(raw)
    assert {name: refusal[name] for name in ("result", "error", "rule")} == {
        "result": "bad", "error": status, "rule": rule,
    }  # fmt: skip
    assert refusal["at"] == len(before)
    check_prefixes(_probe.parse_request, raw, refusal, len(before))


@pytest.mark.parametrize("rule,status,before,rest", REFUSED_AT_THE_END)
def test_refused_at_the_end(rule: str, status: int, before: bytes, rest: bytes) -> None:
    raw = before + rest
    refusal = _probe.parse_request(raw)
    assert (refusal["result"], refusal["error"], refusal["rule"], refusal["at"]) == ("bad", status, rule, len(before))
    name = before.rsplit(b"\r\n", 1)[-1].partition(b":")[0]
    assert refusal["field"] == (b"" if "no Host" in rule else name)
    assert {_probe.parse_request(raw[:cut])["result"] for cut in range(len(raw))} == {"more"}


@pytest.mark.parametrize("rule,before,rest", REFUSED_RESPONSES)
def test_response_refused_at_once(rule: str, before: bytes, rest: bytes) -> None:
    raw = before + rest
    refusal = _probe.parse_response(raw)
    assert (refusal["result"], refusal["error"], refusal["rule"], refusal["at"]) == ("bad", 502, rule, len(before))
    check_prefixes(_probe.parse_response, raw, refusal, len(before))


@pytest.mark.parametrize("rule,before,rest", REFUSED_RESPONSES_AT_THE_END)
def test_response_refused_at_the_end(rule: str, before: bytes, rest: bytes) -> None:
    raw = before + rest
    refusal = _probe.parse_response(raw)
    assert (refusal["result"], refusal["error"], refusal["rule"], refusal["at"]) == ("bad", 502, rule, len(before))
    assert {_probe.parse_response(raw[:cut])["result"] for cut in range(len(raw))} == {"more"}


def check_prefixes(parse: Any, raw: bytes, refusal: dict[str, Any], at: int) -> None:
    """Waited for up to the byte at fault; refused from the first byte on that settles it, at most a few later."""
    first = next(cut for cut in range(len(raw) + 1) if parse(raw[:cut])["result"] == "bad")
    wait = {"percent sign": 3, "method CONNECT": 8, "HTTP version other": 3, "bare CR": 2, "invalid host": 4}
    assert at < first <= at + next((n for text, n in wait.items() if refusal["rule"].startswith(text)), 1)
    assert all(parse(raw[:cut]) == refusal for cut in range(first, len(raw) + 1))


def test_versions_below_1() -> None:
    refusal = _probe.parse_request(b"GET / HTTP/0.9\r\n")
    assert (refusal["error"], refusal["rule"], refusal["at"]) == (400, "invalid HTTP version", 11)


def test_every_rule_has_a_sample() -> None:
    samples = [*REFUSED, *REFUSED_AT_THE_END, *REFUSED_RESPONSES, *REFUSED_RESPONSES_AT_THE_END]
    limits = {"too many fields", "field name too long", "target too long"}
    assert {sample[0] for sample in samples} | limits == _probe.HEAD_RULES


def test_the_field_at_fault_is_named() -> None:
    assert _probe.parse_request(GET + b"X-Long-Name: a\nb")["field"] == b"X-Long-Name"
    assert _probe.parse_request(GET + b"X y: a")["field"] == b""


def test_a_field_name_can_be_too_long_for_its_struct() -> None:
    assert len(accepted(request(b"x" * 65535 + b": y"))["fields"][1]["name"]) == 65535
    assert _probe.parse_request(request(b"x" * 65536 + b": y"))["rule"] == "field name too long"
