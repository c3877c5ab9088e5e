"""The least loaded server: a binary heap of the usable ones by (load / pull), for methods whose row has a `load`.

    a new table: balance_heap_build, or upstream/table.pyx moves what is touched
    a request begins, ends, has been timed: peer_moved -> the server's place
    a choice: balance_heap_pick
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.types cimport Group, Peer, Request, Upstream
from lb.fast.upstream.balance.share cimport SHARE_WHOLE
from lb.fast.health.word cimport health_out
from lb.fast.upstream.balance.usable cimport balance_may_take

cdef enum:
    NO_HEAP = 0xFFFFFFFF    # Peer.heap of a server outside any heap


cdef inline bint balance_has_heap(Upstream* u) noexcept nogil:
    return u.method.load != NULL


cdef inline void peer_load(Peer* p, int64_t now) noexcept nogil:
    p.load = p.ups.method.load(p, now)


cdef inline bint balance_heap_less(Peer* a, Peer* b) noexcept nogil:
    """Who is out by its checks comes last; less load per weight first; among equals, the one whose weighted turn is due."""
    cdef uint64_t x = a.load * b.pull
    cdef uint64_t y = b.load * a.pull
    if a.out != b.out:
        return b.out
    if x != y:
        return x < y
    return a.turn < b.turn


cdef inline void balance_heap_up(Peer** heap, uint32_t i) noexcept nogil:
    cdef Peer* p = heap[i]
    cdef uint32_t parent
    while i:
        parent = (i - 1) >> 1
        if not balance_heap_less(p, heap[parent]):
            break
        heap[i] = heap[parent]
        heap[i].heap = i
        i = parent
    heap[i] = p
    p.heap = i


cdef inline void balance_heap_down(Peer** heap, uint32_t n, uint32_t i) noexcept nogil:
    cdef Peer* p = heap[i]
    cdef uint32_t child
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and balance_heap_less(heap[child + 1], heap[child]):
            child += 1
        if not balance_heap_less(heap[child], p):
            break
        heap[i] = heap[child]
        heap[i].heap = i
        i = child
    heap[i] = p
    p.heap = i


cdef inline void balance_heap_build(Group* g, int64_t now) noexcept nogil:
    """After a swap: `active` and `turn` of the servers are what they are now."""
    cdef uint32_t i
    for i in range(g.n):
        peer_load(g.peers[i], now)
        g.heap[i] = g.peers[i]
        g.heap[i].heap = i
    i = g.n // 2
    while i:
        i -= 1
        balance_heap_down(g.heap, g.n, i)


cdef inline void peer_moved(Peer* p, int64_t now) noexcept nogil:
    """`active`, or what its method's load knows, has changed: put the server where it belongs."""
    cdef Group* g
    if p.heap == NO_HEAP:
        return
    peer_load(p, now)
    g = &p.ups.table.rank[p.backup]
    balance_heap_up(g.heap, p.heap)
    balance_heap_down(g.heap, g.n, p.heap)


cdef inline Peer* balance_heap_pick(Group* g, double* turn, Request* r, int64_t now) noexcept nogil:
    """The least used. Who was away (down, failed, new) takes its next turn with the others: it does not make up for lost ones."""
    cdef Peer* best
    cdef uint32_t i
    if g.n == 0:
        return NULL
    best = g.heap[0]
    if best.out and health_out(best):           # so are all others
        return NULL
    if not balance_may_take(r, best, now):
        best = NULL
        for i in range(g.n):
            if balance_may_take(r, g.heap[i], now) and (best == NULL or balance_heap_less(g.heap[i], best)):
                best = g.heap[i]
    if best != NULL:
        if best.turn > turn[0]:
            turn[0] = best.turn
        best.turn = turn[0] + <double> SHARE_WHOLE / best.pull
    return best
