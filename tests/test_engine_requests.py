"""Requests on other ways than head, server, answer: bodies gathered or read away, servers named by variables."""

from __future__ import annotations

import re
from signal import SIGTERM

import pytest

from tests.harness import backend as raw
from tests.harness.wait import wait_for

ONE = """
http {
    access_log access.log;
    upstream u { server @server@; }
    server {
        listen 127.0.0.1:@http@;
        client_max_body_size 0;
        location / { proxy_pass http://u; }
        location /to { proxy_pass http://$arg_to; proxy_read_timeout 300ms; }
        location /made { return 200 made; }
    }
}
"""


@pytest.fixture
def lb(run_lb, http_backend):
    return run_lb(ONE, server=http_backend().address)


def test_slow_server_that_a_variable_named_is_504(lb, raw_backend, connect):
    """There is no other one to ask: the failure is its own, not "no live upstreams"."""
    backend = raw_backend(raw.never_answer)
    assert connect(lb.port("http")).request(target=f"/to?to={backend.address}").status == 504
    assert "no live upstreams" not in lb.log


def test_client_gone_before_the_server_that_a_variable_named_was_asked(lb, raw_backend, connect):
    """What was made for the request goes with it."""
    backend = raw_backend(raw.never_answer)
    for _ in range(3):
        client = connect(lb.port("http"))
        client.send(f"POST /to?to={backend.address} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx".encode())
        client.close()
    wait_for(lambda: (lb.directory / "access.log").read_text().count(" 400 ") == 3)
    assert backend.accepted == 0


def test_a_request_is_logged_once_when_lb_stops_behind_its_answer(lb, connect):
    client = connect(lb.port("http"))
    client.send(b"POST /made HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
    assert client.response().body == b"made"
    lb.stop(SIGTERM)
    assert len(re.findall("POST /made", (lb.directory / "access.log").read_text())) == 1
