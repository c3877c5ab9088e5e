"""What checks ask beyond nginx_upstream_check_module, and what they take for alive: the lines beside `check`.

A line that the type of the checks has no use for is refused: nothing is ignored quietly. Lines may stand before
`check`, so that is found out when the file has been read (`finish`).
"""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from typing import Any

from lb.config import tls_files
from lb.config.directive import LB_ONLY, Context, Directive, flag, full_path, once
from lb.config.errors import Problem, Refused
from lb.config.reader import Reader
from lb.config.scope import UpstreamScope
from lb.config.table_check_words import milliseconds, pieces
from lb.config.tree import Node
from lb.config.values import parse_number
from lb.model import Regex
from lb.model.check import Check, CheckAgent, CheckMatch
from lb.model.tls import TlsClient

_BOTH: tuple[Context, ...] = ("upstream", "stream upstream")
_HTTP = ("http", "https")
_TLS = ("https", "grpcs")
_GRPC = ("grpc", "grpcs")
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MOST_STATUS = 65535
_TYPES = {  # line -> the types that it is for
    "check_ssl_name": _TLS,
    "check_ssl_verify": _TLS,
    "check_ssl_trusted_certificate": _TLS,
    "check_grpc_service": _GRPC,
    "check_grpc_status": _GRPC,
    "check_send": ("tcp",),
    "check_expect": ("tcp",),
    "check_http_expect_status": (*_HTTP, "fastcgi"),
    "check_http_expect_body": _HTTP,
    "check_http_expect_header": _HTTP,
}
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def kept(scope: UpstreamScope, node: Node, value: Any) -> None:
    """Its value, with the line for what `finish` may have to say."""
    scope.values[node.name] = value
    scope.values.setdefault("check lines", []).append(node)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _match(scope: UpstreamScope, words: list[str], name: str = "") -> CheckMatch:
    """TEXT, ~ REGEX or ~* REGEX. Its groups make no variables: there is no request."""
    if words[0] not in ("~", "~*"):
        if len(words) > 1:
            raise Refused(f'invalid parameter "{words[0]}"', '"~" or "~*" before an expression')
        return CheckMatch(_bytes(words[0]), None, _bytes(name))
    if len(words) == 1:
        raise Refused(f'no expression behind "{words[0]}"')
    from lb._fast import regex_check  # here, because the engine itself imports lb.model

    caseless = words[0] == "~*"
    try:
        regex_check(words[1], caseless)
    except ValueError as error:
        raise Refused(str(error)) from None
    return CheckMatch(b"", Regex(words[1], caseless, (), scope.reader.where), _bytes(name))


def send(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    kept(scope, node, pieces(node.args[0]))


def expect(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    kept(scope, node, _match(scope, list(node.args)))


def expect_header(scope: UpstreamScope, node: Node) -> None:
    name = node.args[0]
    if not _NAME.fullmatch(name):
        raise Refused(f'invalid name of a field "{name}"')
    found = scope.values.get(node.name, ())
    kept(scope, node, (*found, _match(scope, list(node.args[1:]) or [""], name)))


def expect_status(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    ranges: list[tuple[int, int]] = []
    for word in node.args:
        found = _STATUS.fullmatch(word)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if low > high:
            raise Refused(f'invalid value "{word}"', "a status is 100 to 599, a range is LOW-HIGH")
        ranges.append((low, high))
    kept(scope, node, tuple(ranges))


def text(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    if not node.args[0]:
        raise Refused(f'"{node.name}" directive invalid value')
    kept(scope, node, node.args[0])


def on_off(scope: UpstreamScope, node: Node) -> None:
    flag(scope, node)
    kept(scope, node, scope.values[node.name])


def trusted(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    kept(scope, node, (full_path(scope, node.args[0]), node))


def grpc_status(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    number = parse_number(node.args[0], _MOST_STATUS)
    if number is None:
        raise Refused(f'"{node.name}" directive invalid value')
    kept(scope, node, number)


def agent(scope: UpstreamScope, node: Node) -> None:
    once(scope, node)
    port = parse_number(node.args[0], 65535)
    if not port:
        raise Refused(f'invalid port "{node.args[0]}"')
    made = CheckAgent(port)
    for word in node.args[1:]:
        key, equals, value = word.partition("=")
        if equals and key == "interval":
            made = replace(made, interval_ms=milliseconds(word, value))
        elif equals and key == "send" and value:
            made = replace(made, send=pieces(value))
        else:
            raise Refused(f'invalid parameter "{word}"')
    kept(scope, node, made)


# ---- the whole upstream


def finish(reader: Reader) -> None:
    """Of every upstream: its lines go with its type; the TLS of its checks is made. Adds to the reader's problems."""
    for scope in reader.upstreams.drafts:
        for node in scope.values.get("check lines", ()):
            try:
                _fits(scope, node)
            except Refused as refused:
                reader.problems.append(Problem(refused.message, node.file, node.line, refused.hint))
        if scope.check is not None and scope.check.type in _TLS:
            _tls(reader, scope)


def _fits(scope: UpstreamScope, node: Node) -> None:
    if scope.check is None:
        raise Refused(f'"{node.name}" without "check"')
    types = _TYPES.get(node.name)
    if types is not None and scope.check.type not in types:
        raise Refused(f'"{node.name}" is for checks of type {" or ".join(types)}, not {scope.check.type}')
    if node.name == "check_http_expect_status" and "check_http_expect_alive" in scope.values:
        raise Refused('"check_http_expect_status" and "check_http_expect_alive" exclude each other')
    if node.name == "check_agent" and any(server.address.family == socket.AF_UNIX for server in scope.servers):
        scope.reader.warn('"check_agent" asks no server on a unix socket: it has no port', node)


def _tls(reader: Reader, scope: UpstreamScope) -> None:
    from lb._fast import tls_certificates, tls_check  # here, because the engine itself imports lb.model

    file = scope.values.get("check_ssl_trusted_certificate")
    try:
        if scope.values.get("check_ssl_verify") and file is None:
            raise Refused("no check_ssl_trusted_certificate for check_ssl_verify")
        made = TlsClient(
            verify=scope.values.get("check_ssl_verify", False),
            trusted=_read(file, tls_certificates) if file else (),
            alpn=("h2",) if scope.check and scope.check.type == "grpcs" else (),
        )
        tls_check(made, [])
    except (Refused, ValueError) as error:
        lines = [one for one in scope.values.get("check lines", ()) if one.name in _TYPES]
        where = file[1] if file else lines[0]
        message, hint = (error.message, error.hint) if isinstance(error, Refused) else (str(error), "")
        reader.problems.append(Problem(message, where.file, where.line, hint))
        return
    scope.values["check tls"] = reader.tls_up.setdefault(made, len(reader.tls_up))


def _read(file: tuple[str, Node], parse: Any) -> tuple[bytes, ...]:
    name, _ = file
    try:
        return tls_files.read(name, f'cannot load certificates "{name}"', parse)
    except tls_files.BadFile as bad:
        raise Refused(str(bad), bad.hint) from None


def add(scope: UpstreamScope, found: Check) -> Check:
    """What these lines say of the checks."""
    values = scope.values
    made: CheckAgent | None = values.get("check_agent")
    sent = found.send
    if found.type == "tcp":
        sent = values.get("check_send")
    elif found.type in _GRPC:
        name = values.get("check_ssl_name") or scope.name
        sent = (grpc_request(values.get("check_grpc_service", ""), name, found.type == "grpcs"),)
    return replace(
        found,
        send=sent,
        expect_text=values.get("check_expect"),
        expect_status=values.get("check_http_expect_status", ()),
        expect_body=values.get("check_http_expect_body"),
        expect_fields=values.get("check_http_expect_header", ()),
        tls=values.get("check tls", -1),
        tls_name=values.get("check_ssl_name", ""),
        grpc_status=values.get("check_grpc_status", 0),
        skip_when_served=values.get("check_skip_when_served", False),
        agent=made,
    )


# ---- gRPC: RFC 9113 frames and RFC 7541 fields, without a table and without Huffman's code


def grpc_request(service: str, authority: str, tls: bool) -> bytes:
    """Preface, SETTINGS, and POST /grpc.health.v1.Health/Check on stream 1 with HealthCheckRequest."""
    fields = b"\x83" + (b"\x87" if tls else b"\x86")  # :method POST, :scheme
    fields += _field(b"\x04", b"/grpc.health.v1.Health/Check") + _field(b"\x01", _bytes(authority))
    fields += _field(b"\x0f\x10", b"application/grpc") + _field(b"\x00" + _string(b"te"), b"trailers")
    fields += _field(b"\x0f\x2b", b"lb")  # user-agent
    name = _bytes(service)
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    return _PREFACE + _frame(4, 0, 0, b"") + _frame(1, 4, 1, fields) + _frame(0, 1, 1, body)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _field(name: bytes, value: bytes) -> bytes:
    """A literal that is not indexed. `name`: the octets that say it."""
    return name + _string(value)


def _string(value: bytes) -> bytes:
    n = len(value)
    return (bytes([n]) if n < 127 else b"\x7f" + _varint(n - 127)) + value


def _varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def _one(name: str, syntax: str, args: tuple[int, int | None], default: str, doc: str, apply: Any) -> Directive:
    return Directive(name, _BOTH, syntax, args, default, doc, LB_ONLY, apply)


DIRECTIVES = (
    _one(
        "check_send",
        "TEXT",
        (1, 1),
        "",
        "What a check of type tcp sends when it has connected; without check_expect any answer is good. The names of "
        "check_http_send hold here, too.",
        send,
    ),
    _one(
        "check_expect",
        "[~ | ~*] TEXT",
        (1, 2),
        "",
        "What must be in the first 64 KiB that a server says to a check of type tcp: a text, or with `~` what a "
        "regular expression finds, with `~*` without regard to case. A server that does not say it "
        "has until the time-out.",
        expect,
    ),
    _one(
        "check_http_expect_status",
        "CODE | CODE-CODE ...",
        (1, None),
        "",
        "Which statuses a check of type http, https or fastcgi takes for alive, in place of check_http_expect_alive.",
        expect_status,
    ),
    _one(
        "check_http_expect_body",
        "[~ | ~*] TEXT",
        (1, 2),
        "",
        "What must be in the body of an answer, within the first 64 KiB of the answer, as check_expect has it. "
        "Chunks are taken apart, compressed bodies are not.",
        expect,
    ),
    _one(
        "check_http_expect_header",
        "NAME [[~ | ~*] TEXT]",
        (1, 3),
        "",
        "A field that an answer must have, and what must be in its value. Several lines must all hold.",
        expect_header,
    ),
    _one(
        "check_ssl_name",
        "NAME",
        (1, 1),
        "",
        "The name that checks over TLS tell the server (SNI), and that check_ssl_verify looks for in its certificate. "
        "Without it no name is told, and the certificate must be for the server's own address.",
        text,
    ),
    _one(
        "check_ssl_verify",
        "on | off",
        (1, 1),
        "off",
        "A check fails when the server's certificate is not of a trusted authority, or not of its name.",
        on_off,
    ),
    _one(
        "check_ssl_trusted_certificate",
        "FILE",
        (1, 1),
        "",
        "Certificates of the authorities that check_ssl_verify trusts.",
        trusted,
    ),
    _one(
        "check_grpc_service",
        "NAME",
        (1, 1),
        "the whole server",
        "The service that a check of type grpc or grpcs asks grpc.health.v1.Health for.",
        text,
    ),
    _one(
        "check_grpc_status",
        "NUMBER",
        (1, 1),
        "0",
        "The grpc-status of a server that lives: 12 where it has no health service. With 0 it must also say SERVING.",
        grpc_status,
    ),
    _one(
        "check_agent",
        "PORT [interval=TIME] [send=TEXT]",
        (1, 3),
        "",
        "Asks a program beside each server how the server wants to be used, in HAProxy's words: up, ready, drain, "
        "maint, down, stopped, fail, a share as 75%, and #text. Time-out, and without `interval` the "
        "interval, are those of `check`. An agent that does not answer changes nothing.",
        agent,
    ),
    Directive(
        "check_skip_when_served",
        ("upstream",),
        "on | off",
        (1, 1),
        "off",
        "A server that is up and has answered a request with a status below 500 within the last interval is not "
        "checked.",
        LB_ONLY,
        on_off,
    ),
)
