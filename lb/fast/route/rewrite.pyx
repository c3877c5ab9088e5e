"""Operations: `set`, `rewrite`, `return`, `break` and `if`, compiled into one flat array per server and location.

An `if` that does not hold jumps behind its block; one that holds enters its implicit location and goes on in the array.
"""


cdef bint rewrite_run(Request* r, Op* ops, uint32_t n) noexcept nogil:
    """True: the request was answered (and may be gone)."""
    cdef uint32_t i = 0
    cdef Op* op
    while i < n and not r.flags & RQ_GAVE_UP:
        op = &ops[i]
        i += 1
        if debug_on(r.client):
            debug_op(r, op)
        if op.kind == OP_SET:
            rewrite_set(r, op)
        elif op.kind == OP_IF:
            if rewrite_holds(r, op) == op.negate:
                i = op.next
                if debug_on(r.client):
                    debug_text(r.client, b"http script if: false")
            elif r.flags & RQ_GAVE_UP:
                break
            elif op.loc != NULL:
                location_enter(r, op.loc)
        elif op.kind == OP_REWRITE:
            if not regex_match(r, op.regex, r.uri, r.uri_len):
                continue
            if rewrite_rewrite(r, op):
                return True
            if op.last:
                return False
        elif op.kind == OP_RETURN:
            reply_return(r, op)
            return True
        else:
            if r.flags & RQ_URI_CHANGED:
                r.flags = (r.flags & ~<uint64_t> RQ_URI_CHANGED) | RQ_NO_LOCATION
            return False
    return regex_gave_up(r)


cdef void rewrite_set(Request* r, Op* op) noexcept nogil:
    cdef Str s = var_text(r, &op.value)
    if debug_on(r.client):
        debug_quoted(r.client, b"http script set to", s.p, s.n)
    if op.slot >= 0:
        var_slot_put(r, <uint32_t> op.slot, s)
        return
    r.args = s.p
    r.args_len = s.n
    r.flags |= RQ_URI_NEW


# ---- if

cdef bint rewrite_holds(Request* r, Op* op) noexcept nogil:
    """The test of an `if`, before its negation."""
    cdef Str a = var_text(r, &op.value)
    cdef Str b
    if op.test == IF_TRUE:
        return a.n > 1 or (a.n == 1 and a.p[0] != c"0")
    if op.test == IF_EQUAL:
        b = var_text(r, &op.text)
        return reply_same(a, b.p, b.n)
    if op.test == IF_REGEX:
        return regex_match(r, op.regex, a.p, a.n)
    return rewrite_file_is(r, a, op.test)


cdef bint rewrite_file_is(Request* r, Str name, int test) noexcept nogil:
    """-f -d -e -x. A relative name starts from the prefix, which is the working directory's business: as nginx's root."""
    cdef stat_t st
    cdef char* path = <char*> request_memory(r, name.n + 1)
    if path == NULL or name.n == 0:
        return False
    memcpy(path, name.p, name.n)
    path[name.n] = 0
    if stat(path, &st) != 0:
        return False
    if test == IF_FILE:
        return (st.st_mode & S_IFMT) == S_IFREG
    if test == IF_DIR:
        return (st.st_mode & S_IFMT) == S_IFDIR
    if test == IF_EXEC:
        return (st.st_mode & 64) != 0   # the owner's bit, as nginx
    return True


# ---- rewrite

cdef bint rewrite_rewrite(Request* r, Op* op) noexcept nogil:
    """The regular expression matched. True: answered, with a redirect or 500."""
    cdef Str uri
    cdef Str args
    if op.status:
        return rewrite_redirect(r, op)
    uri = var_text(r, &op.value)
    args.p = r.args
    args.n = r.args_len
    if op.has_args:
        args = var_text(r, &op.text)
        if op.add_args:
            args = rewrite_joined(r, args, c"&")
    elif not op.add_args:
        args.n = 0
    if uri.n == 0:
        log_request(LOG_ERR, r, b"the rewritten URI has a zero length", 0, b"")
        reply_status(r, 500)
        return True
    r.uri = uri.p
    r.uri_len = uri.n
    r.args = args.p
    r.args_len = args.n
    r.flags |= RQ_INTERNAL | RQ_URI_NEW
    if debug_on(r.client):
        debug_rewritten(r)
    if op.here:
        r.flags = (r.flags & ~<uint64_t> RQ_URI_CHANGED) | RQ_NO_LOCATION
    else:
        r.flags |= RQ_URI_CHANGED
    return False


cdef Str rewrite_joined(Request* r, Str text, char sep) noexcept nogil:
    """text, sep and the request's query; only text when there is no query."""
    cdef Str s
    if r.args_len == 0:
        return text
    s.n = text.n + 1 + r.args_len
    s.p = <char*> request_memory(r, s.n)
    if s.p == NULL:
        return text
    memcpy(s.p, text.p, text.n)
    s.p[text.n] = sep
    memcpy(s.p + text.n + 1, r.args, r.args_len)
    return s


cdef bint rewrite_redirect(Request* r, Op* op) noexcept nogil:
    cdef Str url = var_text(r, &op.value)
    cdef char* p = <char*> request_memory(r, url.n + 1)
    if p == NULL:
        reply_status(r, 500)
        return True
    url.n = rewrite_unescape(url.p, url.n, p)
    url.p = p
    if op.add_args:
        url = rewrite_joined(r, url, c"&" if op.in_args else c"?")
    reply_redirect(r, op.status, url)
    return True


cdef uint32_t rewrite_unescape(const char* p, uint32_t n, char* out) noexcept nogil:
    """Percent-decoding of the path of a Location (ngx_unescape_uri, NGX_UNESCAPE_REDIRECT): only what needs no escape."""
    cdef uint32_t i = 0, w = 0
    cdef uint8_t c
    while i < n and p[i] != c"?":
        if p[i] != c"%" or i + 2 >= n or not rewrite_is_hex(p[i + 1]) or not rewrite_is_hex(p[i + 2]):
            out[w] = p[i]
            w += 1
            i += 1
            continue
        c = <uint8_t> (lb_hex(<uint8_t> p[i + 1]) << 4 | lb_hex(<uint8_t> p[i + 2]))
        if c == c"?" or 37 < c < 127:
            out[w] = <char> c
            w += 1
        else:
            memcpy(out + w, p + i, 3)
            w += 3
        i += 3
        if c == c"?":
            break
    memcpy(out + w, p + i, n - i)
    return w + n - i


cdef inline bint rewrite_is_hex(char c) noexcept nogil:
    return c"0" <= c <= c"9" or c"a" <= c <= c"f" or c"A" <= c <= c"F"
