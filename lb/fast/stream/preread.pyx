"""ssl_preread: a session's first bytes are looked at before its server is chosen, and go to that server first.

    session_start -> preread_begin -> preread_read (each event of the client) -> preread_done -> session_go
                                      the buffer is full: 400; the client's end, or preread_timeout: 200, as nginx; closed

The bytes wait in Conn.inb, one block that grows with them up to preread_buffer_size, until tcp_connected sends them on.
"""


cdef void preread_begin(Request* r) noexcept nogil:
    r.hello = <ClientHello*> request_memory(r, sizeof(ClientHello))
    if r.hello == NULL:
        r.status = 500
        tcp_end(r)
        return
    hello_begin(r.hello)
    timer_set(&loop.wheel, &r.client.timer, loop.now + r.stream.preread_timeout)
    preread_read(r)


cdef void preread_read(Request* r) noexcept nogil:
    """What there is to read, until it is a hello or none."""
    cdef Conn* c = r.client
    cdef uint32_t have = c.inb.end if c.inb != NULL else 0
    cdef ssize_t got
    cdef int rc = P_MORE
    while rc == P_MORE:
        if have >= r.stream.preread_buffer:
            log_request(LOG_ERR, r, b"preread buffer full", 0, b"while prereading client data")
            preread_over(r, 400)
            return
        if not c.ready & R_READ:
            return
        got = conn_recv(c, loop.scratch, min(r.stream.preread_buffer - have, <uint32_t> SCRATCH))
        if got == IO_AGAIN:
            return
        if got <= 0:
            preread_over(r, 200)
            return
        tcp_count(c, got)
        if not preread_keep(c, <uint32_t> got):
            preread_over(r, 500)
            return
        have += <uint32_t> got
        rc = hello_parse(r.hello, <uint8_t*> buf_data(c.inb), have)
    preread_done(r, rc)


cdef bint preread_keep(Conn* c, uint32_t n) noexcept nogil:
    """Add loop.scratch[0:n] to Conn.inb, which stays one block. False: without memory."""
    cdef uint32_t have = c.inb.end if c.inb != NULL else 0
    cdef Buf* b = c.inb
    if b == NULL or b.cap - have < n:
        b = buf_new(&loop.pool, max(have + n, 2 * have))
        if b == NULL:
            return False
        if c.inb != NULL:
            memcpy(buf_data(b), buf_data(c.inb), have)
            buf_free(&loop.pool, c.inb)
        c.inb = b
    memcpy(buf_data(b) + have, loop.scratch, n)
    b.end = have + n
    return True


cdef void preread_done(Request* r, int rc) noexcept nogil:
    """A hello (P_DONE) or none: the session goes on."""
    cdef ClientHello* h = r.hello
    cdef const uint8_t* p = <uint8_t*> buf_data(r.client.inb)
    cdef char* text
    timer_clear(&r.client.timer)
    r.hello = NULL
    if rc == P_DONE:
        text = <char*> request_memory(r, h.name_len + h.alpn_len + 1)
        if text == NULL:
            preread_over(r, 500)
            return
        h.name.p = text
        h.name.n = hello_copy(p, h.name_at, h.name_len, text)
        if h.alpn_len:
            hello_copy(p, h.alpn_at, h.alpn_len, text + h.name_len)
            h.alpn.p = text + h.name_len + 1        # behind the first comma
            h.alpn.n = hello_alpn(text + h.name_len, h.alpn_len) - 1
        h.done = 1
        r.hello = h
    session_go(r)


cdef void preread_over(Request* r, int status) noexcept nogil:
    """No hello will be whole: nothing of it is told. Without a byte its variables are missing, as in nginx."""
    if r.client.inb == NULL:
        r.hello = NULL
    r.status = <uint16_t> status
    tcp_end(r)


cdef bint preread_send(Request* r) noexcept nogil:
    """What was looked at, to the server. False: the connection failed, or memory is out."""
    cdef Buf* b = r.client.inb
    cdef bint ok
    if b == NULL:
        return True
    ok = conn_send(r.up, buf_data(b) + b.off, buf_len(b))
    r.client.inb = NULL
    buf_free(&loop.pool, b)
    return ok
