"""The end of a client connection behind its last answer: what the client still sends is read away first.

A close with unread bytes would be a reset, and the client might lose the answer. Bounded: 5 s of silence, 30 s in all.
"""


cdef void http_close(Conn* c, bint rest) noexcept nogil:
    """Close after an answer; when the client may still be sending, read that away first, or it would see a reset."""
    if not rest and c.inb == NULL and not c.ready & R_READ:
        conn_close(c)
        return
    if c.ready & R_HUP and c.inb == NULL and not rest:
        conn_close(c)
        return
    shutdown(c.fd, SHUT_WR)
    conn_state(c, S_LINGER)
    if c.inb != NULL:
        buf_free_chain(&loop.pool, c.inb)
        c.inb = NULL
    timer_set(&loop.wheel, &c.timer, loop.now + 5000)
    c.born = loop.now                   # lingering ends 30 s from here at the latest
    linger_read(c)


cdef void linger_read(Conn* c) noexcept nogil:
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
        if got <= 0 or loop.now - c.born > 30000:
            conn_close(c)
            return
        timer_set(&loop.wheel, &c.timer, loop.now + 5000)
    post(c)
