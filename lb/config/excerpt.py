"""The place of an error as a person wants to see it: the line of the file, and a caret below the word that is wrong.

    unknown directive "lissten" in conf/lb.conf:6
        lissten 80;
        ^
    did you mean "listen"?

A statement knows its line, not its column: the word is the one that the message quotes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from lb.config.consul_path import hide_tokens
from lb.config.errors import COMMAND_LINE, Problem, printable

WIDTH: Final = 120  # characters of the line that are shown
BEFORE: Final = 60  # of them before the caret, when the line is longer
BACK: Final = 8  # lines that a statement may have before the one that it ends in


def explain(problem: Problem) -> str:
    """The message, the place, the hint: each on lines of its own. Only what could be read is shown."""
    message, *hints = str(problem).splitlines()
    return "\n".join([message, *_place(problem), *hints])


def _place(problem: Problem) -> list[str]:
    if not problem.line or not problem.file or problem.file == COMMAND_LINE:
        return []
    try:
        lines = Path(problem.file).read_bytes().split(b"\n")
        text = lines[problem.line - 1]
    except (OSError, IndexError):
        return []
    words = re.findall(r'"([^"]+)"', problem.message)
    for number in range(problem.line - 1, max(-1, problem.line - 1 - BACK), -1):
        line = _shown(lines[number])
        if number != problem.line - 1 and re.search(r"[;{}]\s*$", line):
            break  # another statement
        for word in words:
            if (column := line.find(word)) >= 0:
                return _caret(line, column)
    line = _shown(text)
    return _caret(line, len(line) - len(line.lstrip())) if line.strip() else []


def _shown(raw: bytes) -> str:
    return printable(hide_tokens(raw).decode("utf-8", "surrogateescape").replace("\t", " ").rstrip())


def _caret(line: str, column: int) -> list[str]:
    """The line, without what it is indented by, and the caret."""
    first = len(line) - len(line.lstrip())
    if len(line) - first > WIDTH:
        first = max(first, column - BEFORE)
    return ["    " + line[first : first + WIDTH], "    " + " " * (column - first) + "^"]
