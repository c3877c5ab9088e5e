"""A child that writes files whole, one for many writes: a fork for each costs the master 1 ms, and page copies later.

    master: texts -> memory file, order (socket) ->  child: each text -> temporary file, fsync, rename
            outcome                  <- (socket)            path -> what went wrong

States: idle -> (write) -> busy -> idle, with an outcome; -> gone (it died, took too long, or was closed).  The master
owns its end of the socket, the memory file and the pid; the child owns copies of the other end and of the memory
file, and nothing else of the master's: no listener, no log.  It ends when the master's end is closed.  One order at a
time: while the child is busy, the memory file is the child's.  A write to either never waits.  The child takes no
signal that the master blocks: a TERM for the whole group shall not cut the last dump off.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import pickle
import signal
import socket
import struct
import traceback
from collections.abc import Mapping
from typing import Final, NoReturn

from lb.master.child import READ_SIZE, Outcome, begin, detach
from lb.process.loop import READ, Loop
from lb.upsync import dump

NAME: Final = "writing dump files"
NICE: Final = 10  # it shall not hold up a worker on the same core
DIED: Final = "the process that did it died"
_LENGTH: Final = struct.Struct("!Q")  # of the memory file's head (an order), of the pickled Outcome (an answer)


class DumpWriter:
    """One child. `outcome` is None until the order that was given last is over; its value: path -> what went wrong."""

    def __init__(self, loop: Loop) -> None:
        """Fork. Raises OSError."""
        self.outcome: Outcome | None = None
        self.busy = False
        self.give_up_at = float("inf")
        self._loop = loop
        self._data = bytearray()
        with contextlib.ExitStack() as undo:
            self._memory = os.memfd_create("lb-dumps")
            undo.callback(os.close, self._memory)
            self._sock, theirs = socket.socketpair()
            undo.callback(self._sock.close)
            with theirs:
                self.pid = os.fork()
                if self.pid == 0:
                    _child(theirs, self._memory)
            undo.pop_all()
        self._sock.setblocking(False)
        loop.watch(self, READ, self._on_data)

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def gone(self) -> bool:
        return self.fileno() < 0

    def write(self, files: Mapping[str, bytes], give_up_at: float) -> None:
        """Path -> content; after `give_up_at` (time.monotonic()) it is killed. Every failure becomes an outcome."""
        self.outcome = None
        self.busy = True
        self.give_up_at = give_up_at
        head = pickle.dumps([(path, len(content)) for path, content in files.items()])
        try:
            size = len(head) + sum(map(len, files.values()))
            if os.pwritev(self._memory, [head, *files.values()], 0) != size:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            self._sock.send(_LENGTH.pack(len(head)))
        except ConnectionError:
            self._end(DIED)
        except OSError as error:
            self.cancel(f"{error.errno}: {error.strerror}")

    def _on_data(self, _events: int) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(DIED)
            return
        self._data += data
        if len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if len(self._data) == _LENGTH.size + length:
                self.outcome = pickle.loads(self._data[_LENGTH.size :])
                self.busy = False
                self._data.clear()

    def check(self, now: float) -> None:
        """Kill the child if its time is over."""
        if self.busy and now >= self.give_up_at:
            self.cancel(f"{NAME} takes too long")

    def cancel(self, reason: str) -> None:
        """End the child now. The arbiter reaps it."""
        self._kill()
        self._end(reason)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _end(self, reason: str) -> None:
        if self.busy:
            self.outcome = Outcome(error=reason)
            self.busy = False
        self.close()

    def close(self) -> None:
        """The child ends by itself, after the order that it has."""
        if not self.gone:
            self._loop.forget(self)
            self.close_copy()

    def close_copy(self) -> None:
        """In a forked worker, whose loop is closed: only the descriptors."""
        if not self.gone:
            self._sock.close()
            os.close(self._memory)

    def reap(self) -> None:
        """At the end of the master: nothing stays behind, but a child that a disk holds up."""
        if self.busy or self.gone:
            self.close()
            return
        self._kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.close()


def _child(orders: socket.socket, memory: int) -> NoReturn:
    try:
        begin(NAME, (orders.fileno(), memory))
        detach()
        os.nice(NICE)
        gc.disable()  # it would copy all pages, and close by number what is closed already
        while order := orders.recv(_LENGTH.size, socket.MSG_WAITALL):
            answer = pickle.dumps(_obey(memory, *_LENGTH.unpack(order)))
            orders.sendall(_LENGTH.pack(len(answer)) + answer)
    finally:
        os._exit(0)


def _obey(memory: int, length: int) -> Outcome:
    try:
        at, failed = length, {}
        for path, size in pickle.loads(os.pread(memory, length, 0)):
            reason = _write(path, os.pread(memory, size, at))
            if reason:
                failed[path] = reason
            at += size
        return Outcome(value=failed)
    except Exception:
        return Outcome(error=traceback.format_exc())


def _write(path: str, content: bytes) -> str:
    """What went wrong, or nothing."""
    try:
        dump.replace(path, content)
    except OSError as error:
        return f"{error.errno}: {os.strerror(error.errno)}" if error.errno else str(error)
    except ValueError as error:
        return str(error)
    return ""
