"""Upstream connections that wait for the next request to their server.

    pool_put -> Loop.fresh -> (the next wait) loop_pool_watch, pool_settle -> Peer.idle -> pool_take_for

No answer that nobody asked for is given to the next request: a pooled connection is used again when epoll has looked at it
since and told of nothing, or after a look of our own (conn_nothing_came), which costs a system call. What epoll tells of a
pooled one closes it, before any request of the turn begins. Of a connection that came into the pool in this turn epoll could
not tell yet.
"""

cdef enum:
    FRESH_LOOK = 8              # connections of this turn that are looked through for one of a server


cdef void pool_unlink(Conn* u) noexcept nogil:
    cdef Upstream* ups = u.peer.ups
    if u.prev != NULL:
        u.prev.next = u.next
    else:
        ups.idle_first = u.next
    if u.next != NULL:
        u.next.prev = u.prev
    else:
        ups.idle_last = u.prev
    if u.pprev != NULL:
        u.pprev.pnext = u.pnext
    elif u.fresh:
        loop.fresh = u.pnext
    else:
        u.peer.idle = u.pnext
    if u.pnext != NULL:
        u.pnext.pprev = u.pprev
    u.prev = u.next = u.pprev = u.pnext = NULL
    u.fresh = 0
    ups.nidle -= 1
    u.peer.nidle -= 1
    loop.st.upstream_idle -= 1


cdef void pool_close(Conn* u) noexcept nogil:
    cdef Peer* p = u.peer
    pool_unlink(u)
    conn_close(u)
    peer_gone(p)


cdef void peer_link(Conn* u, Conn** first) noexcept nogil:
    u.pprev = NULL
    u.pnext = first[0]
    if u.pnext != NULL:
        u.pnext.pprev = u
    first[0] = u


cdef void pool_settle() noexcept nogil:
    """epoll has looked: what it told of is closed, and the rest may be used as it is."""
    cdef Conn* u
    while loop.fresh != NULL:
        u = loop.fresh
        loop.fresh = u.pnext
        u.fresh = 0
        peer_link(u, &u.peer.idle)


cdef void pool_fresh_leave() noexcept nogil:
    """Tables were swapped: those of this turn whose server is no longer in one."""
    cdef Conn* after
    cdef Conn* u = loop.fresh
    while u != NULL:
        after = u.pnext
        if u.peer.removed:
            pool_close(u)
        u = after


cdef Conn* pool_fresh_of(Request* r) noexcept nogil:
    """One of the last few of this turn, if it is of this request's server and fits it."""
    cdef int _i
    cdef Conn* u = loop.fresh
    for _i in range(FRESH_LOOK):
        if u == NULL or (u.peer == r.peer and up_local_fits(u, r)):
            return u
        u = u.pnext
    return NULL


cdef void pool_put(Conn* u) noexcept nogil:
    """Keep an upstream connection for the next request to its peer; the one idle longest makes room."""
    cdef Upstream* ups = u.peer.ups
    u.prev = ups.idle_last
    u.next = NULL
    if ups.idle_last != NULL:
        ups.idle_last.next = u
    else:
        ups.idle_first = u
    ups.idle_last = u
    u.fresh = 1
    peer_link(u, &loop.fresh)
    ups.nidle += 1
    u.peer.nidle += 1
    loop.st.upstream_idle += 1
    if unlikely(loop.debug):
        debug_pooled(u)
    u.req = NULL
    u.flags |= CF_USED
    conn_state(u, S_IDLE)
    timer_set(&loop.wheel, &u.timer, loop.now + ups.keepalive_timeout)
    if ups.nidle > ups.keepalive:
        pool_close(ups.idle_first)


cdef Conn* pool_take_for(Request* r) noexcept nogil:
    """A pooled connection for this request on which nothing waits. One that cannot be sent again is not risked on a connection
    that has just ended: it is looked at once more."""
    cdef Conn* u
    cdef bint sure
    while not r.flags & (RQ_TCP | RQ_CONNECT):
        u = r.peer.idle
        while u != NULL and not up_local_fits(u, r):
            u = u.pnext
        sure = u != NULL and loop.looked and up_idempotent(r)
        if u == NULL:
            u = pool_fresh_of(r)
        if u == NULL:
            return NULL
        pool_unlink(u)
        timer_clear(&u.timer)
        if sure or conn_nothing_came(u):
            return u
        conn_close(u)
    return NULL


cdef bint up_quiet(Conn* u) noexcept nogil:
    """After a whole answer: neither a byte nor the end has come behind it. A splice does not see that it took the last byte."""
    if not u.ready & (R_READ | R_HUP):
        return True
    return not u.ready & R_HUP and conn_nothing_came(u)
