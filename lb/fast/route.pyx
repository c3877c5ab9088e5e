"""Which server and which location a request belongs to, and the way there: nginx's phases.

    http_begin -> route_server (host, path) -> http_route: server operations -> locate
    locate: location -> its operations -> (a rewrite: once more, at most 10 times) -> handle

An internal redirect (redirect.pyx) comes in at http_route again, a named location at located.
"""

cdef enum Found:
    FOUND_NO = 0
    FOUND_PREFIX = 1            # a nested location or a regular expression may be better
    FOUND_SURE = 2
    FOUND_SLASH = 3             # the path and a slash: 301

cdef enum:
    MAX_CHANGES = 10            # rewrites and internal redirects of one request, as nginx


# ---- server

cdef int route_server(Request* r) noexcept nogil:
    """r.srv by host, r.uri and r.args by the target. 0, or the status of a refusal."""
    cdef Listener* l = r.client.lst
    r.srv = server_by_host(r) if l.has_names else l.fallback
    r.loc = &r.srv.fallback
    if r.flags & RQ_GAVE_UP:
        return 500
    if r.h.method == M_CONNECT or r.h.method == M_TRACE:
        return 405
    return request_path(r)


cdef Server* server_by_host(Request* r) noexcept nogil:
    """By exact name, the longest `*.x`, the longest `x.*`, the first regular expression; else the default server."""
    cdef Names* t = &r.client.lst.names
    cdef uint32_t i, n = r.h.host_len
    cdef char small[256]
    cdef char* low = small
    cdef void* found
    if t.nregex or n > sizeof(small):
        low = <char*> request_memory(r, n + 1)
        if low == NULL:
            return r.client.lst.fallback
    lower_into(low, r.head + r.h.host, n)
    found = names_find(t, low, n)
    if found != NULL:
        return <Server*> found
    if n:
        for i in range(t.nregex):
            r.srv = <Server*> t.values[i]
            r.loc = &r.srv.fallback     # for the log, should the match fail
            if regex_match(r, &t.regexes[i], low, n):
                return r.srv
            if r.flags & RQ_GAVE_UP:
                break
    return r.client.lst.fallback


# ---- location

cdef int fixed_find(Request* r, Routes* t) noexcept nogil:
    """`=`, then the longest prefix, of one level; sets r.loc unless FOUND_NO. Costs the logarithm of their number."""
    cdef uint32_t n = r.uri_len
    cdef int32_t i = spot_last(t.spots, t.nspots, r.uri, n)
    cdef Spot* at
    if i < 0 or t.spots[i].pattern.n != n or memcmp(t.spots[i].pattern.p, r.uri, n) != 0:
        at = spot_slash(t.spots + i + 1, t.nspots - <uint32_t> (i + 1), r.uri, n)
        if at != NULL and (at.exact if at.exact != NULL else at.prefix).redirect_to:
            r.loc = at.exact if at.exact != NULL else at.prefix
            return FOUND_SLASH
    elif t.spots[i].exact != NULL:
        r.loc = t.spots[i].exact
        return FOUND_SURE
    while i >= 0:
        at = &t.spots[i]
        if at.prefix != NULL and at.pattern.n <= n and memcmp(at.pattern.p, r.uri, at.pattern.n) == 0:
            r.loc = at.prefix
            return FOUND_PREFIX
        i = at.parent
    return FOUND_NO


cdef int routes_find(Request* r, Routes* t) noexcept nogil:
    """The best location of this level and those nested in it (ngx_http_core_find_location)."""
    cdef uint32_t i
    cdef bint noregex = False
    cdef int found = fixed_find(r, t)
    if found == FOUND_PREFIX:
        noregex = r.loc.noregex
        found = routes_find(r, &r.loc.routes) if r.loc.routes.nspots + r.loc.routes.nregex else FOUND_NO
    if found >= FOUND_SURE:
        return found
    if not noregex:
        for i in range(t.nregex):
            if regex_match(r, t.regex[i].regex, r.uri, r.uri_len):
                r.loc = t.regex[i]
                routes_find(r, &r.loc.routes)
                return FOUND_SURE
            if r.flags & RQ_GAVE_UP:
                return FOUND_SURE       # no other location either: locate looks
    return found


cdef void enter(Request* r, Location* l) noexcept nogil:
    """The request is this location's from here on."""
    if l.except_loc != NULL and not (l.except_methods >> r.h.method) & 1:
        l = l.except_loc
    r.loc = l
    r.ups = l.ups
    if (r.client.served >= l.keepalive_requests or l.keepalive_timeout == 0 or loop.stopping
            or loop.now - r.client.opened > l.keepalive_time):
        r.flags &= ~RQ_KEEP
    elif l.keepalive_off and no_keepalive(r):
        r.flags &= ~RQ_KEEP


# ---- the phases

cdef void http_route(Request* r) noexcept nogil:
    """The server's operations, then its locations; ends with the handler, or with an answer."""
    if r.srv.nops:
        enter(r, &r.srv.fallback)
        if ops_run(r, r.srv.ops, r.srv.nops):
            return
    locate(r)


cdef void locate(Request* r) noexcept nogil:
    cdef int found
    while True:
        r.flags &= ~RQ_URI_CHANGED
        r.loc = &r.srv.fallback
        found = routes_find(r, &r.srv.routes)
        enter(r, r.loc)
        if gave_up(r):
            return
        if r.loc.internal and not r.flags & RQ_INTERNAL:
            answer_status(r, 404)
            return
        if body_too_large(r):
            log_body_large(r, 0, r.inb.seen)
            answer_status(r, 413)
            return
        if found == FOUND_SLASH:
            answer_slash(r)
            return
        if not r.loc.nops:
            break
        if ops_run(r, r.loc.ops, r.loc.nops):
            return
        if not r.flags & RQ_URI_CHANGED:
            break
        r.uri_changes += 1
        if r.uri_changes > MAX_CHANGES:
            log_cycle(r, b"processing")
            answer_status(r, 500)
            return
    handle(r)


cdef void located(Request* r, Location* l) noexcept nogil:
    """A location that was named: its operations (which may leave it again), then its handler."""
    enter(r, l)
    r.flags &= ~RQ_URI_CHANGED
    if r.loc.nops:
        if ops_run(r, r.loc.ops, r.loc.nops):
            return
        if r.flags & RQ_URI_CHANGED:
            r.uri_changes += 1
            locate(r)
            return
    handle(r)


cdef bint body_too_large(Request* r) noexcept nogil:
    return r.loc.max_body and (r.h.content_length > r.loc.max_body or r.inb.seen > <uint64_t> r.loc.max_body)


cdef void log_cycle(Request* r, const char* doing) noexcept nogil:
    cdef Out o
    if not error_begin(&o, errors_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    out_text(&o, b"rewrite or internal redirection cycle while ")
    out_text(&o, doing)
    out_text(&o, b" \"")
    out_escaped(&o, r.uri, r.uri_len if r.uri_len < 1024 else 1024)
    out_char(&o, 34)
    error_context(&o, r)
    error_end(&o, errors_of(r), LOG_ERR)
