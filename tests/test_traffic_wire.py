"""Every wire case through a real lb, before a backend that records every byte.

Requests of level R and S (but BYTE_EXACT) are refused with not one byte to the backend; A and P arrive in canonical
form: parsed and written anew.  Answers are passed on, refused or broken off as the case says.  Each request is sent
whole, byte by byte, and split in two: at a sample of places, or at every one with LB_WIRE=full (`make wire`).
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from pathlib import Path

import h11
import pytest

from tests.harness import tls_socket
from tests.harness.backend import Listener, RawBackend
from tests.harness.client import Client
from tests.harness.wait import wait_for
from tests.harness.world import World
from tests.test_wire_cases import BODIES, BYTE_EXACT, REFUSED_RESPONSES, must_be_refused

CASES = [json.loads(line) for line in Path(__file__).with_name("data").joinpath("wire-cases.jsonl").open()]
REQUESTS = [case for case in CASES if case["kind"] == "request"]
CHOSEN = ("A03", "E41")  # "forward, or 400": lb chooses 400
OVER_TLS = {"E34"} if tls_socket.ENGINE else set()  # an https:// target is the connection's own there, and goes on
REFUSED = [case for case in REQUESTS if (must_be_refused(case) or case["id"] in CHOSEN) and case["id"] not in OVER_TLS]
ACCEPTED = [case for case in REQUESTS if case not in REFUSED]
RESPONSES = [case for case in CASES if case["kind"] == "response"]
FULL = os.environ.get("LB_WIRE") == "full"
SPLITS = 24  # places of a sample

# Statuses of all answers on the connection, where it is not one 200.
ANSWERS = {"A04": [200, 200], "D37": [200, 200]}
HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "proxy", "http2-settings"}
CANONICAL = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.1\r\n(?:[!#$%&'*+.^`|~0-9A-Za-z-]+: [^\r\n\0]*[^\r\n\0 \t]\r\n)+\r\n"
)


class Recorder(Listener):
    """Answers every whole request with 200 and keeps every byte; `connections`: what came on each."""

    def __init__(self) -> None:
        self.connections: list[bytearray] = []
        super().__init__()

    def serve(self, sock, number) -> None:
        got = bytearray()
        self.connections.append(got)
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        while data := sock.recv(65536):
            got += data
            http.receive_data(data)
            while self._answer(sock, http):
                pass

    def _answer(self, sock, http) -> bool:
        event = http.next_event()
        if isinstance(event, h11.Request):
            self.method = bytes(event.method)
        if isinstance(event, h11.EndOfMessage):
            body = b"" if self.method == b"HEAD" else b"ok"
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
            http.send(h11.Response(status_code=200, headers=[("Content-Length", "2")]))
            http.send(h11.Data(data=b"ok"))
            http.send(h11.EndOfMessage())
            http.start_next_cycle()
        return event is not h11.NEED_DATA and event is not h11.PAUSED

    @property
    def total(self) -> int:
        return sum(len(one) for one in list(self.connections))


CONF = """
http {
    access_log off;
    server { listen 127.0.0.1:@http@; keepalive_requests 1000000;
        location / { proxy_pass http://@back@; proxy_set_header X-Forwarded-For $remote_addr; } }
}
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    """(lb, recorder) for all cases of this module."""
    world = World(tmp_path_factory.mktemp("wire"))
    recorder = Recorder()
    world.listeners.append(recorder)
    lb = world.run_lb(CONF, back=recorder.address)
    yield lb, recorder
    world.end(False)


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=[case["id"] for case in cases])


def raw_of(case) -> bytes:
    return base64.b64decode(case["raw_b64"])


def statuses(case) -> set[int]:
    """What a refusal may say."""
    return {int(text) for text in re.findall(r"\b[45]\d\d\b", case["expected"])} | {400}


def refused(client: Client, case) -> None:
    answer = client.response("GET")
    assert answer.status in statuses(case)
    assert answer.header("connection") == "close"
    client.expect_closed()


def settle(lb, recorder: Recorder) -> int:
    """One more request, so that what was under way before it has arrived. Its bytes at the backend."""
    marker = f"/marker-{time.monotonic_ns()}".encode()
    with lb.client() as client:
        assert client.request(target=marker.decode()).status == 200
    found = [bytes(one) for one in recorder.connections if marker in one]
    return len(found[0]) - found[0].index(b"GET " + marker)


@named(REFUSED)
def test_refused_without_a_byte_to_the_backend(stand, case):
    lb, recorder = stand
    before = recorder.total
    with lb.client() as client:
        refused(client.send(raw_of(case)), case)
    extra = settle(lb, recorder)
    assert recorder.total == before + extra


@named([case for case in REFUSED if len(raw_of(case)) < 4000])
def test_refused_in_pieces(stand, case):
    """Byte by byte, and in two parts: a request is whole before a server is chosen (proxy_request_buffering)."""
    lb, recorder = stand
    raw = raw_of(case)
    before = recorder.total
    for client in in_two(lb, raw):
        refused(client, case)
    with lb.client() as client:
        try:
            client.send_each_byte(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before its last byte
        try:
            assert client.response("GET").status in statuses(case)
        except ConnectionResetError:
            pass  # bytes sent after the refusal can overtake its arrival
    extra = settle(lb, recorder)
    assert recorder.total == before + extra


def in_two(lb, raw: bytes) -> list[Client]:
    """Connections that have sent the request in two parts, each at another place."""
    places = range(1, len(raw))
    if not FULL and len(raw) > SPLITS:
        places = sorted({1 + round(i * (len(raw) - 2) / (SPLITS - 1)) for i in range(SPLITS)})
    clients = []
    for start in range(0, len(places), 64):
        batch = [(lb.client(), place) for place in places[start : start + 64]]
        for client, place in batch:
            client.send(raw[:place])
        time.sleep(0.003)  # the first parts are read on their own; if not, the case is only the easier one
        for client, place in batch:
            try:
                client.send(raw[place:])
            except (BrokenPipeError, ConnectionResetError):
                pass  # the answer is there already
        clients += [client for client, _ in batch]
    return clients


def seen_since(recorder: Recorder, marks: dict[int, int]) -> bytes:
    """What the backend got on all connections since `marks`."""
    return b"".join(bytes(one[marks.get(i, 0) :]) for i, one in enumerate(list(recorder.connections)))


def mark(recorder: Recorder) -> dict[int, int]:
    return {i: len(one) for i, one in enumerate(list(recorder.connections))}


@named(ACCEPTED)
def test_accepted_in_canonical_form(stand, case):
    lb, recorder = stand
    raw = raw_of(case)
    expected = ANSWERS.get(case["id"], [200])
    marks = mark(recorder)
    with lb.client() as client:
        client.send(raw)
        assert [client.response("GET").status for _ in expected] == expected
        if case["id"] in ("A12", "H19", "H02"):
            client.expect_closed()
    whole = seen_since(recorder, marks)
    check_canonical(case, whole, expected.count(200))
    if case["id"] in BYTE_EXACT:
        assert whole.split(b" ")[1] == raw.split(b" ")[1]


def check_canonical(case, data: bytes, count: int) -> None:
    """`count` requests, each head in the one form lb writes, the body that the case carries, no hop-by-hop field."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    bodies = []
    for _ in range(count):
        head = CANONICAL.match(http.trailing_data[0]) if not bodies else None
        assert bodies or head, data
        request = http.next_event()
        assert isinstance(request, h11.Request), request
        names = [bytes(name).lower().decode() for name, _ in request.headers]
        assert not HOP & set(names) and names.count("host") == 1
        assert ("content-length" in names) + ("transfer-encoding" in names) <= 1
        assert names.count("x-forwarded-for") == 1
        body = b""
        while isinstance(event := http.next_event(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage) and not event.headers
        bodies.append(body)
        http.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        http.send(h11.EndOfMessage())
        http.start_next_cycle()
    assert http.trailing_data[0] == b""
    assert bodies[0] == BODIES.get(case["id"], b"")


@named([case for case in ACCEPTED if len(raw_of(case)) < 4000])
def test_accepted_in_pieces(stand, case):
    """However it is cut, the backend gets the same bytes."""
    lb, recorder = stand
    raw = raw_of(case)
    expected = ANSWERS.get(case["id"], [200])
    marks = mark(recorder)
    with lb.client() as client:
        client.send(raw)
        assert [client.response("GET").status for _ in expected] == expected
    wanted = sorted(letters(seen_since(recorder, marks)))  # what came on several connections has no order
    clients = in_two(lb, raw)
    for client in clients:
        with client:
            assert [client.response("GET").status for _ in expected] == expected
    marks = mark(recorder)
    with lb.client() as client:
        try:
            client.send_each_byte(raw)
        except (BrokenPipeError, ConnectionResetError):
            assert case["id"] == "A12"  # closed after the first answer
        assert client.response("GET").status == expected[0]
        if case["id"] != "A12":
            assert [client.response("GET").status for _ in expected[1:]] == expected[1:]
    assert sorted(letters(seen_since(recorder, marks))) == wanted


def letters(data: bytes) -> list[tuple[object, ...]]:
    """The requests in it, without the framing: whether lb knew the length when it sent the head depends on the cut."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    found = []
    while isinstance(request := http.next_event(), h11.Request):
        body = b""
        while isinstance(event := http.next_event(), h11.Data):
            body += bytes(event.data)
        fields = [pair for pair in request.headers if pair[0] not in (b"content-length", b"transfer-encoding")]
        found.append((request.method, request.target, fields, body))
        http.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        http.send(h11.EndOfMessage())
        http.start_next_cycle()
    assert http.trailing_data[0] == b""
    return found


# ---- answers

ANSWERED = {  # (status, body) that the client gets
    **dict.fromkeys(("S01", "S02", "S22", "S43", "S47", "S59"), (200, b"ok")),
    "S39": (204, b""),
    "S61": (426, b"ok"),
}
CUT = {"S50", "S51", "S53"}  # the head may have gone out before the body broke a rule


@named(RESPONSES)
def test_answer(run_lb, raw_backend, connect, case):
    raw = raw_of(case)

    def script(connection):
        connection.recv_head()
        connection.send(raw)
        connection.recv_to_end()

    back: RawBackend = raw_backend(script)
    lb = run_lb(CONF, back=back.address)
    client = connect(lb.port("http")).send(base64.b64decode(case["request_b64"]))
    if case["id"] in ANSWERED:
        answer = client.response()
        assert (answer.status, answer.body) == ANSWERED[case["id"]]
        check_answer(case, answer)
    elif case["id"] in CUT:
        check_cut(client)
    elif case["id"] in REFUSED_RESPONSES or "502" in case["expected"]:
        assert client.response().status == 502
    else:
        raise AssertionError(f"no expectation for {case['id']}")
    if case["id"] not in ("S01", "S02", "S22", "S43", "S59", "S61"):
        wait_for(lambda: back.connections[0].ended, "lb to close the connection to the backend")


def check_answer(case, answer) -> None:
    names = [name.lower() for name, _ in answer.headers]
    assert ("transfer-encoding" in names) == (case["id"] == "S02")
    if case["id"] == "S59":
        assert answer.all("set-cookie") == ["a", "b"]
    assert b"POISON" not in answer.body


def check_cut(client: Client) -> None:
    """502, or an answer that breaks off: never one that looks whole."""
    try:
        answer = client.response()
    except (AssertionError, h11.RemoteProtocolError, ConnectionResetError):
        assert not bytes(client.received).endswith(b"0\r\n\r\n")
        return
    assert answer.status == 502
