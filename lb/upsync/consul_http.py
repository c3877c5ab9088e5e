"""The HTTP client under py-consul: one connection, kept alive, with a deadline and a bound for each answer.

py-consul's own client (requests) gives each recv() its time, so a server that sends a byte now and then holds it
for ever, it takes proxies and redirects, and nothing can end its wait.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

import consul.base
from consul.exceptions import ConsulException

from lb.upsync.connection import Connection
from lb.upsync.stop import Stop

MAX_BODY: Final = 64 << 20  # bytes (the module crashed beyond 4 MiB)
LEAST_ROOM: Final = 16 << 10  # bytes of a Body that has no Content-Length to go by
INDEX: Final = "X-Consul-Index"
_AT_ITS_LIMIT: Final = "a new connection was closed without an answer; limits.http_max_conns_per_client of Consul?"
_SHOWN: Final = 200  # characters of an error's body

Callback = Callable[[Any], Any]  # py-consul's: the response in, what the call returns out


class Busy(ConsulException):  # type: ignore[misc]  # py-consul has no types
    """Too many requests or connections from this address: 429, or a new connection closed without a byte (1.8)."""


class Unshareable(ConsulException):  # type: ignore[misc]
    """A query that asks for less might be answered: 403, or an answer that is too large."""


class Body:
    """Memory for an answer. The next one is received into it, too: fresh memory for a megabyte costs 0.2 ms."""

    def __init__(self) -> None:
        self._room = bytearray()
        self._used = 0

    def view(self) -> memoryview:
        """The answer; until the next fill()."""
        return memoryview(self._room)[: self._used]

    def text(self) -> str:
        return str(self.view(), "utf-8", "replace")

    def fill(self, response: http.client.HTTPResponse) -> None:
        """Receive the whole body. http.client alone would take a cut one for whole."""
        if response.length is not None and response.length > MAX_BODY:
            raise Unshareable(f"answer of {response.length} bytes is larger than {MAX_BODY}")
        least = LEAST_ROOM if response.length is None else response.length + 1  # one more: room is left at the end
        if len(self._room) < least or len(self._room) > 4 * max(self._used, least):
            self._room = bytearray(max(least, self._used))
        self._used = 0
        while True:
            self._used += response.readinto(memoryview(self._room)[self._used :])
            if self._used < len(self._room):
                break
            if self._used > MAX_BODY:
                raise Unshareable(f"answer is larger than {MAX_BODY} bytes")
            self._room = self._room + bytearray(min(len(self._room), MAX_BODY + 1 - len(self._room)))
        if response.length:
            raise http.client.IncompleteRead(bytes(self.view()), response.length)


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
    """What py-consul sends its requests with. Set `budget_s` before each call.

    `start`: what the next request on this connection will begin with, mostly (see path_probe).
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.host, connection.port, "http")
        self.budget_s = 0.0
        self.start = ""
        self._connection = connection

    def get(
        self,
        callback: Callback,
        path: str,
        params: Any = None,
        headers: Any = None,
        into: Body | None = None,
        **_: Any,
    ) -> Any:
        return callback(self.exchange("GET", path, params, headers, into=into))

    put = _sender("PUT")
    post = _sender("POST")
    delete = _sender("DELETE")

    def target(self, path: str, params: Any) -> str:
        return str(self.uri(path, params)).removeprefix(self.base_uri)

    def sent_ahead(self) -> int:
        """Bytes of the next request that have been sent already."""
        return self._connection.sent_ahead()

    def drop_if_ended(self) -> bool:
        """Whether the peer has ended the connection since the last answer; then the next request makes another."""
        return self._connection.drop_if_ended()

    def close(self) -> None:
        self._connection.close()

    def exchange(
        self, method: str, path: str, params: Any, headers: Any, data: Any = None, into: Body | None = None
    ) -> Any:
        """One request and its whole answer; after an error the connection is closed.

        The answer's body is a text, or the view of the Body that was given.
        """
        body = Body() if into is None else into
        fresh = self._connection.sock is None
        try:
            self._connection.extend(time.monotonic() + self.budget_s)
            target = self.target(path, params)
            self._connection.fit(f"{method} {target}")
            data = data.encode() if isinstance(data, str) else data
            self._connection.request(method, target, data or None, headers or {})
            self._connection.beat(self.start)
            response = self._connection.getresponse()
            self._connection.lasts = not response.will_close
            body.fill(response)
        except BaseException as error:
            self.close()
            if fresh and isinstance(error, http.client.RemoteDisconnected):
                raise Busy(_AT_ITS_LIMIT) from error
            raise
        _check(response, body)
        if not (response.headers.get(INDEX) or "").isdecimal():
            del response.headers[INDEX]
            response.headers[INDEX] = "0"  # py-consul refuses an answer without index; its list is good all the same
        return consul.base.Response(response.status, response.headers, body.text() if into is None else body.view())


def _check(response: http.client.HTTPResponse, body: Body) -> None:
    """Everything but 200 and 404 (no such key) is an error, also what other HTTP clients are content with."""
    if response.status in (200, 404):
        return
    message = f"{response.status} {response.reason}: {body.text()[:_SHOWN]}".rstrip(": \n")
    raise {429: Busy, 403: Unshareable}.get(response.status, ConsulException)(message)


class Consul(consul.base.Consul):  # type: ignore[misc]
    """py-consul over HTTPClient. The token is CONSUL_HTTP_TOKEN of the environment, or the one given with a call."""

    http: HTTPClient

    def __init__(
        self,
        host: str,
        port: int,
        stop: Stop,
        interval_s: float,
        context: ssl.SSLContext | None = None,
        tls_name: str = "",
    ) -> None:
        self._client = HTTPClient(Connection(host, port, stop, interval_s, context, tls_name))  # super() asks for it
        super().__init__(host, port, scheme="http")

    def http_connect(self, *_: Any, **__: Any) -> HTTPClient:
        return self._client
