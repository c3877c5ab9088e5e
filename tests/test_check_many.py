"""Active checks of many servers: more than there is room for, all failing at once."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque

import pytest

from tests.harness.backend import Reply
from tests.harness.wait import free_port, wait_for

MANY = 2000
ROOM = 2730  # servers in 1 MiB: the least that check_shm_size may be


def addresses(count: int, port: int) -> list[str]:
    return [f"127.20.{n // 250}.{1 + n % 250}:{port}" for n in range(count)]


class Doorman:
    """Accepts on a port of every loopback address, as fast as it can, and closes some time later."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_server(("0.0.0.0", port), backlog=4096)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        held: deque[socket.socket] = deque()
        with contextlib.suppress(OSError):
            while True:
                held.append(self.socket.accept()[0])
                if len(held) > MANY:
                    held.popleft().close()
        for one in held:
            one.close()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def door(world):
    port = free_port()
    doors = [Doorman(port)]
    world.own_remotes.add(port)
    yield doors
    doors[-1].stop()


def test_all_that_fail_at_once(run_lb, http_backend, connect, door):
    """Far more changes than a worker remembers: every worker knows them all, and others are served meanwhile."""
    port = door[0].socket.getsockname()[1]
    other = http_backend(lambda _: Reply(body=b"other"))
    lb = run_lb(
        """worker_processes 2;
        http { access_log off;
            upstream u { least_conn; @servers@ check interval=500 rise=1 fall=1 timeout=5s type=tcp port=@door@; }
            upstream v { server @other@; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; }
                location /v { proxy_pass http://v/; } } }""",
        servers=" ".join(f"server {one};" for one in addresses(MANY, http_backend(lambda _: Reply(body=b"one")).port)),
        door=port,
        other=other.address,
    )
    wait_for(lambda: lb.log.count("enable check peer") == MANY)
    door[0].stop()
    while lb.log.count("disable check peer") < MANY:
        assert connect(lb.port("http")).request(target="/v").body == b"other"
    assert lb.log.count("disable check peer") == MANY
    assert {connect(lb.port("http")).request().status for _ in range(8)} == {502}
    door.append(Doorman(port))
    wait_for(lambda: lb.log.count("enable check peer") == 2 * MANY)


def test_more_servers_than_there_is_room_for(run_lb, http_backend, connect, tmp_path):
    """Those of Consul may be: the log says how many are not checked, and they are used."""
    dump = tmp_path / "dump"
    lines = (f"server {one} weight=1 max_fails=2 fail_timeout=10s;\n" for one in addresses(ROOM + 6, 9))
    dump.write_text("".join(lines))
    lb = run_lb(
        """http { check_shm_size 1m;
            upstream u { server 127.0.0.1:1 down; check interval=60000 rise=1 fall=1 timeout=1000 type=tcp;
                upsync 127.0.0.1:@nobody@/v1/kv/upstreams/u upsync_timeout=1s upsync_interval=60s upsync_type=consul
                    strong_dependency=off;
                upsync_dump_path @dump@; }
            server { listen 127.0.0.1:@http@; location /s { check_status csv; } } }""",
        dump=dump,
    )
    lb.wait_log(r'check_shm_size is too small: [67] servers are not checked, and taken for up, upstream: "u"')
    wait_for(lambda: lb.log.count("disable check peer") in (ROOM, ROOM - 1))
    rows = connect(lb.port("http")).request(target="/s?status=up").body.decode().splitlines()
    assert len(rows) in (6, 7)
    assert lb.log.count("too small") == 1
