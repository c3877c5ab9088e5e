"""`gzip` and what it is asked: which answers leave compressed. `gzip_settings` gathers a scope's for the model."""

from __future__ import annotations

from lb.config import regexes
from lb.config.directive import AS_NGINX, Context, Directive, enum, flag, once, size
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import ascii_lower, parse_number, parse_size
from lb.model import Gzip, Regex

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
_PROXIED = ("off", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "auth", "any")


def types(scope: Scope, node: Node) -> None:
    """`text/html` is always one of them; `*` is all."""
    found: list[str] = scope.values.setdefault(node.name, ["text/html"])
    for word in map(ascii_lower, node.args):
        if word in found:
            scope.reader.warn(f'duplicate MIME type "{word}"', node)
        else:
            found.append(word)


def comp_level(scope: Scope, node: Node) -> None:
    once(scope, node)
    level = parse_number(node.args[0])
    if level is None:
        raise Refused(f'"{node.name}" directive invalid number')
    if not 1 <= level <= 9:
        raise Refused("value must be between 1 and 9")
    scope.values[node.name] = level


def buffers(scope: Scope, node: Node) -> None:
    once(scope, node)
    count, length = parse_number(node.args[0]), parse_size(node.args[1], "km")
    if not count or not length:
        raise Refused(f'"{node.name}" directive invalid value')
    scope.values[node.name] = count * length


def proxied(scope: Scope, node: Node) -> None:
    found: list[str] = scope.values.setdefault(node.name, [])
    for word in node.args:
        if word not in _PROXIED:
            raise Refused(f'invalid value "{word}"')
        if word in found:
            scope.reader.warn(f'duplicate value "{word}"', node)
        else:
            found.append(word)


def disable(scope: Scope, node: Node) -> None:
    """REGEX of User-Agent, whatever its case, or `msie6`."""
    found: list[Regex | str] = scope.values.setdefault(node.name, [])
    found += [word if word == "msie6" else regexes.make(scope.reader, word, caseless=True) for word in node.args]


def gzip_settings(scope: Scope) -> Gzip | None:
    """Everything of this scope; None: off."""
    if not scope.inherited("gzip", False):
        return None
    standard = Gzip()
    refused = scope.inherited("gzip_disable", ())
    return Gzip(
        types=tuple(scope.inherited("gzip_types", standard.types)),
        level=scope.inherited("gzip_comp_level", standard.level),
        min_length=scope.inherited("gzip_min_length", standard.min_length),
        buffers=scope.inherited("gzip_buffers", standard.buffers),
        proxied=tuple(scope.inherited("gzip_proxied", standard.proxied)),
        http_version=scope.inherited("gzip_http_version", standard.http_version),
        vary=scope.inherited("gzip_vary", standard.vary),
        disable=tuple(one for one in refused if isinstance(one, Regex)),
        disable_msie6="msie6" in refused,
    )


DIRECTIVES = (
    Directive(
        "gzip",
        (*_LEVELS, "if"),
        "on | off",
        (1, 1),
        "off",
        "Compresses responses with status 200, 403 or 404, without Content-Encoding, to clients whose Accept-Encoding "
        "allows it. What a server has sent so far is never held back for the sake of more. A worker compresses 1024 "
        "responses at once; more leave as they are.",
        "differs: with a bound; a streamed response is flushed whenever no more of it is there",
        flag,
    ),
    Directive(
        "gzip_types",
        _LEVELS,
        "TYPE ... | *",
        (1, None),
        "text/html",
        "The media types that are compressed beside text/html; * is any.",
        AS_NGINX,
        types,
    ),
    Directive(
        "gzip_comp_level",
        _LEVELS,
        "LEVEL",
        (1, 1),
        "1",
        "From 1, the fastest, to 9, the smallest result.",
        AS_NGINX,
        comp_level,
    ),
    Directive(
        "gzip_min_length",
        _LEVELS,
        "SIZE",
        (1, 1),
        "20",
        "A response with a smaller Content-Length is not compressed.",
        AS_NGINX,
        size,
    ),
    Directive(
        "gzip_buffers",
        _LEVELS,
        "NUMBER SIZE",
        (2, 2),
        "16 8k",
        "How many compressed bytes, NUMBER times SIZE and at most 64k, are made before they are passed on.",
        "differs: one piece of memory for all responses of a worker, at most 64k",
        buffers,
    ),
    Directive(
        "gzip_proxied",
        _LEVELS,
        "off | expired | no-cache | no-store | private | no_last_modified | no_etag | auth | any ...",
        (1, None),
        "off",
        "Which responses are compressed for a request with a Via field: by Expires, Cache-Control, Last-Modified and "
        "ETag of the response, or the request's Authorization.",
        AS_NGINX,
        proxied,
    ),
    Directive(
        "gzip_http_version",
        _LEVELS,
        "1.0 | 1.1",
        (1, 1),
        "1.1",
        "The least version of a request for a compressed response.",
        AS_NGINX,
        enum("1.0", "1.1"),
    ),
    Directive(
        "gzip_vary",
        _LEVELS,
        "on | off",
        (1, 1),
        "off",
        "Adds `Vary: Accept-Encoding` to responses that are compressed for those who ask for it.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "gzip_disable",
        _LEVELS,
        "REGEX ... | msie6",
        (1, None),
        "",
        "Does not compress for clients whose User-Agent matches, in any case; msie6 is MSIE 4 to 6 without SV1.",
        AS_NGINX,
        disable,
    ),
)
