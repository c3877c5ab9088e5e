"""The connection to Consul: a socket whose every wait has an end, and ends when the puller is told to end.

TCP, or TLS over it.  One deadline (`until`) covers name, connect, handshake, request and answer, however slowly the
bytes drip.  The name lookup alone cannot be ended (getaddrinfo): it runs in the puller's thread, never in the loop.
"""

from __future__ import annotations

import errno
import http.client
import os
import select
import socket
import ssl
import time
from typing import Any, Final

from lb.upsync.path_probe import PathProbe
from lb.upsync.stop import Stop

PATH_S: Final = (2, 4)  # bounds of the seconds after which a path that drops packets is given up (whole ones)
SLACK_MS: Final = 500  # the kernel looks at each probe, a second apart: it shall not miss one by a millisecond


class PlainSocket(socket.socket):
    """A TCP socket whose waits end at `until` (monotonic seconds, TimeoutError) or when `stop` is set (Stopped).

    `path_s`: how long a silent path may be dead, unnoticed. `probe`: notices it sooner.
    """

    def __init__(self, family: int, stop: Stop, until: float, path_s: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.setblocking(False)
        self.stop = stop
        self.until = until
        self.probe: PathProbe | None = None  # of a connection that is open
        self._path_s = path_s

    def open(self, address: Any) -> None:
        """Connect. Raises OSError."""
        self._watch_path()
        code = self.connect_ex(address)
        if code == errno.EINPROGRESS:
            wait(self, select.POLLOUT, min(self.until, time.monotonic() + self._path_s))
            code = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _watch_path(self) -> None:
        """Let the kernel find out in `path_s` that nothing comes back any more: of 2 s, by one lost probe; else by two.

        A blocking query is silent for a minute, and a peer that vanished without FIN is just as silent.
        """
        idle_s = self._path_s // 2
        self.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, self._path_s - idle_s)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._path_s * 1000 - SLACK_MS)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        while True:
            wait(self, select.POLLIN, self.until)
            try:
                return super().recv_into(buffer, nbytes, flags)
            except BlockingIOError:  # a wake-up without data
                continue

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            wait(self, select.POLLOUT, self.until)
            try:
                rest = rest[super().send(rest, flags) :]
            except BlockingIOError:
                continue


class TlsSocket(ssl.SSLSocket):
    """TLS over what was a PlainSocket, with the same waits. Made by `wrap`."""

    stop: Stop
    until: float
    probe: PathProbe | None

    def shake_hands(self) -> None:
        """Raises ssl.SSLError (a certificate that is not accepted), OSError."""
        self._patiently(self.do_handshake)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        read = super().recv_into
        return int(self._patiently(lambda: read(buffer, nbytes, flags)))

    def sendall(self, data: Any, flags: int = 0) -> None:
        send = super().send
        rest = memoryview(data).cast("B")
        while rest:
            part = rest
            rest = rest[self._patiently(lambda part=part: send(part, flags)) :]

    def _patiently(self, action: Any) -> Any:
        while True:
            try:
                return action()
            except ssl.SSLWantReadError:
                wait(self, select.POLLIN, self.until)
            except ssl.SSLWantWriteError:
                wait(self, select.POLLOUT, self.until)


def wait(sock: PlainSocket | TlsSocket, events: int, until: float) -> None:
    """Raises TimeoutError (also for a path that is dead), OSError, Stopped."""
    probe = sock.probe if events == select.POLLIN else None
    while True:
        left = until - time.monotonic()
        if sock.stop.wait_fd(sock.fileno(), events, left if probe is None else min(left, probe.period_s)):
            return
        if probe is None or left <= probe.period_s:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        probe.beat(sock)


def wrap(sock: PlainSocket, context: ssl.SSLContext, name: str) -> TlsSocket:
    """TLS on a connected PlainSocket, which is used up. Raises OSError (ssl.SSLError among them), Stopped."""
    context.sslsocket_class = TlsSocket
    made = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
    assert isinstance(made, TlsSocket)
    made.stop, made.until, made.probe = sock.stop, sock.until, None
    try:
        made.shake_hands()
    except BaseException:
        made.close()
        raise
    return made


class Connection(http.client.HTTPConnection):
    """http.client's connection over a PlainSocket. `context`: https, for the certificate name `tls_name`, or the host.

    `interval_s`: how long the path may be dead, unnoticed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        stop: Stop,
        interval_s: float,
        context: ssl.SSLContext | None = None,
        tls_name: str = "",
    ) -> None:
        super().__init__(host, port)
        self.until = 0.0
        self.lasts = False  # the last answer has left its connection open
        low, high = PATH_S
        self._path_s = min(max(int(interval_s), low), high)
        self._beat_s = interval_s / 2 if interval_s < low else None  # the kernel's own probes do
        self._stop = stop
        self._context = context
        self._tls_name = tls_name or host

    def connect(self) -> None:
        """The first address of the name that answers. Raises OSError."""
        last: OSError | None = None
        for family, _, _, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            sock = PlainSocket(family, self._stop, self.until, self._path_s)
            try:
                sock.open(address)
                self.sock = sock if self._context is None else wrap(sock, self._context, self._tls_name)
            except OSError as error:
                sock.close()
                last = error
            except BaseException:
                sock.close()
                raise
            else:
                self.sock.probe = PathProbe(self._beat_s) if self._beat_s is not None else None
                return
        raise last or OSError(f"{self.host} has no address")

    def sent_ahead(self) -> int:
        """Bytes of the next request that have been sent already."""
        probe = self._probe()
        return len(probe.ahead) if probe is not None else 0

    def fit(self, request_line: str) -> None:
        """The next request: not on a connection on which another one was begun."""
        probe = self._probe()
        if probe is not None and not request_line.encode().startswith(probe.ahead):
            self.close()

    def send(self, data: Any) -> None:
        probe = self._probe()
        if probe is not None:
            data, probe.ahead = data[len(probe.ahead) :], b""
        super().send(data)

    def beat(self, start: str) -> None:
        """A request is out. `start`: what the next one will begin with, if it is for the same."""
        probe = self._probe()
        if probe is not None:
            probe.begin(start.encode() if self.lasts else b"")

    def _probe(self) -> PathProbe | None:
        return self.sock.probe if isinstance(self.sock, PlainSocket | TlsSocket) else None

    def drop_if_ended(self) -> bool:
        """Close an idle connection that the peer has ended (FIN, RST, or bytes that nobody asked for)."""
        if self.sock is None or not self._stop.wait_fd(self.sock.fileno(), select.POLLIN, 0):
            return False
        self.close()
        return True

    def extend(self, until: float) -> None:
        """The deadline of the next exchange."""
        self.until = until
        if isinstance(self.sock, PlainSocket | TlsSocket):
            self.sock.until = until
