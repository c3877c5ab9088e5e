"""The HTTP client under py-consul: one connection, kept alive, whose every wait has an end and ends when told.

py-consul's own client (requests) gives each recv() its time, so a server that sends a byte now and then holds it
for ever, it takes proxies and redirects, and nothing can end its wait.  Here one deadline covers name, connect,
request and answer; the socket waits for the puller's Stop too; an answer is bounded.  The name lookup alone cannot
be ended (getaddrinfo).
"""

from __future__ import annotations

import errno
import http.client
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import consul.base
from consul.exceptions import ConsulException

from lb.upsync.stop import Stop

CONNECT_S: Final = 3.0  # for one address
MAX_BODY: Final = 64 << 20  # bytes (the module crashed beyond 4 MiB)
INDEX: Final = "X-Consul-Index"
_SHOWN: Final = 200  # characters of an error's body
KEEPALIVE_PROBES: Final = 3

Callback = Callable[[Any], Any]  # py-consul's: the response in, what the call returns out


class Busy(ConsulException):  # type: ignore[misc]  # py-consul has no types
    """429: too many requests or connections from this address."""


class Wire(socket.socket):
    """A TCP socket whose waits end at `until` (monotonic seconds, TimeoutError) or when `stop` is set (Stopped)."""

    def __init__(self, family: int, stop: Stop, until: float) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.setblocking(False)
        self.stop = stop
        self.until = until

    def _wait(self, events: int, until: float) -> None:
        if not self.stop.wait_fd(self.fileno(), events, until - time.monotonic()):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def open(self, address: Any) -> None:
        """Connect. Raises OSError."""
        code = self.connect_ex(address)
        if code == errno.EINPROGRESS:
            self._wait(select.POLLOUT, min(self.until, time.monotonic() + CONNECT_S))
            code = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def watch_path(self, idle_s: int) -> None:
        """Let the kernel find out, in idle_s + KEEPALIVE_PROBES seconds, that nothing comes back any more.

        A blocking query is silent for a minute, and a peer that vanished without FIN is just as silent.
        """
        self.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, (idle_s + KEEPALIVE_PROBES) * 1000)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        while True:
            self._wait(select.POLLIN, self.until)
            try:
                return super().recv_into(buffer, nbytes, flags)
            except BlockingIOError:  # a wake-up without data
                continue

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            self._wait(select.POLLOUT, self.until)
            try:
                rest = rest[super().send(rest, flags) :]
            except BlockingIOError:
                continue


class Connection(http.client.HTTPConnection):
    """http.client's connection over a Wire."""

    def __init__(self, host: str, port: int, stop: Stop, idle_s: int) -> None:
        super().__init__(host, port)
        self.until = 0.0
        self._stop = stop
        self._idle_s = idle_s

    def connect(self) -> None:
        """The first address of the name that answers. Raises OSError."""
        last: OSError | None = None
        for family, _, _, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            wire = Wire(family, self._stop, self.until)
            try:
                wire.watch_path(self._idle_s)
                wire.open(address)
            except OSError as error:
                wire.close()
                last = error
            except BaseException:
                wire.close()
                raise
            else:
                self.sock = wire
                return
        raise last or OSError(f"{self.host} has no address")

    def drop_if_ended(self) -> bool:
        """Close an idle connection that the peer has ended (FIN, RST, or bytes that nobody asked for)."""
        if self.sock is None or not self._stop.wait_fd(self.sock.fileno(), select.POLLIN, 0):
            return False
        self.close()
        return True

    def extend(self, until: float) -> None:
        """The deadline of the next exchange."""
        self.until = until
        if isinstance(self.sock, Wire):
            self.sock.until = until


def _sender(method: str) -> Callable[..., Any]:
    """A method of HTTPClient that sends a body, with the arguments that py-consul gives."""

    def send(
        self: HTTPClient,
        callback: Callback,
        path: str,
        params: Any = None,
        data: Any = "",
        headers: Any = None,
        **_: Any,
    ) -> Any:
        return callback(self.exchange(method, path, params, headers, data))

    return send


class HTTPClient(consul.base.HTTPClient):  # type: ignore[misc]
    """What py-consul sends its requests with. Set `budget_s` before each call."""

    def __init__(self, host: str, port: int, stop: Stop, idle_s: int) -> None:
        super().__init__(host, port, "http")
        self.budget_s = 0.0
        self._connection = Connection(host, port, stop, idle_s)

    def get(self, callback: Callback, path: str, params: Any = None, headers: Any = None, **_: Any) -> Any:
        return callback(self.exchange("GET", path, params, headers))

    put = _sender("PUT")
    post = _sender("POST")
    delete = _sender("DELETE")

    def drop_if_ended(self) -> bool:
        """Whether the peer has ended the connection since the last answer; then the next request makes another."""
        return self._connection.drop_if_ended()

    def close(self) -> None:
        self._connection.close()

    def exchange(self, method: str, path: str, params: Any, headers: Any, data: Any = None) -> Any:
        """One request and its whole answer; after an error the connection is closed."""
        try:
            self._connection.extend(time.monotonic() + self.budget_s)
            target = self.uri(path, params).removeprefix(self.base_uri)
            body = data.encode() if isinstance(data, str) else data
            self._connection.request(method, target, body or None, headers or {})
            response = self._connection.getresponse()
            text = _body(response).decode("utf-8", "replace")
        except BaseException:
            self.close()
            raise
        _check(response, text)
        if not (response.headers.get(INDEX) or "").isdecimal():
            del response.headers[INDEX]
            response.headers[INDEX] = "0"  # py-consul refuses an answer without index; its list is good all the same
        return consul.base.Response(response.status, response.headers, text)


def _body(response: http.client.HTTPResponse) -> bytes:
    """The whole body. http.client alone would take a cut one for whole."""
    if response.length is not None and response.length > MAX_BODY:
        raise ConsulException(f"answer of {response.length} bytes is larger than {MAX_BODY}")
    body = response.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise ConsulException(f"answer is larger than {MAX_BODY} bytes")
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body


def _check(response: http.client.HTTPResponse, text: str) -> None:
    """Everything but 200 and 404 (no such key) is an error, also what other HTTP clients are content with."""
    if response.status in (200, 404):
        return
    message = f"{response.status} {response.reason}: {text[:_SHOWN]}".rstrip(": \n")
    raise Busy(message) if response.status == 429 else ConsulException(message)


class Consul(consul.base.Consul):  # type: ignore[misc]
    """py-consul over HTTPClient. The token is CONSUL_HTTP_TOKEN of the environment, or the one given with a call."""

    http: HTTPClient

    def __init__(self, host: str, port: int, stop: Stop, idle_s: int) -> None:
        self._client = HTTPClient(host, port, stop, idle_s)  # before super(), which asks for it
        super().__init__(host, port, scheme="http")

    def http_connect(self, *_: Any, **__: Any) -> HTTPClient:
        return self._client
