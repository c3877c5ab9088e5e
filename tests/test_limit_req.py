"""limit_req: what passes, waits and is refused, as nginx; one count for all workers; clients that leave meanwhile."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from tests.harness import backend as raw
from tests.harness.wait import wait_for

CONF = """
http {
    access_log access.log;
    limit_req_zone $arg_k zone=slow:128k rate=1r/m;
    limit_req_zone $binary_remote_addr zone=all:1m rate=2r/m;
    limit_req_zone $arg_k zone=half:1m rate=2r/s;
    limit_req_zone $arg_k zone=quick:1m rate=20r/s;
    server {
        listen 127.0.0.1:@http@;
        @server@
        location / { limit_req zone=slow; error_page 404 =200 @ok; @pass@ }
        location @ok { return 200; }
        location /burst { limit_req zone=slow burst=2 nodelay; @pass@ }
        location /two { limit_req zone=slow burst=5 nodelay; limit_req zone=all burst=2 nodelay; @pass@ }
        location /status { limit_req zone=slow; limit_req_status 429; limit_req_log_level info; @pass@ }
        location /dry { limit_req zone=slow; limit_req_dry_run on; @pass@ }
        location /page { limit_req zone=slow; error_page 503 =200 /own; @pass@ }
        location /own { @pass@ }
        location /return { limit_req zone=slow; return 204; }
        location /wait { limit_req zone=quick burst=10; @pass@ }
        location /half { limit_req zone=half burst=10; @pass@ }
        location /half/file { limit_req zone=half burst=10; }
        location /later { limit_req zone=quick burst=10 delay=2; @pass@ }
        location /full { limit_req zone=slow; }
        location /long { limit_req zone=slow burst=10; @pass@ }
    }
}
""".replace("@pass@", "proxy_pass http://@backend@;")
CASES = [
    (["/?k=a", "/?k=a", "/?k=b", "/?k=a"], [200, 503, 200, 503]),
    (["/", "/", "/"], [200, 200, 200]),  # an empty key is not counted
    (["/burst?k=a"] * 4, [200, 200, 200, 503]),
    (["/two?k=a", "/two?k=b", "/two?k=a", "/two?k=c", "/?k=c"], [200, 200, 200, 503, 200]),
    (["/status?k=a", "/status?k=a"], [200, 429]),
    (["/dry?k=a", "/dry?k=a"], [200, 200]),
    (["/page?k=a", "/page?k=a"], [200, 200]),
    (["/return?k=a", "/return?k=a"], [204, 204]),  # before this phase
]


@contextlib.contextmanager
def at_one_time(lb) -> Iterator[None]:
    """What is sent meanwhile comes in one turn of the worker, by one clock, however busy the machine is."""
    (worker,) = lb.workers
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(("targets", "statuses"), CASES, ids=range(len(CASES)))
def test_the_same_as_nginx(pair, http_backend, targets, statuses):
    both = pair(CONF, http_backend(), server="")
    assert [both.ask(target).status for target in targets] == statuses


def test_lines_of_the_log(run_lb, http_backend, connect):
    lb = run_lb(CONF, backend=http_backend().address, server="")
    client = connect(lb.port("http"))
    for target in ("/?k=a", "/?k=a", "/status?k=b", "/status?k=b", "/dry?k=c", "/dry?k=c"):
        client.request(target=target)
    for level, text in (
        ("error", r'excess: EXCESS by zone "slow", client: 127.0.0.1, server: , request: "GET /\?k=a '),
        ("info", r'excess: EXCESS by zone "slow", client: .*k=b'),
        ("error", r'dry run, excess: EXCESS by zone "slow", client: .*k=c'),
    ):
        wanted = text.replace("EXCESS", r"(1\.000|0\.\d\d\d)")
        lb.wait_log(rf"\[{level}\] \d+#\d+: \*\d+ limiting requests, {wanted}")


def test_requests_wait_their_turn(run_lb, http_backend, connect):
    """20 a second: the 6th of a burst has waited 250 ms at least; with `delay` the first do not wait."""
    lb = run_lb(CONF, backend=http_backend().address, server="")
    clients = [connect(lb.port("http")) for _ in range(6)]
    start = time.monotonic()
    with at_one_time(lb):
        for client in clients:
            client.send(b"GET /wait?k=a HTTP/1.1\r\nHost: h\r\n\r\n")
    assert [client.response().status for client in clients] == [200] * 6
    assert time.monotonic() - start > 0.24
    lb.wait_log(r'\[warn\] .* delaying request, excess: \d\.\d{3}, by zone "quick", client: 127.0.0.1, server: ')
    waited = lb.log.count("delaying request")
    for _ in range(3):
        assert clients[0].request(target="/later?k=b").status == 200
    assert lb.log.count("delaying request") == waited


def test_a_waiting_request_with_a_body(run_lb, http_backend, connect):
    backend = http_backend()
    lb = run_lb(CONF, backend=backend.address, server="")
    clients = [connect(lb.port("http")) for _ in range(3)]
    body = b"x" * 300_000
    with at_one_time(lb):
        for client in clients:
            client.send(b"POST /half?k=a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\nx" % len(body))
    for client in clients:
        client.send(body[1:])
    assert [client.response().status for client in clients] == [200] * 3
    assert [one.body == body for one in backend.requests] == [True] * 3
    assert "delaying request" in lb.log


def test_clients_that_leave_while_they_wait(run_lb, raw_backend, connect):
    backend = raw_backend(raw.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    lb = run_lb(CONF, backend=backend.address, server="")
    assert connect(lb.port("http")).request(target="/long?k=a").status == 200
    log = lb.directory / "access.log"
    for number, end in enumerate(("close", "reset", "half_close", "close at once"), 1):
        client = connect(lb.port("http")).send(b"GET /long?k=a HTTP/1.1\r\nHost: h\r\n\r\n")
        if end != "close at once":
            wait_for(lambda count=number: lb.log.count("delaying request") == count)
        getattr(client, end.split()[0])()
        wait_for(lambda count=number: log.read_text().count('" 499 0 ') == count, lambda: log.read_text())


def test_stopping_does_not_wait(run_lb, http_backend, connect):
    lb = run_lb(CONF, backend=http_backend().address, server="")
    client = connect(lb.port("http"))
    assert client.request(target="/long?k=a").status == 200
    client.send(b"GET /long?k=a HTTP/1.1\r\nHost: h\r\n\r\n")
    lb.wait_log("delaying request")
    assert lb.stop() == 0


def test_one_count_for_all_workers(run_lb, http_backend, connect):
    text = "worker_processes 3;\n" + CONF.replace("listen 127.0.0.1:@http@;", "listen 127.0.0.1:@http@ reuseport;")
    lb = run_lb(text, backend=http_backend().address, server="")
    for key in range(20):
        statuses = []
        for _ in range(5):
            with lb.client() as client:
                statuses.append(client.request(target=f"/burst?k={key}").status)
        assert statuses == [200, 200, 200, 503, 503]


def test_a_full_zone_forgets_the_oldest(run_lb, http_backend, connect):
    """128k hold 5,000 keys: 8,000 pass all the same, and one that was seen just now is still known."""
    lb = run_lb(CONF, backend=http_backend().address, server="keepalive_requests 100000;")
    client = connect(lb.port("http"))
    for start in range(0, 8000, 100):
        head = "".join(f"GET /full?k={key} HTTP/1.1\r\nHost: h\r\n\r\n" for key in range(start, start + 100))
        client.send(head.encode())
        assert {client.response().status for _ in range(100)} == {404}
    assert "limiting requests" not in lb.log
    assert client.request(target="/?k=7999").status == 503


def test_limit_req_status(run_lb, http_backend, connect):
    text = CONF.replace("access_log access.log;", "log_format s '$limit_req_status'; access_log access.log s;")
    lb = run_lb(text, backend=http_backend().address, server="")
    client = connect(lb.port("http"))
    for target in ("/own", "/?k=a", "/?k=a"):
        client.request(target=target)
    pair = [connect(lb.port("http")) for _ in range(2)]
    with at_one_time(lb):
        for one in pair:
            one.send(b"GET /half/file?k=a HTTP/1.1\r\nHost: h\r\n\r\n")
    assert [one.response().status for one in pair] == [404, 404]
    for target in ("/dry?k=a", "/return?k=a", "/page?k=a"):
        client.request(target=target)
    log = lb.directory / "access.log"
    said = ["-", "PASSED", "REJECTED", "PASSED", "DELAYED", "REJECTED_DRY_RUN", "-", "REJECTED"]
    wait_for(lambda: log.read_text().split() == said, lambda: log.read_text())
