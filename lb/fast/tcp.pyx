"""TCP sessions: bytes between a client and a server of a stream upstream, each direction with its own end.

    accepted -> up_start -> (S_CONNECT) -> tcp_connected -> pump both ways -> both ends seen, an error, or silence -> tcp_end

A direction reads only while nothing waits to be sent on the other side, so what is held is one read at most. The end of one
direction is passed on as a half-close; the session ends when both have ended.
"""


cdef void tcp_begin(Conn* c) noexcept nogil:
    cdef Request* r = request_new(c, 0)
    if r == NULL:
        conn_close(c)
        return
    r.flags = RQ_TCP
    r.stream = c.lst.stream
    r.ups = r.stream.ups
    loop.st.sessions += 1
    up_start(r)


cdef void tcp_connected(Request* r) noexcept nogil:
    r.up.ready |= R_WRITE
    r.flags |= RQ_SENT              # from here on bytes may flow: no other server any more
    r.up.flags |= CF_USED           # small messages both ways: TCP_NODELAY at the first send
    timer_clear(&r.up.timer)
    tcp_pump_both(r)


cdef void tcp_event(Conn* c) noexcept nogil:
    cdef Request* r = c.req
    if r.up == NULL or r.up.state == S_CONNECT:
        if c.ready & R_ERR and c == r.client:      # the client has gone before there was a server
            up_abandon(r)
            tcp_end(r)
        return
    tcp_pump_both(r)


cdef void tcp_pump_both(Request* r) noexcept nogil:
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    if not (tcp_pump(c, u) and tcp_pump(u, c)) or (tcp_over(c, u) and tcp_over(u, c)):
        if not (c.flags | u.flags) & CF_FAILED:
            peer_ok(r.peer)
        tcp_end(r)
        return
    timer_set(&loop.wheel, &c.timer, loop.now + r.stream.timeout)


cdef bint tcp_over(Conn* a, Conn* b) noexcept nogil:
    """Has all that `a` sent, its end included, been passed to `b`?"""
    return a.flags & CF_EOF and b.out == NULL


cdef bint tcp_pump(Conn* a, Conn* b) noexcept nogil:
    """Move what `a` has sent to `b`, a few reads at most. False: the session is broken."""
    cdef ssize_t got
    cdef int i
    if b.out != NULL and b.ready & R_WRITE and conn_flush(b) < 0:
        return False
    for i in range(4):
        if b.out != NULL or a.flags & CF_EOF or not a.ready & R_READ:
            break
        got = conn_recv(a, loop.scratch, SCRATCH)
        if got == -1:
            break
        if got < 0:
            return False
        if got:
            if a.kind == K_TCP:
                loop.st.bytes_in += got
                a.req.received += got
            else:
                loop.st.bytes_out += got
                a.req.sent += got
            if not conn_send(b, loop.scratch, got):
                return False
    if tcp_over(a, b) and not b.flags & CF_SHUT:
        b.flags |= CF_SHUT
        shutdown(b.fd, SHUT_WR)
    if b.out == NULL and a.ready & R_READ and not a.flags & CF_EOF:
        post(a)                     # more to read: after the others have had their turn
    return True


cdef void tcp_timeout(Conn* c) noexcept nogil:
    log_request(LOG_INFO, c.req, b"connection timed out", ETIMEDOUT, b"while proxying connection")
    tcp_end(c.req)


cdef void tcp_end(Request* r) noexcept nogil:
    cdef Conn* c = r.client
    up_abandon(r)
    r.client = NULL
    c.req = NULL
    request_free(r)
    conn_close(c)
