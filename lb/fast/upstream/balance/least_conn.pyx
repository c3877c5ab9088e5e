"""least_conn: the server with the fewest requests and sessions for its weight; among equals by weighted turns."""


cdef uint64_t balance_least_conn_load(Peer* p, int64_t now) noexcept nogil:
    return p.active


cdef Peer* balance_least_conn_pick(Upstream* u, Group* g, uint32_t* pos, Request* r, Env* env) noexcept nogil:
    if unlikely(u.parts != NULL):
        peer_parts_look(u, env.now)
    return balance_heap_pick(g, &u.turn, r, env.now)


cdef BalanceMethod balance_least_conn = BalanceMethod(
    name=b"least_conn", pick=balance_least_conn_pick, load=balance_least_conn_load, key=NULL, build=NULL, by_order=False)
