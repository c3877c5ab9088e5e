"""A server that takes a part of its weight only: in its slow start, or (Peer.share) as an agent may say.

    peer_share: the part, in 256, of a server at this time
    balance_may_take -> peer_takes: methods that draw or go by a key pass over the server, but for this part of its requests
    Peer.pull: methods with a heap divide by weight times part instead (upstream/slow_start.pyx keeps it)

Who has its whole weight costs one test of Peer.partial. A key decides by itself, so that it changes its server once in a slow
start and not with each request; the same in all workers. Where most servers are partial a choice passes over SHARE_PASSES of
them and takes the next: the few that are whole shall not get everything.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.c.sys cimport likely
from lb.fast.types cimport Peer, Request

cdef enum:
    SHARE_WHOLE = 256       # of Peer.share, peer_share
    SHARE_FIRST = 4         # with which a slow start begins
    SHARE_PASSES = 16       # servers that a choice passes over


cdef inline uint32_t peer_share(Peer* p, int64_t now) noexcept nogil:
    """What it takes of its weight, in 256."""
    cdef int64_t part, share = p.share, gone = now - p.began
    if likely(not p.partial):
        return SHARE_WHOLE
    if p.began == 0 or gone >= p.slow_start or share == 0:
        return <uint32_t> share
    part = gone * SHARE_WHOLE // p.slow_start
    if part < SHARE_FIRST:
        part = SHARE_FIRST
    share = share * part // SHARE_WHOLE
    return <uint32_t> share if share else 1


cdef inline void peer_pull(Peer* p, int64_t now) noexcept nogil:
    p.pull = <uint64_t> p.weight * peer_share(p, now)
    if p.pull == 0:
        p.pull = 1


cdef inline uint64_t peer_mixed(uint64_t x) noexcept nogil:
    """All bits of x in each bit: the last steps of splitmix64."""
    x = (x ^ (x >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t> 0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint64_t peer_id(const char* sa, uint32_t n, uint32_t number) noexcept nogil:
    """Of the server with this address, and of several with it the one with this number; in all processes the same."""
    cdef uint64_t h = <uint64_t> 0xCBF29CE484222325 + number        # FNV-1a
    cdef uint32_t i
    for i in range(n):
        h = (h ^ <unsigned char> sa[i]) * <uint64_t> 0x100000001B3
    return peer_mixed(h)


cdef inline bint peer_takes(Request* r, Peer* p, int64_t now) noexcept nogil:
    """Does this request fall in the part that a partial server takes?"""
    cdef uint64_t lot = 0
    if p.single or p.ups.method.load != NULL or r.passed >= SHARE_PASSES:
        return True
    if p.ups.method.key != NULL:
        lot = p.ups.method.key(r)
    if lot:
        lot ^= p.id
    else:
        p.ups.lots += <uint64_t> 0x9E3779B97F4A7C15
        lot = p.ups.lots
    if (peer_mixed(lot) & (SHARE_WHOLE - 1)) < peer_share(p, now):
        return True
    r.passed += 1
    return False
