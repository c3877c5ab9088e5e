"""May this request have this server? Passive health, max_conns, what it has tried; and the server of a place in the weights."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.health.word cimport health_away, health_out
from lb.fast.c.sys cimport likely
from lb.fast.types cimport Group, Peer, Request
from lb.fast.upstream.balance.share cimport peer_takes


cdef inline bint peer_failed(Peer* p, int64_t now) noexcept nogil:
    """Passive health, as nginx: max_fails failures take it out for fail_timeout since the last check."""
    return p.max_fails and p.fails >= p.max_fails and not p.single and now - p.checked <= p.fail_timeout


cdef inline bint peer_has_room(Peer* p, int64_t now) noexcept nogil:
    return not (p.max_conns and p.active >= p.max_conns) and not peer_failed(p, now)


cdef inline bint peer_able(Peer* p, int64_t now) noexcept nogil:
    """Could it do one more request of those bound to it? `down` and `drain`, its agent's too, are not asked here."""
    return peer_has_room(p, now) and not health_away(p)


cdef inline bint peer_usable(Peer* p, int64_t now) noexcept nogil:
    return not p.down and peer_has_room(p, now) and not health_out(p)


cdef inline bint balance_was_tried(Request* r, Peer* p) noexcept nogil:
    cdef uint32_t i
    for i in range(r.ntried):
        if r.tried[i] == p.id:
            return True
    return False


cdef inline bint balance_may_take(Request* r, Peer* p, int64_t now) noexcept nogil:
    if not peer_usable(p, now) or (r.ntried and balance_was_tried(r, p)):
        return False
    return likely(not p.partial) or peer_takes(r, p, now)


cdef inline Peer* peer_at_weight(Group* g, uint64_t w) noexcept nogil:
    """The server in whose share of the sum of weights `w` falls."""
    cdef uint32_t low = 0, high = g.nall - 1, mid
    while low < high:
        mid = (low + high) >> 1
        if w < g.upto[mid]:
            high = mid
        else:
            low = mid + 1
    return g.all[low]
