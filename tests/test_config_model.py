"""What good configurations become: inheritance, defaults, shared listeners, upstreams in order of registration."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lb.config import ConfigError, load
from lb.model import (
    AccessLog,
    Address,
    Config,
    ErrorLog,
    Files,
    HttpServer,
    HttpSettings,
    Location,
    ProxyPass,
    Return,
    Server,
    ShrinkGuard,
    StaticFiles,
    TempPath,
    UpstreamShow,
    Upsync,
    Var,
)

Read = Callable[..., Config]


def inet(host: str, port: int) -> Address:
    return Address(socket.AF_INET, host, port)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, globals: str = "", events: str = "events {}\n") -> Config:
        (tmp_path / "lb.conf").write_bytes((events + text).encode())
        return load("lb.conf", prefix=str(tmp_path), globals=globals)

    return read


def http(*lines: str) -> str:
    return "http {\n" + "\n".join(lines) + "\n}\n"


def server(*lines: str) -> str:
    return "server {\nlisten 127.0.0.1:8099;\n" + "\n".join(lines) + "\n}\n"


def only_server(config: Config) -> HttpServer:
    (listener,) = config.listeners
    (found,) = listener.http
    return found


def only_location(config: Config) -> Location:
    (found,) = only_server(config).locations
    return found


def test_defaults(read: Read, tmp_path: Path) -> None:
    config = read("")
    expected = Config(
        path=f"{tmp_path}/lb.conf",
        prefix=f"{tmp_path}/",
        files=(f"{tmp_path}/lb.conf",),
        pid=f"{tmp_path}/logs/lb.pid",
        error_logs=(ErrorLog(f"{tmp_path}/logs/error.log", "error"),),
    )
    assert config == expected


def test_main_directives(read: Read, tmp_path: Path) -> None:
    config = read(
        "worker_processes 3; worker_rlimit_nofile 9000; pid run/x.pid; daemon off; error_log stderr;\n"
        "error_log logs/all.log debug; error_log /var/log/x crit; status_listen 127.0.0.1:8081;\n"
        "http { status_listen [::1]:8081; }\n",
        events="events { worker_connections 100; }\n",
    )
    assert (config.worker_processes, config.worker_rlimit_nofile, config.worker_connections) == (3, 9000, 100)
    assert (config.pid, config.daemon) == (f"{tmp_path}/run/x.pid", False)
    assert config.error_logs == (
        ErrorLog("stderr", "error"),
        ErrorLog(f"{tmp_path}/logs/all.log", "debug"),
        ErrorLog("/var/log/x", "crit"),
    )
    assert config.status_listen == (inet("127.0.0.1", 8081), Address(socket.AF_INET6, "::1", 8081))


def test_auto_is_the_cpus_we_may_use(read: Read) -> None:
    assert read("worker_processes auto;").worker_processes == len(os.sched_getaffinity(0))


def test_user(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config = read("user root;")
    assert (config.user, config.group) == ("root", "root")
    assert (read("user nobody root;").user, read("user nobody root;").group) == ("nobody", "root")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    config = read("user no-such-user;")
    assert (config.user, config.group) == (None, None)
    (warning,) = config.warnings
    assert warning.startswith('the "user" directive makes sense only if') and warning.endswith("lb.conf:2")


def test_more_connections_than_files_is_a_warning(read: Read) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    events = f"events {{ worker_connections {limit + 1}; }}\n"
    (warning,) = read("", events=events).warnings
    assert warning == f"{limit + 1} worker_connections exceed open file resource limit: {limit}"
    assert read(f"worker_rlimit_nofile {limit + 1};", events=events).warnings == ()


def temp_paths(prefix: Path) -> dict[str, TempPath]:
    """The default directories for temporary files, which lie below the prefix."""
    return {name: TempPath(f"{prefix}/{name}") for name in ("client_body_temp", "proxy_temp")}


def test_settings_are_inherited(read: Read, tmp_path: Path) -> None:
    config = read(
        http(
            "proxy_read_timeout 1s; proxy_send_timeout 1s; keepalive_timeout 0; client_max_body_size 0;",
            "proxy_set_header A 1; proxy_set_header B $host; access_log a.log; access_log a.log; access_log b.log;",
            server(
                "proxy_read_timeout 2s; client_header_timeout 3s; proxy_http_version 1.0; keepalive_requests 5;",
                "location /a { proxy_read_timeout 500ms; proxy_set_header C ''; access_log off; send_timeout 1m30s; }",
                "location /b { }",
                "location /c { access_log c.log; access_log off; }",
                "location /d { access_log d.log combined; client_body_timeout 9; proxy_connect_timeout 1; }",
            ),
        )
    )
    a, b, c, d = (location.settings for location in only_server(config).locations)
    common = HttpSettings(
        set_headers=(("A", ("1",)), ("B", (Var("host"),))),
        proxy_http_version="1.0",
        proxy_read_timeout_ms=2000,
        proxy_send_timeout_ms=1000,
        keepalive_timeout_ms=0,
        keepalive_requests=5,
        client_header_timeout_ms=3000,
        client_max_body_size=0,
        access_logs=tuple(AccessLog(f"{tmp_path}/{name}.log") for name in "aab"),
        files=Files(root=(f"{tmp_path}/html",)),
        **temp_paths(tmp_path),
    )
    assert b == common
    assert only_server(config).settings == common
    assert (a.proxy_read_timeout_ms, a.set_headers, a.access_logs, a.send_timeout_ms) == (500, (("C", ()),), (), 90_000)
    assert c.access_logs == ()
    assert d.access_logs == (AccessLog(f"{tmp_path}/d.log"),)
    assert (d.client_body_timeout_ms, d.proxy_connect_timeout_ms) == (9000, 1000)


def test_the_default_access_log(read: Read, tmp_path: Path) -> None:
    assert only_server(read(http(server()))).settings == HttpSettings(
        access_logs=(AccessLog(f"{tmp_path}/logs/access.log"),),
        files=Files(root=(f"{tmp_path}/html",)),
        **temp_paths(tmp_path),
    )


def test_locations_and_handlers(read: Read) -> None:
    config = read(
        http(
            "upstream u { server 127.0.0.1:1; }",
            server(
                "location = /a { proxy_pass http://u; }",
                "location =/b { upstream_show; }",
                "location ^~ /c { return 204; return 500; }",
                "location ^~/d { proxy_pass http://u; return 403; }",
                "location / { }",
            ),
        )
    )
    found = [(one.match, one.pattern, one.handler) for one in only_server(config).locations]
    assert found == [
        ("exact", "/a", ProxyPass(0, "u")),
        ("exact", "/b", UpstreamShow()),
        ("noregex", "/c", StaticFiles()),
        ("noregex", "/d", ProxyPass(0, "u")),
        ("prefix", "/", StaticFiles()),
    ]
    ops = [one.ops for one in only_server(config).locations]
    assert ops == [(), (), (Return(204), Return(500)), (Return(403),), ()]
    assert [one.where.rpartition(":")[2] for one in only_server(config).locations] == ["6", "7", "8", "9", "10"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return 200;", Return(200)),
        ("return 200 'a $uri\\n';", Return(200, ("a ", Var("uri"), "\n"))),
        ("return 301 http://b$request_uri;", Return(301, ("http://b", Var("request_uri")))),
        ("return https://c/;", Return(302, ("https://c/",))),
        ("return $scheme://c/;", Return(302, (Var("scheme"), "://c/"))),
        ("return 444;", Return(444)),
        ("return 999 '';", Return(999)),
    ],
)
def test_returns(read: Read, line: str, expected: Return) -> None:
    assert only_location(read(http(server(f"location / {{ {line} }}")))).ops == (expected,)
    assert only_server(read(http(server(line, "location / { return 500; }")))).ops == (expected,)


@pytest.mark.parametrize(
    ("target", "name", "host", "uri", "address"),
    [
        ("http://127.0.0.1", "127.0.0.1", "127.0.0.1", None, inet("127.0.0.1", 80)),
        ("http://127.0.0.1:80/", "127.0.0.1:80", "127.0.0.1", "/", inet("127.0.0.1", 80)),
        ("HTTP://127.0.0.1:81/a?b", "127.0.0.1:81", "127.0.0.1:81", "/a?b", inet("127.0.0.1", 81)),
        ("http://127.0.0.1?b", "127.0.0.1", "127.0.0.1", "/?b", inet("127.0.0.1", 80)),
        ("http://[::1]:81/a", "[::1]:81", "[::1]:81", "/a", Address(socket.AF_INET6, "::1", 81)),
        ("http://unix:/run/x", "unix:/run/x", "localhost", None, Address(socket.AF_UNIX, "/run/x")),
        ("http://unix:/run/x:/a", "unix:/run/x", "localhost", "/a", Address(socket.AF_UNIX, "/run/x")),
    ],
)
def test_implicit_upstreams(read: Read, target: str, name: str, host: str, uri: str | None, address: Address) -> None:
    config = read(http(server(f"location / {{ proxy_pass {target}; }}")))
    assert only_location(config).handler == ProxyPass(0, host, uri)
    (upstream,) = config.upstreams
    assert (upstream.kind, upstream.name, upstream.implicit) == ("http", name, True)
    assert upstream.servers == (Server(str(address), address),)


def test_a_host_name_stands_for_all_its_addresses(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def addresses(host: str) -> tuple[Address, ...]:
        asked.append(host)
        return (inet("10.0.0.1", 0), Address(socket.AF_INET6, "fd00::1", 0))

    monkeypatch.setattr("lb.config.address.lookup", addresses)
    config = read(
        http(
            "upstream u { server a.test:81 weight=2; }",
            server("location / { proxy_pass http://a.test; }", "location /u { proxy_pass http://u; }"),
        )
    )
    assert asked == ["a.test"]
    assert [str(one.address) for one in config.upstreams[0].servers] == ["10.0.0.1:81", "[fd00::1]:81"]
    assert [one.weight for one in config.upstreams[0].servers] == [2, 2]
    assert [str(one.address) for one in config.upstreams[1].servers] == ["10.0.0.1:80", "[fd00::1]:80"]


def test_upstreams_are_in_order_of_registration(read: Read) -> None:
    config = read(
        http(
            "upstream first { server 127.0.0.1:1; }",
            server(
                "location /1 { proxy_pass http://127.0.0.1:2; }",
                "location /2 { proxy_pass http://LATER/x; }",
                "location /3 { proxy_pass http://127.0.0.1:3; }",
                "location /4 { proxy_pass http://127.0.0.1:2/y; }",
            ),
            "upstream later { server 127.0.0.1:4; }",
        )
        + "stream { upstream later { server 127.0.0.1:5; }\n"
        "server { listen 8098; proxy_pass later; } server { listen 8097; proxy_pass 127.0.0.1:2; } }"
    )
    found = [(one.kind, one.name, one.implicit) for one in config.upstreams]
    assert found == [
        ("http", "first", False),
        ("http", "127.0.0.1:2", True),
        ("http", "later", False),
        ("http", "127.0.0.1:3", True),
        ("stream", "later", False),
        ("stream", "127.0.0.1:2", True),
    ]
    by_number = [
        one.handler.upstream for one in config.listeners[0].http[0].locations if isinstance(one.handler, ProxyPass)
    ]
    assert by_number == [1, 2, 3, 1]
    assert [one.stream.upstream for one in config.listeners if one.stream] == [4, 5]


def test_upstream_directives(read: Read) -> None:
    config = read(
        http(
            "keepalive_timeout 5s; keepalive_requests 5;",
            "upstream a { server 127.0.0.1; }",
            "upstream b { least_conn; keepalive 0; keepalive_timeout 1s; keepalive_requests 7;",
            "server 127.0.0.1:1 weight=3 max_fails=0 fail_timeout=1m max_conns=9 down; server unix:/run/x backup; }",
            "upstream c { server [::1]:5; ip_hash; }",
        )
    )
    a, b, c = config.upstreams
    assert (a.balancer, a.keepalive, a.keepalive_timeout_ms, a.keepalive_requests) == ("round_robin", 32, 60_000, 1000)
    assert a.servers == (Server("127.0.0.1:80", inet("127.0.0.1", 80)),)
    assert (b.balancer, b.keepalive, b.keepalive_timeout_ms, b.keepalive_requests) == ("least_conn", 0, 1000, 7)
    first = Server("127.0.0.1:1", inet("127.0.0.1", 1), 3, 0, 60, 9, down=True)
    assert b.servers == (first, Server("unix:/run/x", Address(socket.AF_UNIX, "/run/x"), backup=True))
    assert (c.balancer, c.servers[0].name) == ("ip_hash", "[::1]:5")


def test_a_second_method_warns_and_wins(read: Read) -> None:
    config = read(http("upstream a {\nip_hash;\nleast_conn;\nserver 127.0.0.1;\n}"))
    assert config.upstreams[0].balancer == "least_conn"
    assert config.warnings == (f"load balancing method redefined in {config.path}:5",)


def upsync(read: Read, line: str) -> Upsync:
    (upstream,) = read(http(f"upstream test {{ server 127.0.0.1:11111;\n{line} }}")).upstreams
    assert upstream.upsync is not None
    return upstream.upsync


def test_upsync(read: Read, tmp_path: Path) -> None:
    where = f"{tmp_path}/lb.conf:4"
    found = upsync(
        read,
        "upsync 127.0.0.1:8500/v1/kv/upstreams/test upsync_timeout=6m upsync_interval=500ms upsync_type=consul "
        "strong_dependency=ON; upsync_dump_path servers_test.conf;",
    )
    dump = f"{tmp_path}/servers_test.conf"
    path = "/v1/kv/upstreams/test"
    assert found == Upsync("127.0.0.1", 8500, path, "consul", 360_000, 500, True, dump, where)


def test_upsync_defaults(read: Read) -> None:
    found = upsync(read, "upsync consul.test/v1/kv/a/?recurse&token=x upsync_type=consul upsync_interval=0;")
    assert (found.host, found.port, found.path, found.token) == ("consul.test", 80, "/v1/kv/a/?recurse", "x")
    assert (found.timeout_ms, found.interval_ms, found.strong_dependency) == (360_000, 5000, False)
    assert found.dump_path == "/tmp/servers_test.conf"


@pytest.mark.parametrize("words", ["50% for=90s", "50% for 90s", "50 for 1m30s"])
def test_the_guard_in_both_ways_of_writing(read: Read, words: str) -> None:
    found = upsync(read, f"upsync 127.0.0.1:8500/v1/kv/a upsync_type=consul; upsync_shrink_guard {words};")
    assert found.guard == ShrinkGuard(50, 90_000)


def test_upsync_of_services_and_several_addresses(read: Read) -> None:
    words = "a:1,[::2]:3,c/v1/health/service/web?passing&token=secret upsync_type=consul_health upsync_health=warning"
    found = upsync(read, f"upsync {words};")
    assert (found.host, found.port, found.others) == ("a", 1, (("::2", 3), ("c", 80)))
    assert (found.kind, found.path, found.health) == ("consul_health", "/v1/health/service/web?passing", "warning")
    assert "secret" not in repr(found)


def test_the_last_upsync_counts(read: Read) -> None:
    lines = (
        "upsync a:1/v1/kv/a upsync_type=consul; upsync b:2/v1/kv/b upsync_type=consul;"
        " upsync_dump_path /a; upsync_dump_path /b;"
    )
    found = upsync(read, lines)
    assert (found.host, found.port, found.path, found.dump_path) == ("b", 2, "/v1/kv/b", "/b")


def test_the_dump_may_be_included(read: Read, tmp_path: Path) -> None:
    """As the module's users have it. A backup server in it is Consul's: it may go, and any balancer takes it."""
    (tmp_path / "dump").write_text("server 127.0.0.1:2 backup;\nserver 127.0.0.1:1 down;\n")
    upsync = "upsync a:1/v1/kv/a upsync_type=consul; hash $uri; upsync_dump_path dump;"
    (upstream,) = read(http(f"upstream a {{ include dump; {upsync} }}")).upstreams
    assert [(one.name, one.backup, one.down) for one in upstream.servers] == [
        ("127.0.0.1:2", False, False),
        ("127.0.0.1:1", False, True),
    ]
    own = "server 127.0.0.1:2 backup; server 127.0.0.1:3;"
    (upstream,) = read(http(f"upstream a {{ {own} include dump; {upsync.replace('hash $uri;', '')} }}")).upstreams
    assert [one.name for one in upstream.servers if one.backup] == ["127.0.0.1:2"]
    with pytest.raises(ConfigError, match=f'does not support parameter "backup" in {tmp_path}/lb.conf:3'):
        read(http(f"upstream a {{ {own} include dump; {upsync} }}"))


def test_upsync_lines_without_effect_warn(read: Read) -> None:
    config = read(
        http(
            "upstream a { server 127.0.0.1; upsync_dump_path /tmp/a.conf; }",
            "upstream b { server 127.0.0.1; upsync_lb ip_hash; }",
            "upstream c { server 127.0.0.1; upsync_lb ip_hash; ip_hash; }",
            "upstream d { server 127.0.0.1; upsync_lb roundrobin; }",
        )
    )
    assert config.warnings == (
        f'"upsync_dump_path" has no effect without "upsync" in upstream "a" in {config.path}:3',
        f'"upsync_lb ip_hash" selects nothing, upstream "b" is balanced by round_robin in {config.path}:4',
    )


def test_listeners_are_shared(read: Read) -> None:
    config = read(
        http(
            "server { listen 127.0.0.1:8099; listen 127.0.0.1:8098 reuseport backlog=9; server_name A a b; }",
            "server { listen 127.0.0.1:8099 default_server; server_name c ''; }",
            "server { listen 127.0.0.1:8098; listen [::]:8098 ipv6only=off; listen unix:/run/lb.sock; server_name B; }",
        )
    )
    assert [one.text for one in config.listeners] == [
        "127.0.0.1:8099", "127.0.0.1:8098", "[::]:8098", "unix:/run/lb.sock",
    ]  # fmt: skip
    first, second, third, _ = config.listeners
    assert [one.names for one in first.http] == [("a", "b"), ("c", "")]
    assert (first.default_server, first.backlog, first.reuseport, first.ipv6only) == (1, 511, False, True)
    assert [one.names for one in second.http] == [("a", "b"), ("b",)]
    assert (second.default_server, second.backlog, second.reuseport) == (0, 9, True)
    assert (third.ipv6only, third.backlog) == (False, 511)
    assert first.http[0] is second.http[0]
    assert config.warnings == ('conflicting server name "b" on 127.0.0.1:8098, ignored',)


def test_server_without_names_or_listen(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    config = read(http("server { }"))
    assert [one.text for one in config.listeners] == ["0.0.0.0:8000"]
    assert only_server(config).names == ("",)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [one.text for one in read(http("server { }")).listeners] == ["0.0.0.0:80"]


def test_port_range(read: Read) -> None:
    config = read(http("server { listen 127.0.0.1:8097-8099; }"))
    assert [one.address.port for one in config.listeners] == [8097, 8098, 8099]


def test_wildcard_and_address_with_reuseport(read: Read) -> None:
    config = read(http("server { listen 8099 reuseport; listen 127.0.0.1:8099 reuseport; }"))
    assert len(config.listeners) == 2


def test_hostname_and_suspicious_names(read: Read) -> None:
    config = read(http(server("server_name $hostname a/b _;")))
    assert only_server(config).names == (socket.gethostname().lower(), "a/b", "_")
    assert config.warnings == (f'server name "a/b" has suspicious symbols in {config.path}:5',)


def test_stream(read: Read) -> None:
    config = read(
        "stream {\nproxy_timeout 5s; proxy_connect_timeout 1s;\n"
        "upstream u { least_conn; server 127.0.0.1:1; server unix:/run/x backup; }\n"
        "server { listen 127.0.0.1:8099 reuseport; proxy_pass u; proxy_timeout 7s; }\n"
        "server { listen unix:/run/lb.sock; proxy_pass unix:/run/y; }\n}\n"
    )
    first, second = config.listeners
    assert first.stream is not None and second.stream is not None
    assert (first.http, first.reuseport, first.stream.upstream) == ((), True, 0)
    assert (first.stream.proxy_timeout_ms, first.stream.proxy_connect_timeout_ms) == (7000, 1000)
    assert (second.stream.proxy_timeout_ms, second.stream.upstream) == (5000, 1)
    assert [(one.kind, one.name, one.keepalive) for one in config.upstreams] == [
        ("stream", "u", 0), ("stream", "unix:/run/y", 0),
    ]  # fmt: skip


def test_globals_come_before_the_file(read: Read) -> None:
    assert read("", globals="daemon off; worker_processes 2;").worker_processes == 2
    with pytest.raises(ConfigError, match=r'"daemon" directive is duplicate in .*lb\.conf:2'):
        read("daemon on;", globals="daemon off;")


@pytest.mark.parametrize(
    ("globals", "expected"),
    [
        ("daemon off", 'unexpected end of parameter, expecting ";" in command line'),
        ("http { }", "block directives are not supported in -g option in command line"),
        ("demon off;", 'unknown directive "demon" in command line\ndid you mean "daemon"?'),
        ("}", 'unexpected "}" in command line'),
    ],
)
def test_bad_globals(read: Read, globals: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read("", globals=globals)
    assert str(caught.value.errors[0]) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("worker_proceses 1;", 'did you mean "worker_processes"?'),
        ("http { lissten 80; }", 'did you mean "listen"?'),
        ("empty_gif;", '"empty_gif": a directive of nginx that lb does not have yet'),
        ("http { server { location / { autoindex on; } } }", '"autoindex": lb lists no directories: leave it out'),
        ("http { keepalive 5; }", '"keepalive" may stand in: upstream'),
        (
            "http { server { tunnel_pass; } }",
            '"tunnel_pass": lb is no forward proxy: it answers CONNECT with 405, whoever may ask for whatever address',
        ),
        (
            "http { server { tunnel_socket_rcvbuf 1k; } }",
            '"tunnel_socket_rcvbuf": lb is no forward proxy: it answers CONNECT with 405, whoever may ask for whatever '
            "address",
        ),
        (
            "http { proxy_bind_dynamic on; }",
            '"proxy_bind_dynamic": a directive of nginx\'s commercial version; proxy_bind is worked out once for a '
            "request",
        ),
        ("http { server { http3 on; } }", '"http3": lb speaks no QUIC'),
        (
            "http { upstream u { server 127.0.0.1 resolve; server 127.0.0.1:1; } }",
            '"resolve" of "server": names are looked up when the file is read, and by upsync while lb runs',
        ),
        (
            "http { upstream u { server 127.0.0.1; sticky learn create=$uri lookup=$uri zone=z:1m sync; } }",
            '"sync" of "sticky": machines share no sessions: `cookie` and `route` need none, every machine knows them',
        ),
        (
            "stream { server { listen 127.0.0.1:8099 deferred; return x; } }",
            '"deferred" of "listen": lb accepts at once and counts who is silent: leave it out',
        ),
        ("http { server { listen 8099 sticky; } }", ""),
        ("xyzzy;", ""),
        ("http { server { return 200 $requst_uri; } }", 'did you mean "$request_uri"?'),
        ("http { server { set $backend 1; return 200 $bakend; } }", 'did you mean "$backend"?'),
        ("http { server { return 200 $xyzzy; } }", ""),
        ("stream { server { listen 127.0.0.1:8099; return $uri; } }", '"$uri" is a variable of http'),
        (
            "http { upstream test { server 127.0.0.1; }\n"
            "server { listen 8099; location / { proxy_pass http://tset; } } }",
            'did you mean upstream "test"?',
        ),
    ],
)
def test_hints(read: Read, monkeypatch: pytest.MonkeyPatch, text: str, hint: str) -> None:
    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.errors[0].hint == hint


def fail(*args: object, **kwargs: object) -> None:
    raise OSError("no resolver in tests")


def test_unreadable_main_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("nosuch.conf", prefix=str(tmp_path))
    assert str(caught.value) == f'open() "{tmp_path}/nosuch.conf" failed (2: No such file or directory)'
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path), prefix=str(tmp_path))
    assert str(caught.value) == f'open() "{tmp_path}" failed (21: Is a directory)'
