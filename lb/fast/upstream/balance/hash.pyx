"""hash KEY: a place in the running sums of weights, the same as nginx's for the same key and list (balance/hash.pxd)."""


cdef Peer* balance_hash_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    cdef uint64_t h = 0
    cdef uint32_t i
    cdef Peer* p
    if g.n < 2 or r.key.n == 0:
        return balance_round_robin_pick(u, g, pos, r, env)
    for i in range(HASH_TRIES + 1):
        h += hash_step(r.key, i)
        p = peer_at_weight(g, h % g.total)
        if balance_may_take(r, p, env.now):
            return p
    return balance_round_robin_pick(u, g, pos, r, env)


cdef BalanceMethod balance_hash = BalanceMethod(
    name=b"hash", pick=balance_hash_pick, load=NULL, key=hash_key_number, build=NULL, by_order=True)
