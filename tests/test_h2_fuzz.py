"""A client of HTTP/2 that makes any kind of mistake: nobody else notices, and nothing leaks (the harness looks)."""

from __future__ import annotations

import os
import random

import pytest

from tests.harness.backend import Reply
from tests.harness.h2_client import H2Client, frame, headers, settings

SITE = """
http {
    access_log off;
    upstream u { server @backend@; keepalive 4; }
    server {
        listen 127.0.0.1:@http@;
        http2 on;
        client_body_timeout 2s;
        client_max_body_size 100k;
        location / { proxy_pass http://u; }
        location /off {
            proxy_pass http://u; proxy_request_buffering off; proxy_buffering off; gzip on; gzip_proxied any;
        }
        location /ws {
            proxy_pass http://u; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
        }
        location /own { return 200 "own\\n"; }
        location /file { root @directory@; }
    }
}
"""
ROUNDS = int(os.environ.get("LB_FUZZ_ROUNDS", "60"))
FIELDS = [
    ("cookie", "a=1"),
    ("content-length", "5"),
    ("expect", "100-continue"),
    ("te", "trailers"),
    ("priority", "u=1, i"),
    ("accept-encoding", "gzip"),
    ("x-long", "y" * 3000),
    ("connection", "close"),
    (":protocol", "websocket"),
    ("host", "other"),
    ("X-Upper", "1"),
    ("range", "bytes=1-5"),
]


def part(dice, client):
    """One thing that a client might send, right or wrong."""
    stream = dice.choice([client.next, max(1, client.next - 2), max(1, client.next - 4), 0, 2, client.next + 10])
    kind = dice.randrange(12)
    if kind < 4:
        method = dice.choice(["GET", "GET", "HEAD", "POST", "CONNECT", "PUT"])
        path = dice.choice(["/", "/off", "/ws", "/own", "/file", "/none", "*", "x", "/%zz", "/../"])
        fields = [*client.head(path, method), *dice.sample(FIELDS, dice.randrange(4))]
        dice.random() < 0.1 and dice.shuffle(fields)
        new, client.next = client.next, client.next + 2
        return headers(new, client.block(fields), end=dice.random() < 0.6, size=dice.choice([16384, 16384, 20, 7]))
    if kind == 4:
        data = dice.randbytes(dice.choice([0, 1, 5, 1000, 16384]))
        flags = dice.choice([0, 0, 1, 8, 9])
        return frame(0, flags, stream, (bytes([dice.randrange(256)]) if flags & 8 else b"") + data[:16383])
    if kind == 5:
        return frame(3, 0, stream, dice.randbytes(4))
    if kind == 6:
        return frame(8, 0, stream, dice.choice([b"\0\0\0\0", b"\0\0\1\0", b"\x7f\xff\xff\xff", b"\0\1\0\0"]))
    if kind == 7:
        return settings(
            initial_window_size=dice.choice([0, 1, 100, 65535, 1 << 20]), header_table_size=dice.choice([0, 64, 4096])
        )
    if kind == 8:
        return frame(6, dice.randrange(2), 0, dice.randbytes(8))
    if kind == 9:
        return frame(
            dice.choice([2, 7, 16, 0x55]), 0, dice.choice([0, stream]), dice.randbytes(dice.choice([5, 8, 4, 9]))
        )
    if kind == 10:
        return frame(1, dice.choice([4, 5]), client.next, dice.randbytes(dice.randrange(60)))
    return frame(9, 4, stream, dice.randbytes(10))


@pytest.mark.parametrize("seed", range(3))
def test_mistakes(run_lb, http_backend, connect, tmp_path, seed):
    dice = random.Random(int(os.environ.get("LB_FUZZ_SEED", "0")) + seed)
    (tmp_path / "file").write_bytes(b"f" * 100_000)
    backend = http_backend(lambda _: Reply(body=b"x" * dice.choice([0, 10, 30000, 200000])))
    lb = run_lb(SITE, backend=backend.address, directory=tmp_path)
    lb.expect_log(".*")
    for _ in range(ROUNDS):
        client = H2Client(connect(lb.port("http")))
        client.window = dice.random() < 0.5
        client.client.sock.settimeout(0.05)
        try:
            for _ in range(dice.randrange(1, 25)):
                made = bytearray(part(dice, client))
                if dice.random() < 0.1:
                    made[dice.randrange(len(made))] = dice.randrange(256)
                client.send(bytes(made))
                if dice.random() < 0.3 and client.take() is None:
                    break
        except (OSError, TimeoutError, AttributeError):
            pass
        except Exception as error:  # what lb sends must be HTTP/2
            raise AssertionError(f"lb sent what hpack does not take: {error!r}") from error
        client.client.close()
    good = H2Client(connect(lb.port("http")))
    assert good.get("/own").body == b"own\n"
