"""What a location does with a request: `proxy_pass` with its settings."""

from __future__ import annotations

import re

from lb.config.address import AddressError, Url, parse
from lb.config.directive import AS_NGINX, Context, Directive, enum, flag, msec
from lb.config.errors import Refused
from lb.config.scope import LocationScope, Scope
from lb.config.table_files import warn_of_no_slash
from lb.config.tree import Node
from lb.config.variables import compile_value
from lb.model import ProxyPass, Value

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_NO_URI_HERE = (
    '"proxy_pass" cannot have URI part in location given by regular expression, or inside named location, or inside '
    '"if" statement, or inside "limit_except" block'
)


def proxy_pass(scope: LocationScope, node: Node) -> None:
    if "proxy_pass" in scope.values:
        raise Refused('"proxy_pass" directive is duplicate')
    target = node.args[0]
    secure = target[:8].lower() == "https://"
    scope.values["proxy_pass"] = target
    if "$" in target:
        scope.content = ProxyPass(-1, "", None, url=compile_value(target))
        scope.reader.open_targets.append((scope, target))
        if not target.lower().startswith("http://"):
            scope.reader.tls_proxies.append((scope, node))
        return
    if not secure and target[:7].lower() != "http://":
        raise Refused("invalid URL prefix")
    begin, port = (8, 443) if secure else (7, 80)
    if secure:
        scope.reader.tls_proxies.append((scope, node))
    url = _upstream_url(target[begin:], scope.reader.prefix, port)
    name = target[begin : len(target) - len(url.uri) - (1 if url.unix and url.uri else 0)]
    upstream = scope.reader.upstreams.use("http", url, name, node)
    if url.uri and scope.match in ("regex", "named", "none"):
        raise Refused(_NO_URI_HERE)
    scope.content = ProxyPass(upstream, _proxy_host(url, port), _uri(url.uri))
    if url.uri.endswith("/"):
        warn_of_no_slash(scope, node)


def _upstream_url(text: str, base: str, port: int) -> Url:
    try:
        return parse(text, default_port=port, uri=True, base=base)
    except AddressError as error:
        raise Refused(f'{error} in upstream "{text}"') from None


def _proxy_host(url: Url, port: int) -> str:
    """$proxy_host as nginx makes it: the default port is left out, a unix socket is "localhost"."""
    if url.unix:
        return "localhost"
    return url.host if url.no_port or url.port == port else f"{url.host}:{url.port}"


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


def _time(name: str, doc: str) -> Directive:
    return Directive(name, _LEVELS, "TIME", (1, 1), "60s", doc, AS_NGINX, msec)


DIRECTIVES = (
    Directive(
        "proxy_pass",
        ("location", "if", "limit_except"),
        "http://UPSTREAM[URI] | http://ADDRESS[:PORT][URI] | http://unix:PATH[:URI] | https://...",
        (1, 1),
        "",
        "Passes requests to an upstream or an address; with a URI, that replaces the location's part of the path. "
        "With variables the host must come out as an upstream's name or an IP address, else the answer is 502.",
        "differs: a host name is resolved once, when the file is read; none that variables made; 403 "
        "where, under a location without a final slash, a path would lead beside the URI; control bytes, spaces and # "
        "that variables bring into a request line become escapes",
        proxy_pass,
    ),
    Directive(
        "proxy_set_header",
        _LEVELS,
        "NAME VALUE",
        (2, 2),
        "Host $proxy_host; Connection is set by lb",
        "Sets a field of the request to the server, or removes it if the value is empty (Host is $proxy_host then, and "
        "of several Host lines the last counts); "
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
    Directive(
        "proxy_intercept_errors",
        _LEVELS,
        "on | off",
        (1, 1),
        "off",
        "Lets error_page replace responses of servers with a status from 300 on.",
        AS_NGINX,
        flag,
    ),
    _time("proxy_connect_timeout", "The longest wait for a connection to a server; then the next server is tried."),
    _time("proxy_send_timeout", "The longest pause between two writes of a request to a server."),
    _time("proxy_read_timeout", "The longest pause between two reads of a response from a server, else 504."),
)
