"""map: the same as nginx, asked beside lb; and what user variables keep."""

from __future__ import annotations

from tests.harness.wait import wait_for

MAPS = r"""
http {
    access_log off;
    map $arg_a $plain { default "other"; "" "empty"; one 1; "Two Words" 2; \default escaped;
        ~^re(?<rest>.*)$ "re:$rest"; ~*^CASE "case"; one2 $arg_b; }
    map $host $wild { hostnames; default "?"; exact.test "exact"; *.star.test "star";
        .dot.test "dot"; tail.* "tail"; *.long.star.test "long"; }
    map $arg_a$arg_b $joined { xy "xy"; default "no"; }
    map $plain $second { 1 "first of second"; default "second of $plain"; }
    map $arg_a $included { include @file@; default "not included"; }
    map $arg_a $no_default { one "1"; }
    map $arg_a $cap { "~^c(.)(.)" "$2$1"; default ""; }
    map $step $vol { volatile; default "vol-$step"; }
    map $step $kept { default "kept-$step"; }
    server {
        listen 127.0.0.1:@http@;
        location /vol { set $step 1; set $a "$vol $kept"; set $step 2; return 200 "$a $vol $kept"; }
        location /set { set $plain "was set"; return 200 "$plain|$second"; }
        location / { return 200 "$plain|$wild|$joined|$second|$included|$no_default|$cap|$rest"; }
    }
}
"""


def test_maps(pair, tmp_path):
    file = tmp_path / "lines"
    file.write_text("one included;\n~^re also;\n")
    both = pair(MAPS, file=file)
    for value in (
        "",
        "one",
        "ONE",
        "two%20words",
        "default",
        "rest",
        "case1",
        "one2&b=B",
        "x&b=y",
        "none",
        "cab",
        "RE",
    ):
        for host in (
            "exact.test",
            "a.star.test",
            "star.test",
            "dot.test",
            "a.b.dot.test",
            "tail.x.y",
            "a.long.star.test",
            "z",
        ):
            both.ask(f"/?a={value}", host=host)
    assert both.ask("/?a=one", host="a.star.test").body == b"1|star|no|first of second|included|1||"
    assert both.ask("/?a=rest", host="tail.").body.startswith(b"re:st|")
    assert both.ask("/vol").body == b"vol-1 kept-1 vol-2 kept-1"
    assert both.ask("/set").body == b"was set|second of was set"


def test_a_map_that_needs_itself(pair):
    text = """
    http {
        access_log off;
        map $b $a { default "a$b"; }
        map $a $b { default "b$a"; }
        server { listen 127.0.0.1:@http@; location / { return 200 "[$a]"; } }
    }
    """
    both = pair(text)
    both.nginx = None
    assert both.ask("/").status == 200
    wait_for(lambda: 'cycle while evaluating variable "a"' in both.lb.log, "the line in the log")


def test_long_values(pair):
    text = r"""
    http {
        access_log off;
        large_client_header_buffers 4 16k;
        map $http_x_long $m { "~^(.*)$" "$1$1"; }
        server { listen 127.0.0.1:@http@; location / { return 200 "$m$m"; } }
    }
    """.replace("large_client_header_buffers 4 16k;", "")
    both = pair(text)
    long = "x" * 6000
    assert both.ask("/", headers=f"X-Long: {long}\r\n").body == long.encode() * 4


def test_unset_variables_are_empty(pair):
    text = """
    http {
        access_log off;
        server {
            listen 127.0.0.1:@http@;
            location /a { return 200 "[$x]"; }
            location /b { set $x 1; return 200 "[$x]"; }
        }
    }
    """
    both = pair(text)
    assert both.ask("/a").body == b"[]"
    assert both.ask("/b").body == b"[1]"
    wait_for(lambda: 'using uninitialized "x" variable' in both.lb.log, "the line in the log")
