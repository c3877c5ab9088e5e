"""`listen` in http and in stream, and `status_listen`: the addresses that lb binds."""

from __future__ import annotations

import re

from lb.config.address import AddressError, Url, parse
from lb.config.directive import LB_ONLY, Directive
from lb.config.errors import Refused
from lb.config.listeners import ListenOptions
from lb.config.nginx import parameter_reason
from lb.config.scope import HttpServerScope, Scope, StreamServerScope
from lb.config.tree import Node
from lb.config.values import parse_number, parse_seconds, parse_size
from lb.model import Address

_HOST = re.compile(r"\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def listen_http(scope: HttpServerScope, node: Node) -> None:
    scope.listens = True
    url = _parse(scope, node, default_port=80)
    addresses = _addresses(scope, node, url)
    options = _options(node, http=True)
    if options.http2:
        scope.reader.warn('the "listen ... http2" directive is deprecated, use the "http2" directive instead', node)
    for address in addresses:
        scope.reader.listeners.add_http(address, scope, options, node)


def listen_stream(scope: StreamServerScope, node: Node) -> None:
    scope.listens = True
    url = _parse(scope, node, default_port=0)
    if url.no_port:
        raise Refused(f'no port in "{node.args[0]}" of the "listen" directive')
    addresses = _addresses(scope, node, url)
    options = _options(node, http=False)
    for address in addresses:
        scope.reader.listeners.add_stream(address, scope, options, node)


def _parse(scope: Scope, node: Node, default_port: int) -> Url:
    try:
        return parse(node.args[0], default_port=default_port, listen=True, base=scope.reader.prefix)
    except AddressError as error:
        raise Refused(f'{error} in "{node.args[0]}" of the "{node.name}" directive') from None


def _addresses(scope: Scope, node: Node, url: Url) -> list[Address]:
    """Every address of the host with every port of the range."""
    try:
        found = scope.reader.resolver.addresses(url)
    except AddressError as error:
        raise Refused(f'{error} in "{node.args[0]}" of the "{node.name}" directive') from None
    ports = range(url.port, url.last_port + 1) if not url.unix else [0]
    return [Address(address.family, address.host, port) for port in ports for address in found]


def _options(node: Node, http: bool) -> ListenOptions:
    options = ListenOptions()
    for word in node.args[1:]:
        if http and word in ("default_server", "default"):
            options.default_server = True
        elif http and word == "http2":
            options.http2 = True
        elif word == "ssl":
            options.ssl = True
        elif word == "proxy_protocol":
            options.proxy_protocol = True
        elif not _socket_option(options, word):
            complaint = f'invalid parameter "{word}"' if http else f'the invalid "{word}" parameter'
            raise Refused(complaint, parameter_reason("listen", word))
    return options


def _socket_option(options: ListenOptions, word: str) -> bool:
    """Store an option of the socket. False: it is none."""
    key, equals, value = word.partition("=")
    options.given = True
    if word == "reuseport":
        options.reuseport = True
    elif word == "multipath":
        options.multipath = True
    elif key == "backlog" and equals:
        backlog = parse_number(value)
        if not backlog:
            raise Refused(f'invalid backlog "{word}"')
        options.backlog = backlog
    elif word in ("ipv6only=on", "ipv6only=off"):
        options.ipv6only = word.endswith("on")
    elif word.startswith("ipv6only=o"):
        raise Refused(f'invalid ipv6only flags "{value}"')
    elif key in ("sndbuf", "rcvbuf") and equals:
        bytes_ = parse_size(value)
        if bytes_ is None or not 0 < bytes_ < 2**31:
            raise Refused(f'invalid {key} "{word}"')
        setattr(options, key, bytes_)
    elif key == "fastopen" and equals:
        queue = parse_number(value)
        if queue is None:
            raise Refused(f'invalid fastopen "{word}"')
        options.fastopen = queue
    elif key == "so_keepalive" and equals:
        options.so_keepalive = _keepalive(word, value)
    elif word != "bind":  # every address is bound on its own
        return False
    return True


def _keepalive(word: str, value: str) -> tuple[int, int, int] | bool:
    """on, off, or IDLE:INTERVAL:COUNT, each of which may be left out."""
    if value in ("on", "off"):
        return value == "on"
    parts = value.split(":")
    idle, interval, count = [*parts, "", "", ""][:3]
    numbers = [parse_seconds(idle) if idle else 0, parse_seconds(interval) if interval else 0]
    numbers.append(parse_number(count) if count else 0)
    given = [number for number, part in zip(numbers, parts, strict=False) if part]
    if len(parts) > 3 or not given or None in given or 0 in given:
        raise Refused(f'invalid so_keepalive value: "{word}"')
    return numbers[0] or 0, numbers[1] or 0, numbers[2] or 0


def status_listen(scope: Scope, node: Node) -> None:
    text = node.args[0]
    url = _parse(scope, node, default_port=0)
    if url.unix or url.no_port or url.port != url.last_port or ":" not in text:
        raise Refused(f'invalid address "{text}" of the "status_listen" directive, it must be ADDRESS:PORT')
    taken = [address for address, _ in scope.reader.main.status_listen]
    for address in _addresses(scope, node, url):
        if address in taken:
            raise Refused(f"a duplicate status_listen {address}")
        scope.reader.main.status_listen.append((address, node))
    names = [_status_host(word) for word in node.args[1:]]
    if url.literal is None and url.host != "*":  # the address is a name itself
        names.append(url.host.lower())
    scope.reader.main.status_hosts.update(dict.fromkeys(names))


def _status_host(word: str) -> str:
    key, equals, name = word.partition("=")
    if key != "host" or not equals:
        raise Refused(f'invalid parameter "{word}"')
    if not _HOST.fullmatch(name):
        hint = "it must be a name as clients write it, or .NAME for those below it too"
        raise Refused(f'invalid name "{word}"', hint)
    return name.lower()


_SYNTAX = (
    "ADDRESS[:PORT] | PORT | unix:PATH [default_server] [backlog=NUMBER] [reuseport] [ipv6only=on|off] [bind] "
    "[rcvbuf=SIZE] [sndbuf=SIZE] [so_keepalive=on|off|[IDLE]:[INTERVAL]:[COUNT]] [fastopen=NUMBER] "
    "[multipath] [proxy_protocol] [ssl] [http2]"
)

DIRECTIVES = (
    Directive(
        "listen",
        ("server",),
        _SYNTAX,
        (1, None),
        "*:80 as root, else *:8000",
        "An address that the server accepts connections on; PORT may be a range, FIRST-LAST. With `proxy_protocol` "
        "every connection begins with a PROXY header (version 1 or 2); with `multipath` clients may use Multipath TCP. "
        "`http2` is `http2 on` for all servers of the address, with nginx's warning that this is its old form.",
        'differs: one address and a wildcard of the same port need "reuseport" on both; a relative unix path starts '
        "from the prefix; a change of `multipath` waits for a new start; the other parameters of nginx are refused",
        listen_http,
    ),
    Directive(
        "listen",
        ("stream server",),
        _SYNTAX.replace(" [default_server]", "").replace(" [http2]", "").replace("ADDRESS[:PORT]", "ADDRESS:PORT"),
        (1, None),
        "",
        "An address that the server accepts connections on; PORT may be a range, FIRST-LAST.",
        "differs: as for http; an address belongs to one server",
        listen_stream,
    ),
    Directive(
        "status_listen",
        ("main", "http"),
        "ADDRESS:PORT [host=NAME] ...",
        (1, None),
        "",
        "An address on which the master itself answers with the state of lb: status, metrics, upstream_show. A request "
        "must be for an IP address, `localhost`, the name in ADDRESS or one of `host=` (`.example.com`: also all names "
        "below), with any port; others get 421, so that no web page can read it by a name of its own (DNS rebinding). "
        "Names hold for all status ports.",
        LB_ONLY,
        status_listen,
    ),
)
