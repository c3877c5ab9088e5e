"""The loop: one epoll, one clock reading a turn, everything else in the order below.

    wait -> pooled connections -> what checks have changed -> events -> posted work -> timers -> what Python threads left
        -> draining -> logs out -> heartbeat

Events carry (generation, index) of their connection, so that one for an older life of the slot is dropped. Sockets are
registered once, edge-triggered, for their whole life; listeners are level-triggered and exclusive (io/accept.pyx).
"""

cdef enum:
    EVENTS = 512                # of one turn at most

cdef Loop loop                  # the state of this worker; see types.pxd
cdef epoll_event events[EVENTS] # of the present turn


cdef void loop_clock() noexcept nogil:
    cdef timespec ts
    cdef tm local
    cdef Out o
    clock_gettime(CLOCK_MONOTONIC, &ts)
    loop.now = <int64_t> ts.tv_sec * 1000 + ts.tv_nsec // 1000000
    clock_gettime(CLOCK_REALTIME, &ts)
    loop.env.now = loop.now
    loop.env.wall = <int64_t> ts.tv_sec * 1000 + ts.tv_nsec // 1000000
    if ts.tv_sec == loop.second:
        return
    loop.second = ts.tv_sec
    if localtime_r(&ts.tv_sec, &local) != NULL:
        loop.env.local = local
    out_init(&o, loop.date, sizeof(loop.date))
    out_date_at(&o, ts.tv_sec)


cdef bint loop_add(Conn* c, uint32_t what) noexcept nogil:
    cdef epoll_event ev
    ev.events = what
    ev.data.u64 = (<uint64_t> c.gen << 32) | c.idx
    cdef int e = epoll_ctl(loop.ep, EPOLL_CTL_ADD, c.fd, &ev)
    COUNT_IF(e != 0, loop.st.glitch_epoll_add)
    return e == 0


cdef void loop_dispatch(epoll_event* ev) noexcept nogil:
    """Turn what epoll says into Conn.ready, and let the connection's room act on it."""
    cdef Conn* c = conn_at(<uint32_t> ev.data.u64)
    cdef uint32_t what = ev.events
    if c.gen != <uint32_t> (ev.data.u64 >> 32):
        return
    COUNT_IF(c.kind == K_FREE, loop.st.glitch_event)
    if what & EPOLLIN:
        c.ready |= R_READ
    if what & EPOLLOUT:
        c.ready |= R_WRITE
    if what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        c.ready |= R_READ | R_HUP
        if what & (EPOLLHUP | EPOLLERR):
            c.ready |= R_WRITE | R_ERR
    if debug_on(c):
        debug_event(c)
    loop_event(c)


cdef void loop_pool_watch(epoll_event* ev) noexcept nogil:
    """Before any request of this turn takes a pooled connection: one that epoll tells something of has ended, or has bytes
    that nobody asked for."""
    cdef Conn* c = conn_at(<uint32_t> ev.data.u64)
    if c.gen == <uint32_t> (ev.data.u64 >> 32) and c.kind == K_UP and c.state == S_IDLE:
        loop_dispatch(ev)


cdef void loop_post(Conn* c) noexcept nogil:
    """Run this connection's room again before the next wait: for work that must not start below its caller."""
    if c.flags & CF_POSTED:
        return
    c.flags |= CF_POSTED
    c.posted = loop.posted
    loop.posted = c


cdef void loop_run_posted() noexcept nogil:
    cdef Conn* c
    cdef Conn* after
    c = loop.posted
    loop.posted = NULL
    while c != NULL:
        after = c.posted
        c.flags &= ~CF_POSTED
        c.posted = NULL
        if c.kind == K_FREE:
            conn_recycle(c)
        else:
            if c.io != &plain:
                c.ready |= c.io.pending(c)
            loop_event(c)
        c = after


cdef void loop_run_timers() noexcept nogil:
    cdef Timer* t
    while True:
        t = timer_next(&loop.wheel, loop.now)
        if t == NULL:
            return
        t.at = 0
        if debug_on(<Conn*> t):
            debug_timer_fired(<Conn*> t)
        loop_timeout(<Conn*> t)


cdef void loop_wake_event(Conn* c) noexcept nogil:
    """Python threads left something: tables, a stop, new logs. loop_take_inbox looks at all of them at the end of the turn."""
    cdef uint64_t n
    read(c.fd, &n, sizeof(n))
    c.ready = 0


cdef void loop_signal_event(Conn* c) noexcept nogil:
    cdef signalfd_siginfo si
    c.ready = 0
    while read(c.fd, &si, sizeof(si)) == sizeof(si):
        drain_begin(STOP_QUIT_ if si.ssi_signo == SIGQUIT else STOP_NOW_)


cdef void loop_take_inbox() noexcept nogil:
    cdef Table* t
    cdef Table* first = NULL
    cdef Table* after
    cdef uint64_t stop
    if loop.inbox.tables != NULL:
        t = <Table*> lb_atomic_swap(&loop.inbox.tables, NULL)
        while t != NULL:            # pushed newest first: turn round
            after = t.next
            t.next = first
            first = t
            t = after
        while first != NULL:
            after = first.next
            table_swap(first)
            first = after
        pool_fresh_leave()
    stop = lb_atomic_load(&loop.inbox.stop)
    if stop > loop.stopping:
        drain_begin(<int> stop)
    if lb_atomic_load(&loop.inbox.reopen):
        lb_atomic_store(&loop.inbox.reopen, 0)
        log_reopen_all()
    if loop.inbox.contexts != NULL:
        tls_renewed()


cdef int loop_wait() noexcept nogil:
    """How long this turn may sleep: nothing while work is posted; at most a second, for the heartbeat."""
    cdef int64_t wait
    if loop.posted != NULL:
        return 0
    wait = timer_wait(&loop.wheel, loop.now, 1000)
    if loop.paused and loop.resume_at - loop.now < wait:
        wait = loop.resume_at - loop.now
    if loop.flush_at and loop.flush_at - loop.now < wait:
        wait = loop.flush_at - loop.now
    if loop.stopping and wait > 100:
        wait = 100
    return <int> wait if wait > 0 else 0


cdef void loop_turn() noexcept nogil:
    cdef int i, n
    n = epoll_wait(loop.ep, events, EVENTS, loop_wait())
    COUNT_IF(n < 0 and errno != EINTR, loop.st.glitch_epoll_wait)
    loop_clock()
    loop.disk_us = 0
    loop.looked = n < EVENTS
    for i in range(n):
        loop_pool_watch(&events[i])
    pool_settle()
    if loop.health != NULL and lb_atomic_load(&loop.health.changes) != loop.health_seen:
        health_changes()
    for i in range(n):
        loop_dispatch(&events[i])
    loop_run_posted()
    loop_run_timers()
    loop_take_inbox()
    if loop.h2_dirty != NULL:
        h2_flush_all()
    if loop.paused or loop.stopping:
        drain_turn()
    if loop.pipes != NULL and loop.now - loop.pipes_at > 1000:
        splice_pipes_drop()
    log_tell_all()
    log_flush_all(False)
    if loop.log_caches != NULL and loop.now - loop.caches_at > 1000:
        log_caches_expire()
    peer_reap()
    loop.st.heartbeat_ms = loop.now
    loop.st.turns += 1


cdef void loop_run() noexcept nogil:
    loop_clock()
    loop_take_inbox()                # every upstream has its servers before the first client comes
    accept_arm()
    while not loop.done:
        if loop.checker:
            check_gather()
        loop_turn()
    drain_end()
