"""The path of an `upsync` directive -> what is asked of Consul. Pure: text in, a Query or ValueError out.

The path is Consul's own, as written for the module: `/v1/kv/PREFIX`, `/v1/catalog/service/NAME`,
`/v1/health/service/NAME`, by `upsync_type`.  Of a query string `dc=`, `stale` and `consistent` are kept, for services
also `tag=`, `filter=` and `passing`, and `token=` (a trick of the module's users, which the reader of the
configuration takes out again, so that no page shows it).  `recurse`, `index` and `wait` are lb's own; anything else is
dropped.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from typing import Final

_PATHS: Final = {
    "consul": ("/v1/kv/", "a path of Consul's KV store"),
    "consul_services": ("/v1/catalog/service/", "a service of Consul's catalog"),
    "consul_health": ("/v1/health/service/", "a service with its health"),
}


_TOKEN: Final = re.compile(rb"([?&]token=)[^\s&;]+")


@dataclass(frozen=True, slots=True)
class Query:
    """`target`: a key prefix without slashes around it (empty: the whole store), or the name of a service."""

    kind: str
    target: str
    token: str = ""
    dc: str = ""
    consistency: str = "default"
    tags: tuple[str, ...] = ()
    filter: str = ""
    passing: bool = False

    @property
    def key(self) -> str:
        """The directory of a key prefix: whole segments, and no wake-ups for neighbours."""
        return self.target + "/" if self.target else ""


def parse(kind: str, path: str) -> Query:
    """Read the path as written. Raises ValueError: it does not fit this upsync_type."""
    before, _, arguments = path.partition("?")
    start, what = _PATHS[kind]
    if not before.startswith(start):
        raise ValueError(f'"{before}" is not {what}: it must start with {start}')
    target = urllib.parse.unquote(before.removeprefix(start)).strip("/")
    if kind != "consul" and (not target or "/" in target):
        raise ValueError(f'"{before}" is not {what}: one service name must follow {start}')
    given = urllib.parse.parse_qsl(arguments.replace("?", "&"), keep_blank_values=True)
    flags = dict(given)
    services = kind != "consul"
    return Query(
        kind=kind,
        target=target,
        token=flags.get("token", ""),
        dc=flags.get("dc", ""),
        consistency=next((mode for mode in ("consistent", "stale") if mode in flags), "default"),
        tags=tuple(value for name, value in given if name == "tag" and value) if services else (),
        filter=flags.get("filter", "") if services else "",
        passing=kind == "consul_health" and "passing" in flags and flags["passing"] not in ("0", "false"),
    )


def without_token(path: str) -> str:
    """The path as it may be shown: `token=` and its value are gone."""
    before, mark, arguments = path.partition("?")
    kept = [part for part in re.split("[?&]", arguments) if not part.startswith("token=")]
    return before + mark + "&".join(kept) if any(kept) else before


def hide_tokens(text: bytes) -> bytes:
    """Lines of a configuration as they may be shown."""
    return _TOKEN.sub(rb"\1***", text)
