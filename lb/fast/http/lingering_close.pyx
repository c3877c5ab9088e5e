"""The end of a client connection behind its last answer: what the client still sends is read away first.

A close with unread bytes would be a reset, and the client might lose the answer. Bounded by the location of the last exchange
(Conn.loc): lingering_timeout of silence, lingering_time in all; a TCP session has nginx's defaults. lingering_close may say
that it is never done, or after every last answer.
"""

cdef enum:
    LINGERING_TIMEOUT = 5000
    LINGERING_TIME = 30000


cdef void lingering_close(Conn* c, bint rest) noexcept nogil:
    """Close after an answer; when the client may still be sending (`rest`: it is), read that away first."""
    cdef int how = LINGER_ON if c.loc == NULL else c.loc.linger
    cdef bint quiet = not rest and c.inb == NULL
    if (how == LINGER_OFF or c.kind == K_STREAM or (quiet and c.ready & R_HUP)
            or (quiet and how == LINGER_ON and not c.ready & R_READ)):
        conn_close(c)
        return
    if debug_on(c):
        debug_number(c, b"lingering close, bytes unread:", buf_len(c.inb) if c.inb != NULL else 0)
    c.io.shutdown(c)
    conn_state(c, S_LINGERING)
    if c.inb != NULL:
        buf_free_chain(&loop.pool, c.inb)
        c.inb = NULL
    c.born = loop.now                   # when lingering began
    lingering_on(c)
    lingering_read(c)


cdef bint lingering_on(Conn* c) noexcept nogil:
    """The deadline of the next silence, within that of lingering itself. False: that is past."""
    cdef int64_t left = c.born - loop.now + (LINGERING_TIME if c.loc == NULL else c.loc.linger_time)
    cdef int64_t silence = LINGERING_TIMEOUT if c.loc == NULL else c.loc.linger_timeout
    if left <= 0:
        return False
    timer_set(&loop.wheel, &c.timer, loop.now + (left if left < silence else silence))
    return True


cdef void lingering_read(Conn* c) noexcept nogil:
    cdef ssize_t got
    cdef int _i
    if c.ready & R_ERR:
        conn_close(c)
        return
    for _i in range(16):
        if not c.ready & R_READ:
            return
        got = conn_recv(c, loop.scratch, SCRATCH)
        if got == -1:
            return
        if got <= 0 or not lingering_on(c):
            conn_close(c)
            return
    loop_post(c)
