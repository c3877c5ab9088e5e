"""The transport TLS: what Conn.io does for a connection whose bytes are records.

    tls_handshake: 0 ... 1 -> tls_recv, tls_peek, tls_send -> tls_shutdown (close_notify) -> tls_close

All plaintext that is given to tls_send is taken as long as nothing sealed waits; sealed bytes that the kernel did not take wait
in Conn.out and are never sealed again. Splice and sendfile there are none.

A client that speaks HTTP on a port of TLS becomes one of plain sockets (`Conn.secure` stays 0): it gets nginx's 400 (497).
"""

cdef enum:
    TLS_SEALED_MOST = 16384 + 512   # a record as it is sent
    TLS_STEPS = 2               # of handshakes in one turn of the loop: the others wait for the next, other clients do not

cdef Transport tls


cdef void tls_init() noexcept nogil:
    memcpy(&tls, &plain, sizeof(Transport))
    tls.name = b"tls"
    tls.recv = tls_recv
    tls.send = tls_send
    tls.peek = tls_peek
    tls.pending = tls_pending
    tls.handshake = tls_handshake
    tls.failed = tls_failed
    tls.explain = tls_explain
    tls.splice_in = NULL
    tls.splice_out = NULL
    tls.sendfile = NULL
    tls.shutdown = tls_shutdown
    tls.reset = tls_reset
    tls.abort = tls_abort
    tls.close = tls_close
    tls_own_init()


# ---- the state of a connection

cdef inline Tls* tls_of(Conn* c) noexcept nogil:
    return <Tls*> c.io_state


cdef Tls* tls_new(Conn* c, const TlsConf* conf) noexcept nogil:
    """A state with an SSL of this configuration; NULL: memory is out."""
    cdef Tls* t = <Tls*> calloc(1, sizeof(Tls))
    cdef BIO* b
    if t == NULL:
        return NULL
    t.conn = c
    t.conf = conf
    t.ssl = SSL_new(<SSL_CTX*> (conf.first if conf.first != NULL else conf.ctx))
    b = BIO_new(tls_bio_method)
    if t.ssl == NULL or b == NULL or SSL_set_ex_data(<SSL*> t.ssl, 0, t) != 1:
        SSL_free(<SSL*> t.ssl)
        BIO_free(b)
        free(t)
        return NULL
    BIO_set_init(b, 1)
    SSL_set_bio(<SSL*> t.ssl, b, b)
    c.io_state = t
    return t


cdef void tls_free(Conn* c) noexcept nogil:
    cdef Tls* t = tls_of(c)
    if t == NULL:
        return
    c.io_state = NULL
    if t.ssl != NULL:
        SSL_set_shutdown(<SSL*> t.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)   # or its session would count as broken
    SSL_free(<SSL*> t.ssl)
    tls_own_forget(t)
    if t.part != NULL:
        buf_free(&loop.pool, t.part)
    if t.plain != NULL:
        tls_buf_free(t.plain)
    free(t.name.p)
    free(t.pair.p)
    free(t.info)
    free(t)


cdef void tls_buf_free(Buf* b) noexcept nogil:
    """What was decrypted is not left in the pool."""
    OPENSSL_cleanse(buf_data(b), b.end)
    buf_free(&loop.pool, b)


cdef Tls* tls_accept(Conn* c) noexcept nogil:
    cdef Tls* t
    t = tls_new(c, c.lst.tls)
    if t != NULL:
        t.srv = c.lst.fallback
        SSL_set_accept_state(<SSL*> t.ssl)
    return t


# ---- the handshake

cdef int tls_handshake(Conn* c) noexcept nogil:
    cdef Tls* t = tls_of(c)
    cdef int rc
    if t == NULL:
        if not c.ready & R_READ:        # one who connects and is silent costs no more than without TLS
            return IO_FAILED if c.ready & R_ERR else 0
        t = tls_accept(c)
        if t == NULL:
            return IO_FAILED
    if c.out != NULL and conn_flush(c) <= 0:
        return IO_FAILED if c.flags & CF_FAILED else 0
    if not c.ready & R_READ and t.flags & TLS_HELLO:
        return IO_FAILED if c.ready & R_ERR else 0
    if tls_too_many(c, t):
        return 0
    tls_enter(c, t)
    if not t.flags & (TLS_HELLO | TLS_CLIENT) and not tls_first(c, t):
        if c.flags & (CF_EOF | CF_FAILED):
            tls_leave(c, t)
            return IO_FAILED
        return tls_not_tls(c, t)
    if t.flags & TLS_CLIENT:
        t.flags |= TLS_HELLO
    ERR_clear_error()
    tls_own_listen(t, True)
    if t.conf.early and not t.flags & TLS_CLIENT:
        return tls_early_handshake(c, t)
    rc = SSL_do_handshake(<SSL*> t.ssl)
    tls_own_listen(t, False)
    if rc == 1:
        return tls_done(c, t)
    return tls_not_done(c, t, SSL_get_error(<SSL*> t.ssl, rc))


cdef bint tls_too_many(Conn* c, Tls* t) noexcept nogil:
    """A step of a handshake is up to half a millisecond of arithmetic. True: not in this turn, the connection is posted."""
    if loop.tls.turn != loop.st.turns:
        loop.tls.turn = loop.st.turns
        loop.tls.handshakes = 0
    if loop.tls.handshakes < TLS_STEPS:
        loop.tls.handshakes += 1
        t.flags &= ~TLS_MORE
        return False
    t.flags |= TLS_MORE
    loop_post(c)
    return True


cdef bint tls_first(Conn* c, Tls* t) noexcept nogil:
    """The first bytes: False: no handshake (22), and no hello of SSLv2, which OpenSSL refuses: HTTP? Or the client has gone."""
    cdef TlsWorker* w = &loop.tls
    if w.end == 0 and tls_pull(c) <= 0:
        return not c.flags & (CF_EOF | CF_FAILED)
    t.flags |= TLS_HELLO
    return c.lst.tcp or w.come[0] == 22 or <uint8_t> w.come[0] & 128


cdef int tls_not_tls(Conn* c, Tls* t) noexcept nogil:
    """Plain from here on: what has come is the beginning of a head."""
    cdef TlsWorker* w = &loop.tls
    loop.st.tls_failed_garbage += 1
    w.conn = NULL
    conn_keep(c, w.come, w.end)
    tls_free(c)
    c.io = loop.io
    if c.inb == NULL:
        return IO_FAILED
    loop_post(c)
    return 1


cdef int tls_done(Conn* c, Tls* t) noexcept nogil:
    cdef bint good
    t.flags |= TLS_UP
    c.secure = 1
    if unlikely(t.flags & TLS_ACME):
        tls_leave(c, t)
        return IO_FAILED
    if SSL_session_reused(<SSL*> t.ssl):
        t.flags |= TLS_REUSED
    if not t.flags & TLS_CLIENT:
        tls_count_done(t)
    if t.flags & TLS_CLIENT and not tls_server_verified(c, t):
        tls_leave(c, t)
        return IO_FAILED
    if not t.flags & TLS_CLIENT:
        tls_verify_taken(t)
    tls_own_begin(t)
    good = tls_leave(c, t)
    if t.part != NULL or (t.ssl != NULL and SSL_has_pending(<SSL*> t.ssl)):
        t.flags |= TLS_MORE
        c.ready |= R_READ
    return 1 if good else IO_FAILED


cdef int tls_not_done(Conn* c, Tls* t, int e) noexcept nogil:
    t.why = ERR_peek_error()
    tls_leave(c, t)
    if e == SSL_ERROR_WANT_READ or e == SSL_ERROR_WANT_WRITE:
        return IO_FAILED if c.flags & CF_FAILED else 0
    t.flags |= TLS_QUIET
    return IO_FAILED


# ---- bytes

cdef int tls_pending(Conn* c) noexcept nogil:
    cdef Tls* t = tls_of(c)
    return R_READ if t != NULL and t.flags & TLS_MORE else 0


cdef ssize_t tls_recv(Conn* c, char* p, size_t n) noexcept nogil:
    return tls_take(c, p, n, False)


cdef ssize_t tls_peek(Conn* c, char* p, size_t n) noexcept nogil:
    """At most the rest of one record."""
    cdef ssize_t got = tls_take(c, p, n, True)
    if got == IO_END:                   # a look does not take it
        c.flags &= ~CF_EOF
        c.ready |= R_READ
    return got


cdef ssize_t tls_take(Conn* c, char* p, size_t n, bint peek) noexcept nogil:
    """Of as many records as one read of the socket brings."""
    cdef Tls* t = tls_of(c)
    cdef size_t had = 0
    cdef int rc = 0
    if c.flags & CF_EOF:
        c.ready &= ~R_READ
        return IO_END
    if t.ssl == NULL:
        return tls_own_take(c, t, p, n, peek)
    if unlikely(t.flags & TLS_EARLY):
        return tls_early_take(c, t, p, n, peek)
    tls_enter(c, t)
    ERR_clear_error()
    if peek:
        rc = SSL_peek(<SSL*> t.ssl, p, <int> n)
        had = rc if rc > 0 else 0
    else:
        while had < n:
            rc = SSL_read(<SSL*> t.ssl, p + had, <int> (n - had))
            if rc <= 0:
                break
            had += rc
    return tls_taken(c, t, had, peek, SSL_get_error(<SSL*> t.ssl, rc) if rc <= 0 else SSL_ERROR_NONE)


cdef ssize_t tls_taken(Conn* c, Tls* t, size_t had, bint peek, int e) noexcept nogil:
    """What a read says, and what comes after it."""
    cdef bint more = loop.tls.off < loop.tls.end or SSL_pending(<SSL*> t.ssl) > 0
    t.flags &= ~TLS_MORE
    if e == SSL_ERROR_ZERO_RETURN:
        c.flags |= CF_EOF
    elif e == SSL_ERROR_SSL or e == SSL_ERROR_SYSCALL:
        t.why = ERR_peek_error()
        tls_broke_off(c, ERR_peek_last_error())
        t.flags |= TLS_QUIET
        tls_leave(c, t)
        return tls_broken(c, t, had)
    elif more or peek and had:
        t.flags |= TLS_MORE
        c.ready |= R_READ
    if t.flags & TLS_WAITS and not SSL_in_init(<SSL*> t.ssl):
        t.flags &= ~TLS_WAITS
        c.ready |= R_WRITE
        loop_post(c)
    if not tls_leave(c, t):
        c.flags |= CF_FAILED
    if had:
        if c.flags & (CF_EOF | CF_FAILED):  # the end is read behind these
            c.flags &= ~CF_EOF
            t.flags |= TLS_MORE
            c.ready |= R_READ
        return had
    if c.flags & CF_FAILED:
        return IO_FAILED
    if c.flags & CF_EOF:
        c.ready &= ~R_READ
        return IO_END
    return IO_AGAIN


cdef ssize_t tls_broken(Conn* c, Tls* t, size_t had) noexcept nogil:
    """Bytes of good records are given; the failure comes with the next read."""
    if had:
        t.flags |= TLS_MORE
        c.ready |= R_READ
        return had
    c.flags |= CF_FAILED
    c.ready &= ~(R_READ | R_WRITE)
    return IO_FAILED


cdef ssize_t tls_send(Conn* c, const char* p, size_t n) noexcept nogil:
    """Records of at most ssl_buffer_size. What they say counts as sent, and waits sealed where the kernel takes no more."""
    cdef Tls* t = tls_of(c)
    cdef size_t gone = 0, some
    if c.out != NULL and c.out.sealed:
        c.ready &= ~R_WRITE
        return 0
    if t.ssl == NULL:
        return tls_own_send(c, t, p, n)
    tls_enter(c, t)
    while gone < n and (c.out == NULL or not c.out.sealed):
        some = n - gone if n - gone < t.conf.buffer else t.conf.buffer
        if loop.tls.ngo > TLS_GO - 2 * TLS_SEALED_MOST and not tls_push(c):
            break
        ERR_clear_error()
        if not tls_write(t, p + gone, some):
            if t.flags & TLS_CLIENT and SSL_get_error(<SSL*> t.ssl, -1) == SSL_ERROR_WANT_READ:
                t.flags |= TLS_WAITS        # it renegotiates: the server's part comes first
                c.ready &= ~R_WRITE
                break
            t.why = ERR_peek_error()
            t.flags |= TLS_QUIET
            c.flags |= CF_FAILED
            break
        gone += some
    if not tls_leave(c, t) or c.flags & CF_FAILED:
        c.flags |= CF_FAILED
        return IO_FAILED
    return gone


cdef void tls_notify_close(Conn* c, Tls* t) noexcept nogil:
    """close_notify, once, behind all that was sent; not where that waits, or the connection is broken."""
    if t.flags & TLS_QUIET or not t.flags & TLS_UP or c.out != NULL or c.flags & CF_FAILED or c.ready & R_ERR:
        return
    t.flags |= TLS_QUIET
    if t.ssl == NULL:
        tls_own_close(c, t)
        return
    tls_enter(c, t)
    ERR_clear_error()
    SSL_shutdown(<SSL*> t.ssl)
    tls_leave(c, t)


cdef void tls_shutdown(Conn* c) noexcept nogil:
    tls_notify_close(c, tls_of(c))
    plain_shutdown(c)


cdef void tls_reset(Conn* c) noexcept nogil:
    tls_abort(c)
    plain_reset(c)


cdef void tls_abort(Conn* c) noexcept nogil:
    """No close_notify: the peer shall see that it broke off."""
    if tls_of(c) != NULL:
        tls_of(c).flags |= TLS_QUIET


cdef void tls_close(Conn* c) noexcept nogil:
    cdef Tls* t = tls_of(c)
    if t != NULL:
        tls_notify_close(c, t)
        if c.out != NULL:               # the alert itself was not taken
            buf_free_chain(&loop.pool, c.out)
            c.out = NULL
        tls_free(c)
    c.secure = 0
    plain_close(c)
