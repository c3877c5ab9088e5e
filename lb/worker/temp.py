"""The directories of client_body_temp_path and proxy_temp_path, made while the worker may still be root.

A directory that cannot be made is no reason not to serve: whoever needs it gets an error, and the log says why.
"""

from __future__ import annotations

import contextlib
import os

from lb.model import Config, ProxyPass
from lb.process.identity import Identity


def make_temp_dirs(config: Config, identity: Identity | None) -> None:
    for path in sorted(_directories(config)):
        with contextlib.suppress(OSError):
            os.mkdir(path, 0o700)
            if identity is not None:
                os.chown(path, identity.uid, -1)


def _directories(config: Config) -> set[str]:
    """Of every location that passes requests on."""
    servers = [server for listener in config.listeners for server in listener.http]
    locations = [location for server in servers for location in server.locations]
    settings = [location.settings for location in locations if isinstance(location.handler, ProxyPass)]
    return {path.directory for item in settings for path in (item.client_body_temp, item.proxy_temp)}
