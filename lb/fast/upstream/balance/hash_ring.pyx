"""hash KEY consistent: the ring of balance/ring.pxd, which ring_build makes for a new table."""


cdef inline Peer* balance_hash_ring_alike(Group* g, Alike* a, Request* r, int64_t now) noexcept nogil:
    """One of the servers that are written alike, in turn."""
    cdef uint32_t _i
    cdef Peer* p
    for _i in range(a.n):
        p = g.sorted[a.first + a.turn % a.n]
        a.turn += 1
        if balance_may_take(r, p, now):
            return p
    return NULL


cdef Peer* balance_hash_ring_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    cdef uint32_t _i, at
    cdef Peer* p
    if g.n < 2 or r.key.n == 0 or g.nring == 0:
        return balance_round_robin_pick(u, g, pos, r, env)
    at = ring_find(g.ring, g.nring, hash_crc_text(r.key.p, r.key.n))
    if at == g.nring:
        at = 0
    for _i in range(HASH_TRIES + 1):
        p = balance_hash_ring_alike(g, &g.alike[g.ring[at].server], r, env.now)
        if p != NULL:
            return p
        at = ring_next(g.ring, g.nring, at)
    return balance_round_robin_pick(u, g, pos, r, env)


cdef BalanceMethod balance_hash_ring = BalanceMethod(
    name=b"hash consistent", pick=balance_hash_ring_pick, load=NULL, key=hash_key_number, build=ring_build, by_order=False)
