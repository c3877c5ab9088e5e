"""Sticky sessions through the real lb: cookie, route, learn, drain; several workers, a reload, a killed worker, Consul;
and what nginx 1.30 was seen to answer (its Set-Cookie, which of two cookies counts, which server a route means)."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import threading
import urllib.request

import pytest

from lb.status.snapshot import SHOWN
from tests.harness.backend import Reply
from tests.harness.wait import wait_for

METHODS = (
    "", "least_conn;", "least_time header;", "ip_hash;", "hash $uri;", "hash $uri consistent;", "random;",
    "random two;",
)  # fmt: skip
CONF = """
worker_processes @workers@;
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    upstream u { @method@ @servers@ @sticky@ }
    server {
        listen 127.0.0.1:@http@;
        @inside@
        location / { proxy_pass http://u; }
    }
}
"""
LEARN = "sticky learn create=$upstream_cookie_sid create=$arg_create lookup=$cookie_sid lookup=$arg_sid zone=z:%s %s;"


@pytest.fixture
def sticky(run_lb):
    """sticky("cookie srv", *"address parameters") -> Lb."""

    def start(words, *servers, method="", workers=1, inside=""):
        line = words if words.startswith("sticky") else f"sticky {words};"
        return run_lb(CONF, **values(line, servers, method, workers, inside))

    return start


def values(line, servers, method="", workers=1, inside=""):
    lines = " ".join(f"server {server};" for server in servers)
    return {"sticky": line, "servers": lines, "method": method, "workers": workers, "inside": inside}


def md5(text):
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def with_cookie(value):
    return {"headers": f"Cookie: {value}\r\n"}


def bodies(client, count, **options):
    return {client.request(**options).body.decode() for _ in range(count)}


def names_sid(text):
    """An application that gives each client a session."""
    return lambda _: Reply(body=text, headers=[("Set-Cookie", f"sid=of-{text.decode()}; Path=/")])


# ---- cookie


@pytest.mark.parametrize("method", METHODS)
def test_cookie_binds_whatever_the_method(sticky, http_backend, connect, method):
    """The route is `route=` or the MD5 of the address; the cookie comes with each answer."""
    backends = [http_backend() for _ in range(3)]
    first, *others = [one.address for one in backends]
    client = connect(sticky("cookie srv", f"{first} route=one", *others, method=method).port("http"))
    for address, route in ((first, "one"), *[(one, md5(one)) for one in others]):
        for _ in range(3):
            answer = client.request(headers=f"Cookie: a=b; srv={route}; c=d\r\n")
            assert (answer.body.decode(), answer.header("set-cookie")) == (address, f"srv={route}")
    assert client.request().header("set-cookie") in {f"srv={one}" for one in ("one", *map(md5, others))}


@pytest.mark.parametrize("method", METHODS[1:])
def test_the_method_may_stand_behind(run_lb, http_backend, connect, method):
    a, b = http_backend(), http_backend()
    made = values("", [f"{a.address} route=a", f"{b.address} route=b"])
    client = connect(run_lb(CONF, **(made | {"method": f"sticky cookie srv; {method}"})).port("http"))
    assert bodies(client, 4, **with_cookie("srv=a")) == {a.address}
    assert bodies(client, 4, **with_cookie("srv=b")) == {b.address}


def test_all_attributes(sticky, http_backend, connect):
    """nginx's order, whatever the order in the file; the date of Netscape's cookies."""
    words = "cookie srv path=/p samesite=lax secure httponly domain=.x.y expires=1h"
    answer = connect(sticky(words, f"{http_backend().address} route=a").port("http")).request()
    match = re.fullmatch(
        r"srv=a; expires=[A-Z][a-z]{2}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT; max-age=3600; domain=\.x\.y; "
        r"httponly; secure; samesite=lax; path=/p",
        answer.header("set-cookie"),
    )
    assert match


def test_the_longest_expires_and_years_of_four_digits(sticky, http_backend, connect):
    address = http_backend().address
    cookie = connect(sticky("cookie srv expires=max", f"{address} route=a").port("http")).request().header("set-cookie")
    assert cookie == "srv=a; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000"
    cookie = connect(sticky("cookie srv expires=50y", f"{address} route=a").port("http")).request().header("set-cookie")
    assert re.fullmatch(r"srv=a; expires=\w{3}, \d\d-\w{3}-20[6-9]\d [\d:]{8} GMT; max-age=1576800000", cookie)


@pytest.mark.parametrize(
    ("query", "made"),
    [
        ("", ""),
        ("?s=Lax&d=foo", "; domain=foo; samesite=Lax"),
        ("?s=loose", "; samesite=strict"),
        ("?s=NONE", "; samesite=NONE"),
        ("?d=a;%20evil=1", "; domain=a"),  # nginx would write what the client sent
        ("?s=none;evil", "; samesite=none"),
    ],
)
def test_attributes_with_variables(sticky, http_backend, connect, query, made):
    lb = sticky("cookie srv samesite=$arg_s domain=$arg_d", f"{http_backend().address} route=a")
    assert connect(lb.port("http")).request("GET", f"/{query}").header("set-cookie") == f"srv=a{made}"


@pytest.mark.parametrize(
    ("cookie", "bound"),
    [
        ("srv=b", True),
        ("SRV=b", True),  # nginx: names without case
        ("srv=b; srv=garbage", True),  # the first counts
        ("srv=garbage; srv=b", False),
        ("srv=B", False),
        ('srv="b"', False),
        ("srv=", False),
        ("srv=b" + "b" * 40, False),
        ("srv=" + "x" * 3000, False),
        ("srv=b\x80", False),
        ("xsrv=b", False),
    ],
)
def test_which_cookie_counts(sticky, http_backend, connect, cookie, bound):
    a, b, c = http_backend(), http_backend(), http_backend()
    client = connect(sticky("cookie srv", f"{a.address} route=a", f"{b.address} route=b", c.address).port("http"))
    got = [client.request(headers=f"Cookie: {cookie}\r\n").body.decode() for _ in range(6)]
    assert (set(got) == {b.address}) == bound
    assert bound or len(set(got)) == 3


def test_the_cookie_beside_those_of_the_server(sticky, http_backend, connect):
    """proxy_hide_header and proxy_cookie_* are for the server's; add_header sees lb's."""
    app = http_backend(lambda _: Reply(headers=[("Set-Cookie", "own=1; path=/")]))
    inside = """
        add_header X-Set $sent_http_set_cookie;
        proxy_cookie_path / /p;
        location /hide { proxy_hide_header Set-Cookie; proxy_cookie_flags srv secure; proxy_pass http://u; }
    """
    client = connect(sticky("cookie srv", f"{app.address} route=a", inside=inside).port("http"))
    answer = client.request()
    assert sorted(answer.all("set-cookie")) == ["own=1; path=/p", "srv=a"]
    assert "srv=a" in answer.header("x-set")
    assert client.request("GET", "/hide").all("set-cookie") == ["srv=a"]


def test_away_and_back(sticky, http_backend, connect):
    """A server that fails: another one, and its cookie, in the same request; the old one again when it is there."""
    a, b = http_backend(), http_backend()
    lb = sticky("cookie srv", f"{a.address} route=a max_fails=1 fail_timeout=1", f"{b.address} route=b")
    client = connect(lb.port("http"))
    assert bodies(client, 3, **with_cookie("srv=a")) == {a.address}
    a.stop()
    for _ in range(3):
        answer = client.request(headers="Cookie: srv=a\r\n")
        assert (answer.status, answer.body.decode(), answer.header("set-cookie")) == (200, b.address, "srv=b")
    http_backend(lambda _: Reply(body=b"back"), port=a.port)
    wait_for(lambda: client.request(headers="Cookie: srv=a\r\n").body == b"back")
    assert bodies(client, 3, **with_cookie("srv=a")) == {"back"}


def test_nobody_is_left(sticky, raw_backend, connect):
    """The answer that lb makes has the cookie of the server that was asked last; without any server there is none."""
    a = raw_backend(lambda connection: connection.recv_head())  # closes without an answer
    lb = sticky("cookie srv", f"{a.address} route=a", "127.0.0.1:1 route=b down")
    answer = connect(lb.port("http")).request(headers="Cookie: srv=a\r\n")
    assert (answer.status, answer.header("set-cookie")) == (502, "srv=a")
    wait_for(lambda: (said := connect(lb.port("http")).request()).status == 502 and said.header("set-cookie") is None)


def test_max_conns_and_down(sticky, http_backend, connect):
    release = threading.Event()
    a = http_backend(lambda _: Reply(body=b"a", wait=release))
    b = http_backend()
    lb = sticky("cookie srv", f"{a.address} route=a max_conns=1", f"{b.address} route=b", "127.0.0.1:1 route=c down")
    held = connect(lb.port("http")).send(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: srv=a\r\n\r\n")
    wait_for(lambda: a.requests)
    client = connect(lb.port("http"))
    answer = client.request(headers="Cookie: srv=a\r\n")
    assert (answer.body.decode(), answer.header("set-cookie")) == (b.address, "srv=b")
    release.set()
    assert held.response().body == b"a"
    assert bodies(client, 3, **with_cookie("srv=a")) == {"a"}
    assert bodies(client, 3, **with_cookie("srv=c")) <= {"a", b.address}


def test_backup_is_bound_to_only_without_primaries(sticky, http_backend, connect):
    a, b, c = http_backend(), http_backend(), http_backend()
    backups = (f"{b.address} route=b backup", f"{c.address} route=c backup")
    lb = sticky("cookie srv", f"{a.address} max_fails=1 fail_timeout=60", *backups)
    client = connect(lb.port("http"))
    assert bodies(client, 3, **with_cookie("srv=b")) == {a.address}
    a.stop()
    client.request()
    assert bodies(client, 4, **with_cookie("srv=b")) == {b.address}
    assert bodies(client, 4, **with_cookie("srv=c")) == {c.address}


def test_one_route_for_two(sticky, http_backend, connect):
    a, b, c = http_backend(), http_backend(), http_backend()
    lb = sticky("cookie srv", f"{a.address} route=x", f"{b.address} route=x", f"{c.address} route=y")
    assert bodies(connect(lb.port("http")), 4, **with_cookie("srv=x")) == {a.address}


def test_error_page_keeps_the_cookie(sticky, http_backend, connect):
    """The answer of another location: nginx says the cookie of the server that was asked."""
    app = http_backend(lambda _: Reply(status=500))
    inside = "error_page 500 @e; proxy_intercept_errors on; location @e { return 500 own; }"
    answer = connect(sticky("cookie srv", f"{app.address} route=a", inside=inside).port("http")).request()
    assert (answer.status, answer.body, answer.header("set-cookie")) == (500, b"own", "srv=a")


def test_websocket(sticky, raw_backend, connect):
    def switch(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        connection.recv_to_end()

    app = raw_backend(switch)
    inside = """location /ws {
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://u;
    }"""
    client = connect(sticky("cookie srv", f"{app.address} route=a", inside=inside).port("http"))
    client.send(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = client.recv_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") and b"\r\nSet-Cookie: srv=a\r\n" in head


def test_four_workers_and_a_reload(sticky, http_backend, connect):
    """Nothing is kept: each worker, and each new one, knows the cookie; servers that a reload adds change nothing."""
    a, b, c = http_backend(), http_backend(), http_backend()
    lb = sticky("cookie srv", a.address, b.address, workers=4)
    cookie = f"srv={md5(b.address)}"
    assert {connect(lb.port("http")).request(**with_cookie(cookie)).body for _ in range(40)} == {b.address.encode()}
    made = values("sticky cookie srv;", [c.address, b.address, a.address], "least_conn;", workers=4)
    lb.reload(CONF, **made)
    assert {connect(lb.port("http")).request(**with_cookie(cookie)).body for _ in range(40)} == {b.address.encode()}


def test_ten_thousand_servers(sticky, http_backend, connect):
    b = http_backend()
    servers = [f"127.1.{n >> 8}.{n & 255}:9 route=r{n}" for n in range(10_000)]
    lb = sticky("cookie srv", *servers[:7000], f"{b.address} route=here", *servers[7000:], method="least_conn;")
    assert bodies(connect(lb.port("http")), 20, **with_cookie("srv=here")) == {b.address}


# ---- route


@pytest.mark.parametrize(
    ("query", "bound"),
    [("x=b", True), ("y=b", True), ("x=&y=b", True), ("x=zz&y=b", False), ("x=a&y=b", False), ("", False)],
)
def test_route_is_the_first_variable_that_is_not_empty(sticky, http_backend, connect, query, bound):
    a, b, c = http_backend(), http_backend(), http_backend()
    servers = (f"{a.address} route=a", f"{b.address} route=b", f"{c.address} route=c")
    client = connect(sticky("route $arg_x $arg_y", *servers).port("http"))
    answers = [client.request("GET", f"/?{query}") for _ in range(6)]
    assert ({one.body.decode() for one in answers} == {b.address}) == bound
    assert not any(one.all("set-cookie") for one in answers)


def test_route_without_route_is_the_md5(sticky, http_backend, connect):
    a, b = http_backend(), http_backend()
    client = connect(sticky("route $arg_x", a.address, b.address).port("http"))
    for one in (a, b):
        assert {client.request("GET", f"/?x={md5(one.address)}").body.decode() for _ in range(4)} == {one.address}


# ---- learn


def learned(client, sid, count=4):
    return {client.request("GET", f"/?sid={sid}").body.decode() for _ in range(count)}


def three(http_backend):
    return [http_backend(names_sid(text)) for text in (b"a", b"b", b"c")]


@pytest.mark.parametrize("words", ["", "header", "timeout=1h header"])
def test_learn_from_the_servers_cookie(sticky, http_backend, connect, words):
    """Four workers know what one has learned, from an answer of any status."""
    servers = [one.address for one in three(http_backend)]
    lb = sticky(LEARN % ("1m", words), *servers, workers=4)
    for _ in range(12):
        client = connect(lb.port("http"))
        body = client.request().body.decode()
        assert learned(connect(lb.port("http")), f"of-{body}") == {body}
        assert bodies(connect(lb.port("http")), 3, headers=f"Cookie: sid=of-{body}\r\n") == {body}


def test_learn_from_a_long_answer(sticky, http_backend, connect):
    """Its bytes pass by splice."""

    def long(text):
        return lambda _: Reply(body=text * 3_000_000, headers=[("Set-Cookie", f"sid={text.decode()}")])

    a, b = http_backend(long(b"a")), http_backend(long(b"b"))
    client = connect(sticky(LEARN % ("1m", ""), a.address, b.address).port("http"))
    client.request()
    client.request()
    for text in (b"a", b"b"):
        assert {client.request("GET", f"/?sid={text.decode()}").body[:1] for _ in range(2)} == {text}


def test_learn_follows_the_last_answer_and_knows_no_others(sticky, http_backend, connect):
    """A session that comes again from another server is that one's; one that was never named is nobody's."""
    a, b = http_backend(), http_backend()
    client = connect(sticky(LEARN % ("32k", ""), a.address, b.address).port("http"))
    for _ in range(4):
        body = client.request("GET", "/?create=S").body.decode()
        assert learned(client, "S", 3) == {body}
    assert learned(client, "unknown") == {a.address, b.address}
    assert {client.request("GET", "/?sid=S", headers="Cookie: sid=unknown\r\n").body.decode() for _ in range(4)} == {
        a.address, b.address,
    }  # fmt: skip


@pytest.mark.parametrize(("words", "at_once"), [("header", True), ("", False)])
def test_learn_when_the_answer_is_whole_or_at_its_head(sticky, raw_backend, connect, words, at_once):
    release = threading.Event()

    def serve(name, first, rest):
        def script(connection):
            while connection.recv_head():
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-From: %s\r\n%s\r\n\r\na" % (name, first))
                rest()
                connection.send(b"a")

        return script

    slow = raw_backend(serve(b"slow", b"Set-Cookie: sid=S", lambda: release.wait(30)))
    quick = raw_backend(serve(b"quick", b"X: x", lambda: None))
    lb = sticky(LEARN % ("1m", words), slow.address, quick.address, inside="proxy_buffering off;")
    head = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    held = connect(lb.port("http")).send(head % b"")
    assert b"X-From: slow" in held.recv_until(b"\r\n\r\na")
    more = [connect(lb.port("http")).send(head % b"?sid=S") for _ in range(4)]
    found = [b"X-From: slow" in one.recv_until(b"\r\n\r\na") for one in more]
    assert all(found) == at_once
    release.set()
    for one in (held, *more):
        assert one.recv_exactly(1) == b"a"
    client = connect(lb.port("http"))
    assert {client.request("GET", "/?sid=S").header("x-from") for _ in range(4)} == {"slow"}


def test_learn_forgets_after_its_timeout(sticky, http_backend, connect):
    """Each use begins it anew; then the session is nobody's."""
    a, b = http_backend(), http_backend()
    client = connect(sticky(LEARN % ("1m", "timeout=300ms"), a.address, b.address).port("http"))
    body = client.request("GET", "/?create=S").body.decode()
    wait_for(lambda: client.request("GET", "/?sid=S").body.decode() != body or not threading.Event().wait(0.7))
    assert {client.request("GET", "/?sid=S").body.decode() for _ in range(4)} == {a.address, b.address}


def test_learn_pushes_out_the_longest_unused(sticky, http_backend, connect):
    """A zone of 32 KB has 256 sets of five: no more sessions than that, and those in use stay."""
    a, b = http_backend(), http_backend()
    client = connect(sticky(LEARN % ("32k", ""), a.address, b.address, inside="keepalive_requests 10000;").port("http"))
    body = client.request("GET", "/?create=kept").body.decode()
    client.request("GET", "/?create=early&sid=kept")
    assert learned(client, "kept") == learned(client, "early") == {body}
    for number in range(3000):
        assert client.request("GET", f"/?create=S{number}&sid=kept").body.decode() == body
    assert learned(client, "kept") == {body}
    assert learned(client, "early") == {a.address, b.address}


def test_learn_outlives_a_worker_and_a_reload(sticky, http_backend, connect):
    """The zone is kept where name and size are; with another size it begins empty."""
    a, b, c = three(http_backend)
    lb = sticky(LEARN % ("1m", ""), a.address, b.address, c.address)
    body = connect(lb.port("http")).request().body.decode()
    (worker,) = lb.workers
    lb.expect_log(r"exited on signal 9|killed|died")
    worker.send_signal(signal.SIGKILL)
    wait_for(lambda: worker.pid not in [one.pid for one in lb.workers] and lb.worker_count == 1)
    lb.remember_workers()
    assert learned(connect(lb.port("http")), f"of-{body}") == {body}
    order = [c.address, b.address, a.address]
    lb.reload(CONF, **values(LEARN % ("1m", ""), order, "least_conn;", workers=2))
    assert learned(connect(lb.port("http")), f"of-{body}") == {body}
    lb.reload(CONF, **values(LEARN % ("2m", ""), order))
    assert learned(connect(lb.port("http")), f"of-{body}", 6) == {"a", "b", "c"}


def test_learn_goes_on_with_another_server(sticky, http_backend, connect):
    a, b = http_backend(names_sid(b"a")), http_backend(lambda _: Reply(body=b"b"))
    lb = sticky(LEARN % ("1m", ""), f"{a.address} max_fails=1 fail_timeout=60", b.address)
    client = connect(lb.port("http"))
    wait_for(lambda: client.request().body == b"a")
    a.stop()
    assert bodies(client, 4, headers="Cookie: sid=of-a\r\n") == {"b"}


# ---- drain


@pytest.mark.parametrize("method", METHODS)
def test_drain_serves_only_what_is_bound(sticky, http_backend, connect, method):
    a, b, c = http_backend(), http_backend(), http_backend()
    lb = sticky("cookie srv", f"{a.address} route=a drain", f"{b.address} route=b", c.address, method=method)
    client = connect(lb.port("http"))
    assert bodies(client, 4, **with_cookie("srv=a")) == {a.address}
    assert a.address not in bodies(client, 12) | {client.request("GET", f"/{n}").body.decode() for n in range(20)}


def test_all_drain(sticky, http_backend, connect):
    a, b = http_backend(), http_backend()
    client = connect(sticky("cookie srv", f"{a.address} route=a drain", f"{b.address} route=b drain").port("http"))
    assert bodies(client, 4, **with_cookie("srv=b")) == {b.address}
    answer = client.request()
    assert (answer.status, answer.all("set-cookie")) == (502, [])


def state_of(lb, address):
    with urllib.request.urlopen(f"http://127.0.0.1:{lb.port('status')}/status.json", timeout=10) as answer:
        (upstream,) = json.load(answer)["upstreams"]
    return next(one for one in upstream["servers"] if one["address"] == address)


def test_drain_is_seen(sticky, http_backend, connect):
    a, b = http_backend(), http_backend()
    lb = sticky("cookie srv", f"{a.address} drain", b.address)
    found = wait_for(lambda: one if (one := state_of(lb, a.address))["state"] == "draining" else None)
    assert found["drain"] and not found["down"]
    assert (state_of(lb, b.address)["state"], state_of(lb, b.address)["drain"]) == ("up", False)
    with urllib.request.urlopen(f"http://127.0.0.1:{lb.port('status')}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    drains = [line for line in text.splitlines() if line.startswith("lb_server_state{") and a.address in line]
    assert len(drains) == len(SHOWN)
    assert {line.rpartition(" ")[2] for line in drains if 'state="draining"' in line} == {"1"}


CONSUL = """
status_listen 127.0.0.1:@status@;
http {
    access_log off;
    upstream u {
        upsync @path@ upsync_type=consul upsync_interval=50ms;
        upsync_dump_path @dump@;
        server 127.0.0.1:1;
        sticky cookie srv;
    }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
}
"""


@pytest.mark.consul
def test_servers_from_consul(run_lb, http_backend, connect, consul, tmp_path):
    """Their route is the MD5; one is drained, leaves and comes back while clients are bound to it."""
    a, b = http_backend(), http_backend()
    for one in (a, b):
        consul.put("u", one.address, '{"weight": 1}')
    lb = run_lb(CONSUL, path=consul.path("u"), dump=tmp_path / "d")
    client = connect(lb.port("http"))
    bound = with_cookie(f"srv={md5(a.address)}")
    wait_for(lambda: client.request(**bound).body.decode() == a.address)
    assert bodies(client, 4, **bound) == {a.address}
    consul.put("u", a.address, '{"weight": 1, "drain": 1}')
    wait_for(lambda: state_of(lb, a.address)["state"] == "draining")
    assert bodies(client, 4) == {b.address}
    assert bodies(client, 4, **bound) == {a.address}
    wait_for(lambda: " drain;" in (tmp_path / "d").read_text())
    consul.delete("u", a.address)
    wait_for(lambda: client.request(**bound).header("set-cookie") == f"srv={md5(b.address)}")
    consul.put("u", a.address, '{"weight": 1}')
    wait_for(lambda: client.request(**bound).body.decode() == a.address)
