"""The real nginx beside lb: one configuration through both, every answer and everything that the backend got compared.

`Pair.ask` sends the same bytes to both.  Ports in answers are written as PORT and the servers' own names as SERVER, so
that what is left must be the same.  Where nginx is not installed, only lb is asked: the tests' own expectations stay.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness.backend import HttpBackend
from tests.harness.client import Client, Response
from tests.harness.lb import Lb
from tests.harness.nginx import Nginx
from tests.harness.wait import free_port

_SHOWN = ("location", "content-type", "refresh", "set-cookie", "cache-control", "content-disposition", "x-seen")


def start_nginx(directory: Path, text: str, values: dict[str, str]) -> tuple[Nginx, int]:
    """nginx with the configuration that lb got, on a port of its own for @http@."""
    directory.mkdir()
    port = free_port()
    values = values | {"http": str(port)}
    filled = re.sub(r"@(\w+)@", lambda match: values[match[1]], text)
    return Nginx(directory).start(filled, port), port


def shown(response: Response, port: int) -> tuple[int, bytes, dict[str, str | None]]:
    """What lb and nginx must have in common: status, body, and the headers that routing decides."""
    body = re.sub(rb"(?:nginx|lb)/[\w.+-]+", b"SERVER", response.body).replace(b":%d" % port, b":PORT")
    headers = {name: " | ".join(response.all(name)).replace(f":{port}", ":PORT") for name in _SHOWN}
    return response.status, body, {name: value or None for name, value in headers.items()}


class Pair:
    """lb and, where it is installed, nginx."""

    def __init__(self, lb: Lb, nginx: int | None, backend: HttpBackend | None) -> None:
        self.lb, self.nginx, self.backend = lb, nginx, backend  # nginx: its port

    def ask(
        self, target: str = "/", host: str = "h", method: str = "GET", headers: str = "", body: bytes = b""
    ) -> Response:
        """lb's answer, after nginx has given the same."""
        if body:
            headers += f"Content-Length: {len(body)}\r\n"
        raw = (
            f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n".encode("latin-1") + body
        )
        seen = len(self.backend.requests) if self.backend else 0
        response = self.send(self.lb.port("http"), raw, method)
        if self.nginx is None:
            return response
        ours = self._backend_got(seen)
        other = self.send(self.nginx, raw, method)
        theirs = self._backend_got(seen + len(ours))
        mine, nginx = shown(response, self.lb.port("http")), shown(other, self.nginx)
        assert mine == nginx, f"{target}:\nlb    {mine}\nnginx {nginx}"
        assert ours == theirs, target
        return response

    def send(self, port: int, raw: bytes, method: str) -> Response:
        with Client(port) as client:
            return client.send(raw).response(method)

    def _backend_got(self, since: int) -> list[tuple[str, str, str | None, str | None, bytes]]:
        got = self.backend.requests[since:] if self.backend else []
        return [(one.method, one.target, one.header("host"), one.header("x-test"), one.body) for one in got]
