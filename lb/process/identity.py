"""Whom the workers run as: the `user` directive, looked up before any fork.

A master that is root never serves as root unless the file says so: without the directive it is nginx's compiled-in
default, `nobody`.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import struct
from dataclasses import dataclass
from typing import Final

from lb.model import Config

DEFAULT_USER: Final = "nobody"
DEFAULT_GROUPS: Final = ("nobody", "nogroup")  # the second is Debian's


_PR_SET_KEEPCAPS: Final = 8  # linux/prctl.h
_CAP_NET_RAW: Final = 13  # linux/capability.h
_CAP_VERSION_3: Final = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _keep_net_raw() -> None:
    """Of the capabilities that setuid() left as permitted, only this one: permitted and in effect (capset(2))."""
    header = struct.pack("=Ii", _CAP_VERSION_3, 0)
    bit = 1 << _CAP_NET_RAW
    _check(_libc.capset(header, struct.pack("=6I", bit, bit, 0, 0, 0, 0)))


class UnknownName(Exception):
    """No such user or group; the text is nginx's."""


@dataclass(frozen=True, slots=True)
class Identity:
    user: str
    uid: int
    gid: int

    def assume(self, transparent: bool = False) -> None:
        """Become it, for good: group, supplementary groups, user. `transparent`: keep CAP_NET_RAW. Raises OSError."""
        os.setgid(self.gid)
        os.initgroups(self.user, self.gid)
        if transparent:
            _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
        os.setuid(self.uid)
        if transparent:
            _keep_net_raw()


def resolve(config: Config) -> Identity | None:
    """None: the workers stay what the master is, because it is not root. Raises UnknownName."""
    if os.geteuid() != 0:
        return None
    user = config.user or DEFAULT_USER
    groups = DEFAULT_GROUPS if config.user is None else (config.group or user,)
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise UnknownName(f'getpwnam("{user}") failed') from None
    for group in groups:
        try:
            return Identity(user, uid, grp.getgrnam(group).gr_gid)
        except KeyError:
            continue
    raise UnknownName(f'getgrnam("{groups[0]}") failed')
