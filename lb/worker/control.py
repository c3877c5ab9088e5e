"""The worker's line to the master: a thread that sends what other threads post and carries out what the master says.

Posting never waits, and what is not sent yet is replaced by what is newer under the same key: a master that is
stopped or slow costs a bounded amount of memory and holds up nobody.  When the master is gone the worker serves on, for
good or for `worker_orphan_timeout`.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lb._fast import STOP_QUIT
from lb.log import Log
from lb.process.channel import ChannelError, Endpoint, Frame

LAST_WORDS_S: Final = 1.0  # how long the end waits for the master to take what was posted


@dataclass(frozen=True, slots=True)
class Orders:
    """What the master may ask for. All run in the control thread."""

    stop: Callable[[int], None]  # STOP_*
    reopen: Callable[[dict[str, int]], None]  # path -> descriptor, which the callee owns
    tell: Callable[[], list[Any]]  # what the engine has learned, for the next generation
    renew: Callable[[int], None]  # new certificates, from a descriptor that the callee owns
    send_list: Callable[[int], None]  # report this upstream again, with its servers
    staple: Callable[[Any], None]  # OCSP responses (lb.process.staples)


class Control(threading.Thread):
    """Owns the channel's end and the wake-up descriptor."""

    def __init__(self, sock: socket.socket, orders: Orders, log: Log, orphan_s: float = 0.0) -> None:
        """`orphan_s`: seconds until a worker whose master is gone stops by itself, gracefully; 0: it serves on."""
        super().__init__(name="control", daemon=True)
        self._endpoint = Endpoint(sock)
        self._orders = orders
        self._log = log
        self._orphan_s = orphan_s
        self._alone = False  # the master is gone, or can be talked to no more
        self._lock = threading.Lock()
        self._posted: dict[str, dict[str, Any]] = {}
        self._finish_by: float | None = None
        self._over = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    # Any thread

    def post(self, key: str, body: dict[str, Any]) -> None:
        """Send `body` soon, instead of what was posted under `key` and is still here. Never waits."""
        with self._lock:
            if not self._over:
                self._posted[key] = body
                os.eventfd_write(self._wake, 1)

    def finish(self) -> None:
        """Send what is posted, if the master takes it within a second, then end."""
        with self._lock:
            self._finish_by = time.monotonic() + LAST_WORDS_S
            if not self._over:
                os.eventfd_write(self._wake, 1)
        self.join()

    # The thread

    def run(self) -> None:
        try:
            self._serve()
        except Exception:
            self._log.traceback("alert", "the control channel fails, the worker serves on")
        finally:
            with self._lock:
                self._over = True
                self._posted.clear()
                os.close(self._wake)
                self._endpoint.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._endpoint, selectors.EVENT_READ)
            while self._turn(selector):
                pass
            if self._alone and self._orphan_s:
                selector.unregister(self._endpoint)
                self._stay_alone(selector)

    def _stay_alone(self, selector: selectors.BaseSelector) -> None:
        """Without a master: end the worker when its time is over, unless it ends before."""
        until = time.monotonic() + self._orphan_s
        while (left := until - time.monotonic()) > 0:
            if self._finish_by is not None:
                return
            if selector.select(left):
                os.eventfd_read(self._wake)
            with self._lock:
                self._posted.clear()
        self._log.notice(f"no master for {self._orphan_s:g} s, gracefully shutting down")
        self._orders.stop(STOP_QUIT)

    def _turn(self, selector: selectors.BaseSelector) -> bool:
        """Wait, send, receive. False: it is over."""
        write = selectors.EVENT_WRITE if self._endpoint.wants_write else 0
        selector.modify(self._endpoint, selectors.EVENT_READ | write)
        late = None if self._finish_by is None else self._finish_by - time.monotonic()
        ready = {key.fileobj for key, _ in selector.select(late)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        try:
            if self._endpoint in ready and not self._receive():
                return self._lose("the master is gone, the worker serves on")
            self._send()
        except (OSError, ChannelError) as error:
            return self._lose(f"the control channel is broken, the worker serves on: {error}")
        return not self._finished()

    def _lose(self, text: str) -> bool:
        """Nothing more comes from the master."""
        self._alone = True
        limit = f" for {self._orphan_s:g} s" if self._orphan_s else ""
        self._log.alert(text.replace("serves on", f"serves on{limit}"))
        return False

    def _finished(self) -> bool:
        if self._finish_by is None:
            return False
        with self._lock:
            said_all = not self._posted and not self._endpoint.wants_write
        return said_all or time.monotonic() >= self._finish_by

    def _send(self) -> None:
        """Hand over what is posted; the rest waits here, where it can be replaced, while the master does not read."""
        self._endpoint.flush()
        while not self._endpoint.wants_write:
            with self._lock:
                if not self._posted:
                    return
                body = self._posted.pop(next(iter(self._posted)))
            self._endpoint.send(body)

    def _receive(self) -> bool:
        """Carry out what has come. False: the other end is closed."""
        frames, is_open = self._endpoint.receive()
        for frame in frames:
            self._obey(frame)
        return is_open

    def _obey(self, frame: Frame) -> None:
        command = frame.body.get("cmd")
        if command == "stop":
            self._orders.stop(int(frame.body["mode"]))
        elif command == "tell":
            self.post("learned", {"say": "learned", "upstreams": self._orders.tell()})
        elif command == "list":
            self._orders.send_list(int(frame.body["upstream"]))
        elif command == "reopen" and not frame.lost_fds:
            self._orders.reopen(dict(zip(frame.body["paths"], frame.fds, strict=True)))
        elif command == "certificates" and not frame.lost_fds:
            self._orders.renew(frame.fds[0])
        elif command == "certificates":
            self._log.alert("new certificates are not used: too many open files")
        elif command == "staples":
            self._orders.staple(frame.body["staples"])
        elif command == "reopen":
            self._log.alert("logs are not reopened: too many open files")
        else:
            raise ChannelError(f"unknown command {command!r}")
