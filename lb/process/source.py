"""Where the configuration comes from: -c, -p, -g and -e made absolute, so that a reload reads the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    path: str
    prefix: str  # with trailing slash
    globals: str = ""
    error_log: str = "stderr"  # for what is said before a configuration is there
    error_log_given: bool = False  # -e: also used where the file has no error_log
