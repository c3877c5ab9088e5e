"""The pid file: written when every socket listens, removed at the end by the process that it names."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

PID_MAX: Final = 2**31 - 1  # pid_t


def create(path: str, pid: int) -> None:
    """Write "PID\\n" as nginx does. Raises OSError."""
    Path(path).write_text(f"{pid}\n", encoding="ascii")


def touch(path: str) -> None:
    """`lb -t`: check that the file can be written, without changing what it says. Raises OSError."""
    with Path(path).open("ab"):
        pass


def read(path: str) -> int:
    """The pid in the file. Raises OSError, or ValueError with the text that is no number."""
    text = Path(path).read_text(encoding="utf-8", errors="replace").strip()
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= PID_MAX):
        raise ValueError(text)
    return int(text)


def remove(path: str, pid: int) -> None:
    """Remove the file if it still names `pid`: another master may have written it since."""
    with contextlib.suppress(OSError, ValueError):
        if read(path) == pid:
            Path(path).unlink()
