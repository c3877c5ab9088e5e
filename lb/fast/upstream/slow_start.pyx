"""slow_start: a server that comes back, or is new, gets its weight little by little (balance/share.pxd says what it means).

    peer_ok after max_fails, table_entry_apply (a new one, one that was down), a check -> peer_began
    chosen, or looked at for the heap: peer_part_step -> ... -> its time is over: whole again

Upstream.parts is the ring of those that are not whole: a heap's keys change with the clock, so each choice of such a method puts
one of them where it belongs now.
"""


cdef void peer_began(Peer* p) noexcept nogil:
    """It takes requests again, or for the first time; with slow_start a small part of them at first."""
    if likely(p.slow_start == 0) or p.removed:
        return
    p.began = loop.now
    peer_part_step(p, loop.now)
    peer_slow_show(p)


cdef void peer_slow_go_on(Peer* p, int64_t began) noexcept nogil:
    """A new worker: its slow start began in an old one; 0: it had none."""
    if began == 0 or p.slow_start == 0 or began > loop.now or loop.now - began >= p.slow_start:
        return
    p.began = began
    peer_part_step(p, loop.now)
    peer_slow_show(p)


cdef void peer_part_step(Peer* p, int64_t now) noexcept nogil:
    """What it takes at this time: its place in the heap, and the end of its slow start."""
    cdef double latest
    if p.began and now - p.began >= p.slow_start:
        p.began = 0
        peer_slow_show(p)
    p.partial = p.began != 0 or p.share < SHARE_WHOLE
    if p.partial:
        peer_part_join(p)
    else:
        peer_part_leave(p)
    peer_pull(p, now)
    latest = p.ups.turn + <double> SHARE_WHOLE / p.pull
    if p.turn > latest:                 # its turn was reckoned with a smaller part
        p.turn = latest
    if p.heap != NO_HEAP:
        peer_moved(p, now)


cdef void peer_parts_look(Upstream* u, int64_t now) noexcept nogil:
    """One of the ring, and the next one next time."""
    cdef Peer* p = u.parts
    u.parts = p.part_next
    peer_part_step(p, now)


cdef void peer_slow_show(Peer* p) noexcept nogil:
    """For the status page, which reckons the part by itself."""
    cdef ServerStats* t = p.stats
    if t.state != STATS_USED:           # shared by several
        return
    t.slow_ms = <uint64_t> p.slow_start
    t.slow_until = <uint64_t> (loop.env.wall + p.began + p.slow_start - loop.now) if p.began else 0


# ---- the ring

cdef void peer_part_join(Peer* p) noexcept nogil:
    """At its end."""
    cdef Peer* first = p.ups.parts
    if p.part_next != NULL:
        return
    if first == NULL:
        p.ups.parts = p.part_next = p.part_prev = p
        return
    p.part_next = first
    p.part_prev = first.part_prev
    p.part_prev.part_next = p
    first.part_prev = p


cdef void peer_part_leave(Peer* p) noexcept nogil:
    if p.part_next == NULL:
        return
    p.part_prev.part_next = p.part_next
    p.part_next.part_prev = p.part_prev
    if p.ups.parts == p:
        p.ups.parts = p.part_next if p.part_next != p else NULL
    p.part_next = p.part_prev = NULL
