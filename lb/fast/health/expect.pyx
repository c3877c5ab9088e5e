"""What an answer must have in it: check_expect in a stream of bytes, check_http_expect_header and check_http_expect_body.

Texts are looked for as they are, expressions by PCRE2 within its limits; one that reaches them counts as not found.
"""

cdef char CHECK_BODY[65536]     # a body without its chunks; one for all, while a judge runs


cdef bint check_found(Check* k, CheckMatch* m, const char* p, uint32_t n) noexcept nogil:
    cdef int rc
    if n == 0:
        p = b""
    if m.regex == NULL:
        return m.text.n == 0 or (n >= m.text.n and memmem(p, n, m.text.p, m.text.n) != NULL)
    rc = regex_run(m.regex, p, n, 0)
    if rc == PCRE2_ERROR_JIT_STACKLIMIT:
        rc = regex_run(m.regex, p, n, PCRE2_NO_JIT)
    if rc < 0 and rc != PCRE2_ERROR_NOMATCH:
        check_note(k, b"the expression reached a limit", 30)
    return rc > 0


cdef int check_missing(Check* k, const char* where, uint32_t n) noexcept nogil:
    """What was expected is not there."""
    k.why = CHECK_TEXT
    k.detail = 0
    if k.note_len == 0:
        check_note(k, where, n)
    return JUDGE_FAIL


cdef int check_text_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """check_expect: somewhere in what comes, up to its end or CHECK_MOST bytes."""
    if n and check_found(k, k.conf.text, p, n):
        return JUDGE_OK
    if not end and n < CHECK_MOST:
        return JUDGE_MORE
    if n == 0:
        k.why = CHECK_CLOSED
        return JUDGE_FAIL
    return check_missing(k, p, n if n < 32 else 32)


# ---- HTTP

cdef int check_http_look(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """The status is good: the fields, then the body."""
    cdef Head h
    cdef uint32_t i
    cdef int rc
    h.fields = loop.fields
    h.max_fields = loop.max_fields
    h.lenient = 0
    rc = head_parse_response(p, n, &h)
    if rc == P_MORE and not end:
        return JUDGE_MORE
    if rc != P_DONE:
        k.why = CHECK_CLOSED if rc == P_MORE else CHECK_INVALID
        k.detail = 0
        return JUDGE_FAIL
    for i in range(k.conf.nfields):
        if not check_field(k, &k.conf.fields[i], p, &h):
            return check_missing(k, k.conf.fields[i].name.p, k.conf.fields[i].name.n)
    if k.conf.body != NULL:
        return check_http_body(k, &h, p + h.size, n - h.size, end)
    if end or k.conf.requests < 2:
        return JUDGE_OK
    k.settled = 1
    return check_http_rest(k, p, n)


cdef bint check_field(Check* k, CheckMatch* m, const char* p, Head* h) noexcept nogil:
    """Is one of the fields of this name as it must be?"""
    cdef uint32_t i
    cdef Field* f
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.name_len != m.name.n or strncasecmp(p + f.name, m.name.p, m.name.n) != 0:
            continue
        if check_found(k, m, p + f.value, f.value_len):
            return True
    return False


cdef int check_http_body(Check* k, Head* h, const char* p, uint32_t n, bint end) noexcept nogil:
    """Judged when it is whole, or when as much of it is here as is looked at."""
    cdef bint whole, keep = False
    cdef uint32_t size = n
    cdef uint32_t came = n
    cdef Chunked s
    cdef int rc
    if check_http_bodyless(k, h):
        whole = True
        size = 0
        keep = n == 0
    elif h.flags & H_CHUNKED:
        memset(&s, 0, sizeof(Chunked))
        memcpy(CHECK_BODY, p, n)
        p = CHECK_BODY
        rc = chunk_decode(&s, CHECK_BODY, n, &n, &size)
        if rc == P_BAD:
            k.why = CHECK_INVALID
            k.detail = 0
            return JUDGE_FAIL
        whole = rc == P_DONE
        keep = whole and n == came          # nothing stands behind it
    elif h.content_length >= 0:
        whole = n >= h.content_length
        keep = n == h.content_length
        size = <uint32_t> h.content_length if whole else n
    else:
        whole = end
    if not whole and end:
        k.why = CHECK_CLOSED
        k.detail = 0
        return JUDGE_FAIL
    if not whole and h.size + n < CHECK_MOST:
        return JUDGE_MORE
    if not check_found(k, k.conf.body, p, size):
        return check_missing(k, p, size if size < 32 else 32)
    k.keep = keep and not end and check_http_stays(h)
    return JUDGE_OK
