"""The demo: its backends, its children that never outlive it, and all of it together when its fixed ports are free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lb.demo.__main__ import BACKENDS, HTTP, STATUS, TCP
from lb.demo.agent import PORT as CONSUL
from lb.demo.children import is_free
from tests.harness.client import Client
from tests.harness.wait import free_port, is_listening, wait_for

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def backend_port() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "lb.demo.backends", str(port)], cwd=ROOT)
    try:
        wait_for(lambda: is_listening(port), "the backend to listen")
        yield port
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_backend_says_its_name_the_path_and_the_headers(backend_port: int) -> None:
    client = Client(backend_port)
    for number in range(2):  # on one connection
        client.send(b"POST /a/%d HTTP/1.1\r\nHost: x\r\nX-Test: Yes\r\nContent-Length: 5\r\n\r\nhello" % number)
        response = client.response()
        assert response.status == 200
        assert response.body.decode().splitlines() == [
            f"backend {backend_port}",
            f"POST /a/{number} HTTP/1.1",
            "Host: x",
            "X-Test: Yes",
            "Content-Length: 5",
            "(body of 5 bytes)",
        ]
    client.close()


def test_a_backend_echoes_what_is_not_http(backend_port: int) -> None:
    client = Client(backend_port)
    client.send(b"hello\n")
    name = b"backend %d: " % backend_port
    assert client.recv_exactly(len(name) + 6) == name + b"hello\n"
    client.sock.shutdown(1)
    assert client.recv_to_end() == b""
    client.close()


SCRIPT = """
import sys
from lb.demo.children import Children
with Children() as children:
    children.start("sleeper", ["sleep", "1000"])
    print("started", flush=True)
    children.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_their_parent_however_it_ends(number: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.send_signal(number)
        assert parent.wait(60) == (-number if number == signal.SIGKILL else 0)
        wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child to end")
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()  # type: ignore[union-attr]


def test_a_child_that_ends_by_itself_is_said() -> None:
    script = SCRIPT.replace('["sleep", "1000"]', '["false"]')
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=30)
    assert b"ChildError: sleeper has ended with code 1" in done.stderr


def test_ports_in_use_are_said(backend_port: int) -> None:
    script = f"import lb.demo.__main__ as demo; demo.BACKENDS = ({backend_port},); demo.HTTP = demo.STATUS = demo.TCP = {backend_port}; demo.main()"  # fmt: skip  # noqa: E501
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=30)
    assert done.returncode == 1
    assert b"lb demo: the demo needs these ports of 127.0.0.1, which are in use" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("with_consul", [False, pytest.param(True, marks=pytest.mark.consul)])
def test_the_whole_demo(with_consul: bool) -> None:
    if taken := [port for port in (*BACKENDS, HTTP, STATUS, TCP, CONSUL) if not is_free(port)]:
        pytest.skip(f"its fixed ports are in use: {taken}")
    command = [sys.executable, "-m", "lb.demo", *(["--consul"] if with_consul else [])]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        assert demo.stdout is not None
        shown = b""
        while b"Ctrl-C stops everything" not in shown:
            line = os.read(demo.stdout.fileno(), 65536)
            assert line, demo.stderr.read().decode()  # type: ignore[union-attr]
            shown += line
        wait_for(lambda: _names() == {f"backend {port}" for port in BACKENDS}, "every backend to answer")
        demo.send_signal(signal.SIGINT)
        _, log = demo.communicate(timeout=30)
        assert demo.returncode == 0, log.decode()
        assert b"Traceback" not in log
        wait_for(lambda: not any(is_listening(port) for port in (*BACKENDS, HTTP, STATUS, TCP)), "everything to end")
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.communicate(timeout=30)


def _names() -> set[str]:
    """The backends that answer to six requests."""
    client = Client(HTTP)
    try:
        answers = [client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").response() for _ in range(6)]
        return {answer.body.decode().splitlines()[0] for answer in answers}
    finally:
        client.close()
