"""The demo's backends: `python -m lb.demo.backends PORT...`, one asyncio process that listens on 127.0.0.1:PORT each.

A connection that begins with an HTTP request line is answered by h11: the backend's name, the request line, its
headers.  Any other is echoed line by line with the backend's name in front, for the TCP side of lb.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Sequence
from typing import Final

import h11

READ: Final = 65536  # bytes
_REQUEST_LINE: Final = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r?\n")


class Backend:
    """One backend, named by its port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.name = f"backend {port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, h11.RemoteProtocolError):
            first = await _first_line(reader)
            if _REQUEST_LINE.fullmatch(first):
                await self._http(first, reader, writer)
            else:
                await self._echo(first, reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _echo(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line:
            writer.write(f"{self.name}: ".encode() + line)
            await writer.drain()
            line = await _first_line(reader)

    async def _http(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        http.receive_data(first)
        while (request := await _next_request(http, reader)) is not None:
            writer.write(_answer(http, request, self._text(*request)))
            await writer.drain()
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    def _text(self, request: h11.Request, body: int) -> bytes:
        lines = [self.name.encode(), b"%s %s HTTP/%s" % (request.method, request.target, request.http_version)]
        lines += [b"%s: %s" % (name, value) for name, value in request.headers.raw_items()]
        lines += [b"(body of %d bytes)" % body] if body else []
        return b"\n".join(lines) + b"\n"


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    """A line with its end, or what there is of it."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await reader.read(error.consumed)


async def _next_request(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, int] | None:
    """A whole request and the length of its body; None at the end of the connection."""
    request: h11.Request | None = None
    body = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(READ))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += len(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, body
        else:  # ConnectionClosed
            return None


def _answer(http: h11.Connection, request: tuple[h11.Request, int], text: bytes) -> bytes:
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
    parts = [http.send(h11.Response(status_code=200, headers=headers))]
    if request[0].method != b"HEAD":
        parts.append(http.send(h11.Data(data=text)))
    parts.append(http.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


async def run(ports: Sequence[int]) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    servers = [await asyncio.start_server(Backend(port).serve, "127.0.0.1", port) for port in ports]
    await ended.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    try:
        asyncio.run(run([int(text) for text in sys.argv[1:]]))
    except OSError as failure:
        sys.exit(f"demo backends: {failure}")
