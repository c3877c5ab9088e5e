"""Access and error logs: the lines of the real nginx for the same requests; conditions, buffers, levels; full
disks and blocked pipes cost lines, never time."""

from __future__ import annotations

import json
import os
import re
import signal
import socket

import pytest

from tests.harness.nginx import BINARY, STREAM, Nginx
from tests.harness.wait import free_port, wait_for

needs_nginx = pytest.mark.skipif(BINARY is None, reason="nginx is not installed")


@pytest.fixture
def nginx(tmp_path):
    (tmp_path / "nginx").mkdir()
    oracle = Nginx(tmp_path / "nginx")
    yield oracle
    oracle.stop()


def lines(lb, name="a.log", count=1):
    """The lines of a log once there are `count` of them."""
    path = lb.directory / name
    wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= count, lambda: f"{count} lines in {path}")
    return path.read_bytes().decode("latin-1").splitlines()


REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"GET /x?q=1'2&y= HTTP/1.1\r\nHost: A.example:81\r\n"
    b'User-Agent: a"b\\c\xe9\r\nReferer: \r\nCookie: c=1; d="x"\r\n\r\n',
    b"HEAD /%22?a HTTP/1.1\r\nHost: b\r\nX-Tab: a\tb\r\n\r\n",
    b"POST /post HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\nContent-Type: text/x\r\n\r\n",
    b"GET /old HTTP/1.0\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\r\n",
]
FORMAT = (
    "$request|$status|$body_bytes_sent|$request_method|$request_uri|$uri|$args|$arg_q|$arg_y|$arg_z|$http_host|$host|"
    "$http_user_agent|$http_referer|$http_x_tab|$cookie_c|$cookie_d|$cookie_e|$content_length|$content_type|$scheme|"
    "$server_protocol|$server_name|$remote_addr|$is_args|$request_length|$remote_user|$http_none"
)
SITE = """
http {{
    {more}
    log_format f {escape} '{format}';
    access_log a.log f;
    server {{ listen 127.0.0.1:{port}; server_name site.example; location / {{ return 200 "body\\n"; }} }}
}}
"""


@needs_nginx
@pytest.mark.parametrize("escape", ["", "escape=default", "escape=json", "escape=none"])
def test_the_lines_of_nginx(run_lb, connect, nginx, escape):
    port = free_port()
    nginx.start(SITE.format(more="", escape=escape, format=FORMAT, port=port), port)
    lb = run_lb(SITE.format(more="", escape=escape, format=FORMAT, port="@http@"))
    for at in (port, lb.port("http")):
        for request in REQUESTS:
            client = connect(at).send(request)
            client.response(request.split(b" ")[0].decode())
            client.close()
    expected = lines(nginx, count=len(REQUESTS))
    assert lines(lb, count=len(REQUESTS)) == expected


def test_json_is_json(run_lb, connect):
    """T20: control bytes and quotes cannot break out of a line."""
    text = '{"uri":"$request_uri","agent":"$http_user_agent","time":$request_time,"status":$status}'
    lb = run_lb(SITE.format(more="", escape="escape=json", format=text, port="@http@"))
    agent = b'\x09"\\x \x80\xff }'
    connect(lb.port("http")).send(b"GET /?' HTTP/1.1\r\nHost: x\r\nUser-Agent: " + agent + b"\r\n\r\n").response()
    entry = json.loads(lines(lb)[0])
    assert entry["uri"] == "/?'" and entry["status"] == 200
    assert entry["agent"].encode("latin-1") == agent.strip()


def test_combined_escapes(run_lb, connect):
    """T20: quotes, control bytes and high bytes of a client are \\xHH in the combined log and in the error log."""
    lb = run_lb("http { access_log a.log; server { listen 127.0.0.1:@http@; } }")
    connect(lb.port("http")).send(
        b'GET / HTTP/1.1\r\nHost: x\r\nReferer: "\\ \t\r\nUser-Agent: \x09a"\xff\r\n\r\n'
    ).response()
    line = lines(lb)[0]
    assert line.endswith('"\\x22\\x5C" "a\\x22\\xFF"')
    connect(lb.port("http")).send(b"GET /\x01\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n").response()
    assert "\\x01\\x1B[31m" in lines(lb, count=2)[1]
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", lb.log)


LEVELS = """
http {
    log_format f $uri;
    access_log all.log f;
    server { listen 127.0.0.1:@http@;
        location / { return 204; }
        location /off { access_log off; return 204; }
        location /two { access_log a.log f; access_log b.log f; return 204; }
        location /if { access_log a.log f if=$arg_log; return 204; }
    }
}
"""


def test_levels_off_and_conditions(run_lb, connect):
    lb = run_lb(LEVELS)
    client = connect(lb.port("http"))
    for target in ("/", "/off", "/two", "/if", "/if?log=", "/if?log=0", "/if?log=00", "/if?log=1", "/last"):
        client.request(target=target)
    assert lines(lb, "all.log", 2) == ["/", "/last"]
    assert lines(lb, "b.log") == ["/two"]
    assert lines(lb, "a.log", 3) == ["/two", "/if", "/if"]


def test_buffer_and_flush(run_lb, connect):
    """Lines wait for the buffer, for the flush time, for USR1 or for the end."""
    lb = run_lb(
        """http { log_format f $uri;
            server { listen 127.0.0.1:@http@;
                location /size { access_log size.log f buffer=64; return 204; }
                location /time { access_log time.log f buffer=64k flush=200ms; return 204; }
                location /wait { access_log wait.log f buffer=64k; return 204; } access_log off; } }"""
    )
    client = connect(lb.port("http"))
    for target in ("/time/1", "/wait/1", *[f"/size/{i}" for i in range(20)]):
        client.request(target=target)
    size = lines(lb, "size.log", 14)
    assert size == [f"/size/{i}" for i in range(len(size))] and len(size) < 20
    assert lines(lb, "time.log") == ["/time/1"]
    assert (lb.directory / "wait.log").read_bytes() == b""
    lb.process.send_signal(signal.SIGUSR1)
    assert lines(lb, "wait.log") == ["/wait/1"]
    client.request(target="/wait/2")
    lb.stop()
    assert lines(lb, "wait.log", 2) == ["/wait/1", "/wait/2"]
    assert lines(lb, "size.log", 20) == [f"/size/{i}" for i in range(20)]


STREAM_SITE = """
stream {{
    log_format f '$remote_addr $protocol $bytes_sent $bytes_received $upstream_addr $server_port';
    access_log a.log f;
    server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{back}; }}
}}
"""


@needs_nginx
@pytest.mark.skipif(not STREAM.exists(), reason="nginx has no stream module")
def test_stream_lines_of_nginx(run_lb, connect, raw_backend, nginx):
    def answer(connection):
        connection.recv_until(b"hello")
        connection.send(b"and good bye")

    back = raw_backend(answer, answer)
    port = free_port()
    nginx.start(STREAM_SITE.format(port=port, back=back.port), port)
    lb = run_lb(STREAM_SITE.format(port="@tcp@", back=back.port))
    found = []
    for log, at in ((nginx, port), (lb, lb.port("tcp"))):
        client = connect(at, source="127.0.0.9").send(b"hello")
        assert client.recv_to_end() == b"and good bye"
        client.close()
        found.append(lines(log)[0].replace(str(at), "PORT"))
    assert found[0] == found[1] == f"127.0.0.9 TCP 12 5 {back.address} PORT"


ERRORS = """
error_log error.log info;
error_log main.log warn;
http {
    access_log off;
    server { listen 127.0.0.1:@http@;
        location / { proxy_pass http://127.0.0.1:@dead@; }
        location /own { error_log own.log; error_log own.info info; proxy_pass http://127.0.0.1:@dead@; }
        location /quiet { error_log own.crit crit; proxy_pass http://127.0.0.1:@dead@; }
    }
}
stream { server { listen 127.0.0.1:@tcp@; error_log tcp.log; proxy_pass 127.0.0.1:@dead@; } }
"""


def test_error_logs_of_every_level(run_lb, connect):
    lb = run_lb(ERRORS)
    client = connect(lb.port("http"))
    for target in ("/", "/own", "/quiet"):
        assert client.request(target=target).status == 502
    connect(lb.port("tcp")).expect_closed()
    for name in ("error.log", "main.log", "own.log", "own.info", "tcp.log"):
        wait_for(lambda name=name: "connect() failed" in (lb.directory / name).read_text(), name)
    text = {
        name: (lb.directory / name).read_text() for name in ("error.log", "main.log", "own.log", "own.info", "own.crit")
    }
    assert re.search(r'\[error\] \d+#0: \*1 connect\(\) failed .*, request: "GET / ', text["error.log"])
    assert "[notice]" in text["error.log"] and "[notice]" not in text["main.log"]
    assert "/own" in text["own.log"] and "/own" in text["own.info"]
    assert "/own" not in text["error.log"] + text["main.log"]
    assert text["own.crit"] == "" and "/quiet" not in text["error.log"]
    tcp = (lb.directory / "tcp.log").read_text()
    assert re.search(rf'client: 127.0.0.1, server: 127.0.0.1:{lb.port("tcp")}, upstream: "127.0.0.1:\d+"', tcp)


def dropped(lb):
    """How many lines lb says were lost so far."""
    return int((re.findall(r"(\d+) log lines were dropped", lb.log) or ["0"])[-1])


def test_a_full_disk_drops_lines(run_lb, connect):
    """T15: /dev/full takes nothing; every request is answered, other logs are whole, every lost line is counted."""
    lb = run_lb("http { access_log /dev/full; access_log good.log; server { listen 127.0.0.1:@http@; return 204; } }")
    client = connect(lb.port("http"))
    for _ in range(50):
        assert client.request().status == 204
    assert len(lines(lb, "good.log", 50)) == 50
    wait_for(lambda: dropped(lb) == 50, "50 dropped lines in the error log")


def test_a_blocked_pipe_drops_whole_lines(run_lb, connect, tmp_path):
    """T15: nobody reads the pipe: requests go on; what is read later is whole lines, in order, with a gap."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    lb = run_lb(
        "http { log_format f '$arg_n $request_uri'; access_log @pipe@ f;"
        " server { listen 127.0.0.1:@http@; keepalive_requests 100000; return 204; } }",
        pipe=pipe,
    )
    client = connect(lb.port("http"))
    padding = "x" * 1500
    for number in range(400):
        assert client.request(target=f"/?n={number}&{padding}").status == 204
    wait_for(lambda: dropped(lb) > 0, "dropped lines")
    data = b""
    for number in range(400, 403):
        data += drain(reader)
        client.request(target=f"/?n={number}&{padding}")  # a turn of the loop that writes what waited
    lb.stop()
    data += drain(reader)
    os.close(reader)
    got = [line.split(" ") for line in data.decode().splitlines()]
    assert data.endswith(b"\n")
    assert all(uri == f"/?n={number}&{padding}" for number, uri in got)
    numbers = [int(number) for number, _ in got]
    assert numbers == sorted(set(numbers))
    assert 100 < len(numbers) < 403


def drain(reader):
    data = b""
    while True:
        try:
            more = os.read(reader, 1 << 20)
        except BlockingIOError:
            return data
        if not more:
            return data
        data += more


def test_stderr_is_a_log(run_lb):
    lb = run_lb("error_log stderr notice;\nhttp { access_log off; server { listen 127.0.0.1:@http@; return 204; } }")
    with socket.create_connection(("127.0.0.1", lb.port("http"))):
        pass
    lb.process.send_signal(signal.SIGQUIT)
    wait_for(lambda: "gracefully shutting down" in (lb.directory / "stderr.log").read_text())
