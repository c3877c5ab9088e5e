"""Certificates and keys that cannot be used: refused with file and line, and the old ones stay at a reload."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP

import pytest

from lb.config import ConfigError, load
from tests.certificates import Pair, make, openssl
from tests.harness.lb import Lb
from tests.harness.wait import wait_for
from tests.test_tls_watch import shown

CONF = """events {{}}
http {{
    server {{
        listen 127.0.0.1:8443 ssl;
        ssl_certificate {pem};
        ssl_certificate_key {key};
    }}
}}
"""
PEM, KEY = 5, 6  # lines


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make(tmp_path_factory.mktemp("good"), "good", "a.test")


def problem(tmp_path: Path, pem: object, key: object, text: str = CONF) -> tuple[str, int, str]:
    """(text, line, hint) of the one problem there is."""
    file = tmp_path / "x.conf"
    file.write_text(text.format(pem=pem, key=key))
    with pytest.raises(ConfigError) as caught:
        load(str(file), prefix=str(tmp_path))
    (found,) = caught.value.errors
    assert found.file == str(file)
    return found.message, found.line, found.hint


def written(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "bad.pem"
    file.write_bytes(data)
    return file


def place(tmp_path: Path, what: str) -> Path:
    """Something that is no good file."""
    path = tmp_path / what
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "huge":
        with path.open("wb") as stream:
            stream.truncate(1 << 30)
    elif what == "loop":
        path.symlink_to(path)
    return path


KINDS = {
    "missing": "open() failed (2: No such file or directory)",
    "directory": "it is a directory, not a file",
    "fifo": "it is a FIFO, not a file",
    "device": "it is a device, not a file",
    "huge": "it is longer than 1048576 bytes",
    "loop": "open() failed (40: Too many levels of symbolic links)",
}


@pytest.mark.parametrize("what", KINDS)
def test_no_good_file(tmp_path: Path, good: Pair, what: str) -> None:
    path = place(tmp_path, what)
    assert problem(tmp_path, path, good.key)[:2] == (f'cannot load certificate "{path}": {KINDS[what]}', PEM)
    assert problem(tmp_path, good.pem, path)[:2] == (f'cannot load certificate key "{path}": {KINDS[what]}', KEY)


def der(good: Pair) -> bytes:
    return good.der()


@pytest.mark.parametrize(
    ("make_data", "reason", "hint"),
    [
        (lambda good: b"", "no start line", "the file is empty"),
        (lambda good: b"junk\n" * 100, "no start line", "there is no PEM in it"),
        (der, "no start line", "this looks like DER"),
        (lambda good: good.pem.read_bytes()[:-60], "", ""),
        (lambda good: good.pem.read_bytes().replace(b"MII", b"MI!", 1), "bad base64 decode", ""),
        (lambda good: good.key.read_bytes(), "no start line", ""),
    ],
    ids=["empty", "junk", "der", "cut", "base64", "a key"],
)
def test_broken_certificate(
    tmp_path: Path, good: Pair, make_data: Callable[[Pair], bytes], reason: str, hint: str
) -> None:
    path = written(tmp_path, make_data(good))
    text, line, said = problem(tmp_path, path, good.key)
    assert text.startswith(f'cannot load certificate "{path}": PEM_read_bio_X509_AUX() failed (SSL: error:'), text
    assert reason in text
    assert said.startswith(hint)
    assert line == PEM


@pytest.mark.parametrize("data", [b"", b"junk\n" * 100, None], ids=["empty", "junk", "a certificate"])
def test_broken_key(tmp_path: Path, good: Pair, data: bytes | None) -> None:
    path = written(tmp_path, good.pem.read_bytes() if data is None else data)
    text, line, _ = problem(tmp_path, good.pem, path)
    assert text.startswith(f'cannot load certificate key "{path}": PEM_read_bio_PrivateKey() failed (SSL: error:'), text
    assert line == KEY


def test_broken_certificate_behind_a_good_one(tmp_path: Path, good: Pair) -> None:
    path = written(tmp_path, good.pem.read_bytes() * 2 + good.pem.read_bytes()[:-60])
    text, line, _ = problem(tmp_path, path, good.key)
    assert text.startswith(f'cannot load certificate "{path}": PEM_read_bio_X509() failed (SSL: error:')
    assert line == PEM


def test_a_key_of_another(tmp_path: Path, good: Pair) -> None:
    other = make(tmp_path, "other")
    text, line, _ = problem(tmp_path, good.pem, other.key)
    assert text.startswith(f'SSL_CTX_use_PrivateKey("{other.key}") failed (SSL: error:'), text
    assert "key values mismatch" in text
    assert line == KEY


def test_the_second_pair_is_the_bad_one(tmp_path: Path, good: Pair) -> None:
    other = make(tmp_path, "other", key="rsa:2048")
    first = f"ssl_certificate {good.pem}; ssl_certificate_key {good.key};\n"
    more = CONF.replace("ssl_certificate {pem};", f"{first} ssl_certificate {{pem}};")
    text, line, _ = problem(tmp_path, other.pem, good.key, more)
    assert text.startswith(f'SSL_CTX_use_PrivateKey("{good.key}") failed (SSL: error:'), text
    assert line in (5, 7)  # it is the key of both


def test_encrypted_key(tmp_path: Path, good: Pair) -> None:
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", str(good.key), "-aes256", "-passout", "pass:right", "-out", str(locked))
    text, line, hint = problem(tmp_path, good.pem, locked)
    assert text.startswith(f'cannot load certificate key "{locked}": PEM_read_bio_PrivateKey() failed')
    assert (line, hint) == (KEY, "the key is encrypted: ssl_password_file names the file with its password")
    (tmp_path / "words").write_text("wrong\n")
    with_words = CONF.replace("ssl_certificate {pem};", f"ssl_password_file {tmp_path}/words; ssl_certificate {{pem}};")
    assert problem(tmp_path, good.pem, locked, with_words)[1] == KEY
    (tmp_path / "words").write_text("wrong\n\nright\n")
    file = tmp_path / "x.conf"
    file.write_text(with_words.format(pem=good.pem, key=locked))
    assert load(str(file), prefix=str(tmp_path)).tls[0].certificates[0].password_file == f"{tmp_path}/words"


@pytest.mark.parametrize("key", ["rsa:1024", "rsa:512"])
def test_too_weak_for_openssl(tmp_path: Path, key: str) -> None:
    weak = make(tmp_path, "weak", key=key, digest="sha1")
    text, line, _ = problem(tmp_path, weak.pem, weak.key)
    assert "ee key too small" in text
    assert line == PEM


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything: somebody else must not")
def test_unreadable(tmp_path: Path, good: Pair) -> None:
    file = tmp_path / "x.conf"
    file.write_text(CONF.format(pem=good.pem, key=good.key))
    code = "import os, sys; from lb.config import load; import lb.config.tls_files; os.setuid(65534); "
    code += "load(sys.argv[1], prefix='/tmp')"
    os.chmod(good.key, 0o600)
    for one in (file, *file.parents, *good.key.parents):
        if str(one).startswith("/tmp/"):
            os.chmod(one, 0o755)
    python = Path(__file__).parent.parent / ".venv/bin/python"
    done = subprocess.run([str(python), "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert f'cannot load certificate key "{good.key}": open() failed (13: Permission denied) in {file}:6' in done.stderr


def test_what_variables_may_name(tmp_path: Path) -> None:
    for value, text in {
        "/x/$request_uri.crt": 'variable "$request_uri" of "ssl_certificate" has no value during a handshake',
        "/x/$http_cookie.crt": 'variable "$http_cookie" of "ssl_certificate" has no value during a handshake',
        "/x/$1.crt": 'variable "$1" of "ssl_certificate" has no value during a handshake',
        "/x/${ssl_server_name.crt": 'the closing bracket in "ssl_server_name" variable is missing',
        "/x/$nobody.crt": 'unknown "nobody" variable',
        "engine:x:y": '"engine:x:y": keys are read from files',
    }.items():
        assert problem(tmp_path, value, "/x/$ssl_server_name.key")[:2] == (text, PEM)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("max=0", 'invalid parameter "max=0"'),
        ("max=x", 'invalid parameter "max=x"'),
        ("min=4", 'invalid parameter "min=4"'),
        ("inactive=5", '"ssl_certificate_cache" must have the "max" parameter'),
        ("max=4 valid=soon", 'invalid parameter "valid=soon"'),
        ("off max=4", 'invalid parameter "off"'),
    ],
)
def test_certificate_cache(tmp_path: Path, words: str, text: str) -> None:
    conf = CONF.replace("ssl_certificate {pem}", f"ssl_certificate_cache {words};\n ssl_certificate {{pem}}")
    assert problem(tmp_path, "/x/$ssl_server_name", "/x/$ssl_server_name", conf)[:2] == (text, PEM)


# ---- a running lb


def test_the_old_one_stays_at_a_reload(run_lb: Callable[..., Lb], tmp_path: Path, good: Pair) -> None:
    pair = make(tmp_path, "pair", "a.test")
    lb = run_lb(
        """http { server {
            listen 127.0.0.1:@http@ ssl; ssl_certificate @pem@; ssl_certificate_key @key@; return 200 "x";
        } }""",
        pem=pair.pem, key=pair.key,
    )  # fmt: skip
    before = pair.der()
    assert shown(lb.port("http")) == before
    workers = {worker.pid for worker in lb.workers}
    pair.key.write_bytes(good.key.read_bytes())  # no longer the certificate's
    lb.expect_log(r"\[emerg\].*SSL_CTX_use_PrivateKey")
    lb.signal(SIGHUP)
    wait_for(lambda: "the configuration stays as it was" in lb.log, lambda: lb.log)
    assert f"key values mismatch) in {lb.file}:" in lb.log
    assert shown(lb.port("http")) == before
    assert {worker.pid for worker in lb.workers} == workers
