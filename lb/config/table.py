"""The table of directives: all entries, and the lookup with nginx's four refusals.

The entries themselves stand in `table_*.py`, by subject.
"""

from __future__ import annotations

import difflib

from lb.config import (
    table_access,
    table_acme,
    table_answer,
    table_auth,
    table_body,
    table_check,
    table_check_types,
    table_client,
    table_consul,
    table_files,
    table_gzip,
    table_http,
    table_http2,
    table_ignored,
    table_limit,
    table_listen,
    table_location,
    table_log,
    table_main,
    table_map,
    table_nothing,
    table_process,
    table_proxy,
    table_resolver,
    table_retry,
    table_rewrite,
    table_socket,
    table_sticky,
    table_stream,
    table_tls,
    table_tls_operations,
    table_tls_sessions,
    table_tls_upstream,
    table_tls_verify,
    table_upstream,
    table_upsync,
)
from lb.config.directive import Context, Directive
from lb.config.errors import Refused
from lb.config.nginx import reason
from lb.config.tree import Node

_REAL: tuple[Directive, ...] = (
    *table_main.DIRECTIVES,
    *table_process.DIRECTIVES,
    *table_log.DIRECTIVES,
    *table_http.DIRECTIVES,
    *table_client.DIRECTIVES,
    *table_http2.DIRECTIVES,
    *table_location.DIRECTIVES,
    *table_access.DIRECTIVES,
    *table_auth.DIRECTIVES,
    *table_limit.DIRECTIVES,
    *table_rewrite.DIRECTIVES,
    *table_files.DIRECTIVES,
    *table_map.DIRECTIVES,
    *table_listen.DIRECTIVES,
    *table_proxy.DIRECTIVES,
    *table_answer.DIRECTIVES,
    *table_gzip.DIRECTIVES,
    *table_retry.DIRECTIVES,
    *table_socket.DIRECTIVES,
    *table_body.DIRECTIVES,
    *table_upstream.DIRECTIVES,
    *table_sticky.DIRECTIVES,
    *table_upsync.DIRECTIVES,
    *table_check.DIRECTIVES,
    *table_check_types.DIRECTIVES,
    *table_consul.DIRECTIVES,
    *table_stream.DIRECTIVES,
    *table_tls.DIRECTIVES,
    *table_tls_sessions.DIRECTIVES,
    *table_tls_verify.DIRECTIVES,
    *table_tls_upstream.DIRECTIVES,
    *table_tls_operations.DIRECTIVES,
    *table_acme.DIRECTIVES,
    *table_resolver.DIRECTIVES,
    *table_ignored.DIRECTIVES,
)
_NAMED = {entry.name for entry in _REAL}
DIRECTIVES = (*_REAL, *(entry for entry in table_nothing.DIRECTIVES if entry.name not in _NAMED))

_BY_PLACE: dict[tuple[str, Context], Directive] = {
    (entry.name, context): entry for entry in DIRECTIVES for context in entry.contexts
}
_CONTEXTS: dict[str, list[Context]] = {}
for _name, _context in _BY_PLACE:
    _CONTEXTS.setdefault(_name, []).append(_context)


def find(node: Node, context: Context) -> Directive:
    """The entry for a statement in a context, with terminator and number of arguments checked, or Refused."""
    entry = _BY_PLACE.get((node.name, context)) or table_nothing.unused(node.name, context)
    if entry is None:
        raise _refusal(node)
    if not entry.block and node.block is not None:
        raise Refused(f'directive "{node.name}" is not terminated by ";"')
    if entry.block and node.block is None:
        raise Refused(f'directive "{node.name}" has no opening "{{"')
    if not entry.takes(len(node.args)):
        raise Refused(f'invalid number of arguments in "{node.name}" directive')
    return entry


def _refusal(node: Node) -> Refused:
    if node.name in _CONTEXTS:
        places = ", ".join(_CONTEXTS[node.name])
        return Refused(f'"{node.name}" directive is not allowed here', f'"{node.name}" may stand in: {places}')
    hint = reason(node.name) or _did_you_mean(node.name)
    return Refused(f'unknown directive "{node.name}"', hint)


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, _CONTEXTS, 1)
    return f'did you mean "{close[0]}"?' if close else ""
