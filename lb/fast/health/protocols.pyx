"""The module's other types, byte for byte: tcp, ssl_hello, mysql, ajp, fastcgi.

Their answers are judged as the module judges them (health-check-behaviour.md); a server that is refused here is refused there.
"""

cdef const char* CHECK_HELLO = (
    b"\x16\x03\x01\x00\x6f\x01\x00\x00\x6b\x03\x03")
cdef const char* CHECK_HELLO_SUITES = (
    b"\x00\x1a\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\xcc\xa9\xcc\xa8\xc0\x13\xc0\x14\x00\x9c\x00\x9d\x00\x2f\x00\x35\x00\x0a\x01\x00")
cdef const char* CHECK_HELLO_EXTENSIONS = (
    b"\x00\x28\x00\x0a\x00\x08\x00\x06\x00\x17\x00\x18\x00\x19\x00\x0b\x00\x02\x01\x00\x00\x0d\x00\x12\x00\x10\x04\x01\x05\x01"
    b"\x06\x01\x04\x03\x05\x03\x06\x03\x02\x01\x02\x03")
cdef const char* CHECK_CPONG = b"AB\x00\x01\x09"


cdef int check_refused(Check* k, int code) noexcept nogil:
    k.why = CHECK_STATUS
    k.detail = code
    return JUDGE_FAIL


cdef void check_note(Check* k, const char* p, uint32_t n) noexcept nogil:
    """More about a failure: text of a server, or ours."""
    cdef uint32_t i
    k.note_len = min(n, <uint32_t> sizeof(k.note))
    for i in range(k.note_len):
        k.note[i] = p[i] if 32 <= p[i] < 127 else c"."


cdef int check_tcp_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """It has accepted, and has not closed at once; where something was sent, it has said something."""
    if k.conf.text != NULL:
        return check_text_judge(k, p, n, end)
    if n:
        return JUDGE_OK
    if not end:
        return JUDGE_OK if k.conf.send == NULL else JUDGE_MORE
    k.why = CHECK_CLOSED
    return JUDGE_FAIL


cdef void check_hello_send(Check* k, Out* o) noexcept nogil:
    """A ClientHello of TLS 1.2 without a name: 116 bytes, as the module's."""
    cdef int _i
    out_put(o, CHECK_HELLO, 11)
    for _i in range(4):
        out_put(o, <char*> &loop.env.random, 8)
    out_char(o, 0)
    out_put(o, CHECK_HELLO_SUITES, 30)
    out_put(o, CHECK_HELLO_EXTENSIONS, 42)


cdef int check_hello_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """A ServerHello has begun."""
    if n and p[0] == 0x15:
        return check_refused(k, p[6]) if n >= 7 else JUDGE_MORE
    if n and p[0] != 0x16:
        return JUDGE_FAIL
    if n >= 6 and p[5] != 2:
        return JUDGE_FAIL
    return JUDGE_OK if n >= 47 else JUDGE_MORE


cdef int check_mysql_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """The greeting is packet number 0. Beyond the module: an error packet in its place is no greeting."""
    if n >= 4 and p[3] != 0:
        return JUDGE_FAIL
    if n < 5:
        return JUDGE_MORE
    if <uint8_t> p[4] == 0xFF:
        return check_refused(k, (<uint8_t> p[5]) | (<uint8_t> p[6]) << 8 if n >= 7 else 0)
    return JUDGE_OK


cdef void check_ajp_send(Check* k, Out* o) noexcept nogil:
    out_put(o, b"\x12\x34\x00\x01\x0a", 5)


cdef int check_ajp_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    if memcmp(p, CHECK_CPONG, n if n < 5 else 5) != 0:
        return JUDGE_FAIL
    if n < 5:
        return JUDGE_MORE
    k.keep = n == 5
    return JUDGE_OK


# ---- FastCGI: records of 8 bytes (version, type, id 2, length 2, padding, 0) and their content

cdef enum:
    FCGI_END = 3
    FCGI_STDOUT = 6
    FCGI_STDERR = 7


cdef void check_fastcgi_send(Check* k, Out* o) noexcept nogil:
    """Never without its text: compile/check.pyx makes it from check_fastcgi_param."""
    pass


cdef int check_fastcgi_judge(Check* k, const char* p, uint32_t n, bint end) noexcept nogil:
    """STDOUT with a head; its Status (200 where there is none) is of an expected class. STDERR is a failure."""
    cdef uint32_t length
    if n < 8:
        return JUDGE_MORE
    if p[0] != 1:
        return JUDGE_FAIL
    if p[1] != FCGI_STDOUT:
        return check_refused(k, p[1])
    length = (<uint8_t> p[4]) << 8 | <uint8_t> p[5]
    if n < 8 + length and n < 8 + 4096 and not end:
        return JUDGE_MORE
    return check_fastcgi_status(k, p + 8, n - 8 if n - 8 < length else length)


cdef int check_fastcgi_status(Check* k, const char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0
    cdef int status = 200
    cdef const char* line
    while i + 11 <= n and p[i] not in (13, 10):        # an empty line ends the head
        if strncasecmp(p + i, b"Status:", 7) == 0:
            line = p + i + 7
            while line < p + n - 3 and line[0] == 32:
                line += 1
            status = (line[0] - 48) * 100 + (line[1] - 48) * 10 + (line[2] - 48)
            break
        while i < n and p[i] != 10:
            i += 1
        i += 1
    if not 100 <= status <= 599:
        return JUDGE_FAIL
    k.detail = status
    return JUDGE_OK if check_http_expected(k, status) else check_refused(k, status)
