"""proxy_request_buffering on: a request's body is read whole before a server is chosen. Then its length is known, a slow
client holds no server, and another server can be asked with the same body.

    proxy_begin -> request_buffer_begin -> request_buffer_read ... -> up_start
        -> proxy_send: head, r.body -> request_buffer_file_up: r.body_file
    client_body_buffer_size is kept in r.body; a longer body lies in r.body_file, all of it
"""


cdef void proxy_begin(Request* r) noexcept nogil:
    """A proxied request whose head is whole, and what came of its body with it."""
    if r.loc.no_body or r.loc.has_body:
        r.flags |= RQ_BODY_DROP
    if r.h.flags & H_EXPECT_100:
        request_expected(r)
    if not r.inb.done:
        if not request_streams(r) or r.flags & RQ_BODY_DROP:
            request_buffer_begin(r)
            return
    elif r.loc.body_file or r.inb.seen > r.loc.body_buffer:
        if not request_buffer_kept(r):
            return
    up_start(r)


cdef inline bint request_streams(Request* r) noexcept nogil:
    """proxy_request_buffering off. To a server of HTTP/1.0 a body of unknown length cannot go as it comes, nor in nginx."""
    return r.loc.stream_body and not (r.loc.http10 and r.inb.kind >= B_CHUNKED)


cdef void request_expected(Request* r) noexcept nogil:
    """100 Continue, once for a request: now, or when a server takes what still has to come. As nginx, though all has come."""
    r.h.flags &= ~H_EXPECT_100
    if not r.inb.done and r.body == NULL and request_streams(r) and not r.flags & RQ_BODY_DROP:
        r.flags |= RQ_CONTINUE
    else:
        request_send_continue(r)


cdef void request_send_continue(Request* r) noexcept nogil:
    cdef char room[64]
    cdef Message m
    message_begin(&m, r, r.client, room, sizeof(room))
    message_status(&m, 100, b"Continue", 8)
    m.to.enc.head(&m, HEAD_END)
    r.interim_n += message_front(&m)
    message_send_head(&m)


cdef bint request_buffer_kept(Request* r) noexcept nogil:
    """Move what is in memory to a file, where it belongs there. False: the request has got its 500."""
    cdef Buf* b = r.body
    if r.body_file != NULL or (not r.loc.body_file and r.inb.seen <= r.loc.body_buffer):
        return True
    if b == NULL and r.inb.kind == B_NONE and r.h.content_length < 0:
        return True                     # no body at all
    if request_streams(r) and not r.inb.done:
        return True
    r.body_file = temp_file_new(r, &r.loc.body_path, True)
    if r.body_file == NULL:
        request_body_refused(r, 500)
        return False
    r.body_file.keep = r.loc.body_file == BODY_FILE_ON
    while b != NULL:
        if not temp_file_write(r, r.body_file, buf_data(b) + b.off, buf_len(b)):
            request_body_refused(r, 500)
            return False
        b = b.next
    if r.body != NULL:
        buf_free_chain(&loop.pool, r.body)
        r.body = NULL
    return True


cdef void request_buffer_begin(Request* r) noexcept nogil:
    cdef Conn* c = r.client
    cdef Buf* b
    request_phase(r, PH_BODY)
    if debug_on(c):
        debug_number(c, b"http client request body: read whole first, bytes so far:", <int64_t> r.inb.seen)
    if not request_buffer_kept(r):
        return
    if (r.loc.single_buffer and r.body_file == NULL and r.inb.kind == B_LENGTH
            and <uint64_t> r.h.content_length <= r.loc.body_buffer):
        b = buf_new(&loop.pool, <uint32_t> r.h.content_length)
        if b != NULL and r.body != NULL:
            memcpy(buf_data(b), buf_data(r.body), r.body.end)
            b.end = r.body.end
            buf_free_chain(&loop.pool, r.body)
        if b != NULL:
            r.body = b
    timer_set(&loop.wheel, &c.timer, loop.now + r.loc.body_timeout)
    if c.ready & R_READ:
        request_buffer_read(r)


cdef void request_buffer_read(Request* r) noexcept nogil:
    """Read on, a bounded share of this turn; the whole body in hand, go for a server."""
    cdef Conn* c = r.client
    cdef int _i, rc
    for _i in range(8):
        if c.ready & R_ERR:
            request_body_left(r, b"while reading client request body")
            return
        if not c.ready & R_READ:
            return
        if r.body_file != NULL and temp_file_busy():     # our wait, not the client's
            timer_set(&loop.wheel, &c.timer, loop.now + r.loc.body_timeout)
            break
        rc = request_buffer_once(r)
        if rc < 0:
            return
        if rc == 0:
            break
        if r.inb.done:
            timer_clear(&c.timer)
            up_start(r)
            return
    if c.ready & R_READ:
        loop_post(c)


cdef int request_buffer_once(Request* r) noexcept nogil:
    """One read. 1: bytes came; 0: none now; -1: the exchange has ended."""
    cdef Conn* c = r.client
    cdef char* p = loop.scratch + HEADROOM
    cdef char* data
    cdef uint32_t used, n
    cdef ssize_t got = conn_recv(c, p, SCRATCH)
    if got == -1:
        return 0
    if got <= 0 and not request_body_ended(r, got):
        request_body_left(r, b"while reading client request body")
        return -1
    loop.st.bytes_in += got
    if not request_body_take(&r.inb, p, <uint32_t> got, &used, &data, &n):
        log_request(LOG_ERR, r, b"client sent invalid chunked body", 0, b"")
        request_body_refused(r, 400)
        return -1
    r.received += used
    if r.loc.max_body and r.inb.seen > <uint64_t> r.loc.max_body:
        log_body_large(r, r.inb.seen - n, n)
        request_body_refused(r, 413)
        return -1
    if used < got:
        conn_keep(c, p + used, <uint32_t> got - used)
    if debug_on(c):
        debug_number(c, b"http client request body: bytes so far:", <int64_t> r.inb.seen)
    if not request_buffer_keep(r, data, n):
        return -1
    timer_set(&loop.wheel, &c.timer, loop.now + r.loc.body_timeout)
    return 1


cdef bint request_buffer_keep(Request* r, const char* p, uint32_t n) noexcept nogil:
    """Bytes of the body into memory or the file. False: 500."""
    cdef Buf* b
    if not request_buffer_kept(r):
        return False
    if r.body_file != NULL:
        if temp_file_write(r, r.body_file, p, n):
            return True
    else:
        b = buf_append(&loop.pool, r.body, p, n) if n else r.body
        if b != NULL or n == 0:
            r.body = b
            return True
    request_body_refused(r, 500)
    return False


cdef bint request_buffer_send(Request* r) noexcept nogil:
    """The blocks of r.body behind the first (which left with the head). False: the connection failed."""
    cdef Buf* b = r.body.next
    while b != NULL:
        if not conn_send(r.up, buf_data(b) + b.off, buf_len(b)):
            return False
        b = b.next
    return True


cdef bint request_buffer_file_up(Request* r) noexcept nogil:
    """The body from its file to the server, as fast as that takes it. False: the exchange has taken another turn."""
    cdef Conn* u = r.up
    cdef char* p = loop.scratch + HEADROOM
    cdef uint32_t n
    cdef int _i
    for _i in range(4):
        if u.out != NULL or not temp_file_left(r.body_file):
            break
        n = temp_file_read(r, r.body_file, p, SCRATCH)
        if n == 0:
            request_body_refused(r, 500)
            return False
        if not conn_send(u, p, n):
            return request_body_unwanted(r)
    proxy_timers(r)
    if u.out == NULL and temp_file_left(r.body_file):
        loop_post(u)
    return True


# ---- a body that nobody wants

cdef bint request_may_discard(Request* r) noexcept nogil:
    """Can the rest of the body be read away behind the answer, so that the connection lives on? Not where the client waits for
    100 Continue, nor where part of the body is with a server. A stream of HTTP/2 needs none of that."""
    if r.flags & RQ_CONTINUE or r.h.flags & H_EXPECT_100 or r.client.h2 != NULL:
        return False
    return r.flags & RQ_KEEP and r.up_first == 0 and r.inb.kind != B_NONE


cdef void request_discard_begin(Request* r) noexcept nogil:
    """The answer was sent and logged: read the rest, for lingering_time and within client_max_body_size, then go on."""
    request_phase(r, PH_DISCARDING)
    r.client.born = loop.now
    r.client.loc = r.loc
    lingering_on(r.client)
    request_discard_read(r)


cdef void request_discard_read(Request* r) noexcept nogil:
    cdef Conn* c = r.client
    cdef char* p = loop.scratch + HEADROOM
    cdef char* data
    cdef uint32_t used = 0, n = 0
    cdef ssize_t got
    cdef int _i
    for _i in range(8):
        if not c.ready & R_READ:
            return
        got = conn_recv(c, p, SCRATCH)
        if got == -1:
            return
        if got <= 0 or not lingering_on(c) or not request_body_take(&r.inb, p, <uint32_t> got, &used, &data, &n) or (
                r.loc.max_body and r.inb.seen > <uint64_t> r.loc.max_body):
            request_free(r)
            lingering_close(c, True)
            return
        loop.st.bytes_in += got
        if used < got:
            conn_keep(c, p + used, <uint32_t> got - used)
        if r.inb.done:
            request_next(r)
            return
    loop_post(c)
