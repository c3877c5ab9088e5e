"""Handshakes that failed: why, in nginx's words and at its level; counted by reason.

    conn_handshake_event, conn_handshake_timeout -> tls_failed (counted) -> log_handshake: tls_explain
"""


cdef void tls_failed(Conn* c, bint late) noexcept nogil:
    """The handshake of a client has failed or took too long. Counts it."""
    cdef Tls* t = tls_of(c)
    if t != NULL and t.flags & TLS_ACME and t.flags & TLS_UP:
        return                          # it has done all that it was for
    if late:
        loop.st.tls_failed_timeout += 1
    elif t == NULL or t.why == 0:
        loop.st.tls_failed_closed += 1
    elif t.conf.reject:
        loop.st.tls_failed_name += 1
    else:
        tls_count_fault(lb_tls_group(t.why))


cdef void tls_count_fault(int group) noexcept nogil:
    if group == LB_TLS_CLOSED:
        loop.st.tls_failed_closed += 1
    elif group == LB_TLS_PROTOCOL:
        loop.st.tls_failed_protocol += 1
    elif group == LB_TLS_CERTIFICATE:
        loop.st.tls_failed_certificate += 1
    elif group == LB_TLS_NAME:
        loop.st.tls_failed_name += 1
    elif group == LB_TLS_GARBAGE:
        loop.st.tls_failed_garbage += 1
    else:
        loop.st.tls_failed_other += 1


cdef void tls_count_done(Tls* t) noexcept nogil:
    """A handshake with a client is through."""
    cdef int version = SSL_version(<SSL*> t.ssl)
    if version == TLS1_3_VERSION:
        loop.st.tls_handshakes_13 += 1
    elif version == TLS1_2_VERSION:
        loop.st.tls_handshakes_12 += 1
    else:
        loop.st.tls_handshakes_old += 1
    if t.flags & TLS_REUSED:
        loop.st.tls_resumed += 1


cdef int tls_explain(Conn* c, Out* o) noexcept nogil:
    """What ended the handshake, in nginx's words; its level."""
    cdef Tls* t = tls_of(c)
    if t != NULL and t.flags & TLS_ACME and t.flags & TLS_UP:
        out_text(o, b"challenge tls-alpn-01 was answered")
        return LOG_INFO
    if t == NULL or t.why == 0:
        tls_explain_gone(c, t, o)
        return LOG_INFO
    if t.conf.reject:
        out_text(o, b"handshake rejected")
        return LOG_INFO
    out_text(o, b"SSL_do_handshake() failed (SSL: ")
    tls_error_text(o, t.why)
    out_char(o, c")")
    return LOG_CRIT if lb_tls_ours(t.why) else LOG_INFO


cdef void tls_explain_gone(Conn* c, Tls* t, Out* o) noexcept nogil:
    """The client has left, before its first byte (http says so) or later."""
    cdef char text[128]
    cdef int e = t.error if t != NULL else c.io.error(c)
    if c.lst == NULL or c.lst.tcp or (t != NULL and t.flags & TLS_HELLO):
        out_text(o, b"peer closed connection in SSL handshake")
    else:
        out_text(o, b"recv() failed" if e else b"client closed connection")
    if e:
        out_text(o, b" (")
        out_uint(o, e)
        out_text(o, b": ")
        out_text(o, strerror_r(e, text, sizeof(text)))
        out_char(o, c")")
