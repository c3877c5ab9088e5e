"""What a location does with a request: `proxy_pass` with its settings, and `return`."""

from __future__ import annotations

import re

from lb.config.address import AddressError, Url, parse
from lb.config.directive import AS_NGINX, Context, Directive, enum, msec
from lb.config.errors import Refused
from lb.config.model import ProxyPass, Return, Value
from lb.config.scope import HttpServerScope, LocationScope, Scope
from lb.config.tree import Node
from lb.config.values import parse_number
from lb.config.variables import compile_value

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PORT = 80


def proxy_pass(scope: LocationScope, node: Node) -> None:
    if "proxy_pass" in scope.values:
        raise Refused('"proxy_pass" directive is duplicate')
    target = node.args[0]
    if "$" in target:
        raise Refused("invalid URL prefix", "variables in proxy_pass are not there yet")
    if target[:8].lower() == "https://":
        raise Refused("invalid URL prefix", "TLS to servers (https://) is not there yet")
    if target[:7].lower() != "http://":
        raise Refused("invalid URL prefix")
    scope.values["proxy_pass"] = target
    url = _upstream_url(target[7:], scope.reader.prefix)
    name = target[7 : len(target) - len(url.uri) - (1 if url.unix and url.uri else 0)]
    upstream = scope.reader.upstreams.use("http", url, name, node)
    scope.content = ProxyPass(upstream, _proxy_host(url), _uri(url.uri))


def _upstream_url(text: str, base: str) -> Url:
    try:
        return parse(text, default_port=_DEFAULT_PORT, uri=True, base=base)
    except AddressError as error:
        raise Refused(f'{error} in upstream "{text}"') from None


def _proxy_host(url: Url) -> str:
    """$proxy_host as nginx makes it: the default port is left out, a unix socket is "localhost"."""
    if url.unix:
        return "localhost"
    return url.host if url.no_port or url.port == _DEFAULT_PORT else f"{url.host}:{url.port}"


def _uri(uri: str) -> str | None:
    if re.search(r"[\x00-\x20\x7f#]", uri):
        raise Refused(f'invalid URI "{uri}" in "proxy_pass" directive', "a space, a control byte or a # is in it")
    if not uri:
        return None
    return uri if uri.startswith("/") else f"/{uri}"


def proxy_set_header(scope: Scope, node: Node) -> None:
    name, text = node.args
    if not TOKEN.fullmatch(name):
        raise Refused(f'invalid header name "{name}"')
    value = compile_value(text)
    check_one_line(value, "header value")
    scope.values.setdefault("proxy_set_header", []).append((name, value))


def check_one_line(value: Value, what: str) -> None:
    if any(isinstance(part, str) and ("\r" in part or "\n" in part) for part in value):
        raise Refused(f"invalid {what}", "a line break would begin another header field")


def return_(scope: HttpServerScope | LocationScope, node: Node) -> None:
    """The first `return` of a block is the one that runs, as in nginx."""
    code = parse_number(node.args[0])
    if code is None:
        result = _return_url(node)
    elif not 200 <= code <= 999:
        raise Refused(f'invalid return code "{node.args[0]}"', "it must be from 200 to 999")
    else:
        result = Return(code, compile_value(node.args[1]) if len(node.args) > 1 else ())
    if result.status in _REDIRECTS:
        check_one_line(result.text, "redirect URL")
    scope.returned = scope.returned or result


def _return_url(node: Node) -> Return:
    text = node.args[0]
    if len(node.args) > 1 or not text.startswith(("http://", "https://", "$scheme")):
        raise Refused(f'invalid return code "{text}"')
    return Return(302, compile_value(text))


def _time(name: str, doc: str) -> Directive:
    return Directive(name, _LEVELS, "TIME", (1, 1), "60s", doc, AS_NGINX, msec)


DIRECTIVES = (
    Directive(
        "proxy_pass",
        ("location",),
        "http://UPSTREAM[URI] | http://ADDRESS[:PORT][URI] | http://unix:PATH[:URI]",
        (1, 1),
        "",
        "Passes requests to an upstream or an address; with a URI, that replaces the location's part of the path.",
        "differs: no https://, no variables; a host name is resolved once, when the file is read",
        proxy_pass,
    ),
    Directive(
        "proxy_set_header",
        _LEVELS,
        "NAME VALUE",
        (2, 2),
        "Host $proxy_host; Connection is set by lb",
        "Sets a field of the request to the server, or removes it if the value is empty; "
        "a level with any proxy_set_header inherits none.",
        "differs: a name that is no token and a line break in the value are refused",
        proxy_set_header,
    ),
    Directive(
        "proxy_http_version",
        _LEVELS,
        "1.0 | 1.1",
        (1, 1),
        "1.1",
        "The protocol version of requests to servers; 1.0 keeps no connections.",
        AS_NGINX,
        enum("1.0", "1.1"),
    ),
    _time("proxy_connect_timeout", "The longest wait for a connection to a server; then the next server is tried."),
    _time("proxy_send_timeout", "The longest pause between two writes of a request to a server."),
    _time("proxy_read_timeout", "The longest pause between two reads of a response from a server, else 504."),
    Directive(
        "return",
        ("server", "location"),
        "CODE [TEXT] | CODE URL | URL",
        (1, 2),
        "",
        "Answers at once: with a text, or with a redirect to URL (302 if no code is given); "
        "444 closes the connection without an answer.",
        "differs: codes below 200 are refused",
        return_,
    ),
)
