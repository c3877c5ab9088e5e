"""Locations without a final slash, with `alias` or proxy_pass and a path: nothing beside what was meant is reached."""

from __future__ import annotations

import pytest

from tests.harness.backend import Reply

TEXT = """
http {
    access_log off;
    server { listen 127.0.0.1:@http@; @inside@ }
}
"""


@pytest.fixture
def site(tmp_path):
    """site/in/a is what may be read; site/in-x/a, site/x and site/inside lie beside it."""
    root = tmp_path / "site"
    for name in ("in/a", "in/d/index.html", "in-x/a", "in-x/index.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("inside" if name.startswith("in/") else "secret")
    (root / "x").write_text("secret")
    (root / "in.bak").write_text("secret")
    return root


def statuses(lb, targets):
    found = {}
    for target in targets:
        with lb.client() as client:
            answer = client.request(target=target)
            assert b"secret" not in answer.body, target
            found[target] = answer.status
    return found


def test_alias(run_lb, site):
    lb = run_lb(
        TEXT,
        inside=f"""
        location /s {{ alias {site}/in/; }}
        location ^~ /n {{ alias {site}/in; }}
        location /f {{ alias {site}/in/a; }}
        location /t {{ alias {site}/in; try_files $uri $uri/ =404; }}
        location /i {{ alias {site}/in; index d/../../x; }}
        location = /e {{ alias {site}/in/a; }}
    """,
    )
    lb.expect_log("leads out of its root")
    assert statuses(lb, ["/s/a", "/sa", "/n/a", "/n/d/", "/f", "/t/a", "/e"]) == dict.fromkeys(
        ["/s/a", "/sa", "/n/a", "/n/d/", "/f", "/t/a", "/e"], 200
    )
    assert statuses(
        lb, ["/s../x", "/s../in-x/a", "/n-x/a", "/n-x/", "/n.bak", "/n../x", "/f.bak", "/n%2ebak"]
    ) == dict.fromkeys(["/s../x", "/s../in-x/a", "/n-x/a", "/n-x/", "/n.bak", "/n../x", "/f.bak", "/n%2ebak"], 403)
    assert statuses(lb, ["/t-x/a", "/t.bak"]) == {"/t-x/a": 404, "/t.bak": 404}  # try_files: it is not there


PASSED = {
    "/slash/a": "/v1//a", "/slash": "/v1/", "/slasha": "/v1/a", "/slash%2fa": "/v1//a", "/slash..a": "/v1/..a",
    "/none/a": "/v1/a", "/none": "/v1", "/none?q": "/v1?q", "/none/..a": "/v1/..a",
    "/root": "/", "/roota": "/a", "/root/a": "//a",
    "/query../a": "/s?q=../a", "/query-a": "/s?q=-a",
    "/final/a": "/v1a", "/final/": "/v1",
    "/plain../a": "/plain../a", "/plain-x": "/plain-x",
    "/rewritten/a": "/v2/a",
}  # fmt: skip
BESIDE = (
    *("/slash../admin", "/slash..", "/slash../", "/slash%2e%2e/admin", "/slash..%2fadmin"),
    *("/none-admin", "/none..", "/none../admin", "/nonea", "/none.", "/root../admin", "/root.."),
)


def test_proxy_pass_with_a_path(run_lb, http_backend):
    back = http_backend(lambda request: Reply(body=request.target.encode()))
    lb = run_lb(
        TEXT,
        inside="""
        location /slash { proxy_pass http://BACK/v1/; }
        location /none { proxy_pass http://BACK/v1; }
        location /root { proxy_pass http://BACK/; }
        location /query { proxy_pass http://BACK/s?q=; }
        location /final/ { proxy_pass http://BACK/v1; }
        location /plain { proxy_pass http://BACK; }
        location /rewritten { rewrite ^/rewritten(.*) /v2$1 break; proxy_pass http://BACK/v1/; }
    """.replace("BACK", back.address),
    )
    lb.expect_log('beside that of "proxy_pass"')
    with lb.client() as client:
        for target, expected in PASSED.items():
            answer = client.request(target=target)
            assert (answer.status, answer.body.decode()) == (200, expected), target
        before = len(back.requests)
        for target in BESIDE:
            assert client.request(target=target).status == 403, target
    assert len(back.requests) == before


def test_the_pair_is_named_by_the_check_of_a_file(world):
    lb = world.new_lb()
    lb.write(
        TEXT,
        inside="""
        location /one { alias /srv/; }
        location ^~ /two { proxy_pass http://127.0.0.1/v1/; }
        location /three { proxy_pass http://127.0.0.1/; }
        location /quiet { alias /srv; }
        location /quiet/ { alias /srv/; }
        location = /quiet2 { alias /srv/; }
        location ~ /quiet3 { alias /srv/; }
        location /quiet4 { proxy_pass http://127.0.0.1; }
        location /quiet5 { proxy_pass http://127.0.0.1/v1; }
        location /quiet6/ { proxy_pass http://127.0.0.1/v1/; }
    """,
    )
    done = lb.command("-t")
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if "[warn]" in line]
    where = {text.split()[1]: i for i, text in enumerate(lb.file.read_text().splitlines(), 1) if "location /" in text}
    where["/two"] = where["/one"] + 1
    expected = (
        ("/one", "alias /srv/"),
        ("/two", "proxy_pass http://127.0.0.1/v1/"),
        ("/three", "proxy_pass http://127.0.0.1/"),
    )
    assert len(lines) == 3
    for line, (name, value) in zip(lines, expected, strict=True):
        assert f'[warn] "{value}" ends with a slash and location "{name}" does not' in line
        assert line.endswith(f"lb.conf:{where[name]}")
