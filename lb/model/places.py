"""What a location tries before its handler, and where connections to servers come from."""

from __future__ import annotations

from dataclasses import dataclass

from lb.model.values import Value


@dataclass(frozen=True, slots=True)
class TryFiles:
    """`try_files`: the first file that is there, with the path of the last word otherwise, or its status."""

    files: tuple[tuple[Value, bool], ...]  # name, and whether it must be a directory
    last: Value = ()  # /URI or @name
    status: int = 0


@dataclass(frozen=True, slots=True)
class Bind:
    """`proxy_bind`: where connections to servers come from."""

    address: Value  # ADDRESS or ADDRESS:PORT; "" where variables come to nothing: the system's choice
    transparent: bool = False  # the address need not be this machine's
