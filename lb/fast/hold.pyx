"""proxy_buffering on: a server is not held up by a client that reads slowly. Only when the client blocks does anything wait:
up to proxy_buffers in memory (Conn.out), then up to proxy_max_temp_file_size on disk (Request.hold); then the server waits.

    answer_out: to the client at once | Conn.out | r.hold        http_event, http_flush -> hold_feed: r.hold to the client

While bytes lie in r.hold all later ones go there too, so that their order stays.
"""


cdef uint64_t waiting(Conn* c) noexcept nogil:
    """Bytes in memory for the client."""
    cdef Buf* b = c.out
    cdef uint64_t n = 0
    while b != NULL:
        n += buf_len(b)
        b = b.next
    return n


cdef bint held_up(Request* r) noexcept nogil:
    """Does part of the answer wait for the client?"""
    return r.client.out != NULL or spool_left(r.hold)


cdef bint may_read_on(Request* r) noexcept nogil:
    """May more of the answer be read from the server now?"""
    if not held_up(r):
        return True
    if not r.flags & RQ_HOLD or r.flags & RQ_TUNNEL or not r.flags & RQ_UP_HEAD:
        return False
    if spool_left(r.hold):
        return r.hold.size < r.loc.temp_max
    return r.loc.temp_max > 0 or waiting(r.client) < r.loc.buffers


cdef bint answer_out(Request* r, const char* p, uint32_t n) noexcept nogil:
    """Bytes of the answer to the client, or to where they wait for it. False: the client's connection failed, or the disk."""
    cdef Conn* c = r.client
    if not held_up(r) or not r.flags & RQ_HOLD or (not spool_left(r.hold) and waiting(c) + n <= r.loc.buffers):
        return conn_send(c, p, n)
    if r.loc.temp_max == 0:
        return conn_send(c, p, n)
    if r.hold == NULL:
        r.hold = spool_new(r, &r.loc.answer_path, False)
        if r.hold == NULL:              # the server waits from here on
            r.flags &= ~RQ_HOLD
            return conn_send(c, p, n)
    return spool_write(r, r.hold, p, n)


cdef bint hold_pipe(Request* r) noexcept nogil:
    """The client blocks while bytes are in the server's pipe: they go to disk, and reading goes on. False: it has failed."""
    cdef Conn* u = r.up
    cdef ssize_t got
    if r.hold == NULL:
        r.hold = spool_new(r, &r.loc.answer_path, False)
        if r.hold == NULL:
            r.flags &= ~RQ_HOLD
            return True
    while u.pipe.filled:
        got = read(u.pipe.r, loop.scratch, SCRATCH)
        if got <= 0:
            return False
        u.pipe.filled -= <uint32_t> got
        r.sent += got
        r.body_sent += got
        if not spool_write(r, r.hold, loop.scratch, <uint32_t> got):
            return False
    pipe_give(u)
    u.flags &= ~CF_BULK
    return True


cdef bint hold_feed(Request* r) noexcept nogil:
    """From disk to the client, a bounded share of this turn. False: the exchange has ended."""
    cdef Conn* c = r.client
    cdef char* p = loop.scratch + HEADROOM
    cdef uint32_t n
    cdef int _i
    for _i in range(4):
        if c.out != NULL or not spool_left(r.hold):
            break
        n = spool_read(r, r.hold, p, SCRATCH)
        if n == 0:
            proxy_cut(r)
            return False
        if not conn_send(c, p, n):
            http_broken(c)
            return False
    if not spool_left(r.hold) and r.hold.size:      # all is on its way: the file begins anew
        r.hold.at = r.hold.size = 0
        ftruncate(r.hold.fd, 0)
    if c.out == NULL and spool_left(r.hold):
        post(c)
    timer_set(&loop.wheel, &c.timer, loop.now + r.loc.send_timeout)
    return True


cdef bint hold_again(Request* r) noexcept nogil:
    """Feed the client from disk; the end of the answer when that was all. False: the exchange has ended."""
    cdef Conn* c = r.client
    if not hold_feed(r):
        return False
    if c.out != NULL or spool_left(r.hold):
        return True
    if r.flags & RQ_ANSWERED:
        timer_clear(&c.timer)
        http_done(r)
        return False
    if r.up != NULL and r.up.state == S_BUSY:
        proxy_timers(r)
        if r.up.ready & R_READ:
            post(r.up)
    return True
