"""Rows of Consul's catalog and health endpoints -> servers, by the module's rules and lb's additions."""

from __future__ import annotations

from typing import Any

import pytest

from lb.config.consul_path import Query, parse, without_token
from lb.upsync import services
from tests.upsync_fakes import names


def row(address: str = "127.0.0.1", port: Any = 8001, tags: Any = (), node: str = "10.0.0.1") -> dict[str, Any]:
    return {
        "ServiceID": f"{address}-{port}",
        "Address": node,
        "ServiceAddress": address,
        "ServicePort": port,
        "ServiceTags": list(tags) if isinstance(tags, tuple) else tags,
    }


def instance(*statuses: str, port: int = 8001, tags: tuple[str, ...] = (), address: str = "127.0.0.1") -> Any:
    return {
        "Node": {"Address": "10.0.0.1"},
        "Service": {"ID": f"web{port}", "Address": address, "Port": port, "Tags": list(tags)},
        "Checks": [{"Status": status} for status in statuses],
    }


def test_the_address_is_the_services_else_the_nodes() -> None:
    found = services.from_catalog([row(), row(address="", port=8002), row("::1", 8003), row("unix:/run/a.sock", 0)])
    assert names(found.servers) == ["127.0.0.1:8001", "10.0.0.1:8002", "[::1]:8003", "unix:/run/a.sock"]
    assert not found.problems
    assert names(services.from_health([instance(address="")]).servers) == ["10.0.0.1:8001"]


def test_attributes_are_tags() -> None:
    tags = ("v2", "weight=10", "max_fails=3", "fail_timeout=1m", "max_conns=7", "slow_start=2m", "backup", "down")
    (server,) = services.from_catalog([row(tags=tags)]).servers
    assert (server.weight, server.max_fails, server.fail_timeout_s, server.max_conns) == (10, 3, 60, 7)
    assert (server.backup, server.down, server.slow_start_s) == (True, True, 120)
    (plain,) = services.from_catalog([row(tags=None)]).servers
    assert (plain.weight, plain.max_fails, plain.fail_timeout_s, plain.backup, plain.down) == (1, 2, 10, False, False)


@pytest.mark.parametrize(
    ("tag", "default"),
    [
        ("weight=0", 1),
        ("weight=x", 1),
        ("weight=-1", 1),
        ("max_fails=", 2),
        ("fail_timeout=x", 10),
        ("max_conns=", 0),
        ("slow_start=x", 0),
    ],
)
def test_a_bad_tag_is_the_default_and_is_said(tag: str, default: int) -> None:
    found = services.from_catalog([row(tags=(tag,))])
    name = tag.partition("=")[0]
    field = f"{name}_s" if name in ("fail_timeout", "slow_start") else name
    assert getattr(found.servers[0], field) == default
    text = f'upsync_parse_json: "{name}" value is invalid, setting default value {default}'
    assert found.problems[0].startswith(text)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("127.1", 8001), "invalid ip in 127.1:8001"),
        (row(port=0), "invalid port in 127.0.0.1:0"),
        (row(port=None), "invalid port in 127.0.0.1:None"),
        (row(port=70000), "invalid port in 127.0.0.1:70000"),
        ({}, "invalid ip in :None"),
        (row("unix:/\ud800"), r"invalid ip in unix:/\ud800"),
        (row("unix:/a;\nserver 6.6.6.6:80"), r"invalid ip in unix:/a;\nserver 6.6.6.6:80"),
    ],
)
def test_an_entry_that_cannot_be_used_takes_nothing_else_with_it(bad: dict[str, Any], reason: str) -> None:
    found = services.from_catalog([bad, row(port=8009)])
    assert names(found.servers) == ["127.0.0.1:8009"]
    assert found.problems[0].startswith(f"upsync_addrs: {reason}")


def test_two_instances_with_one_address_are_one_server() -> None:
    found = services.from_catalog([row(tags=("weight=2",)), row(tags=("weight=3",))])
    assert [server.weight for server in found.servers] == [2]
    assert "one server, values of the latter" in found.problems[0]


@pytest.mark.parametrize(
    ("policy", "down"),
    [
        ("strict", {8001: False, 8002: True, 8003: True, 8004: False, 8005: True}),
        ("warning", {8001: False, 8002: False, 8003: True, 8004: False, 8005: True}),
        ("passing", {8001: False, 8004: False}),
    ],
)
def test_health_policies(policy: str, down: dict[int, bool]) -> None:
    rows = [
        instance("passing", "passing"),
        instance("passing", "warning", port=8002),
        instance("critical", port=8003),
        instance(port=8004),
        instance("passing", "maintenance", port=8005),
    ]
    assert {one.address.port: one.down for one in services.from_health(rows, policy).servers} == down


def test_health_without_checks_and_with_strange_types() -> None:
    """The module crashed without `Checks`."""
    rows = [{"Node": None, "Service": {"Address": "127.0.0.1", "Port": 1}}, {"Service": 5}, {"Checks": {}}]
    assert names(services.from_health(rows).servers) == ["127.0.0.1:1"]


def test_paths() -> None:
    path = "/v1/health/service/web?passing&tag=a&tag=b&dc=eu&stale&token=x&filter=Node.Meta.os%3D%3Dlinux"
    query = parse("consul_health", path)
    assert query == Query("consul_health", "web", "x", "eu", "stale", ("a", "b"), "Node.Meta.os==linux", True)
    assert without_token(path) == path.replace("&token=x", "")
    assert without_token("/v1/kv/a?token=x") == "/v1/kv/a"
    assert "secret" not in without_token("/v1/kv/a?recurse?token=secret")
    assert not parse("consul_services", "/v1/catalog/service/web?passing").passing
    for kind, wrong in (("consul_services", "/v1/catalog/service/"), ("consul_health", "/v1/health/service/a/b")):
        with pytest.raises(ValueError, match="one service name must follow"):
            parse(kind, wrong)
