"""What a case is, and how one is checked: on lb, and on nginx where it is installed and of one mind.

CASE = Case(configuration, ask(get("/"), "200 OK"), ask(get("/x"), "404", only_lb="why nginx 1.22 says otherwise"))
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.nginx import BINARY as NGINX
from tests.oracle.runner import Handler, Side

_TROUBLE = re.compile(r"\[alert\]|\[emerg\]|Traceback|BUG_ON")


@dataclass(frozen=True)
class Ask:
    """Bytes to send and a regular expression for what comes back (. matches line ends, too)."""

    data: bytes
    wanted: str
    port: int = 8080
    only_lb: str = ""  # why nginx 1.22 is not asked


@dataclass(frozen=True)
class Case:
    """`daemons`: port -> handler. `log`: a file of the server's directory and what its text must match at the end."""

    text: str
    asks: tuple[Ask, ...]
    daemons: dict[int, Handler] = field(default_factory=dict)
    log: tuple[str, str] | None = None


def ask(data: bytes, wanted: str, port: int = 8080, only_lb: str = "") -> Ask:
    return Ask(data, wanted, port, only_lb)


def get(target: str, fields: str = "", method: str = "GET", body: str = "", host: str = "localhost") -> bytes:
    """One HTTP/1.0 request: its answer ends with the connection. `fields`: lines that end in CRLF."""
    if body:
        fields += f"Content-Length: {len(body)}\r\n"
    return f"{method} {target} HTTP/1.0\r\nHost: {host}\r\n{fields}\r\n{body}".encode("latin-1")


def http(text: str) -> str:
    """A whole configuration around what stands in http{}."""
    return f"events {{\n}}\nhttp {{\n    %%http%%\n{text}\n}}\n"


def compared(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status line, fields in the order of their names, body; without what the two servers' names make different."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    fields = [line for line in fields if not line.startswith((b"Date:", b"Server: SERVER"))]
    if b"<hr><center>SERVER" in body:
        fields = [line for line in fields if not line.startswith(b"Content-Length:")]
    return first, sorted(fields, key=lambda line: line.partition(b":")[0].lower()), body


def run(kind: str, directory: Path, case: Case, check: Callable[[Ask, bytes], None]) -> None:
    """Start a server of this kind, ask everything, look at the logs."""
    side = Side(kind, directory)
    try:
        side.start(case.text, case.daemons)
        for one in case.asks:
            if kind == "lb" or not one.only_lb:
                check(one, side.send(one.data, one.port))
    finally:
        side.stop()
    errors = side.read("error.log") + side.read("stderr")
    assert not _TROUBLE.search(errors), f"{kind}: {errors}"
    if case.log is not None:
        text = side.read(case.log[0])
        assert re.search(case.log[1], text, re.DOTALL), f"{kind}: {case.log[0]}:\n{text}"


def check_case(case: Case, directory: Path) -> None:
    """lb answers as the table says, and as nginx does."""
    answers: dict[Ask, bytes] = {}

    def check_lb(one: Ask, answer: bytes) -> None:
        assert re.search(one.wanted, answer.decode("latin-1"), re.DOTALL), f"{one}:\n{answer!r}"
        answers[one] = answer

    def check_nginx(one: Ask, answer: bytes) -> None:
        assert compared(answers[one]) == compared(answer), one

    run("lb", directory / "lb", case, check_lb)
    if NGINX is not None:
        run("nginx", directory / "ng", case, check_nginx)  # the names are of one length: so are texts with %%dir%%
