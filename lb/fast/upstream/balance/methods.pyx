"""The table of methods, and the choice of a server by its upstream's row.

    balance_choose -> its row's pick over the primaries -> the same over the backups -> NULL: no live upstreams

A method is one file of this folder: its `pick`, its `load` if the least loaded is to be found in a heap, its `build` if its
tables have more than the sequence and the sums, and its row. Choosing costs the same with 3 and with 10,000 servers.
"""

cdef BalanceMethod* BALANCE[8]
BALANCE[:] = [
    &balance_round_robin, &balance_least_conn, &balance_least_time, &balance_ip_hash, &balance_hash, &balance_hash_ring,
    &balance_random, &balance_random_two]

BALANCE_METHODS = tuple([BALANCE[i].name.decode() for i in range(8)])
BALANCE_BY_ORDER = frozenset([BALANCE[i].name.decode() for i in range(8) if BALANCE[i].by_order])


cdef BalanceMethod* balance_named(str name) except NULL:
    return BALANCE[BALANCE_METHODS.index(name)]


cdef inline Peer* balance_pick(Upstream* u, int rank, Request* r, Env* env) noexcept nogil:
    """A server of this rank. Where the only ones that are left take a part of their weight, they take this request, too."""
    cdef Peer* p = u.method.pick(u, &u.table.rank[rank], &u.pos[rank], r, env)
    if unlikely(r.passed):
        if p == NULL:
            r.passed = SHARE_PASSES
            p = u.method.pick(u, &u.table.rank[rank], &u.pos[rank], r, env)
        r.passed = 0
    return p


cdef inline Peer* balance_choose(Upstream* u, Request* r, Env* env) noexcept nogil:
    """A server for this request that it has not tried, or NULL. For `hash`, r.key must be there."""
    cdef Table* t = u.table
    cdef Peer* p
    cdef int64_t now = env.now
    if t == NULL:
        return NULL
    p = balance_pick(u, 0, r, env)
    if p == NULL and t.rank[1].n:
        p = balance_pick(u, 1, r, env)
    if p != NULL and now - p.checked > p.fail_timeout:
        p.checked = now
    if p != NULL and unlikely(p.partial):
        peer_part_step(p, now)
    return p
