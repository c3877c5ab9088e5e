"""access_log to files that requests name, compressed files, stderr; what a full disk or a pipe costs there."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness.lb import open_fds
from tests.harness.nginx import BINARY, Nginx
from tests.harness.wait import free_port, wait_for

needs_nginx = pytest.mark.skipif(BINARY is None, reason="nginx is not installed")


def text_of(path):
    return path.read_text() if path.exists() else ""


def wait_text(path, expected):
    wait_for(lambda: text_of(path) == expected, lambda: f"{expected!r} in {path}: {text_of(path)!r}")


def writable(lb, name="."):
    """Workers of a root master are another user: these tests let them write."""
    directory = lb.directory / name
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    return directory


def dropped(lb):
    return int((re.findall(r"(\d+) log lines were dropped", lb.log) or ["0"])[-1])


NAMES = """
http {
    log_format f "$uri:$status";
    access_log off;
    server { listen 127.0.0.1:@http@;
        location /a { access_log v/x_${arg_name}.log f; return 204; }
        location /two { access_log v/$arg_name f; access_log v/all_$status f; return 204; }
        location /if { access_log v/$arg_name f if=$arg_log; return 204; }
        location /cached { open_log_file_cache max=2 inactive=1h valid=@valid@; access_log v/$arg_name f; return 204; }
        location /often { open_log_file_cache max=9 min_uses=2; access_log v/$arg_name f; return 204; }
        location /brief { open_log_file_cache max=9 inactive=300ms; access_log v/$arg_name f; return 204; }
    }
}
"""


def open_names(lb):
    """The files of v/ that the worker has open."""
    return sorted(Path(name).name for name in open_fds(lb.workers[0].pid) if "/v/" in name)


@pytest.fixture
def named(run_lb, connect):
    def start(valid="1h"):
        lb = run_lb(NAMES, valid=valid)
        return lb, connect(lb.port("http")), writable(lb, "v")

    return start


def test_the_request_names_the_file(named):
    lb, client, v = named()
    for target in ("/a?name=1", "/a?name=2", "/a?name=1", "/a", "/two?name=t", "/if?name=i", "/if?name=i&log=1"):
        assert client.request(target=target).status == 204
    wait_text(v / "x_1.log", "/a:204\n/a:204\n")
    wait_text(v / "x_2.log", "/a:204\n")
    wait_text(v / "x_.log", "/a:204\n")
    wait_text(v / "t", "/two:204\n")
    wait_text(v / "all_204", "/two:204\n")
    wait_text(v / "i", "/if:204\n")
    assert open_names(lb) == []


@needs_nginx
def test_the_files_of_nginx(named, connect, tmp_path):
    lb, client, v = named()
    (tmp_path / "nginx").mkdir()
    nginx, port = Nginx(tmp_path / "nginx"), free_port()
    (tmp_path / "nginx/v").mkdir()
    (tmp_path / "nginx/html").mkdir()  # nginx writes such a line only where `root` exists
    text = NAMES.replace("@http@", str(port)).replace("@valid@", "1h").replace("300ms", "1s")  # nginx counts seconds
    nginx.start(text, port)
    other = connect(port)
    for target in ("/a?name=1", "/a?name=", "/two?name=%41", "/cached?name=c", "/cached?name=c", "/often?name=o"):
        client.request(target=target)
        other.request(target=target)
    nginx.stop()  # now its files are whole
    expected = {path.name: path.read_text() for path in (tmp_path / "nginx/v").iterdir()}
    assert len(expected) == 6
    wait_for(lambda: {path.name: path.read_text() for path in v.iterdir()} == expected, str(expected))
    lb.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: open_names(lb) == [], "closed files")


def test_a_cache_is_bounded_and_checked(named):
    """max=2: the one used longest ago gives way. A file that was moved gets its lines until `valid` is over."""
    lb, client, v = named(valid="50ms")
    for name in "abc":
        client.request(target=f"/cached?name={name}")
    assert open_names(lb) == ["b", "c"]
    client.request(target="/cached?name=b")
    client.request(target="/cached?name=d")
    assert open_names(lb) == ["b", "d"]
    (v / "b").rename(v / "moved")
    wait_for(lambda: client.request(target="/cached?name=b") and (v / "b").exists(), "the new file")
    assert text_of(v / "moved").startswith("/cached:204\n")
    lb.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: open_names(lb) == [], lambda: f"closed files: {open_names(lb)}")
    client.request(target="/cached?name=d")
    wait_text(v / "d", "/cached:204\n/cached:204\n")
    lb.baseline.clear()  # it is still open
    lb.remember_workers()


def test_min_uses_and_inactive(named):
    lb, client, _ = named()
    client.request(target="/often?name=o")
    assert open_names(lb) == []
    client.request(target="/often?name=o")
    assert open_names(lb) == ["o"]
    client.request(target="/brief?name=b")
    assert open_names(lb) == ["b", "o"]
    wait_for(lambda: open_names(lb) == ["o"], lambda: f"b to be closed: {open_names(lb)}")
    lb.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: open_names(lb) == [], lambda: f"closed files: {open_names(lb)}")


def test_names_that_cannot_be(named):
    """T15: a missing directory, `..`, a name too long, a pipe without a reader: lines are dropped, requests go on."""
    lb, client, v = named()
    os.mkfifo(v / "pipe", 0o622)
    (v / "sub").mkdir(0o777)
    (v / "sub").chmod(0o777)
    lb.expect_log(r"\[crit\] .* open\(\) .* failed \(\d+: .*\) while logging request, client: 127.0.0.1, server: ,")
    targets = ["none/x", "../out", "sub/../x", "x" * 300, "y" * 5000, "pipe"]
    for target in targets:
        assert client.request(target=f"/two?name={target}").status == 204
    client.request(target="/two?name=sub/fine")
    wait_text(v / "sub/fine", "/two:204\n")
    assert not (lb.directory / "out").exists() and not (v / "x").exists()
    wait_for(lambda: dropped(lb) == len(targets), lambda: f"dropped lines: {dropped(lb)}")


def test_a_full_disk_under_a_name(run_lb, connect):
    """T15."""
    text = "http { access_log /dev/${arg_d}; access_log good.log; server { listen 127.0.0.1:@http@; return 204; } }"
    lb = run_lb(text)
    client = connect(lb.port("http"))
    for _ in range(20):
        assert client.request(target="/?d=full").status == 204
    assert client.request(target="/?d=null").status == 204
    wait_for(lambda: text_of(lb.directory / "good.log").count("\n") == 21, "every line of the other log")
    wait_for(lambda: dropped(lb) == 20, lambda: f"dropped lines: {dropped(lb)}")


ZIP = """
http {
    log_format f "$request_uri";
    access_log off;
    server { listen 127.0.0.1:@http@; keepalive_requests 100000;
        location /time { access_log time.gz f gzip buffer=1m flush=100ms; return 204; }
        location /size { access_log size.gz f gzip=9 buffer=512; return 204; }
        location /end { access_log end.gz f gzip; access_log end.gz f; return 204; }
        location /full { access_log @full@ f gzip buffer=512; return 204; }
    }
}
"""


def unzipped(path):
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_gzip(run_lb, connect):
    """Whole members: after the flush time, whenever the buffer is full, at the end and on USR1."""
    lb = run_lb(ZIP, full="/dev/full")
    client = connect(lb.port("http"))
    client.request(target="/time/1")
    client.request(target="/time/2")
    wait_for(lambda: unzipped(lb.directory / "time.gz") == ["/time/1", "/time/2"])
    for number in range(200):
        client.request(target=f"/size/{number}")
    size = unzipped(lb.directory / "size.gz")
    assert 100 < len(size) < 200 and size == [f"/size/{number}" for number in range(len(size))]
    client.request(target="/end/1")
    lb.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: (lb.directory / "end.gz").stat().st_size and unzipped(lb.directory / "end.gz") == ["/end/1"] * 2)
    client.request(target="/end/2")
    lb.stop()
    assert unzipped(lb.directory / "end.gz") == ["/end/1"] * 2 + ["/end/2"] * 2
    assert unzipped(lb.directory / "size.gz") == [f"/size/{number}" for number in range(200)]


def test_gzip_on_a_full_disk(run_lb, connect):
    """T15: a member that is refused is dropped whole, and its lines are counted."""
    lb = run_lb(ZIP, full="/dev/full")
    client = connect(lb.port("http"))
    for number in range(1000):
        assert client.request(target=f"/full/{number}").status == 204
    wait_for(lambda: 800 < dropped(lb) <= 1000, lambda: f"dropped lines: {dropped(lb)}")
    client.request(target="/time/1")
    wait_for(lambda: unzipped(lb.directory / "time.gz") == ["/time/1"])


def test_gzip_into_a_pipe_that_nobody_reads(run_lb, connect, tmp_path):
    """T15: what was begun is written to its end when there is room again; between, lines are dropped and counted."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    lb = run_lb(ZIP, full=tmp_path / "pipe")
    client = connect(lb.port("http"))
    for number in range(1500):
        assert client.request(target=f"/full/{number}?{os.urandom(150).hex()}").status == 204
    wait_for(lambda: dropped(lb) > 0, "dropped lines")
    data = read_all(reader)
    for number in range(1500, 1504):
        client.request(target=f"/full/{number}")
        data += read_all(reader)
    lb.stop()
    data += read_all(reader)
    os.close(reader)
    numbers = [int(line.split("?")[0].split("/")[2]) for line in gzip.decompress(data).decode().splitlines()]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 1503
    assert len(numbers) < 1504


def read_all(reader):
    data = b""
    while True:
        try:
            more = os.read(reader, 1 << 20)
        except BlockingIOError:
            return data
        if not more:
            return data
        data += more


STDERR = """
error_log error.log info;
http {
    log_format f "line $request_uri";
    access_log off;
    server { listen 127.0.0.1:@http@;
        location /access { access_log stderr f; return 204; }
        location /error { error_log stderr; proxy_pass http://127.0.0.1:@dead@; }
    }
}
"""


def test_stderr_stays_stderr(run_lb, connect):
    """A location's log that is stderr means what lb was started with, though the first error log is a file."""
    lb = run_lb(STDERR)
    client = connect(lb.port("http"))
    stderr = lb.directory / "stderr.log"
    client.request(target="/access")
    wait_for(lambda: "line /access\n" in text_of(stderr), "the line of the access log")
    assert client.request(target="/error").status == 502
    wait_for(lambda: "connect() failed" in text_of(stderr), "the line of the error log")
    assert "connect() failed" not in text_of(lb.directory / "error.log")
    lb.process.send_signal(signal.SIGUSR1)
    lb.wait_log(r"(?s)reopening logs.*reopening logs.*reopening logs")
    client.request(target="/access/2")
    wait_for(lambda: "line /access/2\n" in text_of(stderr), "a line after USR1")
    assert "line" not in text_of(lb.directory / "error.log")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_full_for_a_while(run_lb, connect, small_disk):
    """T15: the last line that fits is cut by the disk; with room again it is finished, and what follows is whole."""
    path, filler = small_disk / "a.log", small_disk / "filler"
    filler.write_bytes(b"x" * 32768)
    lb = run_lb(
        "http { log_format f $request_uri; access_log @log@ f; server { listen 127.0.0.1:@http@; return 204; } }",
        log=path,
    )
    client = connect(lb.port("http"))
    padding = "x" * 700
    for number in range(300):
        assert client.request(target=f"/{number}?{padding}").status == 204
    wait_for(lambda: dropped(lb) > 0, "dropped lines")
    assert path.stat().st_size == 32768
    filler.unlink()
    for number in range(300, 303):
        assert client.request(target=f"/{number}?{padding}").status == 204
    wait_for(lambda: "/302?" in path.read_text(), "the last line")
    lines = path.read_text().splitlines()
    assert all(re.fullmatch(rf"/\d+\?{padding}", line) for line in lines)
    numbers = [int(line[1 : line.index("?")]) for line in lines]
    assert numbers == sorted(set(numbers))
    wait_for(lambda: len(numbers) + dropped(lb) == 303, lambda: f"{len(numbers)} + {dropped(lb)} of 303 lines")


def test_an_error_log_that_nobody_reads_stops_neither_master_nor_worker(run_lb, connect, tmp_path):
    """T15: the pipe of the error log is full: requests, a reload, a new worker and the end go on."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)
    text = """error_log @pipe@ info;
        http { access_log off; server { listen 127.0.0.1:@http@; proxy_connect_timeout 1s;
            location / { proxy_pass http://127.0.0.1:@dead@; } } }"""
    lb = run_lb(text, pipe=tmp_path / "pipe")
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    client = connect(lb.port("http"))
    for _ in range(300):  # a line each: more than a worker's buffer
        assert client.request(headers=f"Referer: {'r' * 900}\r\n").status == 502
    lb.reload()
    assert connect(lb.port("http")).request().status == 502
    old = lb.workers[0]
    old.kill()
    wait_for(lambda: [one for one in lb.workers if one.pid != old.pid], "another worker")
    wait_for(lambda: connect(lb.port("http")).request().status == 502)
    assert lb.stop(signal.SIGQUIT) == 0
    os.close(reader)
    os.close(writer)


def test_a_log_that_was_moved(run_lb, connect):
    """logrotate: the old name's file gets what comes until USR1, then the new one does."""
    lb = run_lb(
        "http { log_format f $request_uri; access_log a.log f; server { listen 127.0.0.1:@http@; return 204; } }"
    )
    client = connect(lb.port("http"))
    client.request(target="/1")
    (lb.directory / "a.log").rename(lb.directory / "old.log")
    client.request(target="/2")
    wait_text(lb.directory / "old.log", "/1\n/2\n")
    lb.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: lb.log.count("reopening logs") >= 3, "master and worker")
    wait_for(lambda: client.request(target="/3") and text_of(lb.directory / "a.log"), "the new file")
    assert set(text_of(lb.directory / "a.log").split()) == {"/3"}
