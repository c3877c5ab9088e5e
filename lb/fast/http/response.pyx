"""The server side of HTTP/1: our request out, its answer in, both written anew from what was parsed.

    proxy_send: head and first body in one send -> proxy_event -> proxy_read -> response_head (1xx are dropped)
        -> response_body: head and first body in one send to the client, then read by read -> response_done

The answer is read into the scratch buffer behind HEADROOM, so that the new head (or a chunk's size) is put in front of the
body where it lies. One read at most waits for a slow client: then the server is not read.
"""


# ---- request

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
    cdef Out o
    cdef Conn* c = r.client
    cdef Conn* u = r.up
    cdef bint ok
    r.inb.chunk_out = r.inb.kind == B_CHUNKED and not r.inb.done and not r.flags & RQ_BODY_DROP
    if r.body_file != NULL:
        r.body_file.at = r.body_file.size if r.flags & RQ_BODY_DROP else 0
    out_init(&o, loop.heads, HEADS)
    if not h1_request_head(&o, r, &loop.env):
        log_request(LOG_ERR, r, b"invalid method in \"proxy_method\"", 0, b"")
        r.flags |= RQ_GAVE_UP
    if r.flags & RQ_GAVE_UP:
        up_abandon(r)
        reply_status(r, 500)
        return
    if o.full:
        log_request(LOG_ERR, r, b"request head too large for the upstream", 0, b"")
        up_abandon(r)
        reply_status(r, 431)
        return
    if debug_on(c):
        debug_sent_up(r, loop.heads, <uint32_t> (o.p - loop.heads))
    r.flags |= RQ_SENT
    ok = proxy_send_first(r, &o)
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
        request_continue(r)
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


cdef bint proxy_send_first(Request* r, Out* o) noexcept nogil:
    """The head at loop.heads, and the body that came with the client's head."""
    cdef char* at = o.p
    cdef uint32_t n
    if r.body == NULL or r.flags & RQ_BODY_DROP:
        return conn_send(r.up, loop.heads, o.p - loop.heads)
    n = buf_len(r.body)
    if r.inb.chunk_out:
        out_hex(o, n)
        out_put(o, b"\r\n", 2)
    if n + 2 > <size_t> (o.end - o.p):
        o.p = at
        if not conn_send(r.up, loop.heads, o.p - loop.heads):
            return False
        if r.inb.done:                  # all of it is in memory
            return conn_send(r.up, buf_data(r.body) + r.body.off, n) and request_buffer_send(r)
        memcpy(loop.scratch + HEADROOM, buf_data(r.body), n)
        return request_body_send(r, loop.scratch + HEADROOM, n)
    out_put(o, buf_data(r.body), n)
    if r.inb.chunk_out:
        out_put(o, b"\r\n", 2)
    return conn_send(r.up, loop.heads, o.p - loop.heads) and (r.body.next == NULL or request_buffer_send(r))


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
        if r.outb.kind == B_LENGTH and r.outb.left >= SPLICE_LEAST and not r.outb.chunk_out and splice_allowed(u, c) and not response_held(r):
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
        if r.outb.chunk_out and not response_last(r):
            return
        response_done(r)
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
        h.lenient = r.loc.lenient
        rc = head_parse_response(p, n if n < r.loc.head_max else r.loc.head_max, &h)
        if h.lax & LX_BYTES and rc == P_DONE:
            response_clean_values(p, &h)
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
            log_invalid(r, &h, rc == P_MORE, rc == P_BAD and response_lenient_reads(p, n, &h))
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
    if debug_on(r.client):
        debug_response(r, p - h.size, &h)
    r.up_status = h.status
    r.up_header = loop.now - r.up_start
    stats_head(r)
    if h.status >= 403 and r.loc.next.mask > NX_INVALID and up_may_retry(r, up_next_bit(WHY_STATUS, h.status), False):
        up_failed(r, WHY_STATUS)
        return False
    peer_time_seen(r, TIMED_HEADER, r.up_header)
    r.flags |= RQ_UP_HEAD
    if r.loc.uses & USES_UP_HEAD:
        response_keep_head(r, p - h.size, &h)
    if h.status >= 300 and r.loc.intercept_errors and redirect_error_page_for(r.loc, h.status) != NULL:
        if not r.loc.uses & USES_UP_HEAD:       # another location will make the answer: its values may use this head
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
    response_framing(r, &h)
    if r.err_status:
        response_status_shown(r, &h)
    return response_body(r, &h, p, n)


cdef void response_framing(Request* r, Head* h) noexcept nogil:
    """How the answer's body is framed (RFC 9112 section 6.3), coming in and going out."""
    cdef bint unread = False
    r.status = h.status
    if r.flags & RQ_HEAD_SENT and r.h.method != M_HEAD:     # proxy_method: the client expects a body
        h.flags &= ~H_CHUNKED
        h.content_length = 0
        r.outb.kind = B_NONE
        r.outb.done = 1
    elif r.h.method == M_HEAD or h.status == 204 or h.status == 304:
        r.outb.kind = B_NONE
        r.outb.done = 1
        unread = r.h.method == M_HEAD and not r.flags & RQ_HEAD_SENT and not (h.status in (204, 304))
    elif h.flags & H_CHUNKED:
        r.outb.kind = B_CHUNKED
        r.outb.ch.lenient = r.loc.lenient != 0
        if r.loc.pass_trailers or r.loc.uses & USES_UP_TRAILERS:
            r.outb.ch.keep = r.up_trailers = <char*> request_memory(r, TRAILER_MAX)
    elif h.content_length >= 0:
        r.outb.kind = B_LENGTH
        r.outb.left = h.content_length
        r.outb.done = h.content_length == 0
    else:
        r.outb.kind = B_CLOSE
    if r.outb.kind >= B_CHUNKED or (r.outb.kind == B_LENGTH and header_has_trailers(r)):
        if r.h.minor and not r.loc.no_chunks:
            r.outb.chunk_out = 1
        else:
            r.flags &= ~RQ_KEEP
    if r.outb.kind != B_CLOSE and not unread and not h.flags & H_CLOSE and (h.minor or h.flags & H_KEEP_ALIVE):
        r.flags |= RQ_UP_KEEP
    if not r.inb.done or loop.stopping:
        r.flags &= ~RQ_KEEP


cdef void response_status_shown(Request* r, Head* h) noexcept nogil:
    """Behind an error_page: its status, with a framing that fits it whatever the server's status was."""
    r.status = r.err_status
    if r.h.method != M_HEAD and h.status in (204, 304):
        h.content_length = 0
    h.status = r.err_status
    if r.err_status in (204, 304):
        if not r.outb.done:
            r.flags &= ~RQ_UP_KEEP
        r.outb.kind = B_NONE
        r.outb.done = 1
        r.outb.chunk_out = 0
        h.content_length = -1


cdef bint response_body(Request* r, Head* h, char* p, uint32_t n) noexcept nogil:
    """Pass on what was read of the body, with the head in front of it when `h` is given. True: read on.

    One send: size of the chunk and head are put before the data in place, the end of the chunk behind it.
    """
    cdef Conn* c = r.client
    cdef Out o
    cdef char* data = p
    cdef uint32_t used = 0, len = 0, front
    if not r.outb.done:
        if not request_body_take(&r.outb, p, n, &used, &data, &len):
            log_chunks(r, p[used])
            return response_broken(r, h != NULL)
    if used < n:
        r.flags &= ~RQ_UP_KEEP          # more than the answer: nothing of it is used, nor the connection again
        log_request(LOG_WARN, r, b"upstream sent more data than specified in \"Content-Length\" header" if r.outb.kind == B_LENGTH
                    else b"upstream sent data after final chunk", 0, b"while reading upstream")
    out_init(&o, loop.heads, loop.heads_room)
    if h != NULL:
        response_write_head(&o, r, p - h.size, h)
        if r.flags & RQ_GAVE_UP:
            return response_given_up(r)
        if debug_on(c):
            debug_lines(c, b"http response:", loop.heads, <uint32_t> (o.p - loop.heads))
    front = <uint32_t> (o.p - loop.heads)
    if r.outb.chunk_out:
        len = response_chunk_wrap(r, &o, data, len)
        front = <uint32_t> (o.p - loop.heads)
    if o.full:
        log_try(r, b"answer head too large", 0, b"while reading response header from upstream")
        return response_broken(r, True)
    if front > data - loop.scratch:     # a head with very long values: by itself
        if not conn_send(c, loop.heads, front):
            client_broken(c)
            return False
    elif front:
        data -= front
        memcpy(data, loop.heads, front)
        len += front
    r.flags |= RQ_STARTED
    if len and not response_out(r, data, len):
        client_broken(c)
        return False
    if r.outb.done:
        response_done(r)
        return False
    return True


cdef bint response_given_up(Request* r) noexcept nogil:
    """Of a head that is to be written a value is not known (regex_gave_up): 500 for the server's answer. Always False."""
    peer_ok(r.peer)
    up_abandon(r)
    up_try_add(r, r.peer)
    memset(&r.outb, 0, sizeof(Body))
    r.flags &= ~<uint32_t> (RQ_HOLD | RQ_UP_HEAD)
    reply_status(r, 500)
    return False


cdef uint32_t response_chunk_wrap(Request* r, Out* o, char* data, uint32_t n) noexcept nogil:
    """Our own chunk around n bytes at data: its size into `o`, its end (and the last chunk) behind the data."""
    cdef uint32_t len = n
    if n:
        out_hex(o, n)
        out_put(o, b"\r\n", 2)
        memcpy(data + len, b"\r\n", 2)
        len += 2
    if r.outb.done:
        len += response_last_chunk(r, data + len, TAILROOM - 2)
    return len


cdef uint32_t response_last_chunk(Request* r, char* p, uint32_t room) noexcept nogil:
    """The last chunk with the server's trailers (proxy_pass_trailers) and those of add_trailer; its length."""
    cdef Out o
    memcpy(p, b"0\r\n\r\n", 5)
    if not header_has_trailers(r) and r.up_trailers == NULL:
        return 5
    out_init(&o, p + 3, room - 3)
    if r.loc.pass_trailers:
        h1_trailers(&o, r)
    if r.loc.header_filter != NULL:
        header_write_added(&o, r, &loop.env, r.loc.header_filter.trailers, r.loc.header_filter.ntrailers, False)
    if r.loc.uses & USES_SENT_TRAILERS:
        request_keep_sent_trailers(r, p + 3, <uint32_t> (o.p - p) - 3)
    out_put(&o, b"\r\n", 2)
    if o.full:
        log_request(LOG_ERR, r, b"trailers too large", 0, b"")
    if o.full or r.flags & RQ_GAVE_UP:  # too late for another status: what is not known is not said
        memcpy(p, b"0\r\n\r\n", 5)
        return 5
    return <uint32_t> (o.p - p)


cdef bint response_last(Request* r) noexcept nogil:
    """The last chunk by itself. False: the client has gone."""
    cdef uint32_t n = response_last_chunk(r, loop.heads, HEADS)
    if not response_out(r, loop.heads, n):
        client_broken(r.client)
        return False
    return True


cdef bint response_broken(Request* r, bint unsent) noexcept nogil:
    """The answer cannot be passed on: 502 while nothing was sent, else the client sees the break. Always False."""
    if unsent:
        r.flags &= ~RQ_UP_HEAD
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
    if debug_on(r.client):
        debug_number(r.client, b"http upstream response is whole, bytes of its body:", <int64_t> r.outb.seen)
    peer_ok(r.peer)
    up_release(r, keep)
    request_answered(r)
