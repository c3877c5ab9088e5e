"""X-Accel-* of a server's answer: what the server asks of lb itself.

    response_head -> accel -> X-Accel-Redirect: redirect_internal (GET) or redirect_named; the answer's body is not wanted
                         -> X-Accel-Buffering: yes or no, for this answer

Of an answer that redirects some fields go with the request to its next location (nginx's list): Content-Type, unless the next
answer brings one, and Set-Cookie, Content-Disposition, Cache-Control, Expires, Accept-Ranges. They lie in Request.kept.
"""


cdef bint accel(Request* r, const char* head, Head* h, uint32_t rest) noexcept nogil:
    """The head has X-Accel-*; `rest` bytes follow it. True: the request has gone elsewhere."""
    cdef Field* redirect = accel_field(r, head, h, b"X-Accel-Redirect", 16, IGN_REDIRECT)
    cdef Field* buffering = accel_field(r, head, h, b"X-Accel-Buffering", 17, IGN_BUFFERING)
    if redirect != NULL:
        accel_redirect(r, head, h, redirect, rest)
        return True
    if buffering != NULL and buffering.value_len == 2 and strncasecmp(head + buffering.value, b"no", 2) == 0:
        r.flags &= ~RQ_HOLD
    elif buffering != NULL and buffering.value_len == 3 and strncasecmp(head + buffering.value, b"yes", 3) == 0:
        r.flags |= RQ_HOLD
    return False


cdef Field* accel_field(Request* r, const char* head, Head* h, const char* name, uint32_t n, uint8_t ignore) noexcept nogil:
    """The first field of this name, or NULL: there is none, or proxy_ignore_headers names it."""
    cdef uint32_t i
    if r.loc.ignore & ignore:
        return NULL
    for i in range(h.nfields):
        if h.fields[i].name_len == n and strncasecmp(head + h.fields[i].name, name, n) == 0:
            return &h.fields[i]
    return NULL


cdef void accel_redirect(Request* r, const char* head, Head* h, Field* f, uint32_t rest) noexcept nogil:
    cdef Conn* u = r.up
    cdef Str uri, args
    cdef bint whole = rest == 0 and (h.content_length == 0 or h.status in (204, 304) or r.h.method == M_HEAD)
    if not r.loc.uses & USES_UP_HEAD:   # else response_head has; what is there may be of an answer before this one
        response_keep_head(r, head, h)
    if r.up_text == NULL or not accel_keep(r, head, h):
        up_abandon(r)
        reply_status(r, 500)
        return
    peer_ok(r.peer)
    if r.stuck != NULL:
        sticky_answered(r)
    up_release(r, whole and h.minor and not h.flags & H_CLOSE and r.inb.done and u.out == NULL and u.inb == NULL
               and not temp_file_left(r.body_file) and not u.flags & CF_FAILED and up_quiet(u))
    if r.flags & (RQ_NO_REPLAY | RQ_BODY_DROP):
        redirect_body_drop(r)
    uri.p = r.up_text + f.value
    uri.n = f.value_len
    if uri.n and uri.p[0] == c"@":
        redirect_named(r, redirect_named_find(r, uri), uri)
        return
    args = redirect_cut_query(&uri)
    if not accel_path(r, &uri):
        proxy_pass_log_quoted(r, b"unsafe URI", uri)
        reply_status(r, 404)
        return
    if uri.p[0] != c"/":                # in no location, and no file's name
        reply_status(r, 404)
        return
    redirect_method_get(r)
    redirect_internal(r, uri, args)


cdef bint accel_path(Request* r, Str* path) noexcept nogil:
    """Decode a path that a server names. False: it is unsafe: empty, with a NUL, or with a segment `..`."""
    cdef uint32_t i = 0, w = 0
    cdef char* p = <char*> request_memory(r, path.n + 1)
    if p == NULL or path.n == 0:
        return False
    while i < path.n:
        if path.p[i] == c"%" and i + 2 < path.n and rewrite_is_hex(path.p[i + 1]) and rewrite_is_hex(path.p[i + 2]):
            p[w] = <char> (lb_hex(<uint8_t> path.p[i + 1]) << 4 | lb_hex(<uint8_t> path.p[i + 2]))
            i += 2
        else:
            p[w] = path.p[i]
        i += 1
        w += 1
    if memchr(p, 0, w) != NULL or accel_path_climbs(p, w):
        return False
    path.p = p
    path.n = w
    return True


cdef bint accel_path_climbs(const char* p, uint32_t n) noexcept nogil:
    """Is a segment of the path `..`?"""
    cdef uint32_t i
    for i in range(n):
        if p[i] == c"." and i + 1 < n and p[i + 1] == c"." and (i == 0 or p[i - 1] == c"/") and (i + 2 == n or p[i + 2] == c"/"):
            return True
    return False


# ---- fields that go with the request

cdef bint accel_kept(const char* name, uint32_t n) noexcept nogil:
    return ((n == 19 and strncasecmp(name, b"content-disposition", n) == 0)
            or (n == 13 and (strncasecmp(name, b"cache-control", n) == 0 or strncasecmp(name, b"accept-ranges", n) == 0))
            or (n == 7 and strncasecmp(name, b"expires", n) == 0))


cdef bint accel_keep(Request* r, const char* head, Head* h) noexcept nogil:
    """Into r.kept, as lines of a head, behind those of an earlier redirect. False: no room."""
    cdef Out o
    cdef Field* f
    cdef HeaderFilter* s = r.loc.header_filter
    cdef uint32_t i
    out_init(&o, loop.heads, HEADS)
    out_str(&o, r.kept)
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.id == F_SET_COOKIE:
            if s != NULL and s.ndomains + s.npaths + s.nflags:
                cookie_write(&o, r, &loop.env, head, f)
            else:
                h1_field(&o, head, f)
        elif f.id == F_CONTENT_TYPE:
            r.kept_type.n = f.value_len
            r.kept_type.p = <char*> request_memory(r, f.value_len + 1)
            if r.kept_type.p == NULL:
                return False
            memcpy(r.kept_type.p, head + f.value, f.value_len)
            r.kept_type.p[f.value_len] = 0
        elif accel_kept(head + f.name, f.name_len):
            h1_field(&o, head, f)
    if r.flags & RQ_GAVE_UP:
        return False
    r.flags |= RQ_KEPT
    r.kept.n = <uint32_t> (o.p - loop.heads)
    r.kept.p = <char*> request_memory(r, r.kept.n)
    if o.full or r.kept.p == NULL:
        return False
    memcpy(r.kept.p, loop.heads, r.kept.n)
    return True
