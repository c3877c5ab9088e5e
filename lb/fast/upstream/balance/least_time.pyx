"""least_time: the server with the least mean time, times its requests, for its weight. What is measured is Upstream.timed;
upstream/peer.pyx keeps the means.
"""

cdef enum:
    TIMED_LOOKS = 4         # servers whose estimate is worked out anew for a choice
    TIMED_STEP = 20         # ms that make no difference
    TIMED_MOST = 5000       # ms from which on all are equally slow


cdef uint64_t balance_least_time_load(Peer* p, int64_t now) noexcept nogil:
    """As nginx: the mean time, halved with each fail_timeout without a try, in steps of 20 ms, times its requests and one."""
    cdef double ms = p.mean
    cdef int64_t idle = now - p.checked, waited
    if idle > p.fail_timeout:
        idle //= p.fail_timeout + 1000
        ms = ms / <double> (1 << idle) if idle < 31 else 0
    if p.pending:
        waited = now - p.pending_since // p.pending
        if waited > ms:
            ms = <double> waited
    if ms > TIMED_MOST:
        ms = TIMED_MOST - TIMED_STEP
    return <uint64_t> (<int64_t> ms // TIMED_STEP + 1) * (1 + p.active)


cdef void balance_least_time_refresh(Group* g, uint32_t* pos, int64_t now) noexcept nogil:
    """Estimates change with the clock, too: look at some again, in turn, and on top. Up to TIMED_LOOKS servers: at all."""
    cdef uint32_t _i
    cdef uint32_t looks = g.n if g.n < TIMED_LOOKS else TIMED_LOOKS
    cdef Peer* p
    for _i in range(looks):
        pos[0] = (pos[0] + 1) % g.n
        p = g.peers[pos[0]]
        peer_load(p, now)
        balance_heap_up(g.heap, p.heap)
        balance_heap_down(g.heap, g.n, p.heap)
    for _i in range(looks):
        p = g.heap[0]
        peer_load(p, now)
        balance_heap_down(g.heap, g.n, 0)
        if g.heap[0] == p:
            return


cdef Peer* balance_least_time_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    if unlikely(u.parts != NULL):
        peer_parts_look(u, env.now)
    if g.n:
        balance_least_time_refresh(g, pos, env.now)
    return balance_heap_pick(g, &u.turn, r, env.now)


cdef BalanceMethod balance_least_time = BalanceMethod(
    name=b"least_time", pick=balance_least_time_pick, load=balance_least_time_load, key=NULL, build=NULL, by_order=False)
