"""The server side of HTTP/1: our request out, its answer in, both written anew from what was parsed.

    proxy_send: head and first body in one send -> proxy_event -> proxy_read -> response_head (1xx are dropped)
        -> response_body: head and first body in one send to the client, then read by read -> response_done

The answer is read into the scratch buffer behind HEADROOM, so that the new head (or a chunk's size) is put in front of the
body where it lies. One read at most waits for a slow client: then the server is not read.
"""

cdef enum:
    SET_BODY_ROOM = 64          # of a head: its framing and end


# ---- request

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
    if m.front.full:
        log_request(LOG_ERR, r, b"request head too large for the upstream", 0, b"")
        up_abandon(r)
        reply_status(r, 431)
        return
    r.flags |= RQ_SENT
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
        timer_set(&loop.wheel, &u.timer, loop.now + r.loc.read_timeout)


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
    if r.inb.kind == B_CHUNKED and not r.inb.done and not r.flags & RQ_BODY_DROP:
        m.framing = B_CHUNKED
        return
    m.length = <int64_t> r.inb.seen if r.inb.kind == B_CHUNKED else r.h.content_length
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
        if not message_send_copy(m, buf_data(r.body) + r.body.off, n):
            return False
        return r.body.next == NULL or request_buffer_send(r)
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
    elif temp_file_left(r.body_file) and u.out == NULL and r.flags & RQ_SENT and not request_buffer_file_up(r):
        return
    if u.ready & R_READ:
        proxy_read(r)


# ---- answer

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
        got = conn_recv(u, p + n, SCRATCH - n if r.flags & RQ_UP_HEAD else FIRST_READ)
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
        if not (response_body(r, NULL, p, n) if r.flags & RQ_UP_HEAD else response_head(r, p, n)):
            return
        proxy_timers(r)
        if r.outb.out == B_LENGTH and r.outb.left >= SPLICE_LEAST and splice_allowed(u, c) and not response_held(r):
            u.flags |= CF_BULK
            proxy_splice(r)
            return
    if u.ready & R_READ and response_may_read_on(r):
        loop_post(u)


cdef bint proxy_splice(Request* r) noexcept nogil:
    """A long answer of known length through the pump. False: the exchange has ended."""
    cdef Conn* u = r.up
    cdef Conn* c = r.client
    cdef int64_t took, gave
    cdef int rc
    if response_held(r):
        return True
    rc = splice_move(u, c, r.outb.left, &took, &gave)
    r.outb.left -= took
    r.outb.seen += took
    r.sent += gave
    r.body_sent += gave
    if rc == SPLICE_WAIT and u.pipe != NULL and r.flags & RQ_HOLD and r.loc.temp_max:
        if not response_buffer_pipe(r):
            client_cut(r)
            return False
        if u.pipe == NULL and r.outb.left:
            loop_post(u)
    if r.outb.left == 0 and u.pipe == NULL:
        r.outb.done = 1
        u.flags &= ~CF_BULK
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
    cdef bint fresh = not r.flags & RQ_UP_HEAD
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
    client_cut(r)


cdef bint response_head(Request* r, char* p, uint32_t n) noexcept nogil:
    """Parse the head of the answer, over any 1xx before it. True: read on."""
    cdef Head h
    cdef int rc
    while True:
        h.fields = loop.fields
        h.max_fields = loop.max_fields
        rc = head_parse_response(p, n if n < r.loc.head_max else r.loc.head_max, &h)
        if rc == P_MORE and n < r.loc.head_max:
            if n:
                conn_keep(r.up, p, n)
            return True
        if rc == P_DONE and h.status == 101 and upgrade_switched(r, p, &h):
            upgrade_begin(r, p, &h, p + h.size, n - h.size)
            return False
        if rc == P_DONE and h.status == 103 and r.loc.nhints and upgrade_hints_wanted(r):
            upgrade_hints_pass(r, p, &h)
        if rc != P_DONE or h.status == 101:
            log_invalid(r, &h, rc == P_MORE)
            up_failed(r, WHY_INVALID)
            return False
        p += h.size
        n -= h.size
        if h.status >= 200:
            break
        r.interim += 1
        if r.interim > INTERIM_MOST:
            log_try(r, b"upstream sent too many interim responses", 0, b"while reading response header from upstream")
            up_failed(r, WHY_INVALID)
            return False
    r.up_status = h.status
    r.up_header = loop.now - r.up_start
    stats_head(r)
    if h.status >= 403 and r.loc.next.mask > NX_INVALID and up_may_retry(r, up_next_bit(WHY_STATUS, h.status), False):
        up_failed(r, WHY_STATUS)
        return False
    r.flags |= RQ_UP_HEAD
    if r.loc.uses & USES_UP_HEAD:
        response_keep_head(r, p - h.size, &h)
    if h.status >= 300 and r.loc.intercept_errors and redirect_error_page_for(r.loc, h.status) != NULL:
        if r.up_text == NULL:           # another location will make the answer: its values may use this head
            response_keep_head(r, p - h.size, &h)
        peer_ok(r.peer)
        up_abandon(r)
        up_try_add(r, r.peer)
        if h.status == 401:
            response_keep_challenge(r, p - h.size, &h)
        reply_status(r, h.status)
        return False
    if r.loc.buffering:
        r.flags |= RQ_HOLD
    if h.flags & H_ACCEL and accel(r, p - h.size, &h, n):
        return False
    response_framing(r, p - h.size, &h)
    if r.err_status:
        response_status_shown(r, &h)
    return response_body(r, &h, p, n)


cdef void response_framing(Request* r, const char* head, Head* h) noexcept nogil:
    """How the answer's body is framed (RFC 9112 section 6.3), coming in and going out, and what it passes between."""
    r.status = r.err_status if r.err_status else h.status
    if r.h.method == M_HEAD or h.status == 204 or h.status == 304:
        r.outb.kind = B_NONE
        r.outb.done = 1
    elif h.flags & H_CHUNKED:
        r.outb.kind = B_CHUNKED
        if r.loc.pass_trailers or r.loc.uses & USES_UP_TRAILERS:
            r.outb.ch.keep = r.up_trailers = <char*> request_memory(r, TRAILER_MAX)
    elif h.content_length >= 0:
        r.outb.kind = B_LENGTH
        r.outb.left = h.content_length
        r.outb.done = h.content_length == 0
    else:
        r.outb.kind = B_CLOSE
    r.outb.out = r.outb.kind
    if r.loc.gzip != NULL and (r.outb.kind != B_NONE or r.h.method == M_HEAD):
        gzip_response(r, head, h)
    if r.outb.kind >= B_CHUNKED or (r.outb.kind == B_LENGTH and (r.filters != NULL or header_has_trailers(r))):
        if r.h.minor and not r.loc.no_chunks:
            r.outb.out = B_CHUNKED
        else:
            r.outb.out = B_CLOSE
            r.flags &= ~RQ_KEEP
    if r.outb.kind != B_CLOSE and not h.flags & H_CLOSE and (h.minor or h.flags & H_KEEP_ALIVE):
        r.flags |= RQ_UP_KEEP
    if not r.inb.done or loop.stopping:
        r.flags &= ~RQ_KEEP


cdef void response_status_shown(Request* r, Head* h) noexcept nogil:
    """Behind an redirect_error_page: its status, with a framing that fits it whatever the server's status was."""
    r.status = r.err_status
    if r.h.method != M_HEAD and h.status in (204, 304):
        h.content_length = 0
    h.status = r.err_status
    if r.err_status in (204, 304):
        if not r.outb.done:
            r.flags &= ~RQ_UP_KEEP
        r.outb.kind = B_NONE
        r.outb.done = 1
        r.outb.out = B_NONE
        h.content_length = -1


cdef bint response_body(Request* r, Head* h, char* p, uint32_t n) noexcept nogil:
    """Pass on what was read of the body, with the head in front of it when `h` is given. True: read on.

    Decoded in place -> filters -> response_pass: one send, the head in front of the body where it lies.
    """
    cdef Message m
    cdef char* data = p
    cdef uint32_t used = 0, len = 0
    cdef int flow
    if not r.outb.done and not request_body_take(&r.outb, p, n, &used, &data, &len):
        return response_broken(r, h != NULL)
    if used < n:
        response_excess(r)
    message_begin(&m, r, r.client, loop.heads, loop.heads_room)
    m.status = r.status
    m.framing = r.outb.out
    if h != NULL:
        response_write_head(&m, p - h.size, h)
        if message_full(&m):
            log_try(r, b"answer head too large", 0, b"while reading response header from upstream")
            return response_broken(r, True)
    r.flags |= RQ_STARTED
    flow = FLOW_LAST if r.outb.done else FLOW_MORE if h == NULL and r.up.ready & R_READ else FLOW_FLUSH
    if not filter_run(&m, data, len, flow):
        client_broken(r.client)
        return False
    if r.outb.done:
        response_done(r)
        return False
    return True


cdef void response_excess(Request* r) noexcept nogil:
    """More than the answer: nothing of it is used, nor the connection again."""
    r.flags &= ~RQ_UP_KEEP
    log_request(LOG_WARN, r, b"upstream sent more data than specified in \"Content-Length\" header" if r.outb.kind == B_LENGTH
                else b"upstream sent data after final chunk", 0, b"while reading upstream")


cdef bint response_broken(Request* r, bint unsent) noexcept nogil:
    """The answer's framing is bad: 502 while nothing was sent, else the client sees the break. Always False."""
    log_try(r, b"upstream sent invalid chunked response", 0, b"while reading upstream")
    if unsent:
        r.flags &= ~RQ_UP_HEAD
        if r.coded:
            filter_reset(r)
        memset(&r.outb, 0, sizeof(Body))        # the next server's body is decoded from its start
        up_failed(r, WHY_INVALID)
        return False
    peer_fail(r)
    client_cut(r)
    return False


cdef void response_done(Request* r) noexcept nogil:
    """The whole answer was read: give the server back, then see to the client."""
    cdef Conn* u = r.up
    cdef bint keep = (r.flags & RQ_UP_KEEP and r.inb.done and u.out == NULL and u.inb == NULL and not temp_file_left(r.body_file)
                      and not u.flags & CF_FAILED and up_quiet(u))
    peer_ok(r.peer)
    up_release(r, keep)
    request_answered(r)
