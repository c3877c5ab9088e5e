"""Whom the workers run as: the `user` directive, looked up before any fork.

A master that is root never serves as root unless the file says so: without the directive it is nginx's compiled-in
default, `nobody`.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from typing import Final

from lb.model import Config

DEFAULT_USER: Final = "nobody"
DEFAULT_GROUPS: Final = ("nobody", "nogroup")  # the second is Debian's


class UnknownName(Exception):
    """No such user or group; the text is nginx's."""


@dataclass(frozen=True, slots=True)
class Identity:
    user: str
    uid: int
    gid: int

    def assume(self) -> None:
        """Become it, for good: group, supplementary groups, user. Raises OSError."""
        os.setgid(self.gid)
        os.initgroups(self.user, self.gid)
        os.setuid(self.uid)


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
