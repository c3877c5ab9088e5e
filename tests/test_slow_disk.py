"""A disk that makes writes wait: the worker is not taken for stuck, other clients are served, nothing is lost.

The disk is a library before the C library's pwrite: it sleeps as a throttled disk would, or, by vfork, in state D.
"""

from __future__ import annotations

import re
import subprocess
import threading

import pytest

from tests.harness.lb import build_mode

SLOW = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int once;

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    const char *nap = getenv("SLOW_NAP_MS"), *dead = getenv("SLOW_DEAD_S");
    if (!real) real = dlsym(RTLD_NEXT, "pwrite");
    if (nap) usleep(atoi(nap) * 1000);
    if (dead && !once) {
        once = 1;
        if (vfork() == 0) {   /* the parent waits in state D until the child ends */
            sleep(atoi(dead));
            _exit(0);
        }
    }
    return real(fd, p, n, at);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return pwrite(fd, p, n, at); }
"""

SITE = """
http { access_log off; client_max_body_size 0; client_body_buffer_size 8k;
    server { listen 127.0.0.1:@http@;
        location / { proxy_pass http://@backend@; }
        location = /small { return 200 "small"; } } }
"""


@pytest.fixture
def slow(tmp_path, world, http_backend):
    """slow(**environment) -> (Lb, its backend) whose disk is slow."""
    if build_mode() in ("asan", "coverage"):
        pytest.skip("another library stands before the C library's")
    (tmp_path / "slow.c").write_text(SLOW)
    library = tmp_path / "slow.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "slow.c", "-ldl"], check=True)
    library.chmod(0o755)

    def start(**environment):
        lb, backend = world.new_lb(), http_backend()
        lb.env = {"LD_PRELOAD": str(library), **environment}
        return lb.start(SITE, backend=backend.address), backend

    return start


BODY = bytes(range(256)) * 2048  # 512 KiB: eight writes and more


def upload(connect, lb, answers):
    answers.append(connect(lb.port("http")).request("POST", "/upload", body=BODY).status)


def test_a_throttled_disk_holds_up_nobody_else(slow, connect):
    """700 ms a write: one turn's reads would take longer than the master waits for a heartbeat."""
    lb, backend = slow(SLOW_NAP_MS="700")
    (worker,) = lb.workers
    answers = []
    thread = threading.Thread(target=upload, args=(connect, lb, answers))
    thread.start()
    other = connect(lb.port("http"))
    served = 0
    while thread.is_alive():
        assert other.request(target="/small").body == b"small"
        served += 1
    thread.join()
    assert answers == [200] and backend.requests[0].body == BODY
    assert served >= 3  # between writes: all of them in one turn would leave one
    assert lb.workers == [worker]


def test_a_worker_that_waits_for_a_disk_is_not_killed(slow, connect):
    """Six seconds in state D, with no heartbeat: said, and waited for."""
    lb, backend = slow(SLOW_DEAD_S="6")
    (worker,) = lb.workers
    answers = []
    upload(connect, lb, answers)
    assert answers == [200] and backend.requests[0].body == BODY
    assert lb.workers == [worker]
    assert re.search(rf"\[warn\] .* worker process {worker.pid} waits for a disk: no heartbeat for 4 s", lb.log)
