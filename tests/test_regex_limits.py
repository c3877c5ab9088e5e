"""A regular expression that reaches PCRE2's limits says neither yes nor no: 500, and a line with its place.

HOSTILE makes `^(a+)+$` reach the limit of backtracks. What a rule would have done with "no match" must not happen: the
rules here let the request through, or to a backend, when they do not match.
"""

from __future__ import annotations

import pytest

from tests.harness.backend import Reply
from tests.harness.wait import wait_for

HOSTILE = "a" * 60 + "!"

HTTP = """
http {
    access_log off;
    map $arg_x $mapped { ~^(a+)+$ yes; default no; }
    upstream by_key { hash $mapped consistent; server @backend@; }
    upstream no { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        RULE
    }
}
"""

PLACES = {
    "if": 'location / { if ($arg_x ~ ^(a+)+$) { return 403; } return 200 "open"; }',
    "if not": 'location / { if ($arg_x !~ ^(a+)+$) { return 200 "open"; } return 403; }',
    "if in server": 'if ($arg_x ~ ^(a+)+$) { return 403; } location / { return 200 "open"; }',
    "if, nothing follows": "location / { proxy_pass http://@backend@; if ($arg_x ~ ^(a+)+$) { return 403; } }",
    "map in if": 'location / { if ($mapped) { return 403; } return 200 "open"; }',
    "map in set": 'location / { set $y $mapped; return 200 "open"; }',
    "map in set last": "location / { proxy_pass http://@backend@; set $y $mapped; }",
    "map in return": 'location / { return 200 "$mapped"; }',
    "map in redirect": "location / { return 301 /$mapped; }",
    "map in rewrite": 'location / { rewrite ^ /b$mapped? last; } location /b { return 200 "open"; }',
    "map in add_header": 'location / { add_header X-Mapped $mapped; return 200 "open"; }',
    "map in add_trailer": 'location / { add_trailer X-Mapped $mapped; return 200 "open"; }',
    "map in expires": 'location / { expires $mapped; return 200 "open"; }',
    "map in a request field": "location / { proxy_set_header X-Mapped $mapped; proxy_pass http://@backend@; }",
    "map in a body": "location / { proxy_set_body $mapped; proxy_pass http://@backend@; }",
    "map in proxy_pass": "location / { proxy_pass http://$mapped; }",
    "map in hash": "location / { proxy_pass http://by_key; }",
    "map in root": "location / { root /$mapped; }",
    "map in try_files": 'location / { try_files /$mapped @open; } location @open { return 200 "open"; }',
    "map in index": "location / { index $mapped.html; }",
    "map in error_page": 'location / { error_page 404 /$mapped; return 404; } location /n { return 200 "open"; }',
    "map in the proxied answer": "location / { add_header X-Mapped $mapped; proxy_pass http://@backend@; }",
    "location": 'location ~ ^/(a+)+$ { return 403; } location / { return 200 "open"; }',
    "nested location": 'location / { location ~ ^/(a+)+$ { return 403; } return 200 "open"; }',
    "rewrite": 'rewrite ^/(a+)+$ /shut last; location /shut { return 403; } location / { return 200 "open"; }',
    "rewrite in location": "location / { proxy_pass http://@backend@; rewrite ^/(a+)+$ /shut break; }",
    "proxy_redirect": "location / { proxy_redirect ~^(a+)+$ /in; proxy_pass http://@backend@; }",
    "proxy_cookie_path": "location / { proxy_cookie_path ~^(a+)+$ /in; proxy_pass http://@backend@; }",
    "proxy_cookie_domain": "location / { proxy_cookie_domain ~^(a+)+$ in; proxy_pass http://@backend@; }",
    "proxy_cookie_flags": "location / { proxy_cookie_flags ~^(a+)+$ secure; proxy_pass http://@backend@; }",
    "with error_page": 'error_page 500 =200 /$mapped; location / { return 200 "$mapped"; }',
    "recursive": 'recursive_error_pages on; error_page 500 /$mapped; location / { return 200 "$mapped"; }',
}
AFTER_ASKING = ("proxied answer", "proxy_redirect", "proxy_cookie")  # these places see the server's answer first


SAID = 'pcre2_match() failed: -47 using "^'


def tempting(request):
    if HOSTILE not in request.target:
        return Reply(200, body=b"text")
    fields = [("Location", HOSTILE), ("Set-Cookie", f"{HOSTILE}=1; Path={HOSTILE}; Domain={HOSTILE}")]
    return Reply(200, body=b"open", headers=fields)


@pytest.mark.parametrize("place", PLACES)
def test_an_expression_that_gives_up_is_500(place, run_lb, http_backend, connect):
    backend = http_backend(tempting)
    lb = run_lb(HTTP.replace("RULE", PLACES[place]), backend=backend.address)
    answer = connect(lb.port("http")).request("GET", f"/{'' if 'index' in place else HOSTILE}?x={HOSTILE}")
    assert (answer.status, b"open" in answer.body) == (500, False), answer
    assert answer.header("set-cookie") is None and answer.header("location") is None, answer
    wait_for(lambda: SAID in lb.log, "the line in the log")
    lines = lb.file.read_text().splitlines()
    line = next(one for one in lb.log.splitlines() if SAID in one)
    expressions = [at for at, one in enumerate(lines, 1) if "(a+)+$" in one]  # the map's, the rule's
    assert f"in {lb.file}:{expressions[-1]}, client: " in line, line
    assert len(backend.requests) == any(word in place for word in AFTER_ASKING)
    assert connect(lb.port("http")).request("GET", "/b?x=b").status != 500, "something of the failure has stayed"


def test_server_name(run_lb, connect):
    lb = run_lb(
        """
        http {
            access_log off;
            server { listen 127.0.0.1:@http@; return 200 "open"; }
            server { listen 127.0.0.1:@http@; server_name ~^(a+)+$; return 403; }
        }
        """
    )
    answer = connect(lb.port("http")).request(headers=f"Host: {'a' * 60}-\r\n")
    assert (answer.status, b"open" in answer.body) == (500, False), answer
    wait_for(lambda: SAID in lb.log, "the line in the log")
    assert connect(lb.port("http")).request(headers="Host: aaa\r\n").status == 403


STREAM = """
stream {
    map %s $mapped { ~^(a+)+$ yes; default @backend@; }
    upstream by_key { hash $mapped; server @backend@; }
    server { listen 127.0.0.1:@tcp@; %s }
}
"""


@pytest.mark.parametrize(
    "rule", ["return open$mapped;", "proxy_pass $mapped;", "proxy_pass by_key;", "set $x $mapped; proxy_pass by_key;"]
)
def test_a_session_ends(rule, run_lb, http_backend, connect):
    backend = http_backend()
    lb = run_lb(STREAM % (HOSTILE, rule), backend=backend.address)
    connect(lb.port("tcp")).expect_closed()
    wait_for(lambda: f'{SAID}(a+)+$" in {lb.file}:' in lb.log, "the line in the log")
    assert not backend.requests


def test_what_needs_more_than_the_jits_stack_matches(run_lb, connect):
    """PCRE2 without JIT, as nginx is by default, has the heap: lb's answer is no other one."""
    lb = run_lb(
        """
        http {
            access_log off;
            large_client_header_buffers 4 60k;
            server {
                listen 127.0.0.1:@http@;
                location ~ ^/((a)|b)*$ { return 200 "match"; }
                location / { return 404; }
            }
        }
        """
    )
    assert connect(lb.port("http")).request("GET", "/" + "ab" * 20000).body == b"match"
    assert "pcre2_match() failed" not in lb.log


def test_a_tunnel_does_not_begin(run_lb, raw_backend, connect):
    """The server has said 101: the client gets 500, and nothing of what it sends goes to the server."""
    rest = []

    def switches(connection):
        connection.recv_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nopen")
        rest.append(connection.recv())

    lb = run_lb(
        HTTP.replace(
            "RULE",
            """location / {
                proxy_pass http://@backend@;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection upgrade;
                add_header X-Mapped $mapped always;
            }""",
        ),
        backend=raw_backend(switches).address,
    )
    client = connect(lb.port("http"))
    answer = client.request("GET", f"/?x={HOSTILE}", headers="Host: a\r\nUpgrade: x\r\nConnection: upgrade\r\n")
    assert (answer.status, b"open" in answer.body) == (500, False), answer
    wait_for(lambda: rest == [b""], "the server's connection is closed")
    wait_for(lambda: SAID in lb.log, "the line in the log")


REDIRECTS = {
    "what is kept": [("X-Accel-Redirect", "/in"), ("Set-Cookie", f"a=1; Path={HOSTILE}")],
    "the next location": [("X-Accel-Redirect", f"/in?x={HOSTILE}")],
}


@pytest.mark.parametrize("headers", REDIRECTS.values(), ids=REDIRECTS)
def test_an_internal_redirect_of_a_server(headers, run_lb, http_backend, connect):
    """In what is kept of its answer, or in the location that it leads to."""
    backend = http_backend(lambda _: Reply(200, headers=headers))
    lb = run_lb(
        HTTP.replace(
            "RULE",
            """location / { proxy_pass http://@backend@; proxy_cookie_path ~^(a+)+$ /in; }
            location /in { add_header X-Mapped $mapped; return 200 "open"; }""",
        ),
        backend=backend.address,
    )
    answer = connect(lb.port("http")).request()
    assert (answer.status, b"open" in answer.body) == (500, False), answer
    assert answer.header("set-cookie") is None
    wait_for(lambda: SAID in lb.log, "the line in the log")
