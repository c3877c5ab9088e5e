"""Connections that begin with a PROXY header (listen ... proxy_protocol): it is read before anything else is done.

    accept_one -> K_PROXY_PROTOCOL: proxy_protocol_event (look, without taking) -> conn_begin: [K_HANDSHAKE] -> K_HTTP | K_TCP
                                 not whole: the next event looks again; no PROXY header, its end, or silence: closed

The header is taken from the socket to the byte, so that what follows it is read by the room whose it is. What it says lives
with the connection (Conn.proxy_protocol). proxy_protocol_send writes a header of our own (proxy_protocol on, v2).
"""


cdef void proxy_protocol_accepted(Conn* c) noexcept nogil:
    conn_state(c, S_NEW)
    timer_set(&loop.wheel, &c.timer, loop.now + c.lst.proxy_protocol_timeout)


cdef ProxyProtocol* proxy_protocol_of(Conn* c) noexcept nogil:
    """What the PROXY header said of the client's address; NULL: there is none, or it said nothing."""
    cdef ProxyProtocol* g = <ProxyProtocol*> buf_data(c.proxy_protocol) if c.proxy_protocol != NULL else NULL
    return g if g != NULL and g.known else NULL


cdef void proxy_protocol_event(Conn* c) noexcept nogil:
    cdef ProxyProtocol g
    cdef ssize_t got
    cdef int rc
    if not c.ready & R_READ:
        return
    got = conn_peek(c, loop.scratch, PROXY_PROTOCOL_MOST)
    if got == IO_AGAIN:
        return
    if got <= 0:
        conn_close(c)
        return
    rc = proxy_protocol_parse(loop.scratch, <uint32_t> got, &g)
    if rc == P_DONE:
        proxy_protocol_done(c, &g)
    elif rc == P_BAD or got == PROXY_PROTOCOL_MOST:
        proxy_protocol_log(c, loop.scratch, <uint32_t> got if got < 128 else 128)
        conn_close(c)
    elif c.ready & R_HUP and not c.io.pending(c):       # the end came behind it: no further event will tell of more
        conn_close(c)


cdef void proxy_protocol_done(Conn* c, ProxyProtocol* g) noexcept nogil:
    """Take the header off the socket, keep what it says, and let the connection begin."""
    c.proxy_protocol = buf_new(&loop.pool, sizeof(ProxyProtocol) + g.tlvs)
    if c.proxy_protocol != NULL:
        memcpy(buf_data(c.proxy_protocol), g, sizeof(ProxyProtocol))
        memcpy(buf_data(c.proxy_protocol) + sizeof(ProxyProtocol), loop.scratch + g.size - g.tlvs, g.tlvs)
    if c.proxy_protocol == NULL or not conn_take(c, loop.scratch, g.size):
        conn_close(c)
        return
    loop.st.bytes_in += g.size
    timer_clear(&c.timer)
    conn_begin(c)


cdef void proxy_protocol_timed_out(Conn* c) noexcept nogil:
    log_client(LOG_INFO, c, b"client timed out while reading PROXY protocol")
    conn_close(c)


cdef void proxy_protocol_log(Conn* c, const char* p, uint32_t n) noexcept nogil:
    """broken header: "GET / HTTP/1.0" while reading PROXY protocol, client: C, server: S"""
    cdef Out o
    if not error_begin(&o, error_logs_of_client(c), LOG_ERR):
        return
    error_connection(&o, c)
    out_text(&o, b"broken header: \"")
    out_escaped(&o, p, n)
    out_text(&o, b"\" while reading PROXY protocol")
    error_client(&o, c)
    out_text(&o, b", server: ")
    out_str(&o, c.lst.addr)
    error_end(&o, error_logs_of_client(c), LOG_ERR)


# ---- to servers

cdef bint proxy_protocol_send(Request* r) noexcept nogil:
    """Our header for r.up, in one write; UNKNOWN for what it cannot say. False: the connection failed."""
    cdef char line[128]
    cdef char local[128]
    cdef uint32_t n = sizeof(local)
    cdef Conn* c = r.client
    cdef Out o
    cdef int family = (<sockaddr*> c.addr).sa_family if c.addr_len else AF_UNIX
    out_init(&o, line, sizeof(line))
    if family == AF_UNIX or not c.io.local(c, local, &n) or (<sockaddr*> local).sa_family != family:
        family = AF_UNIX
    if r.stream.send_proxy_protocol == 2:
        return conn_send(r.up, line, proxy_protocol_write(line, c.addr, local, family))
    if family == AF_UNIX:
        return conn_send(r.up, b"PROXY UNKNOWN\r\n", 15)
    out_put(&o, b"PROXY TCP4 " if family == AF_INET else b"PROXY TCP6 ", 11)
    sockaddr_write(&o, c.addr, c.addr_len)
    out_char(&o, 32)
    sockaddr_write(&o, local, n)
    out_char(&o, 32)
    out_uint(&o, sockaddr_port(c.addr, c.addr_len))
    out_char(&o, 32)
    out_uint(&o, sockaddr_port(local, n))
    out_put(&o, b"\r\n", 2)
    return conn_send(r.up, line, o.p - line)
