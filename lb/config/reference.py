"""The reference page of all directives, made from the table: `python -m lb.config.reference > doc/directives.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from lb.config.directive import Context, Directive
from lb.config.table import DIRECTIVES
from lb.config.variables import STREAM_VARIABLES, VARIABLES

_SECTIONS: tuple[tuple[str, tuple[Context, ...]], ...] = (
    ("Everywhere, main and events", ("main", "events")),
    ("HTTP servers", ("http", "server", "location", "if", "server if", "limit_except")),
    ("HTTP upstreams", ("upstream",)),
    ("ACME servers", ("acme_issuer",)),
    ("TCP servers and upstreams", ("stream", "stream server", "stream upstream")),
)

_HEAD = """# Directives

Made from the table in `lb/config/` by `python -m lb.config.reference`: do not edit.

The syntax is nginx's: `name arguments;` or `name arguments { ... }`, comments from `#` to the end of the line, quotes
around arguments with spaces. A directive that is not on this page is an error, and so is a value out of its form.
Every error is printed with file and line: `lb -t` shows all of them at once.

* TIME: a number with ms, s, m, h, d or w, or several in falling order (`1m30s`); a plain number is seconds. The times
  of `fail_timeout` are whole seconds and know M (30 days) and y.
* SIZE: bytes, or a number with k, m or g.
* FILE: relative names start from the prefix (`-p`), those of `include` from the directory of the main file.
* VALUE and TEXT may use the [variables](#variables), as `$name` or `${name}`.

A level inherits from the level around it what it does not set itself: location from server, server from http.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    seen: set[int] = set()
    for title, contexts in _SECTIONS:
        yield f"## {title}\n"
        for entry in DIRECTIVES:
            if id(entry) not in seen and any(context in contexts for context in entry.contexts):
                seen.add(id(entry))
                yield from _entry(entry)
    yield "## Variables\n"
    yield "A name that ends in `_` is a family: `$http_user_agent`, `$arg_page`.\n"
    yield from _variables(VARIABLES)
    yield "## Variables in stream\n"
    yield from _variables(STREAM_VARIABLES)


def _variables(table: dict[str, str]) -> Iterator[str]:
    for name, doc in sorted(table.items()):
        yield f"* `${name}`: {doc}"
    yield ""


def _entry(entry: Directive) -> Iterator[str]:
    end = "" if entry.block else ";"
    syntax = f"{entry.name} {entry.syntax}".strip()
    everywhere = len(entry.contexts) == len(get_args(Context))
    yield f"### {entry.name}\n"
    yield f"{entry.doc}\n"
    yield f"* syntax: `{syntax}{end}`"
    if entry.default:
        yield f"* default: {entry.default}"
    yield f"* context: {'everywhere' if everywhere else ', '.join(entry.contexts)}"
    yield f"* compatibility: {entry.compat}\n"


if __name__ == "__main__":
    print(page(), end="")
