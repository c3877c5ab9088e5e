"""Sessions that `sticky learn` has learned, in memory that all workers share. Sets of five cells, each with its lock.

A session and a route are hashes of their texts: a cell says which route a session is bound to, and means the same to a worker of
the next configuration. A session that finds its set full takes the cell that was used longest ago, so memory is bounded and
nothing is swept; what has not been used for the zone's timeout is not found. Nobody holds a lock for more than a few
instructions; one whose holder was killed is taken from it. A cell that it left half written binds a session to another server
of the same upstream.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.c.sys cimport lb_atomic_store, lb_atomic_swap

cdef enum:
    STICKY_CELLS = 5
    STICKY_SPINS = 100000       # looks at a lock, before its holder is taken for dead

ctypedef struct StickyCell:
    uint64_t session            # hash of what names it; 0: free
    uint64_t route              # hash of its server's
    int64_t used                # ms of CLOCK_MONOTONIC, which all processes share

ctypedef struct StickySet:      # 128 bytes: two cache lines
    uint64_t lock               # 1: held
    StickyCell cells[5]


cdef inline uint64_t sticky_hash(const char* p, uint32_t n) noexcept nogil:
    """FNV-1a, and a mix so that the low bits depend on all; never 0."""
    cdef uint64_t h = 14695981039346656037u
    cdef uint32_t i
    for i in range(n):
        h = (h ^ <unsigned char> p[i]) * 1099511628211u
    h ^= h >> 33
    h *= 0xff51afd7ed558ccdu
    h ^= h >> 33
    return h if h else 1


cdef inline void sticky_lock(StickySet* s) noexcept nogil:
    cdef uint32_t spins = 0
    while lb_atomic_swap(<void**> &s.lock, <void*> 1) != NULL and spins < STICKY_SPINS:
        spins += 1


cdef inline uint64_t sticky_session_route(StickySet* sets, uint64_t nsets, uint64_t session, int64_t now, int64_t timeout) \
        noexcept nogil:
    """The route that it is bound to, and it was used just now; 0: there is no such session (any more)."""
    cdef StickySet* s = &sets[session % nsets]
    cdef uint64_t route = 0
    cdef int i
    sticky_lock(s)
    for i in range(STICKY_CELLS):
        if s.cells[i].session == session:
            if now - s.cells[i].used < timeout:
                s.cells[i].used = now
                route = s.cells[i].route
            else:
                s.cells[i].session = 0
    lb_atomic_store(&s.lock, 0)
    return route


cdef inline void sticky_session_bind(StickySet* sets, uint64_t nsets, uint64_t session, uint64_t route, int64_t now) \
        noexcept nogil:
    """From here on it is bound to this route."""
    cdef StickySet* s = &sets[session % nsets]
    cdef StickyCell* c = &s.cells[0]
    cdef int i
    sticky_lock(s)
    for i in range(STICKY_CELLS):
        if s.cells[i].session == session:
            c = &s.cells[i]
            break
        if c.session and (s.cells[i].session == 0 or s.cells[i].used < c.used):
            c = &s.cells[i]
    c.session = session
    c.route = route
    c.used = now
    lb_atomic_store(&s.lock, 0)
