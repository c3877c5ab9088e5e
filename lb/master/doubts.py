"""What `lb -t` warns about beyond the text of the configuration: places on this machine's disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from lb import trusted
from lb.model import Config
from lb.process.identity import Identity
from lb.upsync import dump
from lb.worker import temp


def of(config: Config, identity: Identity | None) -> Iterator[str]:
    """A text for each doubt. Makes the temporary directories as a start would (nginx -t does)."""
    yield from _dumps(config)
    yield from _temporary(config, identity)


def _dumps(config: Config) -> Iterator[str]:
    for upstream in config.upstreams:
        if upstream.upsync is None:
            continue
        path = upstream.upsync.dump_path
        with contextlib.suppress(OSError):  # there is none yet: the write will say what is wrong
            if trusted.shared(os.path.dirname(path)):
                yield (
                    f'the dump file "{path}" is in a directory where everybody may write: who puts a file there first '
                    f"can keep lb from having one; give it a directory of its own, {upstream.upsync.where}"
                )
        try:
            dump.read(path)
        except FileNotFoundError:
            pass
        except dump.DumpError as error:
            yield f"a start without Consul would not use the dump: {error}"


def _temporary(config: Config, identity: Identity | None) -> Iterator[str]:
    problems = temp.make_temp_dirs(config, identity)
    yield from problems
    for path in temp.unwritable(config, identity):
        if not any(f'"{path}"' in problem for problem in problems):
            yield f'a worker could not write to the temporary directory "{path}": a larger body would get 500'
