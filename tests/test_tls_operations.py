"""TLS made for operations: warnings, the status port, certificates that variables name, keys that are nowhere."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGABRT
from typing import Any

import pytest
import requests

from lb.config import load
from tests.certificates import Pair, make
from tests.harness.backend import HttpBackend, RawBackend, echo
from tests.harness.browser import Browser, Tab, find
from tests.harness.lb import Lb
from tests.harness.wait import wait_for
from tests.test_tls_watch import get, shown, talking

WEAK = 'the key of the certificate "PEM" is weak: {} of {} bits, {} are the least that is safe'
IDLE = 'the certificate "PEM" is for "{}": no server_name that uses it ("{}") is among them'
BARE = "no certificate of the server is for its server_name "
SERVER = """
    server {{
        listen 127.0.0.1:8443 ssl;
        server_name {names};
        {more}
        ssl_certificate {pair.pem};
        ssl_certificate_key {pair.key};
    }}
"""


@pytest.fixture
def warnings(tmp_path: Path) -> Callable[..., list[str]]:
    """warnings(pair, names="a.test", more="", text=SERVER): without the places, which are checked here."""

    def of(pair: Pair, names: str = "a.test", more: str = "", text: str = SERVER, **options: Any) -> list[str]:
        file = tmp_path / "x.conf"
        servers = text.format(pair=pair, names=names, more=more, **options)
        file.write_text(f"events {{}}\nhttp {{{servers}}}\n")
        found = load(str(file), prefix=str(tmp_path)).warnings
        places = [re.fullmatch(rf"(.*) in {re.escape(str(file))}:\d+", one, re.DOTALL) for one in found]
        assert all(places), found
        return [place[1] for place in places if place]

    return of


def test_nothing_to_say(tmp_path: Path, warnings: Callable[..., list[str]]) -> None:
    assert warnings(make(tmp_path, "one", "a.test")) == []
    assert warnings(make(tmp_path, "two", "a.test", days=(-400, 8), key="rsa:2048")) == []
    assert warnings(make(tmp_path, "a.test")) == []  # CN


@pytest.mark.parametrize(
    ("days", "text"),
    [
        ((-30, -1), r"has expired on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"),
        ((2, 30), r"is not valid before \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"),
        ((-30, 6.9), r"expires soon, on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"),
    ],
)
def test_times(tmp_path: Path, warnings: Callable[..., list[str]], days: tuple[float, float], text: str) -> None:
    pair = make(tmp_path, "one", "a.test", days=days)
    (said,) = warnings(pair)
    assert re.fullmatch(rf'the certificate "{pair.pem}" {text}', said), said


def test_chains(tmp_path: Path, warnings: Callable[..., list[str]]) -> None:
    """Leaf, intermediate, root: what is missing between the leaf and whoever a client trusts."""
    root = make(tmp_path, "root", is_ca=True)
    middle = make(tmp_path, "middle", signer=root, is_ca=True)
    leaf = make(tmp_path, "leaf", "a.test", signer=middle)
    lone = leaf.pem.read_bytes()
    (said,) = warnings(leaf)
    assert said == (
        f'the chain of the certificate "{leaf.pem}" is not whole: its issuer "CN=middle" is neither in the file nor '
        "trusted by this machine; clients that do not have it refuse the certificate"
    )
    leaf.pem.write_bytes(lone + middle.pem.read_bytes())
    assert warnings(leaf) == []  # the root is the clients' own
    leaf.pem.write_bytes(lone + middle.pem.read_bytes() + root.pem.read_bytes())
    assert warnings(leaf) == []
    # one that says where its issuer is to be had is no client's own
    told = make(
        tmp_path, "told", signer=root, is_ca=True, extra="authorityInfoAccess = caIssuers;URI:http://x/root.crt"
    )
    deep = make(tmp_path, "deep", "a.test", signer=told)
    deep.pem.write_bytes(deep.pem.read_bytes() + told.pem.read_bytes())
    (said,) = warnings(deep)
    assert '"CN=root" is neither in the file nor trusted' in said


def test_an_issuer_that_this_machine_trusts(tmp_path: Path) -> None:
    root, stranger = make(tmp_path, "root", is_ca=True), make(tmp_path, "stranger", is_ca=True)
    pair = make(tmp_path, "leaf", "a.test", signer=root)
    (tmp_path / "x.conf").write_text("events {}\nhttp {" + SERVER.format(pair=pair, names="a.test", more="") + "}\n")
    code = "import sys; from lb.config import load; print(len(load(sys.argv[1], prefix='/tmp').warnings))"
    for trusted, count in ((root, b"0\n"), (stranger, b"1\n")):
        env = os.environ | {"SSL_CERT_FILE": str(trusted.pem)}
        command = [sys.executable, "-c", code, str(tmp_path / "x.conf")]
        assert subprocess.run(command, capture_output=True, check=True, env=env).stdout == count


def test_a_server_that_shows_no_certificate(tmp_path: Path, warnings: Callable[..., list[str]]) -> None:
    assert warnings(make(tmp_path, "one", "a.test", days=(-9, -1)), "b.test", "ssl_reject_handshake on;") == []


@pytest.mark.parametrize(
    ("key", "digest", "texts"),
    [
        ("rsa:1024", "sha256", [WEAK.format("RSA", 1024, 2048)]),
        ("ec:secp224r1", "sha256", [WEAK.format("EC", 224, 256)]),
        ("rsa:2048", "sha1", ['"CN=leaf" of the certificate "PEM" is signed with SHA1, which is not safe']),
    ],
)  # fmt: skip
def test_weak(tmp_path: Path, warnings: Callable[..., list[str]], key: str, digest: str, texts: list[str]) -> None:
    root = make(tmp_path, "root", is_ca=True)
    leaf = make(tmp_path, "leaf", "a.test", key=key, digest=digest, signer=root)
    leaf.pem.write_bytes(leaf.pem.read_bytes() + root.pem.read_bytes())
    more = "ssl_ciphers DEFAULT@SECLEVEL=0;"
    assert warnings(leaf, more=more) == [text.replace("PEM", str(leaf.pem)) for text in texts]


@pytest.mark.parametrize(
    ("certified", "names", "text"),
    [
        ("a.test", "a.test", ""),
        ("*.a.test", "x.a.test", ""),
        ("*.a.test a.test", ".a.test", ""),
        ("*.a.test", "*.a.test", ""),
        ("www.a.test", "www.*", ""),
        ("a.test", "_", ""),
        ("a.test", '""', ""),
        ("a.test", "~^.*$", ""),
        ("IP:127.0.0.1", "127.0.0.1", ""),
        ("a.test b.test", "b.test", ""),
        ("b.test", "a.test", IDLE.format("b.test", "a.test")),
        ("*.a.test", "x.y.a.test", IDLE.format("*.a.test", "x.y.a.test")),
        ("*.a.test", "a.test", IDLE.format("*.a.test", "a.test")),
        ("a.test", "a.test b.test", BARE + '"b.test"'),
        ("x.a.test", "*.a.test", BARE + '"*.a.test"'),
        ("a.test", "a.test b c d e f", BARE + '"b", "c", "d" and 2 more'),
    ],
)  # fmt: skip
def test_names(tmp_path: Path, warnings: Callable[..., list[str]], certified: str, names: str, text: str) -> None:
    pair = make(tmp_path, "one", *certified.split())
    assert warnings(pair, names) == ([text.replace("PEM", str(pair.pem))] if text else [])


def test_names_of_all_servers_and_certificates_count(tmp_path: Path, warnings: Callable[..., list[str]]) -> None:
    pair, second = make(tmp_path, "one", "a.test"), make(tmp_path, "two", "b.test", key="rsa:2048")
    both = f"ssl_certificate {second.pem}; ssl_certificate_key {second.key};"
    assert warnings(pair, "a.test b.test", both) == []
    other = SERVER.replace("{names}", "b.test").replace("8443", "8444")
    assert warnings(pair, "a.test b.test", both, SERVER + other) == []


def test_key_rights(tmp_path: Path, warnings: Callable[..., list[str]]) -> None:
    pair = make(tmp_path, "one", "a.test")
    pair.key.chmod(0o640)
    assert warnings(pair) == []
    pair.key.chmod(0o644)
    assert warnings(pair) == [f'the private key "{pair.key}" can be read by every user of this machine (mode 0644)']


def test_dead_versions(tmp_path: Path, warnings: Callable[..., list[str]]) -> None:
    pair = make(tmp_path, "one", "a.test")
    assert warnings(pair, more="ssl_protocols TLSv1.2 TLSv1.3;") == []
    (said,) = warnings(pair, more="ssl_protocols TLSv1 TLSv1.1 TLSv1.2;")
    assert said.startswith('"TLSv1 TLSv1.1" of "ssl_protocols" have no effect: OpenSSL refuses it at security level')
    assert warnings(pair, more="ssl_protocols TLSv1 TLSv1.2; ssl_ciphers ALL@SECLEVEL=0;") == []


# ---- said by lb itself


def test_said_at_the_check_the_start_and_a_reload(run_lb: Callable[..., Lb], tmp_path: Path) -> None:
    pair = make(tmp_path, "one", "a.test", days=(-30, -1))
    lb = run_lb(
        """http { server {
            listen 127.0.0.1:@http@ ssl; server_name a.test;
            ssl_certificate @pem@; ssl_certificate_key @key@; return 200 "x";
        } }""",
        pem=pair.pem, key=pair.key,
    )  # fmt: skip
    said = f'[warn] the certificate "{pair.pem}" has expired on '
    assert said in lb.command("-t").stderr
    before = lb.log.count("has expired on")
    assert before
    lb.reload()
    wait_for(lambda: lb.log.count("has expired on") > before, lambda: lb.log)


PAGE = """
http {
    status_listen 127.0.0.1:@status@;
    server {
        listen 127.0.0.1:@http@ ssl; server_name a.test b.test;
        ssl_certificate @pem@; ssl_certificate_key @key@;
        location / { proxy_pass http://@backend@; }
    }
    server {
        listen 127.0.0.1:@http@ ssl; server_name soon.test; ssl_certificate @soon@; ssl_certificate_key @soon_key@;
    }
}
"""


@pytest.fixture
def page(run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], tmp_path: Path) -> Lb:
    pair, soon = make(tmp_path, "one", "a.test", "b.test"), make(tmp_path, "two", "soon.test", days=(-9, 3.5))
    names = {"pem": pair.pem, "key": pair.key, "soon": soon.pem, "soon_key": soon.key}
    return run_lb(PAGE, backend=http_backend().address, **names)


def test_status_json(page: Lb) -> None:
    answer = requests.get(f"http://127.0.0.1:{page.port('status')}/status.json", timeout=30).json()
    one, soon = answer["certificates"]
    assert one["names"] == ["a.test", "b.test"] == one["servers"]
    assert (one["subject"], one["issuer"], one["self_signed"], one["chain"]) == ("CN=one", "CN=one", True, 1)
    assert (one["key_type"], one["key_bits"], one["state"], one["watch"], one["error"]) == ("EC", 256, "ok", False, "")
    assert (soon["state"], int(soon["days_left"])) == ("very soon", 3)


def test_metrics(page: Lb) -> None:
    with talking(page.port("http")) as client:
        get(client)
    text = requests.get(f"http://127.0.0.1:{page.port('status')}/metrics", timeout=30).text
    line = r'^lb_tls_certificate_not_after_timestamp_seconds\{file="([^"]*)",name="([^"]*)",serial="\w+"\} (\S+)$'
    found = re.findall(line, text, re.M)
    assert [(Path(file).name, name) for file, name, _ in found] == [("one.pem", "a.test"), ("two.pem", "soon.test")]
    answer = requests.get(f"http://127.0.0.1:{page.port('status')}/status.json", timeout=30).json()
    assert [float(at) for _, _, at in found] == [one["not_after"] for one in answer["certificates"]]
    assert re.search(r'^lb_tls_handshakes_total\{version="1.3"\} 1.0$', text, re.M), text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip("no Chromium here")
    made = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


def test_the_page(page: Lb, browser: Browser) -> None:
    tab: Tab = browser.tab()
    tab.go(f"http://127.0.0.1:{page.port('status')}/")
    tab.wait_text("Degraded: a certificate expires soon", "#headline")
    tab.wait_text("The certificate of soon.test expires in 3 days", "#problems")
    rows = tab.text("#tls")
    assert re.search(r"soon\.test\s+\S+two\.pem · EC 256\s+expires very soon\s+itself\s+soon\.test\s+3\b", rows), rows
    assert re.search(r"a\.test, b\.test\s+\S+one\.pem · EC 256\s+valid\s+itself\s+a\.test, b\.test\s+299\b", rows), rows
    assert tab.eval("document.querySelector('#tls tbody tr td:last-child').className") == "bad"
    with talking(page.port("http")) as client:
        get(client)
    tab.wait_text("of 1: TLS 1.3 100 %", "#handshakes")
    assert tab.complaints == []
    tab.close()


# ---- variables

LAZY = """
worker_processes 1;
http {
    map $remote_addr $shelf { default @shelf@; }
    server {
        listen 127.0.0.1:@http@ ssl;
        ssl_certificate $shelf/$ssl_server_name.pem;
        ssl_certificate_key $shelf/${ssl_server_name}.key;
        @cache@
        return 200 "x";
    }
}
"""


@pytest.fixture
def shelf(tmp_path: Path) -> dict[str, Pair]:
    """Where the workers' user reads."""
    (tmp_path / "shelf").mkdir()
    made = {name: make(tmp_path / "shelf", name, name) for name in ("a.test", "b.test")}
    for pair in made.values():
        pair.key.chmod(0o644)
    return made


def lazy(run_lb: Callable[..., Lb], shelf: dict[str, Pair], cache: str = "") -> Lb:
    return run_lb(LAZY, shelf=shelf["a.test"].directory, cache=cache)


def test_a_certificate_for_each_name(run_lb: Callable[..., Lb], shelf: dict[str, Pair]) -> None:
    lb = lazy(run_lb, shelf)
    for name in ("a.test", "b.test", "A.Test"):
        assert shown(lb.port("http"), name) == shelf[name.lower()].der()
    shelf["a.test"].replace_by(shelf["b.test"])
    assert shown(lb.port("http"), "a.test") == shelf["b.test"].der()  # nothing is kept


def test_a_stream_server(
    run_lb: Callable[..., Lb], raw_backend: Callable[..., RawBackend], shelf: dict[str, Pair]
) -> None:
    lb = run_lb(
        """stream { server {
            listen 127.0.0.1:@tcp@ ssl; proxy_pass @backend@; ssl_certificate_cache max=10;
            ssl_certificate @shelf@/$ssl_server_name.pem; ssl_certificate_key @shelf@/$ssl_server_name.key;
        } }""",
        backend=raw_backend(echo).address, shelf=shelf["a.test"].directory,
    )  # fmt: skip
    for name in ("a.test", "b.test", "a.test"):
        with talking(lb.port("tcp"), name) as client:
            assert client.getpeercert(binary_form=True) == shelf[name].der()
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"


def test_no_certificate_for_a_name(run_lb: Callable[..., Lb], shelf: dict[str, Pair]) -> None:
    lb = lazy(run_lb, shelf)
    where = shelf["a.test"].directory
    os.mkfifo(where / "fifo.test.pem")
    (where / "junk.test.pem").write_text("junk")
    (where / "long.test.pem").write_bytes(b"x" * 65536)
    (where / "keyless.test.pem").write_bytes(shelf["a.test"].pem.read_bytes())
    (where / "wrong.test.pem").write_bytes(shelf["a.test"].pem.read_bytes())
    (where / "wrong.test.key").write_bytes(shelf["b.test"].key.read_bytes())
    (where / "wrong.test.key").chmod(0o644)
    for name, text in {
        "no.test": f'cannot load certificate "{where}/no.test.pem": open() failed (2: No such file or directory)',
        "fifo.test": f'cannot load certificate "{where}/fifo.test.pem": it is not a file',
        "junk.test": f'cannot load certificate "{where}/junk.test.pem": PEM_read_bio_X509_AUX() failed (SSL: error:',
        "long.test": f'cannot load certificate "{where}/long.test.pem": it is longer than 65535 bytes',
        "keyless.test": f'cannot load certificate key "{where}/keyless.test.key": open() failed (2: No such file',
        "wrong.test": f'cannot load certificate key "{where}/wrong.test.key": SSL_use_PrivateKey() failed (SSL: error:',
        "x/../a.test": "cannot load certificate: the server name of the ClientHello has a slash",
    }.items():
        said = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{lb.port('http')}", "-servername", name],
            input=b"", capture_output=True, check=False,
        ).stderr  # fmt: skip
        assert b"alert internal error" in said, said
        line = wait_for(lambda text=text: next((line for line in lb.log.splitlines() if text in line), None))
        assert "[error]" in line and "while SSL handshaking, client: 127.0.0.1, server: " in line, line
    assert shown(lb.port("http"), "a.test") == shelf["a.test"].der()


def test_the_cache(run_lb: Callable[..., Lb], shelf: dict[str, Pair]) -> None:
    lb = lazy(run_lb, shelf, "ssl_certificate_cache max=1 inactive=10m valid=10m;")
    a, b = shelf["a.test"].der(), shelf["b.test"].der()
    assert shown(lb.port("http"), "a.test") == a
    shelf["a.test"].replace_by(shelf["b.test"])
    assert shown(lb.port("http"), "a.test") == a  # as it was
    assert shown(lb.port("http"), "b.test") == b  # takes its place: there is but one
    assert shown(lb.port("http"), "a.test") == b


def test_the_cache_forgets(run_lb: Callable[..., Lb], shelf: dict[str, Pair]) -> None:
    lb = lazy(run_lb, shelf, "ssl_certificate_cache max=9 valid=1s;")
    assert shown(lb.port("http"), "a.test") == shelf["a.test"].der()
    shelf["a.test"].replace_by(shelf["b.test"])
    wait_for(lambda: shown(lb.port("http"), "a.test") == shelf["b.test"].der(), "the files to be read anew")


def test_data(run_lb: Callable[..., Lb], tmp_path: Path) -> None:
    """PEM from a variable; what is in it is in no log."""
    pair = make(tmp_path, "one", "a.test")
    lb = run_lb(
        """
        http {
            map $remote_addr $certificate { default "@pem@"; }
            map $remote_addr $secret { default "@key@"; }
            ssl_certificate data:$certificate;
            server { listen 127.0.0.1:@http@ ssl; ssl_certificate_key data:$secret; return 200 "x"; }
            server { listen 127.0.0.1:@bad@ ssl; ssl_certificate_key data:x$remote_addr; return 200 "x"; }
        }
        """,
        pem=pair.pem.read_text(), key=pair.key.read_text(),
    )  # fmt: skip
    assert shown(lb.port("http")) == pair.der()
    bad = f"127.0.0.1:{lb.port('bad')}"
    subprocess.run(["openssl", "s_client", "-connect", bad], input=b"", capture_output=True, check=False)
    assert 'cannot load certificate key "data:": PEM_read_bio_PrivateKey() failed (SSL: error:' in lb.log


# ---- keys


def test_no_text_has_a_key(run_lb: Callable[..., Lb], http_backend: Callable[..., HttpBackend], tmp_path: Path) -> None:
    pair, other = make(tmp_path, "one", "a.test"), make(tmp_path, "two", "a.test")
    secrets = [b64decode("".join(one.key.read_text().splitlines()[1:-1])) for one in (pair, other)]
    numbers = [secret[secret.index(b"\x04\x20") + 2 :][:32] for secret in secrets]
    lb = run_lb(
        "error_log error.log debug;\n" + PAGE.replace("http {", "http { ssl_certificate_watch on;"),
        pem=pair.pem, key=pair.key, soon=pair.pem, soon_key=pair.key, backend=http_backend().address,
    )  # fmt: skip
    with talking(lb.port("http")) as client:
        get(client)
    pair.replace_by(other)
    wait_for(lambda: shown(lb.port("http")) == other.der(), "the new certificate")
    pair.pem.write_text("junk")
    wait_for(lambda: "is not used, the old one stays" in lb.log, lambda: lb.log)
    said = [lb.command("-T"), lb.command("-t")]
    texts = [one.stdout.encode() + one.stderr.encode() for one in said] + [lb.log.encode("utf-8", "replace")]
    paths = ("status.json", "metrics", "", "upstream_show", "upstream_show.json", "healthz")
    texts += [requests.get(f"http://127.0.0.1:{lb.port('status')}/{path}", timeout=30).content for path in paths]
    assert any(b"a.test" in text for text in texts)
    for text in texts:
        for number in numbers:
            for form in (number, number.hex().encode(), number.hex().upper().encode(), b64encode(number)[:40]):
                assert form not in text
        assert b"PRIVATE KEY" not in text


@pytest.fixture
def cores() -> Iterator[None]:
    """Processes that are started now may make cores."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def aborted(lb: Lb) -> str:
    """A worker's end by SIGABRT, as the master tells of it."""
    lb.expect_log(r"exited on signal 6")
    pid = next(iter(lb.workers)).pid
    os.kill(pid, SIGABRT)
    line = lb.wait_log(rf"worker process {pid} exited on signal 6.*")[0]
    lb.wait_ready()
    return line


def test_a_process_with_keys_makes_no_core(run_lb: Callable[..., Lb], tmp_path: Path, cores: None) -> None:
    """Where the machine makes any: the kernel says whether it has."""
    probe = subprocess.Popen([sys.executable, "-c", "import os; os.abort()"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    if not os.WCOREDUMP(os.waitpid(probe.pid, 0)[1]):
        pytest.skip("no cores on this machine")
    user = "user root;" if os.geteuid() == 0 else ""  # another user's worker is protected by the kernel already
    pair = make(tmp_path, "one", "a.test")
    plain = run_lb(f'{user} http {{ server {{ listen 127.0.0.1:@plain@; return 200 "x"; }} }}')
    assert aborted(plain).endswith("(core dumped)")
    lb = run_lb(
        f"""{user} http {{ server {{
            listen 127.0.0.1:@http@ ssl; ssl_certificate @pem@; ssl_certificate_key @key@; return 200 "x";
        }} }}""",
        pem=pair.pem, key=pair.key,
    )  # fmt: skip
    assert aborted(lb).endswith("exited on signal 6")
