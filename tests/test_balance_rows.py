"""The rows of the balancing methods and the words of the configuration are the same set, and each row is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lb import _fast, config

FOLDER = Path(__file__).resolve().parents[1] / "lb/fast/upstream/balance"
LINES = {
    "round_robin": "",
    "least_conn": "least_conn;",
    "least_time": "least_time header;",
    "ip_hash": "ip_hash;",
    "hash": "hash $uri;",
    "hash consistent": "hash $uri consistent;",
    "random": "random;",
    "random two": "random two;",
}


def test_there_is_a_line_for_each_row():
    assert list(LINES) == list(_fast.BALANCE_METHODS)


@pytest.mark.parametrize("method", LINES)
def test_the_directive_leads_to_its_row(tmp_path, method):
    file = tmp_path / "lb.conf"
    file.write_text(
        f"events {{ }} http {{ upstream u {{ {LINES[method]} server 127.0.0.1:1; server 127.0.0.1:2; }}"
        " server { listen 127.0.0.1:1; location / { proxy_pass http://u; } } }"
    )
    assert config.load(str(file), prefix=str(tmp_path)).upstreams[0].method == method


def test_only_what_goes_by_the_order_of_the_list_says_so():
    assert {"ip_hash", "hash"} == _fast.BALANCE_BY_ORDER


def test_no_method_is_asked_for_outside_its_file():
    """Adding a method touches its file and the table: nobody else compares methods."""
    engine = FOLDER.parents[1]
    found = [
        path.name
        for path in sorted([*engine.rglob("*.pyx"), *engine.rglob("*.pxd")])
        if re.search(r"\.method [!=]= &?balance_|ups?\.method [!=]=", path.read_text())
    ]
    assert found == []
