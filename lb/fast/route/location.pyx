"""Which server and which location a request belongs to, and the way there: nginx's phases.

    request_begin -> location_server (host, path) -> location_route: server operations -> location_locate
    location_locate: location -> its operations -> (a rewrite: once more, at most 10 times) -> request_handle

An internal redirect (http/internal_redirect.pyx) comes in at location_route again, a named location at location_located.
"""

cdef enum Found:
    FOUND_NO = 0
    FOUND_PREFIX = 1            # a nested location or a regular expression may be better
    FOUND_SURE = 2
    FOUND_SLASH = 3             # the path and a slash: 301

cdef enum:
    MAX_CHANGES = 10            # rewrites and internal redirects of one request, as nginx


# ---- server

cdef inline void location_set(Request* r, Location* l) noexcept nogil:
    r.loc = l
    r.settings = &l.settings


cdef int location_server(Request* r) noexcept nogil:
    """r.srv by host, r.uri and r.args by the target. 0, or the status of a refusal."""
    cdef Listener* l = r.client.lst
    r.srv = location_server_by_host(r) if l.has_names else l.fallback
    location_set(r, &r.srv.fallback)
    if r.flags & RQ_GAVE_UP:
        return 500
    if r.h.method == M_CONNECT or r.h.method == M_TRACE:
        return 405
    return request_path(r)


cdef Server* location_server_by_host(Request* r) noexcept nogil:
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
    dict_lower_into(low, r.head + r.h.host, n)
    found = names_find(t, low, n)
    if found != NULL:
        return <Server*> found
    if n:
        for i in range(t.nregex):
            r.srv = <Server*> t.values[i]
            location_set(r, &r.srv.fallback)     # for the log, should the match fail
            if regex_match(r, &t.regexes[i], low, n):
                return r.srv
            if r.flags & RQ_GAVE_UP:
                break
    return r.client.lst.fallback


# ---- location

cdef int location_fixed_find(Request* r, Routes* t) noexcept nogil:
    """`=`, then the longest prefix, of one level; sets r.loc unless FOUND_NO. Costs the logarithm of their number."""
    cdef uint32_t n = r.uri_len
    cdef int32_t i = location_spot_last(t.spots, t.nspots, r.uri, n)
    cdef Spot* at
    if i < 0 or t.spots[i].pattern.n != n or memcmp(t.spots[i].pattern.p, r.uri, n) != 0:
        at = location_spot_slash(t.spots + i + 1, t.nspots - <uint32_t> (i + 1), r.uri, n)
        if at != NULL and (at.exact if at.exact != NULL else at.prefix).redirect_to:
            location_set(r, at.exact if at.exact != NULL else at.prefix)
            return FOUND_SLASH
    elif t.spots[i].exact != NULL:
        location_set(r, t.spots[i].exact)
        return FOUND_SURE
    while i >= 0:
        at = &t.spots[i]
        if at.prefix != NULL and at.pattern.n <= n and memcmp(at.pattern.p, r.uri, at.pattern.n) == 0:
            location_set(r, at.prefix)
            return FOUND_PREFIX
        i = at.parent
    return FOUND_NO


cdef int location_find(Request* r, Routes* t) noexcept nogil:
    """The best location of this level and those nested in it (ngx_http_core_find_location)."""
    cdef uint32_t i
    cdef bint noregex = False
    cdef int found = location_fixed_find(r, t)
    if found == FOUND_PREFIX:
        noregex = r.loc.noregex
        found = location_find(r, &r.loc.routes) if r.loc.routes.nspots + r.loc.routes.nregex else FOUND_NO
    if found >= FOUND_SURE:
        return found
    if not noregex:
        for i in range(t.nregex):
            if regex_match(r, t.regex[i].regex, r.uri, r.uri_len):
                location_set(r, t.regex[i])
                location_find(r, &r.loc.routes)
                return FOUND_SURE
            if r.flags & RQ_GAVE_UP:
                return FOUND_SURE       # no other location either: locate looks
    return found


cdef void location_enter(Request* r, Location* l) noexcept nogil:
    """The request is this location's from here on."""
    if l.except_loc != NULL and not (l.except_methods >> r.h.method) & 1:
        l = l.except_loc
    location_set(r, l)
    r.ups = l.settings.ups
    r.up_tls = l.settings.up_tls
    if unlikely(loop.debug):
        debug_location(r)
    if (r.client.served >= l.keepalive_requests or l.keepalive_timeout == 0 or loop.stopping
            or loop.now - r.client.opened > l.keepalive_time):
        r.flags &= ~RQ_KEEP
    elif l.keepalive_off and request_no_keepalive(r):
        r.flags &= ~RQ_KEEP


# ---- the phases

cdef void location_route(Request* r) noexcept nogil:
    """The server's operations, then its locations; ends with the handler, or with an answer."""
    if r.srv.nops:
        location_enter(r, &r.srv.fallback)
        if rewrite_run(r, r.srv.ops, r.srv.nops):
            return
    location_locate(r)


cdef void location_locate(Request* r) noexcept nogil:
    cdef int found
    while True:
        r.flags &= ~RQ_URI_CHANGED
        location_set(r, &r.srv.fallback)
        found = location_find(r, &r.srv.routes)
        location_enter(r, r.loc)
        if regex_gave_up(r):
            return
        if r.loc.internal and not r.flags & RQ_INTERNAL:
            reply_status(r, 404)
            return
        if location_body_too_large(r):
            log_body_large(r, 0, r.inb.seen)
            reply_status(r, 413)
            return
        if found == FOUND_SLASH:
            reply_slash(r)
            return
        if not r.settings.nops:
            break
        if rewrite_run(r, r.settings.ops, r.settings.nops):
            return
        if not r.flags & RQ_URI_CHANGED:
            break
        r.uri_changes += 1
        if r.uri_changes > MAX_CHANGES:
            location_log_cycle(r, b"processing")
            reply_status(r, 500)
            return
    request_handle(r)


cdef void location_located(Request* r, Location* l) noexcept nogil:
    """A location that was named: its operations (which may leave it again), then its handler."""
    location_enter(r, l)
    r.flags &= ~RQ_URI_CHANGED
    if r.settings.nops:
        if rewrite_run(r, r.settings.ops, r.settings.nops):
            return
        if r.flags & RQ_URI_CHANGED:
            r.uri_changes += 1
            location_locate(r)
            return
    request_handle(r)


cdef bint location_body_too_large(Request* r) noexcept nogil:
    return r.loc.max_body and (r.h.content_length > r.loc.max_body or r.inb.seen > <uint64_t> r.loc.max_body)


cdef void location_log_cycle(Request* r, const char* doing) noexcept nogil:
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    out_text(&o, b"rewrite or internal redirection cycle while ")
    out_text(&o, doing)
    out_text(&o, b" \"")
    out_escaped(&o, r.uri, r.uri_len if r.uri_len < 1024 else 1024)
    out_char(&o, 34)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)
