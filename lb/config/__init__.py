"""The configuration: nginx's files in, a checked `Config` (model.py) or a `ConfigError` out.

The path of a file: tokens (crossplane's lexer) -> tree (statements with lines) -> reader (walks, looks up each
statement in the table, which checks it and fills scopes) -> compile (inheritance; the frozen model).
"""

from __future__ import annotations

from pathlib import Path

from lb.config.compile import build, check_whole
from lb.config.errors import ConfigError, Problem, Refused
from lb.config.reader import Reader
from lb.config.table import find
from lb.config.tree import parse_parameters
from lb.model import Config

__all__ = ["Config", "ConfigError", "Problem", "load"]


def load(path: str, *, prefix: str, globals: str = "") -> Config:
    """Read and check the main file `path` (relative to `prefix`) and all it includes.

    `globals` is the text of -g, read before the file.  Raises ConfigError with every problem that one run can find;
    resolves host names (blocking), opens no sockets and writes nothing.
    """
    reader = Reader(path, _directory(prefix), find)
    reader.walk(parse_parameters(globals), reader.main)
    try:
        reader.read(reader.path, reader.main)
        check_whole(reader)
    except Refused as refused:  # the main file itself cannot be read
        reader.problems.append(Problem(refused.message, hint=refused.hint))
    if reader.problems:
        raise ConfigError(tuple(reader.problems))
    return build(reader)


def _directory(prefix: str) -> str:
    absolute = prefix if prefix.startswith("/") else f"{Path.cwd()}/{prefix}"
    return absolute if absolute.endswith("/") else f"{absolute}/"
