"""Servers of upstreams, for HTTP requests and TCP sessions alike.

    up_start -> balance_choose -> pool_take | up_connect -> up_ready -> ... -> up_release -> pool_put | close
                                        failed: up_failed -> the next one
    Python's list -> publish | delta -> Table -> table_swap (one pointer)

upstream.pyx  tries: choose, connect, fail over     balance/      the methods
sticky.pyx    sticky sessions       sessions.pxd  those that were learned
publish.pyx   a list becomes a table                delta.pyx     from the last table  table.pyx  a new one takes over
peer.pyx      a server: its life, its failures  pool.pyx      connections kept for later
outgoing.pyx  sockets before they connect       state.pyx     what an old worker tells a new one
stats.pxd, stats.pyx, stats_read.pyx, counters.pyx  counters, for the master
diff.pyx      where two answers of Consul differ    proxy_pass_variables.pyx   a server that a value names

Others call: up_start, up_release, up_abandon, up_failed, peer_ok, peer_fail, pool_close, table_*, stats_*,
sticky_write_cookie, sticky_head_came, sticky_answered.

slow_start.pyx  a server that takes a part of its weight    budget.pyx  how many retries an upstream gets

Others call, too: peer_began (what has brought a server back), peer_share (balance/share.pxd).

Prefixes: budget_ delta_ diff_ peer_ pool_ proxy_pass_ publish_ state_ stats_ sticky_ table_ up_
"""
