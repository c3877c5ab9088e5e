"""SIGUSR2: another binary takes over, as with nginx.

The master forks and executes its own command again, with the listening sockets inherited; its pid file becomes
PID.oldbin, and the new master writes its own.  Both serve.  Then the operator ends one of them: the old one (WINCH,
QUIT), or the new one (QUIT): its death gives the old one its pid file back.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import Final, NoReturn

from lb.log import print_error
from lb.master import ticket_keys
from lb.master.inherit import VARIABLE

OLD: Final = ".oldbin"
REFUSED: Final = (
    "the changing binary signal is ignored: you should shutdown or terminate before either old or new binary's process"
)


def spawn(fds: Iterable[int], keys: int = -1) -> int:
    """Start the command that we were started with; it inherits `fds` and the ring of ticket keys.

    Returns its pid; raises OSError (fork).
    """
    inherited = list(fds)
    pid = os.fork()
    if pid == 0:
        _execute(inherited, keys)
    return pid


def _execute(fds: list[int], keys: int) -> NoReturn:
    try:
        for fd in [*fds, keys] if keys >= 0 else fds:
            os.set_inheritable(fd, True)
        environ = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}  # which is not its pid
        environ[VARIABLE] = "".join(f"{fd};" for fd in fds)
        if keys >= 0:
            environ[ticket_keys.VARIABLE] = str(keys)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
    except OSError as error:
        print_error(f"lb: [alert] execve({sys.executable}) failed ({error.errno}: {error.strerror})")
    finally:
        os._exit(1)
