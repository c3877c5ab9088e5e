"""Bytes of another process by their address: of one that runs (/proc/PID/mem), or of its core (ELF, 64 bit)."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

MAGIC: Final = b"lb engine beacon"
_LOAD: Final = 1  # PT_LOAD
_CORE: Final = 4  # ET_CORE
_MANY: Final = 0xFFFF  # PN_XNUM: the number of segments stands in the first section


class Unreadable(Exception):
    """What cannot be read, as a sentence."""


class Memory(Protocol):
    """Another process's memory."""

    name: str

    def read(self, address: int, size: int) -> bytes:
        """Raises Unreadable where there is nothing."""
        ...

    def beacons(self) -> Iterator[int]:
        """Addresses at which MAGIC stands and lb's beacon may be."""
        ...


class Live:
    """A process that runs. It goes on meanwhile: what is read is no picture of one moment."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.name = f"process {pid}"
        try:
            self.file = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
            self.maps = Path(f"/proc/{pid}/maps").read_text()
        except OSError as error:
            raise Unreadable(f"process {pid} cannot be read: {error.strerror} (root may)") from None

    def read(self, address: int, size: int) -> bytes:
        try:
            data = os.pread(self.file, size, address)
        except (OSError, OverflowError):
            data = b""
        if len(data) != size:
            raise Unreadable(f"process {self.pid} has nothing at {address:#x}")
        return data

    def beacons(self) -> Iterator[int]:
        """The engine's data is the writable part of its file's mapping."""
        for line in self.maps.splitlines():
            place, rights, *_, name = line.split(maxsplit=5) if line.count(" ") > 4 else (line, "", "")
            if not rights.startswith("rw") or "/_fast." not in name:
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            data = self.read(start, end - start)
            at = data.find(MAGIC)
            while at >= 0:
                yield start + at
                at = data.find(MAGIC, at + 1)


class Core:
    """A core file, from the kernel or from gcore."""

    def __init__(self, path: str) -> None:
        self.name = f'core "{path}"'
        try:
            with open(path, "rb") as file:
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise Unreadable(f'"{path}" cannot be read: {error}') from None
        try:
            self.segments = list(self._segments())
        except struct.error:
            raise Unreadable(f'"{path}" is no whole core file') from None

    def _segments(self) -> Iterator[tuple[int, int, int]]:
        """(address, place in the file, bytes of it) of each part of the memory."""
        if self.data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", self.data, 16)[0] != _CORE:
            raise Unreadable(f"{self.name} is none: no 64-bit ELF core")
        at, sections = struct.unpack_from("<QQ", self.data, 32)
        size, count = struct.unpack_from("<HH", self.data, 54)
        if count == _MANY:
            count = struct.unpack_from("<I", self.data, sections + 44)[0]
        for number in range(count):
            kind, _, offset, address, _, there = struct.unpack_from("<IIQQQQ", self.data, at + number * size)
            if kind == _LOAD and there:
                yield address, offset, there

    def read(self, address: int, size: int) -> bytes:
        for start, offset, there in self.segments:
            if start <= address and address + size <= start + there:
                return self.data[offset + address - start : offset + address - start + size]
        raise Unreadable(f"{self.name} has nothing at {address:#x}")

    def beacons(self) -> Iterator[int]:
        for start, offset, there in self.segments:
            at = self.data.find(MAGIC, offset, offset + there)
            while at >= 0:
                yield start + at - offset
                at = self.data.find(MAGIC, at + 1, offset + there)
