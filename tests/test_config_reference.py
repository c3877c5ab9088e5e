"""The table and its page: the page is current, entries are whole, documented defaults are the model's."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from lb.config.compile import _DEFAULT_CONNECTIONS, _HTTP_FIELDS, _STREAM_FIELDS, _UPSTREAM_FIELDS
from lb.config.directive import AS_CHECK, AS_NGINX, AS_UPSYNC, LB_ONLY, Directive
from lb.config.nginx import reason
from lb.config.reader import Reader
from lb.config.reference import page
from lb.config.scope import Scope
from lb.config.table import DIRECTIVES, find
from lb.config.tree import Node
from lb.model import Config, HttpSettings, StreamServer, Upstream

PAGE = Path(__file__).parent.parent / "doc" / "directives.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run: python -m lb.config.reference > doc/directives.md"


def test_each_place_has_one_entry() -> None:
    places = [(entry.name, context) for entry in DIRECTIVES for context in entry.contexts]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("entry", DIRECTIVES, ids=lambda entry: f"{entry.name}-{entry.contexts[0]}")
def test_entry_is_whole(entry: Directive) -> None:
    assert entry.doc.endswith(".")
    assert entry.compat in (AS_NGINX, AS_UPSYNC, AS_CHECK, LB_ONLY) or entry.compat.startswith("differs: ")
    assert entry.takes(entry.args[0]) and not entry.takes(entry.args[0] - 1)
    assert bool(entry.syntax) == (entry.args != (0, 0) or entry.block)
    assert (
        reason(entry.name)
        or entry.compat in (LB_ONLY, AS_UPSYNC)
        or entry.name.startswith(("upsync", "check"))
        or (
            entry.contexts == ("acme_issuer",)  # of a module that crossplane does not know
        )
    )


def entry(name: str, context: str) -> Directive:
    return next(one for one in DIRECTIVES if one.name == name and context in one.contexts)


@pytest.mark.parametrize(
    ("model", "names", "context"),
    [
        (HttpSettings, _HTTP_FIELDS, "server"),
        (Upstream, _UPSTREAM_FIELDS, "upstream"),
        (StreamServer, _STREAM_FIELDS, "stream"),
    ],
)
def test_documented_defaults_are_the_models(model: type, names: dict[str, str], context: str) -> None:
    defaults = {field.name: field.default for field in fields(model)}
    for field, name in names.items():
        assert meaning(entry(name, context), context) == defaults[field], name


def meaning(directive: Directive, context: str) -> object:
    """A documented default as the directive itself stores it."""
    if not directive.default:
        return None
    scope = Scope(context, Reader("x.conf", "/", find))  # type: ignore[arg-type]
    directive.apply(scope, Node(directive.name, tuple(directive.default.split()), "x.conf", 1))
    return scope.values[directive.name]


def test_default_connections() -> None:
    assert (
        Config("", "").worker_connections == _DEFAULT_CONNECTIONS == int(entry("worker_connections", "events").default)
    )
