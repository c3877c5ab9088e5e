"""The same requests to lb and to nginx, and what the two logged of them: equal, but for their names and clocks.

with Beside(tmp_path, http("..."), {"users": "a:b\\n"}) as both:
    assert status(both.ask(get("/"))) == 200        # answers of both were compared
    both.logs(r"mismatch")                          # and the lines of both error logs with this in them
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.harness.nginx import BINARY as NGINX
from tests.harness.wait import wait_for
from tests.oracle.case import compared
from tests.oracle.runner import Handler, Side

_LINE = re.compile(r"^\S+ \S+ (\[\w+\]) \d+#\d+: (?:\*\d+ )?(.*)$")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


class Beside:
    """`files`: texts by their names in either server's directory."""

    def __init__(
        self,
        directory: Path,
        text: str,
        files: Mapping[str, str] | None = None,
        daemons: dict[int, Handler] | None = None,
    ) -> None:
        self.lb = Side("lb", directory / "lb")
        self.nginx = Side("nginx", directory / "ng") if NGINX is not None else None
        self.sides = [side for side in (self.lb, self.nginx) if side is not None]
        self._text, self._daemons = text, daemons
        for name, content in (files or {}).items():
            self.write(name, content)

    def write(self, name: str, content: str) -> None:
        for side in self.sides:
            path = side.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def __enter__(self) -> Beside:
        try:
            for side in self.sides:
                side.start(self._text, self._daemons)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if kind is None:
            trouble = re.findall(r".*(?:\[alert\]|\[emerg\]|Traceback|BUG_ON).*", self.lb.read("error.log"))
            assert not trouble, trouble

    def _stop(self) -> None:
        for side in self.sides:
            side.stop()

    def ask(self, data: bytes, port: int = 8080, quiet: float = 0.4) -> bytes:
        """lb's answer, once both have given the same."""
        answers = [side.send(data, port, quiet) for side in self.sides]
        if data.startswith(b"HEAD") and status(answers[0]) >= 300:  # of pages that tell the server's name
            answers = [re.sub(rb"\r\nContent-Length: \d+", b"", answer) for answer in answers]
        if len(answers) == 2:
            assert compared(answers[0]) == compared(answers[1]), (
                f"{data!r}:\nlb    {answers[0]!r}\nnginx {answers[1]!r}"
            )
        return answers[0]

    def logs(self, pattern: str) -> list[str]:
        """Lines of lb's error log in which there is `pattern`, once nginx has the same: "[LEVEL] TEXT"."""

        def lines(side: Side) -> list[str]:
            found = [_LINE.match(line) for line in side.read("error.log").splitlines()]
            return [f"{one[1]} {one[2]}" for one in found if one and re.search(pattern, one[2])]

        if self.nginx is not None:
            wanted = lines(self.nginx)
            wait_for(lambda: lines(self.lb) == wanted, lambda: f"lb    {lines(self.lb)}\nnginx {wanted}")
        return lines(self.lb)
