"""What a stream server does before it passes bytes, or instead of it: realip, allow, `set`, `return`, a server by a value.

    tcp_begin -> session_start -> (preread_begin, with ssl_preread) -> session_go
    session_go -> session_return, session_show -> (the text has been sent) -> S_LINGERING
               -> session_target -> up_start
"""


cdef void session_start(Request* r) noexcept nogil:
    if r.settings.realip != NULL:
        realip_apply(r, r.settings.realip)
    if r.settings.access.n and not access_admits(r, &r.settings.access):
        r.status = 403
        tcp_end(r)
        return
    if r.settings.nops and rewrite_run(r, r.settings.ops, r.settings.nops):
        return
    if r.stream.preread:
        preread_begin(r)
    else:
        session_go(r)


cdef void session_go(Request* r) noexcept nogil:
    """What comes before a server is done: an answer of our own, or the server."""
    if r.stream.show:
        session_show(r)
    elif r.stream.text != NULL:
        session_return(r)
    elif r.ups != NULL or session_target(r):
        up_start(r)
    else:
        tcp_end(r)


cdef void session_return(Request* r) noexcept nogil:
    cdef Str s = var_text(r, r.stream.text)
    if regex_gave_up(r):
        return
    request_phase(r, PH_ANSWERED)
    if session_send(r, s.p, s.n):
        session_returning(r)


cdef void session_show(Request* r) noexcept nogil:
    """upstream_show of nginx-stream-upsync-module: its head of HTTP/1.0, and all lists of stream{}."""
    cdef Out o
    cdef Buf* page = reply_show_all(True)
    cdef Str body
    body.p = b"No upstreams defined\n"
    body.n = 21
    if page == NULL:
        r.status = 500
        tcp_end(r)
        return
    if page.end:
        body.p = buf_data(page)
        body.n = page.end
    request_phase(r, PH_ANSWERED)
    out_init(&o, loop.heads, HEADS)
    out_put(&o, b"HTTP/1.0 200 OK\r\nServer: ", 25)
    out_str(&o, loop.env.product)
    out_put(&o, b"\r\nContent-Type: text/plain\r\nContent-Length: ", 44)
    out_uint(&o, body.n)
    out_put(&o, b"\r\nConnection: close\r\n\r\n", 23)
    if session_send(r, loop.heads, <uint32_t> (o.p - loop.heads)) and session_send(r, body.p, body.n):
        session_returning(r)
    buf_free(&loop.pool, page)


cdef bint session_send(Request* r, const char* p, uint32_t n) noexcept nogil:
    """False: the connection has failed, and the session is over."""
    if n and not conn_send(r.client, p, n):
        tcp_end(r)
        return False
    return True


cdef void session_returning(Request* r) noexcept nogil:
    """Until the client has taken all; what it has sent meanwhile is read away, or the close would be a reset."""
    cdef Conn* c = r.client
    cdef int rc = conn_flush(c)
    if rc < 0 or c.ready & R_ERR:
        tcp_end(r)
        return
    if rc == 0:
        timer_set(&loop.wheel, &c.timer, loop.now + r.settings.read_timeout)
        return
    tcp_forget(r)
    lingering_close(c, True)


cdef bint session_target(Request* r) noexcept nogil:
    """Evaluate proxy_pass into r.ups. False: r.status says why not."""
    cdef Str host = var_text(r, r.stream.target)
    cdef char* low = <char*> request_memory(r, host.n + 1)
    r.status = 500
    if low == NULL:
        return False
    dict_lower_into(low, host.p, host.n)
    r.ups = <Upstream*> dict_find(&loop.stream_names, low, host.n)
    if r.ups == NULL and not proxy_pass_to(r, host, 0):
        return False
    r.status = 200
    return True
