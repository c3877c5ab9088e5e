"""Paths: normalised as nginx does before it looks for a location, and escaped as when it writes a new one."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import _probe

NORMAL = {  # $uri and $args of nginx 1.22.1 for the same request line
    b"/": (b"/", None),
    b"/?": (b"/", b""),
    b"/a/b.c": (b"/a/b.c", None),
    b"/a?b=c?d/../e%41": (b"/a", b"b=c?d/../e%41"),
    b"//a///b//": (b"/a/b/", None),
    b"/.": (b"/", None),
    b"/./": (b"/", None),
    b"/a/.": (b"/a/", None),
    b"/a/./b": (b"/a/b", None),
    b"/a/..": (b"/", None),
    b"/a/../": (b"/", None),
    b"/a/b/../c": (b"/a/c", None),
    b"/a/b/../../c": (b"/c", None),
    b"/a//..//b": (b"/b", None),
    b"/a/b/..?c": (b"/a/", b"c"),
    b"/a/.?c": (b"/a/", b"c"),
    b"/...": (b"/...", None),
    b"/..a/.b/c..": (b"/..a/.b/c..", None),
    b"/a/...": (b"/a/...", None),
    b"/%61%2Fb%2fc": (b"/a/b/c", None),
    b"/a/%2e%2e/b": (b"/b", None),
    b"/a/.%2E/b": (b"/b", None),
    b"/a/%2e": (b"/a/", None),
    b"/a%2f%2e%2e%2fb": (b"/b", None),
    b"/a%3fb%23c%25d": (b"/a?b#c%d", None),
    b"/%2541": (b"/%41", None),
    b"/a+b%2B%20": (b"/a+b+ ", None),
    b"/%ff%80": (b"/\xff\x80", None),
    b"/a#b?c": (b"/a", None),
    b"/a/..#b": (b"/", None),
    b"?q": (b"/", b"q"),
    b"/0123456789abcdef0123456789": (b"/0123456789abcdef0123456789", None),
    b"/0123456789abcdef/../0123456789": (b"/0123456789", None),
    b"/0123456789abcdef!$~[]0123456789?a": (b"/0123456789abcdef!$~[]0123456789", b"a"),
    b"/0123456789abcdef%2f../b/0123456789": (b"/b/0123456789", None),
}
REFUSED = {  # (rule, offset)
    b"/..": ("path leads above the root", 3),
    b"/../a": ("path leads above the root", 3),
    b"/a/../..": ("path leads above the root", 8),
    b"/a/../../b": ("path leads above the root", 8),
    b"/./../0123456789abcdef": ("path leads above the root", 5),
    b"/%2e%2e/a": ("path leads above the root", 7),
    b"//..//a": ("path leads above the root", 4),
    b"/a%00": ("NUL in path", 2),
    b"/0123456789abcdef%00b": ("NUL in path", 17),
    b"/0123456789abcdef\x00b": ("NUL in path", 17),
    b"/%": ("percent sign without two hex digits in target", 1),
    b"/%4": ("percent sign without two hex digits in target", 1),
    b"/ab%4g": ("percent sign without two hex digits in target", 3),
    b"/%g4": ("percent sign without two hex digits in target", 1),
    b"": ("path does not start with a slash", 0),
    b"a": ("path does not start with a slash", 0),
    b"%2f": ("path does not start with a slash", 0),
    b"#": ("path does not start with a slash", 0),
}


@pytest.mark.parametrize("raw", NORMAL)
def test_normalise(raw: bytes) -> None:
    assert _probe.uri_normalise(raw) == NORMAL[raw]


@pytest.mark.parametrize("raw", REFUSED)
def test_refused(raw: bytes) -> None:
    assert _probe.uri_normalise(raw) == (None, *REFUSED[raw])


def test_every_rule_has_a_sample() -> None:
    assert {rule for rule, _ in REFUSED.values()} >= _probe.PATH_RULES


def reference(raw: bytes) -> bytes | None:
    """The same, segment by segment; None: refused. `raw` has neither query nor fragment, and sound percent signs."""
    path = unquote_to_bytes(raw)
    if b"\x00" in path:
        return None
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                return None
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    is_folder = segments[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if is_folder and kept else b"")


PARTS = [
    b"/",
    b"/",
    b"/",
    b".",
    b"..",
    b"a",
    b"bc",
    b"%2e",
    b"%2F",
    b"%41",
    b"%25",
    b"%3F",
    b"%23",
    b"%00",
    b"0123456789abcdef",
    b"~",
]


@settings(max_examples=1000, deadline=None)
@given(parts=st.lists(st.sampled_from(PARTS), max_size=12), query=st.sampled_from([None, b"", b"a=b", b"?/..%zz"]))
def test_agrees_with_the_reference(parts: list[bytes], query: bytes | None) -> None:
    raw = b"/" + b"".join(parts)
    result = _probe.uri_normalise(raw if query is None else raw + b"?" + query)
    expected = reference(raw)
    assert result == (expected, query) if expected is not None else result[0] is None


@given(path=st.binary(max_size=80).map(lambda text: b"/" + text))
def test_escape(path: bytes) -> None:
    safe = b"!$&'()*+,-./:;=@[]_~"
    expected = b"".join(bytes([c]) if c in safe or (c < 128 and bytes([c]).isalnum()) else b"%%%02X" % c for c in path)
    assert _probe.uri_escape(path) == expected


@given(path=st.lists(st.sampled_from([b"/a", b"/ b?", b"/#%41", b"/\xc3\xa9", b"/..a"]), min_size=1).map(b"".join))
def test_what_is_escaped_reads_back(path: bytes) -> None:
    assert _probe.uri_normalise(_probe.uri_escape(path)) == (path, None)
