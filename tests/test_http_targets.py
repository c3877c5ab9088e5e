"""What browsers put into a target goes on as it came; what variables put into a head gets no further than its word."""

from __future__ import annotations

import json
import re
import urllib.parse

import pytest

from tests.harness import browser as chromium
from tests.harness.backend import Listener, Reply
from tests.harness.wait import wait_for
from tests.harness.world import World

PASSES = """
http {
    access_log off;
    server {
        listen 127.0.0.1:@http@;
        @inside@
    }
}
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ODD = '|^{}\\"<>`%'  # what browsers leave as it is in a query, here or there


class Heads(Listener):
    """Answers each head with 200; `heads`: their bytes."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        super().__init__()

    def serve(self, sock, number) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                head, data = data.split(b"\r\n\r\n", 1)
                self.heads.append(head)
                sock.sendall(OK if not head.startswith(b"HEAD ") else OK[:-2])


@pytest.fixture
def heads(world):
    made = Heads()
    world.listeners.append(made)
    return made


@pytest.fixture
def start(run_lb, heads):
    """start(inside) -> an lb whose BACK is `heads`."""

    def start(inside: str):
        return run_lb(PASSES, inside=inside.replace("BACK", heads.address))

    return start


def ask(lb, raw: bytes):
    with lb.client() as client:
        return client.send(raw).response(raw.split(b" ")[0].decode())


# ---- as it came


def test_what_browsers_send_goes_on_as_it_came(start, heads):
    lb = start("location / { proxy_pass http://BACK; } location /a/ { return 204; }")
    queries = [f"/p?a={mark}&b=%41".encode() for mark in [*ODD, "[", "]", "é", "'", "%zz", "%4"]] + [b"/p?\xff"]
    paths = [f"/a{mark}/b".encode() for mark in [*ODD.replace("%", ""), "[", "é", "%25"]] + [b"/\xff"]
    with lb.client() as client:
        for raw in queries + paths:
            assert client.send(b"GET " + raw + b" HTTP/1.1\r\nHost: a\r\n\r\n").response("GET").status == 200, raw
    assert [head.split(b" ")[1] for head in heads.heads] == queries + paths


def test_what_stays_refused(start, heads):
    lb = start("location / { proxy_pass http://BACK; }")
    for target in (b"/%", b"/%4", b"/a%zz/b", b"/%00", b"/\x7f", b"/?\x7f", b"/?a\x01", b"/?a\tb", b"/#a", b"/?a#b"):
        answer = ask(lb, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (answer.status, answer.header("connection"), heads.heads) == (400, "close", []), target


def test_a_path_of_raw_utf_8_finds_its_location_and_is_escaped_when_it_is_written_anew(start, heads):
    lb = start("location /é/ { proxy_pass http://BACK/x/; }")
    for target in ("/é/ü|".encode(), b"/%C3%A9/%c3%bc%7C"):
        assert ask(lb, b"GET " + target + b"?|=%zz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    assert [head.split(b" ")[1] for head in heads.heads] == [b"/x/%C3%BC%7C?|=%zz"] * 2


PAGE = """<!doctype html><meta charset="@charset@"><link rel="icon" href="data:,">
<form action="/form" method="get"><input name="q"><input name="|^{}`"></form>
<a id="query" href='/link?q=@odd@'>l</a> <a id="path" href='/path|^{}é/"<>`'>l</a><script>
const arrived = [];
const go = async (url) => { const answer = await fetch(url); arrived.push([url, answer.status]); };
</script>"""


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_chromium_sends_a_form_and_links(run_lb, http_backend, tmp_path, charset):
    """A real browser escapes what it likes, and lb takes all that it leaves as it is."""
    program = chromium.find()
    if program is None:
        pytest.skip("no Chromium here")
    text = PAGE.replace("@charset@", charset).replace("@odd@", "a|^{}[]`\\ é%zz%&amp;x=100%").encode(charset)

    def handler(request):
        return Reply(body=text if request.target == "/" else b"ok", headers=[("Content-Type", "text/html")])

    back = http_backend(handler)
    lb = run_lb(PASSES, inside=f"location / {{ proxy_pass http://{back.address}; }}")
    made = chromium.Browser(program, tmp_path / "chromium")
    try:
        tab = made.tab()
        url = f"http://127.0.0.1:{lb.port('http')}/"
        tab.go(url)
        for link in ("query", "path"):
            tab.eval(f"go(document.getElementById('{link}').href)")
        for mark in ODD + "[]'é":
            tab.eval(f"go('/each?q=' + {json.dumps(mark)} + '&z')")
            tab.eval(f"go('/each' + {json.dumps(mark if mark != '%' else '%25')} + '/z')")
        statuses = dict(tab.eval("arrived"))
        tab.eval(f"document.forms[0].elements[0].value = {json.dumps(ODD + 'é ')}; document.forms[0].submit()")
        tab.wait(lambda: any(one.target.startswith("/form?") for one in back.requests), "the form")
        assert set(statuses.values()) == {200}, statuses
    finally:
        made.close()
    targets = [one.target for one in back.requests]
    assert {one.split("?")[0] for one in targets} >= {"/", "/link", "/form"}
    link = next(one for one in targets if one.startswith("/link"))
    assert "|^{}[]`\\" in link and link.endswith("%zz%&x=100%")  # a browser leaves these as they are
    form = next(one for one in targets if one.startswith("/form"))
    query = urllib.parse.parse_qs(form.split("?")[1], encoding=charset, keep_blank_values=True)
    assert query == {"q": [ODD + "é "], "|^{}`": [""]}


# ---- what variables bring


EVIL = "a b%0d%0aX-Evil: 1%0d%0a%0d%0aGET /evil HTTP/1.1%0d%0a%23%7f%00".replace("%00", "%01")
WAYS = {
    "try_files": "location / { try_files /none /x?q=$uri; } location /x { PASS }",
    "try_files, path": "location / { root /nowhere; try_files /none $uri/x; } location ~ /x$ { PASS }",
    "rewrite": "location / { rewrite (?s)^(.*)$ /x?q=$uri break; PASS }",
    "rewrite, capture": "location / { if ($uri ~ (?s)^(.*)$) { set $one $1; } rewrite ^ /x?q=$one break; PASS }",
    "rewrite, named": "location ~ (?s)^(?<all>.*)$ { rewrite ^ /x?$all last; } location = /x { PASS }",
    "error_page": "location / { error_page 404 =200 /x?q=$uri; return 404; } location = /x { PASS }",
    "error_page, named": "location / { error_page 404 =200 @x; return 404; } location @x { set $args $uri; PASS }",
    "set $args": "location / { set $args $uri; PASS }",
    "set $args, URI": "location / { set $args q=$uri; proxy_pass http://BACK/y/; }",
    "map": "location / { set $args $mapped; PASS }",
    "proxy_set_header": "location / { proxy_set_header X-Uri $uri; PASS }",
    "proxy_set_header, Host": "location / { proxy_set_header Host $uri; PASS }",
    "proxy_set_header, map": "location / { proxy_set_header X-Uri $mapped; PASS }",
    "no slash": "location / { rewrite ^ nothing$uri break; PASS }",
}


@pytest.fixture(scope="module")
def every_way(tmp_path_factory):
    """(lb, heads): the server of each way has its name."""
    world = World(tmp_path_factory.mktemp("ways"))
    heads = Heads()
    world.listeners.append(heads)
    ways = (way.replace("PASS", "proxy_pass http://BACK;").replace("BACK", heads.address) for way in WAYS.values())
    servers = "".join(
        f"    server {{ listen 127.0.0.1:@http@; server_name w{i}; {way} }}\n" for i, way in enumerate(ways)
    )
    yield (
        world.run_lb("http { access_log off; map $uri $mapped { ~(?s)^(?<whole>.*)$ $whole; }\n" + servers + "}"),
        heads,
    )
    world.end(False)


@pytest.mark.parametrize("way", WAYS)
def test_no_value_gets_out_of_its_word(every_way, way):
    lb, heads = every_way
    heads.heads.clear()
    target = "/" + EVIL.replace(" ", "%20")
    raw = f"GET {target} HTTP/1.1\r\nHost: w{[*WAYS].index(way)}\r\nConnection: close\r\n\r\n"
    assert ask(lb, raw.encode()).status == 200
    (head,) = heads.heads  # one request, and no line of its own
    lines = head.split(b"\r\n")
    assert re.fullmatch(rb"GET /[!-\"$-~]* HTTP/1\.1", lines[0]), lines[0]
    assert not any(line.lower().startswith((b"x-evil", b"get")) for line in lines[1:])
    assert all(re.fullmatch(rb"[A-Za-z-]+: [ -~]*", line) for line in lines[1:]), lines
    assert b"Evil" in head  # the value itself arrived


def test_an_escape_says_what_the_byte_was(start, heads):
    lb = start("location / { set $args q=$uri; proxy_pass http://BACK; }")
    ask(lb, b"GET /a%20b%0Dc%23d%7Fe%25f%C3%A9 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert heads.heads[0].split(b" ")[1].split(b"?")[1] == "q=/a%20b%0Dc%23d%7Fe%fé".encode()


def test_proxy_method_is_a_token(start, heads):
    lb = start("location ~ (?s)^/(?<m>.*)$ { proxy_method $m; proxy_pass http://BACK; }")
    lb.expect_log('invalid method in "proxy_method"')
    for method in ("GET%20/evil%20HTTP/1.1%0d%0aX:%201", "", "a/b", "a%01b", "%C3%A9"):
        with lb.client() as client:
            assert (client.request(target=f"/{method}").status, heads.heads) == (500, []), method
    with lb.client() as client:
        for method in ("PATCH", "x-y"):
            assert client.request(target=f"/{method}").status == 200
    assert [head.split(b" ")[0] for head in heads.heads] == [b"PATCH", b"x-y"]


def test_an_answer_to_head_has_no_body_whoever_said_head(start, heads):
    """proxy_method HEAD for a GET: its end is not waited for; and GET for a HEAD: what is not read is not kept."""
    places = (
        (name, f"proxy_method {method}; proxy_pass http://BACK;") for name, method in (("/head", "HEAD"), ("/", "GET"))
    )
    lb = start(" ".join(f"location {name} {{ {text} }}" for name, text in places))
    with lb.client() as client:
        for _ in range(3):
            assert client.request(target="/head").body == b""
            assert client.request("HEAD", "/get").status == 200
            assert client.request(target="/get").body == b"ok"
    assert [head.split(b" ")[0] for head in heads.heads] == [b"HEAD", b"GET", b"GET"] * 3


INTO_ANSWERS = (
    "add_header X-Uri $uri always; return 204;",
    "return 302 http://a/$uri;",
    "proxy_pass http://BACK; proxy_redirect / $uri;",
    "proxy_pass http://BACK; proxy_cookie_path / $uri;",
    "proxy_pass http://BACK; proxy_cookie_domain d $uri;",
)


def test_nor_in_an_answer(run_lb, http_backend):
    fields = [("Location", "/"), ("Set-Cookie", "a=b; Path=/; Domain=d")]
    back = http_backend(lambda _: Reply(headers=fields))
    places = "".join(f"location /{i}/ {{ {text} }}" for i, text in enumerate(INTO_ANSWERS)).replace(
        "BACK", back.address
    )
    lb = run_lb(PASSES, inside=places)
    for i in range(len(INTO_ANSWERS)):
        raw = f"GET /{i}/{EVIL.replace(' ', '%20')} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        with lb.client() as client:
            head = client.send(raw.encode()).recv_to_end().split(b"\r\n\r\n")[0]
        assert not re.search(rb"^(X-Evil|GET)", head, re.M), head
        assert all(re.fullmatch(rb"[\t -~]*", line) for line in head.split(b"\r\n")), head


# ---- one name for one request


def test_the_authority_of_a_refused_head_is_its_name_in_the_log(run_lb, connect):
    lb = run_lb(
        """
        http {
            log_format names "$status $host $http_host";
            access_log names.log names;
            server { listen 127.0.0.1:@http@; server_name a; return 204; }
        }
        """
    )
    connect(lb.port("http")).send(b"GET http://Other:81/x HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n").recv_to_end()
    connect(lb.port("http")).send(b"GET /x HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n").recv_to_end()
    log = lb.directory / "names.log"
    wait_for(lambda: log.read_text().splitlines() == ["400 other Other:81", "400 a -"], lambda: log.read_text())


def test_the_authority_of_an_absolute_form_stands_for_the_host_field(run_lb, heads):
    lb = run_lb(f"""
http {{
    log_format names "$host $http_host $server_name";
    access_log names.log names;
    server {{ listen 127.0.0.1:@http@; server_name other; return 403; }}
    server {{ listen 127.0.0.1:@http@; server_name Asked.example;
        location / {{
            if ($http_host = other) {{ return 403; }}
            proxy_set_header Host $http_host; proxy_set_header X-Host $host; proxy_pass http://{heads.address};
        }}
    }}
}}
""")
    for version, host in (("1.1", "Host: other\r\n"), ("1.0", "Host: other\r\n"), ("1.0", "")):
        raw = f"GET http://Asked.example:81/p HTTP/{version}\r\n{host}X: y\r\n\r\n"
        assert ask(lb, raw.encode()).status == 200
    for head in heads.heads:
        lines = head.split(b"\r\n")
        assert lines[0] == b"GET /p HTTP/1.1" and lines.count(b"Host: Asked.example:81") == 1
        assert b"X-Host: asked.example" in lines and b"other" not in head
    assert len(heads.heads) == 3


# ---- proxy_set_header Host


HOST = [
    ("proxy_set_header Host first; proxy_set_header X a; proxy_set_header host second;", "Host: a\r\n", "second"),
    ("proxy_set_header Host $http_host; proxy_set_header Host '';", "Host: a\r\n", "BACK"),
    ("proxy_set_header Host '';", "Host: a\r\n", "BACK"),
    ("proxy_set_header Host $http_host;", "", "BACK"),
    ("proxy_set_header Host $arg_none;", "Host: a\r\n", "BACK"),
    ("proxy_set_header Host $http_host;", "Host: a:1\r\n", "a:1"),
    ("", "Host: a\r\n", "BACK"),
]


def test_one_host_goes_to_the_server(start, heads):
    places = (f"location /{i} {{ {lines} proxy_pass http://BACK; }}" for i, (lines, _, _) in enumerate(HOST))
    lb = start(" ".join(places))
    for i, (lines, field, expected) in enumerate(HOST):
        assert ask(lb, f"GET /{i} HTTP/1.0\r\n{field}\r\n".encode()).status == 200
        hosts = re.findall(rb"^host: ([^\r\n]*)", heads.heads[-1], re.I | re.M)
        assert hosts == [expected.replace("BACK", heads.address).encode()], lines
        assert b"X: a" in heads.heads[-1] or "X a" not in lines
