"""The directories of client_body_temp_path and proxy_temp_path, made while the worker may still be root.

A directory that cannot be made is no reason not to serve: whoever needs it gets an error, and the log says why.
"""

from __future__ import annotations

import contextlib
import os

from lb.config.model import Config
from lb.master.identity import Identity


def make_temp_dirs(config: Config, identity: Identity | None) -> None:
    for path in config.temp_paths:
        with contextlib.suppress(OSError):
            os.mkdir(path, 0o700)
            if identity is not None:
                os.chown(path, identity.uid, -1)
