"""A client of HTTP/2 that sends exact frames and shows those that came back. Field blocks are by PyPI's hpack.

Nothing is hidden: it keeps to no window, and answers only SETTINGS and, while `window` is set, DATA with WINDOW_UPDATE.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

import hpack

from tests.harness.client import Client

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM = ACK = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 32
(
    NO_ERROR,
    PROTOCOL_ERROR,
    INTERNAL_ERROR,
    FLOW_CONTROL_ERROR,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FRAME_SIZE_ERROR,
    REFUSED_STREAM,
    CANCEL,
    COMPRESSION_ERROR,
    CONNECT_ERROR,
    ENHANCE_YOUR_CALM,
) = range(12)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    """Of names as HEADER_TABLE_SIZE in lower case."""
    ids = {"header_table_size": 1, "enable_push": 2, "max_concurrent_streams": 3, "initial_window_size": 4}
    ids |= {"max_frame_size": 5, "max_header_list_size": 6}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", ids[name], value) for name, value in values.items()))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def headers(stream: int, block: bytes, end: bool = True, size: int = 16384) -> bytes:
    """HEADERS, and CONTINUATION where the block is longer than a frame."""
    parts = [block[i : i + size] for i in range(0, len(block), size)] or [b""]
    made = b""
    for i, part in enumerate(parts):
        last = END_HEADERS if i == len(parts) - 1 else 0
        made += frame(CONTINUATION if i else HEADERS, last | (0 if i else end * END_STREAM), stream, part)
    return made


@dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int(struct.unpack(">I", self.payload[:4] if self.kind == RST_STREAM else self.payload[4:8])[0])


@dataclass
class Answer:
    """What came of one stream."""

    heads: list[list[tuple[str, str]]] = field(default_factory=list)  # interim ones, the final one, trailers
    body: bytes = b""
    ended: bool = False  # END_STREAM
    reset: int | None = None  # code of RST_STREAM
    pieces: list[int] = field(default_factory=list)  # bytes of each DATA

    @property
    def interim(self) -> list[int]:
        return [int(dict(head)[":status"]) for head in self.heads if dict(head).get(":status", "2").startswith("1")]

    @property
    def head(self) -> list[tuple[str, str]]:
        return next(head for head in self.heads if not dict(head).get(":status", "1").startswith("1"))

    @property
    def status(self) -> int:
        return int(dict(self.head)[":status"])

    @property
    def trailers(self) -> list[tuple[str, str]] | None:
        return self.heads[-1] if ":status" not in dict(self.heads[-1]) else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.head if key == name]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class H2Client:
    """On a connected Client. `settings`: what it begins with."""

    def __init__(self, client: Client, *, begin: bool = True, **given: int) -> None:
        self.client = client
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder(max_header_list_size=1 << 20)
        self.next = 1
        self.answers: dict[int, Answer] = {}
        self.frames: list[Frame] = []  # all that came
        self.goaway: list[Frame] = []
        self.closed = False
        self.window = True  # give back what came as DATA
        if begin:
            self.client.send(PREFACE + settings(**given))

    # ---- out

    def send(self, data: bytes) -> H2Client:
        self.client.send(data)
        return self

    def block(self, fields: list[tuple[str, str]] | list[tuple[bytes, bytes]], huffman: bool = True) -> bytes:
        return self.encoder.encode(fields, huffman=huffman)

    def head(
        self, target: str = "/", method: str = "GET", extra: tuple[tuple[str, str], ...] = (), authority: str = "x"
    ) -> list[tuple[str, str]]:
        pseudo = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", target)]
        return [*pseudo, *extra]

    def ask(
        self,
        target: str = "/",
        method: str = "GET",
        extra: tuple[tuple[str, str], ...] = (),
        end: bool = True,
        authority: str = "x",
    ) -> int:
        """HEADERS of a new stream, whose number it returns."""
        return self.ask_fields(self.head(target, method, extra, authority), end)

    def ask_fields(self, fields: list[tuple[str, str]], end: bool = True) -> int:
        stream, self.next = self.next, self.next + 2
        self.send(headers(stream, self.block(fields), end))
        return stream

    def data(self, stream: int, data: bytes, end: bool = False) -> H2Client:
        return self.send(frame(DATA, end * END_STREAM, stream, data))

    # ---- in

    def _more(self) -> bool:
        data = self.client.sock.recv(65536)
        self.client.buffer += data
        if not data:
            self.closed = True
        return bool(data)

    def take(self) -> Frame | None:
        """The next frame; None: the connection has ended."""
        while True:
            buffer = self.client.buffer
            if len(buffer) >= 9:
                size = int.from_bytes(buffer[:3], "big")
                if len(buffer) >= 9 + size:
                    break
            try:
                if not self._more():
                    return None
            except ConnectionResetError:
                self.closed = True
                return None
        self.client.buffer = buffer[9 + size :]
        made = Frame(buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big"), bytes(buffer[9 : 9 + size]))
        self.frames.append(made)
        self._account(made)
        return made

    def _reply(self, data: bytes) -> None:
        try:
            self.client.send(data)
        except OSError:
            pass  # it has gone: the next read tells

    def _account(self, f: Frame) -> None:
        answer = self.answers.setdefault(f.stream, Answer()) if f.stream else Answer()
        if f.kind == SETTINGS and not f.flags & ACK:
            self._reply(frame(SETTINGS, ACK))
        elif f.kind == HEADERS:
            self._block = f.payload
            self._end_stream = f.flags & END_STREAM
        elif f.kind == CONTINUATION:
            self._block += f.payload
        elif f.kind == DATA:
            answer.body += f.payload
            answer.pieces.append(len(f.payload))
            if f.payload and self.window:
                self._reply(window_update(0, len(f.payload)))
                if not f.flags & END_STREAM:
                    self._reply(window_update(f.stream, len(f.payload)))
            answer.ended = bool(f.flags & END_STREAM)
        elif f.kind == RST_STREAM:
            answer.reset = f.code
        elif f.kind == GOAWAY:
            self.goaway.append(f)
        if f.kind in (HEADERS, CONTINUATION) and f.flags & END_HEADERS:
            answer.heads.append([(str(name), str(value)) for name, value in self.decoder.decode(self._block)])
            answer.ended = bool(self._end_stream)

    def answer(self, stream: int) -> Answer:
        """Until the stream is over, or the connection."""
        while not self.answers.get(stream, Answer()).over:
            if self.take() is None:
                break
        return self.answers.get(stream, Answer())

    def came(self, stream: int) -> bytes:
        return self.answers.get(stream, Answer()).body

    def get(self, target: str = "/", **options: object) -> Answer:
        return self.answer(self.ask(target, **options))  # type: ignore[arg-type]

    def until(self, kind: int) -> Frame:
        """The next frame of this kind; those before it are taken."""
        while True:
            found = self.take()
            assert found is not None, f"the connection ended before a frame {kind}: {self.frames[-5:]}"
            if found.kind == kind and not (kind == SETTINGS and found.flags & ACK):
                return found

    def gone(self) -> int | None:
        """The connection must end: the code of its last GOAWAY."""
        while self.take() is not None:
            pass
        return self.goaway[-1].code if self.goaway else None

    def ping(self) -> None:
        """A round trip: all that was sent before has been dealt with."""
        self.send(frame(PING, 0, 0, b"12345678"))
        assert self.until(PING).flags & ACK

    def close(self) -> None:
        self.client.sock.shutdown(socket.SHUT_RDWR)
