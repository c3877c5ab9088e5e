"""What requests are matched with: server names and locations, and where redirects of lb's own lead."""

from __future__ import annotations

import socket

from lb.config import regexes
from lb.config.directive import AS_NGINX, Context, Directive, flag, size
from lb.config.errors import Refused
from lb.config.reader import Reader
from lb.config.scope import HttpServerScope, LocationScope, Scope
from lb.config.tree import Node
from lb.config.values import ascii_lower
from lb.model import Match

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
_MODIFIERS: dict[str, Match] = {"": "prefix", "=": "exact", "^~": "noregex", "~": "regex", "~*": "regex"}
# Those that limit_except may name (nginx's, and the engine tells them apart); any other never stays in the location.
_METHODS = (
    *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"),
    *("MKCOL", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK"),
)


def server_name(scope: HttpServerScope, node: Node) -> None:
    for name in node.args:
        if name.startswith("~"):
            _regex_name(scope, name)
            continue
        if (name[:1] == "*" and (len(name) < 3 or name[1] != ".")) or name == ".":
            raise Refused(f'server name "{name}" is invalid')
        if "/" in name:
            scope.reader.warn(f'server name "{name}" has suspicious symbols', node)
        name = socket.gethostname() if name == "$hostname" else name
        _check_wildcard(name)
        if ascii_lower(name) not in scope.names:
            scope.names.append(ascii_lower(name))


def _check_wildcard(name: str) -> None:
    """A star is a whole label, the first or the last; an empty label never matches."""
    inner = name.removeprefix("*").removesuffix(".*") if "*" in name else name
    if "*" in inner or ".." in name or (name.startswith(("*.", ".")) and name.endswith(".*")):
        raise Refused(f'invalid server name or wildcard "{name}"')


def _regex_name(scope: HttpServerScope, name: str) -> None:
    if len(name) == 1:
        raise Refused(f'empty regex in server name "{name}"')
    caseless = any("A" <= char <= "Z" for char in name)  # hosts come in lower case
    scope.regexes.append(regexes.make(scope.reader, name[1:], caseless))
    scope.names.append(name)


def location(scope: HttpServerScope | LocationScope, node: Node) -> None:
    modifier, pattern = node.args if len(node.args) == 2 else _split_modifier(node.args[0])
    if modifier not in _MODIFIERS:
        raise Refused(f'invalid location modifier "{modifier}"')
    match: Match = "named" if pattern.startswith("@") and not modifier else _MODIFIERS[modifier]
    regex = regexes.make(scope.reader, pattern, modifier == "~*") if match == "regex" else None
    inner = LocationScope("location", scope.reader, scope, node=node, match=match, pattern=pattern, regex=regex)
    if isinstance(scope, LocationScope):
        _check_nested(scope, inner)
    scope.locations.append(inner)
    scope.reader.walk_block(node, inner)
    check_duplicates(inner.locations, scope.reader)


def _split_modifier(text: str) -> tuple[str, str]:
    """The modifier may stand without a space: location =/path."""
    for modifier in ("=", "^~", "~*", "~"):
        if text.startswith(modifier):
            return modifier, text[len(modifier) :]
    return "", text


def _check_nested(outer: LocationScope, inner: LocationScope) -> None:
    if outer.match in ("exact", "named"):
        raise Refused(f'location "{inner.pattern}" cannot be inside the {outer.match} location "{outer.pattern}"')
    if inner.match == "named":
        raise Refused(f'named location "{inner.pattern}" can be on the server level only')
    if inner.match != "regex" and not inner.pattern.startswith(outer.pattern):
        raise Refused(f'location "{inner.pattern}" is outside location "{outer.pattern}"')


def check_duplicates(locations: list[LocationScope], reader: Reader) -> None:
    """At the end of a block: two locations that match the same on one level."""
    seen: set[tuple[str, str]] = set()
    for one in locations:
        key = ("prefix" if one.match == "noregex" else one.match, one.pattern)
        if key in seen and one.node is not None and one.match != "regex":
            reader.refuse(f'duplicate location "{one.pattern}"', one.node)
        seen.add(key)


def internal(scope: LocationScope, node: Node) -> None:
    scope.internal = True


def limit_except(scope: LocationScope, node: Node) -> None:
    if scope.except_scope is not None:
        raise Refused('"limit_except" directive is duplicate')
    for method in node.args:
        if method.upper() not in _METHODS:
            raise Refused(f'invalid method "{method}"')
    methods = [method.upper() for method in node.args]
    if "GET" in methods:
        methods.append("HEAD")
    inner = LocationScope("limit_except", scope.reader, scope, node=node, match="none", pattern=scope.pattern)
    scope.except_methods = tuple(dict.fromkeys(methods))
    scope.except_scope = inner
    scope.reader.walk_block(node, inner)


def unused_size(scope: Scope, node: Node) -> None:
    size(scope, node)


def _flag(name: str, default: str, doc: str, contexts: tuple[Context, ...] = _LEVELS) -> Directive:
    return Directive(name, contexts, "on | off", (1, 1), default, doc, AS_NGINX, flag)


def _hash(name: str) -> Directive:
    doc = "The size of nginx's table of server names. lb's is as large as the names need: the value is not used."
    return Directive(name, ("http",), "SIZE", (1, 1), "", doc, "differs: not used", unused_size)


DIRECTIVES = (
    Directive(
        "server_name",
        ("server",),
        "NAME ... | *.NAME | .NAME | NAME.* | ~REGEX",
        (1, None),
        '""',
        "The host names that the server answers to: an exact one wins, then the longest *.NAME, the longest NAME.*, "
        "the first REGEX, whose named captures are variables; .NAME is NAME and *.NAME; "
        '"" stands for requests without a Host field.',
        AS_NGINX,
        server_name,
    ),
    Directive(
        "location",
        ("server", "location"),
        "[= | ^~ | ~ | ~*] PATTERN { ... } | @NAME { ... }",
        (1, 2),
        "",
        "What is done with requests whose decoded path is PATTERN (=) or begins with it (the longest wins), unless it "
        "matches a regular expression (~, without case ~*; the first wins), which ^~ forbids. @NAME is for error_page.",
        AS_NGINX,
        location,
        True,
    ),
    Directive(
        "internal",
        ("location",),
        "",
        (0, 0),
        "",
        "Answers 404 to requests that come from outside: only error_page and rewrite lead here.",
        AS_NGINX,
        internal,
    ),
    Directive(
        "limit_except",
        ("location",),
        "METHOD ... { ... }",
        (1, None),
        "",
        "What is done with requests of other methods than these; GET allows HEAD too.",
        AS_NGINX,
        limit_except,
        True,
    ),
    _flag("merge_slashes", "on", "Takes several slashes in a row of the path as one.", ("http", "server")),
    _flag("absolute_redirect", "on", "Redirects that lb makes itself name scheme and host."),
    _flag("port_in_redirect", "on", "Absolute redirects name the port that the request came in at, unless it is 80."),
    _flag("server_name_in_redirect", "off", "Absolute redirects name the server's first name, not the request's host."),
    _hash("server_names_hash_bucket_size"),
    _hash("server_names_hash_max_size"),
)
