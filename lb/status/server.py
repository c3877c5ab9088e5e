"""The HTTP server of the status port: h11 on non-blocking sockets in the master's loop.

It owns its connections (not the listening sockets, which are the master's).  Everything is bounded: connections,
the bytes of a request head, the time for a request, for taking the answer and for doing nothing.  When all connections
are taken, the one that has kept silent longest gives way to a new one: who only holds connections keeps nobody out.
A request must name this port as somebody who means it would (`hosts`).  A client can lose only its own connection.
An answer is sent as the client takes it, and a large one is made piece by piece as it does, one piece in a turn of the
loop; meanwhile nothing more is read from the client.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Final

import h11

from lb import __version__
from lb.log import Log
from lb.process.loop import READ, WRITE, Loop
from lb.status.hosts import is_ours
from lb.status.pages import Answer, View, respond

MAX_CONNECTIONS: Final = 64
MAX_HEAD: Final = 16 << 10  # bytes of a request head, or of what h11 cannot finish
MAX_BODY: Final = 64 << 10  # bytes of a request body that are read and dropped
READ_SIZE: Final = 8 << 10
REQUEST_S: Final = 10.0  # from the first byte, or the accept, to the end of the request
WRITE_S: Final = 30.0  # for the whole answer
IDLE_S: Final = 30.0  # between requests
PIECE: Final = 64 << 10  # bytes of a large answer that are made in one turn of the loop, or a little more
PIECE_S: Final = 0.01  # and how long that may take, or a little more
LARGE_MOST: Final = 8  # large answers under way: each holds the figures it was begun with
PAUSE_S: Final = 1.0  # no accept for so long when there are no descriptors left
STALLED_S: Final = 0.25  # a client that has taken nothing of its answer for so long may have to give way
OTHER_NAME: Final = b"""\
This is the status port of lb, and the request is for a name that it does not have: a web page of somebody else may have
sent it (DNS rebinding).  Use an address, localhost, or a name given with host= of status_listen.
"""


class Connection:
    """One client."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self.request: h11.Request | None = None
        self.body = 0  # bytes of the request's body so far
        self.out = memoryview(b"")
        self.pieces: Iterator[bytes] | None = None  # the rest of a large answer
        self.deadline = now + REQUEST_S
        self.idle = False  # between two requests, with nothing received
        self.since = now  # the accept, or the end or the last progress of an answer

    @property
    def busy(self) -> bool:
        """An answer is under way."""
        return bool(self.out) or self.pieces is not None

    def gives_way(self, now: float) -> bool:
        """No answer is under way, or one that its client does not take."""
        return not self.busy or now >= self.since + STALLED_S

    def fileno(self) -> int:
        return self.sock.fileno()


class StatusServer:
    def __init__(self, loop: Loop, view: Callable[[], View], health: Callable[[], View], log: Log) -> None:
        self._loop = loop
        self._view = view
        self._health = health
        self._log = log
        self._listeners: list[socket.socket] = []
        self._names: tuple[str, ...] = ()
        self._connections: set[Connection] = set()
        self._accepting = False
        self._accept_at = 0.0  # after a pause

    # Listening

    def listen(self, listeners: Iterable[socket.socket], names: tuple[str, ...] = ()) -> None:
        """Accept from these sockets and no others. `names`: those of this port besides addresses and localhost."""
        self._pause()
        self._names = names
        self._listeners = list(listeners)
        self._resume()

    def _pause(self) -> None:
        for listener in self._listeners:
            self._loop.forget(listener)
        self._accepting = False

    def _resume(self) -> None:
        for listener in self._listeners:
            self._loop.watch(listener, READ, partial(self._accept, listener))
        self._accepting = True

    def _accept(self, listener: socket.socket, _events: int) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # EMFILE, ENFILE, ENOMEM: it will not be better at once
            self._log.crit(f"accept() on the status port failed ({error.errno}: {error.strerror})")
            self._pause()
            self._accept_at = time.monotonic() + PAUSE_S
            return
        now = time.monotonic()
        connection = Connection(sock, now)
        self._connections.add(connection)
        self._watch(connection)
        if len(self._connections) >= MAX_CONNECTIONS and not self._make_room(now):
            self._pause()
            self._accept_at = now + STALLED_S

    def _make_room(self, now: float) -> bool:
        """Close one connection: one between requests rather than one in a request, then one in an answer."""
        found = [connection for connection in self._connections if connection.gives_way(now)]
        if found:
            self._close(min(found, key=lambda one: (one.busy, not one.idle, one.since)))
        return bool(found)

    # Time

    def deadline(self) -> float | None:
        """time.monotonic() of the next thing to do."""
        times = [connection.deadline for connection in self._connections]
        if not self._accepting and self._listeners:
            times.append(self._accept_at)
        return min(times, default=None)

    def step(self, now: float) -> None:
        """Close who is late; accept again when there is room."""
        for connection in [one for one in self._connections if one.deadline <= now]:
            self._close(connection)
        if self._accepting or now < self._accept_at:
            return
        if len(self._connections) < MAX_CONNECTIONS or self._make_room(now):
            self._resume()
        else:
            self._accept_at = now + STALLED_S

    # One connection

    def _watch(self, connection: Connection) -> None:
        events = WRITE if connection.busy else READ
        self._loop.watch(connection, events, partial(self._on_ready, connection))

    def _on_ready(self, connection: Connection, events: int) -> None:
        try:
            if events & WRITE:
                self._send(connection)
            else:
                connection.http.receive_data(connection.sock.recv(READ_SIZE))
                if connection.idle:
                    connection.idle = False
                    connection.deadline = time.monotonic() + REQUEST_S
            self._proceed(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
        except Exception:
            self._log.traceback("alert", "a request to the status port failed")
            self._close(connection)

    def _proceed(self, connection: Connection) -> None:
        """Go on with what has been received, until more is needed or there is something to send."""
        while not connection.busy and connection.sock.fileno() >= 0:
            try:
                event = connection.http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(connection, error)
                continue
            if event is h11.NEED_DATA:
                break
            self._on_event(connection, event)
        if connection.sock.fileno() >= 0:
            self._watch(connection)

    def _on_event(self, connection: Connection, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> None:
        if isinstance(event, h11.Request):
            connection.request = event
            connection.body = 0
        elif isinstance(event, h11.Data):
            connection.body += len(event.data)
            if connection.body > MAX_BODY:
                self._answer(connection, Answer(413, b"request body too large\n"), close=True)
        elif isinstance(event, h11.EndOfMessage):
            self._answer(connection, self._page(connection))
        else:  # ConnectionClosed
            self._close(connection)

    def _next_request(self, connection: Connection) -> None:
        connection.http.start_next_cycle()
        connection.request = None
        connection.idle = not connection.http.trailing_data[0]
        connection.since = time.monotonic()
        connection.deadline = connection.since + (IDLE_S if connection.idle else REQUEST_S)

    def _page(self, connection: Connection) -> Answer:
        request = connection.request
        assert request is not None
        hosts = [_text(value) for name, value in request.headers if name == b"host"]  # none in HTTP/1.0, never two
        if hosts and not is_ours(hosts[0], self._names):
            return Answer(421, OTHER_NAME)
        accept = b",".join(value for name, value in request.headers if name == b"accept")
        try:
            return respond(_text(request.method), _text(request.target), _text(accept), self._view, self._health)
        except Exception:
            self._log.traceback("alert", "a page of the status port failed")
            return Answer(500, b"internal error, see the error log\n")

    def _refuse(self, connection: Connection, error: h11.RemoteProtocolError) -> None:
        if connection.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(connection, Answer(error.error_status_hint, f"{error}\n".encode()), close=True)
        else:
            self._close(connection)

    def _answer(self, connection: Connection, answer: Answer, close: bool = False) -> None:
        if (
            not isinstance(answer.body, bytes)
            and sum(one.pieces is not None for one in self._connections) >= LARGE_MOST
        ):
            answer = Answer(503, b"too many large answers are being sent\n", headers=(("Retry-After", "1"),))
        body = answer.body
        headers = [
            ("Server", f"lb/{__version__}"),
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", answer.content_type),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *answer.headers,
        ]
        if isinstance(body, bytes):
            headers.append(("Content-Length", str(len(body))))
        if close:
            headers.append(("Connection", "close"))
        http = connection.http
        reason = HTTPStatus(answer.status).phrase
        begin = http.send(h11.Response(status_code=answer.status, headers=headers, reason=reason)) or b""
        if connection.request is not None and connection.request.method == b"HEAD":
            body = b""
        if isinstance(body, bytes):
            begin += (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b"")
        else:
            connection.pieces = body
        connection.out = memoryview(begin)
        connection.since = time.monotonic()
        connection.deadline = connection.since + WRITE_S
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        """Raises OSError when the client is gone."""
        if connection.out:
            try:
                connection.out = connection.out[connection.sock.send(connection.out) :]
            except BlockingIOError:
                return
            connection.since = time.monotonic()
        if connection.out:
            return
        if connection.pieces is not None:
            connection.out = memoryview(_more(connection))
            if connection.busy:
                return
        if connection.http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._next_request(connection)
        elif connection.http.our_state is h11.MUST_CLOSE:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._loop.forget(connection)
        connection.sock.close()
        self._connections.discard(connection)

    # The end

    def close(self) -> None:
        """Close every connection; also in a forked worker, whose loop is closed already."""
        for connection in self._connections:
            connection.sock.close()
        self._connections.clear()
        self._listeners = []


def _more(connection: Connection) -> bytes:
    """The next piece of a large answer, framed; with the last one the end of the answer."""
    assert connection.pieces is not None
    made = bytearray()
    until = time.monotonic() + PIECE_S
    for piece in connection.pieces:
        made += piece
        if len(made) >= PIECE or time.monotonic() >= until:
            return connection.http.send(h11.Data(data=bytes(made))) or b""
    connection.pieces = None
    return (connection.http.send(h11.Data(data=bytes(made))) or b"") + (connection.http.send(h11.EndOfMessage()) or b"")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
