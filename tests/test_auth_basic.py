"""satisfy, auth_basic, auth_delay: lb beside nginx; then hashes off the loop, and verdicts that are kept."""

from __future__ import annotations

import base64
import ctypes
import ctypes.util
import hashlib
import subprocess

import pytest

from tests.harness.wait import wait_for
from tests.oracle.beside import Beside, status
from tests.oracle.case import get, http

LIBRARY = ctypes.CDLL(ctypes.util.find_library("crypt"))
LIBRARY.crypt.restype = ctypes.c_char_p


def crypt(password: str, salt: str) -> str:
    return LIBRARY.crypt(password.encode(), salt.encode()).decode()  # type: ignore[no-any-return]


def made_users() -> str:
    """One of each kind, by tools that are not ours: htpasswd's formats from openssl and libcrypt."""
    crypted = {
        name: crypt("password", salt)
        for name, salt in {
            "crypt": "ab",
            "md5": "$1$saltsalt",
            "s256": "$5$saltsalt",
            "s512": "$6$rounds=1000$saltsalt",
            "bcrypt": "$2b$04$abcdefghijklmnopqrstuu",
            "bcrypty": "$2y$04$abcdefghijklmnopqrstuu",
        }.items()
    }
    for name, salt in {"apr": "saltsalt", "apr2": "x"}.items():
        command = ["openssl", "passwd", "-apr1", "-salt", salt, "password"]
        crypted[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    digest = hashlib.sha1(b"password").digest()
    salted = hashlib.sha1(b"password" + b"salt").digest() + b"salt"
    crypted["sha"] = "{SHA}" + base64.b64encode(digest).decode()
    crypted["ssha"] = "{SSHA}" + base64.b64encode(salted).decode()
    crypted["plain"] = "{PLAIN}password"
    lines = ["# a comment", "#hidden:{PLAIN}password", "", *(f"{name}:{text}" for name, text in crypted.items())]
    lines += ["comment:{PLAIN}password:and more", "cut:{PLAIN}pass:word", "bad:nonsense", "none:", "nocolon"]
    lines += [
        "carriage:{PLAIN}password\r",
        "badsha:{SHA}AAAA",
        "badssha:{SSHA}*",
        "twice:{PLAIN}one",
        "twice:{PLAIN}two",
    ]
    return "\n".join([*lines, "last:{PLAIN}password"])


def basic(user: str, password: str = "password", word: str = "Basic") -> str:
    return f"Authorization: {word} {base64.b64encode(f'{user}:{password}'.encode()).decode()}\r\n"


CONFIG = http("""
    log_format user "[$remote_user] $status";
    access_log %%dir%%/user.log user;
    auth_basic_user_file users;
    server {
        listen 127.0.0.1:8080;
        location / { auth_basic "the realm"; add_header X-User "[$remote_user]" always; return_here; }
        location /off { auth_basic off; return_here; }
        location /offvar { auth_basic $arg_realm; return_here; }
        location /nofile { auth_basic x; auth_basic_user_file nosuch; return_here; }
        location /dir { auth_basic x; auth_basic_user_file /tmp; return_here; }
        location /var { auth_basic "$arg_r x"; auth_basic_user_file %%dir%%/$arg_f; return_here; }
        location /inner { auth_basic "outer"; location /inner/a { return_here; }
                          location /inner/off { auth_basic off; return_here; } }
        location /page { auth_basic x; error_page 401 /off/page; return_here; }
        location /page200 { auth_basic x; error_page 401 =200 /off/page; return_here; }
        location /named { auth_basic x; error_page 401 = @named; return_here; }
        location @named { return_here; }
        location /all/yes { satisfy all; allow all; auth_basic x; return_here; }
        location /all/no { satisfy all; deny all; auth_basic x; return_here; }
        location /any/yes { satisfy any; allow all; auth_basic x; return_here; }
        location /any/no { satisfy any; deny all; auth_basic x; return_here; }
        location /any/none { satisfy any; auth_basic x; return_here; }
        location /any/other { satisfy any; allow 10.0.0.0/8; auth_basic x; return_here; }
        location /any/access { satisfy any; deny all; return_here; }
        location /any/missing { satisfy any; deny all; auth_basic x; auth_basic_user_file nosuch; return_here; }
        location /any/dir { satisfy any; deny all; auth_basic x; auth_basic_user_file /tmp; return_here; }
        location /delay { auth_basic x; auth_delay 50ms; return_here; }
        location /except { limit_except GET { auth_basic x; } return_here; }
        location /return { auth_basic x; return 200 "the rewrite phase comes first"; }
        location /missing { auth_basic x; }
    }
    server { listen 127.0.0.1:8081; return 200 "[$http_authorization] [$remote_user]"; }
""").replace("return_here;", "proxy_pass http://127.0.0.1:8081;")

PLACES = (
    ("/", 200, 401), ("/off", 200, 200), ("/offvar?realm=off", 200, 200), ("/offvar?realm=on", 200, 401),
    ("/offvar", 200, 401), ("/nofile", 403, 401), ("/dir", 500, 401), ("/var?f=users&r=%22", 200, 401),
    ("/var?f=none", 403, 401), ("/inner/a", 200, 401), ("/inner/off", 200, 200), ("/page", 200, 401),
    ("/page200", 200, 200), ("/named", 200, 200), ("/all/yes", 200, 401), ("/all/no", 403, 403), ("/any/yes", 200, 200),
    ("/any/no", 200, 401), ("/any/none", 200, 401), ("/any/other", 200, 401), ("/any/access", 403, 403),
    ("/any/missing", 403, 401), ("/any/dir", 500, 401), ("/delay", 200, 401), ("/except", 200, 200),
    ("/return", 200, 200), ("/missing", 404, 401),
)  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with Beside(tmp_path_factory.mktemp("basic"), CONFIG, {"users": made_users()}) as beside:
        yield beside


GOOD = ("crypt", "md5", "s256", "s512", "bcrypt", "bcrypty", "apr", "apr2", "sha", "ssha", "plain", "comment",
        "carriage", "last")  # fmt: skip


@pytest.mark.parametrize("user", GOOD)
def test_every_kind_of_hash(both, user):
    assert status(both.ask(get("/", basic(user)))) == 200
    assert status(both.ask(get("/", basic(user)))) == 200  # known from the last one
    assert status(both.ask(get("/", basic(user, "Password")))) == 401
    assert status(both.ask(get("/", basic(user, " password")))) == 401
    assert status(both.ask(get("/", basic(user, "")))) == 401


@pytest.mark.parametrize(
    ("user", "password", "wanted"),
    [
        ("#hidden", "password", 401),
        ("hidden", "password", 401),
        ("cut", "pass:word", 401),
        ("cut", "pass", 200),
        ("bad", "password", 401),
        ("none", "", 401),
        ("nocolon", "", 401),
        ("badsha", "password", 401),
        ("badssha", "password", 401),
        ("twice", "one", 200),
        ("twice", "two", 401),
        ("plai", "password", 401),
        ("plainer", "password", 401),
        ("", "password", 401),
    ],
)
def test_names_and_passwords(both, user, password, wanted):
    assert status(both.ask(get("/", basic(user, password)))) == wanted


@pytest.mark.parametrize(("target", "good", "without"), PLACES)
def test_places(both, target, good, without):
    assert status(both.ask(get(target, basic("plain")))) == good
    assert status(both.ask(get(target))) == without
    both.ask(get(target, basic("plain", "wrong")))
    both.ask(get(target, method="POST", body="a body"))
    both.ask(get(target, basic("plain"), method="POST", body="a body"))
    both.ask(get(target, method="HEAD"))


@pytest.mark.parametrize(
    "field",
    [
        "",
        "Authorization: \r\n",
        "Authorization: Basic\r\n",
        "Authorization: Basic \r\n",
        "Authorization: Bearer abc\r\n",
        basic("plain", word="basic"),
        basic("plain", word="Basic  "),
        "Authorization: Basic cGxhaW46cGFzc3dvcmQ\r\n",
        "Authorization: Basic cGxhaW46cGFzc3dvcmQ=junk\r\n",
        "Authorization: Basic cGxhaW46cGFzc3dvcm-_\r\n",
        "Authorization: Basic c\r\n",
        "Authorization: Basic cGxhaW4=\r\n",
        "Authorization: Basic Og==\r\n",
        "Authorization: Basic =\r\n",
    ],
)
def test_the_field(both, field):
    both.ask(get("/", field))


def test_logs(both):
    for place in ("/", "/nofile", "/dir", "/any/no", "/delay", "/any/missing"):
        for fields in ("", basic("nosuch"), basic("plain", "wrong")):
            both.ask(get(place, fields))
    text = "\n".join(both.logs(r"mismatch|was not found|failed|no user/password|forbidden|delaying"))
    assert '[error] user "plain": password mismatch, client: 127.0.0.1, server: , request: "GET / HTTP/1.0"' in text
    assert '[error] user "nosuch" was not found in "%%dir%%/users", client: ' in text
    assert '[error] open() "%%dir%%/nosuch" failed (2: No such file or directory), client: ' in text
    assert "[crit]" in text
    assert "[info] delaying unauthorized request, client: " in text
    if both.nginx is not None:
        wait_for(lambda: both.lb.read("user.log") == both.nginx.read("user.log"))


def test_a_changed_file_counts_at_once(both):
    both.write("changing", "a:{PLAIN}one\n")
    ask = get("/var?f=changing", basic("a", "one"))
    assert [status(both.ask(ask)) for _ in range(2)] == [200, 200]
    both.write("changing", "a:{PLAIN}two\n")
    assert status(both.ask(ask)) == 401
    assert status(both.ask(get("/var?f=changing", basic("a", "two")))) == 200
    for side in both.sides:
        (side.directory / "changing").unlink()
    assert status(both.ask(get("/var?f=changing", basic("a", "two")))) == 403


TEXT = """
http {
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://@backend@; }
        location /in { auth_basic "r"; auth_basic_user_file @users@; proxy_pass http://@backend@; }
        location /slow { auth_basic "r"; auth_delay 10s; auth_basic_user_file @users@; proxy_pass http://@backend@; }
    }
}
"""


@pytest.fixture
def slow_users(tmp_path):
    """A hash that takes some 0.1 s: bcrypt of cost 11 or so."""
    file = tmp_path / "users"
    file.write_text(f"a:{crypt('password', '$2b$12$abcdefghijklmnopqrstuu')}\n")
    file.chmod(0o644)
    return file


def test_the_loop_goes_on_while_a_hash_is_worked_out(run_lb, http_backend, connect, slow_users):
    """And many requests with one password cost one hash."""
    backend = http_backend()
    lb = run_lb(TEXT, backend=backend.address, users=slow_users)
    asking = [connect(lb.port("http")) for _ in range(20)]
    for client in asking:
        client.send(f"GET /in HTTP/1.1\r\nHost: a\r\n{basic('a')}\r\n".encode())
    other = connect(lb.port("http"))
    before = len(backend.requests)
    assert other.request(target="/free").status == 200
    assert [one.target for one in backend.requests[before:]] == ["/free"]  # those of the hash still wait
    assert {client.response().status for client in asking} == {200}
    assert len(backend.requests) == 21


def test_clients_that_leave_while_they_wait(run_lb, http_backend, connect, slow_users):
    backend = http_backend()
    lb = run_lb(TEXT, backend=backend.address, users=slow_users)
    for number in range(30):
        client = connect(lb.port("http"))
        password = "password" if number % 3 else str(number)
        client.send(f"GET /in HTTP/1.1\r\nHost: a\r\n{basic('a', password)}\r\n".encode())
        if number % 2:
            client.close()
        else:
            client.reset()
    client = connect(lb.port("http"))
    client.send(f"GET /slow HTTP/1.1\r\nHost: a\r\n{basic('b', 'x')}\r\n".encode())
    lb.wait_log("delaying unauthorized request")
    client.close()
    wait_for(lambda: (lb.directory / "logs/access.log").read_text().count(" 499 ") == 31)
    assert connect(lb.port("http")).request(target="/in", headers=basic("a")).status == 200


def test_a_stop_does_not_wait_for_hashes(run_lb, http_backend, connect, slow_users):
    lb = run_lb(TEXT, backend=http_backend().address, users=slow_users)
    for number in range(10):
        client = connect(lb.port("http"))
        client.send(f"GET /in HTTP/1.1\r\nHost: a\r\n{basic('a', str(number))}\r\n".encode())
    connect(lb.port("http")).request(target="/free")
    assert lb.stop() == 0


def test_pipelined_requests_keep_their_order(run_lb, http_backend, connect, slow_users):
    lb = run_lb(TEXT, backend=http_backend().address, users=slow_users)
    client = connect(lb.port("http"))
    client.send(
        f"GET /in HTTP/1.1\r\nHost: a\r\n{basic('a')}\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"
        f"GET /in HTTP/1.1\r\nHost: a\r\n{basic('a', 'no')}\r\n".encode()
    )
    assert [client.response().status for _ in range(3)] == [200, 200, 401]
