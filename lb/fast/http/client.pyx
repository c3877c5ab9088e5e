"""The client side of HTTP/1: heads in, answers out, keep-alive, pipelining, and the end of a connection.

    S_NEW -> S_HEAD: client_read -> head_parse_request -> request_begin -> location_route ->
        reply_* (made here) or up_start (upstream/upstream.pyx)
    S_BUSY: request_body_up feeds the server; conn_send carries the answer -> request_answered
        -> request_done -> S_IDLE | S_LINGERING | closed

Bytes behind a request stay in Conn.inb until it is answered: one exchange at a time. Work that follows from an answer (the
next pipelined request) is posted, never started below its caller.
"""


cdef void client_accepted(Conn* c) noexcept nogil:
    conn_state(c, S_NEW)
    timer_set(&loop.wheel, &c.timer, loop.now + c.lst.fallback.fallback.header_timeout)


cdef void client_event(Conn* c) noexcept nogil:
    cdef Request* r = c.req
    if r != NULL and r.phase == PH_TUNNEL:
        tcp_event(c)
        return
    if r != NULL and c.out == NULL and c.ready & R_WRITE and temp_file_left(r.response_file) and not response_buffer_again(r):
        return
    if c.out != NULL and c.ready & R_WRITE and not client_flush(c):
        return
    if c.state == S_LINGERING:
        lingering_read(c)
        return
    r = c.req
    if r == NULL:
        client_read(c)
        return
    if r.phase == PH_TUNNEL:            # since client_flush
        tcp_event(c)
    elif r.phase == PH_DELAYED or r.phase == PH_ACCESS:
        limit_event(r)
    elif r.phase == PH_BODY:
        request_buffer_read(r)
    elif r.phase == PH_DISCARDING:
        request_discard_read(r)
    elif r.phase == PH_ANSWERED:
        if c.ready & R_ERR:
            client_gone(r)
    else:
        client_waits(r)


cdef void client_waits(Request* r) noexcept nogil:
    """An event of a client whose request is with a server."""
    cdef Conn* c = r.client
    if r.up != NULL and r.up.pipe != NULL and c.ready & R_WRITE and not proxy_splice(r):
        return
    if not r.inb.done and not r.flags & RQ_BODY_OFF:
        request_body_up(r)
    elif c.ready & (R_ERR | R_HUP):
        client_gone(r)


cdef bint client_flush(Conn* c) noexcept nogil:
    """Send on, and let the server go on when all is sent. False: the connection or its exchange has ended."""
    cdef int rc = conn_flush(c)
    cdef Request* r = c.req
    cdef uint32_t gen = c.gen
    if rc < 0:
        client_broken(c)
        return False
    if rc == 0:
        if r != NULL:
            timer_set(&loop.wheel, &c.timer, loop.now + r.loc.send_timeout)
        return True
    timer_clear(&c.timer)
    if r == NULL:
        return True
    if r.phase == PH_BODY:              # it was 100 Continue
        timer_set(&loop.wheel, &c.timer, loop.now + r.loc.body_timeout)
        return True
    if temp_file_left(r.response_file):
        return response_buffer_again(r)
    if r.phase == PH_ANSWERED:
        request_done(r)
        return False
    if r.phase in (PH_READING_HEAD, PH_READING_BODY):
        proxy_timers(r)
        if r.up.ready & R_READ:
            proxy_read(r)
    return c.gen == gen and c.req == r


cdef void client_drain(Conn* c) noexcept nogil:
    """The worker ends: its exchange is logged and breaks off."""
    cdef Request* r = c.req
    if r != NULL:
        up_abandon(r)
        if r.phase != PH_DISCARDING:    # that one was answered and logged
            client_show_break(r)
            request_log(r)
        request_free(r)
    conn_close(c)


# ---- an exchange begins

cdef void request_begin(Request* r, char* rest, uint32_t n) noexcept nogil:
    """The head is whole: route it, take what is here of its body, and act."""
    cdef Conn* c = r.client
    cdef int status
    c.served += 1
    conn_state(c, S_BUSY)
    loop.st.requests += 1
    request_framing(r)
    r.method.p = r.head + r.h.start
    r.method.n = r.h.method_len
    if debug_on(c):
        debug_head(r)
    status = location_server(r)
    if unlikely(loop.debug):
        debug_server(r)
    if c.lst.tls != NULL:
        status = client_tls_status(r, status)
    if r.h.lax & ~r.srv.lenient:
        status = client_lax_refused(r, status)
    if r.h.size > r.srv.line_most or r.h.nfields > r.srv.fields_most:
        status = request_head_limits(r, status)
    if r.h.flags & H_BAD_NAMES:
        request_odd_names(r)
    if status == 0:
        status = request_body_first(r, rest, n)
    else:
        client_keep_rest(c, NULL, 0)
    if status:
        r.flags &= ~RQ_KEEP
        client_no_path(r)
        reply_status(r, status)
        return
    if r.settings.realip != NULL:
        realip_apply(r, r.settings.realip)
    if unlikely(acme_board != NULL) and acme_answered(r):
        return
    location_route(r)


cdef int client_tls_status(Request* r, int status) noexcept nogil:
    """Plain HTTP on a port of TLS; another server than the handshake's, where one of them asks for more than a name."""
    cdef Tls* t = tls_of(h2_connection_of(r.client))
    if not r.client.secure:
        log_request(LOG_INFO, r, b"client sent plain HTTP request to HTTPS port", 0, b"while reading client request headers")
        return 497
    if r.srv != t.srv and (client_tls_guarded(r.srv) or client_tls_guarded(t.srv)):
        log_request(LOG_INFO, r, b"client attempted to request the server name different from the one that was negotiated", 0,
                    b"while reading client request headers")
        return 421
    if status == 0 and r.srv.tls != NULL and r.srv.tls.verify:
        return client_certificate_status(r, t)
    return status


cdef int client_certificate_status(Request* r, Tls* t) noexcept nogil:
    """ssl_verify_client of the request's server."""
    cdef char text[256]
    cdef Out o
    cdef int status = tls_verify_status(t, r.srv.tls.verify)
    if status:
        out_init(&o, text, sizeof(text) - 1)
        tls_verify_why(t, status, &o)
        log_request(LOG_INFO, r, text, 0, b"while reading client request headers")
    return status


cdef bint client_tls_guarded(Server* s) noexcept nogil:
    """Does it verify its clients, or reject handshakes?"""
    return s.tls != NULL and (s.tls.verify != TLS_VERIFY_OFF or s.tls.reject)


cdef void request_framing(Request* r) noexcept nogil:
    """The one framing of the request's body; keep-alive by version and Connection (RFC 9112 section 9.3)."""
    if unlikely(r.client.h2 != NULL):
        h2_framing(r)
        return
    if r.h.flags & H_CHUNKED:
        r.inb.kind = B_CHUNKED
    elif r.h.content_length > 0:
        r.inb.kind = B_LENGTH
        r.inb.left = r.h.content_length
    else:
        r.inb.done = 1
    if not r.h.flags & H_CLOSE and (r.h.minor or r.h.flags & H_KEEP_ALIVE):
        r.flags |= RQ_KEEP


cdef bint request_no_keepalive(Request* r) noexcept nogil:
    """keepalive_disable: MSIE up to 6 after a POST, Safari on macOS; by User-Agent, as nginx."""
    cdef Str agent = var_field_value(r, F_USER_AGENT)
    cdef const char* at
    if agent.p == NULL:
        return False
    at = request_find_text(agent, b"MSIE ")
    if at != NULL and at + 7 < agent.p + agent.n:
        if not r.loc.keepalive_off & 1 or r.h.method != M_POST or at[6] != 46 or request_find_text(agent, b"Opera") != NULL:
            return False
        return at[5] in (52, 53) or (at[5] == 54 and request_find_text(agent, b"SV1") == NULL)
    return (r.loc.keepalive_off & 2 and request_find_text(agent, b"Opera") == NULL
            and request_find_text(agent, b"Chrome/") == NULL
            and request_find_text(agent, b"Safari/") != NULL and request_find_text(agent, b"Mac OS X") != NULL)


cdef const char* request_find_text(Str s, const char* what) noexcept nogil:
    return <const char*> memmem(s.p, s.n, what, strlen(what))


cdef int request_path(Request* r) noexcept nogil:
    """r.uri: the decoded, normalised path; r.args: the query. 0 or 400."""
    cdef char* q
    cdef uint32_t n = 0, args = 0
    cdef char* path = r.head + r.h.path
    if r.h.path_len == 0:               # `*`, or http://a without a path
        r.uri = <char*> b"/"
        r.uri_len = 1
        return 0
    if path[0] == 63:                   # http://a?query
        r.uri = <char*> b"/"
        r.uri_len = args = 1
    elif not r.h.flags & H_TARGET_QUOTED:
        q = <char*> memchr(path, 63, r.h.path_len)
        r.uri = path
        r.uri_len = <uint32_t> (q - path) if q != NULL else r.h.path_len
        args = r.uri_len + 1 if q != NULL else 0
    else:
        r.uri = <char*> request_memory(r, r.h.path_len)
        if r.uri == NULL:
            return 500
        if uri_normalise(path, r.h.path_len, r.uri, &n, &args, r.srv.merge_slashes) != P_DONE:
            return 400
        r.uri_len = n
    if args:
        r.args = path + args
        r.args_len = r.h.path_len - args
    return 0


cdef void request_handle(Request* r) noexcept nogil:
    cdef Location* l = r.loc
    if r.settings.realip != NULL and r.own == NULL:
        realip_apply(r, r.settings.realip)
    if l.nlimits and not r.limited and not limit_passes(r):
        return
    if (r.settings.access.n or l.auth != NULL) and not auth_passes(r):
        return
    request_admitted(r)


cdef void request_admitted(Request* r) noexcept nogil:
    """It may have its answer."""
    request_handle_by(r, r.loc.handler)


cdef void request_handle_by(Request* r, int handler) noexcept nogil:
    cdef Location* l = r.loc
    if regex_gave_up(r):
        return
    if debug_on(r.client):
        debug_text(r.client, debug_handler_name(handler))
    if handler == DO_PROXY:
        r.proxy_host = l.proxy_host
        r.proxy_uri = l.uri
        if l.proxy_url == NULL and proxy_beside(r):
            log_request(LOG_ERR, r, b"the path leads beside that of \"proxy_pass\": its location has no final slash", 0, b"")
            reply_status(r, 403)
        elif l.proxy_url == NULL or proxy_pass_url(r):
            proxy_begin(r)
    elif handler == DO_SHOW:
        reply_upstream_show(r)
    elif handler == DO_CHECK_STATUS:
        check_status_reply(r)
    elif handler == DO_TRY:
        if path_try_files(r):
            request_handle_by(r, l.files.behind)
    else:
        file_serve(r)


# ---- the end of an exchange

cdef void request_answered(Request* r) noexcept nogil:
    """The whole answer, or all there will be of it, was handed to conn_send."""
    cdef Conn* c = r.client
    request_phase(r, PH_ANSWERED)
    if c.flags & CF_FAILED:
        client_broken(c)
        return
    if not response_held(r):
        request_done(r)
        return
    if r.peer != NULL:                  # the server may be gone before the client has read all: keep its name only
        up_try_add(r, r.peer)
    timer_set(&loop.wheel, &c.timer, loop.now + r.loc.send_timeout)


cdef void request_done(Request* r) noexcept nogil:
    """Everything was sent: log it, and see what becomes of the connection."""
    if r.flags & RQ_BROKEN:
        client_broke_off(r)
        return
    if debug_on(r.client):
        debug_number(r.client, b"http finalize request: status", r.status)
    request_log(r)
    if not r.inb.done and request_may_discard(r) and loop.stopping != STOP_NOW_:
        request_discard_begin(r)
        return
    request_next(r)


cdef void request_next(Request* r) noexcept nogil:
    """The exchange is over: the next one, or the end."""
    cdef Conn* c = r.client
    cdef bint keep = r.flags & RQ_KEEP and r.inb.done and c.pipe == NULL and not loop.stopping == STOP_NOW_
    cdef int64_t idle = r.loc.keepalive_timeout
    cdef bint rest = not r.inb.done or r.flags & RQ_BODY_LEFT
    c.loc = r.loc
    request_free(r)
    c.flags &= ~CF_BULK
    splice_pipe_give(c)
    if not keep or c.kind == K_STREAM:
        lingering_close(c, rest)
        return
    if debug_on(c):
        debug_number(c, b"set http keepalive handler, requests so far:", c.served)
    conn_state(c, S_IDLE)
    c.born = loop.now
    timer_set(&loop.wheel, &c.timer, loop.now + idle)
    if c.inb != NULL or c.ready & R_READ:
        loop_post(c)
    elif loop.stopping == STOP_QUIT_:
        drain_quit(c)


cdef void request_sent_tell(Request* r) noexcept nogil:
    """What the client's socket took since the last time, for lb_sent_bytes_total."""
    loop.st.bytes_out += r.client.put - r.put_told
    r.put_told = r.client.put


cdef void request_log(Request* r) noexcept nogil:
    (&loop.st.status_none)[r.status // 100 if 100 <= r.status < 600 else 0] += 1
    request_sent_tell(r)
    access_log_write(r.settings.logs, r.settings.nlogs, r)


cdef void client_broken(Conn* c) noexcept nogil:
    """The client's connection failed while an answer was sent."""
    cdef Request* r = c.req
    if r != NULL:
        client_gone(r)
        return
    conn_close(c)


cdef void client_gone(Request* r) noexcept nogil:
    """The client has left while its answer was made."""
    if not r.flags & RQ_STARTED:
        log_request(LOG_INFO, r, b"client prematurely closed connection", 0, b"while waiting for an answer")
    client_left(r, 499)


cdef void client_left(Request* r, uint16_t status) noexcept nogil:
    """Let go of the server; the log has `status` where no answer had begun: nginx's 499, or 400 within a body."""
    cdef Conn* c = r.client
    client_show_break(r)                       # it may have ended its own direction only
    up_abandon(r)
    if not r.flags & RQ_STARTED:
        r.status = status
    request_log(r)
    request_free(r)
    conn_close(c)


cdef bint client_show_break(Request* r) noexcept nogil:
    """An answer that has begun will not be whole. True: its connection will be reset."""
    cdef Message m
    if not r.flags & RQ_STARTED:
        return False
    message_begin(&m, r, r.client, NULL, 0)
    m.framing = r.outb.out
    return r.client.enc.abort(&m)


cdef void client_pipe_back(Pipe* p, Conn* c) noexcept nogil:
    """What was on its way past this process waits for the client here."""
    cdef ssize_t got
    while p != NULL and p.filled:
        got = splice_pipe_read(p, loop.scratch, SCRATCH)
        if got <= 0 or not conn_send(c, loop.scratch, got):
            return


cdef void client_cut(Request* r) noexcept nogil:
    """The answer breaks off here: close without completing it, so that the client sees the break."""
    cdef Conn* c = r.client
    client_show_break(r)
    up_abandon(r)
    request_log(r)
    request_free(r)
    conn_close(c)


cdef void client_break_off(Request* r) noexcept nogil:
    """The answer breaks off behind what is here of it: that goes to the client first, as slowly as it reads (send_timeout).

    The server is let go of now. Then client_broke_off, by request_done.
    """
    cdef Message m
    if r.filters != NULL:                       # what they hold back was read, too
        message_begin(&m, r, r.client, loop.heads, HEADS)
        m.status = r.status
        m.framing = r.outb.out
        filter_run(&m, loop.scratch + HEADROOM, 0, FLOW_FLUSH)
    if r.up != NULL and not temp_file_left(r.response_file):
        client_pipe_back(r.up.pipe, r.client)
    up_abandon(r)
    r.flags |= RQ_BROKEN
    request_answered(r)


cdef void client_broke_off(Request* r) noexcept nogil:
    """All that there was of a broken answer was sent. What the client still sends is read away: a close above it would be a
    reset, and take back what the client has not read yet."""
    cdef Conn* c = r.client
    cdef bint rest = not r.inb.done or r.flags & RQ_BODY_LEFT
    cdef bint reset = client_show_break(r)
    c.loc = r.loc
    request_log(r)
    request_free(r)
    c.flags &= ~CF_BULK
    splice_pipe_give(c)
    if reset or loop.stopping == STOP_NOW_:
        conn_close(c)
    else:
        lingering_close(c, rest)


cdef void client_timeout(Conn* c) noexcept nogil:
    cdef Request* r = c.req
    if r == NULL:
        if c.state == S_HEAD and c.inb != NULL:
            client_head_timeout(c)
            return
        conn_close(c)
        return
    if r.phase == PH_DISCARDING:
        request_free(r)
        conn_close(c)
    elif r.phase == PH_TUNNEL:
        tcp_timeout(c)
    elif r.phase == PH_DELAYED:
        limit_over(r)
    elif r.phase == PH_ACCESS:
        auth_over(r)
    else:
        client_too_slow(r)


cdef void client_too_slow(Request* r) noexcept nogil:
    """It takes nothing of the answer, or nothing comes of its body."""
    cdef Conn* c = r.client
    if response_held(r) or (r.up != NULL and r.up.pipe != NULL):
        log_request(LOG_INFO, r, b"client timed out", ETIMEDOUT, b"while sending response to client")
        if r.loc.reset:
            conn_reset(c)
        client_gone(r)
    elif not r.inb.done and r.phase != PH_ANSWERED:
        log_request(LOG_INFO, r, b"client timed out", ETIMEDOUT, b"while reading client request body")
        request_body_refused(r, 408)
