"""The logs of the model (lb.model, which has them too): what is written, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lb.model.values import Address, Value

LogLevel = Literal["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"]


@dataclass(frozen=True, slots=True)
class Syslog:
    """`syslog:server=...`: lines leave as datagrams (RFC 3164)."""

    address: Address
    server: str  # as written
    facility: int = 23  # local7
    severity: int = 6  # info; a line of an error log has its own
    tag: str = "lb"
    hostname: bool = True


@dataclass(frozen=True, slots=True)
class ErrorLog:
    path: str  # absolute, "stderr", or the text of a `syslog:`
    level: LogLevel = "error"
    syslog: Syslog | None = None


@dataclass(frozen=True, slots=True)
class LogCache:
    """`open_log_file_cache`: files that stay open, of logs whose names have variables."""

    most: int
    inactive_ms: int = 10_000  # closed when not used for so long
    valid_ms: int = 60_000  # after so long, is the file still the one of this name?
    min_uses: int = 1  # lines within `inactive_ms` for a file to stay open


@dataclass(frozen=True, slots=True)
class LogFormat:
    """A `log_format`. `value` None: nginx's `combined`, which the engine writes by itself."""

    value: Value | None = None
    escape: Literal["default", "json", "none"] = "default"


@dataclass(frozen=True, slots=True)
class AccessLog:
    path: str  # absolute, "stderr", the text of a `syslog:`, or a name with variables as written
    format: LogFormat = LogFormat()
    condition: Value | None = None  # if=: a request whose value is "" or "0" is not logged
    buffer: int = 0  # bytes that gather before they are written; 0: written at the end of the loop's turn
    flush_ms: int = 0  # the longest that lines wait in the buffer; 0: no limit
    gzip: int = 0  # level of compression; 0: none
    syslog: Syslog | None = None
    name: Value | None = None  # of a file whose name has variables: absolute
    cache: LogCache | None = None  # of such a file; None: opened for each line
