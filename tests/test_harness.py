"""The harness itself: that its backends, its Consul and its broken proxy do what tests believe they do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

import psutil
import pytest

from tests.harness import backend as raw
from tests.harness.backend import Reply
from tests.harness.lb import Lb, complete, cpu_seconds
from tests.harness.wait import free_port, is_listening, wait_for


def test_http_backend_records_and_keeps_alive(http_backend, connect):
    backend = http_backend()
    client = connect(backend.port)
    assert client.request(target="/a").body == backend.address.encode()
    assert client.request("POST", "/b", body=b"xyz").status == 200
    assert [(r.method, r.target, r.body, r.connection) for r in backend.requests] == [
        ("GET", "/a", b"", 0),
        ("POST", "/b", b"xyz", 0),
    ]


def test_http_backend_chunks_head_and_informational(http_backend, connect):
    replies = {
        "/chunks": Reply(chunks=[b"a", b"bc"]),
        "/early": Reply(informational=[103], body=b"late"),
        "/none": Reply(status=304, headers=[("ETag", '"x"')]),
        "/close": Reply(body=b"bye", close=True),
    }
    backend = http_backend(lambda request: replies[request.target])
    client = connect(backend.port)
    response = client.request(target="/chunks")
    assert (response.body, response.header("transfer-encoding")) == (b"abc", "chunked")
    assert client.request("HEAD", "/chunks").body == b""
    response = client.request(target="/early")
    assert (response.informational, response.body) == ([103], b"late")
    assert client.request(target="/none").status == 304
    assert client.request(target="/close").body == b"bye"
    client.expect_closed()


def test_http_backend_waits_for_release(http_backend, connect):
    release = threading.Event()
    backend = http_backend(lambda _: Reply(body=b"ok", wait=release))
    client = connect(backend.port).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: backend.requests)
    client.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.response()
    release.set()
    client.sock.settimeout(60)
    assert client.response().body == b"ok"


def test_raw_backend_scripts_in_order(raw_backend, connect):
    backend = raw_backend(raw.reset_after_head, raw.answer(b"HTTP/1.0 200 OK\r\n\r\nhello"))
    first = connect(backend.port).send(b"GET /1 HTTP/1.1\r\n\r\n")
    first.expect_reset()
    second = connect(backend.port).send(b"GET /2 HTTP/1.1\r\n\r\n")
    assert second.response().body == b"hello"
    assert backend.received == b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"


def test_raw_backend_half_close_both_ways(raw_backend, connect):
    backend = raw_backend(raw.echo)
    client = connect(backend.port).send(b"x" * 100_000).half_close()
    assert client.recv_to_end() == b"x" * 100_000
    assert backend.connections[0].ended == "fin"


def test_error_in_a_script_is_kept(raw_backend, connect, world):
    def script(_: raw.RawConnection) -> None:
        raise ValueError("from the script")

    backend = raw_backend(script)
    connect(backend.port).expect_closed()
    wait_for(lambda: backend.errors)
    assert "from the script" in str(backend.errors.pop())


def test_fault_proxy_modes(raw_backend, fault_proxy, connect):
    proxy = fault_proxy(raw_backend(raw.echo).port)
    client = connect(proxy.port)
    assert client.send(b"one").recv_exactly(3) == b"one"
    proxy.set("stall")
    client.send(b"two").sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv_exactly(3)
    client.sock.settimeout(60)
    proxy.set("pass")
    assert client.recv_exactly(3) == b"two"
    proxy.break_all()
    client.expect_reset()
    proxy.set("reset")
    with contextlib.suppress(ConnectionResetError):  # it may come while connect() still waits
        connect(proxy.port).expect_reset()
    proxy.set("garbage", garbage=b"\xff\xfe")
    assert connect(proxy.port).send(b"GET /").recv_to_end() == b"\xff\xfe"
    proxy.set("truncate", keep=4)
    assert connect(proxy.port).send(b"12345678").recv_to_end() == b"1234"


def test_consul_keeps_its_keys_over_a_restart(consul_agent):
    assert consul_agent.client.kv.put("a/b", "c")
    consul_agent.kill()
    assert not is_listening(consul_agent.port)
    consul_agent.start()
    assert consul_agent.client.kv.get("a/b")[1]["Value"] == b"c"
    consul_agent.stop()


def test_key_space_of_the_shared_consul(consul):
    consul.put("test", "127.0.0.1:8001", weight=1, max_fails=2)
    consul.put("test", "127.0.0.1:8002")
    assert consul.servers("test") == {"127.0.0.1:8001": '{"weight": 1, "max_fails": 2}', "127.0.0.1:8002": ""}
    consul.delete("test", "127.0.0.1:8001")
    assert list(consul.servers("test")) == ["127.0.0.1:8002"]


def test_free_ports_differ_and_are_free():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert not any(is_listening(port) for port in ports)


def test_preamble_only_where_it_lacks():
    text = complete("worker_processes 4;\nhttp { }")
    assert "worker_processes 1;" not in text
    assert "daemon off;" in text and "events {" in text


def test_trouble_in_the_log_fails(tmp_path):
    lb = Lb(tmp_path)
    (tmp_path / "error.log").write_text("2026/01/01 00:00:00 [alert] 1#1: open handles at exit: {'conn': 1}\n")
    with pytest.raises(AssertionError, match="open handles"):
        lb.check_log()
    lb.expect_log("open handles")
    lb.check_log()
    lb.expect_log("something that never came")
    with pytest.raises(AssertionError, match="never came"):
        lb.check_log()


def test_leftover_connection_fails(tmp_path, raw_backend, monkeypatch):
    """check_quiet sees a connection that a process holds, and is content when that is gone."""
    monkeypatch.setattr("tests.harness.lb.wait_for", lambda condition, what: wait_for(condition, what, timeout=0.5))
    lb = Lb(tmp_path)
    backend = raw_backend(raw.echo)
    holder = "import socket, sys; s = socket.create_connection(('127.0.0.1', %d)); sys.stdin.readline(); s.close()"
    child = subprocess.Popen(
        [sys.executable, "-c", holder % backend.port + "; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    try:
        monkeypatch.setattr(Lb, "workers", [psutil.Process(child.pid)])
        wait_for(lambda: backend.open)
        with pytest.raises(AssertionError, match="to close"):
            lb.check_quiet()
        child.stdin.write(b"close\n")
        child.stdin.flush()
        lb.check_quiet()
    finally:
        child.kill()
        child.communicate()


def test_cpu_seconds_counts_what_a_process_burns():
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        wait_for(lambda: cpu_seconds(child.pid) > 0.2)
    finally:
        child.kill()
        child.wait()
    with contextlib.suppress(FileNotFoundError):
        assert cpu_seconds(child.pid) == 0
