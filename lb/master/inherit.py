"""Listening sockets that were there before us: from the old binary (SIGUSR2), or from systemd.

    LB="5;6;7;"               descriptors from an lb that changes its binary, as nginx passes them in NGINX
    LISTEN_PID, LISTEN_FDS    from 3 on: socket activation, or what an earlier lb gave to systemd to keep (FDSTORE)

What is taken from the environment is removed from it.  A socket belongs to an address of the configuration when it is
bound to it; one that nobody asks for is closed.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Final

from lb.master.sockets import Sockets, Want
from lb.model import Address

VARIABLE: Final = "LB"
FIRST_FD: Final = 3  # SD_LISTEN_FDS_START


@dataclass(slots=True)
class Inherited:
    """What we were started with. `text` is the variable of the old binary, whose process is `parent`."""

    sockets: list[socket.socket] = field(default_factory=list)
    keeps_files: bool = False  # the files of unix sockets are systemd's
    text: str = ""
    parent: int = 0

    @property
    def has_parent(self) -> bool:
        """Whether the old binary that started us still runs."""
        return bool(self.text) and os.getppid() == self.parent

    def take(self, wanted: Iterable[Want]) -> Sockets:
        """The sockets that the configuration asks for, by its keys. Closes the others."""
        found: Sockets = {}
        for want in wanted:
            chosen = [sock for sock in self.sockets if address_of(sock) == want.address][: want.count]
            if chosen:
                found[want.key] = chosen
                self.sockets = [sock for sock in self.sockets if sock not in chosen]
        for sock in self.sockets:
            sock.close()
        self.sockets = []
        return found


def collect(environ: MutableMapping[str, str] = os.environ) -> Inherited:
    """Everything the environment says we have."""
    text = environ.pop(VARIABLE, "")
    if not re.fullmatch(r"(\d+;)+", text):  # somebody else's variable
        text = ""
    names = {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    fds = [int(piece) for piece in text.split(";") if piece]
    if names["LISTEN_PID"] == str(os.getpid()) and names["LISTEN_FDS"].isdigit():
        fds += range(FIRST_FD, FIRST_FD + int(names["LISTEN_FDS"]))
    found = [sock for fd in fds if (sock := _listening(fd)) is not None]
    return Inherited(found, not text and any(sock.family == socket.AF_UNIX for sock in found), text, os.getppid())


def _listening(fd: int) -> socket.socket | None:
    """The listening stream socket behind a descriptor."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError
        sock.set_inheritable(False)
        sock.setblocking(False)
    except OSError:
        sock.close()
        return None
    return sock


def address_of(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Address(socket.AF_UNIX, os.fsdecode(name))
    return Address(sock.family, name[0].partition("%")[0], name[1])
