"""Every message of the wire cases, held against the parsers alone: what is refused, what is taken, with which framing.

The levels are those of tests/data/wire-cases.jsonl: R and S (but BYTE_EXACT) must be refused by the head parser or the
chunk decoder, A must be taken as the table here says, P is policy of the proxy. Responses (S...) have no level:
REFUSED_RESPONSES lists the ones that are a 502. What a parser cannot decide is in LEFT_TO_THE_PROXY, with the reason.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import _probe

CASES = [json.loads(line) for line in Path(__file__).with_name("data").joinpath("wire-cases.jsonl").open()]
REQUESTS = [case for case in CASES if case["kind"] == "request"]
RESPONSES = [case for case in CASES if case["kind"] == "response"]

# What the message carries behind its head, for the accepted ones; all others have no body.
BODIES: dict[str, bytes] = {
    "A05": b"hello", "A06": b"hello", "A07": b"hello", "C34": b"hello", "D09": b"hello", "D10": b"hello",
    "D30": b"hello", "D37": b"", "S01": b"ok", "S02": b"ok", "S22": b"ok", "S39": b"hello", "S47": b"ok", "S57": b"ok",
    "S59": b"ok", "S61": b"ok",
}  # fmt: skip

# "forward, or 400 past a bound": this one is past ours.
MAY_BE_REFUSED = {"A03"}

# "400 or byte-exact": what browsers send goes on as it came.
BYTE_EXACT = {"E23", "E47"}

REFUSED_RESPONSES = {
    *("S03", "S06", "S07", "S12", "S13", "S14", "S16", "S17", "S23", "S24", "S27", "S31", "S32", "S34", "S35", "S36"),
    *("S37", "S46", "S50", "S51", "S53"),
}

LEFT_TO_THE_PROXY = {
    "A12": "Connection: close ends the connection after the first answer; the parser only says so",
    "H02": "the proxy adds its own X-Forwarded-For after the client's was removed",
    "H07": "forwarding an Upgrade is a matter of the location",
    "H18": "loop detection is policy",
    "H21": "a cap on ranges is policy",
    "S39": "204 has no body whatever its fields say: the proxy drops the framing and closes the connection",
    "S43": "an interim response is followed by another head",
    "S45": "how many interim responses are too many is counted over heads",
    "S47": "what follows a whole response is not the parser's",
    "S57": "the largest head is the caller's buffer",
    "S61": "only a 101 that answers an Upgrade begins a tunnel",
}


def named(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case["id"] for case in cases])


def must_be_refused(case: dict[str, Any]) -> bool:
    return case["level"] in "RS" and case["id"] not in BYTE_EXACT


def read(case: dict[str, Any]) -> tuple[dict[str, Any], bytes, str]:
    """The head, the body that follows it, and the rule that the head or the chunks break ("" for none)."""
    raw = base64.b64decode(case["raw_b64"])
    head = _probe.parse_request(raw) if case["kind"] == "request" else _probe.parse_response(raw)
    assert head["result"] != "more", "a whole message must not be waited for"
    if head["result"] == "bad":
        return head, b"", head["rule"]
    rest = raw[head["size"] :]
    if "chunked" not in head["flags"]:
        return head, rest[: max(head["length"], 0)], ""
    body = _probe.ChunkDecoder()
    result, data, _ = body.feed(rest)
    assert result != "more"
    return head, data, body.rule


@named([case for case in REQUESTS if must_be_refused(case)])
def test_refused(case: dict[str, Any]) -> None:
    head, _, rule = read(case)
    assert rule in _probe.RULES
    statuses = {int(text) for text in re.findall(r"\b[45]\d\d\b", case["expected"])}
    assert head.get("error", _probe.status_of(rule)) in statuses


@named([case for case in REQUESTS if not must_be_refused(case)])
def test_accepted(case: dict[str, Any]) -> None:
    head, body, rule = read(case)
    if case["id"] in MAY_BE_REFUSED:
        assert rule and head["error"] == 400
        return
    assert rule == ""
    assert body == BODIES.get(case["id"], b"")
    assert (head["length"] >= 0 or "chunked" in head["flags"]) == (case["id"] in BODIES)


@named(RESPONSES)
def test_response(case: dict[str, Any]) -> None:
    head, body, rule = read(case)
    if case["id"] in REFUSED_RESPONSES:
        assert rule in _probe.RULES
        assert head.get("error", 502) == 502
        assert "502" in case["expected"] or "abort" in case["expected"]
    else:
        assert rule == ""
        assert body == BODIES.get(case["id"], b"")


def test_the_lists_name_real_cases() -> None:
    accepted = {case["id"] for case in REQUESTS if case["level"] in "AP"} | {case["id"] for case in RESPONSES}
    assert accepted >= set(BODIES) | MAY_BE_REFUSED | REFUSED_RESPONSES | set(LEFT_TO_THE_PROXY)
    assert not REFUSED_RESPONSES & set(LEFT_TO_THE_PROXY)


@named(REQUESTS)
def test_ends_in_any_split(case: dict[str, Any]) -> None:
    """Every prefix is either waited for or already answered as the whole is (long ones: a sample of prefixes)."""
    raw = base64.b64decode(case["raw_b64"])
    whole = _probe.parse_request(raw)
    cuts = range(len(raw)) if len(raw) < 1500 else [*range(600), *range(600, len(raw), 397)]
    for cut in cuts:
        part = _probe.parse_request(raw[:cut])
        assert part["result"] == "more" or part == whole
