"""The client's body on its way to the server: framed anew, read only while the server takes it.

    request_body_first: what came with the head (kept for a retry) -> request_body_up: read by read
        -> request_body_splice: a long one
        bad framing, too large -> request_body_refused;  the server takes no more -> request_body_unwanted (it may have answered)

Both message bodies, requests' and answers', are consumed by request_body_take.
"""


cdef int request_body_first(Request* r, char* rest, uint32_t n) noexcept nogil:
    """What came with the head: the first of the body is kept in r.body, what follows the request in the connection."""
    cdef uint32_t used = 0, data_n = 0
    cdef char* data = rest
    if not r.inb.done and n:
        if not request_body_take(&r.inb, rest, n, &used, &data, &data_n):
            log_request(LOG_ERR, r, b"client sent invalid chunked body", 0, b"")
            return 400
        r.received += used
        if data_n:
            r.body = buf_copy(&loop.pool, data, data_n)
            if r.body == NULL:
                return 500
    client_keep_rest(r.client, rest + used, n - used)
    return 0


cdef bint request_body_take(Body* b, char* p, uint32_t n, uint32_t* used, char** data, uint32_t* data_n) noexcept nogil:
    """Consume body bytes from p: `used` of them, the body's own at `data` (in p, decoded in place). False: bad framing."""
    cdef int rc
    used[0] = 0
    data[0] = p
    data_n[0] = 0
    if b.kind == B_LENGTH:
        used[0] = n if n < b.left else <uint32_t> b.left
        data_n[0] = used[0]
        b.left -= used[0]
        b.done = b.left == 0
    elif b.kind == B_CHUNKED:
        rc = chunk_decode(&b.ch, p, n, used, data_n)
        if rc == P_BAD:
            return False
        b.done = rc == P_DONE
    elif b.kind >= B_CLOSE:
        used[0] = data_n[0] = n
    b.seen += data_n[0]
    b.raw += used[0]
    return True


cdef inline bint request_body_ended(Request* r, ssize_t got) noexcept nogil:
    """Is what conn_recv says, without bytes, the end of a body of unknown length?"""
    if r.inb.kind != B_STREAM or got != IO_END:
        return False
    r.inb.done = 1
    return True


# ---- after the head went out

cdef void request_body_up(Request* r) noexcept nogil:
    """Read on while the server takes what is read; a few reads at most."""
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    cdef int _i
    cdef bint moved = False
    if c.ready & R_ERR:                 # gone both ways: nobody is left to answer to
        request_body_left(r, b"while sending request to upstream")
        return
    if r.phase not in (PH_READING_HEAD, PH_READING_BODY) or r.flags & RQ_BODY_OFF:
        return
    for _i in range(4):
        if u.out != NULL or c.pipe != NULL or c.flags & CF_BULK or not c.ready & R_READ or r.inb.done:
            break
        if not request_body_up_once(r):
            return
        moved = True
    if (c.pipe != NULL or c.flags & CF_BULK) and not request_body_splice(r):
        return
    if moved:
        proxy_timers(r)
    if c.ready & R_READ and not r.inb.done and u.out == NULL and c.pipe == NULL:
        loop_post(c)


cdef bint request_body_up_once(Request* r) noexcept nogil:
    """One read of body, one send. False: the exchange has taken another turn."""
    cdef Conn* c = r.client
    cdef char* p = loop.scratch + HEADROOM
    cdef char* data
    cdef uint32_t used, n
    cdef ssize_t got = conn_recv(c, p, SCRATCH)
    if got == -1:
        return True
    if got <= 0 and not request_body_ended(r, got):
        request_body_left(r, b"while sending request to upstream")
        return False
    loop.st.bytes_in += got
    if not request_body_take(&r.inb, p, <uint32_t> got, &used, &data, &n):
        log_request(LOG_ERR, r, b"client sent invalid chunked body", 0, b"")
        request_body_refused(r, 400)
        return False
    r.received += used
    if r.loc.max_body and r.inb.seen > <uint64_t> r.loc.max_body:
        log_body_large(r, r.inb.seen - n, n)
        request_body_refused(r, 413)
        return False
    if used < got:
        conn_keep(c, p + used, <uint32_t> got - used)
    if not r.flags & RQ_BODY_DROP:
        r.flags |= RQ_NO_REPLAY
    if not request_body_send(r, data, n):
        return request_body_unwanted(r)
    if r.inb.kind == B_LENGTH and r.inb.left >= SPLICE_LEAST and not r.flags & RQ_BODY_DROP and splice_allowed(c, r.up):
        c.flags |= CF_BULK
    return True


cdef bint request_body_splice(Request* r) noexcept nogil:
    """A long body of known length by splice. False: the exchange has taken another turn."""
    cdef Conn* c = r.client
    cdef int64_t took, gave
    cdef int rc
    if r.up.out != NULL:
        return True
    rc = splice_move(c, r.up, r.inb.left, &took, &gave)
    r.inb.left -= took
    r.inb.seen += took
    r.received += took
    loop.st.bytes_in += took
    if r.inb.left == 0 and c.pipe == NULL:
        r.inb.done = 1
        c.flags &= ~CF_BULK
    elif rc == SPLICE_MORE:
        loop_post(c)
    elif rc == SPLICE_EOF or rc == SPLICE_BROKEN_FROM:
        request_body_left(r, b"while sending request to upstream")
        return False
    elif rc == SPLICE_BROKEN_TO:
        return request_body_unwanted(r)
    elif rc == SPLICE_NO_PIPE and not request_body_up_once(r):
        return False
    if took or gave or rc == SPLICE_NO_PIPE:
        proxy_timers(r)
    return True


cdef void request_body_left(Request* r, const char* phase) noexcept nogil:
    """The client has left within its body."""
    log_request(LOG_INFO, r, b"client prematurely closed connection", 0, phase)
    client_left(r, 499 if r.inb.done else 400)


cdef bint request_body_unwanted(Request* r) noexcept nogil:
    """The server takes no more of the body: it may have answered before it closed. Always False."""
    r.flags = (r.flags & ~RQ_KEEP) | RQ_BODY_OFF
    r.up.ready |= R_READ
    proxy_read(r)
    return False


cdef bint request_body_send(Request* r, char* data, uint32_t n) noexcept nogil:
    """Body bytes to the server, framed as its head said; room lies before and behind `data`."""
    cdef Message m
    cdef char front[FRAME_ROOM]
    if r.flags & RQ_BODY_DROP:          # the head that went out says so: more bytes would be the next request
        return True
    message_begin(&m, r, r.up, front, FRAME_ROOM)
    m.framing = r.inb.out
    message_frame(&m, n, r.inb.done, data + n, TAILROOM)
    return message_send(&m, data, n)


cdef void request_body_refused(Request* r, int status) noexcept nogil:
    """The client's body breaks a rule after part of it went out: the server sees a break, the client the status."""
    r.flags &= ~RQ_KEEP
    r.inb.done = 0
    if r.flags & RQ_STARTED:
        client_break_off(r)
        return
    up_abandon(r)
    reply_status(r, status)
