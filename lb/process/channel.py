"""The control channel: JSON frames, with descriptors where needed, over a socket pair between master and worker.

A frame is 4 bytes of length (network order), then one JSON object.  Descriptors travel with SCM_RIGHTS on the first
bytes of their frame, whose "fds" member says how many.  An Endpoint never waits: it buffers, and its owner calls it
when the socket is ready.  The master's loop owns one end, the worker's control thread the other.

Worker to master: {"say": "ready"}, {"say": "report", ...} (lb.upsync.report, mostly without its list),
{"say": "learned", "upstreams": [...]}.
Master to worker: {"cmd": "stop", "mode": N}, {"cmd": "tell"} (the answer is "learned"), {"cmd": "list", "upstream": N}
(the answer is a whole report), {"cmd": "reopen", "paths": [...]} with one descriptor per path,
{"cmd": "certificates"} with one of memory that holds them (_fast.tls_renewal_read), and {"cmd": "staples", "staples":
[[place, SHA-256, until, base64], ...]}, OCSP responses (lb.process.staples).
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_FRAME: Final = 256 << 20  # bytes: a server list of a million lines, and a bound on a lying length
MAX_QUEUED: Final = 64  # pieces of frames that wait to be sent
READ_SIZE: Final = 1 << 16
MAX_FDS: Final = 1 << 20  # of a frame
FDS_A_MESSAGE: Final = 250  # the kernel takes 253 (SCM_MAX_FD)
_LENGTH: Final = struct.Struct("!I")


class ChannelError(Exception):
    """The other side broke the framing: the channel is of no use any more."""


@dataclass(slots=True)
class Frame:
    """One message as received. Who takes it owns `fds`; `lost_fds` says that some could not be received (EMFILE)."""

    body: dict[str, Any]
    fds: list[int] = field(default_factory=list)
    lost_fds: bool = False


class Decoder:
    """Bytes and descriptors in, frames out, whatever the pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._fds: deque[int] = deque()
        self._lost = False

    def feed(self, data: bytes, fds: Sequence[int] = (), lost: bool = False) -> list[Frame]:
        """`lost`: the kernel could not install all descriptors. Raises ChannelError."""
        self._bytes += data
        self._fds.extend(fds)
        self._lost = self._lost or lost
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > MAX_FRAME:
            raise ChannelError(f"frame of {length} bytes")
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        raw = bytes(self._bytes[_LENGTH.size : end])
        del self._bytes[:end]
        return self._frame(raw)

    def _frame(self, raw: bytes) -> Frame:
        try:
            body = json.loads(raw)
            count = body.pop("fds", 0)
        except (ValueError, AttributeError, TypeError, RecursionError) as error:  # no JSON, or no object
            raise ChannelError(f"not a JSON object: {error}") from error
        if type(count) is not int or not 0 <= count <= MAX_FDS:
            raise ChannelError(f"a frame with {count!r:.80} descriptors")
        if not count:
            return Frame(body)
        if self._lost or len(self._fds) < count:
            self.close()  # which descriptor is which is no longer known
            return Frame(body, lost_fds=True)
        return Frame(body, [self._fds.popleft() for _ in range(count)])

    def close(self) -> None:
        """Drop the descriptors that no frame has taken."""
        self._lost = False
        while self._fds:
            os.close(self._fds.popleft())


def encode(body: dict[str, Any], fds: int = 0) -> bytes:
    raw = json.dumps(body | {"fds": fds} if fds else body, separators=(",", ":")).encode()
    if len(raw) > MAX_FRAME:
        raise ChannelError(f"frame of {len(raw)} bytes")
    return _LENGTH.pack(len(raw)) + raw


class Endpoint:
    """One end of the channel: non-blocking, buffered both ways, with one owner (no lock).

    `takes_fds`: the worker's end. The master takes none: they are closed as they come, whatever a frame says of them.
    """

    def __init__(self, sock: socket.socket, *, takes_fds: bool = True) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._takes_fds = takes_fds
        self._decoder = Decoder()
        self._out: deque[tuple[memoryview, list[int]]] = deque()  # pieces to send, with duplicates of their descriptors

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def send(self, body: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Queue a frame and send what the socket takes. Raises OSError (EPIPE: nobody is there), ChannelError."""
        if len(self._out) > MAX_QUEUED:
            raise ChannelError("the other side does not read")
        frame = memoryview(encode(body, len(fds)))
        start = 0
        for first in range(0, len(fds), FDS_A_MESSAGE):  # each batch rides on one byte of the frame
            batch = [os.dup(fd) for fd in fds[first : first + FDS_A_MESSAGE]]
            self._out.append((frame[start : start + 1], batch))
            start += 1
        self._out.append((frame[start:], []))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now. Raises OSError."""
        while self._out:
            piece, fds = self._out[0]
            try:
                sent = self.sock.sendmsg([piece], _rights(fds), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            _close_all(fds)
            if sent == len(piece):
                self._out.popleft()
            else:
                self._out[0] = (piece[sent:], [])

    def receive(self) -> tuple[list[Frame], bool]:
        """(frames that are complete now, whether the other end is still open). Raises ChannelError."""
        try:
            space = socket.CMSG_SPACE(FDS_A_MESSAGE * array.array("i").itemsize)
            data, control, flags, _ = self.sock.recvmsg(READ_SIZE, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return [], True
        except OSError:  # reset: the other process is gone
            return [], False
        fds = _received(control)
        if fds and not self._takes_fds:
            _close_all(fds)
            raise ChannelError("descriptors from a worker")
        frames = self._decoder.feed(data, fds, bool(flags & socket.MSG_CTRUNC))
        return frames, bool(data)

    def close(self) -> None:
        for _, fds in self._out:
            _close_all(fds)
        self._out.clear()
        self._decoder.close()
        self.sock.close()


def _rights(fds: list[int]) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []


def _received(control: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _close_all(fds: list[int]) -> None:
    while fds:
        with contextlib.suppress(OSError):
            os.close(fds.pop())
