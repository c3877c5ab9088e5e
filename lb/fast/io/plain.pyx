"""Plain sockets: the first transport, and what others stand on. Descriptors are touched here, by loop_add and by accept.

    conn_recv -> plain_recv: recv(2)      splice_in -> plain_splice_in: socket -> pipe      conn_sendfile -> plain_sendfile

Each operation takes R_READ or R_WRITE down when it has seen the socket empty or full: the next edge tells of more.
"""

cdef Transport plain
cdef Transport plain_none         # of a connection that has no socket now (conn_hang_up)


cdef void plain_init() noexcept nogil:
    plain.name = b"plain"
    plain.recv = plain_recv
    plain.send = plain_send
    plain.peek = plain_peek
    plain.pending = plain_pending
    plain.handshake = NULL
    plain.splice_in = plain_splice_in
    plain.splice_out = plain_splice_out
    plain.sendfile = plain_sendfile
    plain.shutdown = plain_shutdown
    plain.reset = plain_reset
    plain.close = plain_close
    plain.error = plain_error
    plain.local = plain_local
    plain_none.name = b"none"
    plain_none.pending = plain_pending
    plain_none.close = plain_none_close


cdef int plain_socket(int family) noexcept nogil:
    """A new descriptor, or -errno."""
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    return fd if fd >= 0 else -errno


cdef int plain_connect(int fd, const sockaddr* sa, uint32_t n) noexcept nogil:
    """Begin a connection. 0, or the errno."""
    return errno if connect(fd, sa, n) != 0 and errno != EINPROGRESS else 0


cdef int plain_open(Conn* c, const sockaddr* sa, uint32_t n) noexcept nogil:
    """A new socket for a connection that has none, on its way to this address and in the loop. 0, or the errno."""
    cdef int fd = plain_socket(sa.sa_family)
    cdef int e
    if fd < 0:
        return -fd
    e = plain_connect(fd, sa, n)
    if e:
        close(fd)
        return e
    c.fd = fd
    c.io = &plain
    c.ready = 0
    c.flags = (c.flags & CF_POSTED) | CF_NODELAY | (CF_UNIX if sa.sa_family == AF_UNIX else 0)
    return 0 if loop_add(c, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) else errno


cdef void plain_none_close(Conn* c) noexcept nogil:
    pass


cdef void plain_probe(Conn* c, int seconds, int most) noexcept nogil:
    """Ask the peer's kernel after so much silence, and as often, whether it still knows the connection."""
    cdef int one = 1
    setsockopt(c.fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    setsockopt(c.fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds))
    setsockopt(c.fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds))
    setsockopt(c.fd, IPPROTO_TCP, TCP_KEEPCNT, &most, sizeof(most))


cdef int plain_unacknowledged(Conn* c) noexcept nogil:
    """Bytes sent that the peer's kernel has not confirmed; 0 also where that cannot be known."""
    cdef int left = 0
    return left if ioctl(c.fd, SIOCOUTQ, &left) == 0 else 0


cdef inline ssize_t plain_recv(Conn* c, char* p, size_t n) noexcept nogil:
    """A short read has emptied the socket, so R_READ goes down without a second recv. Only when the peer's end was announced
    (R_HUP) is there something left to read: the end itself."""
    cdef ssize_t got = recv(c.fd, p, n, 0)
    if likely(got > 0):
        if <size_t> got < n and not c.ready & R_HUP:
            c.ready &= ~R_READ
        return got
    return plain_nothing(c, got)


cdef ssize_t plain_nothing(Conn* c, ssize_t got) noexcept nogil:
    """What a read that brought nothing says: the end, none now, or broken."""
    if got == 0:
        c.flags |= CF_EOF
        c.ready &= ~R_READ
        return IO_END
    if errno == EAGAIN or errno == EINTR:
        c.ready &= ~R_READ
        return IO_AGAIN
    c.flags |= CF_FAILED
    c.ready &= ~(R_READ | R_WRITE)
    return IO_FAILED


cdef inline ssize_t plain_send(Conn* c, const char* p, size_t n) noexcept nogil:
    cdef ssize_t got
    if c.flags & (CF_USED | CF_NODELAY | CF_UNIX) == CF_USED:
        plain_nodelay(c)
    got = send(c.fd, p, n, MSG_NOSIGNAL)
    if likely(got == <ssize_t> n):
        return got
    return plain_blocked(c, got)


cdef ssize_t plain_blocked(Conn* c, ssize_t got) noexcept nogil:
    """What a write that did not take all says: so many, none now (0), or broken."""
    c.ready &= ~R_WRITE
    if got >= 0:
        return got
    if errno == EAGAIN or errno == EINTR:
        return 0
    c.flags |= CF_FAILED
    return IO_FAILED


cdef void plain_nodelay(Conn* c) noexcept nogil:
    cdef int one = 1
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    c.flags |= CF_NODELAY


cdef ssize_t plain_peek(Conn* c, char* p, size_t n) noexcept nogil:
    """As plain_recv, but the bytes stay, and so does the end."""
    cdef ssize_t got = recv(c.fd, p, n, MSG_PEEK)
    if got > 0:
        if <size_t> got < n and not c.ready & R_HUP:
            c.ready &= ~R_READ
        return got
    if got == 0:
        return IO_END
    return plain_nothing(c, got)


cdef int plain_pending(Conn* c) noexcept nogil:
    """The kernel tells of everything."""
    return 0


cdef ssize_t plain_splice_in(Conn* c, Pipe* to, size_t n) noexcept nogil:
    cdef ssize_t got = splice(c.fd, NULL, to.w, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    return got if got > 0 else plain_nothing(c, got)


cdef ssize_t plain_splice_out(Conn* c, Pipe* frm) noexcept nogil:
    cdef ssize_t got = splice(frm.r, NULL, c.fd, NULL, frm.filled, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    return got if got >= 0 else plain_blocked(c, got)


cdef ssize_t plain_sendfile(Conn* c, int file, int64_t at, size_t n) noexcept nogil:
    """0 with R_WRITE up: the file has ended."""
    cdef ssize_t got = sendfile(c.fd, file, &at, n)
    return got if got >= 0 else plain_blocked(c, got)


cdef void plain_shutdown(Conn* c) noexcept nogil:
    shutdown(c.fd, SHUT_WR)


cdef void plain_reset(Conn* c) noexcept nogil:
    cdef linger how
    how.l_onoff = 1
    how.l_linger = 0
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how))


cdef void plain_close(Conn* c) noexcept nogil:
    COUNT_IF(close(c.fd) != 0, loop.st.glitch_close)
    c.fd = -1


cdef int plain_error(Conn* c) noexcept nogil:
    cdef int e = 0
    cdef socklen_t n = sizeof(e)
    if getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0:
        return errno
    return e


cdef bint plain_local(Conn* c, char* sa, uint32_t* n) noexcept nogil:
    return getsockname(c.fd, <sockaddr*> sa, <socklen_t*> n) == 0
