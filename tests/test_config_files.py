"""Includes, the list of files, and the examples of conf/, each loaded."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lb.config import ConfigError, load
from lb.model import Config, If, ProxyPass, UpstreamShow
from tests import certificates

CONF = Path(__file__).parent.parent / "conf"
EXAMPLES = sorted(path for path in CONF.rglob("*.conf") if path.parent.name != "sites")
WARNED_OF = {"lenient.conf": ['"lenient_requests', '"proxy_lenient']}  # file -> first words of its warnings


@pytest.fixture(autouse=True)
def no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples are made of literal addresses: they load without DNS."""

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("an example asked the resolver")

    monkeypatch.setattr("socket.getaddrinfo", fail)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(CONF)))
def test_example_loads(path: Path, tmp_path: Path) -> None:
    if path.name == "tls.conf":
        path = _with_certificates(path, tmp_path)
    config = load(str(path), prefix=str(tmp_path))
    assert config.listeners
    warnings = [one for one in config.warnings if "worker_connections exceed" not in one]
    assert [one.split()[0] for one in warnings] == WARNED_OF.get(path.name, [])


def _with_certificates(path: Path, folder: Path) -> Path:
    """A copy of an example beside certificates for the names of its `certs/NAME[.ecdsa|.rsa].pem`."""
    text = path.read_text()
    certs = folder / "certs"
    certs.mkdir()
    for stem in dict.fromkeys(re.findall(r"certs/(\S+)\.pem", text)):
        name, _, kind = stem.rpartition(".") if stem.endswith((".rsa", ".ecdsa")) else (stem, "", "")
        names = [name, f"www.{name}"] if kind else [name]
        certificates.make(certs, stem, *names, key="rsa:2048" if kind == "rsa" else "ec:P-256", is_ca="-ca" in name)
        (certs / f"{stem}.key").chmod(0o600)
    copy = folder / path.name
    copy.write_text(text)
    return copy


def test_old_files_switch_it_on(tmp_path: Path) -> None:
    """`ssl on`: each address is TLS whose default server says so, and no other; nginx's warning."""
    pair = certificates.make(tmp_path, "a.test", "a.test")
    pair.key.chmod(0o600)
    file = tmp_path / "old.conf"
    file.write_text(
        f"""events {{}}
        http {{ ssl_certificate {pair.pem}; ssl_certificate_key {pair.key};
            server {{ listen 127.0.0.1:8001; listen 127.0.0.1:8002; server_name a.test; ssl on; return 204; }}
            server {{ listen 127.0.0.1:8001; listen 127.0.0.1:8002 default_server; server_name b.test; return 204; }} }}
        """
    )
    config = load(str(file), prefix=str(tmp_path))
    assert {one.text: one.ssl for one in config.listeners} == {"127.0.0.1:8001": True, "127.0.0.1:8002": False}
    (warning,) = [one for one in config.warnings if "deprecated" in one]
    assert warning.startswith('the "ssl" directive is deprecated, use the "listen ... ssl" directive instead in ')


def test_the_sample(tmp_path: Path) -> None:
    config = load(str(CONF / "lb.conf"), prefix=str(tmp_path))
    test, bar = config.upstreams
    assert test.upsync is not None and test.upsync.interval_ms == 500 and test.upsync.path == "/v1/kv/upstreams/test"
    assert (bar.servers[0].max_fails, bar.servers[0].fail_timeout_s) == (3, 10)
    (server,) = config.listeners[0].http
    found = {one.pattern: (one.match, one.handler) for one in server.locations}
    assert found == {
        "/proxy_test": ("exact", ProxyPass(0, "test")),
        "/bar": ("exact", ProxyPass(1, "bar")),
        "/upstream_show": ("exact", UpstreamShow()),
    }


def test_demo_addresses(tmp_path: Path) -> None:
    for name in ("demo.conf", "demo-consul.conf"):
        config = load(str(CONF / name), prefix=str(tmp_path))
        assert [one.text for one in config.listeners] == ["127.0.0.1:8080", "127.0.0.1:8082"]
        assert [str(one) for one in config.status_listen] == ["127.0.0.1:8081"]
        assert not config.daemon
        assert [one.path for one in config.error_logs] == ["stderr"]


def write(folder: Path, **files: str) -> Path:
    """Files by name, written with `__` for a slash."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".conf")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / "main.conf"


def read(main: Path) -> Config:
    return load(str(main), prefix="/nowhere")


def test_files_are_listed_once_in_reading_order(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="include events.conf; http { include sites/*.conf; include nothing/*.conf; }",
        events="events { include empty.conf; include empty.conf; }",
        empty="# nothing\n",
        sites__b="upstream b { server 127.0.0.1; } include /%s;" % str(tmp_path / "empty.conf").lstrip("/"),
        sites__a="upstream a { server 127.0.0.1; }",
    )
    config = read(main)
    names = ["main", "events", "empty", "sites/a", "sites/b"]
    assert config.files == tuple(f"{tmp_path}/{name}.conf" for name in names)
    assert [one.name for one in config.upstreams] == ["a", "b"]


def test_one_file_may_be_included_in_several_contexts(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="events {} http { include t.conf;\nserver { listen 80; include t.conf; location / { include t.conf; } } }",
        t="proxy_read_timeout 5s;",
    )
    assert read(main).listeners[0].http[0].locations[0].settings.proxy_read_timeout_ms == 5000


def test_errors_after_an_include_are_where_they_are(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="events {}\ninclude a.conf;\nwrong1;\nhttp {\n include b.conf;\n wrong2;\n}\n",
        a="\nwrong3;\ninclude c.conf;\n\nwrong4;\n",
        b="server {\n",
        c="pid a;\npid b;\n",
    )
    with pytest.raises(ConfigError) as caught:
        read(main)
    assert [str(one).split("\n")[0] for one in caught.value.errors] == [
        f'unknown directive "wrong3" in {tmp_path}/a.conf:2',
        f'"pid" directive is duplicate in {tmp_path}/c.conf:2',
        f'unknown directive "wrong4" in {tmp_path}/a.conf:5',
        f'unknown directive "wrong1" in {main}:3',
        f'unexpected end of file, expecting "}}" in {tmp_path}/b.conf:2',
        f'unknown directive "wrong2" in {main}:6',
    ]


def test_includes_in_a_circle(tmp_path: Path) -> None:
    main = write(tmp_path, main="events {}\ninclude a.conf;\n", a="include link.conf;\n")
    (tmp_path / "link.conf").symlink_to(main)
    with pytest.raises(ConfigError) as caught:
        read(main)
    assert str(caught.value) == f'"{tmp_path}/link.conf" includes itself in {tmp_path}/a.conf:1'


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_include(tmp_path: Path) -> None:
    main = write(tmp_path, main="events {}\ninclude a.conf;\n", a="")
    (tmp_path / "a.conf").chmod(0)
    with pytest.raises(ConfigError) as caught:
        read(main)
    assert str(caught.value) == f'open() "{tmp_path}/a.conf" failed (13: Permission denied) in {main}:2'


def test_a_folder_among_the_matches_is_one_error(tmp_path: Path) -> None:
    main = write(tmp_path, main="events {}\ninclude s/*;\n", s__a="pid x;", s__z="daemon off;")
    (tmp_path / "s" / "m").mkdir()
    with pytest.raises(ConfigError) as caught:
        read(main)
    assert str(caught.value) == f'open() "{tmp_path}/s/m" failed (21: Is a directory) in {main}:2'


def test_a_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lb.config.reader.MAX_FILE", 1000)
    main = write(tmp_path, main="events {}\ninclude /dev/zero;\n")
    with pytest.raises(ConfigError, match=r'"/dev/zero" is longer than 1000 bytes in .*main\.conf:2'):
        read(main)


def test_include_in_the_blocks_of_a_location(tmp_path: Path) -> None:
    """nginx allows it there, too: in if (of a server and of a location) and limit_except."""
    (tmp_path / "answer.inc").write_text("return 403;\n")
    (tmp_path / "rules.inc").write_text("allow 10.0.0.0/8; deny all;\n")
    (tmp_path / "x.conf").write_text(
        "events {} http { server { listen 127.0.0.1:8099; if ($arg_a) { include answer.inc; }\n"
        "location / { if ($arg_b) { include answer.inc; } limit_except GET { include rules.inc; } } } }"
    )
    config = load(str(tmp_path / "x.conf"), prefix=str(tmp_path))
    (server,) = config.listeners[0].http
    outer, inner = server.ops[0], server.locations[0].ops[0]
    assert isinstance(outer, If) and isinstance(inner, If) and outer.ops and inner.ops == outer.ops
    limited = server.locations[0].except_location
    assert limited is not None and [rule.allow for rule in limited.settings.access][:2] == [True, False]
    (tmp_path / "answer.inc").write_text("proxy_buffering on;\n")  # what may not stand there is still refused
    with pytest.raises(ConfigError, match=r'"proxy_buffering" directive is not allowed here in .*answer\.inc:1'):
        load(str(tmp_path / "x.conf"), prefix=str(tmp_path))
