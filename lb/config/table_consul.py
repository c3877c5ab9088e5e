"""What lb adds to the module's directives: the guard against a collapsing list, the ACL token, https, host names.

All may stand in http{} or stream{} too, for every upstream in it.  Files are read when the configuration is, with the
master's rights, so that `lb -t` finds what is wrong with them; the token is never part of a message.
"""

from __future__ import annotations

from pathlib import Path

from lb.config.directive import LB_ONLY, Context, Directive, flag, full_path, once, path
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_msec, parse_number, parse_seconds
from lb.model import ShrinkGuard

_WHERE: tuple[Context, ...] = ("http", "upstream", "stream", "stream upstream")
_MAX_TOKEN = 4096


def shrink_guard(scope: Scope, node: Node) -> None:
    once(scope, node)
    first, *rest = node.args
    if first == "off" and not rest:
        scope.values[node.name] = None
        return
    percent = parse_number(first.removesuffix("%"), 99)
    if percent is None:
        raise Refused(f'invalid value "{first}" in "{node.name}" directive', "a share of 0% to 99%, or off")
    for_ms = None
    if rest:
        words = " ".join(rest)  # for=60s, or for 60s
        for_ms = parse_msec(words[len("for=") :]) if words.startswith(("for=", "for ")) else None
        if for_ms is None:
            raise Refused(f'invalid parameter "{words}" in "{node.name}" directive', "for=TIME")
    scope.values[node.name] = ShrinkGuard(percent, for_ms)


def token_file(scope: Scope, node: Node) -> None:
    once(scope, node)
    name = full_path(scope, node.args[0])
    try:
        with Path(name).open("rb") as file:
            token = file.read(_MAX_TOKEN + 1).decode("ascii").strip()
    except OSError as error:
        raise Refused(f'open() "{name}" failed ({error.errno}: {error.strerror})') from None
    except ValueError:
        token = ""
    if not token or len(token) > _MAX_TOKEN or not token.isprintable() or " " in token:
        raise Refused(f'no ACL token in "{name}"', "the file holds one token, in one line")
    scope.values[node.name] = (name, token)


def name(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = node.args[0]


def resolve(scope: Scope, node: Node) -> None:
    once(scope, node)
    every_ms = 0 if node.args[0] == "off" else parse_msec(node.args[0])
    if every_ms is None or (every_ms == 0 and node.args[0] != "off"):
        raise Refused(f'invalid value "{node.args[0]}" in "{node.name}" directive', "a time, or off")
    scope.values[node.name] = every_ms


def slow_start(scope: Scope, node: Node) -> None:
    once(scope, node)
    seconds = 0 if node.args[0] == "off" else parse_seconds(node.args[0])
    if seconds is None:
        raise Refused(f'invalid value "{node.args[0]}" in "{node.name}" directive', "whole seconds, or off")
    scope.values[node.name] = seconds


DIRECTIVES = (
    Directive(
        "upsync_shrink_guard",
        _WHERE,
        "PERCENT [for=TIME | for TIME] | off",
        (1, 3),
        "off",
        "Holds back an update from Consul that would take away more than this share of the usable servers at once, "
        "until it has lasted for TIME or the number that stays is confirmed in the key lb/confirm/UPSTREAM.",
        LB_ONLY,
        shrink_guard,
    ),
    Directive(
        "upsync_token_file",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "The file with Consul's ACL token; it is read again when it changes.",
        LB_ONLY,
        token_file,
    ),
    Directive(
        "upsync_resolve",
        _WHERE,
        "TIME | off",
        (1, 1),
        "30s",
        "How often the host names that Consul gives as servers are looked up; each of their addresses is a server. "
        "With off, such entries are skipped, as by nginx-upsync-module.",
        LB_ONLY,
        resolve,
    ),
    Directive(
        "upsync_slow_start",
        _WHERE,
        "TIME | off",
        (1, 1),
        "off",
        'The `slow_start` of servers from Consul whose entry names none (in a key\'s JSON `"slow_start":SECONDS`, '
        "among the tags of a service `slow_start=TIME`): a server that is new in the list starts slowly, "
        "too, unless all are.",
        LB_ONLY,
        slow_start,
    ),
    Directive("upsync_ssl", _WHERE, "on | off", (1, 1), "off", "Asks Consul by https.", LB_ONLY, flag),
    Directive(
        "upsync_ssl_trusted_certificate",
        _WHERE,
        "FILE",
        (1, 1),
        "the system's",
        "The certificates of the authorities that may have signed Consul's certificate, in PEM.",
        LB_ONLY,
        path,
    ),
    Directive(
        "upsync_ssl_certificate",
        _WHERE,
        "FILE",
        (1, 1),
        "",
        "The certificate that lb shows Consul, in PEM.",
        LB_ONLY,
        path,
    ),
    Directive(
        "upsync_ssl_certificate_key",
        _WHERE,
        "FILE",
        (1, 1),
        "the file of upsync_ssl_certificate",
        "The key of that certificate, in PEM, without a password.",
        LB_ONLY,
        path,
    ),
    Directive(
        "upsync_ssl_name",
        _WHERE,
        "NAME",
        (1, 1),
        "the host of upsync",
        "The name that Consul's certificate must have, such as server.dc1.consul.",
        LB_ONLY,
        name,
    ),
    Directive(
        "upsync_ssl_verify",
        _WHERE,
        "on | off",
        (1, 1),
        "on",
        "Whether Consul's certificate is checked.",
        LB_ONLY,
        flag,
    ),
)
