"""What the torture test plans for one exchange, and what may come of it.

A seed is in the request's path; from it both parties work out the same Plan, and the client knows what may come of it:

    seed -> Plan: what the client sends and how, what the server does -> right(outcome) says whether lb behaved

Bodies are patterns of the seed, so that a byte of another exchange, or of another place, shows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SIZES = (0, 1, 100, 5_000, 16_384, 70_000, 300_000, 1_500_000)
WEIGHTS = (4, 4, 8, 8, 4, 6, 4, 1)

SERVER = {
    "ok": 40, "slow": 6, "interim": 3, "close_after": 4, "extra": 2, "early": 4, "early_close": 3, "hasty": 2,
    "close_head": 3, "reset_head": 3, "recover": 6, "cut": 4, "cut_reset": 4, "garbage": 2, "stall": 2,
}  # fmt: skip
CLIENT = {
    "ok": 60, "slow": 8, "abort_send": 4, "abort_read": 6, "reset_read": 6, "half_close": 3, "bad_chunk": 3,
    "vanish": 3,
}  # fmt: skip
PLAIN = {"ok", "slow", "interim", "close_after", "extra", "hasty"}  # servers whose answers are whole
ABORTS = {"abort_send", "abort_read", "reset_read", "half_close", "vanish", "bad_chunk"}  # clients that lb may cut off


def pattern(seed: int, size: int, side: str) -> bytes:
    rnd = random.Random(f"{seed}{side}")
    block = bytes(rnd.randrange(256) for _ in range(251))
    return (block * (size // 251 + 1))[:size]


def pieces(rnd: random.Random, data: bytes) -> list[bytes]:
    """`data` in one, few or many sends."""
    kind = rnd.random()
    if kind < 0.5 or len(data) < 2:
        return [data]
    cuts = rnd.randint(1, 3) if kind < 0.85 else min(len(data) - 1, 40)
    at = sorted(rnd.sample(range(1, len(data)), min(cuts, len(data) - 1)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def in_chunks(rnd: random.Random, data: bytes) -> bytes:
    """Chunked coding, with extensions, zeros before sizes and trailers now and then."""
    out, at = b"", 0
    while at < len(data):
        size = max(rnd.choice((1, 7, 100, 4096, 65_536, 200_000)), len(data) // 60)
        part = data[at : at + size]
        extension = b";a=b" if rnd.random() < 0.1 else b""
        out += (b"00" if rnd.random() < 0.1 else b"") + b"%x" % len(part) + extension + b"\r\n" + part + b"\r\n"
        at += len(part)
    return out + b"0\r\n" + (b"X-Trailer: 1\r\n" if rnd.random() < 0.2 else b"") + b"\r\n"


@dataclass
class Plan:
    """Both sides of one exchange."""

    seed: int

    def __post_init__(self) -> None:
        rnd = self.rnd = random.Random(self.seed)
        self.client = rnd.choices(list(CLIENT), list(CLIENT.values()))[0]
        self.server = rnd.choices(list(SERVER), list(SERVER.values()))[0]
        self.method = rnd.choices(("GET", "POST", "HEAD", "PUT", "DELETE"), (50, 30, 6, 10, 4))[0]
        self.minor = 0 if rnd.random() < 0.08 else 1
        has_body = self.method in ("POST", "PUT") or (self.method == "GET" and rnd.random() < 0.05)
        self.body = pattern(self.seed, rnd.choices(SIZES, WEIGHTS)[0], "up") if has_body else b""
        self.body_chunked = has_body and self.minor == 1 and rnd.random() < 0.4
        if self.client == "bad_chunk" and not self.body_chunked:
            self.client = "ok"
        if self.client == "abort_send" and not self.body:
            self.client = "vanish"
        self.expect = bool(self.body) and self.minor == 1 and rnd.random() < 0.15
        self.status = rnd.choices((200, 404, 500, 204, 304), (80, 6, 4, 5, 5))[0]
        self.framing = rnd.choices(("length", "chunked", "close"), (60, 30, 10))[0]
        size = rnd.choices(SIZES, WEIGHTS)[0]
        if self.server == "hasty":  # speaks before it is asked: it cannot know the method
            self.method, self.body, self.expect, self.body_chunked = "GET", b"", False, False
            self.client = "ok"
        if self.server == "extra" and self.framing == "close":
            self.framing = "length"
        if self.server in ("cut", "cut_reset"):
            self.status, size = 200, max(size, 100)
            self.method = "GET" if self.method == "HEAD" else self.method
        self.answer = pattern(self.seed, size, "down")
        self.bodiless = self.method == "HEAD" or self.status in (204, 304)

    @property
    def is_safe_to_repeat(self) -> bool:
        return self.method != "POST"

    @property
    def path(self) -> str:
        return f"{'/stall' if self.server == 'stall' else ''}/{self.seed}"

    def words(self) -> str:
        return (
            f"{self} {self.method} HTTP/1.{self.minor}, client {self.client}, server {self.server}, "
            f"body {len(self.body)}{' chunked' if self.body_chunked else ''}{' expect' if self.expect else ''}, "
            f"answer {self.status} {len(self.answer)} {self.framing}"
        )

    def request(self) -> tuple[bytes, bytes]:
        """Head and body as the client sends them."""
        rnd = random.Random(self.seed + 1)
        head = f"{self.method} {self.path} HTTP/1.{self.minor}\r\nHost: x\r\n"
        if rnd.random() < 0.1:
            head += f"X-Long: {'y' * rnd.randint(1, 7_000)}\r\n"
        if self.minor == 0 and rnd.random() < 0.5:
            head += "Connection: keep-alive\r\n"
        if self.expect:
            head += "Expect: 100-continue\r\n"
        body = self.body
        if self.body_chunked:
            head += "Transfer-Encoding: chunked\r\n"
            body = in_chunks(rnd, body)
            if self.client == "bad_chunk":
                body = body[: rnd.randrange(len(body))] + b"\r\nzz\r\n" + body[-5:]
        elif self.body or self.method in ("POST", "PUT"):
            head += f"Content-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n", body

    def response(self) -> tuple[bytes, bytes]:
        """Head and body as the server sends them."""
        rnd = random.Random(self.seed + 2)
        head = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" if self.server == "interim" else b""
        head += b"HTTP/1.1 %d Some Reason\r\nX-Seed: %d\r\n" % (self.status, self.seed)
        if rnd.random() < 0.1:
            head += b"X-Long: " + b"z" * rnd.randint(1, 2_500) + b"\r\n"
        if self.server in ("close_after", "early", "early_close"):
            head += b"Connection: close\r\n"
        body = b"" if self.bodiless else self.answer
        if self.status in (204, 304):
            pass
        elif self.framing == "length":
            head += b"Content-Length: %d\r\n" % len(self.answer)
        elif self.framing == "chunked":
            head += b"Transfer-Encoding: chunked\r\n"
            body = b"" if self.bodiless else in_chunks(rnd, self.answer)
        return head + b"\r\n", body

    # ---- what may come of it

    def right(self, outcome: Outcome, *, servers_fail: bool, first: bool) -> str:
        """ "" or what is wrong. `servers_fail`: a list may be empty or full of failures; `first`: on its connection."""
        if outcome.status and outcome.status != self.status and outcome.status not in self._errors(servers_fail):
            return f"status {outcome.status}, not {self.status} nor {sorted(self._errors(servers_fail))}"
        if outcome.is_own:
            if not self.answer.startswith(outcome.body):
                return f"wrong body of {len(outcome.body)} bytes"
            if outcome.whole and not self.bodiless and outcome.body != self.answer and not self._may_look_whole():
                return f"looks whole with {len(outcome.body)} of {len(self.answer)} bytes"
        if outcome.whole or self.client in ABORTS:
            return ""
        if self.server in PLAIN or self.server in ("early", "recover", "stall"):
            if not first and outcome.status == 0 and not outcome.body:
                return ""  # a connection that was kept may end at any time before its next answer
            return "broken though nothing broke it"
        return ""

    def _may_look_whole(self) -> bool:
        return self.server in ("cut", "early_close") and self.framing == "close"

    def _errors(self, servers_fail: bool) -> set[int]:
        errors = {502} if servers_fail or self.server not in PLAIN else set()
        if self.server == "stall":
            errors.add(504)
        if self.client == "bad_chunk":
            errors.add(400)
        return errors


@dataclass
class Outcome:
    """What the client saw of one answer."""

    status: int = 0  # 0: no head came
    body: bytes = b""
    whole: bool = False
    is_own: bool = False  # it is the server's answer, and says which one
    closes: bool = True  # no further answer on this connection
