"""One real engine with one configuration in a process of its own (there is one per process), for tests that call it."""

from __future__ import annotations

import http.client
import mmap
import multiprocessing
import os
import socket
import threading
import traceback
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lb import _fast, upstream_show
from lb.config import load
from lb.model import Address, ErrorLog, Server
from lb.upsync.merge import Change
from tests.harness.wait import free_port, wait_for

PATIENCE_S = 100.0


class _Names(BaseHTTPRequestHandler):
    """Answers with the address it was asked at: all of 127.0.0.0/8 is this machine."""

    def do_GET(self) -> None:
        body = self.connection.getsockname()[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class LoneEngine:
    """`conf` has {port} of the backend and {listen}. `size`: of the shared memory; None: what the engine asks for."""

    def __init__(self, directory: Path, conf: str, size: int | None = None) -> None:
        self.backend = ThreadingHTTPServer(("0.0.0.0", 0), _Names)
        self.backend.daemon_threads = True
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()
        self.port = free_port()
        (directory / "c").write_text(conf.format(port=self.backend.server_port, listen=self.port))
        config = load(str(directory / "c"), prefix=str(directory))
        self.shm = mmap.mmap(-1, size or _fast.stats_size(1, len(config.upstreams)))
        listener = socket.create_server(("127.0.0.1", self.port))
        compiled = _fast.Compiled()
        compiled.fill(config, (ErrorLog("stderr"),))
        while not compiled.step():
            pass
        self.engine = _fast.Engine(
            compiled,
            config,
            [listener.detach()],
            worker=0,
            shm=self.shm,
            logs={},
            error_fd=os.dup(2),
        )
        for i, upstream in enumerate(config.upstreams):
            self.engine.publish(i, upstream.servers, upstream_show.block(upstream.name, upstream.servers))
        self.thread = threading.Thread(target=self.engine.run)
        self.thread.start()

    def server(self, host: str, **given: Any) -> Server:
        address = Address(socket.AF_INET, host, self.backend.server_port)
        return Server(str(address), address, **given)

    def publish(self, upstream: int, servers: Sequence[Server], change: Change | None = None) -> None:
        """Returns when the loop has it."""
        tables = self.stats("tables")
        self.engine.publish(upstream, servers, b"", change)
        wait_for(lambda: self.stats("tables") > tables)

    def get(self, target: str = "/", source: str = "127.0.0.1") -> str:
        """The address of the server that was asked."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, source_address=(source, 0))
        client.request("GET", target, headers={"Connection": "close"})
        answer = client.getresponse()
        body = answer.read().decode()
        client.close()
        assert answer.status == 200, body
        return body

    def stats(self, name: str) -> int:
        return _fast.read_stats(self.shm, 0)[name]

    def end(self) -> None:
        self.engine.stop(_fast.STOP_NOW)
        self.thread.join()
        self.backend.shutdown()
        assert not any(self.engine.open_handles().values())


def _run(case: Callable[..., None], arguments: tuple[Any, ...], results: Any) -> None:
    """In the child."""
    try:
        case(*arguments)
        results.send("")
    except BaseException as error:
        results.send("".join(traceback.format_exception(error)))
        os._exit(1)  # the engine's thread may run on


def in_child(case: Callable[..., None], *arguments: Any) -> None:
    """Run case(*arguments), which makes a LoneEngine and ends it, where no thread of ours is."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(case, arguments, theirs))
    child.start()
    theirs.close()
    try:
        assert ours.poll(PATIENCE_S)
        if said := ours.recv():
            pytest.fail(said)
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
