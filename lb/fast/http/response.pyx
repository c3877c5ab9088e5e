"""The server's answer, from its head to its last byte, written anew from what was parsed.

    proxy_read -> response_head (1xx are dropped) -> response_framing -> response_body: head and first body in one send to the
        client, then read by read -> response_done

The answer is read into the scratch buffer behind HEADROOM, so that the new head (or a chunk's size) is put in front of the
body where it lies.
"""

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
    r.up_status = h.status
    r.up_header = loop.now - r.up_start
    stats_head(r)
    if debug_on(r.client):
        debug_response(r, p - h.size, &h)
    if (h.status >= 403 and r.settings.next.mask > NX_INVALID
            and up_may_retry(r, up_next_bit(WHY_STATUS, h.status), False)):
        up_failed(r, WHY_STATUS)
        return False
    peer_time_seen(r, TIMED_HEADER, r.up_header)
    if unlikely(r.peer.health != NULL) and h.status < 500:
        health_served(r.peer, loop.now)
    request_phase(r, PH_READING_BODY)
    if r.loc.uses & USES_UP_HEAD:
        response_keep_head(r, p - h.size, &h)
    if r.stuck != NULL:
        sticky_head_came(r, p - h.size, &h)
    if h.status >= 300 and r.loc.intercept_errors and redirect_error_page_for(r.loc, h.status) != NULL:
        if not r.loc.uses & USES_UP_HEAD:       # another location will make the answer: its values may use this head
            response_keep_head(r, p - h.size, &h)
        peer_ok(r.peer)
        if r.stuck != NULL:
            sticky_answered(r)
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
    cdef bint unread = False
    r.status = r.err_status if r.err_status else h.status
    r.flags &= ~<uint64_t> RQ_UP_KEEP   # what a server before it has said
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
    r.outb.out = r.outb.kind
    if r.loc.gzip != NULL and (r.outb.kind != B_NONE or r.h.method == M_HEAD):
        gzip_response(r, head, h)
    if r.outb.kind >= B_CHUNKED or (r.outb.kind == B_LENGTH and (r.filters != NULL or header_has_trailers(r))):
        if r.h.minor and not r.loc.no_chunks:
            r.outb.out = B_CHUNKED
        else:
            r.outb.out = B_CLOSE
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
        log_chunks(r, p[used])
        return response_broken(r, h != NULL)
    if used < n:
        response_excess(r)
    message_begin(&m, r, r.client, loop.heads, loop.heads_room)
    m.status = r.status
    m.framing = r.outb.out
    if h != NULL:
        response_write_head(&m, p - h.size, h)
        if r.flags & RQ_GAVE_UP:
            return response_given_up(r)
        if message_full(&m):
            log_try(r, b"answer head too large", 0, b"while reading response header from upstream")
            return response_broken(r, True)
        if debug_on(r.client):
            debug_lines(r.client, b"http response:", m.begin, <uint32_t> (m.front.p - m.begin))
    r.flags |= RQ_STARTED
    if r.stuck != NULL and r.outb.done:     # before the client has it: its next request may come to another worker
        sticky_answered(r)
    flow = FLOW_LAST if r.outb.done else FLOW_MORE if h == NULL and r.up.ready & R_READ else FLOW_FLUSH
    if not filter_run(&m, data, len, flow):
        response_unsent(r)
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


cdef bint response_given_up(Request* r) noexcept nogil:
    """Of a head that is to be written a value is not known (regex_gave_up): 500 for the server's answer. Always False."""
    peer_ok(r.peer)
    up_abandon(r)
    up_try_add(r, r.peer)
    memset(&r.outb, 0, sizeof(Body))
    r.flags &= ~<uint64_t> RQ_HOLD
    reply_status(r, 500)
    return False


cdef bint response_broken(Request* r, bint unsent) noexcept nogil:
    """The answer cannot be passed on: 502 while nothing was sent, else the client sees the break. Always False."""
    if unsent:
        if r.coded:
            filter_reset(r)
        memset(&r.outb, 0, sizeof(Body))        # the next server's body is decoded from its start
        up_failed(r, WHY_INVALID)
        return False
    peer_fail(r)
    client_break_off(r)
    return False


cdef void response_unsent(Request* r) noexcept nogil:
    """filter_run has failed: the client's connection, or the disk, behind what waits already."""
    if r.client.flags & CF_FAILED:
        client_broken(r.client)
        return
    if r.filters != NULL:
        filter_reset(r)
    client_break_off(r)


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
