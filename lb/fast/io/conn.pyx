"""Sockets: a slab of Conn structs, one function that changes a state, one pair that moves bytes.

    accept / connect -> conn_new -> conn_state(...) -> conn_recv, conn_send, conn_flush -> conn_close -> (next turn) reuse

Owner of a Conn: the room of its kind. A closed Conn goes back to the slab with a new generation; while it is still on the
posted list it is recycled from there. TLS will be a second implementation of recv and send.
"""


cdef inline Conn* conn_at(uint32_t idx) noexcept nogil:
    return &loop.chunks[idx >> SLAB_SHIFT][idx & ((1 << SLAB_SHIFT) - 1)]


cdef bint conn_slab_grow() noexcept nogil:
    cdef Conn** chunks
    cdef Conn* c
    cdef int i
    c = <Conn*> calloc(1 << SLAB_SHIFT, sizeof(Conn))
    if c == NULL:
        return False
    chunks = <Conn**> realloc(loop.chunks, (loop.nchunks + 1) * sizeof(Conn*))
    if chunks == NULL:
        free(c)
        return False
    loop.chunks = chunks
    chunks[loop.nchunks] = c
    for i in range((1 << SLAB_SHIFT) - 1, -1, -1):
        c[i].idx = (loop.nchunks << SLAB_SHIFT) + i
        c[i].gen = 1
        c[i].posted = loop.free_conns
        loop.free_conns = &c[i]
    loop.nchunks += 1
    return True


cdef Conn* conn_new(int fd, int kind) noexcept nogil:
    """A Conn for this socket, or NULL when there is no slot (worker_connections) or no memory. Takes fd only on success."""
    cdef Conn* c
    if loop.nconns >= loop.max_conns and not conn_reclaim():
        return NULL
    if loop.free_conns == NULL and not conn_slab_grow():
        return NULL
    c = loop.free_conns
    loop.free_conns = c.posted
    loop.nconns += 1
    c.posted = NULL
    c.fd = fd
    c.kind = kind
    c.enc = &h1_encoder
    c.born = c.opened = loop.now
    c.got = c.put = 0
    c.loc = NULL
    BUG_ON(c.state != S_FREE or c.req != NULL or c.inb != NULL or c.out != NULL or c.timer.due != 0)
    return c


cdef void conn_recycle(Conn* c) noexcept nogil:
    c.posted = loop.free_conns
    loop.free_conns = c


cdef void conn_close(Conn* c) noexcept nogil:
    """The end of a connection: every list, timer, buffer and count it is in. Its exchange must have let go of it."""
    BUG_ON(c.kind == K_FREE)
    BUG_ON(c.req != NULL and (c.req.client == c or c.req.up == c))
    conn_state(c, S_FREE)
    timer_drop(&c.timer)
    if c.inb != NULL:
        buf_free_chain(&loop.pool, c.inb)
        c.inb = NULL
    if c.out != NULL:
        buf_free_chain(&loop.pool, c.out)
        c.out = NULL
    if c.proxy_protocol != NULL:
        buf_free(&loop.pool, c.proxy_protocol)
        c.proxy_protocol = NULL
    splice_pipe_give(c)
    close(c.fd)
    c.fd = -1
    c.gen += 1
    c.kind = K_FREE
    c.ready = 0
    c.req = NULL
    c.lst = NULL
    c.peer = NULL
    c.served = 0
    c.addr_len = 0
    c.number = 0
    loop.nconns -= 1
    if c.flags & CF_POSTED:         # loop_run_posted recycles it
        c.flags = CF_POSTED
        return
    c.flags = 0
    conn_recycle(c)


cdef void conn_state(Conn* c, int state) noexcept nogil:
    """The one place where Conn.state changes: keeps the idle list of clients and the counters of the status page."""
    cdef int old = c.state
    if old == state:
        return
    c.state = state
    if c.kind == K_UP:
        if old == S_FREE:
            loop.st.up_open += 1
        elif state == S_FREE:
            loop.st.up_open -= 1
    elif c.kind == K_HTTP or (c.kind == K_PROXY_PROTOCOL and not c.lst.tcp):
        conn_client_state(c, old, state)
    elif c.kind == K_TCP or c.kind == K_PROXY_PROTOCOL:    # of these nginx's stub_status counts no more than that they are open
        loop.clients += (old == S_FREE) - (state == S_FREE)
        loop.st.clients = loop.clients


cdef void conn_client_state(Conn* c, int old, int state) noexcept nogil:
    if old == S_IDLE:
        conn_idle_unlink(c)
        loop.st.waiting -= 1
    elif old == S_NEW:
        loop.st.waiting -= 1
    elif old == S_HEAD:
        loop.st.reading -= 1
    elif old == S_BUSY or old == S_LINGERING:
        loop.st.writing -= 1
    else:
        loop.clients += 1
    if state == S_IDLE:
        conn_idle_link(c)
        loop.st.waiting += 1
    elif state == S_NEW:
        loop.st.waiting += 1
    elif state == S_HEAD:
        loop.st.reading += 1
    elif state == S_BUSY or state == S_LINGERING:
        loop.st.writing += 1
    else:
        loop.clients -= 1
    loop.st.clients = loop.clients


# ---- idle clients, the one that waits longest first

cdef void conn_idle_link(Conn* c) noexcept nogil:
    c.next = NULL
    c.prev = loop.idle_last
    if loop.idle_last != NULL:
        loop.idle_last.next = c
    else:
        loop.idle_first = c
    loop.idle_last = c


cdef void conn_idle_unlink(Conn* c) noexcept nogil:
    if c.prev != NULL:
        c.prev.next = c.next
    else:
        loop.idle_first = c.next
    if c.next != NULL:
        c.next.prev = c.prev
    else:
        loop.idle_last = c.prev
    c.prev = c.next = NULL


cdef bint conn_idle_enough(Conn* c) noexcept nogil:
    """May lb close this idle client by itself? keepalive_min_timeout says from when on."""
    return c.loc == NULL or loop.now - c.born >= c.loc.keepalive_min


cdef bint conn_reclaim() noexcept nogil:
    """Slots have run out: close the client that has been idle longest. False when none is idle."""
    cdef Conn* c = loop.idle_first
    loop.st.no_slots += 1
    while c != NULL and not conn_idle_enough(c):
        c = c.next
    if c == NULL:
        return False
    conn_close(c)
    return True


# ---- bytes

cdef ssize_t conn_recv(Conn* c, char* p, size_t n) noexcept nogil:
    """Read once. > 0: bytes; 0: the peer has ended; -1: nothing there now; -2: the connection failed (CF_FAILED).

    A short read has emptied the socket: the next edge tells of more, so R_READ goes down without a second recv. Only when
    the peer's end was announced (R_HUP) is there something left to read: the end itself.
    """
    cdef ssize_t got = recv(c.fd, p, n, 0)
    if likely(got > 0):
        c.got += got
        if <size_t> got < n and not c.ready & R_HUP:
            c.ready &= ~R_READ
        return got
    if got == 0:
        c.flags |= CF_EOF
        c.ready &= ~R_READ
        return 0
    if errno == EAGAIN or errno == EINTR:
        c.ready &= ~R_READ
        return -1
    c.flags |= CF_FAILED
    c.ready &= ~(R_READ | R_WRITE)
    return -2


cdef ssize_t conn_write(Conn* c, const char* p, size_t n) noexcept nogil:
    """Send once. Bytes taken (0: none now), or -2 when the connection failed."""
    cdef ssize_t got
    cdef int one = 1
    if c.flags & (CF_USED | CF_NODELAY | CF_UNIX) == CF_USED:
        setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        c.flags |= CF_NODELAY
    got = send(c.fd, p, n, MSG_NOSIGNAL)
    if likely(got >= 0):
        c.put += got
    if likely(got == <ssize_t> n):
        return got
    if got >= 0:
        c.ready &= ~R_WRITE
        return got
    if errno == EAGAIN or errno == EINTR:
        c.ready &= ~R_WRITE
        return 0
    c.flags |= CF_FAILED
    c.ready &= ~R_WRITE
    return -2


cdef bint conn_send(Conn* c, const char* p, size_t n) noexcept nogil:
    """Send these bytes, keeping what the kernel does not take. False: the connection failed, or memory is out.

    Bounded by its callers: none of them reads more for a connection whose `out` is not empty.
    """
    cdef ssize_t got = 0
    cdef Buf* b
    if c.flags & CF_FAILED:
        return False
    if c.out == NULL:
        got = conn_write(c, p, n)
        if likely(got == <ssize_t> n):
            return True
        if got < 0:
            return False
    b = buf_append(&loop.pool, c.out, p + got, <uint32_t> (n - got))
    if b == NULL:
        c.flags |= CF_FAILED
        return False
    c.out = b
    return True


cdef int conn_flush(Conn* c) noexcept nogil:
    """Send what waits in `out`. 1: all gone; 0: some still waits; -1: the connection failed."""
    cdef Buf* b
    cdef ssize_t got
    while c.out != NULL:
        if not c.ready & R_WRITE:
            return 0
        b = c.out
        got = conn_write(c, buf_data(b) + b.off, buf_len(b))
        if got < 0:
            return -1
        b.off += <uint32_t> got
        if b.off == b.end:
            c.out = b.next
            buf_free(&loop.pool, b)
    return 1


cdef void conn_keep(Conn* c, const char* p, uint32_t n) noexcept nogil:
    """Keep bytes that were read but not parsed yet. Without memory for them the connection fails at its next use."""
    c.inb = buf_copy(&loop.pool, p, n)
    if c.inb == NULL:
        c.flags |= CF_FAILED


cdef void conn_reset(Conn* c) noexcept nogil:
    """Its close will be a reset, not a FIN."""
    cdef linger how
    how.l_onoff = 1
    how.l_linger = 0
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how))


cdef int conn_error(Conn* c) noexcept nogil:
    """The socket's pending error (SO_ERROR), which it clears."""
    cdef int e = 0
    cdef socklen_t n = sizeof(e)
    if getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0:
        return errno
    return e
