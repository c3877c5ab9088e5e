"""What is wrong with a configuration, said as nginx says it.

`Refused` is raised by one check and knows no place; the walker (`reader.py`) adds the place and makes a `Problem` of
it; `ConfigError` carries all problems of one load in the order in which nginx would have met them.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import errorcode
from os import strerror

COMMAND_LINE = "command line"  # the file name of `-g` text: nginx prints "in command line", without a line number


@dataclass(frozen=True, slots=True)
class Problem:
    """One error: nginx's text, the place, and (on a line of its own) what lb has to say besides."""

    message: str
    file: str = ""  # "": the error has no place
    line: int = 0
    hint: str = ""

    def __str__(self) -> str:
        text = self.message
        if self.file == COMMAND_LINE:
            text += f" in {self.file}"
        elif self.file:
            text += f" in {self.file}:{self.line}"
        return printable(f"{text}\n{self.hint}" if self.hint else text)


class ConfigError(Exception):
    """The configuration cannot be used. `errors` is never empty; `str()` is one error after the other."""

    def __init__(self, errors: tuple[Problem, ...]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


class Refused(Exception):
    """A check says no. The walker adds file and line, unless the check knows a better place."""

    def __init__(self, message: str, hint: str = "", *, file: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.file = file
        self.line = line


def os_error(call: str, path: str, error: OSError) -> str:
    """nginx's form of a failed system call: open() "P" failed (2: No such file or directory)."""
    number = error.errno if error.errno in errorcode else 0
    return f'{call}() "{path}" failed ({number}: {strerror(number) if number else error})'


def printable(text: str) -> str:
    """Bytes that were not UTF-8 in the file, as \\xNN: a message must never fail to print."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
