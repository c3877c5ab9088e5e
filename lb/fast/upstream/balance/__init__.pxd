"""Choosing a server: a method is one row of operations in one file.

    balance_choose -> Upstream.method.pick over the primaries -> the same over the backups -> NULL
    publish: the sums and the sequence for each method -> the row's build        a peer's load has changed: peer_moved

methods.pyx  the table of rows, the choice      round_robin.pyx least_conn.pyx least_time.pyx ip_hash.pyx hash.pyx
hash_ring.pyx random.pyx  a method each         usable.pxd  may this request have this server
heap.pxd     the least loaded                   hash.pxd    CRCs of a key    ring.pxd, ring_build.pyx  the ring
share.pxd    a server that takes a part of its weight

Others call: balance_choose, balance_named, balance_has_heap, balance_heap_*, balance_seq*, peer_moved, peer_load.

Prefixes: balance_ hash_ peer_ ring_
"""
