"""A client that sends exact bytes and shows what came back; HTTP responses are read by h11."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

import h11

from tests.harness import tls_socket
from tests.harness.wait import DEADLINE


@dataclass
class Response:
    """One HTTP response. Header names are lower case, in the order received; repeated ones are kept."""

    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    informational: list[int] = field(default_factory=list)  # statuses of the 1xx before it

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Client:
    """One TCP connection. Bytes that came and were not used yet stay in `buffer`."""

    def __init__(
        self, port: int, host: str = "127.0.0.1", *, timeout: float = DEADLINE, source: str = "", rcvbuf: int = 0
    ) -> None:
        self.host, self.port = host, port
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.settimeout(timeout)
        if source:
            self.sock.bind((source, 0))
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        try:
            self.sock.connect((host, port))
        except OSError:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if port in tls_socket.PORTS:
            self.sock = tls_socket.TlsSocket(self.sock)  # type: ignore[assignment]
        self.buffer = b""
        self.received = bytearray()  # everything that ever came

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def send_each_byte(self, data: bytes) -> Client:
        """One send a byte: with TCP_NODELAY mostly one segment each."""
        for position in range(len(data)):
            self.sock.sendall(data[position : position + 1])
        return self

    def _more(self) -> bytes:
        data = self.sock.recv(65536)
        self.buffer += data
        self.received += data
        return data

    def recv_exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not self._more():
                raise AssertionError(f"closed after {len(self.buffer)} of {count} bytes: {self.buffer[:200]!r}")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def recv_until(self, mark: bytes) -> bytes:
        """Up to and with `mark`."""
        while mark not in self.buffer:
            if not self._more():
                raise AssertionError(f"closed before {mark!r}: {self.buffer[:200]!r}")
        return self.recv_exactly(self.buffer.index(mark) + len(mark))

    def recv_to_end(self) -> bytes:
        """Until the other side closes."""
        parts, self.buffer = [self.buffer], b""
        while data := self._more():
            parts.append(data)
            self.buffer = b""
        return b"".join(parts)

    def response(self, method: str = "GET") -> Response:
        """The next response on this connection, to a request of `method`."""
        return _ResponseReader(self, method).read()

    def request(self, method: str = "GET", target: str = "/", headers: str = "", body: bytes = b"") -> Response:
        """Send one HTTP/1.1 request and read its response. `headers`: lines that end in CRLF."""
        if "host:" not in headers.lower():
            headers = f"Host: {self.host}:{self.port}\r\n" + headers
        if body and "content-length:" not in headers.lower():
            headers += f"Content-Length: {len(body)}\r\n"
        self.send(f"{method} {target} HTTP/1.1\r\n{headers}\r\n".encode("latin-1") + body)
        return self.response(method)

    def expect_closed(self) -> None:
        """The other side closes without another byte (FIN or RST)."""
        try:
            data = self.buffer or self._more()
        except ConnectionResetError:
            return
        assert not data, f"expected the end of the connection, got {data[:200]!r}"

    def expect_reset(self) -> None:
        try:
            data = self._more()
        except ConnectionResetError:
            return
        raise AssertionError(f"expected a reset, got {data[:200]!r}")

    def half_close(self) -> Client:
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        reset(self.sock)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _ResponseReader:
    """Feeds one h11 connection for one response, and gives the bytes after it back to the client's buffer."""

    def __init__(self, client: Client, method: str) -> None:
        self.client = client
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        self.http.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        self.http.send(h11.EndOfMessage())

    def read(self) -> Response:
        informational: list[int] = []
        while isinstance(event := self._next(), h11.InformationalResponse):
            informational.append(event.status_code)
            if event.status_code == 101:
                return self._finish(event, b"", informational)
        assert isinstance(event, h11.Response), f"expected a response, got {event!r}"
        body = bytearray()
        while not isinstance(part := self._next(), h11.EndOfMessage):
            assert isinstance(part, h11.Data), f"response cut after {len(body)} bytes of body: {part!r}"
            body += bytes(part.data)
        return self._finish(event, bytes(body), informational)

    def _next(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            data = self.client.buffer or self.client._more()
            self.client.buffer = b""
            self.http.receive_data(data)
        return event

    def _finish(
        self, event: h11.Response | h11.InformationalResponse, body: bytes, informational: list[int]
    ) -> Response:
        self.client.buffer = self.http.trailing_data[0]
        headers = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in event.headers]
        version = bytes(event.http_version).decode()
        return Response(event.status_code, bytes(event.reason).decode("latin-1"), version, headers, body, informational)
