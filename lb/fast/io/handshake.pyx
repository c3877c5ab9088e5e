"""From socket to protocol: connect, and between accept and the protocol a client whose transport has a handshake (plain sockets
have none).

    accept_one -> [K_PROXY_PROTOCOL] -> conn_begin -> K_HANDSHAKE: conn_handshake_event ... -> K_HTTP | K_TCP
                                                        it failed, or took too long: closed

Connections to servers have theirs between S_CONNECT and S_BUSY: up_connected (upstream/upstream.pyx).
"""


cdef Conn* conn_connect(const sockaddr* sa, uint32_t n, bint (*prepare)(int, Request*) noexcept nogil, Request* r,
                        int* e) noexcept nogil:
    """A connection on its way to this address, registered with the loop. `prepare` sets the new socket's options for `r`; False:
    it cannot have them. NULL: `e` is an errno, or -1 after `prepare` said no."""
    cdef Conn* u
    cdef int fd = plain_socket(sa.sa_family)
    if fd < 0:
        e[0] = -fd
        return NULL
    if not prepare(fd, r):
        e[0] = -1
        close(fd)
        return NULL
    e[0] = plain_connect(fd, sa, n)
    if e[0]:
        close(fd)
        return NULL
    u = conn_new(fd, K_UP)
    if u == NULL:
        e[0] = ENOMEM
        close(fd)
        return NULL
    u.io = loop.io
    if sa.sa_family == AF_UNIX:
        u.flags |= CF_UNIX
    if not loop_add(u, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET):
        e[0] = errno
        conn_close(u)
        return NULL
    return u


cdef void conn_begin(Conn* c) noexcept nogil:
    """What stood before it (PROXY) is read: the listener's transport, then its protocol."""
    c.io = c.lst.io
    conn_become(c, c.lst.kind if c.io.handshake == NULL else K_HANDSHAKE)


cdef void conn_become(Conn* c, int kind) noexcept nogil:
    """The connection goes on as one of this kind; what is already there to read gets its event."""
    cdef uint32_t gen = c.gen
    c.kind = kind
    loop.kinds[kind].begin(c)
    if c.gen == gen and c.ready & R_READ:
        loop_post(c)


cdef void conn_handshake_begin(Conn* c) noexcept nogil:
    conn_state(c, S_HANDSHAKE)
    timer_set(&loop.wheel, &c.timer, loop.now + c.lst.handshake_timeout)
    conn_handshake_event(c)


cdef void conn_handshake_event(Conn* c) noexcept nogil:
    cdef int rc = c.io.handshake(c)
    if rc == 0:
        return
    if rc < 0:
        conn_handshake_failed(c, False)
        log_handshake(c)
        conn_close(c)
        return
    timer_clear(&c.timer)
    conn_become(c, K_H2 if c.secure and tls_of(c).flags & TLS_H2 else c.lst.kind)


cdef void conn_handshake_timeout(Conn* c) noexcept nogil:
    conn_handshake_failed(c, True)
    log_handshake_late(c)
    conn_close(c)


cdef void conn_handshake_failed(Conn* c, bint late) noexcept nogil:
    if c.io.failed != NULL:
        c.io.failed(c, late)
