"""An lb whose checks ask raw servers of any kind, and scripts for such servers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import pytest

from tests.harness.backend import RawBackend, RawConnection
from tests.harness.wait import wait_for

CHECK = "check interval=200 rise=1 fall=1 timeout={timeout} type={kind};"
ALIVE = None
Script = Callable[[RawConnection], None]


class Verdicts:
    """An lb with one upstream for each server: what its checks say."""

    def __init__(self, run_lb) -> None:
        self.run_lb = run_lb
        self.upstreams: dict[str, list[str]] = {"http": [], "stream": []}
        self.expected: dict[str, str | None] = {}

    def add(self, address: str, expected: str | None, kind: str, lines: str = "", timeout: int = 2000, where="http"):
        check = CHECK.format(kind=kind, timeout=timeout)
        name = f"u{len(self.expected)}"
        self.upstreams[where].append(f"upstream {name} {{ server {address}; {check} {lines} }}")
        self.expected[address] = expected

    def run(self):
        """The log has for each server what was expected of it. In http and in stream."""
        http, stream = ("\n".join(self.upstreams[where]) for where in ("http", "stream"))
        lb = self.run_lb(
            f"http {{ {http}\nserver {{ listen 127.0.0.1:@http@; return 204; }} }} stream {{ {stream}\n }}",
        )
        for address, text in self.expected.items():
            line = f"enable check peer: {address} ," if text is ALIVE else f"disable check peer: {address} : {text}"
            lb.wait_log(re.escape(line))
            assert (f"disable check peer: {address} " in lb.log) == (text is not ALIVE), lb.log
        return lb


@pytest.fixture
def verdicts(run_lb) -> Verdicts:
    return Verdicts(run_lb)


def says(*parts: bytes, then: str = "") -> Script:
    """Sends these, each by itself, and waits for the end; `then`: "close", "half" or "reset"."""

    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            for part in parts:
                connection.send(part)
            if then == "reset":
                connection.reset()
            elif then == "half":
                connection.half_close()
            if then != "close":
                connection.recv_to_end()

    return script


def hears(count: int, *parts: bytes, then: str = "") -> Script:
    """Reads so many bytes first; again and again, unless something comes `then`."""

    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            while not then:
                connection.recv_exactly(count)
                for part in parts:
                    connection.send(part)
            connection.recv_exactly(count)
            says(*parts, then=then)(connection)

    return script


def single(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def flood(head: bytes = b"") -> Script:
    """100 MB, as fast as they are taken."""

    def script(connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            connection.recv()
            connection.send(head)
            for _ in range(100):
                connection.send(b"x" * (1 << 20))

    return script


def asked(backend: RawBackend, count: int) -> bytes:
    """The first bytes that a connection brought."""
    wait_for(lambda: any(len(one.received) >= count for one in list(backend.connections)))
    return next(one.received for one in backend.connections if len(one.received) >= count)
