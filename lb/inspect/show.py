"""What `lb inspect` prints: one line for each connection of a worker, and one for the exchange that runs there."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from pathlib import Path
from typing import Final

from lb.inspect.engine import Engine, Struct
from lb.inspect.memory import Core, Live, Memory, Unreadable
from lb.log import print_error

USAGE: Final = "lb: usage: lb inspect PID | CORE"


def run(arguments: list[str]) -> int:
    """`lb inspect ...`. Returns the exit code."""
    if len(arguments) != 1:
        print_error(USAGE)
        return 1
    try:
        pages = [page(Engine(memory)) for memory in memories(arguments[0])]
    except Unreadable as error:
        print_error(f"lb: {error}")
        return 1
    sys.stdout.write("\n".join(pages))
    return 0


def memories(name: str) -> list[Memory]:
    """A core; a worker; of a master its workers."""
    if not name.isdecimal():
        return [Core(name)]
    found = [pid for pid in [int(name), *children(int(name))] if is_worker(pid)]
    return [Live(pid) for pid in found] or [Live(int(name))]


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_worker(pid: int) -> bool:
    """Does this process run an engine of its own? (A child that was forked from a worker would hold its copy.)"""
    try:
        return bool(Engine(Live(pid)).loop.pid == pid)
    except Unreadable:
        return False


def page(engine: Engine) -> str:
    loop = engine.loop
    use = f"{loop.clients} clients, {loop.nconns} of {loop.max_conns} connections"
    lines = [f"worker {loop.worker}, process {loop.pid}: {use}" + (", stopping" if loop.stopping else "")]
    for conn in sorted(engine.connections(), key=lambda one: (one.kind, one.number, one.idx)):
        lines.append(connection(engine, conn))
        request = engine.request_of(conn)
        if request is not None and request.client == conn.address:
            lines.append("    " + exchange(engine, request))
    return "\n".join(lines) + "\n"


def connection(engine: Engine, conn: Struct) -> str:
    """conn 7 *12 http client busy fd 17: 127.0.0.1:4000 to 127.0.0.1:80, ready read,write, flags nodelay, ..."""
    words = [f"conn {conn.idx}"]
    if conn.number:
        words.append(f"*{conn.number}")
    words += [engine.named("Kind", conn.kind), engine.named("State", conn.state), f"fd {conn.fd}"]
    facts = [
        place(engine, conn),
        f"ready {engine.flags('Ready', conn.ready)}",
        f"flags {engine.flags('ConnFlag', conn.flags)}",
    ]
    facts += [
        f"in {conn.got}, out {conn.put} bytes",
        f"{conn.served} requests",
        f"age {seconds(engine.loop.now - conn.opened)}",
    ]
    chains = {"unparsed": engine.waiting(conn.inb), "unsent": engine.waiting(conn.out)}
    facts += [f"{what} {waiting} bytes" for what, waiting in chains.items() if waiting]
    if conn.pipe:
        facts.append("spliced bytes wait")
    if conn.timer:
        facts.append(f"timer in {seconds(conn.timer - engine.loop.now)}")
    return " ".join(words) + ": " + ", ".join(fact for fact in facts if fact)


def place(engine: Engine, conn: Struct) -> str:
    if conn.peer:
        return f"to {engine.name('Peer', conn.peer)}"
    here = engine.name("Listener", conn.lst, "addr")
    return f"{address(conn.addr[: conn.addr_len])} to {here}" if conn.number else here


def exchange(engine: Engine, request: Struct) -> str:
    """request GET /x?y: server "s", location "/", phase ..., flags ..., status 0, ...; a stream's is a session."""
    is_session = "tcp" in engine.flags("ReqFlag", request.flags).split(",")
    facts = [] if is_session else [f'server "{engine.name("Server", request.srv)}"']
    if not is_session:
        facts.append(f'location "{engine.name("Location", request.loc, "pattern")}"')
    facts.append(f"phase {engine.named('Phase', request.phase)}")
    facts += [f"flags {engine.flags('ReqFlag', request.flags)}", f"status {request.status}"]
    facts.append(f"age {seconds(engine.loop.now - request.start)}")
    if not is_session:
        facts.append(f"body {request.in_seen} bytes" + (", whole" if request.in_done else ""))
    if request.ups:
        facts.append(f'upstream "{engine.name("Upstream", request.ups)}", tries {request.tries}')
    peer, up = engine.part("Peer", request.peer), engine.part("Conn", request.up)
    if peer is not None:
        facts.append(f"server {engine.text(*peer.name)} ({peer.active} active, {peer.fails} failed)")
    if up is not None:
        facts.append(
            f"on fd {up.fd} {engine.named('State', up.state)}, answer {request.up_status} {request.out_seen} bytes"
        )
    if is_session:
        return "session: " + ", ".join(facts)
    target = engine.text(request.uri, request.uri_len)
    args = engine.text(request.args, request.args_len)
    return f"request {engine.text(*request.method)} {target}{'?' + args if args else ''}: " + ", ".join(facts)


def address(sockaddr: bytes) -> str:
    """127.0.0.1:80, [::1]:80, unix:"""
    if len(sockaddr) < 8:
        return "unix:"
    family, port = struct.unpack_from("=H", sockaddr)[0], struct.unpack_from(">H", sockaddr, 2)[0]
    if family == socket.AF_INET:
        return f"{ipaddress.IPv4Address(sockaddr[4:8])}:{port}"
    return f"[{ipaddress.IPv6Address(sockaddr[8:24])}]:{port}" if len(sockaddr) >= 24 else "unix:"


def seconds(ms: int) -> str:
    return f"{ms / 1000:.3f} s"
