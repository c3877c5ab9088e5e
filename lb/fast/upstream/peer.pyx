"""A server as the requests that use it see it: its life, its passive health, how long it takes.

    peer_take -> peer_fail | peer_ok -> peer_leave, or peer_ended and much later the session's end
    peer_pending_begin -> peer_time_seen (connection, head or first byte, last byte) | peer_pending_end

`Peer.active` and `ended` count the requests that hold a peer; a removed peer goes when neither they nor pooled connections are
left (peer_gone), at the end of the turn (peer_reap).
"""

cdef enum:
    TIMED_SHARE = 8             # a new time counts for one of so many in the mean


cdef void peer_take(Peer* p) noexcept nogil:
    p.active += 1
    p.stats.active += 1
    p.stats.requests += 1
    peer_moved(p, loop.now)


cdef void peer_leave(Peer* p) noexcept nogil:
    BUG_ON(p.active == 0)
    p.active -= 1
    p.stats.active -= 1
    peer_moved(p, loop.now)
    peer_gone(p)


cdef void peer_gone(Peer* p) noexcept nogil:
    """A removed peer that nobody uses any more goes on loop.dead; its memory is freed at the end of the turn."""
    if p.removed and p.active == 0 and p.ended == 0 and p.nidle == 0:
        p.removed = 2
        p.ups = <Upstream*> loop.dead
        loop.dead = p


cdef void peer_reap() noexcept nogil:
    cdef Peer* p
    while loop.dead != NULL:
        p = loop.dead
        loop.dead = <Peer*> p.ups
        stats_left(p.stats)
        peer_free(p)


cdef void peer_fail(Request* r) noexcept nogil:
    cdef Peer* p = r.peer
    p.fails += 1
    p.stats.failures += 1
    p.failed = p.checked = loop.now
    loop.st.failures += 1
    stats_condition(p)
    if p.max_fails and p.fails == p.max_fails and not p.single:
        log_request(LOG_WARN, r, b"upstream server temporarily disabled", 0, error_try_phase(r))


cdef void peer_ok(Peer* p) noexcept nogil:
    """A try that did not fail: after fail_timeout it clears the failures, as nginx; who was left out for them starts slowly."""
    if p.fails and p.failed < p.checked:
        if p.max_fails and p.fails >= p.max_fails and not p.single:
            peer_began(p)
        p.fails = 0
        stats_condition(p)


cdef void peer_ended(Request* r) noexcept nogil:
    """The server is done with this session, which goes on for its client: balancing and max_conns count it no more."""
    cdef Peer* p = r.peer
    BUG_ON(not r.flags & RQ_HELD or r.flags & RQ_UP_ENDED)
    r.flags |= RQ_UP_ENDED
    p.ended += 1                        # before peer_leave: it holds the peer
    peer_leave(p)


# ---- least_time

cdef void peer_pending_begin(Request* r) noexcept nogil:
    if r.ups.inflight:
        r.flags |= RQ_PENDING
        r.peer.pending += 1
        r.peer.pending_since += r.up_start


cdef void peer_pending_end(Request* r) noexcept nogil:
    if r.flags & RQ_PENDING:
        r.flags &= ~RQ_PENDING
        r.peer.pending -= 1
        r.peer.pending_since -= r.up_start


cdef void peer_time_seen(Request* r, int what, int64_t ms) noexcept nogil:
    """The request's server has come so far, after `ms`. Only what succeeds gets here: a server that fails at once is not fast."""
    cdef Peer* p = r.peer
    if r.ups.timed != what:
        return
    p.mean = p.mean + (<double> ms - p.mean) / TIMED_SHARE if p.mean > 0 else <double> ms
    peer_pending_end(r)
    peer_moved(p, loop.now)
