"""Tokens by nginx's rules: first where crossplane alone would be wrong, then whatever hypothesis finds."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb.config import tokens
from lb.config.errors import Problem
from lb.config.tokens import _SPACES, SyntaxProblem, Token, tokenize
from lb.config.tree import MAX_DEPTH, Node, parse, problems


def words(text: str) -> list[str]:
    return [token.text for token in tokenize(text.encode("utf-8", "surrogateescape"))][:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("return 200 ${host} ok;", ["return", "200", "${host}", "ok", ";"]),
        ("a ${b}${c} ;", ["a", "${b}${c}", ";"]),
        ("a ${b c};", ["a", "${b", "c}", ";"]),
        ("a b}c;", ["a", "b}c", ";"]),
        ("a{b;}}", ["a", "{", "b", ";", "}", "}"]),
        ("a {b c;\n}", ["a", "{", "b", "c", ";", "}"]),
        ("a b\u00a0c\u2028d\x0ce;", ["a", "b\u00a0c\u2028d\x0ce", ";"]),
        (r"a \${b;", ["a", r"\$", "{", "b", ";"]),
        (r'a "\"\\\t\n\r\x\$" c;', ["a", '"\\\t\n\r\\x\\$', "c", ";"]),
        (r"a b\ c\;d;", ["a", r"b\ c\;d", ";"]),
        ("a 'b \"c\" # d;' e;", ["a", 'b "c" # d;', "e", ";"]),
        ("a b#c;# d\ne;", ["a", "b#c", ";", "e", ";"]),
        ("# it's\na; # {\n", ["a", ";"]),
        ("# ends with \\\n}", ["}"]),
        ('a "";', ["a", "", ";"]),
        ("content_by_lua_block { a } b;", ["content_by_lua_block", "{", "a", "}", "b", ";"]),
        ("a b\udcff;", ["a", "b\udcff", ";"]),
        ("\ufeffa;", ["\ufeffa", ";"]),
        ("a\r\n b;\r\n", ["a", "b", ";"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ('a "b"c;', 'unexpected "c"', 1),
        ('a\n"b\n"}', 'unexpected "}"', 3),
        ('a "b"\u00a0c;', 'unexpected "\u00a0"', 1),
        ('a "b', 'unexpected end of file, expecting ";" or "}"', 1),
        ("a;\n'b\n", 'unexpected end of file, expecting ";" or "}"', 3),
        ("a \\", 'unexpected end of file, expecting ";" or "}"', 1),
        ("a\n\0;", "unexpected NUL byte", 2),
    ],
)
def test_syntax_problems(text: str, message: str, line: int) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        words(text)
    assert (caught.value.message, caught.value.line) == (message, line)


def test_every_space_of_python_that_is_none_of_nginx_is_hidden() -> None:
    spaces = {code for code in range(sys.maxunicode + 1) if chr(code).isspace()}
    assert set(_SPACES) == spaces - set(map(ord, " \t\r\n"))


def test_lines_are_those_of_the_end_of_a_directive() -> None:
    outer = parse(b"a\n{\n b 1\n   2\n;\n}\n", "f")[0]
    assert isinstance(outer, Node)
    assert (outer.line, outer.end) == (2, 6)
    inner = (outer.block or [])[0]
    assert isinstance(inner, Node)
    assert (inner.line, inner.args) == (5, ("1", "2"))


def test_depth_is_bounded() -> None:
    message = f"more than {MAX_DEPTH} blocks inside each other"
    assert [problem.message for problem in problems(parse(b"a{" * 100_000, "f"))] == [message]


ATOMS = ["a", "b ", "\n", " ", ";", "{", "}", '"', "'", "\\", "$", "${a}", "${", "#", "\t", "\r\n", "\u00a0", "é", "("]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), max_size=30).map("".join))
def test_agrees_with_a_plain_reading_of_the_rules(text: str) -> None:
    if re.search(r"\\\n\}", text):  # an escaped line end before a }: read as the end of a comment would be
        return
    try:
        found: list[str] | str = [token.text for token in tokenize(text.encode())][:-1]
    except SyntaxProblem as problem:
        found = problem.message
    assert found == plain(text)


def plain(text: str) -> list[str] | str:
    """nginx's rules (ngx_conf_read_token) one character after the other, without blocks and directives."""
    out: list[str] = []
    word, quote, start, after_quote, dollar, escaped = "", "", True, False, False, False
    position = 0
    while position < len(text):
        char, position = text[position], position + 1
        if escaped:
            word, escaped = word + char, False
        elif quote:
            if char == quote:
                out, word, quote, after_quote = [*out, unescape(word)], "", "", True
            else:
                word, escaped = word + char, char == "\\"
        elif after_quote:
            if char not in " \t\r\n;{)":
                return f'unexpected "{char}"'
            position, after_quote, start = position - 1, False, True
        elif start and char in " \t\r\n":
            pass
        elif start and char in ";{}":
            out.append(char)
        elif start and char == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end + 1
        elif start and char in "\"'":
            quote, start = char, True
        elif start or not (char in " \t\r\n;" or (char == "{" and not dollar)):
            dollar = char == "$" or (char == "{" and dollar)
            word, start, escaped = word + char, False, char == "\\"
        else:
            out, word, start, dollar, position = [*out, unescape(word)], "", True, False, position - 1
    if quote or escaped:
        return 'unexpected end of file, expecting ";" or "}"'
    return out if start or not word else [*out, unescape(word)]


def unescape(word: str) -> str:
    known = {"t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "\\": "\\"}
    return re.sub(r"\\(.)", lambda match: known.get(match[1], match[0]), word, flags=re.DOTALL)


def test_problem_without_a_place_has_none() -> None:
    assert str(Problem("no place")) == "no place"
    assert str(Problem("a", "f", 3, "hint")) == "a in f:3\nhint"
    assert str(Problem("bad \udcff byte", "command line")) == "bad \\xff byte in command line"


PIECES = st.sampled_from(
    (
        "proxy_pass",
        "  ",
        "\r\n",
        "${",
        "x}",
        '\\"',
        "# c\n",
        "\\\n",
        "content_by_lua_block",
        *"a \t\n{}$;\"'\\#()=\u00a0\x0c",
    )
)


class ByCharacters(tokens._Feed):
    def __iter__(self):
        for char in self.text:
            self.taken += 1
            yield (char,)


def outcome(data: bytes) -> list[Token | tuple[str, int]]:
    """Its tokens, and the problem that ends them."""
    found: list[Token | tuple[str, int]] = []
    try:
        found.extend(iter(tokenize(data)))
    except SyntaxProblem as problem:
        found.append((problem.message, problem.line))
    return found


@settings(max_examples=1000, deadline=None)
@given(st.lists(PIECES, max_size=14))
def test_runs_of_characters_are_lexed_as_characters(pieces) -> None:
    data = "".join(pieces).encode()
    fast = outcome(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "_Feed", ByCharacters)
        assert outcome(data) == fast
