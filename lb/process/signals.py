"""Signals as events of the master's loop: blocked, and read from a signalfd(2) together with who sent them.

A Python handler would not learn the sender, which nginx's log lines name; a blocked signal runs no code at any
moment but ours, and one that arrives between fork and the worker's own signalfd stays pending instead of being lost.
The mask is inherited over fork: the worker keeps six of the signals blocked for its engine (see worker_mask).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MASTER_SIGNALS: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCHLD,
)
WORKER_BLOCKED: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGWINCH,
)

_INFO_SIZE: Final = 128  # struct signalfd_siginfo, signalfd(2)
_INFO: Final = struct.Struct("=IiiII")  # ssi_signo, ssi_errno, ssi_code, ssi_pid, ssi_uid
_SIGSET_SIZE: Final = 128  # sigset_t of glibc and musl


@dataclass(frozen=True, slots=True)
class Caught:
    """One signal that arrived. `sender` is 0 when the kernel sent it (the terminal's Ctrl-C)."""

    number: int
    sender: int

    def __str__(self) -> str:
        """nginx's words: `signal 1 (SIGHUP) received from 4911`."""
        origin = f" from {self.sender}" if self.sender else ""
        return f"signal {self.number} ({signal.Signals(self.number).name}) received{origin}"


class SignalQueue:
    """The blocked signals of this process, readable through `fileno()`."""

    def __init__(self, signals: Iterable[signal.Signals] = MASTER_SIGNALS) -> None:
        """Blocks the signals. Raises OSError."""
        numbers = tuple(signals)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited SIG_IGN would reap our children for us
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        self._fd = _signalfd(numbers)

    def fileno(self) -> int:
        return self._fd

    def read(self) -> list[Caught]:
        """Everything that has arrived; [] if nothing has."""
        try:
            data = os.read(self._fd, 32 * _INFO_SIZE)
        except BlockingIOError:
            return []
        found = []
        for start in range(0, len(data), _INFO_SIZE):
            number, _, _, sender, _ = _INFO.unpack_from(data, start)
            found.append(Caught(number, sender))
        return found

    def close(self) -> None:
        """Close the descriptor; the signals stay blocked."""
        os.close(self._fd)


def worker_mask() -> None:
    """In the worker: block what its engine reads, give the rest back, ignore what is only the master's."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, WORKER_BLOCKED)


def _signalfd(signals: Iterable[int]) -> int:
    mask = 0
    for number in signals:
        mask |= 1 << (number - 1)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.signalfd(-1, mask.to_bytes(_SIGSET_SIZE, "little"), os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "signalfd")
    return fd
