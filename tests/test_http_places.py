"""Which of many locations a path belongs to: a few hundred at random, held against nginx's rule written down."""

from __future__ import annotations

import random
import re

import pytest

CONF = """
http {
    upstream none { server 127.0.0.1:1 down; }
    server { listen 127.0.0.1:@http@; keepalive_requests 100000; @locations@ }
}
"""


def some_paths(random_: random.Random, count: int) -> list[str]:
    """Short words of few letters, so that many begin with each other; `!` stands before the slash, `0` behind it."""
    words = ["a", "b", "ab", "!", "0", "a!", "a0", "b/"]
    texts = ("/" + "".join(random_.choices([*words, "/"], k=random_.randint(0, 6))) for _ in range(count))
    return [re.sub("/+", "/", text) for text in texts]


def expected(path: str, exact: set[str], prefixes: set[str], slashes: set[str]) -> str:
    if path in exact:
        return f"= {path}"
    if path not in prefixes and path + "/" in slashes:
        return "301"
    best = max((one for one in prefixes if path.startswith(one)), key=len, default=None)
    if best is None:
        return "404"
    return "502" if best in slashes else f"^ {best}"


@pytest.mark.parametrize("seed", range(3))
def test_the_longest_beginning(run_lb, connect, seed):
    random_ = random.Random(seed)
    paths = sorted(set(some_paths(random_, 500)) - {"/"})
    random_.shuffle(paths)
    third = len(paths) // 3
    exact, prefixes = set(paths[:third]), set(paths[third // 2 : 2 * third])
    slashes = {one for one in sorted(prefixes) if one.endswith("/") and one not in exact and random_.random() < 0.5}
    lines = [f'location = "{one}" {{ return 200 "= {one}"; }}' for one in exact]
    lines += [f'location "{one}" {{ proxy_pass http://none; }}' for one in slashes]
    lines += [f'location "{one}" {{ return 200 "^ {one}"; }}' for one in prefixes - slashes]
    random_.shuffle(lines)
    client = connect(run_lb(CONF, locations="\n".join(lines)).port("http"))
    asked = set(some_paths(random_, 700)) | {one.rstrip("/") or "/" for one in slashes}
    seen = set()
    for path in sorted(asked):
        answer = client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode()).response()
        got = answer.body.decode() if answer.status == 200 else str(answer.status)
        assert got == expected(path, exact, prefixes, slashes), path
        seen.add(got[0])
    assert seen == set("=^345"), "each way was taken"
