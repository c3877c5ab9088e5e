"""type=http and https: the class of an answer's status, as the module; head and body only decide whether the connection is kept.

A judge that wants more bytes for nothing but to keep the connection takes what is there: a status line is enough for a verdict
(`settled`: so says a time-out, too). What else an answer must have is in expect.pyx.
"""

cdef enum:
    CHECK_BODY_MOST = 16384     # bytes of a body that are read for the sake of the connection


cdef void check_http_send(Check* k, Out* o) noexcept nogil:
    out_text(o, b"GET / HTTP/1.0\r\n\r\n")


cdef int check_http_status(const char* p, uint32_t n) noexcept nogil:
    """The status of an answer that begins here; 0: too few bytes; -1: this is no status line."""
    cdef uint32_t i
    cdef const char* form = b"HTTP/"
    for i in range(n if n < 5 else 5):
        if p[i] != form[i]:
            return -1
    if n < 9:
        return 0
    i = 5
    while i < n and (48 <= p[i] <= 57 or p[i] == 46):
        i += 1
    if i == n:
        return 0 if n < 32 else -1
    if i == 5 or p[i] != 32:
        return -1
    while i < n and p[i] == 32:
        i += 1
    if i + 3 >= n:
        return 0 if n < 64 else -1
    if not (49 <= p[i] <= 57 and 48 <= p[i + 1] <= 57 and 48 <= p[i + 2] <= 57) or p[i + 3] not in (32, 13, 10):
        return -1
    return (p[i] - 48) * 100 + (p[i + 1] - 48) * 10 + (p[i + 2] - 48)


cdef int check_http_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    cdef int status = check_http_status(p, n)
    if status == 0:
        return JUDGE_MORE
    if status < 0:
        k.why = CHECK_INVALID
        return JUDGE_FAIL
    k.detail = status
    if not check_http_expected(k, status):
        k.why = CHECK_STATUS
        return JUDGE_FAIL
    if k.conf.nfields or k.conf.body != NULL:
        return check_http_look(k, p, n, end)
    if end or k.conf.requests < 2:
        return JUDGE_OK
    k.settled = 1
    return check_http_rest(k, p, n)


cdef bint check_http_expected(Check* k, int status) noexcept nogil:
    """check_http_expect_status, or else check_http_expect_alive."""
    cdef uint32_t i
    if k.conf.nranges == 0:
        return k.conf.expect >> (status // 100) & 1
    for i in range(k.conf.nranges):
        if k.conf.ranges[i].low <= status <= k.conf.ranges[i].high:
            return True
    return False


cdef int check_http_rest(Check* k, const char* p, uint32_t n) noexcept nogil:
    """The answer is good. Is it whole, so that the connection can serve for the next check?"""
    cdef Head h
    cdef int rc
    h.fields = loop.fields
    h.max_fields = loop.max_fields
    h.lenient = 0
    rc = head_parse_response(p, n, &h)
    if rc == P_MORE and n < CHECK_BODY_MOST:
        return JUDGE_MORE
    if rc != P_DONE or not check_http_stays(&h):
        return JUDGE_OK
    if check_http_bodyless(k, &h):
        k.keep = h.size == n
        return JUDGE_OK
    if h.flags & H_CHUNKED:
        return check_http_chunks(k, p + h.size, n - h.size)
    if h.content_length < 0 or h.content_length > CHECK_BODY_MOST:
        return JUDGE_OK
    if n - h.size < h.content_length:
        return JUDGE_MORE
    k.keep = n - h.size == h.content_length
    return JUDGE_OK


cdef bint check_http_stays(Head* h) noexcept nogil:
    """Does the server leave the connection open behind this answer?"""
    return h.status >= 200 and not h.flags & H_CLOSE and (h.minor or h.flags & H_KEEP_ALIVE)


cdef bint check_http_bodyless(Check* k, Head* h) noexcept nogil:
    return h.status == 204 or h.status == 304 or k.conf.head


cdef int check_http_chunks(Check* k, const char* p, uint32_t n) noexcept nogil:
    """A short body in chunks is at its end where its last five bytes are those of the last chunk."""
    if n >= CHECK_BODY_MOST:
        return JUDGE_OK
    if n < 5 or memcmp(p + n - 5, b"0\r\n\r\n", 5) != 0:
        return JUDGE_MORE
    k.keep = 1
    return JUDGE_OK


cdef void check_value(Check* k, int value, Out* o) noexcept nogil:
    """A value of the server in check_http_send."""
    cdef Str s = k.peer.name
    cdef uint32_t i = s.n
    if value == 1:                      # $check_addr
        out_str(o, s)
    elif value == 4:                    # $check_upstream
        out_str(o, k.peer.ups.name)
    else:
        while i and s.p[i - 1] != 58:
            i -= 1
        if value == 2:                  # $check_host
            out_put(o, s.p, i - 1 if i and k.peer.family != AF_UNIX else s.n)
        elif k.peer.family != AF_UNIX:  # $check_port
            out_put(o, s.p + i, s.n - i)
