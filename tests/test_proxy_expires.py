"""`expires` in all its forms, with variables and map: Expires and Cache-Control as the real nginx writes them."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from tests.harness.backend import Reply

SITE = """
http {
    access_log off;
    map $arg_e $mapped { default $arg_e; none ""; day 1d; }
    map $sent_http_content_type $by_type { default off; ~^image/ max; text/css 2h; }
    upstream u { server @backend@; }
    server {
        listen 127.0.0.1:@http@;
        location /var { proxy_pass http://u; expires $mapped; }
        location /modified { proxy_pass http://u; expires modified $arg_e; }
        location /type { proxy_pass http://u; expires $by_type; }
        location /own.gif { return 200 x; expires $by_type; add_header X-Seen $sent_http_cache_control; }
        location /404 { return 404; expires 1h; }
        %s
    }
}
"""
FIXED = ["1h", "+1h", "-1h", "0", "1d2h3m4s", "epoch", "max", "off"]
FIXED += ["modified 10y", "modified 0", "modified -1", "modified 1s"]
OLD = "Sat, 01 Jan 2000 00:00:00 GMT"


def same(one, other):
    """Do two Expires say the same, but for the seconds between the two requests?"""
    if one is None or other is None or not one.endswith("GMT"):
        return one == other
    return abs((parsedate_to_datetime(one) - parsedate_to_datetime(other)).total_seconds()) <= 5


def test_expires(pair, http_backend):
    """Each case: (target, Cache-Control); what the server said stays where nothing is said."""

    def answer(request):
        kind = {"/type/c": "text/css", "/type/i": "image/x"}.get(request.target, "text/plain")
        fields = [("Last-Modified", OLD), ("Expires", "0"), ("Content-Type", kind), ("Cache-Control", "private")]
        return Reply(200, body=b"text", headers=[*fields, ("cache-control", "no-store"), ("X-Seen", "1")])

    locations = [f"location /{i}/ {{ proxy_pass http://u; expires {text}; }}" for i, text in enumerate(FIXED)]
    both = pair(SITE % "\n        ".join(locations), http_backend(answer))
    kept = ["private", "no-store"]
    cases = {
        "/0/": ["max-age=3600"],
        "/1/": ["max-age=3600"],
        "/2/": ["no-cache"],
        "/3/": ["max-age=0"],
        "/4/": ["max-age=93784"],
        "/5/": ["no-cache"],
        "/6/": ["max-age=315360000"],
        "/7/": kept,
        "/8/": ["no-cache"],
        "/9/": ["max-age=0"],
        "/10/": ["no-cache"],
        "/11/": ["no-cache"],
        "/var?e=day": ["max-age=86400"],
        "/var?e=none": kept,
        "/var": kept,
        "/var?e=off": kept,
        "/var?e=epoch": ["no-cache"],
        "/var?e=max": ["max-age=315360000"],
        "/var?e=-2s": ["no-cache"],
        "/var?e=1h1h": kept,
        "/var?e=1m1h": kept,
        "/var?e=1ms": kept,
        "/var?e=1y1M1w1d1h1m1s": ["max-age=34822861"],
        "/var?e=12": ["max-age=12"],
        "/var?e=h": kept,
        "/var?e=-": kept,
        "/var?e=@25h": kept,
        "/var?e=@": kept,
        "/var?e=soon": kept,
        "/modified?e=epoch": kept,
        "/modified?e=@1h": kept,
        "/modified?e=1h": ["no-cache"],
        "/modified": kept,
        "/type/c": ["max-age=7200"],
        "/type/i": ["max-age=315360000"],
        "/type/x": kept,
        "/own.gif": ["max-age=315360000"],
        "/404": [],
    }
    for target, expected in cases.items():
        response = both.ask(target)
        assert (target, response.all("cache-control")) == (target, expected)
        if expected == kept:
            assert response.header("expires") == "0"
        if both.nginx:
            raw = f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
            assert same(response.header("expires"), both.send(both.nginx, raw, "GET").header("expires")), target


def test_times_of_day(pair, http_backend):
    """@TIME is the next time that the local clock shows it."""
    now = time.localtime()
    later = (now.tm_hour + 2) % 24
    locations = f"location /at {{ proxy_pass http://u; expires @{later}h30m; }}"
    both = pair(SITE % locations, http_backend())
    for target in ("/at", f"/var?e=@{later}h30m"):
        raw = f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
        response = both.send(both.lb.port("http"), raw, "GET")
        age = int(re.fullmatch(r"max-age=(\d+)", response.header("cache-control"))[1])
        assert 5400 - 60 < age <= 9000
        at = time.localtime(parsedate_to_datetime(response.header("expires")).timestamp())
        assert (at.tm_hour, at.tm_min, at.tm_sec) == (later, 30, 0)
        if both.nginx:
            assert same(response.header("expires"), both.send(both.nginx, raw, "GET").header("expires"))
