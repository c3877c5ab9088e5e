"""Sockets to servers before they connect: their options and where they come from (proxy_bind).

    up_tries_begin -> up_local_begin: r.local;  up_connect -> up_outgoing_set, up_local_keep;  pool_take_for -> up_local_fits
"""

cdef void up_local_begin(Request* r) noexcept nogil:
    """r.local: what proxy_bind comes to for this request. Nothing, as nginx, where that is empty or no address."""
    cdef Outgoing* o = &r.settings.out
    cdef Str s
    r.local_len = 0
    if not o.bound:
        return
    s = var_text(r, &o.local)
    if s.n == 0:
        return
    r.local = <char*> request_memory(r, sizeof(sockaddr_in6))
    if r.local != NULL:
        r.local_len = up_local_address(s, r.local)
    if r.local_len == 0:
        proxy_pass_log_quoted(r, b"invalid local address", s)


cdef uint32_t up_local_address(Str s, char* sa) noexcept nogil:
    """The sockaddr of ADDRESS or ADDRESS:PORT, IPv6 also in brackets; its length, 0: it is none."""
    if s.n > 2 and s.p[0] == c"[" and s.p[s.n - 1] == c"]":
        return realip_plain_address(s.p + 1, s.n - 2, sa) if memchr(s.p, c":", s.n) != NULL else 0
    return realip_address_of(s.p, s.n, sa)


cdef bint up_outgoing_set(int fd, Request* r) noexcept nogil:
    """False: the socket cannot have the address that it should have (logged)."""
    cdef Outgoing* o = &r.settings.out
    cdef int one = 1
    if o.keepalive:
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    if o.rcvbuf:
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o.rcvbuf, sizeof(int))
    if o.sndbuf:
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &o.sndbuf, sizeof(int))
    if r.local_len == 0 or r.peer.family == AF_UNIX:
        return True
    if o.transparent and setsockopt(fd, IPPROTO_IPV6 if r.peer.family == AF_INET6 else IPPROTO_IP,
                                    IPV6_TRANSPARENT if r.peer.family == AF_INET6 else IP_TRANSPARENT,
                                    &one, sizeof(one)) != 0:
        log_request(LOG_ALERT, r, b"setsockopt(IP_TRANSPARENT) failed", errno, b"while connecting to upstream")
        return False
    if (<sockaddr_in*> r.local).sin_port == 0:      # chosen by connect(), which knows the server: more of them fit
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one))
    if bind(fd, <sockaddr*> r.local, r.local_len) == 0:
        return True
    up_log_bind(r, errno)
    return False


cdef void up_log_bind(Request* r, int e) noexcept nogil:
    """[crit] bind(10.0.0.1) failed (99: Cannot assign requested address) while connecting to upstream"""
    cdef char text[80]
    cdef Out o
    out_init(&o, text, sizeof(text))
    out_put(&o, b"bind(", 5)
    sockaddr_write(&o, r.local, r.local_len)
    out_put(&o, b") failed\0", 9)
    log_request(LOG_CRIT, r, text, e, b"while connecting to upstream")


cdef void up_local_keep(Conn* u, Request* r) noexcept nogil:
    """A new connection remembers where it comes from."""
    if r.local_len and r.peer.family != AF_UNIX:
        u.addr_len = r.local_len
        memcpy(u.addr, r.local, r.local_len)


cdef bint up_local_fits(Conn* u, Request* r) noexcept nogil:
    """May the request have this pooled connection? Not one that another location made, or that comes from another address."""
    cdef uint32_t n = 0 if r.peer.family == AF_UNIX else r.local_len
    if r.ups.local and u.loc != r.loc:
        return False
    if (r.up_tls != NULL or u.io != loop.io) and not tls_fits(u, r):
        return False
    return u.addr_len == n and (n == 0 or memcmp(u.addr, r.local, n) == 0)
