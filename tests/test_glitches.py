"""COUNT_IF: what should not happen but may is counted at its place, told once, and shown by the status port.

A library before the C library's makes epoll_ctl and close fail while a file is there.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.harness.lb import build_mode
from tests.harness.wait import wait_for
from tests.test_metrics import value

FAILING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

static int asked(const char *variable) {
    struct stat st;
    const char *path = getenv(variable);
    return path && stat(path, &st) == 0;
}
int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev) {
    static int (*real)(int, int, int, struct epoll_event *);
    if (!real) real = dlsym(RTLD_NEXT, "epoll_ctl");
    if (op == EPOLL_CTL_ADD && ev->events & EPOLLET && asked("FAIL_EPOLL")) {
        errno = ENOSPC;
        return -1;
    }
    return real(ep, op, fd, ev);
}
int close(int fd) {
    static int (*real)(int);
    struct stat st;
    int is_socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode), e;
    if (!real) real = dlsym(RTLD_NEXT, "close");
    e = real(fd);
    if (e == 0 && is_socket && asked("FAIL_CLOSE")) {
        errno = EIO;
        return -1;
    }
    return e;
}
"""

SITE = """
worker_processes 1;
status_listen 127.0.0.1:@status@;
http { access_log off; server { listen 127.0.0.1:@http@; location / { return 200 "hello"; } } }
"""


def start_failing(tmp_path, world):
    """An Lb whose epoll_ctl fails while tmp_path/epoll is there, and close while tmp_path/close is."""
    if build_mode() in ("asan", "coverage"):
        pytest.skip("another library stands before the C library's")
    (tmp_path / "failing.c").write_text(FAILING)
    library = tmp_path / "failing.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "failing.c", "-ldl"], check=True)
    library.chmod(0o755)
    tmp_path.chmod(0o755)
    lb = world.new_lb()
    paths = {"FAIL_EPOLL": str(tmp_path / "epoll"), "FAIL_CLOSE": str(tmp_path / "close")}
    lb.env = {"LD_PRELOAD": str(library), **paths}
    return lb.start(SITE)


@pytest.fixture
def failing(tmp_path, world):
    return start_failing(tmp_path, world)


def status(lb):
    with lb.client("status") as client:
        return json.loads(client.request(target="/status.json").body)


def glitches(lb):
    return {one["place"]: one["count"] for one in status(lb)["glitches"]}


def test_a_lb_that_is_well_has_none(run_lb):
    lb = run_lb(SITE)
    with lb.client() as client:
        assert client.request().body == b"hello"
    assert status(lb)["glitches"] == []
    assert value(lb, "lb_glitches_total") == 0


def test_a_socket_that_epoll_does_not_take(failing, tmp_path, connect):
    lb = failing
    lb.expect_log(r"\[alert\] .*glitch: The kernel did not take a socket into epoll")
    (tmp_path / "epoll").touch()
    for _ in range(3):
        connect(lb.port("http")).recv_to_end()
    wait_for(lambda: glitches(lb) == {"epoll_add": 3})
    (tmp_path / "epoll").unlink()
    with lb.client() as client:
        assert client.request().body == b"hello"
    assert value(lb, "lb_glitches_total", place="epoll_add") == 3
    assert value(lb, "lb_glitches_total") == 3
    (one,) = status(lb)["glitches"]
    assert one["text"].startswith("The kernel did not take a socket")
    assert lb.log.count("glitch:") == 1


def test_places_are_counted_apart_and_outlive_the_worker(failing, tmp_path, connect):
    lb = failing
    lb.expect_log(r"\[alert\] .*glitch: close\(\)", r"\[alert\] .*glitch: The kernel", "exited on signal 9")
    (tmp_path / "close").touch()
    connect(lb.port("http")).request(headers="Connection: close\r\n")
    wait_for(lambda: glitches(lb) == {"close": 1})
    (tmp_path / "close").unlink()
    (tmp_path / "epoll").touch()
    connect(lb.port("http")).recv_to_end()
    (tmp_path / "epoll").unlink()
    wait_for(lambda: glitches(lb) == {"close": 1, "epoll_add": 1})
    lb.workers[0].kill()
    wait_for(lambda: status(lb)["restarts"] == 1)
    assert glitches(lb) == {"close": 1, "epoll_add": 1}
