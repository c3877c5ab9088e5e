"""Where OpenSSL reads and writes: the worker's own buffers, one socket operation for as many records as fit.

    tls_enter -> SSL_read, SSL_write, SSL_do_handshake: tls_bio_read, tls_bio_write -> tls_leave

What was read from the socket and not used stays behind in Tls.part; what was sealed and not sent goes to Conn.out, in front of
all that is not sealed yet (conn_keep_sealed).
"""

cdef enum:
    TLS_COME = 65536 + 18432    # a read of the socket behind the rest of a record
    TLS_GO = 131072
    TLS_READ = 65536            # most of one read of the socket
    TLS_PULLS = 4               # reads of the socket in one operation: records without data end no loop by themselves

cdef BIO_METHOD* tls_bio_method = NULL


cdef int tls_bio_init() except -1:
    global tls_bio_method
    if tls_bio_method != NULL:
        return 0
    tls_bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, b"lb")
    if tls_bio_method == NULL:
        raise MemoryError()
    BIO_meth_set_read(tls_bio_method, tls_bio_read)
    BIO_meth_set_write(tls_bio_method, tls_bio_write)
    BIO_meth_set_ctrl(tls_bio_method, tls_bio_control)
    return 0


cdef void tls_enter(Conn* c, Tls* t) noexcept nogil:
    """The buffers are this connection's until tls_leave."""
    cdef TlsWorker* w = &loop.tls
    BUG_ON(w.conn != NULL)
    w.conn = c
    w.off = w.end = w.ngo = 0
    w.pulls = w.pushed = w.cut = 0
    if t.part != NULL:
        w.end = buf_len(t.part)
        memcpy(w.come, buf_data(t.part) + t.part.off, w.end)
        buf_free(&loop.pool, t.part)
        t.part = NULL


cdef bint tls_leave(Conn* c, Tls* t) noexcept nogil:
    """Send what was sealed, keep what was not used. False: the connection has failed."""
    cdef TlsWorker* w = &loop.tls
    cdef bint good = tls_push(c)
    w.conn = NULL
    if w.cut:
        t.flags |= TLS_MORE
        loop_post(c)
    if w.off < w.end:
        t.part = buf_copy(&loop.pool, w.come + w.off, w.end - w.off)
        if t.part == NULL:
            c.flags |= CF_FAILED
            return False
    return good


cdef bint tls_push(Conn* c) noexcept nogil:
    """Send the worker's buffer; what the kernel does not take waits, sealed. False: the connection has failed."""
    cdef TlsWorker* w = &loop.tls
    cdef ssize_t got = 0
    cdef uint32_t n = w.ngo
    if n == 0:
        return True
    w.ngo = 0
    w.pushed = 1
    if c.flags & CF_FAILED:
        return False
    if c.out == NULL or not c.out.sealed:
        got = plain_send(c, w.go, n)
        if got < 0:
            return False
    return got == <ssize_t> n or conn_keep_sealed(c, w.go + got, n - <uint32_t> got)


cdef ssize_t tls_pull(Conn* c) noexcept nogil:
    """Read the socket into the worker's buffer, behind what is not used. As plain_recv; IO_AGAIN also where R_READ is down."""
    cdef TlsWorker* w = &loop.tls
    cdef ssize_t got
    if c.flags & CF_EOF:
        return IO_END
    if not c.ready & R_READ:
        return IO_AGAIN
    if w.pulls == TLS_PULLS:
        w.cut = 1
        return IO_AGAIN
    w.pulls += 1
    if w.off == w.end:
        w.off = w.end = 0
    elif w.off:
        memmove(w.come, w.come + w.off, w.end - w.off)
        w.end -= w.off
        w.off = 0
    if TLS_COME - w.end < 2048:
        return IO_AGAIN
    got = plain_recv(c, w.come + w.end, min(TLS_COME - w.end, <uint32_t> TLS_READ))
    if got > 0:
        w.end += <uint32_t> got
    elif got == IO_FAILED:
        tls_of(c).error = errno
    return got


cdef int tls_bio_read(BIO* b, char* p, int n) noexcept nogil:
    cdef TlsWorker* w = &loop.tls
    cdef ssize_t got
    BIO_clear_retry_flags(b)
    if w.off == w.end:
        got = tls_pull(w.conn)
        if got == IO_AGAIN:
            BIO_set_retry_read(b)
            return -1
        if got <= 0:
            return <int> got
    if <uint32_t> n > w.end - w.off:
        n = <int> (w.end - w.off)
    memcpy(p, w.come + w.off, n)
    w.off += <uint32_t> n
    return n


cdef int tls_bio_write(BIO* b, const char* p, int n) noexcept nogil:
    """All is taken. Bounded by the callers: none seals more while sealed bytes wait."""
    cdef TlsWorker* w = &loop.tls
    BIO_clear_retry_flags(b)
    if w.ngo + <uint32_t> n > TLS_GO and not tls_push(w.conn):
        return -1
    if n > TLS_GO:
        return -1
    memcpy(w.go + w.ngo, p, n)
    w.ngo += <uint32_t> n
    return n


cdef long tls_bio_control(BIO* b, int what, long n, void* p) noexcept nogil:
    return what == BIO_CTRL_FLUSH
