"""Backends on free loopback ports: HTTP by h11 with recorded requests, and raw ones that follow a script.

One thread per connection: a test has few.  An error inside a handler or script is kept and fails the test at its end.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import h11

from tests.harness.client import reset
from tests.harness.wait import DEADLINE, free_port, wait_for


class Listener:
    """Accepts on a port of its own and runs `serve(socket, number)` in a thread for each connection."""

    host = "127.0.0.1"

    def __init__(self, port: int | None = None, backlog: int = 128) -> None:
        self.port = port or free_port()
        self.address = f"{self.host}:{self.port}"
        self.accepted = 0
        self.errors: list[BaseException] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._sock = socket.create_server((self.host, self.port), backlog=backlog)
        self._acceptor = threading.Thread(target=self._accept, daemon=True, name=f"backend-{self.port}")
        self._acceptor.start()

    def serve(self, sock: socket.socket, number: int) -> None:
        raise NotImplementedError

    @property
    def open(self) -> int:
        """Connections that neither side has ended for this backend."""
        return len(self._open)

    def stop(self) -> None:
        """Stop listening and end every connection with FIN; wait for the threads. May be called twice."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        # close() alone would leave the thread in accept()
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        with self._lock:
            for sock in self._open:
                _shutdown(sock)
        self._acceptor.join(DEADLINE)
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), f"backend {self.port}: a connection's thread does not end"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                number, self.accepted = self.accepted, self.accepted + 1
                self._open.add(sock)
                if self.stopping.is_set():
                    _shutdown(sock)
            thread = threading.Thread(target=self._run, args=(sock, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket, number: int) -> None:
        try:
            self.serve(sock, number)
        except OSError as error:
            # The peer may go at any time; scripts that care look at what they received.
            self.on_disconnect(error)
        except BaseException as error:
            if not self.stopping.is_set():
                self.errors.append(error)
        finally:
            with self._lock:
                self._open.discard(sock)
                sock.close()

    def on_disconnect(self, error: OSError) -> None:
        """A socket error ended `serve`."""


def _shutdown(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # already gone


@dataclass
class Request:
    """What an HTTP backend got. Header names as sent (h11 keeps the case apart): lower case here."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int  # number of the backend's connection that it came on

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]


@dataclass
class Reply:
    """What an HTTP backend answers. `chunks` instead of `body`: chunked coding, one chunk each."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    chunks: Sequence[bytes] | None = None
    informational: Sequence[int] = ()  # 1xx responses before it
    close: bool = False  # say Connection: close and do so
    wait: threading.Event | None = None  # answer when this is set
    until_close: bool = False  # neither length nor chunks: the body ends with the connection (HTTP/1.0)
    extra: bytes = b""  # bytes after the response that belong to nothing


Handler = Callable[[Request], Reply]


class HttpBackend(Listener):
    """Answers with its own address, or with what `handler` says; keeps connections alive."""

    def __init__(self, handler: Handler | None = None, port: int | None = None) -> None:
        self.handler = handler or (lambda _: Reply(body=self.address.encode()))
        self.requests: list[Request] = []
        self.truncated = 0  # connections that ended inside a request
        super().__init__(port)

    def serve(self, sock: socket.socket, number: int) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        while (request := self._read(sock, http, number)) is not None:
            self.requests.append(request)
            reply = self.handler(request)
            if reply.wait is not None:
                self._wait(reply.wait)
            self._answer(sock, http, reply)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    def _wait(self, released: threading.Event) -> None:
        wait_for(lambda: released.is_set() or self.stopping.is_set(), "the test to release a reply", 60)

    def _read(self, sock: socket.socket, http: h11.Connection, number: int) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    sock.sendall(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                data = sock.recv(65536)
                if not data and (head is not None or http.trailing_data[0]):
                    self.truncated += 1
                    return None
                http.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = [(bytes(k).decode("latin-1"), bytes(v).decode("latin-1")) for k, v in head.headers]
                method, target = bytes(head.method).decode(), bytes(head.target).decode("latin-1")
                return Request(method, target, bytes(head.http_version).decode(), headers, body, number)
            else:
                return None  # ConnectionClosed

    def _answer(self, sock: socket.socket, http: h11.Connection, reply: Reply) -> None:
        for status in reply.informational:
            sock.sendall(http.send(h11.InformationalResponse(status_code=status, headers=[])) or b"")
        headers = list(reply.headers)
        if reply.close:
            headers.append(("Connection", "close"))
        bodiless = reply.status in (204, 304)
        if reply.chunks is not None:
            headers.append(("Transfer-Encoding", "chunked"))
        elif not bodiless and not reply.until_close and not any(k.lower() == "content-length" for k, _ in headers):
            headers.append(("Content-Length", str(len(reply.body))))
        out = http.send(h11.Response(status_code=reply.status, headers=headers)) or b""
        is_head = http.their_state is h11.DONE and self.requests[-1].method == "HEAD"
        parts = [] if bodiless or is_head else (reply.chunks if reply.chunks is not None else [reply.body])
        if reply.chunks is not None:
            sock.sendall(out)
            out = b""
        for part in parts:
            out += http.send(h11.Data(data=part)) or b""
            if reply.chunks is not None:
                sock.sendall(out)
                out = b""
        # one send: what is extra comes in the same segment as the end of the response
        sock.sendall(out + (http.send(h11.EndOfMessage()) or b"") + reply.extra)


class RawConnection:
    """One accepted connection, as a script sees it. `received` has every byte that came."""

    def __init__(self, sock: socket.socket, number: int, stopping: threading.Event) -> None:
        self.sock = sock
        self.number = number
        self.received = b""
        self.buffer = b""
        self.ended = ""  # "": open; "fin" or "reset": how the peer ended it, where the script read so far
        self._stopping = stopping
        sock.settimeout(60)

    def recv(self) -> bytes:
        """Some bytes; b"" at the peer's FIN."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return self._more()

    def recv_until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            data = self._more()
            if not data:
                raise ConnectionAbortedError(f"closed before {mark!r}")
            self.buffer += data
        end = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    def recv_head(self) -> bytes:
        """One HTTP head, with its empty line."""
        return self.recv_until(b"\r\n\r\n")

    def recv_exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            data = self._more()
            if not data:
                raise ConnectionAbortedError(f"closed after {len(self.buffer)} of {count} bytes")
            self.buffer += data
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def recv_to_end(self) -> bytes:
        everything = b""
        while data := self.recv():
            everything += data
        return everything

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        reset(self.sock)

    def stall(self) -> None:
        """Do nothing, read nothing, until the backend is stopped."""
        self._stopping.wait()

    def _more(self) -> bytes:
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            self.ended = "reset"
            raise
        self.received += data
        self.ended = "" if data else "fin"
        return data


Script = Callable[[RawConnection], None]


class RawBackend(Listener):
    """Runs one script per connection, in order; the last one for all later connections. Closes when a script ends."""

    def __init__(self, *scripts: Script, port: int | None = None) -> None:
        assert scripts, "a raw backend needs a script"
        self.scripts = scripts
        self.connections: list[RawConnection] = []
        super().__init__(port)

    def serve(self, sock: socket.socket, number: int) -> None:
        connection = RawConnection(sock, number, self.stopping)
        self.connections.append(connection)
        self.scripts[min(number, len(self.scripts) - 1)](connection)

    @property
    def received(self) -> bytes:
        """What came on all connections, one after the other."""
        return b"".join(connection.received for connection in list(self.connections))


def answer(*responses: bytes) -> Script:
    """Script: for each HTTP head read (no body), send the next of `responses`, then close."""

    def script(connection: RawConnection) -> None:
        for response in responses:
            connection.recv_head()
            connection.send(response)

    return script


def reset_at_once(connection: RawConnection) -> None:
    """Script: RST before a byte is read."""
    connection.reset()


def reset_after_head(connection: RawConnection) -> None:
    """Script: read the request's head, then RST."""
    connection.recv_head()
    connection.reset()


def close_after_head(connection: RawConnection) -> None:
    """Script: read the request's head, then FIN without an answer."""
    connection.recv_head()


def never_answer(connection: RawConnection) -> None:
    """Script: read everything, answer nothing, until the peer closes."""
    connection.recv_to_end()


def echo(connection: RawConnection) -> None:
    """Script: send back what comes; FIN after the peer's FIN."""
    while data := connection.recv():
        connection.send(data)
    connection.half_close()
