"""The process "lb: acme" as the master has it: started when the configuration wants certificates, again when it dies.

    master: "again" (a reload)  ->  lb: acme (lb.acme.process)  ->  log lines, the state of each certificate (JSON)

What it issues comes to the workers as any other certificate whose file changes (lb.master.certificates).  The master
waits for nothing of it.  A new binary begins when the old one is gone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from lb import _fast
from lb.log import Log
from lb.master.child import READ_SIZE, begin, detach
from lb.model.acme import AcmeIssuer, AcmeOrder
from lb.process.loop import READ, Loop, doubled

NAME: Final = "acme"
NICE: Final = 5  # keys of RSA are work, and workers come first
AGAIN: Final = b"again\n"
LONGEST_LINE: Final = 1 << 20
KILL_AFTER_S: Final = 5.0
RESTART_S: Final = 1.0
RESTART_LONGEST_S: Final = 60.0
HEALTHY_S: Final = 60.0  # who has lived so long begins anew with restarts
LOOK_FOR_PARENT_S: Final = 1.0


class Acme:
    """Owns the process and the master's end of the line to it."""

    def __init__(self, loop: Loop, log: Log, has_parent: Callable[[], bool]) -> None:
        self.states: dict[str, dict[str, Any]] = {}  # by the order's file: as lb.acme.process tells them
        self._loop = loop
        self._log = log
        self._has_parent = has_parent
        self._issuers: tuple[AcmeIssuer, ...] = ()
        self._line: socket.socket | None = None
        self._data = bytearray()
        self._in_memory: list[str] = []
        self._pid = 0
        self._born = 0.0
        self._deaths = 0  # in a row
        self._start_at: float | None = None
        self._kill_at: float | None = None

    def follow(self, issuers: tuple[AcmeIssuer, ...]) -> None:
        """Of the configuration that serves from now on; before its workers are forked. Raises OSError."""
        if issuers:
            _fast.acme_board_make()
        if issuers == self._issuers and self._line is not None:
            with contextlib.suppress(OSError):
                self._line.send(AGAIN)
            return
        self._stop()
        self._issuers = issuers
        files = {order.file for one in issuers for order in one.orders}
        self.states = {file: state for file, state in self.states.items() if file in files}
        self._deaths = 0
        self._start_at = 0.0 if issuers else None

    def deadline(self) -> float | None:
        times = [at for at in (self._kill_at, None if self._pid else self._start_at) if at is not None]
        return min(times, default=None)

    def step(self, now: float) -> None:
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._kill(signal.SIGKILL)
        if self._pid or self._start_at is None or now < self._start_at:
            return
        if self._has_parent():
            self._start_at = now + LOOK_FOR_PARENT_S
            return
        self._start_at = None
        self._start(now)

    def reaped(self, pid: int, status: int) -> None:
        """A child of the master has died: ours?"""
        if pid != self._pid:
            return
        told = self._kill_at is not None
        self._forget_line()
        self._pid = 0
        self._kill_at = None
        if self._issuers and self._start_at is None:
            self._deaths = 1 if time.monotonic() - self._born > HEALTHY_S else self._deaths + 1
            wait = doubled(RESTART_S, self._deaths - 1, RESTART_LONGEST_S)
            self._start_at = time.monotonic() + wait
            if not told:
                code = os.waitstatus_to_exitcode(status)
                core = ", a core" if os.WCOREDUMP(status) else ""
                self._log.error(f"the process for ACME has ended ({code}{core}), the next one in {wait:g} s")

    def view(self) -> Iterator[dict[str, Any]]:
        """Of everything that is wanted."""
        for issuer in self._issuers:
            for order in issuer.orders:
                yield self.states.get(order.file) or unknown(issuer, order)

    def close(self) -> None:
        """The master ends."""
        self._stop()
        self._issuers = ()
        self._start_at = None

    def forget(self) -> None:
        """It has ended, and no other binary goes on: nothing stays of what `state_path off` is for."""
        for path in self._in_memory:
            shutil.rmtree(path, ignore_errors=True)

    def close_copy(self) -> None:
        """In a forked worker, whose loop is closed."""
        if self._line is not None:
            self._line.close()

    # The process

    def _start(self, now: float) -> None:
        self._born = now
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._failed(error, now)
            return
        with theirs:
            try:
                self._pid = os.fork()
            except OSError as error:
                ours.close()
                self._failed(error, now)
                return
            if self._pid == 0:
                _child(theirs, self._issuers)
        ours.setblocking(False)
        self._line = ours
        self._data.clear()
        self._loop.watch(ours, READ, self._on_data)

    def _failed(self, error: OSError, now: float) -> None:
        self._log.alert(f"the process for ACME cannot be started ({error.errno}: {error.strerror})")
        self._start_at = now + RESTART_LONGEST_S

    def _stop(self) -> None:
        """It ends, soon; `reaped` tells."""
        self._in_memory += [one.state_path for one in self._issuers if one.in_memory]
        if self._pid and self._kill_at is None:
            self._kill(signal.SIGTERM)
            self._kill_at = time.monotonic() + KILL_AFTER_S
        self._forget_line()

    def _kill(self, number: signal.Signals) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _forget_line(self) -> None:
        if self._line is not None:
            self._loop.forget(self._line)
            self._line.close()
            self._line = None

    # What it says

    def _on_data(self, _events: int) -> None:
        assert self._line is not None
        try:
            data = self._line.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # waitpid will tell
            self._forget_line()
            return
        self._data += data
        *lines, rest = self._data.split(b"\n")
        self._data = bytearray(rest)
        for line in lines:
            self._take(bytes(line))
        if len(self._data) > LONGEST_LINE:
            self._log.alert("the process for ACME says more than it should")
            self._kill(signal.SIGKILL)

    def _take(self, line: bytes) -> None:
        said = json.loads(line)
        if "log" in said:
            level, text = said["log"]
            self._log.write(level, text)
        if "state" in said:
            self.states[said["state"]["file"]] = said["state"]


def unknown(issuer: AcmeIssuer, order: AcmeOrder) -> dict[str, Any]:
    """The process has not told of it yet. Shape: lb.acme.process, Wanted.to_json."""
    names = {"file": order.file, "issuer": issuer.name, "names": list(order.identifiers), "state": "starting"}
    return {**names, "not_after": None, "next": 0.0, "failures": 0, "error": "", "error_at": None}


def _child(line: socket.socket, issuers: tuple[AcmeIssuer, ...]) -> NoReturn:
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        begin(NAME, (line.fileno(),))
        detach()
        os.nice(NICE)
        _fast.process_without_core()
        gc.freeze()  # nothing of the master's is freed here: it would close by number what is closed already
        try:
            from lb.acme.process import Process  # here, because nobody else needs what it imports

            Process(issuers, line).run()
            code = 0
        except SystemExit:
            code = 0
        except Exception:
            text = json.dumps({"log": ["alert", traceback.format_exc()]})
            line.sendall(text.encode() + b"\n")
    finally:
        os._exit(code)
