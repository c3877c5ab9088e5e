"""state_path: a directory of files that only the master's user can read, each replaced whole. Machines may share it.

account.key       the account's private key        ID.pem    an order's private key and chain
ID.json           what went wrong with it          lock      held by who orders (fcntl: it holds over NFS, too)
challenges.json   what is to be answered now       machines/HOST-PID   who shares it, and which challenges it answers
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from typing import Any, Final

ALIVE_S: Final = 60.0  # a machine that has not been heard of for so long is gone
ANNOUNCE_S: Final = 20.0
MOST: Final = 1 << 20  # bytes of a file

Challenge = tuple[bool, bytes, bytes, bytes]  # tls-alpn-01?, name, value, key: as lb/fast/acme/board.pyx has them
CHALLENGES: Final = "challenges.json"


class Store:
    """Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._me = f"{socket.gethostname()}-{os.getpid()}"
        self._stamp: tuple[int, ...] | None = None
        self._told = ("", 0.0)
        self.challenges: list[Challenge] = []
        self.seen = _digest(b"")  # of them

    def prepare(self) -> None:
        """Make the directory."""
        os.makedirs(self.path, 0o700, exist_ok=True)
        found = os.stat(self.path)
        if found.st_uid != os.geteuid():
            self._take_over(found.st_uid)
        if found.st_mode & stat.S_IWOTH:
            raise PermissionError(1, "can be written to by everybody", self.path)
        os.makedirs(f"{self.path}/machines", 0o700, exist_ok=True)

    def _take_over(self, owner: int) -> None:
        """nginx gives it to the user of its workers, which may write nothing here. (NFS may have its own owner.)"""
        if os.geteuid() != 0:
            raise PermissionError(1, f"belongs to user {owner}", self.path)
        with contextlib.suppress(OSError):
            os.chown(self.path, 0, -1)

    # Files

    def read(self, name: str) -> bytes:
        """b"": it is not there."""
        try:
            with open(f"{self.path}/{name}", "rb") as stream:
                return stream.read(MOST)
        except FileNotFoundError:
            return b""

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all; nobody else can read it at any time."""
        path = f"{self.path}/{name}"
        fresh = f"{path}.{self._me}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(fd)
            os.rename(fresh, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise

    def read_json(self, name: str) -> dict[str, Any]:
        """{}: it is not there, or no object."""
        try:
            found = json.loads(self.read(name) or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.path}/{name}")

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """False: another process has it, here or on another machine."""
        fd = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                yield False
                return
            yield True
        finally:
            os.close(fd)

    # Challenges

    def publish(self, challenges: list[Challenge]) -> None:
        """For every machine. The caller has the lock."""
        packed = [[alpn, *(base64.b64encode(one).decode() for one in rest)] for alpn, *rest in challenges]
        self.write(CHALLENGES, json.dumps(packed).encode())

    def look(self) -> bool:
        """Read what is published, if it is new. True: it is."""
        try:
            found = os.stat(f"{self.path}/{CHALLENGES}")
        except FileNotFoundError:
            return False
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp == self._stamp:
            return False
        text = self.read(CHALLENGES)
        try:
            self.challenges = [_challenge(row) for row in json.loads(text)]
        except (ValueError, TypeError):
            self.challenges = []
        self._stamp = stamp
        self.seen = _digest(text)
        return True

    # Machines

    def announce(self) -> None:
        """That we are here, and answer what is published, when it is new or time to."""
        now = time.time()
        if self._told[0] != self.seen or now - self._told[1] >= ANNOUNCE_S:
            self.write(f"machines/{self._me}", json.dumps({"at": now, "seen": self.seen}).encode())
            self._told = (self.seen, now)

    def withdraw(self) -> None:
        self.remove(f"machines/{self._me}")

    def behind(self) -> list[str]:
        """The other machines that do not answer yet what we have published."""
        return [name for name, seen in self._others() if seen != self.seen]

    def _others(self) -> Iterator[tuple[str, str]]:
        now = time.time()
        for name in os.listdir(f"{self.path}/machines"):
            if name == self._me or name.endswith(".new"):
                continue
            found = self.read_json(f"machines/{name}")
            at = found.get("at")
            if isinstance(at, float) and now - at < ALIVE_S and not _is_dead_here(name):
                yield name, str(found.get("seen"))
            elif isinstance(at, float):
                self.remove(f"machines/{name}")


def _is_dead_here(name: str) -> bool:
    """A process of this machine that was killed cannot say that it is gone."""
    host, _, pid = name.rpartition("-")
    return host == socket.gethostname() and pid.isdecimal() and not os.path.exists(f"/proc/{pid}")


def _challenge(row: Any) -> Challenge:
    """Raises ValueError, TypeError: it is none."""
    alpn, name, value, key = row
    return bool(alpn), *(base64.b64decode(one, validate=True) for one in (name, value, key))  # type: ignore[return-value]


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
