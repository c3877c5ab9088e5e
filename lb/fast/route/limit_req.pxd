"""A limit_req zone: how often each key has come, in memory that all workers share. Sets of five cells, each with its lock.

A cell is a leaking bucket (ngx_http_limit_req_lookup): `excess` falls with the zone's rate and grows by 1,000 with each request.
A key that finds its set full takes the cell that was seen longest ago. Nobody holds a lock for more than a few instructions; one
whose holder was killed is taken from it.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.c.sys cimport lb_atomic_store, lb_atomic_swap

cdef enum:
    LIMIT_CELLS = 5
    LIMIT_SPINS = 100000        # looks at a lock, before its holder is taken for dead
    LIMIT_LONG = 1000000000     # ms: longer ago than any excess lasts

ctypedef struct LimitCell:
    uint64_t key                # hash of the key; 0: free
    int64_t last                # ms, when it was counted last
    uint64_t excess             # thousandths of requests

ctypedef struct LimitSet:       # 128 bytes: two cache lines
    uint64_t lock               # 1: held
    LimitCell cells[5]

ctypedef struct LimitAsk:       # one rule and one request
    uint64_t rate               # thousandths of requests in a second
    uint64_t burst
    int64_t now


cdef inline uint64_t limit_hash(const char* p, uint32_t n) noexcept nogil:
    """FNV-1a, and a mix so that the low bits depend on all; never 0."""
    cdef uint64_t h = 14695981039346656037u
    cdef uint32_t i
    for i in range(n):
        h = (h ^ <unsigned char> p[i]) * 1099511628211u
    h ^= h >> 33
    h *= 0xff51afd7ed558ccdu
    h ^= h >> 33
    return h if h else 1


cdef inline LimitCell* limit_cell(LimitSet* s, uint64_t key, int64_t now) noexcept nogil:
    """This key's cell, or the one that it takes."""
    cdef int i
    cdef LimitCell* oldest = &s.cells[0]
    for i in range(LIMIT_CELLS):
        if s.cells[i].key == key:
            return &s.cells[i]
        if s.cells[i].key == 0 or (oldest.key and s.cells[i].last < oldest.last):
            oldest = &s.cells[i]
    oldest.key = key
    oldest.last = now - LIMIT_LONG
    oldest.excess = 0
    return oldest


cdef inline uint64_t limit_excess(LimitCell* c, LimitAsk* a) noexcept nogil:
    """What it would be with one request more, now."""
    cdef int64_t ms = a.now - c.last
    cdef uint64_t leaked = a.rate * <uint64_t> ms // 1000 if ms > 0 else 0
    if c.last == a.now - LIMIT_LONG or leaked >= c.excess + 1000:
        return 0
    return c.excess + 1000 - leaked


cdef inline uint64_t limit_count(LimitSet* s, uint64_t key, LimitAsk* a, bint count) noexcept nogil:
    """The excess with this request; it is counted if `count`, and if it is not beyond the burst."""
    cdef LimitCell* c
    cdef uint64_t excess
    cdef uint32_t spins = 0
    while lb_atomic_swap(<void**> &s.lock, <void*> 1) != NULL and spins < LIMIT_SPINS:
        spins += 1
    c = limit_cell(s, key, a.now)
    excess = limit_excess(c, a)
    if count and excess <= a.burst:
        c.excess = excess
        c.last = a.now
    lb_atomic_store(&s.lock, 0)
    return excess
