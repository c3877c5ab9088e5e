"""Child processes that end with this one: asked at a clean end, by the kernel (PR_SET_PDEATHSIG) when it is killed.

The parent has one thread and waits for signals with sigwait(); a child starts with all signals open, in a session
of its own, so that Ctrl-C reaches the parent alone, which ends the children in the right order.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import IO, Final, Self

PR_SET_PDEATHSIG: Final = 1
END_S: Final = 10.0  # that a child may take to end
START_S: Final = 15.0  # that a child may take until its port answers
ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class ChildError(Exception):
    """A child did not start, or ended by itself; the text is for the user."""


class Children:
    """What was started, in order. A context: at its end all are ended, the last one first."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        # Blocked, they wait for wait() instead of interrupting whatever is being started.
        signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, signal.SIGCHLD))
        return self

    def __exit__(self, *error: object) -> None:
        for _, process in reversed(self._running):
            _end(process)

    def start(self, name: str, command: Sequence[str], output: IO[bytes] | None = None) -> None:
        """Start one; `output`: where its stdout and stderr go instead of ours. Raises ChildError."""
        parent = os.getpid()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: _tie_to(parent),
            )
        except OSError as error:
            raise ChildError(f"{name} does not start: {command[0]}: {error.strerror}") from error
        self._running.append((name, process))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises ChildError when a child ends or START_S pass; KeyboardInterrupt on a signal."""
        deadline = time.monotonic() + START_S
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                raise ChildError(f"after {START_S:g} s still waiting for {what}")
            if signal.sigtimedwait(ENDING, 0.02) is not None:
                raise KeyboardInterrupt

    def wait(self) -> None:
        """Until SIGINT or SIGTERM. Raises ChildError when a child ends before."""
        while signal.sigwait((*ENDING, signal.SIGCHLD)) == signal.SIGCHLD:
            self._check()

    def _check(self) -> None:
        for name, process in self._running:
            if process.poll() is not None:
                raise ChildError(f"{name} has ended with code {process.returncode}")


def _tie_to(parent: int) -> None:
    """In the child, before exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if os.getppid() != parent:  # it died before prctl() could tell
        os._exit(1)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_listening(port: int) -> bool:
    """Whether something accepts on this loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return True
    except OSError:
        return False


def is_free(port: int) -> bool:
    """Whether this loopback port can be bound."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
