"""random, and random two: by weight; of two the one with fewer connections."""


cdef inline uint64_t balance_random_more(Env* env) noexcept nogil:
    """xorshift128+: for spreading, not for secrets."""
    cdef uint64_t x = env.random[0], y = env.random[1]
    env.random[0] = y
    x ^= x << 23
    env.random[1] = x ^ y ^ (x >> 17) ^ (y >> 26)
    return env.random[1] + y


cdef inline Peer* balance_random_draw(Group* g, Request* r, Env* env, bint two) noexcept nogil:
    """A server by weight, or NULL; with `two`, of two different ones the one with fewer connections for its weight.

    On a tie the first, for that is the one drawn by weight.  (nginx takes the second: of two idle servers always the
    other one, so that the heaviest gets least.)
    """
    cdef Peer* first = NULL
    cdef Peer* p
    cdef int _i
    if g.n < 2:
        return NULL
    for _i in range(HASH_TRIES + 1):
        p = peer_at_weight(g, balance_random_more(env) % g.total)
        if p == first or not balance_may_take(r, p, env.now):
            continue
        if first == NULL and two:
            first = p
            continue
        if first != NULL and <uint64_t> p.active * first.pull >= <uint64_t> first.active * p.pull:
            return first
        return p
    return NULL


cdef Peer* balance_random_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    cdef Peer* p = balance_random_draw(g, r, env, False)
    return p if p != NULL else balance_round_robin_pick(u, g, pos, r, env)


cdef Peer* balance_random_two_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    cdef Peer* p = balance_random_draw(g, r, env, True)
    return p if p != NULL else balance_round_robin_pick(u, g, pos, r, env)


cdef BalanceMethod balance_random = BalanceMethod(
    name=b"random", pick=balance_random_pick, load=NULL, key=NULL, build=NULL, by_order=False)
cdef BalanceMethod balance_random_two = BalanceMethod(
    name=b"random two", pick=balance_random_two_pick, load=NULL, key=NULL, build=NULL, by_order=False)
