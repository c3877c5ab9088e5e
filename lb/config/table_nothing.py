"""What asks for nothing: directives of nginx that lb does without, with the values that change nothing.

One rule for all: where lb does already what the value asks for, or where the directive tunes what lb has not, the
line is accepted, and the reference says why.  A value that asks for more is refused with the reason.  An entry here
gives way to a real one of the same name (`table.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Final

from crossplane import analyzer

from lb.config.directive import Context, Directive, flag, msec, number, once, size
from lb.config.errors import Refused
from lb.config.nginx import reason
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.values import parse_number, parse_size

_USED_NOT: Final = "differs: not used"
_HTTP: Final[tuple[Context, ...]] = ("http", "server", "location")
_IF: Final[tuple[Context, ...]] = (*_HTTP, "if")
_STREAM: Final[tuple[Context, ...]] = ("stream", "stream server")

# By the beginning of a module's file: what load_module brings that is built in.
_BUILT_IN: Final = (
    "ngx_stream_module",
    "ngx_http_upstream_check_module",
    "ngx_http_upsync_module",
    "ngx_stream_upsync_module",
    "ngx_http_acme_module",
)


def load_module(scope: Scope, node: Node) -> None:
    """A module that is not built in is worth a warning: its directives are refused where they stand."""
    name = PurePath(node.args[0]).name
    if not name.startswith(_BUILT_IN):
        scope.reader.warn(f'module "{node.args[0]}" is not loaded: lb has none, and refuses its directives', node)


def thread_pool(scope: Scope, node: Node) -> None:
    """NAME threads=NUMBER [max_queue=NUMBER]"""
    for word in node.args[1:]:
        key, _, value = word.partition("=")
        if key not in ("threads", "max_queue") or parse_number(value) is None:
            raise Refused(f'invalid parameter "{word}"')


def aio(scope: Scope, node: Node) -> None:
    """on | off | threads[=POOL]"""
    once(scope, node)
    scope.values[node.name] = True
    if not re.fullmatch(r"on|off|threads(=.+)?", node.args[0]):
        raise Refused("invalid value")


def directio(scope: Scope, node: Node) -> None:
    """SIZE | off"""
    if node.args[0] != "off":
        size(scope, node)


def buffers(scope: Scope, node: Node) -> None:
    """NUMBER SIZE"""
    once(scope, node)
    scope.values[node.name] = True
    if not parse_number(node.args[0]) or not parse_size(node.args[1]):
        raise Refused(f'"{node.name}" directive invalid value')


def words(*allowed: str) -> Callable[[Scope, Node], None]:
    """Only these; another one asks for what lb does not have."""

    def apply(scope: Scope, node: Node) -> None:
        once(scope, node)
        scope.values[node.name] = True
        if " ".join(node.args) not in allowed:
            raise Refused(
                f'unknown directive "{node.name}"', reason(node.name) or f'here only "{allowed[0]}" is accepted'
            )

    return apply


def settings(scope: Scope, node: Node) -> None:
    """Of a protocol that this file may never use: what uses it is refused by itself."""


def _tunes(
    name: str, contexts: tuple[Context, ...], syntax: str, doc: str, apply: Callable[[Scope, Node], None]
) -> Directive:
    most = {"NAME threads=NUMBER [max_queue=NUMBER]": 3, "NUMBER SIZE": 2}.get(syntax, 1)
    return Directive(
        name, contexts, syntax, (min(most, 2), most), "", f"{doc} It is read and not used.", _USED_NOT, apply
    )


def _off(name: str, contexts: tuple[Context, ...], *allowed: str, doc: str = "") -> Directive:
    asked = allowed or ("off",)
    text = doc or "lb does not have it."
    return Directive(
        name,
        contexts,
        " | ".join(asked),
        (1, max(len(one.split()) for one in asked)),
        "",
        f"{text} These values ask for nothing.",
        "differs: asks for nothing, or is refused",
        words(*asked),
    )


_HASHES: Final = (
    ("map_hash", ("http", "stream")),
    ("variables_hash", ("http", "stream")),
    ("proxy_headers_hash", _HTTP),
    ("referer_hash", ("server", "location")),
)

DIRECTIVES = (
    Directive(
        "load_module",
        ("main",),
        "FILE",
        (1, 1),
        "",
        "lb has no modules. What it has built in (stream, upsync, check, acme) is accepted; others with a warning, as "
        "their directives are refused where they stand.",
        _USED_NOT,
        load_module,
    ),
    _tunes(
        "thread_pool",
        ("main",),
        "NAME threads=NUMBER [max_queue=NUMBER]",
        "lb reads files without threads.",
        thread_pool,
    ),
    _tunes("pcre_jit", ("main",), "on | off", "lb compiles regular expressions to machine code, always.", flag),
    _tunes("lock_file", ("main",), "FILE", "lb has no lock in a file.", settings),
    _tunes("timer_resolution", ("main",), "TIME", "lb reads the clock once in a turn of its loop.", msec),
    _tunes(
        "accept_mutex", ("events",), "on | off", "The kernel wakes one worker for a connection (EPOLLEXCLUSIVE).", flag
    ),
    _tunes("accept_mutex_delay", ("events",), "TIME", "There is no mutex.", msec),
    _tunes("multi_accept", ("events",), "on | off", "lb accepts what is there, within bounds of its own.", flag),
    _tunes("worker_aio_requests", ("events",), "NUMBER", "lb has no aio.", number),
    _off("use", ("events",), "epoll", doc="How to wait for events: always epoll."),
    _off("master_process", ("main",), "on", doc="lb always runs a master and workers."),
    _tunes(
        "aio", _HTTP, "on | off | threads[=POOL]", "lb has no aio: a file that is not in memory is waited for.", aio
    ),
    _tunes("aio_write", _HTTP, "on | off", "lb has no aio.", flag),
    _tunes("directio", _HTTP, "SIZE | off", "lb reads through the page cache.", directio),
    _tunes("directio_alignment", _HTTP, "SIZE", "lb reads through the page cache.", size),
    _tunes("output_buffers", _HTTP, "NUMBER SIZE", "Buffers for files are lb's own.", buffers),
    _tunes("postpone_output", _HTTP, "SIZE", "lb sends what is there.", size),
    _tunes("sendfile_max_chunk", _HTTP, "SIZE", "lb shares the loop by chunks of its own.", size),
    _tunes("read_ahead", _HTTP, "SIZE", "The kernel reads ahead.", size),
    _tunes("send_lowat", _HTTP, "SIZE", "It is nothing on Linux, in nginx either.", size),
    _tunes("proxy_send_lowat", _HTTP, "SIZE", "It is nothing on Linux, in nginx either.", size),
    _tunes("subrequest_output_buffer_size", _HTTP, "SIZE", "lb's are bounded by themselves.", size),
    _tunes("msie_padding", _HTTP, "on | off", "Browsers have not needed it since 2011.", flag),
    _off("msie_refresh", _HTTP, doc="For browsers of before 2011."),
    _tunes(
        "uninitialized_variable_warn", _IF, "on | off", "A variable without a value is empty, without a warning.", flag
    ),
    _tunes("rewrite_log", _IF, "on | off", "`error_log ... debug` shows each rewrite.", flag),
    *(
        _tunes(f"{name}_{kind}", contexts, "SIZE", "lb's tables have the size that they need.", number)
        for name, contexts in _HASHES
        for kind in ("max_size", "bucket_size")
    ),
    *(
        _off(name, contexts)
        for name, contexts in (
            ("auth_request", _HTTP),
            ("autoindex", _HTTP),
            ("charset", _IF),
            ("override_charset", _IF),
            ("disable_symlinks", _HTTP),
            ("geoip_proxy_recursive", ("http",)),
            ("gunzip", _HTTP),
            ("gzip_static", _HTTP),
            ("http3", ("http", "server")),
            ("image_filter", ("location",)),
            ("log_subrequest", _HTTP),
            ("mirror", _HTTP),
            ("open_file_cache", _HTTP),
            ("proxy_cache", _HTTP),
            ("proxy_force_ranges", _HTTP),
            ("proxy_ignore_client_abort", _HTTP),
            ("proxy_store", _HTTP),
            ("random_index", ("location",)),
            ("ssi", _IF),
            ("userid", _HTTP),
        )
    ),
    _off("limit_rate", _IF, "0"),
    _off("limit_rate_after", _IF, "0"),
    _off("proxy_limit_rate", _HTTP, "0"),
    _off("slice", _HTTP, "0"),
    _off("proxy_download_rate", _STREAM, "0"),
    _off("proxy_upload_rate", _STREAM, "0"),
)


# Settings of what no line of the file may use: `fastcgi_read_timeout` without `fastcgi_pass` means nothing in nginx
# either, and the line that uses them is refused by itself, once.

_UNUSED: Final = re.compile(r"(fastcgi|uwsgi|scgi|memcached|grpc|proxy_cache)_(?!pass$)")
_PLACES: Final[dict[int, Context]] = {
    analyzer.NGX_HTTP_MAIN_CONF: "http",
    analyzer.NGX_HTTP_SRV_CONF: "server",
    analyzer.NGX_HTTP_LOC_CONF: "location",
    analyzer.NGX_HTTP_LIF_CONF: "if",
    analyzer.NGX_HTTP_SIF_CONF: "server if",
    analyzer.NGX_HTTP_UPS_CONF: "upstream",
}
_MOST: Final = 7  # TAKE7
_LEAST: Final = {analyzer.NGX_CONF_ANY: 0, analyzer.NGX_CONF_1MORE: 1, analyzer.NGX_CONF_2MORE: 2}


def unused(name: str, context: Context) -> Directive | None:
    """The entry of such a setting, by crossplane's table: its contexts and numbers of arguments; else None."""
    masks = analyzer.DIRECTIVES.get(name, []) if _UNUSED.match(name) else []
    for mask in masks:
        if any(mask & bit and place == context for bit, place in _PLACES.items()):
            doc = "What uses it is refused."
            return Directive(name, (context,), "...", _counts(mask), "", doc, _USED_NOT, settings)
    return None


def _counts(mask: int) -> tuple[int, int | None]:
    for bit, least in _LEAST.items():
        if mask & bit:
            return least, None
    taken = [count for count in range(_MOST + 1) if mask & 1 << count] + [1] * bool(mask & analyzer.NGX_CONF_FLAG)
    return min(taken), max(taken)
