"""check_agent: what an agent says, in HAProxy's words, and what becomes of its server."""

from __future__ import annotations

import contextlib
import random
from collections import Counter

import pytest

from tests import _probe
from tests.harness.backend import HttpBackend, RawBackend, RawConnection
from tests.harness.wait import free_port, wait_for

CONF = """
worker_processes 2;
http {
    access_log off;
    upstream u { server @a@; server @b@; check interval=50 rise=1 fall=1 timeout=400 type=tcp; check_agent @agent@; }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
}
"""
ALONE = """http { upstream u { server @a@; check interval=50 rise=1 fall=1 type=tcp; @agents@ }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }"""


class Agent:
    """Says its line to whoever connects; None: nothing, and the connection stays open."""

    def __init__(self, raw_backend) -> None:
        self.line: bytes | None = b"up ready 100%\n"
        self.backend: RawBackend = raw_backend(self.serve)
        self.port = self.backend.port

    def serve(self, connection: RawConnection) -> None:
        with contextlib.suppress(OSError):
            line = self.line
            if line is None:
                connection.recv_to_end()
                return
            for i in range(len(line)):
                connection.send(line[i : i + 1])

    @property
    def asked(self) -> int:
        return self.backend.accepted


@pytest.fixture
def agent(raw_backend):
    return Agent(raw_backend)


@pytest.fixture
def pool(run_lb, http_backend, agent):
    """lb with two servers of one address, and so with one agent."""
    a, b = http_backend(), http_backend()
    lb = run_lb(CONF, a=a.address, b=b.address, agent=agent.port)
    for one in (a, b):
        lb.wait_log(f"enable check peer: {one.address} ")
    return lb, a, b


def answers(lb, connect, count=8) -> Counter[object]:
    found: Counter[object] = Counter()
    for _ in range(count):
        reply = connect(lb.port("http")).request()
        found[reply.body.decode() if reply.status == 200 else reply.status] += 1
    return found


def says(lb, agent, line: bytes) -> None:
    """Both servers have taken it."""
    text = line.decode().split("\n")[0].rstrip("\r").replace("\t", ".")[:36]
    before = lb.log.count(f' says "{text}"')
    agent.line = line
    wait_for(lambda: lb.log.count(f' says "{text}"') >= before + 2)


def test_what_it_says_takes_servers_out_and_back(pool, agent, connect):
    lb, a, b = pool
    both = {a.address, b.address}
    for out, back in [
        (b"drain\n", b"ready\n"),
        (b"MAINT\r\n", b"Ready\r\n"),
        (b"down#on fire\n", b"up\n"),
        (b"stopped\n", b"up\n"),
        (b"fail #x\n", b"up\n"),
        (b"0%\n", b"50%\n"),
        (b"75%, drain,up\n", b"ready up\t100%\n"),
    ]:
        says(lb, agent, out)
        assert answers(lb, connect, 2) == {502: 2}, out
        says(lb, agent, back)
        assert answers(lb, connect).keys() == both, back


def test_what_is_not_said_does_not_change(pool, agent, connect):
    lb, a, _ = pool
    says(lb, agent, b"drain\n")
    says(lb, agent, b"down\n")
    asked = agent.asked
    agent.line = b"up\n"  # and still drained
    wait_for(lambda: lb.log.count('says "up"') >= 2)
    assert answers(lb, connect, 2) == {502: 2}
    for line in (b"", b"\n", b"what?\n", b"101x%\n", b"x" * 3000, None):
        agent.line = line
        asked = agent.asked
        wait_for(lambda asked=asked: agent.asked >= asked + 6)
        assert answers(lb, connect, 2) == {502: 2}, line
    says(lb, agent, b"ready\n")
    assert answers(lb, connect, 2)[a.address] == 1
    agent.line = None
    asked = agent.asked
    wait_for(lambda: agent.asked >= asked + 6)
    agent.backend.stop()  # refused: nothing changes either
    assert answers(lb, connect, 2)[a.address] == 1
    assert "disable" not in lb.log


def test_one_that_drains_has_what_sticky_binds_to_it(run_lb, http_backend, agent, connect):
    """As in HAProxy: drain and a weight of 0 are for who is new; maint and down are for all."""
    a, b = http_backend(), http_backend()
    lb = run_lb(
        CONF.replace("server @a@;", "sticky cookie srv; server @a@ route=a;"),
        a=a.address,
        b=b.address,
        agent=agent.port,
    )
    for line, status in [
        (b"drain\n", 200),
        (b"ready 0%\n", 200),
        (b"maint 100%\n", 502),
        (b"ready\n", 200),
        (b"down\n", 502),
    ]:
        says(lb, agent, line)
        assert {connect(lb.port("http")).request(headers="Cookie: srv=a\r\n").status for _ in range(4)} == {status}, (
            line
        )
        fresh = {connect(lb.port("http")).request().status for _ in range(4)}
        assert fresh == ({200} if line == b"ready\n" else {502}), line


def test_checks_and_agent_have_their_own_say(run_lb, raw_backend, http_backend, agent, connect):
    """A server is used when neither takes it out."""
    a = http_backend()
    port = free_port()
    agent.line = b"down\n"
    lb = run_lb(
        """http { upstream u { server @a@; check interval=50 rise=1 fall=1 type=tcp port=@port@; check_agent @agent@; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }""",
        a=a.address,
        port=port,
        agent=agent.port,
    )
    lb.wait_log('says "down"')
    lb.wait_log("disable check peer")
    agent.line = b"up\n"
    lb.wait_log('says "up"')
    assert answers(lb, connect, 1) == {502: 1}
    RawBackend(lambda connection: connection.recv_to_end(), port=port)
    lb.wait_log("enable check peer")
    assert answers(lb, connect, 1) == {a.address: 1}


class Beside(HttpBackend):
    """A server at another address, where no agent answers."""

    host = "127.0.0.2"


@pytest.mark.parametrize("method", ["", "least_conn;", "random;"])
def test_its_share_is_one_of_the_weight(run_lb, http_backend, world, agent, connect, method):
    a, b = http_backend(), world._keep(Beside())
    text = CONF.replace("worker_processes 2;", "").replace("upstream u {", f"upstream u {{ {method}")
    lb = run_lb(text, a=a.address, b=b.address, agent=agent.port)
    for one in (a, b):
        lb.wait_log(f"enable check peer: {one.address} ")
    agent.line = b"10%\n"
    lb.wait_log(f'agent of peer: {a.address} says "10%"')
    got = answers(lb, connect, 60)
    assert 1 <= got[a.address] <= 20 and got[b.address] >= 40
    agent.line = b"100%\n"
    lb.wait_log(f'agent of peer: {a.address} says "100%"')
    assert answers(lb, connect, 60)[a.address] >= 20


def test_it_is_sent_a_text_and_asked_at_its_own_interval(run_lb, raw_backend, http_backend, connect):
    heard: list[bytes] = []

    def serve(connection: RawConnection) -> None:
        heard.append(connection.recv_until(b"\n"))
        connection.send(b"drain\n")

    a, agent = http_backend(), raw_backend(serve)
    lb = run_lb(
        r"""http { upstream pool { server @a@; check interval=1h rise=1 fall=1 type=tcp;
                check_agent @agent@ interval=50 "send=$check_upstream/$check_addr\n"; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://pool; } } }""",
        a=a.address,
        agent=agent.port,
    )
    lb.wait_log('says "drain"')
    wait_for(lambda: len(heard) >= 3)
    assert set(heard) == {b"pool/%s\n" % a.address.encode()}


def test_without_an_agent_after_a_reload_nothing_of_it_holds(run_lb, http_backend, agent, connect):
    a = http_backend()
    agent.line = b"maint\n"
    lb = run_lb(ALONE.replace("@agents@", "check_agent @agent@;"), a=a.address, agent=agent.port)
    lb.wait_log('says "maint"')
    assert answers(lb, connect, 1) == {502: 1}
    lb.reload()
    assert answers(lb, connect, 1) == {502: 1}  # what was known holds
    lb.reload(ALONE.replace("@agents@", ""), a=a.address)
    wait_for(lambda: answers(lb, connect, 1) == {a.address: 1})


LINES: dict[bytes, tuple] = {
    b"up": (set(), {"down"}, -1, 1),
    b"Down#why": ({"down"}, set(), -1, 1),
    b"failed": ({"down"}, set(), -1, 1),
    b"ready,75%\tup": (set(), {"down", "drain", "maint"}, 75, 3),
    b"drain": ({"drain"}, {"maint"}, -1, 1),
    b"maint drain": ({"drain"}, {"maint"}, -1, 2),
    b"ready maint": ({"maint"}, {"drain"}, -1, 2),
    b"250%": (set(), set(), 100, 1),
    b"0%": (set(), set(), 0, 1),
    b"%": (set(), set(), -1, 0),
    b"-1%": (set(), set(), -1, 0),
    b"123456%": (set(), set(), -1, 0),
    b"maxconn:30 up": (set(), {"down"}, -1, 1),
    b"# down": (set(), set(), -1, 0),
    b"upp dow": (set(), set(), -1, 0),
    b"": (set(), set(), -1, 0),
}


@pytest.mark.parametrize("line", LINES)
def test_its_words(line):
    for end in (b"\n", b"\r\n", b"\r", b"\nmaint\n"):
        assert _probe.agent(line + end) == LINES[line]
    assert _probe.agent(line, True) == LINES[line]
    for i in range(len(line) + 1):
        assert _probe.agent(line[:i]) is None


def test_it_does_not_fall_over_anything():
    dice = random.Random(14)
    for _ in range(4000):
        _probe.agent(bytes(dice.choice(b"up down%#,\t 0179\n\x00\xff") for _ in range(dice.randrange(40))), True)
