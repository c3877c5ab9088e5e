"""error_page and internal redirects: a request that begins again with another path, or in a named location.

    reply_status -> redirect_error_page -> redirect_internal -> location_route      (/URI: the method becomes GET, but for HEAD)
                                -> redirect_named -> location_located   (@name: method and path stay)
                                -> reply_redirect                      (a URL)
"""


cdef ErrorPage* redirect_error_page_for(Location* l, int status) noexcept nogil:
    cdef uint32_t i
    for i in range(l.nerror_pages):
        if l.error_pages[i].status == status:
            return &l.error_pages[i]
    return NULL


cdef bint redirect_error_page(Request* r, int status) noexcept nogil:
    """Does the location have something of its own for this status? True: the request has gone on with it."""
    cdef ErrorPage* e
    cdef Str url, args
    if r.flags & (RQ_ERROR_PAGE | RQ_STARTED) or r.head == NULL or r.uri == NULL or r.uri_changes > MAX_CHANGES:
        return False
    if not r.loc.recursive_error_pages:
        r.flags |= RQ_ERROR_PAGE
    e = redirect_error_page_for(r.loc, status)
    if e == NULL:
        return False
    if e.overwrite >= 0:
        r.err_status = <uint16_t> e.overwrite
    elif reply_refusal(status) != NULL:
        r.err_status = 400
    if status in (400, 408, 413, 414, 431) or r.inb.kind == B_NONE or r.flags & (RQ_NO_REPLAY | RQ_BODY_DROP):
        redirect_body_drop(r)                    # what follows a refused head is no body either
    url = var_text(r, &e.target)
    if url.n and url.p[0] == c"@":
        redirect_named(r, e.named if e.named != NULL else redirect_named_find(r, url), url)
        return True
    if url.n and url.p[0] == c"/":
        args = redirect_cut_query(&url)
        redirect_method_get(r)
        redirect_internal(r, url, args)
        return True
    r.flags |= RQ_ERROR_PAGE
    reply_redirect(r, r.err_status if r.err_status in (301, 302, 303, 307, 308) else 302, url)
    return True


cdef void redirect_method_get(Request* r) noexcept nogil:
    """An internal redirect is a GET, or still a HEAD."""
    if r.h.method != M_HEAD:
        r.h.method = M_GET
        r.method.p = b"GET"
        r.method.n = 3


cdef void redirect_body_drop(Request* r) noexcept nogil:
    """The request goes on without its body; what the client still sends of it is read away at the end."""
    cdef Conn* c = r.client
    if not r.inb.done:
        r.flags = (r.flags & ~<uint64_t> RQ_KEEP) | RQ_BODY_LEFT
    r.flags &= ~(RQ_NO_REPLAY | RQ_CONTINUE | RQ_BODY_DROP)
    r.inb.done = 1
    r.inb.kind = B_NONE
    r.inb.out = B_NONE
    r.h.content_length = -1
    c.flags &= ~CF_BULK
    splice_pipe_give(c)
    timer_clear(&c.timer)
    temp_file_free(r.body_file)
    r.body_file = NULL
    if r.body != NULL:
        buf_free_chain(&loop.pool, r.body)
        r.body = NULL


cdef bint redirect_begin_again(Request* r, const char* doing) noexcept nogil:
    """Forget what the former location did. False: once too often, and the request was answered with 500."""
    r.uri_changes += 1
    if r.uri_changes > MAX_CHANGES:
        location_log_cycle(r, doing)
        reply_status(r, 500)
        return False
    request_phase(r, PH_ROUTING)
    r.flags &= ~(RQ_REUSED | RQ_UP_KEEP | RQ_HOLD | RQ_NO_LOCATION | RQ_URI_CHANGED | RQ_ALIAS_URI)
    r.flags |= RQ_INTERNAL
    up_try_add(r, r.peer)
    proxy_pass_drop(r)
    r.redirected = 1
    r.key.p = NULL
    r.key.n = 0
    r.unfit = 0
    r.tries = 0
    r.ntried = 0
    memset(&r.outb, 0, sizeof(Body))
    if r.coded:
        filter_reset(r)
    return True


cdef void redirect_internal(Request* r, Str path, Str args) noexcept nogil:
    """To a decoded path, with a query or (p NULL) none."""
    if not redirect_begin_again(r, b"internally redirecting to"):
        return
    r.uri = path.p
    r.uri_len = path.n
    r.args = args.p
    r.args_len = args.n
    r.flags |= RQ_URI_NEW
    if debug_on(r.client):
        debug_quoted(r.client, b"internal redirect:", r.uri, r.uri_len)
    location_route(r)


cdef Str redirect_cut_query(Str* uri) noexcept nogil:
    """Takes what follows the first ? away from the URI; p NULL: there is none."""
    cdef Str args
    cdef char* q = <char*> memchr(uri.p, c"?", uri.n)
    args.p = NULL
    args.n = 0
    if q != NULL:
        args.p = q + 1
        args.n = uri.n - <uint32_t> (q - uri.p) - 1
        uri.n = <uint32_t> (q - uri.p)
    return args


cdef Location* redirect_named_find(Request* r, Str name) noexcept nogil:
    """The server's location @name, or NULL."""
    cdef uint32_t i
    for i in range(r.srv.nnamed):
        if r.srv.named[i].pattern.n == name.n and memcmp(r.srv.named[i].pattern.p, name.p, name.n) == 0:
            return r.srv.named[i]
    return NULL


cdef void redirect_named(Request* r, Location* l, Str name) noexcept nogil:
    if l == NULL:
        proxy_pass_log_quoted(r, b"could not find named location", name)
        reply_status(r, 500)
        return
    if redirect_begin_again(r, b"redirecting to named location for"):
        if debug_on(r.client):
            debug_quoted(r.client, b"using location:", l.pattern.p, l.pattern.n)
        location_located(r, l)
