"""`lb inspect`: a live worker, a master's workers and a core, with names; what it is not for is said."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lb import _fast
from tests.harness.backend import never_answer
from tests.harness.wait import wait_for

ENGINE = Path(__file__).parent.parent / "lb/fast"
CONF = """
http {
    access_log off;
    upstream u { server @held@; }
    upstream v { server @back@; keepalive 4; }
    server { listen 127.0.0.1:@http@; server_name s.example;
        location /held/ { proxy_pass http://u; }
        location / { proxy_pass http://v; }
    }
}
stream {
    upstream t { server @held@; }
    server { listen 127.0.0.1:@tcp@; proxy_pass t; }
}
"""


@pytest.fixture
def lb(run_lb, raw_backend, http_backend):
    return run_lb(CONF, held=raw_backend(never_answer).address, back=http_backend().address)


def inspect(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "lb", "inspect", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def shown(*arguments):
    done = inspect(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


HELD = (
    r'^    request GET /held/x\?y=1: server "s\.example", location "/held/", '
    r"phase reading head, flags keep,held, status 0, "
    r'age \d+\.\d{3} s, body 0 bytes, whole, upstream "u", tries 1, server 127\.0\.0\.1:\d+ \(\d active, 0 failed\), '
    r"on fd \d+ busy, answer 0 0 bytes$"
)
CLIENT = r"^conn \d+ \*\d+ http client busy fd \d+: 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+, ready write, flags nodelay, "


def traffic(lb, connect):
    """A request that waits for its server, one that is over, and a session."""
    held, idle, session = connect(lb.port("http")), connect(lb.port("http")), connect(lb.port("tcp"))
    held.send(b"GET /held/x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n")
    idle.request("GET", "/")
    session.send(b"ping")
    worker = lb.workers[0].pid
    wait_for(lambda: "session: " in (text := shown(worker)) and re.search(HELD, text, re.M), lambda: shown(worker))
    return worker, (held, idle, session)


def check(text, worker):
    assert re.search(rf"^worker 0, process {worker}: 3 clients, \d+ of \d+ connections$", text, re.M)
    assert re.search(CLIENT + r".*\n" + HELD, text, re.M)
    assert re.search(r"^conn \d+ \*\d+ http client idle fd \d+: .* 1 requests, .*timer in \d+\.\d{3} s$", text, re.M)
    assert re.search(r"^conn \d+ upstream idle fd \d+: to 127\.0\.0\.1:\d+, .*flags .*used", text, re.M)
    assert re.search(r'^    session: phase tunnel, flags tcp,held, .*upstream "t", tries 1, ', text, re.M)
    assert re.search(r"^conn \d+ listen free fd \d+: 127\.0\.0\.1:\d+, ", text, re.M)


def test_a_live_worker(lb, connect):
    worker, clients = traffic(lb, connect)
    check(shown(worker), worker)
    check(shown(lb.master.pid), worker)
    for client in clients:
        client.close()
    wait_for(lambda: ": 0 clients" in (text := shown(worker)) and "request " not in text, lambda: shown(worker))


@pytest.mark.unsanitized("its shadow memory has terabytes of addresses, which gcore would write")
@pytest.mark.skipif(shutil.which("gcore") is None, reason="needs gdb's gcore")
def test_a_core(lb, connect, tmp_path):
    worker, _ = traffic(lb, connect)
    done = subprocess.run(["gcore", "-o", f"{tmp_path}/core", str(worker)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    check(shown(tmp_path / f"core.{worker}"), worker)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: lb inspect PID | CORE"),
        (["1", "2"], "usage: lb inspect PID | CORE"),
        (["SELF"], "process SELF is no worker of lb"),
        (["4194304"], "process 4194304 cannot be read: No such file or directory"),
        ([__file__], "no 64-bit ELF core"),
        (["/no/such/core"], '"/no/such/core" cannot be read'),
    ],
)
def test_what_cannot_be_shown(arguments, said):
    own = str(os.getpid())  # it has loaded the extension, but runs no engine
    done = inspect(*(word.replace("SELF", own) for word in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    assert said.replace("SELF", own) in done.stderr and "Traceback" not in done.stderr


def test_a_core_that_was_cut_short(tmp_path):
    path = tmp_path / "core"
    path.write_bytes(b"\x7fELF\x02\x01" + bytes(10) + b"\x04\x00" + bytes(20))
    assert "is no whole core file" in inspect(path).stderr


def enumerators(path, enum):
    body = re.search(rf"^cdef enum {enum}:.*\n((?:[ \t]+.*\n)+)", (ENGINE / path).read_text(), re.M)
    assert body is not None
    return set(re.findall(r"^\s+[A-Z]+_(\w+) = ", body[1], re.M))


@pytest.mark.parametrize(
    ("path", "enum"), [("http/structs.pxd", "ReqFlag"), ("io/structs.pxd", "ConnFlag"), ("io/structs.pxd", "Ready")]
)
def test_every_flag_has_its_name(path, enum):
    known = json.loads(_fast.layout())["flags"][enum]
    assert {name.upper() for name in known} == enumerators(path, enum)


def test_every_kind_and_state_has_its_name():
    names = json.loads(_fast.layout())["names"]
    assert len(names["Kind"]) == len(enumerators("io/structs.pxd", "Kind"))
    assert len(names["State"]) == len(enumerators("io/structs.pxd", "State")) - 1  # S_STATES is their number
    assert "?" not in [*names["Kind"].values(), *names["State"].values()]
