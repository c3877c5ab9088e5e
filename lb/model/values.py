"""The smallest parts of the model (lb.model, which has them too): addresses, texts with variables, fields."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Address:
    """A resolved socket address. `host` is numeric without brackets, or the path of a unix socket (`port` 0)."""

    family: int
    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return f"unix:{self.host}"
        host = f"[{self.host}]" if self.family == socket.AF_INET6 else self.host
        return f"{host}:{self.port}"

    def sockaddr(self) -> str | tuple[str, int]:
        """The form that `socket.bind` and `socket.connect` take."""
        return self.host if self.family == socket.AF_UNIX else (self.host, self.port)


@dataclass(frozen=True, slots=True)
class Var:
    """A variable in a value, without the dollar: Var("http_host")."""

    name: str


Value = tuple[str | Var, ...]  # a compiled value: its parts in order; () is the empty string


@dataclass(frozen=True, slots=True)
class AddField:
    """One add_header or add_trailer."""

    name: str
    value: Value
    always: bool = False  # with every status


Balancer = Literal["round_robin", "least_conn", "least_time", "ip_hash", "hash", "random"]  # of Upstream


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression of PCRE2 that compiles. `names`: its named captures, (variable, number of the group)."""

    pattern: str
    caseless: bool = False
    names: tuple[tuple[str, int], ...] = ()
    where: str = field(default="", compare=False)  # FILE:LINE, for the log
