"""What becomes of an answer's fields: hidden, passed, rewritten, added. `header_filter` gathers a scope's."""

from __future__ import annotations

import re

from lb.config import regexes
from lb.config.directive import AS_NGINX, Context, Directive, flag, once
from lb.config.errors import Refused
from lb.config.model import AddField, CookieFlags, Expires, HeaderFilter, Regex, Swap, Var
from lb.config.scope import LocationScope, Scope
from lb.config.table_proxy import TOKEN, check_one_line
from lb.config.tree import Node
from lb.config.values import parse_seconds
from lb.config.variables import compile_value

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
_FLAGS = (
    "secure",
    "nosecure",
    "httponly",
    "nohttponly",
    "samesite=strict",
    "samesite=lax",
    "samesite=none",
    "nosamesite",
)


_IGNORED = (
    "x-accel-redirect",
    "x-accel-expires",
    "x-accel-limit-rate",
    "x-accel-buffering",
    "x-accel-charset",
    "expires",
    "cache-control",
    "set-cookie",
    "vary",
)


def _field_name(scope: Scope, node: Node) -> None:
    name = node.args[0]
    if not TOKEN.fullmatch(name):
        raise Refused(f'invalid header name "{name}"')
    scope.values.setdefault(node.name, []).append(name.lower())


def ignore_headers(scope: Scope, node: Node) -> None:
    found: tuple[str, ...] = scope.values.get(node.name, ())
    for word in node.args:
        if word.lower() not in _IGNORED:
            raise Refused(f'invalid value "{word}"')
        if word.lower() in found:
            scope.reader.warn(f'duplicate value "{word}"', node)
        else:
            found += (word.lower(),)
    scope.values[node.name] = found


def _add(scope: Scope, node: Node) -> None:
    name, text, *rest = node.args
    if rest and rest[0] != "always":
        raise Refused(f'invalid parameter "{rest[0]}"')
    if not TOKEN.fullmatch(name):
        raise Refused(f'invalid header name "{name}"')
    if name.lower() in ("content-length", "transfer-encoding", "connection", "trailer", "upgrade"):
        raise Refused(f'invalid header name "{name}"', "lb itself writes the fields that frame a message")
    value = compile_value(text)
    check_one_line(value, "header value")
    scope.values.setdefault(node.name, []).append(AddField(name, value, bool(rest)))


def _off(scope: Scope, node: Node) -> bool:
    """`off` stands alone on its level."""
    found = scope.values.get(node.name)
    if node.args[0] != "off" or len(node.args) > 1:
        if found == []:
            raise Refused(f'"{node.name}" directive is duplicate')
        return False
    if found is not None:
        raise Refused(f'"{node.name}" directive is duplicate')
    scope.values[node.name] = []
    return True


def proxy_redirect(scope: Scope, node: Node) -> None:
    if _off(scope, node):
        return
    if len(node.args) == 1:
        if node.args[0] != "default":
            raise Refused(f'invalid parameter "{node.args[0]}"')
        target = scope.values.get("proxy_pass")
        if not isinstance(scope, LocationScope) or target is None:
            raise Refused('"proxy_redirect default" should be placed after the "proxy_pass" directive')
        if "$" in str(target):
            raise Refused('"proxy_redirect default" cannot be used with "proxy_pass" directive with variables')
        scope.values.setdefault(node.name, []).append(None)  # worked out when the location is whole
        return
    _swap(scope, node)


def _swap(scope: Scope, node: Node) -> None:
    pattern, text = node.args
    domain = node.name == "proxy_cookie_domain"
    regex = None
    if pattern.startswith("~"):
        regex = _regex(scope, pattern, domain)
    elif domain:  # a dot before a domain says nothing
        pattern, text = pattern.removeprefix("."), text.removeprefix(".")
    replacement = compile_value(text)
    check_one_line(replacement, "replacement")
    swap = Swap(() if regex else compile_value(pattern), replacement, regex)
    scope.values.setdefault(node.name, []).append(swap)


def _regex(scope: Scope, pattern: str, domain: bool = False) -> Regex:
    """~REGEX, without case ~*REGEX; a domain's never minds the case, so that a star is part of it."""
    caseless = domain or pattern.startswith("~*")
    return regexes.make(scope.reader, pattern[2 if caseless and not domain else 1 :], caseless)


def cookie_swap(scope: Scope, node: Node) -> None:
    if _off(scope, node):
        return
    if len(node.args) == 1:
        raise Refused(f'invalid parameter "{node.args[0]}"')
    _swap(scope, node)


def proxy_cookie_flags(scope: Scope, node: Node) -> None:
    if _off(scope, node):
        return
    name, *flags = node.args
    if not flags:
        raise Refused(f'invalid parameter "{name}"')
    regex = _regex(scope, name, domain=True) if name.startswith("~") else None
    for word in flags:
        if "$" not in word and word.lower() not in _FLAGS:
            raise Refused(f'invalid proxy_cookie_flags parameter "{word}"')
    rule = CookieFlags(() if regex else compile_value(name), tuple(compile_value(word) for word in flags), regex)
    scope.values.setdefault(node.name, []).append(rule)


def expires(scope: Scope, node: Node) -> None:
    once(scope, node)
    text = node.args[-1]
    modified = len(node.args) == 2
    if modified and node.args[0] != "modified":
        raise Refused('"expires" directive invalid value')
    value = compile_value(text)
    if any(isinstance(part, Var) for part in value):
        scope.values[node.name] = Expires("text", text=value, modified=modified)
    else:
        scope.values[node.name] = parse_expires(text, modified)


def parse_expires(text: str, modified: bool) -> Expires:
    if not modified and text in ("epoch", "max", "off"):
        return Expires(text)  # type: ignore[arg-type]
    daily = text.startswith("@")
    if daily and modified:
        raise Refused('"expires" directive daily time cannot be used with "modified" parameter')
    match = re.fullmatch(r"[@]?([+-]?)(.+)", text)
    seconds = parse_seconds(match[2]) if match else None
    if match is None or seconds is None or (daily and match[1]):
        raise Refused('"expires" directive invalid value')
    if daily and seconds > 24 * 60 * 60:
        raise Refused('"expires" directive daily time value must be less than 24 hours')
    kind = "daily" if daily else "modified" if modified else "access"
    return Expires(kind, -seconds if match[1] == "-" else seconds)  # type: ignore[arg-type]


def header_filter(scope: Scope) -> HeaderFilter:
    """Everything of this scope; `proxy_redirect default` and its absence mean the location's own proxy_pass."""
    off = Expires("off")
    expiry = scope.inherited("expires", off)
    return HeaderFilter(
        hide=_names(scope, "proxy_hide_header"),
        passed=_names(scope, "proxy_pass_header"),
        redirects=_redirects(scope),
        cookie_domains=tuple(scope.inherited("proxy_cookie_domain", ())),
        cookie_paths=tuple(scope.inherited("proxy_cookie_path", ())),
        cookie_flags=tuple(scope.inherited("proxy_cookie_flags", ())),
        add=tuple(scope.inherited("add_header", ())),
        trailers=tuple(scope.inherited("add_trailer", ())),
        expires=None if expiry == off else expiry,
    )


def _names(scope: Scope, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(scope.inherited(name, ())))


def _redirects(scope: Scope) -> tuple[Swap, ...]:
    """Those of the nearest level that has any; else the default of the outermost location around that proxies."""
    around: list[LocationScope] = []
    level: Scope | None = scope
    while isinstance(level, LocationScope):
        around.append(level)
        level = level.parent
    proxied = [one for one in around if "proxy_pass" in one.values]
    if not proxied:
        return ()
    said = next((one for one in around if "proxy_redirect" in one.values), None)
    found: list[Swap | None] = scope.inherited("proxy_redirect", [None])
    owner = said or next((one for one in reversed(proxied) if "$" not in one.values["proxy_pass"]), proxied[-1])
    return tuple(filter(None, (swap or _default_redirect(owner, owner.values["proxy_pass"]) for swap in found)))


def _default_redirect(scope: LocationScope, target: str) -> Swap | None:
    """proxy_pass http://u/two/ in location /one/: http://u/two/ becomes /one/; without a URI http://u/ becomes /."""
    if "$" in target:
        return None
    has_uri = "/" in target[7:] if not target[7:].startswith("unix:") else ":" in target[12:]
    return Swap((target,), (scope.pattern,)) if has_uri else Swap((target + "/",), ("/",))


DIRECTIVES = (
    Directive(
        "proxy_hide_header",
        _LEVELS,
        "NAME",
        (1, 1),
        "",
        "Keeps a field of the server's answer from the client; Date, Server, X-Pad and X-Accel-* are always hidden.",
        AS_NGINX,
        _field_name,
    ),
    Directive(
        "proxy_pass_header",
        _LEVELS,
        "NAME",
        (1, 1),
        "",
        "Passes a field of the server's answer that is hidden otherwise, as Server or Date, to the client.",
        AS_NGINX,
        _field_name,
    ),
    Directive(
        "proxy_ignore_headers",
        _LEVELS,
        "FIELD ...",
        (1, None),
        "",
        "Fields of the server's answer that tell lb nothing: without it, X-Accel-Redirect sends the request to another "
        "location of the server, /URI (as GET) or @NAME, and X-Accel-Buffering: yes | no decides on proxy_buffering. "
        "Of an answer that redirects Content-Type, Set-Cookie, Content-Disposition, Cache-Control, Expires and "
        "Accept-Ranges go into the next one.",
        "differs: X-Accel-Limit-Rate and X-Accel-Charset tell lb nothing; the other fields are a cache's",
        ignore_headers,
    ),
    Directive(
        "proxy_redirect",
        _LEVELS,
        "default | off | [~ | ~*]REDIRECT REPLACEMENT",
        (1, 2),
        "default",
        "Replaces the beginning REDIRECT of Location and Refresh in answers, or all of it where the regular expression "
        "~REDIRECT (~* without case) matches; the first that fits counts. `default` puts the location in the place of "
        "proxy_pass.",
        AS_NGINX,
        proxy_redirect,
    ),
    Directive(
        "proxy_cookie_domain",
        _LEVELS,
        "off | [~]DOMAIN REPLACEMENT",
        (1, 2),
        "off",
        "Replaces the Domain attribute of Set-Cookie in answers: DOMAIN, or one that the regular expression ~DOMAIN "
        "matches, without case.",
        AS_NGINX,
        cookie_swap,
    ),
    Directive(
        "proxy_cookie_path",
        _LEVELS,
        "off | [~ | ~*]PATH REPLACEMENT",
        (1, 2),
        "off",
        "Replaces the beginning PATH of the Path attribute of Set-Cookie in answers, or all of it where the regular "
        "expression ~PATH (~* without case) matches.",
        AS_NGINX,
        cookie_swap,
    ),
    Directive(
        "proxy_cookie_flags",
        _LEVELS,
        "off | [~]COOKIE FLAG ...",
        (1, None),
        "off",
        "Sets or takes away flags of a cookie in answers: secure, httponly, samesite=strict|lax|none, nosecure, "
        "nohttponly, nosamesite; the regular expression ~COOKIE names cookies without case.",
        "differs: an unknown FLAG is refused, one that a variable gives is ignored",
        proxy_cookie_flags,
    ),
    Directive(
        "add_header",
        (*_LEVELS, "if"),
        "NAME VALUE [always]",
        (2, 3),
        "",
        "Adds a field to responses with status 200, 201, 204, 206, 301, 302, 303, 304, 307 or 308, or to all (always); "
        "a level with any add_header inherits none.",
        "differs: the fields that frame a message are refused",
        _add,
    ),
    Directive(
        "add_trailer",
        (*_LEVELS, "if"),
        "NAME VALUE [always]",
        (2, 3),
        "",
        "Adds a field behind the body of a chunked response, worked out when the body has ended.",
        "differs: the fields that frame a message are refused",
        _add,
    ),
    Directive(
        "proxy_pass_trailers",
        _LEVELS,
        "on | off",
        (1, 1),
        "off",
        "Passes the fields behind the body of a server's chunked response to HTTP/1.1 clients. Servers send them "
        "when they are asked to: proxy_set_header Connection te; proxy_set_header TE trailers.",
        "differs: fields that frame, route or authenticate a message, and cookies, are never passed there",
        flag,
    ),
    Directive(
        "expires",
        (*_LEVELS, "if"),
        "[modified] [+ | - | @]TIME | epoch | max | off",
        (1, 2),
        "off",
        "Sets Expires and Cache-Control of responses with the statuses of add_header. TIME counts from now, or from "
        "Last-Modified; @TIME is a time of day. Variables may come to any of these; other texts are `off`.",
        AS_NGINX,
        expires,
    ),
)
