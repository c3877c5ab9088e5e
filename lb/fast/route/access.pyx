"""Who a client is, and whether it may come in: realip, allow and deny, for requests and for sessions.

    request_begin -> realip_apply (by the server) ... request_handle -> realip_apply (by the location, if not yet)
        -> access_admits: 403
    tcp_begin -> realip_apply -> access_admits: status 403 and the end                    request_free -> realip_end
"""


cdef bint access_admits(Request* r, Cidrs* rules) noexcept nogil:
    """By the first rule that fits the client; logs a refusal."""
    cdef Conn* c = r.client
    cdef Cidr* found = cidr_find(rules, c.addr, c.addr_len)
    if debug_on(c):
        debug_text(c, b"access: allowed" if found == NULL or not found.deny else b"access: denied")
    if found == NULL or not found.deny:
        return True
    log_request(LOG_ERR, r, b"access forbidden by rule", 0, b"while initializing session" if r.flags & RQ_TCP else b"")
    return False


cdef int access_says(Request* r, Cidrs* rules, bint any) noexcept nogil:
    """For auth/phase.pyx: AuthSays, or 403, which is logged when it is sure (`any`: it is not yet)."""
    cdef Cidr* found = cidr_find(rules, r.client.addr, r.client.addr_len)
    if found == NULL:
        return AUTH_NOTHING
    if not found.deny:
        return AUTH_YES
    if not any:
        log_request(LOG_ERR, r, b"access forbidden by rule", 0, b"")
    return 403


# ---- realip

cdef void realip_apply(Request* r, RealIp* how) noexcept nogil:
    """Put the address that a trusted proxy tells in the place of the client's, for the length of this request."""
    cdef char sa[28]
    cdef Conn* c = r.client
    cdef uint32_t n = c.addr_len
    memcpy(sa, c.addr, sizeof(sa))
    if how.kind == REAL_PROXY_PROTOCOL:
        realip_proxy_protocol(c, how, sa, &n)
    elif how.kind == REAL_FORWARDED:
        realip_forwarded(r, how, sa, &n)
    else:
        realip_field(r, how, sa, &n)
    if n == c.addr_len and memcmp(sa, c.addr, n) == 0:
        return
    if debug_on(c):
        debug_client(c, b"realip: the client is", sa, n)
    r.own = <OwnAddress*> request_memory(r, sizeof(OwnAddress))
    if r.own == NULL:
        return
    r.own.len = c.addr_len
    memcpy(r.own.sa, c.addr, sizeof(sa))
    c.addr_len = n
    memcpy(c.addr, sa, sizeof(sa))


cdef void realip_end(Request* r) noexcept nogil:
    """The connection's own address again: the next request may be another client's."""
    r.client.addr_len = r.own.len
    memcpy(r.client.addr, r.own.sa, sizeof(r.own.sa))


cdef void realip_proxy_protocol(Conn* c, RealIp* how, char* sa, uint32_t* n) noexcept nogil:
    cdef ProxyProtocol* g = proxy_protocol_of(c)
    if g != NULL and cidr_find(&how.proxies, sa, n[0]) != NULL:
        n[0] = g.source_len
        memcpy(sa, g.source, sizeof(g.source))


cdef void realip_forwarded(Request* r, RealIp* how, char* sa, uint32_t* n) noexcept nogil:
    """X-Forwarded-For, the last field first."""
    cdef uint32_t i = r.h.nfields
    cdef Field* f
    while i:
        i -= 1
        f = &r.h.fields[i]
        if f.id == F_X_FORWARDED_FOR and not realip_parse(r.head + f.value, f.value_len, &how.proxies, how.recursive, sa, n):
            return


cdef void realip_field(Request* r, RealIp* how, char* sa, uint32_t* n) noexcept nogil:
    cdef uint32_t i
    cdef Field* f
    for i in range(r.h.nfields):
        f = &r.h.fields[i]
        if not f.flags & FF_BAD_NAME and reply_same_any_case(how.name, r.head + f.name, f.name_len):
            realip_parse(r.head + f.value, f.value_len, &how.proxies, how.recursive, sa, n)
            return
