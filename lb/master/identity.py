"""Whom the workers run as: the `user` directive, looked up before any fork."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from lb.config.model import Config


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
    """None: the workers stay what the master is (no `user`, or the master is not root). Raises UnknownName."""
    if config.user is None or os.geteuid() != 0:
        return None
    group = config.group or config.user
    try:
        entry = pwd.getpwnam(config.user)
    except KeyError:
        raise UnknownName(f'getpwnam("{config.user}") failed') from None
    try:
        return Identity(config.user, entry.pw_uid, grp.getgrnam(group).gr_gid)
    except KeyError:
        raise UnknownName(f'getgrnam("{group}") failed') from None
