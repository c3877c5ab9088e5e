"""Rows of Consul's catalog or health endpoint -> servers: address, port, tags and checks. Pure.

The module's rules (upsync-behaviour section 1.4): the address is the service's, else its node's; the attributes are
tags, `weight=N`, `max_fails=N`, `fail_timeout=TIME`, `down`, `backup` (and lb's `max_conns=N`, `slow_start=TIME`); with
consul_health a service with any check that does not pass is down.  `policy` changes that: "warning" lets services
with warnings
serve, "passing" leaves out what does not pass.  Bettered: IPv6 and `unix:` addresses, host names; one address twice is
one server; an entry that cannot be used takes nothing else with it, and is said; no checks means passing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from lb.config.values import parse_number, parse_seconds
from lb.model import Server
from lb.upsync.address import MAX_TEXT, AddressError, parse_server
from lb.upsync.entries import Collector, Listing
from lb.upsync.values import printable

_NUMBERS: Final[dict[str, tuple[str, int, int, Callable[[str], int | None]]]] = {
    "weight": ("weight", 1, 1, parse_number),  # field, default, least
    "max_fails": ("max_fails", 2, 0, parse_number),
    "fail_timeout": ("fail_timeout_s", 10, 0, parse_seconds),
    "max_conns": ("max_conns", 0, 0, parse_number),
    "slow_start": ("slow_start_s", 0, 0, parse_seconds),
}
_FLAGS: Final = ("down", "backup")


def from_catalog(rows: Iterable[dict[str, Any]]) -> Listing:
    """/v1/catalog/service/NAME."""
    found = Collector()
    for row in rows:
        place = row.get("ServiceAddress") or row.get("Address")
        _take(found, row.get("ServiceID"), place, row.get("ServicePort"), row.get("ServiceTags"), healthy=True)
    return found.listing()


def from_health(rows: Iterable[dict[str, Any]], policy: str = "strict") -> Listing:
    """/v1/health/service/NAME."""
    found = Collector()
    good = ("passing", "warning") if policy == "warning" else ("passing",)
    for row in rows:
        service, node = _dict(row.get("Service")), _dict(row.get("Node"))
        place = service.get("Address") or node.get("Address")
        checks = row.get("Checks")
        healthy = all(_dict(check).get("Status") in good for check in (checks if isinstance(checks, list) else ()))
        if healthy or policy != "passing":
            _take(found, service.get("ID"), place, service.get("Port"), service.get("Tags"), healthy)
    return found.listing()


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _take(found: Collector, service: Any, place: Any, port: Any, tags: Any, healthy: bool) -> None:
    name = _name(place, port)
    label = f"service {printable(str(service))[:MAX_TEXT]} at {printable(name)[:MAX_TEXT]}"
    try:
        address = parse_server(name)
    except AddressError as error:
        found.problem(f"upsync_addrs: {error.reason} in {printable(name)[:MAX_TEXT]}: {label} skipped")
        return
    attributes = _attributes(found, label, tags if isinstance(tags, list) else ())
    attributes["down"] = bool(attributes.get("down")) or not healthy
    found.add(label, Server(name, address, **({"max_fails": 2} | attributes)))


def _name(place: Any, port: Any) -> str:
    host = str(place or "")
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if host.count(":") > 1 else f"{host}:{port}"


def _attributes(found: Collector, label: str, tags: Iterable[Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for tag in tags:
        if tag in _FLAGS:
            attributes[tag] = True
            continue
        name, equals, text = str(tag).partition("=")
        if not equals or name not in _NUMBERS:
            continue
        field, default, least, read = _NUMBERS[name]
        value = read(text)
        if value is None or value < least:
            found.problem(f'upsync_parse_json: "{name}" value is invalid, setting default value {default}: {label}')
            value = default
        attributes[field] = value
    return attributes
