"""Leaving: what a stop does, turn by turn, and the listeners that wait to be armed again.

    drain_begin(RELOAD): no new connections; idle clients may send one more request (it is answered with `Connection: close`)
    drain_begin(QUIT):   the same, and idle clients are closed at once
    drain_begin(NOW):    the loop ends with this turn; worker_shutdown_timeout after one of the others, too
    drain_turn: done when no client is left -> drain_end: everything closed, nothing leaks
"""

cdef enum:
    LAST_CHANCE = 1000          # ms that an idle client has, from the stop on, for a request that may be on its way


cdef void drain_begin(int how) noexcept nogil:
    cdef uint32_t i
    if how <= loop.stopping:
        return
    if not loop.stopping:
        log_line(LOG_NOTICE, b"exiting" if how == STOP_NOW_ else b"gracefully shutting down")
    accept_disarm()
    loop.paused = 0
    loop.stopping = how
    loop.stop_at = loop.now
    for i in range(loop.nlisteners):
        if loop.listeners[i].conn != NULL:
            conn_close(loop.listeners[i].conn)
            loop.listeners[i].conn = NULL
    for i in range(loop.nups):
        while loop.ups[i].idle_first != NULL:
            pool_close(loop.ups[i].idle_first)
    if how == STOP_QUIT_:
        drain_quit_all()
    elif how == STOP_NOW_:
        loop.done = 1
    if how != STOP_NOW_:
        h2_drain_all(False)
    drain_sessions()


cdef void drain_sessions() noexcept nogil:
    cdef uint32_t i
    cdef Conn* c
    for i in range(loop.nchunks << SLAB_SHIFT):
        c = conn_at(i)
        if c.kind == K_TCP and c.req != NULL:
            tcp_stop(c.req)


cdef void drain_quit_all() noexcept nogil:
    cdef Conn* c = loop.idle_first
    cdef Conn* after
    while c != NULL:
        after = c.next
        drain_quit(c)
        c = after


cdef void drain_quit(Conn* c) noexcept nogil:
    """An idle client in a stop that closes such: now, or when its keepalive_min_timeout is over."""
    if conn_idle_enough(c):
        conn_close(c)
    else:
        timer_set(&loop.wheel, &c.timer, c.born + c.loc.keepalive_min)


cdef void drain_turn() noexcept nogil:
    if not loop.stopping:
        if loop.now < loop.resume_at and not (loop.mean and loop.clients < loop.mean):
            return
        if accept_enough():
            loop.resume_at = loop.now + 50
        else:
            accept_arm()
        return
    if loop.stop_most and loop.now - loop.stop_at >= loop.stop_most:
        drain_begin(STOP_NOW_)
    elif loop.now - loop.stop_at >= LAST_CHANCE:
        h2_drain_all(True)
        drain_idle()
    if loop.clients == 0:
        loop.done = 1


cdef void drain_idle() noexcept nogil:
    """Close the clients that have been idle for long, but never one whose request has come since the last epoll_wait."""
    cdef Conn* c = loop.idle_first
    cdef Conn* after
    cdef char byte
    while c != NULL and loop.now - c.born >= LAST_CHANCE:
        after = c.next
        if conn_idle_enough(c) and conn_peek(c, &byte, 1) <= 0 and not c.io.pending(c):
            conn_close(c)
        c = after


cdef void drain_end() noexcept nogil:
    """Close what is left (STOP_NOW leaves a lot), so that open_handles() can tell a leak from a stop."""
    cdef uint32_t i, k
    cdef Conn* c
    for i in range(loop.nchunks):
        for k in range(1 << SLAB_SHIFT):
            c = &loop.chunks[i][k]
            if loop.kinds[c.kind].drain != NULL:
                loop.kinds[c.kind].drain(c)
    for i in range(loop.nups):
        while loop.ups[i].idle_first != NULL:
            pool_close(loop.ups[i].idle_first)
    log_flush_all(True)
    syslog_end_all()
    log_caches_drop()
    loop_run_posted()
    h2_flush_all()
    splice_pipes_drop()
    gzip_drop()
    peer_reap()
