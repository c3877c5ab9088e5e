"""The table of methods, and the choice of a server by its upstream's row.

    balance_choose -> its row's pick over the primaries -> the same over the backups -> NULL: no live upstreams
        with `sticky`: sticky_choose, which calls the same

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


cdef inline Peer* balance_choose(Upstream* u, Request* r, Env* env) noexcept nogil:
    """A server for this request that it has not tried, or NULL. For `hash`, r.key must be there."""
    cdef Table* t = u.table
    cdef Peer* p
    cdef int64_t now = env.now
    if t == NULL:
        return NULL
    if u.sticky != NULL:
        p = sticky_choose(u, r, env)
    else:
        p = u.method.pick(u, &t.rank[0], &u.pos[0], r, env)
        if p == NULL and t.rank[1].n:
            p = u.method.pick(u, &t.rank[1], &u.pos[1], r, env)
    if p != NULL and now - p.checked > p.fail_timeout:
        p.checked = now
    return p
