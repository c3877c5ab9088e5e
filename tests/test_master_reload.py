"""SIGHUP: good files, bad files, taken ports, sockets that stay and go, and reloads that meet each other."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading

import pytest

from tests.harness.backend import Reply
from tests.harness.client import Client
from tests.harness.lb import Lb
from tests.harness.wait import free_port, is_listening, wait_for
from tests.harness.world import World
from tests.master_tools import listening_inodes, messages, pids, wait_replaced, workers

ONE = "http { access_log off; server { listen 127.0.0.1:@http@; return 200 one; } }"
TWO = ONE.replace("one", "two")


def reload_and_see(lb: Lb, text: str, count: int = 1) -> None:
    """Write the file, HUP, wait until only new workers are left."""
    old = pids(lb)
    lb.write(text)
    lb.signal(signal.SIGHUP)
    wait_replaced(lb, old, count)
    lb.wait_ready()
    wait_for(lambda: all(f"worker process {pid} exited with code 0" in lb.log for pid in old))


def refuse(lb: Lb, text: str, *said: str) -> None:
    """Write the file, HUP, wait until lb has said no; the old workers must go on."""
    old, good = pids(lb), lb.file.read_text()
    lb.write(text)
    lb.expect_log(*said)
    lb.signal(signal.SIGHUP)
    lb.wait_log("the configuration stays as it was: ")
    assert pids(lb) == old
    assert lb.client().request().body == b"one"
    lb.file.write_text(good)
    assert lb.command("-s", "reload").returncode == 0  # and the next good file is taken
    wait_replaced(lb, old, 1)


def test_new_file_is_served_and_old_workers_end(run_lb) -> None:
    lb = run_lb(ONE)
    (old,) = pids(lb)
    inodes = listening_inodes(lb.port("http"))
    reload_and_see(lb, TWO)
    assert lb.client().request().body == b"two"
    assert listening_inodes(lb.port("http")) == inodes  # kept: no connection in its backlog is lost
    said = messages(lb)
    start = said.index(f"[notice] signal 1 (SIGHUP) received from {os.getpid()}, reconfiguring")
    assert said[start + 1] == "[notice] reconfiguring"
    assert "[notice] start worker processes" in said[start:]
    assert f"[notice] worker process {old} exited with code 0" in said[start:]


def test_number_of_workers_changes(run_lb) -> None:
    lb = run_lb(f"worker_processes 2;\n{ONE}")
    reload_and_see(lb, f"worker_processes 3;\n{TWO}", 3)
    reload_and_see(lb, f"worker_processes 1;\n{ONE}", 1)
    assert lb.client().request().body == b"one"


def test_listeners_come_and_go(run_lb, tmp_path) -> None:
    path = tmp_path / "s"
    other = ONE.replace("@http@", "@other@")
    lb = run_lb(ONE.replace("return", f"listen unix:{path}; return"))
    reload_and_see(lb, other)
    wait_for(lambda: not is_listening(lb.port("http")) and not path.exists())
    assert lb.client("other").request().body == b"one"
    reload_and_see(lb, ONE)
    wait_for(lambda: not is_listening(lb.port("other")))
    assert lb.client().request().body == b"one"


def test_status_port_moves(run_lb) -> None:
    lb = run_lb(f"status_listen 127.0.0.1:@a@;\n{ONE}")
    with lb.client("a") as kept:
        assert kept.request(target="/healthz").status == 200
        reload_and_see(lb, f"status_listen 127.0.0.1:@b@;\n{ONE}")
        wait_for(lambda: not is_listening(lb.port("a")))
        assert kept.request(target="/healthz").status == 200
    with lb.client("b") as client:
        assert client.request(target="/healthz").status == 200


def test_reuseport_comes_and_goes(run_lb) -> None:
    spread = ONE.replace("@http@", "@http@ reuseport")
    lb = run_lb(ONE)
    (kept,) = listening_inodes(lb.port("http"))
    reload_and_see(lb, f"worker_processes 3;\n{spread}", 3)
    inodes = listening_inodes(lb.port("http"))
    assert len(inodes) == 3 and kept in inodes
    reload_and_see(lb, f"worker_processes 2;\n{spread}", 2)
    wait_for(lambda: len(listening_inodes(lb.port("http"))) == 2)
    reload_and_see(lb, ONE, 1)
    wait_for(lambda: listening_inodes(lb.port("http")) == [kept])
    assert lb.client().request().body == b"one"


def test_pid_file_moves(run_lb) -> None:
    lb = run_lb(ONE)
    reload_and_see(lb, f"pid other.pid;\n{ONE}")
    assert (lb.directory / "other.pid").read_text() == f"{lb.master.pid}\n"
    assert not (lb.directory / "lb.pid").exists()
    lb.stop()
    assert not (lb.directory / "other.pid").exists()


def test_error_log_moves(run_lb) -> None:
    lb = run_lb(ONE)
    second = lb.directory / "second.log"
    lb.write(f"error_log second.log notice;\n{ONE}")
    lb.signal(signal.SIGHUP)
    wait_for(lambda: second.exists() and re.search(r"worker process \d+ exited with code 0", second.read_text()))
    assert re.search(r"start worker process \d+", second.read_text())
    master = lb.master.pid
    assert os.readlink(f"/proc/{master}/fd/2") == str(second)
    wait_for(lambda: f"{lb.directory}/error.log" not in links(master))
    assert lb.stop() == 0
    assert second.read_text().rstrip().endswith("exit")


def links(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]


def test_master_keeps_no_descriptors(run_lb) -> None:
    lb = run_lb(f"worker_processes 2;\nstatus_listen 127.0.0.1:@status@;\n{ONE}")
    reload_and_see(lb, lb.file.read_text(), 2)
    before = lb.master.num_fds()
    for _ in range(3):
        reload_and_see(lb, lb.file.read_text(), 2)
    wait_for(lambda: lb.master.num_fds() == before, lambda: f"{before} descriptors: {links(lb.master.pid)}")


# Files that are refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"lissten 1;\n{TWO}", r'\[emerg\] .* (unknown directive "lissten" in .*lb.conf:\d+|did you mean "listen"\?)'),
        ("http {", r'\[emerg\] .* unexpected end of file, expecting "}" in .*lb.conf:\d+'),
        (f"error_log /nonexistent/x.log;\n{TWO}", r'\[emerg\] .* open\(\) "/nonexistent/x.log" failed \(2: No such'),
        (f"pid /nonexistent/x.pid;\n{TWO}", r'\[emerg\] .* open\(\) "/nonexistent/x.pid" failed \(2: No such'),
        (
            TWO.replace("127.0.0.1:@http@", "192.0.2.77:80"),
            r"\[emerg\] .* bind\(\) to 192.0.2.77:80 failed \(99: Cannot",
        ),
    ],
)
def test_refused(run_lb, text: str, said: str) -> None:
    refuse(run_lb(ONE), text, said)


def test_taken_port(run_lb) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        lb = run_lb(ONE)
        refuse(
            lb,
            TWO.replace("return", f"listen 127.0.0.1:{port}; return"),
            r"\[emerg\] .* bind\(\) to .* failed \(98: ",
            "still",
        )
    assert messages(lb).count(f"[emerg] bind() to 127.0.0.1:{port} failed (98: Address already in use)") == 5


def test_master_works_while_it_waits_for_a_port(run_lb) -> None:
    """The half seconds between tries are deadlines: a dead worker is replaced meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        lb = run_lb(f"status_listen 127.0.0.1:@status@;\n{ONE}")
        good = lb.file.read_text()
        (old,) = pids(lb)
        lb.write(good.replace("return", f"listen 127.0.0.1:{port}; return"))
        lb.expect_log(r"\[emerg\] .* bind\(\) to .* failed \(98: ", "exited on signal 9")
        lb.signal(signal.SIGHUP)
        lb.wait_log("failed \\(98: ")
        os.kill(old, signal.SIGKILL)
        wait_replaced(lb, {old}, 1)
        with lb.client("status") as client:
            assert client.request(target="/stub_status").status == 200
        assert "still could not bind" not in lb.log
    lb.wait_log("start worker processes(?s:.*)start worker processes")  # the port was free in time


def test_stop_while_it_waits_for_a_port(run_lb) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        lb = run_lb(ONE)
        lb.write(lb.file.read_text().replace("return", f"listen 127.0.0.1:{other.getsockname()[1]}; return"))
        lb.expect_log(r"\[emerg\] .* bind\(\) to .* failed \(98: ")
        lb.signal(signal.SIGHUP)
        lb.wait_log("failed \\(98: ")
        assert lb.stop() == 0
    assert "still could not bind" not in lb.log


# Generations that meet


def test_old_workers_serve_until_the_new_ones_are_ready(run_lb) -> None:
    """A generation that cannot start never takes over; a later good file does."""
    lb = run_lb(ONE)
    (old,) = pids(lb)
    good = lb.file.read_text()
    lb.write(f"worker_rlimit_nofile 8;\n{TWO}")
    lb.expect_log(r"\[emerg\] .*the worker cannot go on", "Traceback", r"\[emerg\] ", "exited with code 1")
    lb.signal(signal.SIGHUP)
    lb.wait_log("died 2 times in a row")
    assert lb.client().request().body == b"one"
    assert old in pids(lb)
    os.kill(old, signal.SIGKILL)  # even the old generation is kept at strength
    lb.expect_log("exited on signal 9")
    with lb.client() as client:
        assert client.request().body == b"one"
    lb.file.write_text(good.replace("one", "two"))
    lb.signal(signal.SIGHUP)
    wait_for(lambda: _body(lb) == b"two")
    wait_for(lambda: len(pids(lb)) == 1)


def _body(lb: Lb) -> bytes:
    with lb.client() as client:
        return client.request().body


def test_many_hups_at_once(run_lb) -> None:
    """They may merge; the last file wins, and every generation but the last one ends."""
    lb = run_lb(ONE)
    text = lb.file.read_text()
    for number in range(8):
        whole = lb.directory / "next.conf"
        whole.write_text(text.replace("one", f"n{number}"))
        whole.rename(lb.file)  # lb may be reading it
        lb.signal(signal.SIGHUP)
    wait_for(lambda: _body(lb) == b"n7")
    wait_for(lambda: len(pids(lb)) == 1)
    started = lb.log.count("start worker process ")
    wait_for(lambda: lb.log.count("exited with code 0") == started - 1)


def test_request_in_flight_survives(run_lb, http_backend, connect) -> None:
    release = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"late", wait=release))
    lb = run_lb(ONE.replace("return 200 one;", "location / { proxy_pass http://127.0.0.1:@back@; }"), back=backend.port)
    old = pids(lb)
    client = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    lb.signal(signal.SIGHUP)
    wait_for(lambda: len(pids(lb)) == 1 and not pids(lb) & old)
    lb.wait_log("gracefully shutting down")
    release.set()
    assert client.response().body == b"late"
    (pid,) = old
    lb.wait_log(f"worker process {pid} exited with code 0")


def test_reload_under_load(run_lb) -> None:
    """New connections never fail while generations change."""
    lb = run_lb(f"worker_processes 2;\n{ONE}")
    stop, failures, count = threading.Event(), [], [0]

    def ask() -> None:
        while not stop.is_set():
            try:
                with Client(lb.port("http")) as client:
                    assert client.request(headers="Connection: close\r\n").body == b"one"
                    count[0] += 1
            except (AssertionError, OSError) as error:
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(5):
        before, old = count[0], pids(lb)
        lb.signal(signal.SIGHUP)
        wait_replaced(lb, old, 2)
        wait_for(lambda before=before: count[0] > before)
    stop.set()
    thread.join()
    assert not failures


def test_s_reload_and_quit(world: World) -> None:
    lb = world.run_lb(ONE)
    old = pids(lb)
    assert lb.command("-s", "reload").returncode == 0
    wait_replaced(lb, old, 1)
    lb.wait_ready()
    assert lb.command("-s", "quit").returncode == 0
    assert lb.process is not None and lb.process.wait(60) == 0


def test_hup_after_free_port_is_used_by_nobody(run_lb) -> None:
    """A reload that failed leaves nothing behind: the sockets it had opened are closed."""
    spare = free_port()
    lb = run_lb(ONE)
    text = TWO.replace("return", f"listen 127.0.0.1:{spare}; listen 192.0.2.77:80; return")
    refuse(lb, text, r"\[emerg\] .* bind\(\) to 192.0.2.77:80 failed")
    assert not is_listening(spare)


def test_worker_forked_during_a_reload_does_not_keep_its_sockets(run_lb) -> None:
    """Else a port that was given up would take connections that nobody accepts."""
    spare = free_port()
    with socket.create_server(("127.0.0.1", 0)) as other:
        lb = run_lb(ONE)
        (old,) = pids(lb)
        taken = other.getsockname()[1]
        lb.write(ONE.replace("return", f"listen 127.0.0.1:{spare}; listen 127.0.0.1:{taken}; return"))
        lb.expect_log(r"\[emerg\] .* bind\(\) to .* failed \(98: ", "exited on signal 9", "still could not bind")
        lb.signal(signal.SIGHUP)
        lb.wait_log("failed \\(98: ")
        assert is_listening(spare)
        os.kill(old, signal.SIGKILL)
        wait_replaced(lb, {old}, 1)
        lb.wait_log("the configuration stays as it was")
    assert not is_listening(spare)


# What workers have learned


def test_failures_survive(run_lb, http_backend, world: World) -> None:
    """A server that is out for its fail_timeout stays out: the new workers do not try it."""
    good = http_backend(lambda _: Reply(body=b"good"))
    bad = world.closed_port()
    text = """worker_processes 2;
        http { access_log off;
            upstream u { server 127.0.0.1:@bad@ fail_timeout=1h; server 127.0.0.1:@good@; }
            server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }"""
    lb = run_lb(text, bad=bad, good=good.port)

    def refused() -> int:
        return lb.log.count("connect() failed (111: Connection refused)")

    def ask_everybody() -> None:
        for _ in range(40):
            with lb.client() as client:
                assert client.request().body == b"good"

    wait_for(lambda: ask_everybody() or refused() == 2)  # each worker has tried it once
    for _ in range(3):
        reload_and_see(lb, text, 2)
        ask_everybody()
    assert refused() == 2


@pytest.mark.parametrize("method", ["", "least_conn;"])
def test_positions_survive(run_lb, http_backend, method: str) -> None:
    """A reload between two requests does not send both to the first server."""
    backends = [http_backend(lambda _, n=n: Reply(body=b"%d" % n)) for n in range(3)]
    servers = " ".join(f"server {backend.address};" for backend in backends)
    text = """http { access_log off; upstream u { METHOD SERVERS }
        server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } } }"""
    lb = run_lb(text.replace("METHOD", method).replace("SERVERS", servers))
    found = []
    for _ in range(6):
        with lb.client() as client:
            found.append(client.request().body)
        reload_and_see(lb, lb.file.read_text())
    assert sorted(found) == [b"0", b"0", b"1", b"1", b"2", b"2"]
    assert found[:3] == found[3:]


def test_reload_does_not_wait_for_a_stuck_worker(run_lb) -> None:
    lb = run_lb(ONE)
    (stuck,) = workers(lb)
    stuck.suspend()
    lb.write(TWO)
    lb.signal(signal.SIGHUP)
    wait_for(lambda: pids(lb) - {stuck.pid})
    stuck.resume()
    wait_replaced(lb, {stuck.pid}, 1)
    lb.wait_ready()
    assert lb.client().request().body == b"two"


def test_status_port_shows_a_failed_reload(run_lb) -> None:
    lb = run_lb(f"status_listen 127.0.0.1:@status@;\n{ONE}")

    def health() -> tuple[int, str]:
        with lb.client("status") as client:
            answer = client.request(target="/healthz")
            return answer.status, answer.body.decode()

    good = lb.file.read_text()
    lb.file.write_text(good.replace("return", "retrun"))
    lb.expect_log(r"\[emerg\] .*(unknown directive|did you mean)", "stays as it was")
    lb.signal(signal.SIGHUP)
    lb.wait_log("stays as it was")
    told = f'last reload failed: unknown directive "retrun" in {lb.file}:{lb.file.read_text().count(chr(10))}'
    assert health() == (200, f"ok, 1 of 1 workers ready, {told}\n")
    reload_and_see(lb, good)
    wait_for(lambda: health() == (200, "ok, 1 of 1 workers ready\n"), lambda: str(health()))
