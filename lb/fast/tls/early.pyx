"""Early data of TLS 1.3 (0-RTT, `ssl_early_data on`): bytes of a client that has not yet said that it is there.

    tls_early_handshake: SSL_read_early_data: bytes -> TLS_EARLY, the request is handled
    tls_early_take ... until EndOfEarlyData, then SSL_read takes the rest of the handshake -> TLS_UP
    tls_early_send: answers go before the handshake's end

Whoever has recorded them can send them again: $ssl_early_data is "1" until the handshake is done, for `proxy_set_header
Early-Data` (RFC 8470). A connection that has sent early data keeps its SSL: what it has sealed so far, the record layer of ours
does not know.
"""

cdef enum:
    TLS_EARLY_MOST = 16384


cdef int tls_early_handshake(Conn* c, Tls* t) noexcept nogil:
    """As tls_handshake, within tls_enter. Without early data it ends in SSL_do_handshake."""
    cdef char data[TLS_EARLY_MOST]
    cdef size_t n = 0
    cdef int rc
    if not t.flags & TLS_EARLY_OVER:
        rc = SSL_read_early_data(<SSL*> t.ssl, data, sizeof(data), &n)
        if rc == SSL_READ_EARLY_DATA_ERROR:
            tls_own_listen(t, False)
            return tls_not_done(c, t, SSL_get_error(<SSL*> t.ssl, 0))
        if rc == SSL_READ_EARLY_DATA_SUCCESS:
            tls_own_listen(t, False)
            return tls_early_begin(c, t, data, <uint32_t> n)
        t.flags |= TLS_EARLY_OVER
        tls_own_listen(t, True)         # the secret of what we send may have come in that step
    rc = SSL_do_handshake(<SSL*> t.ssl)
    tls_own_listen(t, False)
    if rc == 1:
        return tls_done(c, t)
    return tls_not_done(c, t, SSL_get_error(<SSL*> t.ssl, rc))


cdef int tls_early_begin(Conn* c, Tls* t, char* data, uint32_t n) noexcept nogil:
    """The connection is used from here on, though its handshake is not done."""
    t.flags |= TLS_EARLY | TLS_MORE
    c.secure = 1
    tls_verify_taken(t)                     # of the session: whoever has its secret has shown this certificate once
    c.ready |= R_READ
    if not tls_leave(c, t):
        return IO_FAILED
    if n:
        conn_keep(c, data, n)
        if c.inb == NULL:
            return IO_FAILED
    loop_post(c)
    return 1


cdef ssize_t tls_early_take(Conn* c, Tls* t, char* p, size_t n, bint peek) noexcept nogil:
    """As tls_take. A look sees nothing while more early data may come: OpenSSL cannot show it without taking it."""
    cdef size_t had = 0, some
    cdef int rc = 1
    if peek and not t.flags & TLS_EARLY_OVER:
        return IO_AGAIN
    tls_enter(c, t)
    ERR_clear_error()
    while had < n and not t.flags & TLS_EARLY_OVER:
        rc = SSL_read_early_data(<SSL*> t.ssl, p + had, n - had, &some)
        if rc == SSL_READ_EARLY_DATA_ERROR:
            return tls_taken(c, t, had, peek, SSL_get_error(<SSL*> t.ssl, 0))
        if rc == SSL_READ_EARLY_DATA_FINISH:
            t.flags |= TLS_EARLY_OVER
        else:
            had += some
    while had < n and rc > 0:
        rc = SSL_peek(<SSL*> t.ssl, p, <int> n) if peek else SSL_read(<SSL*> t.ssl, p + had, <int> (n - had))
        if rc > 0:
            had += rc
        if peek:
            break
    if SSL_is_init_finished(<SSL*> t.ssl):
        tls_early_end(t)
    return tls_taken(c, t, had, peek, SSL_get_error(<SSL*> t.ssl, rc) if rc <= 0 else SSL_ERROR_NONE)


cdef void tls_early_end(Tls* t) noexcept nogil:
    """The client was there."""
    t.flags = (t.flags & ~TLS_EARLY) | TLS_UP
    if SSL_session_reused(<SSL*> t.ssl):
        t.flags |= TLS_REUSED
    tls_count_done(t)
    tls_own_forget(t)


cdef bint tls_write(Tls* t, const char* p, size_t n) noexcept nogil:
    """Seal one record."""
    cdef size_t gone = 0
    if unlikely(t.flags & TLS_EARLY):
        return SSL_write_early_data(<SSL*> t.ssl, p, n, &gone) == 1 and gone == n
    return SSL_write(<SSL*> t.ssl, p, <int> n) == <int> n
