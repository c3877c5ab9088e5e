"""proxy_lenient and lenient_requests: what old programs send is taken and written anew; what leaves a doubt is not.

The rooms first (whole, split at every byte, beside the guard page), then lb between a client and a server.
"""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests import _probe
from tests.harness.backend import answer
from tests.harness.lb import BINARY, environment
from tests.harness.wait import wait_for

LF_REQUEST = b"\nGET /a HTTP/1.1\nHost: a\r\nX-Y:  z \n\n"
OK = b"HTTP/1.1 200 OK\r\n"

# name -> (head of an answer, what of it broke the grammar)
ANSWERS = {
    "LF": (b"HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\n", {"lf"}),
    "LF, no reason": (b"HTTP/1.1 200\nContent-Length: 2\n\n", {"lf"}),
    "LF, no fields": (b"HTTP/1.0 200 OK\n\n", {"lf"}),
    "LF here and there": (b"HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 2\r\n\n", {"lf"}),
    "DEL": (OK + b"X-A: b\x7f\r\nContent-Length: 2\r\n\r\n", {"bytes"}),
    "control bytes": (OK + b"X-A: \x01b\x1f\x0b\x08c" + b"d" * 40 + b"\x02\r\nContent-Length: 2\r\n\r\n", {"bytes"}),
    "in the reason": (b"HTTP/1.1 200 O\x7fK\r\nContent-Length: 2\r\n\r\n", {"bytes"}),
    "chunked in 1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", {"coding"}),
    "an empty line": (b"\r\n" + OK + b"Content-Length: 2\r\n\r\n", {"empty"}),
    "an empty line, LF": (b"\n" + OK + b"Content-Length: 2\r\n\r\n", {"empty", "lf"}),
}

# What stays refused: with proxy_lenient a 502, too.
DOUBTFUL = {
    "CR in a value": OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\n",
    "CR before CRLF": OK + b"X: a\r\r\nContent-Length: 2\r\n\r\n",
    "NUL in a value": OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n",
    "folded by LF": OK + b"X: a\n b\r\nContent-Length: 2\r\n\r\n",
    "folded": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n",
    "white space before the colon": OK + b"X : a\r\nContent-Length: 2\r\n\r\n",
    "no colon": OK + b"X\nContent-Length: 2\n\n",
    "two lengths": b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\n",
    "two lengths, equal": b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\n\n",
    "a length and a coding": b"HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n",
    "a length and a coding in 1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a control byte in a length": OK + b"Content-Length: 2\x01\r\n\r\n",
    "a control byte in a coding": OK + b"Transfer-Encoding: \x01chunked\r\n\r\n",
    "a control byte in a name": OK + b"X\x01Y: a\r\nContent-Length: 2\r\n\r\n",
    "another coding in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "two empty lines": b"\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n",
    "CR alone first": b"\r" + OK + b"Content-Length: 2\r\n\r\n",
    "no HTTP": b"hello\n\n",
}


def in_every_split(parse: Any, raw: bytes, **options: Any) -> dict[str, Any]:
    whole: dict[str, Any] = parse(raw, **options)
    assert whole["result"] == "done", whole
    assert {parse(raw[:cut], **options)["result"] for cut in range(len(raw))} == {"more"}
    assert parse(raw + b"\x00rest", **options) == whole
    assert whole["size"] == len(raw)
    return whole


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_taken(name: str) -> None:
    raw, lax = ANSWERS[name]
    assert _probe.parse_response(raw)["result"] == "bad"
    head = in_every_split(_probe.parse_response, raw, lenient=True)
    assert head["lax"] == lax and head["status"] == 200
    assert ("close" in head["flags"]) == (name == "chunked in 1.0")


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_leaves_a_doubt_is_refused(name: str) -> None:
    raw = DOUBTFUL[name]
    whole = _probe.parse_response(raw, lenient=True)
    assert whole["result"] == "bad"
    for cut in range(len(raw)):
        part = _probe.parse_response(raw[:cut], lenient=True)
        assert part["result"] == "more" or part == whole


def test_requests_are_taken() -> None:
    assert _probe.parse_request(LF_REQUEST)["result"] == "bad"
    head = in_every_split(_probe.parse_request, LF_REQUEST, lenient=True)
    assert head["lax"] == {"lf"} and head["target"] == b"/a" and head["host"] == b"a"
    assert [(field["name"], field["value"]) for field in head["fields"]] == [(b"Host", b"a"), (b"X-Y", b"z")]


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: a\nX: \x01\n\n",
        b"GET / HTTP/1.1\nHost: a\nX: a\n b\n\n",
        b"GET / HTTP/1.1\nHost: a\nX: a\rb\n\n",
        b"GET / HTTP/1.1\nHost: a\nX: \x7f\n\n",
        b"GET /\nHost: a\n\n",
        b"GET / HTTP/1.1\nX: y\n\n",
        b"POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n",
        b"POST / HTTP/1.1\nHost: a\nX: y\nTransfer-Encoding: chunked\nContent-Length: 5\n\n",
        b"\n" * 33 + b"GET / HTTP/1.1\nHost: a\n\n",
    ],
)
def test_requests_are_read_as_strictly_else(raw: bytes) -> None:
    assert _probe.parse_request(raw, lenient=True)["result"] == "bad"


CHUNKS = {
    b"5  \r\nhello\r\n0   \r\n\r\n": b"hello",
    b"  5\r\nhello\r\n 0\r\n\r\n": b"hello",
    b"\t5 ;a=b \r\nhello\r\n0\r\n\r\n": b"hello",
    b"0" * 60 + b"5\r\nhello\r\n" + b"0" * 64 + b"\r\n\r\n": b"hello",
    b"5\r\nhello\r\n0\r\nX: a\x01\x7fb\r\n\r\n": b"hello",
}
NO_CHUNKS = [
    b"5\nhello\r\n0\r\n\r\n",
    b"5 \nhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r\n0\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\r\nX: y\n\r\n",
    b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
    b"5 5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b" \r\nhello\r\n0\r\n\r\n",
    b"1000000000000000\r\n",
    b"0" * 65,
    b" " * 65,
]


def decode(pieces: list[bytes], lenient: bool) -> tuple[str, bytes]:
    decoder, data, result = _probe.ChunkDecoder(lenient), b"", "more"
    for piece in pieces:
        result, out, _ = decoder.feed(piece)
        data += out
        if result != "more":
            break
    return result, data


@pytest.mark.parametrize("raw", CHUNKS)
def test_padded_chunks_in_every_split(raw: bytes) -> None:
    assert decode([raw], False)[0] == "bad"
    for cut in range(len(raw) + 1):
        assert decode([raw[:cut], raw[cut:]], True) == ("done", CHUNKS[raw])
    assert decode([raw[at : at + 1] for at in range(len(raw))], True) == ("done", CHUNKS[raw])


@pytest.mark.parametrize("raw", NO_CHUNKS)
def test_chunks_that_leave_a_doubt(raw: bytes) -> None:
    assert decode([raw], True)[0] == "bad"
    assert decode([raw[at : at + 1] for at in range(len(raw))], True)[0] == "bad"


@pytest.mark.parametrize("raw", [*CHUNKS, *NO_CHUNKS])
def test_the_strict_decoder_knows_what_the_lenient_one_takes(raw: bytes) -> None:
    decoder = _probe.ChunkDecoder()
    result, _, used = decoder.feed(raw)
    assert result == "bad"
    lenient = _probe.ChunkDecoder(True)
    lenient.feed(raw[:used])
    assert decoder.lenient_takes(raw[used]) == (lenient.feed(raw[used : used + 1])[0] == "more")


# ---------------------------------------------------------------- lb

SITE = """
http {
    server {
        listen 127.0.0.1:@http@;
        proxy_lenient @lenient@;
        proxy_pass_trailers on;
        location / { proxy_pass http://@backend@; }
        location /old { proxy_pass http://@backend@; proxy_http_version 1.0; }
    }
}
"""


@pytest.fixture
def ask(run_lb, raw_backend, connect):
    """ask(lenient, reply) -> (what a client of HTTP/1.1 got, lb)."""

    def ask(lenient, reply, target=b"/"):
        backend = raw_backend(answer(reply))
        lb = run_lb(SITE, backend=backend.address, lenient=lenient)
        lb.expect_log("lenient|upstream sent")
        client = connect(lb.port("http"))
        client.send(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
        return client.recv_to_end(), lb

    return ask


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_written_anew(ask, name: str) -> None:
    raw, _ = ANSWERS[name]
    body = b"2\r\nok\r\n0\r\n\r\n" if b"chunked" in raw else b"ok"
    text, _lb = ask("on", raw + body)
    head, _, rest = text.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert all(byte >= 32 and byte != 127 for byte in head.replace(b"\r\n", b""))
    assert rest == (b"ok" if b"Content-Length" in raw else b"2\r\nok\r\n0\r\n\r\n")
    if b"X-A" in raw:
        value = head.lower().partition(b"x-a: ")[2].partition(b"\r\n")[0]
        assert value == (b"b" if b"\x1f" not in raw else b"b   c" + b"d" * 40)


@pytest.mark.parametrize("name", ANSWERS)
def test_off_it_is_a_502_that_names_the_directive(ask, name: str) -> None:
    raw, _ = ANSWERS[name]
    text, lb = ask("off", raw + b"ok")
    assert text.startswith(b"HTTP/1.1 502 ")
    wait_for(lambda: '("proxy_lenient on" would take it) while reading response header' in lb.log)


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_doubtful_answer_is_a_502(ask, name: str) -> None:
    text, lb = ask("on", DOUBTFUL[name] + b"ok")
    assert text.startswith(b"HTTP/1.1 502 ")
    wait_for(lambda: "upstream sent" in lb.log)
    assert "would take it" not in lb.log


@pytest.mark.parametrize("target", [b"/", b"/old"])
def test_padded_chunks(ask, target: bytes) -> None:
    reply = OK + b"Transfer-Encoding: chunked\r\n\r\n  5  \r\nhello\r\n00000000000000000000\r\nX-T: a\x01b\r\n\r\n"
    text, _ = ask("on", reply, target)
    assert text.partition(b"\r\n\r\n")[2] == b"5\r\nhello\r\n0\r\nX-T: a b\r\n\r\n"


def test_padded_chunks_off(ask) -> None:
    reply = OK + b"Transfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\r\n\r\n"
    text, lb = ask("off", reply)
    assert text.startswith(b"HTTP/1.1 502 ")
    wait_for(lambda: '("proxy_lenient on" would take it) while reading upstream' in lb.log)


def test_lf_in_chunks_stays_refused(ask) -> None:
    text, lb = ask("on", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n")
    assert text.startswith(b"HTTP/1.1 502 ")
    wait_for(lambda: "chunk size line does not end with CRLF" in lb.log)
    assert "would take it" not in lb.log


REQUESTS = """
http {
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://@backend@; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name old;
        lenient_requests on;
        location / { proxy_pass http://@backend@; }
    }
}
"""


def test_a_request_is_written_anew_by_the_server_that_says_so(run_lb, http_backend, connect) -> None:
    backend = http_backend()
    lb = run_lb(REQUESTS, backend=backend.address)
    lb.expect_log("lenient_requests")
    raw = b"\nPOST /a HTTP/1.1\nHost: old\nX-Y: z\nContent-Length: 2\n\nokGET /b HTTP/1.1\nHost: old\n\n"
    client = connect(lb.port("http")).send_each_byte(raw)
    assert [client.response().status for _ in range(2)] == [200, 200]
    found = [(one.method, one.target, one.body) for one in backend.requests]
    assert found == [("POST", "/a", b"ok"), ("GET", "/b", b"")]
    assert backend.requests[0].header("X-Y") == "z"
    for host in (b"other", b"old.other"):
        client = connect(lb.port("http")).send(b"GET / HTTP/1.1\nHost: %s\n\n" % host)
        assert client.response().status == 400
        client.expect_closed()
    assert len(backend.requests) == 2


def test_off_a_request_with_lf_is_refused(run_lb, connect) -> None:
    lb = run_lb("http { server { listen 127.0.0.1:@http@; return 204; } }")
    assert connect(lb.port("http")).send(LF_REQUEST).response().status == 400


def test_the_check_of_a_configuration_names_the_place(tmp_path) -> None:
    conf = tmp_path / "lb.conf"
    conf.write_text(
        f"pid {tmp_path}/lb.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n    lenient_requests on;\n"
        "    proxy_lenient on;\n    server {\n        listen 127.0.0.1:1;\n        access_log off;\n"
        "        proxy_lenient off;\n    }\n}\n"
    )
    command = [BINARY, "-t", "-p", f"{tmp_path}/", "-c", "lb.conf"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "[warn]" in line] == [
        f'lb: [warn] "lenient_requests on" takes request heads whose lines end in LF alone in {conf}:5',
        f'lb: [warn] "proxy_lenient on" takes responses that break the grammar of HTTP in {conf}:6',
    ]
