"""Accepting: level-triggered, exclusive listeners shared by all workers, in batches that grow with the load.

An epoll on a shared listening socket wakes the last sleeper first, so that long connections would pile up on one worker. So
a worker with clearly more clients than the mean takes its listeners out of epoll as long as another one with fewer accepts
(it has accepted what it was woken for, so no connection waits for a sleeper), and looks again when its count changes or
after 50 ms. The counts are in shared memory; nobody asks anybody.

    armed <-> paused (too many clients, no fds) -> disarmed for good (draining)
"""


cdef void accept_listen(Listener* l) noexcept nogil:
    loop_add(l.conn, EPOLLIN | EPOLLEXCLUSIVE)


cdef void accept_arm() noexcept nogil:
    cdef uint32_t i
    if loop.armed or loop.stopping:
        return
    for i in range(loop.nlisteners):
        if loop.listeners[i].conn != NULL:
            accept_listen(&loop.listeners[i])
    loop.armed = 1
    loop.paused = 0
    loop.st.accepting = 1


cdef void accept_disarm() noexcept nogil:
    cdef uint32_t i
    cdef epoll_event ev
    if not loop.armed:
        return
    for i in range(loop.nlisteners):
        if loop.listeners[i].conn != NULL:
            epoll_ctl(loop.ep, EPOLL_CTL_DEL, loop.listeners[i].conn.fd, &ev)
    loop.armed = 0
    loop.st.accepting = 0


cdef void accept_pause(int64_t ms) noexcept nogil:
    accept_disarm()
    loop.paused = 1
    loop.resume_at = loop.now + ms


cdef void accept_mean_update() noexcept nogil:
    """Clients per worker over the workers that run now, and whether one with fewer than we accepts. At most once a ms."""
    cdef uint32_t i, n = 0
    cdef uint64_t total = 0
    cdef WorkerStats* s
    loop.mean_at = loop.now
    loop.others = 0
    for i in range(loop.workers):
        s = &loop.all[i]
        if i != loop.worker and (s.pid == 0 or <int64_t> s.heartbeat_ms + 2500 < loop.now):
            continue
        n += 1
        total += s.clients
        if i != loop.worker and s.accepting and s.clients < loop.clients:
            loop.others += 1
    loop.mean = total // n if n else 0


cdef bint accept_enough() noexcept nogil:
    """Do we have clearly more clients than the other workers?"""
    if loop.workers < 2 or loop.clients < 8:
        return False
    if loop.mean_at != loop.now or loop.clients > loop.mean:
        accept_mean_update()
    return loop.others and loop.clients > loop.mean + loop.mean // 16 + 2


cdef void accept_event(Conn* lc) noexcept nogil:
    cdef uint32_t _i, got = 0
    lc.ready = 0
    for _i in range(loop.batch):
        if not accept_one(lc):
            break
        got += 1
        if accept_enough():
            accept_pause(50)
            return
    if got == loop.batch:
        loop.batch = got * 2 if got < 32 else 64
    else:
        loop.batch = got if got else 1


cdef bint accept_one(Conn* lc) noexcept nogil:
    """Take one connection. False: none is waiting, or none can be taken now."""
    cdef char sa[128]
    cdef socklen_t n = sizeof(sa)
    cdef int fd = accept4(lc.fd, <sockaddr*> sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)
    cdef Conn* c
    if fd < 0:
        return accept_failed()
    loop.st.accepts += 1
    c = conn_new(fd, K_HANDSHAKE)       # until it begins, below
    if c == NULL:
        log_line(LOG_ALERT, b"worker_connections are not enough")
        close(fd)
        accept_pause(100)
        return False
    c.lst = lc.lst
    loop.numbers += 1
    c.number = loop.numbers
    if lc.lst.local:
        c.flags |= CF_UNIX
    elif n <= sizeof(c.addr):
        memcpy(c.addr, sa, n)
        c.addr_len = n
    c.flags |= CF_NODELAY           # inherited from the listening socket
    if unlikely(loop.debug):
        debug_accepted(c)
    if not loop_add(c, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET):
        conn_close(c)
        return False
    loop.st.handled += 1
    if lc.lst.proxy_protocol_first:
        c.io = loop.io
        conn_become(c, K_PROXY_PROTOCOL)
    else:
        conn_begin(c)
    return True


cdef bint accept_failed() noexcept nogil:
    """What accept4 says when it has no connection for us. True: try the next one."""
    cdef int e = errno
    if e == EAGAIN:
        return False
    if e == ECONNABORTED or e == EINTR or e == EPROTO or e == EPERM:
        return True
    loop.st.accept_errors += 1
    log_errno(LOG_CRIT, b"accept4() failed", e)
    accept_pause(500)               # EMFILE, ENFILE, ENOBUFS, ENOMEM: no busy loop; look again later
    return False
