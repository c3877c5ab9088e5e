"""Connections whose TLS breaks after the handshake: nginx's line in the log, counted.

    tls_taken (OpenSSL's records)                    -> tls_broke_off: SSL_read() failed (SSL: WHY) while PHASE, client: ...
    tls_own_refuse, tls_own_alert (our own records)  -> tls_broke_off: with the error that OpenSSL would have

An end of the socket is none of these: it has its own line.
"""


cdef void tls_broke_off(Conn* c, unsigned long e) noexcept nogil:
    """`e`: OpenSSL's error."""
    cdef char text[384]
    cdef Out o
    if e == 0:
        return
    out_init(&o, text, sizeof(text) - 1)
    out_text(&o, b"SSL_read() failed (SSL: ")
    tls_error_text(&o, e)
    out_char(&o, c")")
    if c.kind == K_UP:
        loop.st.up_tls_broken += 1
        tls_broke_server(c, text, &o)
    else:
        loop.st.tls_broken += 1
        tls_broke_client(c, text, &o, LOG_CRIT if lb_tls_ours(e) else LOG_INFO)


cdef void tls_error_text(Out* o, unsigned long e) noexcept nogil:
    cdef char said[256]
    cdef int alert = lb_tls_alert(e)
    ERR_error_string_n(e, said, sizeof(said))
    out_text(o, said)
    if alert >= 0:
        out_text(o, b":SSL alert number ")
        out_uint(o, alert)


cdef void tls_broke_server(Conn* u, const char* text, Out* o) noexcept nogil:
    """One that waits in the pool has no request that would suffer."""
    o.p[0] = 0
    if u.req == NULL:
        return
    if u.req.flags & RQ_TCP:
        log_try(u.req, text, 0, b"while proxying connection")
    elif u.req.phase == PH_READING_HEAD:
        log_try(u.req, text, 0, b"while reading response header from upstream")
    else:
        log_try(u.req, text, 0, b"while reading upstream")


cdef void tls_broke_client(Conn* c, const char* text, Out* o, int level) noexcept nogil:
    if c.req != NULL:
        o.p[0] = 0
        log_request(level, c.req, text, 0, b"while proxying connection" if c.lst.tcp else b"")
        return
    if c.inb != NULL:
        out_text(o, b" while reading client request headers")
    else:
        out_text(o, b" while keepalive" if c.state == S_IDLE else b" while waiting for request")
    o.p[0] = 0
    log_client(level, c, text)
