"""The connection to the server: our request out, its answer in while the client takes it (what the answer is: response.pyx).

    proxy_send: head and first body in one send -> proxy_event -> proxy_read -> response_head | response_body | proxy_splice
                                                                             -> proxy_ended

One read at most waits for a slow client: then the server is not read.
"""

cdef enum:
    SET_BODY_ROOM = 64          # of a head: its framing and end


cdef bint proxy_beside(Request* r) noexcept nogil:
    """proxy_pass with a path under a location without a final slash: does what follows the prefix lead beside that path?

    location /api { proxy_pass http://b/v1/; }: /api../x would be /v1/../x. With http://b/v1, /api-x would be /v1-x.
    """
    cdef Str uri = r.proxy_uri, prefix = r.loc.pattern
    cdef char* rest = r.uri + prefix.n
    if uri.n == 0 or r.flags & RQ_NO_LOCATION or prefix.n == 0 or prefix.n >= r.uri_len or prefix.p[prefix.n - 1] == c"/":
        return False
    if memchr(uri.p, c"?", uri.n) != NULL:      # it goes on in a query
        return False
    if rest[0] != c"/" and uri.p[uri.n - 1] != c"/":
        return True
    return accel_path_climbs(rest, r.uri_len - prefix.n)


cdef void proxy_send(Request* r) noexcept nogil:
    """Write and send the request: on a new connection, or once more to the next server."""
    cdef Message m
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    cdef bint ok
    if r.body_file != NULL:
        r.body_file.at = r.body_file.size if r.flags & RQ_BODY_DROP else 0
    message_begin(&m, r, u, loop.heads, HEADS)
    proxy_write_head(&m)
    if r.flags & RQ_GAVE_UP:
        up_abandon(r)
        reply_status(r, 500)
        return
    if m.front.full:
        log_request(LOG_ERR, r, b"request head too large for the upstream", 0, b"")
        up_abandon(r)
        reply_status(r, 431)
        return
    if debug_on(c):
        debug_sent_up(r, m.begin, <uint32_t> (m.front.p - m.begin))
    request_phase(r, PH_READING_HEAD)
    ok = proxy_send_first(&m)
    proxy_timers(r)
    if not ok:                          # it may have answered before it closed
        u.ready |= R_READ
        proxy_read(r)
        return
    if u.ready & R_READ:                # it spoke before it was asked, and that came with "connected"
        loop_post(u)
    if r.inb.done:
        if temp_file_left(r.body_file):
            request_buffer_file_up(r)
        return
    if r.flags & RQ_CONTINUE:
        r.flags &= ~RQ_CONTINUE
        request_send_continue(r)
    if c.ready & R_READ:
        request_body_up(r)


cdef void proxy_timers(Request* r) noexcept nogil:
    """After progress: a deadline for each side that is waited for, none for one that the other side holds up."""
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    cdef bint client_slow = u.pipe != NULL or response_held(r)
    cdef bint paused = u.pipe != NULL or not response_may_read_on(r)
    cdef bint server_slow = u.out != NULL or c.pipe != NULL
    cdef bint body_due = not r.inb.done and not r.flags & RQ_BODY_OFF
    if client_slow:
        timer_set(&loop.wheel, &c.timer, loop.now + r.loc.send_timeout)
    elif body_due and not server_slow:
        timer_set(&loop.wheel, &c.timer, loop.now + r.loc.body_timeout)
    else:
        timer_clear(&c.timer)
    if server_slow:
        timer_set(&loop.wheel, &u.timer, loop.now + r.loc.write_timeout)
    elif paused or (body_due and not r.flags & RQ_BODY_DROP):
        timer_clear(&u.timer)
    else:
        timer_set(&loop.wheel, &u.timer, loop.now + r.settings.read_timeout)


cdef void proxy_write_head(Message* m) noexcept nogil:
    """The request's head for the present server; behind it, the body of proxy_set_body."""
    cdef Request* r = m.r
    cdef Out body
    m.to.enc.head(m, HEAD_START)
    h1_request_fields(&m.front, r, &loop.env)
    if r.loc.has_body:                  # its length is known when it is written: behind room for the end of the head
        if m.front.end - m.front.p < SET_BODY_ROOM:
            m.front.full = 1
            return
        out_init(&body, m.front.p + SET_BODY_ROOM, <uint32_t> (m.front.end - m.front.p - SET_BODY_ROOM))
        var_write_value(&body, r, &loop.env, &r.loc.body)
        m.front.full |= body.full
        m.length = body.p - m.front.p - SET_BODY_ROOM
    elif not r.loc.no_body:
        proxy_framing(m)
    r.inb.out = m.framing
    m.to.enc.head(m, HEAD_FRAMING)
    m.to.enc.head(m, HEAD_END)
    if r.loc.has_body and not m.front.full:
        memmove(m.front.p, body.p - m.length, m.length)
        m.front.p += m.length


cdef void proxy_framing(Message* m) noexcept nogil:
    """How the client's body goes to the server."""
    cdef Request* r = m.r
    if r.inb.kind >= B_CHUNKED and not r.inb.done and not r.flags & RQ_BODY_DROP:
        m.framing = B_CHUNKED
        return
    m.length = <int64_t> r.inb.seen if r.inb.kind >= B_CHUNKED else r.h.content_length
    m.framing = B_LENGTH if m.length >= 0 else B_NONE


cdef bint proxy_send_first(Message* m) noexcept nogil:
    """The head, and the body that came with the client's head."""
    cdef Request* r = m.r
    cdef char behind[FRAME_ROOM]
    cdef char* at = m.front.p
    cdef uint32_t n
    if r.body == NULL or r.flags & RQ_BODY_DROP:
        return conn_send(m.to, m.begin, message_front(m))
    n = buf_len(r.body)
    if n + 2 * FRAME_ROOM <= <size_t> (m.front.end - at):
        message_frame(m, n, False, behind, sizeof(behind))
        return message_send_copy(m, buf_data(r.body) + r.body.off, n) and (r.body.next == NULL or request_buffer_send(r))
    if not conn_send(m.to, m.begin, message_front(m)):
        return False
    if r.inb.done:                      # all of it is in memory
        return conn_send(m.to, buf_data(r.body) + r.body.off, n) and request_buffer_send(r)
    memcpy(loop.scratch + HEADROOM, buf_data(r.body), n)
    return request_body_send(r, loop.scratch + HEADROOM, n)


cdef void proxy_event(Request* r) noexcept nogil:
    cdef Conn* u = r.up
    cdef int rc
    if u.out != NULL and u.ready & R_WRITE:
        rc = conn_flush(u)
        if rc < 0:
            u.ready |= R_READ           # it may have answered before it closed
        elif rc == 1:
            proxy_timers(r)
            if not r.inb.done:
                request_body_up(r)
                if u.req != r:
                    return
            elif temp_file_left(r.body_file) and not request_buffer_file_up(r):
                return
        else:
            timer_set(&loop.wheel, &u.timer, loop.now + r.loc.write_timeout)
    elif r.client.pipe != NULL and u.ready & R_WRITE:
        request_body_up(r)
        if u.req != r:
            return
    elif temp_file_left(r.body_file) and u.out == NULL and not request_buffer_file_up(r):
        return
    if u.ready & R_READ:
        proxy_read(r)


cdef void proxy_read(Request* r) noexcept nogil:
    """Read the answer, a few reads at most, as long as the client takes it."""
    cdef Conn* u = r.up
    cdef Conn* c = r.client
    cdef char* p = loop.scratch + HEADROOM
    cdef uint32_t n
    cdef ssize_t got
    cdef int _i
    if u.pipe != NULL or u.flags & CF_BULK:
        proxy_splice(r)
        return
    for _i in range(4):
        if not u.ready & R_READ or not response_may_read_on(r):
            return
        n = 0
        if u.inb != NULL:
            n = buf_len(u.inb)
            memcpy(p, buf_data(u.inb) + u.inb.off, n)
        got = conn_recv(u, p + n, SCRATCH - n if r.phase == PH_READING_BODY else FIRST_READ)
        if got == -1:
            if r.filters != NULL and response_body(r, NULL, p, 0):      # what a filter holds back must not wait for more
                proxy_timers(r)
            return
        if got <= 0:
            proxy_ended(r, got == 0)
            return
        if u.inb != NULL:
            buf_free(&loop.pool, u.inb)
            u.inb = NULL
        n += <uint32_t> got
        if not (response_body(r, NULL, p, n) if r.phase == PH_READING_BODY else response_head(r, p, n)):
            return
        proxy_timers(r)
        if r.outb.out == B_LENGTH and r.outb.left >= SPLICE_LEAST and splice_allowed(u, c) and not response_held(r):
            u.flags |= CF_BULK
            proxy_splice(r)
            return
    if u.ready & R_READ and response_may_read_on(r):
        loop_post(u)


cdef bint proxy_splice(Request* r) noexcept nogil:
    """A long answer of known length by splice. False: the exchange has ended."""
    cdef Conn* u = r.up
    cdef Conn* c = r.client
    cdef int64_t took, gave
    cdef int rc
    if response_held(r):
        return True
    rc = splice_move(u, c, r.outb.left, &took, &gave)
    r.outb.left -= took
    r.outb.seen += took
    r.outb.raw += took
    if rc == SPLICE_WAIT and u.pipe != NULL and r.flags & RQ_HOLD and r.loc.temp_max:
        if not response_buffer_pipe(r):
            client_break_off(r)
            return False
        if u.pipe == NULL and r.outb.left:
            loop_post(u)
    if r.outb.left == 0 and u.pipe == NULL:
        r.outb.done = 1
        u.flags &= ~CF_BULK
        if r.stuck != NULL:
            sticky_answered(r)
        response_done(r)
        return False
    if rc == SPLICE_EOF or rc == SPLICE_BROKEN_FROM:
        proxy_ended(r, rc == SPLICE_EOF)
        return False
    if rc == SPLICE_BROKEN_TO:
        client_broken(c)
        return False
    if rc == SPLICE_MORE:
        loop_post(u)
    if rc == SPLICE_NO_PIPE:
        loop_post(u)
    if took or gave:                    # a stalled client gets no more time when only the server moves
        proxy_timers(r)
    return True


cdef void proxy_ended(Request* r, bint clean) noexcept nogil:
    """The server closed (clean) or broke the connection."""
    cdef bint fresh = r.phase == PH_READING_HEAD
    if not fresh and clean and r.outb.kind == B_CLOSE:
        r.outb.done = 1
        r.flags &= ~RQ_UP_KEEP
        response_body(r, NULL, loop.scratch + HEADROOM, 0)
        return
    if fresh:
        if not r.flags & RQ_REUSED or not up_may_retry(r, NX_ERROR, True):
            log_try(r, b"upstream prematurely closed connection" if clean else b"recv() failed",
                    0 if clean else ECONNRESET, b"while reading response header from upstream")
        up_failed(r, WHY_BROKEN)
        return
    log_try(r, b"upstream prematurely closed connection" if clean else b"recv() failed", 0 if clean else ECONNRESET,
            b"while reading upstream")
    peer_fail(r)
    client_break_off(r)
