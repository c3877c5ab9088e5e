"""Answers that lb makes itself: `return`, /upstream_show, error statuses. One head writer for them and for proxied answers.

    reply_* -> reply_send(head in loop.heads, body behind it) -> request_answered
"""

cdef enum:
    EXTENSION_MOST = 64         # of a path: longer ones are in no `types`


cdef const char* reply_reason(int status) noexcept nogil:
    """Reason phrase of RFC 9110 section 15 for a status that lb makes."""
    if status == 200: return b"OK"
    if status == 201: return b"Created"
    if status == 202: return b"Accepted"
    if status == 204: return b"No Content"
    if status == 206: return b"Partial Content"
    if status == 301: return b"Moved Permanently"
    if status == 302: return b"Moved Temporarily"
    if status == 303: return b"See Other"
    if status == 304: return b"Not Modified"
    if status == 307: return b"Temporary Redirect"
    if status == 308: return b"Permanent Redirect"
    if status == 400: return b"Bad Request"
    if status == 401: return b"Unauthorized"
    if status == 402: return b"Payment Required"
    if status == 403: return b"Forbidden"
    if status == 404: return b"Not Found"
    if status == 405: return b"Not Allowed"
    if status == 406: return b"Not Acceptable"
    if status == 408: return b"Request Time-out"
    if status == 409: return b"Conflict"
    if status == 410: return b"Gone"
    if status == 411: return b"Length Required"
    if status == 412: return b"Precondition Failed"
    if status == 413: return b"Request Entity Too Large"
    if status == 414: return b"Request-URI Too Large"
    if status == 415: return b"Unsupported Media Type"
    if status == 416: return b"Requested Range Not Satisfiable"
    if status == 417: return b"Expectation Failed"
    if status == 421: return b"Misdirected Request"
    if status == 429: return b"Too Many Requests"
    if status == 431: return b"Request Header Fields Too Large"
    if status == 500: return b"Internal Server Error"
    if status == 501: return b"Not Implemented"
    if status == 502: return b"Bad Gateway"
    if status == 503: return b"Service Temporarily Unavailable"
    if status == 504: return b"Gateway Time-out"
    if status == 505: return b"HTTP Version Not Supported"
    if status == 507: return b"Insufficient Storage"
    return b""


cdef void response_head_start(Message* m, int status, const char* phrase, uint32_t n, uint64_t own) noexcept nogil:
    """Status line, Server and Date, but for what `own` says that the server's answer brings (bits of FieldId); r.kept."""
    cdef Request* r = m.r
    message_status(m, status, phrase, n)
    if not own & 1ull << F_SERVER:
        out_put(&m.front, b"Server: ", 8)
        out_str(&m.front, loop.env.product if r.loc.no_tokens else loop.env.version)
        out_put(&m.front, b"\r\n", 2)
    if not own & 1ull << F_DATE:
        out_put(&m.front, b"Date: ", 6)
        out_put(&m.front, loop.date, 29)
        out_put(&m.front, b"\r\n", 2)
    if r.flags & RQ_KEPT:
        out_str(&m.front, r.kept)


cdef void response_head_end(Message* m, int64_t modified) noexcept nogil:
    """Framing, Connection, what the location adds (`modified`: see header_write_expires), and the end of the head."""
    cdef Request* r = m.r
    m.to.enc.head(m, HEAD_FRAMING)
    if r.challenge.n:
        out_str(&m.front, r.challenge)
    if r.stuck != NULL:
        sticky_write_cookie(&m.front, r)
    if r.loc.header_filter != NULL:
        response_head_filter_end(m, modified)
    m.to.enc.head(m, HEAD_END)
    r.head_n = message_front(m)
    if r.loc.uses & USES_SENT_HEAD:
        request_keep_sent_head(r, m.begin, message_front(m))


cdef void response_head_filter_end(Message* m, int64_t modified) noexcept nogil:
    """header_write_end for the head that has begun; its $sent_http_* are the fields so far."""
    cdef Request* r = m.r
    if r.loc.uses & USES_SENT_HEAD:
        r.sent_head.p = m.begin
        r.sent_head.n = message_front(m)
    header_write_end(&m.front, r, &loop.env, m.begin, modified)
    r.sent_head.p = NULL
    r.sent_head.n = 0


cdef uint32_t response_trailers(Request* r, char* p, uint32_t room) noexcept nogil:
    """The lines of an answer's trailers into p: the server's (proxy_pass_trailers), those of add_trailer. How many bytes."""
    cdef Out o
    if not header_has_trailers(r) and r.up_trailers == NULL:
        return 0
    out_init(&o, p, room)
    if r.loc.pass_trailers:
        h1_trailers(&o, r)
    if r.loc.header_filter != NULL:
        header_write_added(&o, r, &loop.env, r.loc.header_filter.trailers, r.loc.header_filter.ntrailers, False)
    if r.loc.uses & USES_SENT_TRAILERS:
        request_keep_sent_trailers(r, p, <uint32_t> (o.p - p))
    if o.full:
        log_request(LOG_ERR, r, b"trailers too large", 0, b"")
    if o.full or r.flags & RQ_GAVE_UP:  # too late for another status: what is not known is not said
        return 0
    return <uint32_t> (o.p - p)


cdef int reply_begin(Message* m, Request* r, int status) noexcept nogil:
    """The head up to Date and Location. The status: behind an error_page, the one that that says."""
    cdef const char* phrase
    if r.err_status:
        status = r.err_status
    phrase = reply_reason(status)
    r.status = <uint16_t> status
    if not r.inb.done and not request_may_discard(r):       # the rest of the request was not read, and stays so
        r.flags &= ~RQ_KEEP
    message_begin(m, r, r.client, loop.heads, HEADS)
    response_head_start(m, status, phrase, <uint32_t> strlen(phrase), 0)
    if r.location.p != NULL:
        reply_write_location(&m.front, r)
    return status


cdef void reply_framing(Message* m, uint64_t n) noexcept nogil:
    """How a body of n bytes leaves, of a status that may have one."""
    cdef Request* r = m.r
    if r.loc.gzip != NULL:
        gzip_write_fields(&m.front, r)
    if not r.coded & CODED_GZIP:
        m.length = n
        m.framing = B_CHUNKED if header_has_trailers(r) and r.h.method != M_HEAD else B_LENGTH
    elif r.h.method != M_HEAD:          # how many bytes they will be is not known yet
        m.framing = B_CHUNKED if r.h.minor and not r.loc.no_chunks else B_CLOSE
        if m.framing == B_CLOSE:
            r.flags &= ~RQ_KEEP
    r.outb.out = m.framing


cdef void reply(Request* r, int status, const char* kind, const char* body, uint64_t n) noexcept nogil:
    """An answer with a body of this media type (NULL: none)."""
    cdef Message m
    status = reply_begin(&m, r, status)
    if r.unfit:
        out_put(&m.front, b"Content-Range: bytes */", 23)
        out_uint(&m.front, r.unfit - 1)
        out_put(&m.front, b"\r\n", 2)
    if status != 204 and status != 304:
        if kind != NULL and kind[0]:    # `default_type ""`
            header_write_line(&m.front, b"Content-Type", 12, kind, <uint32_t> strlen(kind))
        if r.loc.gzip != NULL:
            gzip_reply(r, kind, n, -1, False)
        reply_framing(&m, n)
    else:
        n = 0
    response_head_end(&m, -1)
    reply_send(&m, body, n, True)


cdef void reply_send(Message* m, const char* body, uint64_t n, bint last) noexcept nogil:
    """The head that `m` holds and the body, or (not `last`) its beginning: r.response_file has the rest."""
    cdef Request* r = m.r
    cdef char behind[TAILROOM]
    cdef bint filtered
    if r.h.method == M_HEAD:
        n = 0
        last = m.to.enc.send != NULL    # where the end is not that of the head, it must be said
    filtered = last and r.filters != NULL
    if not filtered:
        message_frame(m, n, last, behind, sizeof(behind))
    if r.flags & RQ_GAVE_UP and r.status != 500:
        if r.coded:
            filter_reset(r)
        reply_status(r, 500)            # nothing of this one has been sent
        return
    if debug_on(r.client):
        debug_lines(r.client, b"http response:", m.begin, <uint32_t> (m.front.p - m.begin))
    if m.front.full:
        log_request(LOG_ERR, r, b"answer head too large", 0, b"")
        client_cut(r)
        return
    r.flags |= RQ_STARTED
    if filtered:
        filter_run(m, <char*> body, <uint32_t> n, FLOW_LAST)
    else:
        message_send_copy(m, body, n)
    request_answered(r)


cdef const char* reply_media_type(Request* r) noexcept nogil:
    """Of a file, or a text that `return` gives: by the path's extension (`types`), else default_type."""
    cdef char low[EXTENSION_MOST]
    cdef uint32_t n = 0
    cdef void* found
    if r.kept_type.p != NULL:
        return r.kept_type.p
    while n < EXTENSION_MOST and n + 2 < r.uri_len and r.uri[r.uri_len - 1 - n] not in (c".", c"/"):
        n += 1
    if n < EXTENSION_MOST and n + 2 < r.uri_len and r.uri[r.uri_len - 1 - n] == c"." and r.uri[r.uri_len - 2 - n] != c"/":
        dict_lower_into(low, r.uri + r.uri_len - n, n)
        found = dict_find(r.loc.files.types, low, n)
        if found != NULL:
            return <const char*> found
    return r.loc.default_type.p


cdef const char* reply_title(int status) noexcept nogil:
    """nginx's pages say otherwise than its status lines here and there."""
    if status == 302:
        return b"Found"
    if status == 401:
        return b"Authorization Required"
    return reply_reason(status)


cdef const char* reply_refusal(int status) noexcept nogil:
    """nginx's own statuses: error_page may name them, a client sees 400 and this text. NULL: not one of them."""
    if status == 494:
        return b"Request Header Or Cookie Too Large"
    if status == 495:
        return b"The SSL certificate error"
    if status == 496:
        return b"No required SSL certificate was sent"
    if status == 497:
        return b"The plain HTTP request was sent to HTTPS port"
    return NULL


cdef void reply_forget(Request* r) noexcept nogil:
    """Of an answer of which a value is not known (regex_gave_up) nothing is left for the one that takes its place."""
    r.flags &= ~<uint64_t> RQ_GAVE_UP
    temp_file_free(r.response_file)
    r.response_file = NULL
    r.location.p = NULL
    r.location.n = 0
    r.unfit = 0


cdef void reply_status(Request* r, int status) noexcept nogil:
    """A status with a short page that names it, if it has a name. The connection stays after statuses that are no protocol
    error, as nginx."""
    cdef char page[512]
    cdef Out o
    cdef const char* why
    if r.flags & RQ_GAVE_UP:            # what was to be answered may have come of it
        reply_forget(r)
        status = 500
    if debug_on(r.client):
        debug_special(r, status)
    why = reply_refusal(status)
    if status in (400, 408, 413, 414, 431, 495, 496, 497, 500, 501, 505):
        r.flags &= ~RQ_KEEP
    r.err_status = <uint16_t> status
    if r.loc.nerror_pages and redirect_error_page(r, status):
        return
    if why != NULL:
        status = 400
        r.err_status = 400
    elif reply_reason(status)[0] == 0:        # no page either
        reply(r, status, NULL, b"", 0)
        return
    out_init(&o, page, sizeof(page))
    out_text(&o, b"<html>\r\n<head><title>")
    out_uint(&o, status)
    out_char(&o, 32)
    out_text(&o, reply_title(status) if why == NULL else why)
    out_text(&o, b"</title></head>\r\n<body>\r\n<center><h1>")
    out_uint(&o, status)
    out_char(&o, 32)
    out_text(&o, reply_title(status))
    out_text(&o, b"</h1></center>\r\n")
    if why != NULL:
        out_text(&o, b"<center>")
        out_text(&o, why)
        out_text(&o, b"</center>\r\n")
    out_text(&o, b"<hr><center>")
    out_str(&o, loop.env.product if r.loc.no_tokens else loop.env.version)
    out_text(&o, b"</center>\r\n</body>\r\n</html>\r\n")
    reply(r, status, b"text/html", page, o.p - page)


cdef void reply_return(Request* r, Op* op) noexcept nogil:
    """`return CODE [TEXT]`, `return URL`; 444 closes without an answer, as nginx."""
    cdef Str text
    if op.status == 444:
        reply_none(r)
        return
    r.status = r.err_status if r.err_status else op.status      # $status in the text
    text = var_text(r, &op.value)
    if op.status in (301, 302, 303, 307, 308):
        reply_redirect(r, op.status, text)
    elif op.status >= 400 and op.value.n == 0:
        reply_status(r, op.status)
    else:
        reply(r, op.status, reply_media_type(r), text.p, text.n)


cdef void reply_none(Request* r) noexcept nogil:
    """444: the end of the connection."""
    r.flags &= ~RQ_KEEP
    r.status = 444
    if r.loc.reset:
        conn_reset(r.client)
    client_cut(r)


cdef void reply_redirect(Request* r, int status, Str url) noexcept nogil:
    """A page with a Location. A value may hold what a client sent: no line end gets into a head."""
    cdef uint32_t i
    for i in range(url.n):
        if url.p[i] in (0, 10, 13):
            reply_status(r, 500)
            return
    r.location = url
    reply_status(r, status)


cdef void reply_slash(Request* r) noexcept nogil:
    """`/x` where only `location /x/` is there, which proxies, or that is a directory: 301 to `/x/`, with the query."""
    cdef Str url
    url.n = 3 * r.uri_len + 2 + r.args_len
    url.p = <char*> request_memory(r, url.n)
    if url.p == NULL:
        reply_status(r, 500)
        return
    url.n = uri_escape(r.uri, r.uri_len, url.p)
    url.p[url.n] = c"/"
    url.n += 1
    if r.args_len:
        url.p[url.n] = c"?"
        memcpy(url.p + url.n + 1, r.args, r.args_len)
        url.n += 1 + r.args_len
    reply_redirect(r, 301, url)


cdef void reply_write_location(Out* o, Request* r) noexcept nogil:
    """Location: an absolute URL when the target is a path (absolute_redirect)."""
    cdef char* value
    out_put(o, b"Location: ", 10)
    value = o.p
    if r.location.n and r.location.p[0] == c"/" and r.loc.absolute_redirect:
        header_write_origin(o, r)
    out_str(o, r.location)
    header_end_field(o, value)


cdef inline bint reply_same(Str s, const char* p, uint32_t n) noexcept nogil:
    return s.n == n and memcmp(s.p, p, n) == 0


# ---- /upstream_show

cdef bint reply_same_any_case(Str s, const char* p, uint32_t n) noexcept nogil:
    return s.n == n and strncasecmp(s.p, p, n) == 0


cdef void reply_upstream_show(Request* r) noexcept nogil:
    """/upstream_show[?NAME] as the module prints it: this worker's lists. The texts were made when a list was published."""
    cdef uint32_t i
    cdef Str s
    cdef Buf* page
    if r.h.method != M_GET and r.h.method != M_HEAD:
        reply_status(r, 405)
        return
    for i in range(loop.nups):
        if loop.ups[i].tcp or loop.ups[i].table == NULL:
            continue
        s = loop.ups[i].table.show
        if r.args_len and reply_same_any_case(loop.ups[i].name, r.args, r.args_len):
            reply(r, 200, b"text/plain", s.p, s.n)
            return
    if r.args_len:
        reply(r, 200, b"text/plain",
              b"The upstream you requested does not exist. Please double-check the name", 71)
        return
    page = reply_show_all(False)
    if page == NULL:
        reply_status(r, 500)
        return
    if page.end:
        reply(r, 200, b"text/plain", buf_data(page), page.end)
    else:
        reply(r, 200, b"text/plain", b"No upstreams defined", 20)
    buf_free(&loop.pool, page)


cdef Buf* reply_show_all(bint tcp) noexcept nogil:
    """The texts of all upstreams of http{} or of stream{}, an empty line after each. NULL: there is no memory."""
    cdef uint32_t i
    cdef uint64_t n = 0
    cdef Str s
    cdef Buf* page
    for i in range(loop.nups):
        if loop.ups[i].tcp == tcp and loop.ups[i].table != NULL:
            n += loop.ups[i].table.show.n + 1
    page = buf_new(&loop.pool, <uint32_t> n)
    if page == NULL:
        return NULL
    for i in range(loop.nups):
        if loop.ups[i].tcp != tcp or loop.ups[i].table == NULL:
            continue
        s = loop.ups[i].table.show
        memcpy(buf_data(page) + page.end, s.p, s.n)
        page.end += s.n + 1
        buf_data(page)[page.end - 1] = 10
    return page


# ---- the head of a proxied answer

cdef void response_write_head(Message* m, const char* head, Head* h) noexcept nogil:
    """Status line with the server's reason, our Server and Date, its other fields, our framing and Connection."""
    cdef Request* r = m.r
    cdef HeaderFilter* s = r.loc.header_filter
    cdef uint32_t i, own = 0
    cdef int64_t modified = -1
    cdef const char* phrase
    if s != NULL and (s.own or s.expires == EX_MODIFIED or s.expires_modified):
        for i in range(h.nfields):
            own |= s.own & 1u << h.fields[i].id
            if h.fields[i].id == F_LAST_MODIFIED:
                modified = header_date_seconds(head + h.fields[i].value, h.fields[i].value_len)
    if r.err_status:
        phrase = reply_reason(r.err_status)
        response_head_start(m, r.err_status, phrase, <uint32_t> strlen(phrase), own)
    else:
        response_head_start(m, h.status, head + h.target, h.target_len, own)
    h1_response_fields(&m.front, r, &loop.env, head, h)
    if r.kept_type.p != NULL and upgrade_field_of(h, F_CONTENT_TYPE) == NULL:
        header_write_line(&m.front, b"Content-Type", 12, r.kept_type.p, r.kept_type.n)
    if r.loc.gzip != NULL:
        gzip_write_fields(&m.front, r)
    if h.status != 204 and not r.coded & CODED_GZIP:
        m.length = h.content_length
    response_head_end(m, modified)
