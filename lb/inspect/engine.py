"""The engine's structs in another process's memory, by the layout that this process's own engine has left there."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

from lb.inspect.memory import MAGIC, Memory, Unreadable

_BEACON: Final = struct.Struct("<16sQQQQ")  # magic, itself, loop, text, length of the text
_LARGEST_LAYOUT: Final = 1 << 20
LONGEST_TEXT: Final = 4096


class Struct:
    """One struct as it was when it was read: fields by name, numbers or bytes; a Str is (address, length)."""

    def __init__(self, address: int, data: bytes, fields: dict[str, tuple[int, int, str]]) -> None:
        self.address = address
        self._data = data
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            offset, size, kind = self._fields[name]
        except KeyError:
            raise AttributeError(name) from None
        part = self._data[offset : offset + size]
        if kind == "s":
            return struct.unpack_from("<QI", part)
        return part if kind == "a" else int.from_bytes(part, "little", signed=kind == "i")


class Engine:
    """The engine of one worker. Raises Unreadable where there is none."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        loop, text = self._beacon()
        self.layout: dict[str, Any] = json.loads(text)
        self.loop = self.struct("Loop", loop)

    def _beacon(self) -> tuple[int, bytes]:
        for address in self.memory.beacons():
            magic, itself, loop, text, length = _BEACON.unpack(self.memory.read(address, _BEACON.size))
            if magic == MAGIC and itself == address and 0 < length < _LARGEST_LAYOUT:
                return loop, self.memory.read(text, length)
        raise Unreadable(f"{self.memory.name} is no worker of lb")

    def struct(self, name: str, address: int) -> Struct:
        known = self.layout["structs"][name]
        return Struct(address, self.memory.read(address, known["size"]), known["fields"])

    def part(self, name: str, address: int) -> Struct | None:
        """The same for what a pointer leads to: None for none, or one that is not good (any more)."""
        try:
            return self.struct(name, address) if address else None
        except Unreadable:
            return None

    def connections(self) -> Iterator[Struct]:
        """Every Conn in use; one read for each chunk of the slab."""
        known, slab = self.layout["structs"]["Conn"], self.layout["slab"]
        size, fields = known["size"], known["fields"]
        chunks = self.memory.read(self.loop.chunks, 8 * self.loop.nchunks) if self.loop.nchunks else b""
        for (chunk,) in struct.iter_unpack("<Q", chunks):
            data = self.memory.read(chunk, size * slab)
            for place in range(slab):
                one = Struct(chunk + place * size, data[place * size : (place + 1) * size], fields)
                if one.kind:
                    yield one

    def request_of(self, conn: Struct) -> Struct | None:
        """The exchange that runs there, if it is still that connection's."""
        request = self.part("Request", conn.req)
        return request if request is not None and conn.address in (request.client, request.up) else None

    def text(self, address: int, length: int) -> str:
        if not length:
            return ""
        try:
            return self.memory.read(address, min(length, LONGEST_TEXT)).decode("utf-8", "backslashreplace")
        except Unreadable:
            return "?"

    def name(self, struct_name: str, address: int, field: str = "name") -> str:
        """The Str `field` of what a pointer leads to; "": none."""
        part = self.part(struct_name, address)
        return self.text(*getattr(part, field)) if part is not None else ""

    def waiting(self, address: int) -> int:
        """Bytes in a chain of buffers."""
        total = 0
        for _ in range(LONGEST_TEXT):
            block = self.part("Buf", address)
            if block is None:
                break
            total += block.end - block.off
            address = block.next
        return total

    def named(self, table: str, number: int) -> str:
        return str(self.layout["names"][table].get(str(number), number))

    def flags(self, table: str, number: int) -> str:
        """The names of the bits that are set, joined by commas; bits without a name in hexadecimal; "-": none."""
        known: dict[str, int] = self.layout["flags"][table]
        names = [name for name, bit in known.items() if number & bit]
        rest = number & ~sum(known.values())
        return ",".join(names + [f"{rest:#x}"] * bool(rest)) or "-"
