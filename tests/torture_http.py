"""The parties of the HTTP torture: servers and clients that follow Plans, in one asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections import Counter

from tests.torture import Outcome, Plan, pieces

GARBAGE = (b"\x00\xff\x16garbage\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 200 OK\nA: b\n\n")
PATIENCE = 30.0  # seconds until an exchange counts as hanging


def break_off(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def say(writer: asyncio.StreamWriter, rnd: random.Random, data: bytes, slow: bool = False) -> None:
    for piece in pieces(rnd, data):
        writer.write(piece)
        await writer.drain()
        if slow or rnd.random() < 0.2:
            await asyncio.sleep(rnd.choice((0, 0, 0.001, 0.01)))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return bytes(body)


class Server:
    """Does what each request's Plan says; `faults` has what lb did wrong towards it."""

    def __init__(self) -> None:
        self.attempts: Counter[int] = Counter()
        self.faults: list[str] = []
        self.sockets: list[asyncio.Server] = []

    async def listen(self) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 18, backlog=512)
        self.sockets.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as error:
            self.faults.append(f"server: {error!r}")
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        match = re.match(rb"(\w+) (?:/stall)?/(\d+) HTTP/1\.1\r\n", head)
        if match is None:
            self.faults.append(f"not a request: {head[:100]!r}")
            return False
        plan = Plan(int(match[2]))
        if plan.method.encode() != match[1]:
            self.faults.append(f"{plan}: {match[1]!r} instead of {plan.method}")
        self.attempts[plan.seed] += 1
        if self.attempts[plan.seed] > 1 and not plan.is_safe_to_repeat:
            self.faults.append(f"{plan} was sent {self.attempts[plan.seed]} times")
        return await self._act(plan, head, reader, writer)

    async def _act(self, plan: Plan, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        rnd = random.Random(plan.seed + 3)
        kind = plan.server
        if kind == "recover":
            kind = "ok" if self.attempts[plan.seed] > 1 else rnd.choice(("close_head", "reset_head"))
        if kind == "close_head":
            return False
        if kind == "reset_head":
            break_off(writer)
            return False
        if kind in ("early", "early_close"):
            await self._answer(plan, rnd, writer)
            if kind == "early":
                await self._body(plan, head, reader)
            return False
        await self._body(plan, head, reader)
        if kind == "stall":
            await reader.read()
            return False
        if kind == "garbage":
            writer.write(rnd.choice(GARBAGE))
            await writer.drain()
            return False
        if kind in ("cut", "cut_reset"):
            return await self._cut(plan, rnd, writer)
        await self._answer(plan, rnd, writer)
        return kind != "close_after" and (plan.framing != "close" or plan.bodiless)

    async def _answer(self, plan: Plan, rnd: random.Random, writer: asyncio.StreamWriter) -> None:
        head, body = plan.response()
        if plan.server == "extra":  # with the last bytes of the answer: later, it could not be told from the next one
            writer.write(head + body + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
            await writer.drain()
        elif rnd.random() < 0.5:
            await say(writer, rnd, head + body, plan.server == "slow")
        else:
            await say(writer, rnd, head, plan.server == "slow")
            await say(writer, rnd, body, plan.server == "slow")

    async def _cut(self, plan: Plan, rnd: random.Random, writer: asyncio.StreamWriter) -> bool:
        head, body = plan.response()
        whole = head + body
        await say(writer, rnd, whole[: rnd.randrange(len(whole) - 1)])
        if plan.server == "cut_reset":
            break_off(writer)
        return False

    async def _body(self, plan: Plan, head: bytes, reader: asyncio.StreamReader) -> None:
        """Read the request's body; one that is whole must be right."""
        if re.search(rb"\r\ntransfer-encoding: chunked\r\n", head, re.IGNORECASE):
            body = await read_chunks(reader)
        elif found := re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE):
            body = await reader.readexactly(int(found[1]))
        else:
            body = b""
        if body != plan.body and plan.client != "bad_chunk":
            self.faults.append(f"{plan}: body of {len(body)} bytes instead of {len(plan.body)}")


class Client:
    """Connections one after the other, each with some requests, pipelined or not; `faults` has what lb did wrong."""

    def __init__(self, port: int, rnd: random.Random, seeds: list[int], servers_fail: bool = False) -> None:
        """`servers_fail`: a list may be empty, or full of failures: 502 is right then."""
        self.port, self.rnd, self.seeds, self.servers_fail = port, rnd, seeds, servers_fail
        self.faults: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.present = Plan(0)

    async def run(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while self.seeds and loop.time() < until and not self.faults:
            plans = [Plan(self.seeds.pop()) for _ in range(min(self.rnd.choice((1, 1, 2, 3, 5)), len(self.seeds)))]
            try:
                await asyncio.wait_for(self._connection(plans), PATIENCE)
            except TimeoutError:
                self.faults.append(f"hangs: {self.present.words()}")
            except ConnectionResetError:  # the ports of a connection that the other side still remembers
                self.outcomes["reset at connect"] += 1
            except OSError as error:
                self.faults.append(f"cannot connect: {error!r}")

    async def _connection(self, plans: list[Plan]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        try:
            if self.rnd.random() < 0.3 and all(plan.client == "ok" and not plan.expect for plan in plans):
                await self._pipelined(plans, reader, writer)
            else:
                for number, plan in enumerate(plans):
                    if not await self._exchange(plan, reader, writer, number == 0):
                        return
        finally:
            writer.transport.abort()

    async def _pipelined(self, plans: list[Plan], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = b"".join(b"".join(plan.request()) for plan in plans)
        sender = asyncio.create_task(self._quietly(say(writer, self.rnd, everything)))
        try:
            for number, plan in enumerate(plans):
                outcome = await self._read(plan, reader)
                self._judge(plan, outcome, number == 0)
                if outcome.closes:
                    return
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _exchange(
        self, plan: Plan, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bool
    ) -> bool:
        """One request and its answer. False: the connection is over."""
        sender = asyncio.create_task(self._quietly(self._send(plan, writer)))
        try:
            if plan.client == "vanish":
                await asyncio.sleep(self.rnd.choice((0, 0.001, 0.02)))
                return False
            outcome = await self._read(plan, reader, writer)
            self._judge(plan, outcome, first)
            if not outcome.closes:
                await sender
            return not outcome.closes and plan.client != "bad_chunk"
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _quietly(self, sending) -> None:
        with contextlib.suppress(OSError):
            await sending

    async def _send(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        head, body = plan.request()
        slow = plan.client == "slow"
        if plan.client == "abort_send":
            body = body[: self.rnd.randrange(len(body))]
        if plan.expect or self.rnd.random() < 0.4:
            await say(writer, self.rnd, head, slow)
            if plan.expect:
                await asyncio.sleep(0.005)
            await say(writer, self.rnd, body, slow)
        else:
            await say(writer, self.rnd, head + body, slow)
        if plan.client in ("half_close", "bad_chunk"):  # the latter may be data of a chunk that never ends
            writer.write_eof()
        elif plan.client == "abort_send":
            break_off(writer) if self.rnd.random() < 0.5 else writer.close()

    async def _read(
        self, plan: Plan, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None = None
    ) -> Outcome:
        outcome = Outcome()
        self.present = plan
        try:
            await self._read_answer(plan, outcome, reader, writer)
        except asyncio.IncompleteReadError as error:
            if outcome.status:
                outcome.body += error.partial if not error.partial.endswith(b"\r\n") else b""
        except OSError:
            pass
        return outcome

    async def _read_answer(
        self, plan: Plan, outcome: Outcome, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100 "):
            if not plan.expect:
                self.faults.append(f"{plan}: 100 without Expect")
            head = await reader.readuntil(b"\r\n\r\n")
        seed = re.search(rb"\r\nX-Seed: (\d+)\r\n", head)
        outcome.status = int(head.split()[1])
        outcome.is_own = seed is not None
        if seed is not None and int(seed[1]) != plan.seed:
            self.faults.append(f"{plan} got the answer of {Plan(int(seed[1]))}")
        outcome.closes = b"\r\nConnection: close\r\n" in head
        if writer is not None and plan.client in ("abort_read", "reset_read"):
            await self._abort(plan, outcome, reader, writer)
            return
        if plan.method == "HEAD" or outcome.status in (204, 304):
            outcome.whole = True
        elif length := re.search(rb"\r\nContent-Length: (\d+)\r\n", head):
            await self._counted(plan, outcome, reader, int(length[1]))
        elif b"\r\nTransfer-Encoding: chunked\r\n" in head:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await self._counted(plan, outcome, reader, size)
                outcome.whole = False
                assert await reader.readexactly(2) == b"\r\n"
            outcome.whole = await reader.readexactly(2) == b"\r\n"
        else:
            outcome.closes = True
            while data := await reader.read(65_536):
                outcome.body += data
            outcome.whole = plan.minor == 0

    async def _counted(self, plan: Plan, outcome: Outcome, reader: asyncio.StreamReader, size: int) -> None:
        parts = []
        try:
            while size:
                data = await reader.read(min(size, 65_536))
                if not data:
                    return
                parts.append(data)
                size -= len(data)
                if plan.client == "slow":
                    await asyncio.sleep(self.rnd.choice((0, 0.001, 0.02)))
            outcome.whole = True
        finally:
            outcome.body += b"".join(parts)
            if size:
                outcome.closes = True

    async def _abort(
        self, plan: Plan, outcome: Outcome, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if outcome.is_own and not plan.bodiless and plan.answer:
            with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
                await asyncio.wait_for(reader.readexactly(self.rnd.randrange(len(plan.answer))), 0.5)
        if plan.client == "reset_read":
            break_off(writer)
        outcome.closes = True
        outcome.is_own = False

    def _judge(self, plan: Plan, outcome: Outcome, first: bool) -> None:
        wrong = plan.right(outcome, servers_fail=self.servers_fail, first=first)
        self.outcomes[f"{outcome.status if outcome.whole else 'broken'}"] += 1
        if wrong:
            self.faults.append(
                f"{wrong}: {plan.words()}; got {outcome.status}, {len(outcome.body)} bytes, first: {first}"
            )
