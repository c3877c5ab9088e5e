"""The parties of the TCP torture: sessions whose two directions are patterns of a seed, ended in every order."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections import Counter
from dataclasses import dataclass

from tests.torture import pattern
from tests.torture_http import PATIENCE, break_off, say

SIZES = (0, 1, 1_000, 65_536, 65_537, 400_000, 3_000_000)
CLIENT = {"ok": 50, "slow": 10, "wait": 20, "reset": 8, "close": 8, "leave": 4}
SERVER = {"ok": 50, "slow": 10, "half_first": 10, "close": 6, "reset": 6, "reset_at_once": 3}
PLAIN = {"ok", "slow", "half_first"}


@dataclass
class Session:
    """What both sides do. `up` and `down`: the bytes that the client and the server send."""

    seed: int

    def __post_init__(self) -> None:
        rnd = random.Random(self.seed)
        self.client = rnd.choices(list(CLIENT), list(CLIENT.values()))[0]
        self.server = rnd.choices(list(SERVER), list(SERVER.values()))[0]
        self.up = b"%d\n" % self.seed + pattern(self.seed, rnd.choice(SIZES), "up")
        self.down = pattern(self.seed, rnd.choice(SIZES), "down")
        if self.server == "half_first" and self.client == "wait":
            self.client = "ok"

    @property
    def is_plain(self) -> bool:
        return self.server in PLAIN and self.client in ("ok", "slow", "wait")


class TcpServer:
    """`got`: seed -> the bytes of the client that came, when the session was over."""

    def __init__(self) -> None:
        self.got: dict[int, bytes] = {}
        self.faults: list[str] = []
        self.sockets: list[asyncio.Server] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 18, backlog=512)
        self.sockets.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            line = await reader.readuntil(b"\n")
            if not re.fullmatch(rb"\d+\n", line):
                self.faults.append(f"session begins with {line[:50]!r}")
                return
            session = Session(int(line))
            await self._act(session, line, reader, writer)
        writer.transport.abort()

    async def _act(
        self, session: Session, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        rnd = random.Random(session.seed + 1)
        if session.server == "reset_at_once":
            break_off(writer)
            return
        sending = asyncio.create_task(self._send(session, rnd, writer))
        self.tasks.add(sending)
        sending.add_done_callback(self.tasks.discard)
        got = bytearray(line)
        try:
            while data := await reader.read(65_536):
                got += data
                if session.server == "slow" and rnd.random() < 0.2:
                    await asyncio.sleep(0.005)
                if session.server == "close" and rnd.random() < 0.1:
                    return
            if session.server in ("ok", "slow"):
                await sending
                writer.write_eof()
            await sending
            self._judge(session, bytes(got), True)
            while session.client == "wait" and await reader.read(65_536):
                pass
            await self._end(writer)
        except OSError:
            self._judge(session, bytes(got), False)
        finally:
            sending.cancel()

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _send(self, session: Session, rnd: random.Random, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if session.server == "reset":
                await say(writer, rnd, session.down[: rnd.randrange(len(session.down) + 1)])
                break_off(writer)
                return
            await say(writer, rnd, session.down, session.server == "slow")
            if session.server == "half_first" or session.client == "wait":
                writer.write_eof()

    def _judge(self, session: Session, got: bytes, ended: bool) -> None:
        self.got[session.seed] = got
        if not session.up.startswith(got):
            self.faults.append(f"{session}: wrong bytes from the client, {len(got)} of {len(session.up)}")
        elif ended and got != session.up and session.is_plain:
            self.faults.append(f"{session}: the client's bytes end after {len(got)} of {len(session.up)}")


class TcpClient:
    """Session after session; `faults` has what lb did wrong."""

    def __init__(self, port: int, rnd: random.Random, seeds: list[int]) -> None:
        self.port, self.rnd, self.seeds = port, rnd, seeds
        self.faults: list[str] = []
        self.outcomes: Counter[str] = Counter()

    async def run(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while self.seeds and loop.time() < until and not self.faults:
            session = Session(self.seeds.pop())
            try:
                await asyncio.wait_for(self._session(session), PATIENCE)
            except TimeoutError:
                self.faults.append(f"hangs: {session} client {session.client}, server {session.server}")

    async def _session(self, session: Session) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 17)
        sending = asyncio.create_task(self._send(session, writer))
        got = bytearray()
        ended = False
        try:
            stop = self.rnd.randrange(len(session.down) + 1)
            while not (leaves := session.client in ("reset", "close", "leave") and len(got) >= stop):
                if not (data := await reader.read(65_536)):
                    break
                got += data
                if session.client == "slow":
                    await asyncio.sleep(self.rnd.choice((0, 0.001, 0.01)))
            if leaves:
                if session.client == "reset":
                    break_off(writer)
                return
            ended = True
            if session.is_plain:
                await sending
                if session.client == "wait":
                    writer.write_eof()
        except OSError:
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            self._judge(session, bytes(got), ended)
            if session.is_plain and ended:
                writer.close()
            else:
                writer.transport.abort()

    async def _send(self, session: Session, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await say(writer, self.rnd, session.up, session.client == "slow")
            if session.client in ("ok", "slow"):
                writer.write_eof()

    def _judge(self, session: Session, got: bytes, ended: bool) -> None:
        whole = ended and got == session.down
        self.outcomes["whole" if whole else "broken"] += 1
        if not session.down.startswith(got):
            self.faults.append(f"{session}: wrong bytes from the server, {len(got)} of {len(session.down)}")
        elif session.is_plain and not whole:
            self.faults.append(
                f"{session} client {session.client}, server {session.server}: {len(got)} of {len(session.down)} bytes, "
                f"ended {ended}"
            )
