"""A client's HTTP/2 connection: how it begins, what wakes it, how it ends.

    h2_begin -> h2_event: h2_read, what waits in Conn.out -> the end of the turn: h2_flush_all -> h2_settle
        h2_settle: idle, busy | h2_lost (broken, gone: its streams with it) | h2_leave (GOAWAY was said, all is sent)

A Conn of this kind has S_IDLE while it has no streams, S_BUSY with them.
"""


cdef void h2_begin(Conn* c) noexcept nogil:
    """K_H2's `begin`: by ALPN, or behind a preface whose bytes lie in c.inb."""
    cdef H2* h = <H2*> calloc(1, sizeof(H2))
    if h == NULL or not h2_buffers():
        free(h)
        conn_close(c)
        return
    h.conn = c
    h.initial = FRAME_WINDOW
    h.window = FRAME_WINDOW
    h.frame_most = FRAME_MOST
    h.resets_at = h.idle_at = loop.now
    hpack_init(&h.in_, HPACK_DEFAULT)
    hpack_init(&h.out_, H2_TABLE)
    h.out_.told = 1
    c.h2 = h
    if c.state != S_HEAD:
        conn_state(c, S_NEW)
    loop.st.h2_connections += 1
    timer_set(&loop.wheel, &c.timer, loop.now + c.lst.fallback.fallback.header_timeout)
    h2_say_settings(h)
    if loop.stopping:
        h2_going(h)
    loop_post(c)


cdef int h2_preface(Conn* c, const char* p, uint32_t n) noexcept nogil:
    """Bytes that are no head of HTTP/1, on a connection that has had none before: 1: it speaks HTTP/2 from here on; 0: more of
    them will tell; -1: they are nothing else either."""
    if c.served or c.secure or not h2_is_preface(p, n):
        return -1
    if c.inb == NULL:
        conn_keep(c, p, n)
        if c.inb == NULL:
            return -1
    if n < FRAME_PREFACE:
        return 0
    timer_clear(&c.timer)
    conn_become(c, K_H2)
    return 1


cdef void h2_event(Conn* c) noexcept nogil:
    cdef H2* h = c.h2
    cdef uint64_t put
    if c.state == S_LINGERING:
        lingering_read(c)
        return
    if c.out != NULL and c.ready & R_WRITE:
        put = c.put
        if conn_flush(c) < 0:
            c.flags |= CF_FAILED
        elif c.out != NULL and c.put != put:
            timer_set(&loop.wheel, &c.timer, loop.now + h2_location(c).send_timeout)
        elif c.out == NULL and h.block_id == 0:
            timer_clear(&c.timer)
    if not h.flags & H2_BROKEN and not c.flags & (CF_FAILED | CF_EOF) and (c.ready & R_READ or c.inb != NULL):
        h2_read(c)
    if c.ready & R_ERR:
        c.flags |= CF_EOF
    h2_touch(h)


cdef void h2_settle(H2* h) noexcept nogil:
    """Behind all that this turn has brought. Nowhere else does a connection end, but for its time-outs and the worker's end."""
    cdef Conn* c = h.conn
    if c.state == S_LINGERING:
        return
    if c.flags & (CF_EOF | CF_FAILED) or h.flags & H2_BROKEN:
        h2_lost(c)
        return
    if h.flags & H2_STARVED and c.out == NULL and h.window > 0:
        h2_schedule(h)
    if c.out != NULL:
        if c.timer.at == 0:
            timer_set(&loop.wheel, &c.timer, loop.now + h2_location(c).send_timeout)
    elif h.block_id == 0 and h.flags & H2_SETTINGS:
        h2_rest(h)


cdef inline Location* h2_location(Conn* c) noexcept nogil:
    return c.loc if c.loc != NULL else &c.lst.fallback.fallback


cdef void h2_rest(H2* h) noexcept nogil:
    """Nothing waits to be sent."""
    cdef Conn* c = h.conn
    if h.nstreams:
        timer_clear(&c.timer)
        conn_state(c, S_BUSY)
        return
    if loop.stopping == STOP_QUIT_:
        h2_gone(h)
    if h.flags & H2_GONE:
        h2_push(h)
        if c.out == NULL and not c.flags & CF_FAILED:
            h2_leave(c)
        return
    if c.state != S_IDLE:
        c.born = loop.now
        conn_state(c, S_IDLE)
        timer_set(&loop.wheel, &c.timer, loop.now + h2_location(c).keepalive_timeout)


cdef void h2_lost(Conn* c) noexcept nogil:
    """It has failed, its client has gone, or broke a rule: the exchanges of its streams end, each with its line in the log."""
    cdef H2* h = c.h2
    h.flags |= H2_DEAD
    while h.first != NULL:
        h2_stream_cut(h.first, FE_CANCEL)
    h2_push(h)
    if c.flags & (CF_EOF | CF_FAILED):
        if c.state == S_IDLE:
            log_idle_end(c)
        conn_close(c)
        return
    if c.out == NULL:
        h2_leave(c)
    elif c.timer.at == 0:
        timer_set(&loop.wheel, &c.timer, loop.now + h2_location(c).send_timeout)


cdef void h2_leave(Conn* c) noexcept nogil:
    """All that we had to say is with the kernel."""
    c.h2.flags |= H2_SHUT
    timer_clear(&c.timer)
    if c.loc == NULL:
        c.loc = &c.lst.fallback.fallback
    lingering_close(c, c.h2.flags & H2_BROKEN)


cdef void h2_timeout(Conn* c) noexcept nogil:
    """Its preface or a field block is not whole; what it does not read; or it is idle: then it is told."""
    cdef H2* h = c.h2
    if c.state == S_LINGERING:
        conn_close(c)
        return
    if c.out != NULL:
        log_client_of(LOG_INFO, c, b"client timed out while sending response to client", c.lst.fallback.name)
        c.flags |= CF_FAILED
    elif h.block_id:
        h2_fault(h, FE_PROTOCOL_ERROR, b"client timed out within a field block")
    elif h.nstreams == 0:
        h2_gone(h)
        h.flags |= H2_SETTINGS
    h2_touch(h)


cdef void h2_closed(Conn* c) noexcept nogil:
    """conn_close: what is left of it. A client that waits for nothing is told before its connection ends."""
    cdef H2* h = c.h2
    c.h2 = NULL
    if c.kind == K_STREAM:
        return
    BUG_ON(h.first != NULL)
    if not h.flags & H2_GONE and not c.flags & (CF_FAILED | CF_EOF) and c.out == NULL:
        c.h2 = h
        h2_gone(h)
        h2_push(h)
        c.h2 = NULL
        if c.out != NULL:
            buf_free_chain(&loop.pool, c.out)
            c.out = NULL
    h2_untouch(h)
    buf_free_chain(&loop.pool, h.out)
    buf_free_chain(&loop.pool, h.block)
    hpack_free(&h.in_)
    hpack_free(&h.out_)
    free(h)


# ---- leaving

cdef void h2_drain_all(bint last) noexcept nogil:
    """A graceful stop: GOAWAY that allows all streams; and, a while later, the last one."""
    cdef uint32_t i
    cdef Conn* c
    for i in range(loop.nchunks << SLAB_SHIFT):
        c = conn_at(i)
        if c.kind != K_H2 or c.h2 == NULL or c.state == S_LINGERING:
            continue
        if last:
            if c.h2.nstreams:
                h2_gone(c.h2)
        else:
            h2_going(c.h2)


cdef void h2_drain(Conn* c) noexcept nogil:
    """K_H2's `drain`: the worker ends now."""
    cdef H2* h = c.h2
    if h != NULL:
        h2_gone(h)
        h2_push(h)
        h.flags |= H2_DEAD
        while h.first != NULL:
            client_drain(h.first.conn)
    conn_close(c)


cdef void h2_drop() noexcept nogil:
    """The worker's memory."""
    cdef H2Stream* s
    while loop.h2_free != NULL:
        s = loop.h2_free
        loop.h2_free = s.chain
        free(s)
    free(loop.h2_in)
    free(loop.h2_text)
    free(loop.h2_side)
    loop.h2_in = loop.h2_text = loop.h2_side = NULL
