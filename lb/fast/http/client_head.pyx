"""Heads of HTTP/1 requests: read, kept while they are not whole, parsed, refused; what the logs say of those that end early.

    client_read -> client_parse -> request_begin (http/client.pyx) | client_refuse
    the client leaves: client_head_left;  it is too slow: client_head_timeout

A head lies whole in one place when it is parsed: in the scratch buffer, or in Conn.inb behind what had come before. What a
refused head says goes into the logs and nowhere else.
"""


cdef void client_read(Conn* c) noexcept nogil:
    """Parse what is kept; when it is no whole head, read more behind it."""
    cdef uint32_t n = 0
    cdef ssize_t got
    cdef Buf* b = c.inb
    cdef char* p = loop.scratch + HEADROOM
    if b != NULL:
        n = buf_len(b)
        if c.state != S_HEAD or not c.ready & R_READ:       # pipelined, or a transport's first bytes: it may be whole already
            client_head_begins(c, c.state == S_IDLE)
            timer_set(&loop.wheel, &c.timer, loop.now + c.lst.fallback.fallback.header_timeout)
            if client_parse(c, buf_data(b) + b.off, n) or not c.ready & R_READ:
                return
        if n < SCRATCH:
            memcpy(p, buf_data(b) + b.off, n)
    if not c.ready & R_READ:
        return
    got = conn_recv(c, p + n, SCRATCH - n)
    if got == -1:
        return
    if got <= 0:
        client_ended(c)
        return
    if b != NULL:
        c.inb = NULL
        buf_free(&loop.pool, b)
    loop.st.bytes_in += got
    if c.state == S_IDLE:
        timer_clear(&c.timer)
    client_head_begins(c, False)
    if not client_parse(c, p, n + <uint32_t> got) and c.ready & R_READ:
        loop_post(c)                         # its end came with the bytes: no further event will tell of it


cdef void client_head_begins(Conn* c, bint piped) noexcept nogil:
    """The first bytes of a head are here, if they were not before: $request_time runs from now."""
    if c.state == S_HEAD:
        return
    conn_state(c, S_HEAD)
    c.began = loop.now
    c.piped = piped


cdef void client_ended(Conn* c) noexcept nogil:
    """The client ended, or broke, between requests or within a head."""
    if c.inb != NULL:
        log_client_of(LOG_INFO, c, b"client prematurely closed connection while reading client request line",
                      c.lst.fallback.name)
        client_head_left(c)
        return
    if c.state == S_IDLE:
        log_idle_end(c)
    conn_close(c)


cdef void client_head_left(Conn* c) noexcept nogil:
    """The client has left within a head: its line in the access log has 400, as nginx's."""
    cdef Head h
    cdef Buf* b = c.inb
    cdef Request* r
    client_head_again(c, b, &h)
    r = request_refused(c, buf_data(b) + b.off, buf_len(b), &h)
    if r == NULL:
        client_out_of_memory(c, r)
        return
    r.status = 400
    request_log(r)
    request_free(r)
    conn_close(c)


cdef void client_head_again(Conn* c, Buf* b, Head* h) noexcept nogil:
    """What there is of a head that is not whole."""
    client_head_room(c, h)
    head_parse_request(buf_data(b) + b.off, min(buf_len(b), c.lst.head_most), h)


cdef void client_head_room(Conn* c, Head* h) noexcept nogil:
    """What the parser wants to know before a server is known."""
    h.fields = loop.fields
    h.max_fields = c.lst.fields_most
    h.max_target = c.lst.line_most
    h.lenient = c.lst.lenient | (LX_HTTPS if c.secure else 0)


cdef bint client_parse(Conn* c, char* p, uint32_t n) noexcept nogil:
    """Parse a head at p (in c.inb, or in the scratch buffer). False: it is not whole, and what there is is kept."""
    cdef Head h
    cdef Request* r
    cdef int rc, preface
    cdef uint32_t most = c.lst.head_most
    client_head_room(c, &h)
    rc = head_parse_request(p, n if n < most else most, &h)
    if unlikely(rc == P_BAD and c.lst.h2):
        preface = h2_preface(c, p, n)
        if preface > 0:
            return True
        if preface == 0:
            rc = P_MORE
    if rc == P_MORE:
        if debug_on(c):
            debug_number(c, b"http head is not whole, bytes so far:", n)
        if n >= most:
            h.error = 414 if memchr(p, 10, most) == NULL else 400
            h.rule = 0
            h.error_at = most
            client_refuse(c, p, n, &h)
            return True
        if c.inb == NULL:
            conn_keep(c, p, n)
        if c.timer.at == 0:
            timer_set(&loop.wheel, &c.timer, loop.now + c.lst.fallback.fallback.header_timeout)
        return False
    if rc == P_BAD:
        client_refuse(c, p, n, &h)
        return True
    timer_clear(&c.timer)
    r = request_new(c, h.size + h.nfields * sizeof(Field))
    if r == NULL or not request_copy_head(r, p, &h):
        client_out_of_memory(c, r)
        return True
    r.received = h.size
    r.start = c.began
    r.piped = c.piped
    request_begin(r, p + h.size, n - h.size)
    return True


cdef void client_out_of_memory(Conn* c, Request* r) noexcept nogil:
    if r != NULL:
        request_free(r)
    c.req = NULL
    conn_close(c)


cdef void client_refuse(Conn* c, char* p, uint32_t n, Head* h) noexcept nogil:
    """A head that is no HTTP: answer with the parser's status and close. Nothing of it goes anywhere but into the logs."""
    cdef Request* r = request_refused(c, p, n, h)
    if r == NULL:
        client_out_of_memory(c, r)
        return
    loop.st.refused += 1
    r.inb.done = h.error == 408         # what follows is unknown: linger; but not for one who only drips
    conn_state(c, S_BUSY)
    log_refused(r, h)
    client_keep_rest(c, NULL, 0)
    client_no_path(r)
    reply_status(r, h.error)


cdef Request* request_refused(Conn* c, char* p, uint32_t n, Head* h) noexcept nogil:
    """An exchange for a head that is bad or not whole, for the logs and an answer; NULL without memory."""
    cdef Request* r = request_new(c, 512)
    cdef bint line = client_first_line_whole(p, n, h)
    cdef uint32_t keep = 256
    if r == NULL:
        return r
    if line:
        keep = max(keep, h.target + h.target_len + 11)
    keep = min(keep, n)
    r.srv = c.lst.fallback
    location_set(r, &r.srv.fallback)
    r.start = c.began
    r.piped = c.piped
    r.h.content_length = -1
    r.h.minor = 1
    c.served += 1
    r.head = <char*> request_memory(r, keep + 1)
    if r.head == NULL:
        request_free(r)
        return NULL
    memcpy(r.head, p, keep)
    r.head[keep] = 0
    if line:
        client_keep_first_line(r, h)
        r.received = client_whole_lines(p, h.size if h.size else h.error_at if h.rule else n)
    return r


cdef bint client_first_line_whole(const char* p, uint32_t n, Head* h) noexcept nogil:
    """Was the request line of this head read to its end, and is it a good one?"""
    if h.target_len == 0 or 0 < h.rule < R_NAME_EMPTY:
        return False
    return memchr(p + h.target, 10, n - h.target) != NULL


cdef uint64_t client_whole_lines(const char* p, uint32_t n) noexcept nogil:
    """How many of these bytes are whole lines: $request_length, as nginx."""
    while n and p[n - 1] != 10:
        n -= 1
    return n


cdef void client_keep_first_line(Request* r, Head* h) noexcept nogil:
    """What is known of a request whose head is refused, or has not come whole. No field of it counts."""
    r.h.start = h.start
    r.h.method = h.method
    r.h.method_len = h.method_len
    r.h.form = h.form
    r.h.minor = h.minor
    r.h.flags = h.flags & H_TARGET_QUOTED
    r.h.target = h.target
    r.h.target_len = h.target_len
    r.h.path = h.path
    r.h.path_len = h.path_len
    if h.form == T_ABSOLUTE:            # its name lies in the line
        r.h.authority = h.authority
        r.h.authority_len = h.authority_len
        r.h.host = h.host
        r.h.host_len = h.host_len
    r.method.p = r.head + h.start
    r.method.n = h.method_len
    if request_path(r) == 0:
        r.h.method = M_HEAD if h.method == M_HEAD else M_GET
        r.flags |= RQ_URI_NEW
    else:
        r.uri = NULL                    # it leads above the root


cdef void client_no_path(Request* r) noexcept nogil:
    """What an error_page begins from, where the head gave no path: nothing of the head goes on with it."""
    if r.uri == NULL:
        r.uri = b"/"
        r.uri_len = 1
        r.h.method = M_HEAD if r.h.method == M_HEAD else M_GET
        r.h.nfields = 0
        r.flags |= RQ_URI_NEW


cdef void client_keep_rest(Conn* c, char* p, uint32_t n) noexcept nogil:
    """Keep what follows the request that begins now. `p` lies in c.inb's block (its rest stays there) or elsewhere."""
    cdef Buf* b = c.inb
    if b != NULL:
        if n and p > <char*> b and p <= buf_data(b) + b.end:
            b.off = <uint32_t> (p - buf_data(b))
            return
        c.inb = NULL
        buf_free_chain(&loop.pool, b)
    if n:
        conn_keep(c, p, n)


cdef void client_head_timeout(Conn* c) noexcept nogil:
    """Part of a head, then silence: 408 (RFC 9110 section 15.5.9) and close."""
    cdef Head h
    cdef Buf* b = c.inb
    client_head_again(c, b, &h)
    h.rule = 0
    h.error = 408
    c.inb = NULL
    client_refuse(c, buf_data(b) + b.off, buf_len(b), &h)
    buf_free_chain(&loop.pool, b)


# ---- what the server that was asked for says to it

cdef int client_lax_refused(Request* r, int status) noexcept nogil:
    """Another server of this address is lenient, this one is not: as its parser says. `status`, or that of the refusal."""
    cdef Head h
    client_head_room(r.client, &h)
    h.lenient = r.srv.lenient | (LX_HTTPS if r.client.secure else 0)
    if head_parse_request(r.head, r.h.size, &h) != P_BAD:
        return status
    loop.st.refused += 1
    log_refused(r, &h)
    return h.error


cdef int request_head_limits(Request* r, int status) noexcept nogil:
    """The limits of this server's own. 0 or `status`, or the status of a refusal."""
    cdef uint32_t i
    cdef Field* f
    for i in range(r.h.nfields):
        f = &r.h.fields[i]
        if f.value + f.value_len - f.name + 2 > r.srv.line_most:
            status = 400
    if r.h.size > r.srv.head_most or r.h.nfields > r.srv.fields_most:
        status = 400
    if r.h.target + r.h.target_len + 11 - r.h.start > r.srv.line_most:     # with the version and the line's end
        status = 414
    if status == 400 or status == 414:
        log_request(LOG_INFO, r, b"client sent too long header line or too many headers" if status == 400
                    else b"client sent too long URI", 0, b"")
    return status


cdef void request_odd_names(Request* r) noexcept nogil:
    """Which fields stay (ignore_invalid_headers, underscores_in_headers), as nginx: `.` is one of the odd bytes, too."""
    cdef uint32_t i
    cdef Field* f
    for i in range(r.h.nfields):
        f = &r.h.fields[i]
        if not f.flags & FF_BAD_NAME:
            continue
        if r.srv.names_kept == KEEP_ALL or (
                r.srv.names_kept == KEEP_UNDERSCORES and request_only_underscores(r.head + f.name, f.name_len)):
            f.flags &= ~FF_BAD_NAME
        else:
            request_log_dropped_field(r, f)


cdef bint request_only_underscores(const char* p, uint32_t n) noexcept nogil:
    """Is there no other odd byte in this name?"""
    cdef uint32_t i
    for i in range(n):
        if not lb_class[<uint8_t> p[i]] & LB_NAME and p[i] != c"_":
            return False
    return True


cdef void request_log_dropped_field(Request* r, Field* f) noexcept nogil:
    """client sent invalid header line: "X.Y: z", client: ..."""
    cdef Out o
    cdef uint32_t n = f.value + f.value_len - f.name
    if not error_begin(&o, error_logs_of(r), LOG_INFO):
        return
    error_connection(&o, r.client)
    out_text(&o, b"client sent invalid header line: \"")
    out_escaped(&o, r.head + f.name, n if n < 512 else 512)
    out_char(&o, 34)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_INFO)
