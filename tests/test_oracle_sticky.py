"""`sticky` beside an nginx that has it (1.29.6 and later): `.ci/get-rivals` fetches one. Without one: skipped."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.backend import HttpBackend, Reply, Request
from tests.harness.client import Client, Response
from tests.harness.lb import Lb
from tests.harness.nginx import BINARY, Nginx
from tests.harness.wait import free_port

ROOT = Path(__file__).parent
RIVAL = str(ROOT.parent / ".cache/rivals/bin/nginx")
LEAST = (1, 29, 6)
BAD = sorted((ROOT / "bad_conf").glob("sticky_*.conf"))
CONF = """
http {
    access_log off;
    upstream u { @method@ server @a@ route=a @more@; server @b@ route=b; server @c@; @sticky@ }
    server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }
}
"""


def version(binary: str | None) -> tuple[int, ...]:
    if binary is None:
        return ()
    try:
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=30).stderr
    except OSError:
        return ()
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


NGINX = next((one for one in (BINARY, RIVAL) if version(one) >= LEAST), None)
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx that has sticky")


def answer_of(name: bytes) -> Callable[[Request], Reply]:
    """The status that the query asks for, and a session when it asks for one."""

    def answer(request: Request) -> Reply:
        headers = [("Set-Cookie", f"sid=of-{name.decode()}")] if "session" in request.target else []
        found = re.search(r"status=(\d+)", request.target)
        return Reply(int(found[1]) if found else 200, name, headers)

    return answer


@pytest.fixture
def both(
    run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], connect: Callable[..., Client], tmp_path: Path
) -> Iterator[Callable[..., tuple[Client, Client]]]:
    """both(sticky, method="", more="") -> clients of lb and of nginx, over the same servers."""
    started: list[Nginx] = []
    servers = {name: http_backend(answer_of(name.encode())).address for name in "abc"}

    def start(sticky: str, method: str = "", more: str = "") -> tuple[Client, Client]:
        values = servers | {"sticky": f"sticky {sticky};", "method": method, "more": more}
        lb = run_lb(CONF, **values)
        port = free_port()
        text = re.sub(r"@(\w+)@", lambda match: (values | {"http": str(port)})[match[1]], CONF)
        started.append(Nginx(tmp_path, NGINX).start(text, port))
        return connect(lb.port("http")), connect(port)

    yield start
    for one in started:
        one.stop()


def shown(response: Response) -> tuple[int, bytes, list[str]]:
    cookies = [re.sub(r"\w{3}, \d\d-\w{3}-\d\d [\d:]{8} GMT", "DATE", one) for one in response.all("set-cookie")]
    return response.status, response.body, sorted(cookies)


ATTRIBUTES = (
    "cookie srv",
    "cookie srv path=$uri httponly expires=1h domain=$arg_d secure samesite=$arg_s",
    "cookie srv expires=0 samesite=LAX",
    "cookie srv expires=100",
)
COOKIES = ("srv=a", "SRV=b", "srv=b; srv=a", "x=y; srv=a", "x;srv=a")


@pytest.mark.parametrize("words", ATTRIBUTES)
@pytest.mark.parametrize("method", ["", "least_conn;", "hash $uri;"])
def test_the_same_server_and_cookie(both: Callable[..., tuple[Client, Client]], words: str, method: str) -> None:
    lb, nginx = both(words, method)
    for cookie in COOKIES:
        for target in ("/", "/p?d=x.y&s=lax", "/?s=foo", "/?s=NONE&status=500", "/?session&status=404"):
            mine, theirs = (shown(one.request("GET", target, f"Cookie: {cookie}\r\n")) for one in (lb, nginx))
            assert mine == theirs, f"{cookie} {target}"


UNKNOWN = ("srv=zz; srv=a", "srv=A", 'srv="a"', "srv=", "asrv=a", "srv", "srv=a,b", "srv=b ; x=y")


@pytest.mark.parametrize("cookie", UNKNOWN)
def test_the_same_are_bound_to_nobody(both: Callable[..., tuple[Client, Client]], cookie: str) -> None:
    for one in both("cookie srv"):
        assert len({one.request("GET", "/", f"Cookie: {cookie}\r\n").body for _ in range(6)}) > 1


def test_drain(both: Callable[..., tuple[Client, Client]]) -> None:
    for one in both("cookie srv", more="drain"):
        assert {one.request("GET", "/", "Cookie: srv=a\r\n").body for _ in range(4)} == {b"a"}
        assert {one.request().body for _ in range(8)} == {b"b", b"c"}


def test_learn(both: Callable[..., tuple[Client, Client]]) -> None:
    """The first of `create`, of `lookup`; again by another server; a status of 500; a session that nobody named."""
    words = "learn create=$upstream_cookie_sid create=$arg_create lookup=$cookie_sid lookup=$arg_sid zone=z:1m"
    for one in both(words):
        for query in ("session", "create=S", "create=S&status=500", "session&create=S"):
            body = one.request("GET", f"/?{query}").body
            sid = f"of-{body.decode()}" if "session" in query else "S"
            assert {one.request("GET", f"/?sid={sid}").body for _ in range(3)} == {body}
            assert {one.request("GET", "/?sid=x", f"Cookie: sid={sid}\r\n").body for _ in range(3)} == {body}
        assert len({one.request("GET", "/?sid=S", "Cookie: sid=none\r\n").body for _ in range(6)}) > 1


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_the_same_refusals(path: Path, tmp_path: Path) -> None:
    assert NGINX is not None
    expected = path.read_text().split("\n")[0].removeprefix("# expect: ").partition(" # nginx ")[0]
    (tmp_path / "logs").mkdir()
    command = [NGINX, "-t", "-p", f"{tmp_path}/", "-e", "stderr", "-c", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30).stderr
    assert re.sub(r"\bFILE\b", str(path), expected) in said
