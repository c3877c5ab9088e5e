"""Active checks: the directives of nginx_upstream_check_module, with its texts and defaults, and what lb adds to them.

Source: the module's README and what it was observed to do. A plain number is milliseconds, as there; nginx's units are
taken, too.
"""

from __future__ import annotations

from dataclasses import replace

from lb import _fast
from lb.config.directive import AS_CHECK, Context, Directive
from lb.config.errors import Problem, Refused
from lb.config.reader import Reader
from lb.config.scope import HttpServerScope, LocationScope, Scope, UpstreamScope
from lb.config.table_check_types import add
from lb.config.table_check_words import milliseconds, pieces
from lb.config.tree import Node
from lb.config.values import parse_number, parse_size
from lb.model.check import CHECK_MEMORY, Check, CheckStatus

_BOTH: tuple[Context, ...] = ("upstream", "stream upstream")
_CLASSES = {"http_2xx": 2, "http_3xx": 3, "http_4xx": 4, "http_5xx": 5}
_LEAST_MEMORY = 1 << 20
_HTTP_TYPES = ("http", "https")
_TIMES = ("interval", "timeout", "fast_interval", "down_interval")
_FASTCGI = ((b"REQUEST_METHOD", b"GET"), (b"REQUEST_URI", b"/"), (b"SCRIPT_FILENAME", b"index.php"))


def check(scope: UpstreamScope, node: Node) -> None:
    """A second one goes on from the first."""
    found = draft(scope)
    for word in node.args:
        found = _param(found, word)
    scope.check = replace(found, where=node.where)


def draft(scope: UpstreamScope) -> Check:
    """What `check` has said so far. The other lines are kept in `values`: they may stand before it."""
    return scope.check or Check()


def _param(found: Check, word: str) -> Check:
    key, equals, text = word.partition("=")
    if equals and key in _TIMES:
        return replace(found, **{f"{key}_ms": milliseconds(word, text)})  # type: ignore[arg-type]
    if equals and key in ("rise", "fall", "port"):
        number = parse_number(text, 65535 if key == "port" else 1 << 30)
        if not number:
            raise Refused(f'invalid parameter "{word}"')
        return replace(found, **{key: number})  # type: ignore[arg-type]
    if equals and key == "type":
        if text not in _fast.CHECK_TYPE_NAMES:
            raise Refused(f'invalid check format "{text}"', f"it may be {', '.join(_fast.CHECK_TYPE_NAMES)}")
        return replace(found, type=text)
    if equals and key == "default_down":
        if text not in ("true", "false"):
            raise Refused(f'invalid value "{word}", it must be "true" or "false"')
        return replace(found, default_down=text == "true")
    raise Refused(f'invalid parameter "{word}"')


def keepalive_requests(scope: UpstreamScope, node: Node) -> None:
    number = parse_number(node.args[0])
    if not number:
        raise Refused(f'"{node.name}" directive invalid value')
    scope.values[node.name] = number


def http_send(scope: UpstreamScope, node: Node) -> None:
    scope.values[node.name] = pieces(node.args[0])


def http_expect_alive(scope: UpstreamScope, node: Node) -> None:
    classes: list[int] = []
    for word in node.args:
        if word not in _CLASSES:
            raise Refused(f'invalid value "{word}"')
        if _CLASSES[word] in classes:
            scope.reader.warn(f'duplicate value "{word}"', node)
        classes.append(_CLASSES[word])
    scope.values[node.name] = tuple(classes)


def fastcgi_param(scope: UpstreamScope, node: Node) -> None:
    name, value = (word.encode("utf-8", "surrogateescape") for word in node.args)
    scope.values.setdefault(node.name, []).append((name, value))


def shm_size(scope: Scope, node: Node) -> None:
    if node.name in scope.values:
        raise Refused(f'"{node.name}" directive is duplicate')
    bytes_ = parse_size(node.args[0], "km")
    if bytes_ is None:
        raise Refused(f'"{node.name}" directive invalid value')
    scope.values[node.name] = max(bytes_, _LEAST_MEMORY)


def status(scope: HttpServerScope | LocationScope, node: Node) -> None:
    """check_status [html|csv|json]"""
    word = node.args[0] if node.args else "html"
    if word not in ("html", "csv", "json"):
        raise Refused(f'invalid check format "{word}"')
    scope.content = CheckStatus(word)  # type: ignore[arg-type]  # checked


def complete(scope: UpstreamScope) -> Check | None:
    """`check` with what its brothers say; None: this upstream has none."""
    found = scope.check
    if found is None:
        return None
    values = scope.values
    send = values.get("check_http_send") if found.type in _HTTP_TYPES else None
    if found.type == "fastcgi":
        send = (_fastcgi(values.get("check_fastcgi_param") or _FASTCGI),)
    found = replace(
        found,
        send=send,
        keepalive_requests=values.get("check_keepalive_requests", found.keepalive_requests),
        expect_alive=values.get("check_http_expect_alive", found.expect_alive),
    )
    return add(scope, found)


def _fastcgi(params: list[tuple[bytes, bytes]] | tuple[tuple[bytes, bytes], ...]) -> bytes:
    """BEGIN_REQUEST (a responder, connection not kept), PARAMS, their end, and an empty STDIN, all of request 1."""
    body = b"".join(_length(name) + _length(value) + name + value for name, value in params)
    begin = _record(1, b"\x00\x01\x00\x00\x00\x00\x00\x00")
    return begin + _record(4, body) + _record(4, b"") + _record(5, b"")


def _length(text: bytes) -> bytes:
    return bytes([len(text)]) if len(text) < 128 else (len(text) | 0x80000000).to_bytes(4, "big")


def _record(kind: int, body: bytes) -> bytes:
    return bytes([1, kind, 0, 1]) + len(body).to_bytes(2, "big") + b"\x00\x00" + body


def memory(reader: Reader) -> int:
    """Bytes for what checks say, of all upstreams; 0: none has checks. Adds a problem when its servers do not fit."""
    checked = [one for one in reader.upstreams.drafts if one.check is not None]
    if not checked:
        return 0
    sizes = [scope.values["check_shm_size"] for scope in _levels(reader) if "check_shm_size" in scope.values]
    servers = sum(len(one.servers) for one in checked)
    size, places = _fast.health_size(max(sizes, default=CHECK_MEMORY))
    if servers > places:
        text = "http upstream check_shm_size is too small, you should specify a larger size."
        reader.problems.append(Problem(text))
    return int(size)


def _levels(reader: Reader) -> list[Scope]:
    return [reader.main.values[name] for name in ("http", "stream") if name in reader.main.values]


DIRECTIVES = (
    Directive(
        "check",
        _BOTH,
        "[interval=TIME] [rise=NUMBER] [fall=NUMBER] [timeout=TIME] [type=TYPE] [default_down=true|false] "
        "[port=NUMBER] [fast_interval=TIME] [down_interval=TIME]",
        (1, None),
        "interval=30000 rise=2 fall=5 timeout=1000 type=tcp default_down=true; without the directive no checks",
        "Asks each server of the upstream that is not `down` every `interval`: after `fall` failures in a row it "
        "gets no requests, after `rise` successes it gets some again. A plain number is milliseconds. TYPE is tcp "
        "(connects), http, ssl_hello, mysql, ajp or fastcgi, or one of lb's: https, grpc, grpcs, redis, postgres. "
        "`default_down`: a server is down until its first checks have passed; these follow each other at "
        "once. `fast_interval` holds while a verdict is changing, `down_interval` while a server is down.",
        "differs: also in stream; a process of its own asks, not the workers; first checks at once; a server that "
        "hangs on a kept connection is noticed; all balancing methods obey; fast_interval, down_interval and "
        "some types are lb's",
        check,
    ),
    Directive(
        "check_keepalive_requests",
        _BOTH,
        "NUMBER",
        (1, 1),
        "1000",
        "How many checks are made on one connection, where the protocol and the server allow it.",
        "differs: the module's default is 1",
        keepalive_requests,
    ),
    Directive(
        "check_http_send",
        _BOTH,
        "TEXT",
        (1, 1),
        r'"GET / HTTP/1.0\r\n\r\n"',
        "What a check of type http or https sends, as it is. `$check_addr`, `$check_host`, `$check_port` and "
        "`$check_upstream` stand for the server's address, its parts, and the upstream's name.",
        "differs: the module knows no such names",
        http_send,
    ),
    Directive(
        "check_http_expect_alive",
        _BOTH,
        "http_2xx | http_3xx | http_4xx | http_5xx ...",
        (1, None),
        "http_2xx http_3xx",
        "Which classes of status a check of type http, https or fastcgi takes for alive.",
        AS_CHECK,
        http_expect_alive,
    ),
    Directive(
        "check_fastcgi_param",
        _BOTH,
        "NAME VALUE",
        (2, 2),
        "REQUEST_METHOD GET, REQUEST_URI /, SCRIPT_FILENAME index.php",
        "A parameter of checks of type fastcgi. Any of them replaces all of the default ones.",
        AS_CHECK,
        fastcgi_param,
    ),
    Directive(
        "check_shm_size",
        ("http", "stream"),
        "SIZE",
        (1, 1),
        "16m",
        "Memory for what checks say, of all upstreams: 384 bytes a server. A server that finds no room is not "
        "checked, which the log says; those of the file must fit.",
        "differs: the module's default is 1m",
        shm_size,
    ),
    Directive(
        "check_status",
        ("server", "location"),
        "[html | csv | json]",
        (0, 1),
        "html",
        "Answers with the checked servers of all upstreams and what their checks say; `?format=html|csv|json` chooses "
        "another form, `?status=up|down` only those. In `server` it answers where no location does.",
        "differs: JSON is valid also with `status=`; stream's upstreams are shown, too",
        status,
    ),
)
