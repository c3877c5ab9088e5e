"""Files: what a location serves, and where a body waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lb.model.values import Value


@dataclass(frozen=True, slots=True)
class Files:
    """Which file a path stands for, and how it is sent."""

    root: Value  # absolute, but for a variable at its start
    # `alias`: the bytes at the start of a path that `root` replaces; -1: of a regular expression's location, where
    # `root` is the whole name; 0: a path stands behind `root`, which ends in no slash
    alias: int = 0
    index: tuple[Value, ...] = (("index.html",),)
    types: tuple[tuple[str, str], ...] = (("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg"))
    log_not_found: bool = True
    etag: bool = True
    if_modified_since: Literal["off", "exact", "before"] = "exact"
    max_ranges: int | None = None  # None: no limit


@dataclass(frozen=True, slots=True)
class TryFiles:
    """`try_files`: the first file that is there, with the path of the last word otherwise, or its status."""

    files: tuple[tuple[Value, bool], ...]  # name, and whether it must be a directory
    last: Value = ()  # /URI or @name
    status: int = 0


@dataclass(frozen=True, slots=True)
class TempPath:
    """A directory for temporary files, with the digits of its levels of directories."""

    directory: str  # absolute, no slash at its end
    levels: tuple[int, ...] = ()
