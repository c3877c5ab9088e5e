"""check_status: the page of nginx_upstream_check_module, byte for byte (as it was taken from a build of it)."""

from __future__ import annotations

import json

import pytest

from tests.harness.backend import Reply
from tests.harness.wait import wait_for

CONF = r"""
http {
    access_log off;
    upstream backend { server @a@; server @b@ backup; server 127.0.0.1:1 down; @check@
        check_http_send "GET /up HTTP/1.0\r\n\r\n"; }
    upstream plain { server @a@; }
    upstream other { server @a@; check interval=50 rise=1 fall=1 type=tcp port=@port@; }
    server { listen 127.0.0.1:@http@;
        location / { proxy_pass http://backend; }
        location /status { check_status; }
        location /csv { check_status csv; }
        location /json { check_status json; } }
}
"""
CHECK = "check interval=50 rise=1 fall=1 timeout=500 type=http;"
HEAD = """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN
"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
  <title>Nginx http upstream check status</title>
</head>
<body>
<h1>Nginx http upstream check status</h1>
<h2>Check upstream server number: {total}, generation: {generation}</h2>
<table style="background-color:white" cellspacing="0"        cellpadding="3" border="1">
  <tr bgcolor="#C0C0C0">
    <th>Index</th>
    <th>Upstream</th>
    <th>Name</th>
    <th>Status</th>
    <th>Rise counts</th>
    <th>Fall counts</th>
    <th>Check type</th>
    <th>Check port</th>
  </tr>
"""
ROW = """  <tr{colour}>
    <td>{index}</td>
    <td>{upstream}</td>
    <td>{name}</td>
    <td>{status}</td>
    <td>{rise}</td>
    <td>{fall}</td>
    <td>{type}</td>
    <td>{port}</td>
  </tr>
"""
TAIL = "</table>\n</body>\n</html>\n"


@pytest.fixture
def shown(run_lb, http_backend):
    """(lb, the servers, port of the tcp checks) when the first server is up and the backup is down."""
    a = http_backend(lambda request: Reply(200))
    b = http_backend(lambda request: Reply(503))
    lb = run_lb(CONF, a=a.address, b=b.address, check=CHECK, port=a.port)
    lb.wait_log(f"enable check peer: {a.address} , upstream: .backend")
    lb.wait_log(f"disable check peer: {b.address} ")
    lb.wait_log(f"enable check peer: {a.address} , upstream: .other")
    return lb, a, b


def rows(lb, connect, query=""):
    return json.loads(connect(lb.port("http")).request(target="/json" + query).body)["servers"]


def test_json(shown, connect):
    lb, a, b = shown
    reply = connect(lb.port("http")).request(target="/json")
    assert reply.header("content-type") == "application/json"
    servers = json.loads(reply.body)["servers"]
    assert servers["total"] == 3 and servers["generation"] == 1
    found = [
        (one["index"], one["upstream"], one["name"], one["status"], one["type"], one["port"])
        for one in servers["server"]
    ]
    assert found == [
        (0, "backend", a.address, "up", "http", 0),
        (1, "backend", b.address, "down", "http", 0),
        (2, "other", a.address, "up", "tcp", a.port),
    ]
    lines = reply.body.decode().split("\n")
    assert lines[:4] == ['{"servers": {', '  "total": 3,', '  "generation": 1,', '  "server": [']
    assert lines[4].startswith('    {"index": 0, "upstream": "backend", "name": ') and lines[4].endswith('"port": 0},')
    assert lines[7:] == ["  ]", "}}", ""] and not lines[6].endswith(",")


def test_counts_go_on(shown, connect):
    lb, _, _ = shown
    wait_for(lambda: rows(lb, connect)["server"][0]["rise"] > 3 and rows(lb, connect)["server"][1]["fall"] > 3)
    up, down, _ = rows(lb, connect)["server"]
    assert up["fall"] == 0 and down["rise"] == 0


def test_csv(shown, connect):
    lb, a, b = shown
    reply = connect(lb.port("http")).request(target="/csv")
    assert reply.header("content-type") == "text/plain"
    lines = reply.body.decode().split("\n")
    first, second, third = (line.split(",") for line in lines[:3])
    assert lines[3:] == [""]
    assert first[:4] == ["0", "backend", a.address, "up"] and first[5:] == ["0", "http", "0"]
    assert second[:5] == ["1", "backend", b.address, "down", "0"] and second[6:] == ["http", "0"]
    assert third[:4] == ["2", "other", a.address, "up"] and third[6:] == ["tcp", str(a.port)]


def test_html(shown, connect):
    lb, a, b = shown
    reply = connect(lb.port("http")).request(target="/status")
    assert reply.header("content-type") == "text/html"
    text = reply.body.decode()
    assert text.startswith(HEAD.format(total=3, generation=1)) and text.endswith(TAIL)
    body = text.removeprefix(HEAD.format(total=3, generation=1)).removesuffix(TAIL)
    counts = [int(line[8:-5]) for line in body.split("\n") if line[8:-5].isdigit()]
    rise, fall, other = counts[1], counts[6], counts[9]
    http, good = {"type": "http", "port": 0, "upstream": "backend"}, {"status": "up", "colour": "", "fall": 0}
    bad = {"status": "down", "colour": ' bgcolor="#FF0000"', "rise": 0}
    expected = [
        ROW.format(index=0, name=a.address, rise=rise, **http, **good),
        ROW.format(index=1, name=b.address, fall=fall, **http, **bad),
        ROW.format(index=2, upstream="other", name=a.address, rise=other, type="tcp", port=a.port, **good),
    ]
    assert body == "".join(expected)


def test_arguments(shown, connect):
    lb, _, b = shown
    client = connect(lb.port("http"))
    down = rows(lb, connect, "?status=down")
    assert down["total"] == 1 and [one["index"] for one in down["server"]] == [1]
    up = rows(lb, connect, "?status=up&x=1")
    assert up["total"] == 2 and [one["index"] for one in up["server"]] == [0, 2]
    assert client.request(target="/json?format=csv&status=down").body.startswith(
        f"1,backend,{b.address},down,0,".encode()
    )
    assert client.request(target="/csv?format=html").body.startswith(b"<!DOCTYPE")
    assert client.request(target="/json?format=xml").body.startswith(b'{"servers"')
    lb.wait_log(r'\[error\].*http upstream check, bad argument: "xml", client: 127.0.0.1')
    assert client.request(target="/json?status=maybe").status == 200
    lb.wait_log('bad argument: "maybe"')


def test_nothing_to_show_is_an_empty_page(shown, run_lb, connect):
    lb, _, _ = shown
    text = lb.file.read_text().replace("server 127.0.0.1:1 down;", "").replace("type=http", "type=tcp")
    lb.reload(text)
    wait_for(lambda: rows(lb, connect, "?status=down")["total"] == 0)
    reply = connect(lb.port("http")).request(target="/csv?status=down")
    assert reply.status == 200 and reply.header("content-length") == "0" and reply.body == b""
    assert rows(lb, connect, "?status=down") == {"total": 0, "generation": 2, "server": []}


def test_methods(shown, connect):
    lb, _, _ = shown
    client = connect(lb.port("http"))
    head = client.request("HEAD", "/status")
    assert head.status == 200 and head.header("content-type") == "text/html" and head.body == b""
    assert connect(lb.port("http")).request("POST", "/status", body=b"x").status == 405


def test_nobody_checked_is_500(run_lb, http_backend, connect):
    text = "http { upstream u { server @a@; } server { listen 127.0.0.1:@http@; location / { check_status; } } }"
    lb = run_lb(text, a=http_backend().address)
    assert connect(lb.port("http")).request().status == 500
    lb.wait_log("http upstream check module can not find any check server, make sure you've added the check servers")


def test_in_server_it_answers_where_no_location_does(run_lb, http_backend, connect):
    a = http_backend()
    text = """http { upstream u { server @a@; check interval=50; }
        server { listen 127.0.0.1:@http@; check_status csv; location /a { proxy_pass http://u; } } }"""
    lb = run_lb(text, a=a.address)
    assert connect(lb.port("http")).request(target="/b").body.startswith(f"0,u,{a.address},".encode())
