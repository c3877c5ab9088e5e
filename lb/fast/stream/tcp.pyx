"""TCP sessions: bytes between a client and a server of a stream upstream, each direction with its own end.

    accepted -> up_start -> (S_CONNECT) -> tcp_connected -> tcp_move_both -> both ends seen, an error, or silence -> tcp_end

A direction reads only while nothing waits to be sent on the other side, so what is held is one read at most. The end of one
direction ends the session once all that came before it was passed on. With proxy_half_close it is passed on as a half-close,
and the session ends when both have ended. One whose server has ended is then no longer its server's (peer_ended); the kernel
asks whether the server is still there, and a stop gives it one more second of silence.
"""

cdef enum:
    HALF_PROBE = 5              # s of silence before a server that has ended is probed, and between probes
    HALF_PROBES = 3


cdef void tcp_begin(Conn* c) noexcept nogil:
    cdef Request* r = request_new(c, 0)
    conn_state(c, S_BUSY)
    if r == NULL:
        conn_close(c)
        return
    r.flags = RQ_TCP
    r.stream = c.lst.stream
    r.settings = &r.stream.settings
    r.ups = r.settings.ups
    r.up_tls = r.settings.up_tls
    r.status = 200
    loop.st.sessions += 1
    log_connected(r, c)
    if c.lst.tls != NULL and not tls_verify_session(c):
        r.status = 500
        tcp_end(r)
        return
    if r.stream.plain:
        up_start(r)
    else:
        session_start(r)


cdef void tcp_connected(Request* r) noexcept nogil:
    r.up.ready |= R_WRITE
    request_phase(r, PH_TUNNEL)     # from here on bytes may flow: no other server any more
    # small messages both ways: TCP_NODELAY at the first send
    r.up.flags |= CF_USED | CF_NODELAY if r.stream.delay else CF_USED
    timer_clear(&r.up.timer)
    log_connected(r, r.up)
    peer_ok(r.peer)                 # as nginx: a session may last, and others wait to see that the server is back
    if r.stream.send_proxy_protocol and r.up_tls == NULL and not proxy_protocol_send(r):
        tcp_end(r)
        return
    if r.flags & RQ_TCP and not preread_send(r):
        tcp_end(r)
        return
    tcp_move_both(r)


cdef void tcp_event(Conn* c) noexcept nogil:
    cdef Request* r = c.req
    if r == NULL:
        lingering_read(c)
        return
    if r.phase == PH_TUNNEL:
        tcp_move_both(r)
    elif r.phase == PH_ANSWERED:
        session_returning(r)
    elif r.phase == PH_ROUTING:
        preread_read(r)
    elif c.ready & R_ERR and c == r.client:      # the client has gone before there was a server
        up_abandon(r)
        tcp_end(r)


cdef void tcp_move_both(Request* r) noexcept nogil:
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    if not (tcp_move(c, u) and tcp_move(u, c)) or tcp_done(r):
        if not (c.flags | u.flags) & CF_FAILED:
            peer_ok(r.peer)
        if r.flags & RQ_TCP:            # a tunnel's end is its request's
            log_session_end(r)
        tcp_end(r)
        return
    stats_bytes(r)                  # now, not at the end: a session may last for days
    request_sent_tell(r)
    timer_set(&loop.wheel, &c.timer, loop.now + tcp_silence(r))


cdef int64_t tcp_silence(Request* r) noexcept nogil:
    """How long nothing may flow."""
    if loop.stopping and r.flags & RQ_UP_ENDED and r.settings.read_timeout > LAST_CHANCE:
        return LAST_CHANCE
    return r.settings.read_timeout


cdef bint tcp_done(Request* r) noexcept nogil:
    """A tunnel ends with its server, as RFC 9110 (9.3.6) has it for CONNECT: only a client's half-close is passed on there."""
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    cdef bint cut = r.flags & RQ_TCP and r.stream.cut
    if (cut and tcp_over(c, u)) or ((cut or not r.flags & RQ_TCP) and tcp_over(u, c)):
        return True
    return tcp_ended(c, u) or tcp_ended(u, c)


cdef bint tcp_over(Conn* a, Conn* b) noexcept nogil:
    """Has all that `a` sent, its end included, been passed to `b`?"""
    return a.flags & CF_EOF and b.out == NULL and a.pipe == NULL


cdef bint tcp_ended(Conn* a, Conn* b) noexcept nogil:
    """Is everything of `a` passed on, and nothing more to come from `b`, or nobody left to take it?"""
    return tcp_over(a, b) and (tcp_over(b, a) or a.ready & R_ERR)


cdef void tcp_count(Conn* a, int64_t n) noexcept nogil:
    if a.kind != K_UP:
        loop.st.bytes_in += n
        if a.req.flags & RQ_TCP:        # a tunnel's bytes are not its request's
            a.req.received += n
    elif a.req.up_header < 0 and n:
        a.req.up_header = loop.now - a.req.up_start
        stats_time(a.req.peer.stats.header, &a.req.peer.stats.header_ms, a.req.up_header)
        peer_time_seen(a.req, TIMED_HEADER, a.req.up_header)


cdef bint tcp_move(Conn* a, Conn* b) noexcept nogil:
    """Move what `a` has sent to `b`, its share of this turn. False: the session is broken."""
    cdef bint ok
    if b.out != NULL and conn_flush(b) < 0:
        return False
    if a.pipe == NULL and not a.flags & CF_BULK:
        ok = tcp_copy(a, b)
    else:
        ok = tcp_splice(a, b)
    if not ok:
        return False
    if tcp_over(a, b) and not b.flags & CF_SHUT and not (a.req.flags & RQ_TCP and a.req.stream.cut):
        b.flags |= CF_SHUT
        b.io.shutdown(b)
        if a.kind == K_UP and a.req.flags & RQ_TCP:
            tcp_up_ended(a)
    return True


cdef void tcp_up_ended(Conn* u) noexcept nogil:
    """The server has ended and the client knows. Has it gone? Its kernel answers a probe with a reset then."""
    peer_ended(u.req)
    if not u.flags & CF_UNIX:           # there the next write tells
        plain_probe(u, HALF_PROBE, HALF_PROBES)


cdef bint tcp_copy(Conn* a, Conn* b) noexcept nogil:
    """Small messages: recv and send. A read that fills the buffer makes it bulk."""
    cdef ssize_t got
    cdef ssize_t most = a.req.stream.buffer if a.req.flags & RQ_TCP else SCRATCH
    cdef int _i
    for _i in range(4):
        if b.out != NULL or a.flags & CF_EOF or not a.ready & R_READ:
            return True
        got = conn_recv(a, loop.scratch, most)
        if got == -1 or got == 0:
            return True
        if got < 0:
            return False
        tcp_count(a, got)
        if not conn_send(b, loop.scratch, got):
            return False
        if got == most and splice_allowed(a, b):
            a.flags |= CF_BULK
            return tcp_splice(a, b)
    loop_post(a)                             # more to read: after the others have had their turn
    return True


cdef bint tcp_splice(Conn* a, Conn* b) noexcept nogil:
    cdef int64_t took, gave
    cdef int rc
    if b.out != NULL:
        return True
    rc = splice_move(a, b, 1 << 62, &took, &gave)
    tcp_count(a, took)
    if rc == SPLICE_NO_PIPE:
        return tcp_copy(a, b)
    if rc == SPLICE_MORE:
        loop_post(a)
    return rc < SPLICE_BROKEN_FROM


cdef void tcp_timeout(Conn* c) noexcept nogil:
    if c.req == NULL:                   # lingering
        conn_close(c)
        return
    if c.req.phase == PH_ROUTING:
        preread_over(c.req, 200)
        return
    log_request(LOG_INFO, c.req, b"connection timed out", ETIMEDOUT, b"while proxying connection")
    tcp_end(c.req)


cdef void tcp_drain(Conn* c) noexcept nogil:
    if c.req == NULL:                   # lingering
        conn_close(c)
    else:
        tcp_end(c.req)


cdef void tcp_end(Request* r) noexcept nogil:
    cdef Conn* c = r.client
    tcp_forget(r)
    conn_close(c)


cdef void tcp_stop(Request* r) noexcept nogil:
    """A stop has begun: a session whose server has ended does not hold it up until proxy_timeout."""
    if r.flags & RQ_UP_ENDED:
        timer_set(&loop.wheel, &r.client.timer, loop.now + tcp_silence(r))


cdef void tcp_forget(Request* r) noexcept nogil:
    """Log the session and free it; its client connection is left."""
    up_abandon(r)
    if r.flags & RQ_TCP:
        request_sent_tell(r)
        access_log_write(r.settings.logs, r.settings.nlogs, r)
    else:
        request_log(r)
    request_free(r)
