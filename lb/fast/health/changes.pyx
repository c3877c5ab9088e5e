"""What a worker does when a word has changed, besides reading it with each choice: once a turn, and only then.

    the checker: health_verdict -> health_announce: its place, in a ring
    a worker: loop_turn -> health_changes -> health_changed

What its agent says of its share holds from here on. A server that comes up begins its slow start; one that goes down loses
its idle connections; both move in the heap of their upstream, so that a choice never walks over those that are out.
"""


cdef void health_announce(HealthTable* t, Health* h) noexcept nogil:
    """By the one process that writes words."""
    t.changed[t.changes % HEALTH_CHANGED] = <uint32_t> (h - health_places(t))
    lb_atomic_store(&t.changes, t.changes + 1)


cdef void health_changes() noexcept nogil:
    cdef HealthTable* t = loop.health
    cdef uint64_t last = lb_atomic_load(&t.changes)
    cdef uint64_t i
    if last - loop.health_seen < HEALTH_CHANGED:
        for i in range(loop.health_seen, last):
            health_changed(t.changed[i % HEALTH_CHANGED])
    else:                               # more than the ring remembers
        for i in range(t.room):
            health_changed(<uint32_t> i)
    loop.health_seen = last


cdef void health_changed(uint32_t place) noexcept nogil:
    cdef Peer* p = loop.health_peers[place] if place < loop.health.room else NULL
    cdef bint out
    if p == NULL or p.removed or not p.listed:
        return
    health_share(p)
    out = health_out(p)
    if out == p.out:
        return
    p.out = out
    if out:
        peer_drop_idle(p)
    else:
        peer_began(p)
    peer_moved(p, loop.now)


cdef void health_share(Peer* p) noexcept nogil:
    """What its agent lets it have of its weight."""
    cdef uint32_t share
    if p.health == NULL:
        return
    share = <uint32_t> (lb_atomic_load(&p.health.word) >> HEALTH_SHARE & 255)
    share = SHARE_WHOLE if share == HEALTH_WHOLE else 1 + share * (SHARE_WHOLE - 1) // HEALTH_WHOLE
    if share != p.share:
        p.share = share
        peer_part_step(p, loop.now)


cdef void health_let_go(Peer* p) noexcept nogil:
    """Before its memory is freed."""
    cdef uint64_t place
    if p.health == NULL or loop.health == NULL:
        return
    place = <uint64_t> (p.health - health_places(loop.health))
    if loop.health_peers[place] == p:
        loop.health_peers[place] = NULL
