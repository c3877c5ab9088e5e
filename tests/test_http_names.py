"""Field names with other bytes than letters, digits and hyphens: of those that are tokens, nginx's choice stays."""

from __future__ import annotations

import pytest

SERVERS = """
http {
    access_log off;
    @setting@
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://@backend@; }
        location /own { return 200 "$http_x_blah|$http_xblah|$http_a.b"; }
    }
}
"""
NAMES = ("x-blah", "x_blah", "X_Blah", "_", "x.blah", ".", "x-b!#$%&'*+^`|~lah", "x_.y", "9", "-")
KEPT = {
    "": {"x-blah", "9", "-"},
    "underscores_in_headers on;": {"x-blah", "x_blah", "X_Blah", "_", "9", "-"},
    "ignore_invalid_headers off;": set(NAMES),
    "ignore_invalid_headers off; underscores_in_headers on;": set(NAMES),
    "ignore_invalid_headers on; underscores_in_headers off;": {"x-blah", "9", "-"},
}


@pytest.mark.parametrize("setting", KEPT, ids=range(len(KEPT)))
def test_what_the_server_gets(pair, http_backend, setting):
    backend = http_backend()
    both = pair(SERVERS, backend, setting=setting)
    headers = "".join(f"{name}: {place}\r\n" for place, name in enumerate(NAMES))
    assert both.ask(headers=headers).status == 200
    for request in backend.requests[:2]:  # lb's, and nginx's
        got = {name for place, name in enumerate(NAMES) if (name.lower(), str(place)) in request.headers}
        assert got == KEPT[setting]
    assert len(backend.requests) == (2 if both.nginx else 1)


@pytest.mark.parametrize("setting", KEPT, ids=range(len(KEPT)))
@pytest.mark.parametrize("name", ["X-Blah", "X_Blah", "X.Blah"])
def test_variables(pair, setting, name):
    assert pair(SERVERS.replace("proxy_pass http://@backend@;", ""), setting=setting).ask(
        "/own", headers=f"{name}: seen\r\n"
    ).body == (b"seen||.b" if name in KEPT[setting] or name == "X-Blah" else b"||.b")


def test_the_log_tells_what_was_dropped(run_lb, http_backend, connect):
    backend = http_backend()
    lb = run_lb(SERVERS, setting="", backend=backend.address)
    assert connect(lb.port("http")).request(headers="X.Y: a\x01\r\n".replace("\x01", "\t") + "A_B: c\r\n").status == 200
    for line in (r"X.Y: a", "A_B: c"):
        lb.wait_log(rf'\[info\] \d+#\d+: \*\d+ client sent invalid header line: "{line}", client: 127.0.0.1, server: ')


@pytest.mark.parametrize("name", ["x(y)", "x y", "x@y", "x\x80y", "x,y"])
def test_what_is_no_token_is_refused_in_any_case(run_lb, http_backend, connect, name):
    """As http-strictness.md says; nginx lets some of them pass with ignore_invalid_headers off."""
    backend = http_backend()
    lb = run_lb(SERVERS, setting="ignore_invalid_headers off;", backend=backend.address)
    assert connect(lb.port("http")).request(headers=f"{name}: 1\r\n").status == 400
    assert backend.requests == []
