"""proxy_buffering on: a server is not held up by a client that reads slowly. Only when the client blocks does anything wait:
up to proxy_buffers in memory (Conn.out), then up to proxy_max_temp_file_size on disk (Request.hold); then the server waits.

    answer_out: to the client at once | Conn.out | r.hold        http_event, http_flush -> hold_feed: r.hold to the client

While bytes lie in r.hold all later ones go there too, so that their order stays. A static file (file.pyx) is sent the same way:
it is an r.hold that is whole from the start.
"""

cdef enum:
    HOLD_SHARE = 262144         # bytes of one sendfile: four of them are a connection's share of a turn


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
        if not spool_write(r, r.hold, loop.scratch, <uint32_t> got):
            return False
    pipe_give(u)
    u.flags &= ~CF_BULK
    return True


cdef bint hold_feed(Request* r) noexcept nogil:
    """From disk to the client, a bounded share of this turn. False: the exchange has ended."""
    cdef Conn* c = r.client
    cdef ssize_t got
    cdef int _i
    for _i in range(4):
        if c.out != NULL or not c.ready & R_WRITE or not spool_left(r.hold):
            break
        got = hold_send(c, r.hold)
        if got == -1:
            http_broken(c)
            return False
        if got == 0 and c.ready & R_WRITE:
            log_request(LOG_ERR, r, b"sendfile() reported that a file ends before its length", 0, b"")
            proxy_cut(r)
            return False
    if not spool_left(r.hold) and not hold_end(r):
        http_broken(c)
        return False
    if c.ready & R_WRITE and c.out == NULL and spool_left(r.hold):
        post(c)
    timer_set(&loop.wheel, &c.timer, loop.now + r.loc.send_timeout)
    return True


cdef ssize_t hold_send(Conn* c, Spool* s) noexcept nogil:
    """Once from file to socket. Bytes; 0: the socket takes none now, or (with R_WRITE up) the file has ended; -1: failed."""
    cdef int64_t at = s.at
    cdef uint64_t left = s.size - s.at
    cdef ssize_t got = sendfile(c.fd, s.fd, &at, left if left < HOLD_SHARE else HOLD_SHARE)
    if got >= 0:
        s.at += got
        c.put += got
        return got
    if errno != EAGAIN and errno != EINTR:
        c.flags |= CF_FAILED
        c.ready &= ~R_WRITE
        return -1
    c.ready &= ~R_WRITE
    return 0


cdef bint hold_end(Request* r) noexcept nogil:
    """All of the file is on its way: a temporary one begins anew. False: the client's connection failed."""
    cdef Spool* s = r.hold
    if not s.ours:
        if s.size:
            s.at = s.size = 0
            ftruncate(s.fd, 0)
    elif s.chunked:
        s.chunked = 0
        memcpy(loop.heads, b"\r\n", 2)
        return conn_send(r.client, loop.heads, 2 + last_chunk(r, loop.heads + 2, TAILROOM))
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
