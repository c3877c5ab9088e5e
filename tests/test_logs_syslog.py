"""syslog: datagrams of access and error logs in nginx's form; servers that are full, missing, or come back."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket

import pytest

from tests.harness.nginx import BINARY, Nginx
from tests.harness.wait import free_port, wait_for

FORM = re.compile(r"<(\d{1,3})>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:([^ :]+) )?(\w{0,32}): (.*)", re.DOTALL)
HOST = socket.gethostname().lower()


class Server:
    """A syslog server of the test: `lines()` are what has come, parsed."""

    def __init__(self, path=None, port=0):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(str(path) if path else ("127.0.0.1", port))
        self.address = f"unix:{path}" if path else f"127.0.0.1:{self.sock.getsockname()[1]}"
        if path:
            path.chmod(0o777)
        self.got = []

    def wait(self, count=1, pattern=""):
        """The first `count` datagrams that hold `pattern`."""

        def enough():
            while select.select([self.sock], [], [], 0)[0]:
                self.got.append(self.sock.recv(65536).decode("latin-1"))
            return len(self.matching(pattern)) >= count

        wait_for(enough, lambda: f"{count} datagrams with {pattern!r}: {self.got}")
        return self.matching(pattern)

    def matching(self, pattern):
        return [line for line in self.got if re.search(pattern, line)]

    def close(self):
        self.sock.close()
        if self.path:
            os.unlink(self.path)


@pytest.fixture
def server(tmp_path, world):
    made = []

    def start(unix=False, **options):
        number = len(made)
        made.append(Server(tmp_path / f"syslog{number}" if unix else None, **options))
        return made[-1]

    yield start
    for one in made:
        with contextlib.suppress(OSError):
            one.close()


def parts(line):
    match = FORM.fullmatch(line)
    assert match is not None, line
    return int(match[1]) >> 3, int(match[1]) & 7, match[3], match[4], match[5]


SITE = """
http {
    log_format f "$uri:$status";
    access_log off;
    server { listen 127.0.0.1:@http@;
        location /a { access_log syslog:server=@one@ f; return 204; }
        location /b { access_log syslog:server=@one@,facility=mail,severity=crit,tag=T_1,nohostname f; return 204; }
        location /two { access_log syslog:server=@one@ f; access_log syslog:server=@one@,tag=again f; return 204; }
        location /if { access_log syslog:server=@one@ f if=$arg_log; return 204; }
        location /combined { access_log syslog:server=@one@; return 204; }
    }
}
"""


@pytest.mark.parametrize("unix", [False, True], ids=["udp", "unix"])
def test_access_log(run_lb, connect, server, unix):
    one = server(unix)
    client = connect(run_lb(SITE, one=one.address).port("http"))
    client.request(target="/a")
    assert parts(one.wait()[0]) == (23, 6, HOST, "lb", "/a:204")
    client.request(target="/b")
    assert parts(one.wait(2)[1]) == (2, 2, None, "T_1", "/b:204")
    client.request(target="/two")
    assert sorted(parts(line)[3] for line in one.wait(4)[2:]) == ["again", "lb"]
    client.request(target="/if")
    client.request(target="/if?log=1")
    client.request(target="/combined")
    assert [parts(line)[4] for line in one.wait(6)[4:5]] == ["/if:204"]
    assert re.search(r': 127\.0\.0\.1 - - \[.*\] "GET /combined HTTP/1.1" 204 0 "-" "-"$', one.wait(6)[5])


@pytest.mark.skipif(BINARY is None, reason="nginx is not installed")
def test_the_datagrams_of_nginx(run_lb, connect, server, tmp_path):
    (tmp_path / "nginx").mkdir()
    one = server()
    port = free_port()
    text = SITE.replace("@one@", one.address)
    nginx = Nginx(tmp_path / "nginx").start(text.replace("@http@", str(port)), port)
    lb = run_lb(text)
    found = []
    for at in (port, lb.port("http")):
        one.got.clear()
        client = connect(at)
        for count, target in enumerate(("/a", "/b", "/if?log=1", "/two"), 1):
            client.request(target=target)
            one.wait(count)
        client.close()
        found.append([re.sub(r"[A-Z].. .\d ..:..:..", "DATE", line).replace("nginx:", "lb:") for line in one.wait(5)])
    nginx.stop()
    assert sorted(found[0]) == sorted(found[1])


ERRORS = """
error_log error.log info;
error_log syslog:server=@main@ info;
http {
    access_log off;
    server { listen 127.0.0.1:@http@;
        location / { proxy_pass http://127.0.0.1:@dead@; }
        location /own { error_log syslog:server=@own@,tag=own,severity=debug;
            error_log syslog:server=@own@,tag=all info; proxy_pass http://127.0.0.1:@dead@; }
    }
}
stream { server { listen 127.0.0.1:@tcp@; error_log syslog:server=@own@,tag=tcp; proxy_pass 127.0.0.1:@dead@; } }
"""
BODY = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: \*\d+ connect\(\) failed \(111: Connection refused\) while.*"


def test_error_log(run_lb, connect, server):
    """Every line of the master and the workers, with the severity of its level; those of a location go to its own."""
    main, own = server(), server(unix=True)
    lb = run_lb(ERRORS, main=main.address, own=own.address)
    for text in ("start worker processes", r"start worker process \d+"):  # the master's
        assert parts(main.wait(1, text)[0])[:4] == (23, 5, HOST, "lb")
    client = connect(lb.port("http"))
    assert client.request(target="/").status == 502
    facility, severity, _, _, body = parts(main.wait(1, r"\[error\]")[0])
    assert (facility, severity) == (23, 3)
    assert re.fullmatch(BODY, body) and not body.endswith("\n")
    assert client.request(target="/own").status == 502
    said = [parts(line) for line in own.wait(2)]
    assert sorted(one[3] for one in said) == ["all", "own"]
    assert {one[1] for one in said} == {3}
    connect(lb.port("tcp")).expect_closed()
    assert parts(own.wait(1, " tcp: ")[0])[1] == 3
    assert "/own" not in "".join(main.got)
    lb.process.send_signal(signal.SIGUSR1)
    main.wait(2, "reopening logs")  # master and worker
    lb.stop(signal.SIGQUIT)
    for text in ("gracefully shutting down", "exiting", r"worker process \d+ exited with code 0"):
        main.wait(1, text)


GONE = """
error_log error.log info;
http { log_format f $request_uri; access_log syslog:server=@one@ f;
    server { listen 127.0.0.1:@http@; keepalive_requests 100000; return 204; } }
"""


def dropped(lb):
    return int((re.findall(r"(\d+) log lines were dropped", lb.log) or ["0"])[-1])


def test_a_unix_server_that_comes_back(run_lb, connect, server, tmp_path):
    """Missing at the start, then there, then started anew on the same path: what waited is sent, in order."""
    path = tmp_path / "syslog0"
    lb = run_lb(GONE, one=f"unix:{path}")
    client = connect(lb.port("http"))
    assert client.request(target="/1").status == 204
    lb.wait_log(r"\[error\] .* send\(\) failed \(2: No such file or directory\) while logging to syslog, server: unix:")
    one = server(unix=True)
    assert client.request(target="/2").status == 204
    assert [parts(line)[4] for line in one.wait(2)] == ["/1", "/2"]
    one.close()
    assert client.request(target="/3").status == 204
    one = Server(path)
    assert client.request(target="/4").status == 204
    assert [parts(line)[4] for line in one.wait(2)] == ["/3", "/4"]
    one.close()
    assert dropped(lb) == 0
    lb.baseline.clear()  # the socket is made when the server is there: one more than at the start
    lb.remember_workers()


def test_a_udp_server_that_is_not_there(run_lb, connect, server):
    """A refusal tells of a datagram before: that one is counted, and the next goes on its way."""
    port = free_port()
    lb = run_lb(GONE, one=f"127.0.0.1:{port}")
    client = connect(lb.port("http"))
    for number in range(10):
        assert client.request(target=f"/{number}").status == 204
    wait_for(lambda: dropped(lb) > 0, "dropped lines")
    one = server(port=port)
    for number in range(3):
        assert client.request(target=f"/back{number}").status == 204
    assert [parts(line)[4] for line in one.wait(3, "back")] == ["/back0", "/back1", "/back2"]


def test_a_server_that_does_not_read(run_lb, connect, server):
    """Its socket is full: lines wait, then are dropped and counted; requests go on."""
    one = server(unix=True)
    lb = run_lb(GONE, one=one.address)
    client = connect(lb.port("http"))
    padding = "x" * 3000
    for number in range(400):
        assert client.request(target=f"/{number}?{padding}").status == 204
    wait_for(lambda: dropped(lb) > 0, "dropped lines")
    first = [int(re.match(r"/(\d+)", parts(line)[4])[1]) for line in one.wait(1)]
    assert first == list(range(len(first)))
    client.request(target="/last")
    wait_for(lambda: one.wait(1) and one.wait(1)[-1].endswith("/last"), "the last line")
    numbers = [int(re.match(r"/(\d+)", parts(line)[4])[1]) for line in one.got[:-1]]
    assert numbers == sorted(set(numbers))
    wait_for(lambda: len(numbers) + dropped(lb) == 400, lambda: f"{len(numbers)} + {dropped(lb)} of 400")


def test_the_master_finds_its_server_again(run_lb, server, tmp_path):
    one = server(unix=True)
    lb = run_lb("error_log error.log info;\nerror_log syslog:server=@one@ info;\nhttp { }", one=one.address)
    one.wait(1, "start worker process ")
    one.close()
    lb.process.send_signal(signal.SIGWINCH)
    lb.wait_log("SIGWINCH")
    again = Server(tmp_path / "syslog0")
    lb.process.send_signal(signal.SIGUSR1)
    again.wait(1, "SIGUSR1")
    again.close()
