"""From the bytes of one file to tokens: crossplane's lexer, kept exact where it differs from nginx.

crossplane 0.5.8 loses or changes text silently in five places (each has its test in tests/test_config_tokens.py):
an unfinished token at the end of the file is dropped; `${name} next` becomes one token; `"a"b` becomes two tokens
where nginx says `unexpected "b"`; `a}` closes a block; any Unicode space (U+00A0, form feed) ends a token.  So the text
is fed to it with the troublesome characters hidden behind lone surrogates (which decoding never makes), with a
sentinel at the end, and with a count of the characters taken, so that what follows a quoted token can be seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from crossplane.lexer import _lex_file_object

EOF_IN_DIRECTIVE = 'unexpected end of file, expecting ";" or "}"'
EOF_IN_PARAMETER = 'unexpected end of parameter, expecting ";"'  # the same, in -g

_SENTINEL = "\ud800"
_OPEN, _CLOSE, _DOLLAR = "\ud801", "\ud802", "\ud803"
_LUA, _HIDDEN_LUA = "_by_lua_block", "_by_lua\ud804block"  # crossplane lexes what follows as Lua
# What str.isspace() takes for a space and nginx does not.
_SPACES = (*range(0x0B, 0x0D), *range(0x1C, 0x20), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F)
_SPACES += (0x205F, 0x3000)
_HIDE = {code: 0xD810 + i for i, code in enumerate(_SPACES)}
_SHOW: dict[int, int | str] = {hidden: code for code, hidden in _HIDE.items()}
_SHOW |= {0xD801: "{", 0xD802: "}", 0xD803: "$", 0xD804: "_"}
# In nginx a { after $ belongs to the token, and a } closes a block only where a new token could begin.
_INNER_BRACES = re.compile(r"\\\n|(?:\\[^\n]|\$\{+)\}*|(?<=[^\s;{}])\}+")
# crossplane takes a text by characters, and asks of each what it is and appends it: a run of those that mean nothing to
# it is as good as one of them, and faster. A line end stays alone, for they are counted, and so does what is behind a
# backslash.
_RUN = re.compile(r"""(?<=\\).|[^\s\\{}();"'#$]+|[ \t]+|.""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {'"': '"', "'": "'", "\\": "\\", "t": "\t", "r": "\r", "n": "\n"}


class Token(NamedTuple):
    text: str
    line: int
    quoted: bool

    def is_mark(self, marks: str) -> bool:
        """Whether this is one of the unquoted characters `marks`."""
        return not self.quoted and len(self.text) == 1 and self.text in marks


class SyntaxProblem(Exception):
    """The text is no nginx configuration from here on."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Feed:
    """The characters of a text, in runs, and how many of them are taken."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.taken = 0

    def __iter__(self) -> Iterator[tuple[str]]:
        for run in _RUN.findall(self.text):
            self.taken += len(run)
            yield (run,)

    def next_char(self) -> str:
        return self.text[self.taken : self.taken + 1]


def tokenize(data: bytes) -> Iterator[Token]:
    """Tokens without comments. Ends with a token of text "" and quoted False, whose line is that of the end.

    Raises SyntaxProblem. Bytes that are not UTF-8 come as surrogate escapes.
    """
    text = data.decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise SyntaxProblem("unexpected NUL byte", text.count("\n", 0, text.index("\0")) + 1)
    last_line = text.count("\n") + 1
    feed = _Feed(f"{_hide(text)}\n{_SENTINEL}\n")
    for word, line, quoted in _lex_file_object(feed):
        if word == _SENTINEL:
            yield Token("", last_line, False)
            return
        if quoted:
            _check_after_quote(feed)
        elif word.startswith("#"):
            continue
        yield Token(_finish(word), line, quoted)
    raise SyntaxProblem(EOF_IN_DIRECTIVE, last_line)


def _hide(text: str) -> str:
    text = text.translate(_HIDE).replace(_LUA, _HIDDEN_LUA)
    return _INNER_BRACES.sub(_hide_braces, text)


def _hide_braces(match: re.Match[str]) -> str:
    text = match[0]
    if text[0] == "\\":  # an escaped brace is safe with crossplane, an escaped dollar is not
        return text[:2].replace("$", _DOLLAR) + text[2:].replace("}", _CLOSE)
    return text.replace("{", _OPEN).replace("}", _CLOSE)


def _finish(word: str) -> str:
    """The token as nginx stores it: hidden characters shown, escapes resolved."""
    word = word.translate(_SHOW)
    if "\\" not in word:
        return word
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), word)


def _check_after_quote(feed: _Feed) -> None:
    char = feed.next_char()
    if char not in " \t\r\n;{)":
        line = feed.text.count("\n", 0, feed.taken) + 1
        raise SyntaxProblem(f'unexpected "{char.translate(_SHOW)}"', line)
