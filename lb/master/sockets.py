"""Listening sockets: what the configuration asks for, bound without ever waiting, kept over reloads.

The master owns every listening socket for its whole life; workers inherit them.  A `Binding` turns a list of `Want` and
the sockets there are into a new set, in steps: an address in use is tried five times, 500 ms apart (as nginx), and who
calls `step` decides how the time between passes.  Until `Binding.done` nothing of the old set is touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lb.model import Address, Config, Listener

TRIES: Final = 5
RETRY_S: Final = 0.5
UNIX_MODE: Final = 0o666  # as nginx: access is decided by the directory
STATUS_BACKLOG: Final = 511  # a full one would cost a client a second: the kernel sends its SYN again

Role = Literal["traffic", "status"]
Key = tuple[Role, Address]


@dataclass(frozen=True, slots=True)
class Want:
    """One address to listen on. `count` sockets: more than one only with reuseport, one for each worker."""

    key: Key
    text: str
    backlog: int
    count: int = 1
    reuseport: bool = False
    ipv6only: bool = True
    listener: Listener | None = None  # its options for the socket; None: a status port

    @property
    def address(self) -> Address:
        return self.key[1]


def wants(config: Config) -> list[Want]:
    """The listeners of the configuration in its order, then the status ports."""
    found = [
        Want(
            ("traffic", listener.address),
            listener.text,
            listener.backlog,
            config.worker_processes if _spreads(listener) else 1,
            _spreads(listener),
            listener.ipv6only,
            listener,
        )
        for listener in config.listeners
    ]
    return found + [Want(("status", address), str(address), STATUS_BACKLOG) for address in config.status_listen]


def _spreads(listener: Listener) -> bool:
    return listener.reuseport and listener.address.family != socket.AF_UNIX  # a path can be bound once


Sockets = dict[Key, list[socket.socket]]


class BindError(Exception):
    """The sockets cannot be had; the reason is in the log."""


class Binding:
    """One attempt to have all of `wanted`, starting from `have`.

    Owns the sockets that it opened until `commit`, and closes only those in `abandon`.
    """

    def __init__(self, wanted: Iterable[Want], have: Sockets, emerg: Callable[[str], None]) -> None:
        self._wanted = list(wanted)
        self._have = have
        self._emerg = emerg
        self._opened: Sockets = {want.key: [] for want in self._wanted}
        self._tries = 0
        self.retry_at = 0.0  # time.monotonic() of the next step
        self.done = False

    def step(self, now: float) -> None:
        """Try once, unless it is not time yet. Sets `done`; raises BindError when there is no hope."""
        if self.done or now < self.retry_at:
            return
        self._tries += 1
        busy = [want for want in self._wanted if not self._open(want)]
        if not busy:
            self.done = True
        elif self._tries == TRIES:
            self._emerg("still could not bind()")
            raise BindError(f"could not bind() to {busy[0].text}")
        else:
            self.retry_at = now + RETRY_S

    def _open(self, want: Want) -> bool:
        """Open what this address lacks. False: in use, worth another try."""
        have = self._have.get(want.key, [])
        if have and want.reuseport:  # before others may join, the first must allow it
            have[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened = self._opened[want.key]
        while len(have) + len(opened) < want.count:
            try:
                opened.append(bind(want))
            except OSError as error:
                self._emerg(failed(error))
                if error.errno != errno.EADDRINUSE:
                    raise BindError(f"could not bind() to {want.text}") from error
                return False
        return True

    def commit(self) -> Sockets:
        """Everything there is now: the old set and the new sockets. `prune` it when the old set is not needed."""
        for want in self._wanted:
            kept = self._have.setdefault(want.key, [])
            for sock in kept:
                with contextlib.suppress(OSError):  # it listens anyway
                    sock.listen(want.backlog)  # the configured length may have changed
                    set_buffers(sock, want)
            kept.extend(self._opened.pop(want.key))
        return self._have

    def abandon(self) -> None:
        """Give up: the old set is as it was."""
        close(self._opened)

    def close_copies(self) -> None:
        """In a forked worker."""
        close_copies(self._opened)


def bind(want: Want) -> socket.socket:
    """A listening, non-blocking socket. Raises OSError whose `filename` says what was tried."""
    address = want.address
    call = f"bind() to {want.text}"
    sock = _socket(want)
    try:
        _set_options(sock, want)
        _bind(sock, address)
        if address.family == socket.AF_UNIX:
            Path(address.host).chmod(UNIX_MODE)
        call = f"listen() to {want.text}, backlog {want.backlog}"
        sock.listen(want.backlog)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, error.strerror, call) from error
    return sock


def _socket(want: Want) -> socket.socket:
    multipath = want.listener is not None and want.listener.multipath and want.address.family != socket.AF_UNIX
    try:
        return socket.socket(want.address.family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP if multipath else 0)
    except OSError as error:  # a kernel without Multipath TCP
        raise OSError(error.errno, error.strerror, f"socket() {want.text}") from error


def failed(error: OSError) -> str:
    """nginx's words for an error of `bind`."""
    return f"{error.filename} failed ({error.errno}: {os.strerror(error.errno or 0)})"


def _set_options(sock: socket.socket, want: Want) -> None:
    sock.setblocking(False)
    set_buffers(sock, want)
    if want.address.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if want.reuseport:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if want.address.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(want.ipv6only))


def set_buffers(sock: socket.socket, want: Want) -> None:
    """sndbuf, rcvbuf, so_keepalive and fastopen of `listen`: what is accepted inherits them."""
    options = want.listener
    if options is None:
        return
    if options.sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.sndbuf)
    if options.rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.rcvbuf)
    if want.address.family == socket.AF_UNIX:
        return
    if options.so_keepalive is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(options.so_keepalive is not False))
    if isinstance(options.so_keepalive, tuple):
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        for name, value in zip(names, options.so_keepalive, strict=True):
            if value:
                sock.setsockopt(socket.IPPROTO_TCP, name, value)
    if options.fastopen:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, options.fastopen)


def _bind(sock: socket.socket, address: Address) -> None:
    try:
        sock.bind(address.sockaddr())
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not is_stale(address):
            raise
        Path(address.host).unlink()
        sock.bind(address.sockaddr())


def is_stale(address: Address) -> bool:
    """Whether this is a unix socket in the file system that nobody listens on: left over by a killed process."""
    if address.family != socket.AF_UNIX:
        return False
    try:
        if not stat.S_ISSOCK(Path(address.host).stat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(address.host)
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return False


def prune(sockets: Sockets, wanted: Iterable[Want], unlink: bool = True) -> None:
    """Close what is not wanted any more. `unlink` as for `close`."""
    counts = {want.key: want.count for want in wanted}
    for key in list(sockets):
        if key not in counts:
            close({key: sockets.pop(key)}, unlink)
            continue
        for extra in sockets[key][counts[key] :]:
            extra.close()
        del sockets[key][counts[key] :]


def close(sockets: Sockets, unlink: bool = True) -> None:
    """Close the sockets, and remove the files of those that have one, unless another master (or systemd) uses them."""
    for (_, address), members in sockets.items():
        for sock in members:
            sock.close()
        if unlink and address.family == socket.AF_UNIX and members:
            Path(address.host).unlink(missing_ok=True)
    sockets.clear()


def members_of(sockets: Sockets, config: Config, slot: int) -> list[socket.socket]:
    """What the worker in `slot` listens on: one socket for each of `config.listeners`."""
    found = []
    for listener in config.listeners:
        members = sockets["traffic", listener.address]
        found.append(members[slot if _spreads(listener) else 0])
    return found


def with_role(sockets: Sockets, role: Role, addresses: Iterable[Address]) -> list[socket.socket]:
    return [sock for address in addresses for sock in sockets[role, address]]


def close_copies(sockets: Sockets) -> None:
    """In a worker: close these descriptors; the master's stay, and so do the files of unix sockets."""
    for members in sockets.values():
        for sock in members:
            sock.close()
    sockets.clear()
