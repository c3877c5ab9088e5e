"""Regular expressions of the configuration: PCRE2 itself says whether one is good, and what it captures.

And the variables that the configuration makes, of which named captures are some.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lb.config.errors import Refused
from lb.config.scope import Kind
from lb.config.values import ascii_lower
from lb.config.variables import known, own
from lb.model import Regex

if TYPE_CHECKING:
    from lb.config.reader import Reader

_NAME = re.compile(r"[a-z0-9_]+")


def make(reader: Reader, pattern: str, caseless: bool = False, kind: Kind = "http") -> Regex:
    """The checked form; its named captures become variables. Raises Refused with nginx's text."""
    from lb._fast import regex_check  # here, because the engine itself imports lb.model

    try:
        _, names = regex_check(pattern, caseless)
    except ValueError as error:
        raise Refused(str(error)) from None
    named = tuple((define(reader, name, kind), group) for name, group in names)
    return Regex(pattern, caseless, named, reader.where)


def define(reader: Reader, name: str, kind: Kind = "http") -> str:
    """A variable that the configuration makes: its `own` name, in lower case. Raises Refused for lb's own."""
    name = ascii_lower(name)
    if known(name, kind, families=False):
        raise Refused(f'the duplicate "{name}" variable', f"lb itself makes ${name}")
    name = own(name, kind)
    reader.variables[name] = None
    return name


def variable_name(text: str) -> str:
    """The name in `$name` where a variable is defined or tested. Raises Refused."""
    name = text[1:]
    if not text.startswith("$") or not name:
        raise Refused(f'invalid variable name "{text}"')
    if not _NAME.fullmatch(ascii_lower(name)):
        raise Refused(f'invalid variable name "{text}"', "letters, digits and _ only: no value could use another name")
    return ascii_lower(name)
