"""The first bytes of a message: a request's or response's head to a Head struct, or a refusal.

Sans-I/O and without state: given the bytes so far, P_MORE, P_DONE or P_BAD; on P_MORE it is called again from the start with
more. A byte that no continuation could make right is refused as soon as it is there. Nothing is lenient but what the caller
asks for (Head.lenient), and none of that leaves a doubt where a line, a field or a body ends. This room knows the first line;
message/h1/fields.pxd the field lines, message/h1/framing.pxd what they mean together, message/h1/host.pxd authorities,
message/h1/rules.pxd the words for a refusal.

    request-line = method SP request-target SP HTTP-version CRLF             RFC 9112 3
    status-line  = HTTP-version SP 3DIGIT [ SP [ reason-phrase ] ] CRLF      RFC 9112 4
    HTTP-version = "HTTP/" DIGIT "." DIGIT                                   RFC 9112 2.3; 1.x only

Refused though the grammar allows it: CONNECT and TRACE (405, as nginx), https targets, more than EMPTY_LINES empty
lines, methods longer than METHOD_MAX. Taken though it does not, because browsers send them: in a path and a query all of
0x21 to 0x7E but "#", and bytes from 0x80 on; in a query a "%" that begins no escape, for nobody decodes it here. They go
on as they came.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from lb.fast.message.h1.fields cimport Seen, field_lines, field_lax_value, field_lone_lf, field_refuse
from lb.fast.message.h1.framing cimport framing_request, framing_response
from lb.fast.message.h1.host cimport host_authority
from lb.fast.message.h1.rules cimport rule_status
from lb.fast.c.simd cimport (
    LB_HEX, LB_HOST, LB_TARGET, LB_TCHAR, lb_class, lb_is, lb_same, lb_scan_class, lb_scan_target, lb_scan_value,
)
from lb.fast.c.sys cimport memcpy, memset, unlikely
from lb.fast.types cimport (
    H_TARGET_QUOTED, Head, LX_EMPTY, LX_HTTPS,
    M_CONNECT, M_COPY, M_DELETE, M_GET, M_HEAD, M_LOCK, M_MKCOL, M_MOVE, M_OPTIONS, M_OTHER, M_PATCH,
    M_POST, M_PROPFIND, M_PROPPATCH, M_PUT, M_TRACE, M_UNLOCK,
    P_BAD, P_DONE, P_MORE, R_EMPTY_LINES, R_LINE_CR, R_LINE_LF, R_METHOD_BYTE, R_METHOD_LONG, R_METHOD_REFUSED, R_NONE,
    R_NO_VERSION, R_REASON_BYTE, R_STATUS_CODE, R_TARGET_BYTE, R_TARGET_FORM, R_TARGET_FRAGMENT, R_TARGET_HOST,
    R_TARGET_LONG, R_TARGET_PERCENT, R_VERSION, R_VERSION_MAJOR, T_ABSOLUTE, T_ASTERISK, T_ORIGIN,
)

cdef enum:
    EMPTY_LINES = 32        # before a request line; RFC 9112 2.2 asks for one at least
    METHOD_MAX = 32         # bytes; the longest registered one has 17
    SCAN_BEHIND = 17        # bytes that c/simd.h may load before the end


cdef inline int head_parse_request(const char* p, uint32_t n, Head* h) noexcept nogil:
    """A request's head at p[0:n]. The caller has set h.fields, h.max_fields, h.max_target and h.lenient; all else is set here."""
    cdef uint8_t padded[2 * SCAN_BEHIND]
    if n >= SCAN_BEHIND:
        return head_request(<const uint8_t*> p, n, h)
    return head_request(head_pad(padded, p, n), n, h)


cdef inline int head_parse_response(const char* p, uint32_t n, Head* h) noexcept nogil:
    """The same for a response: h.error is 502; whether there is a body is the caller's to say (HEAD, 1xx, 204, 304)."""
    cdef uint8_t padded[2 * SCAN_BEHIND]
    if n >= SCAN_BEHIND:
        return head_response(<const uint8_t*> p, n, h)
    return head_response(head_pad(padded, p, n), n, h)


cdef inline const uint8_t* head_pad(uint8_t* padded, const char* p, uint32_t n) noexcept nogil:
    """A copy of a text so short that the scans would load bytes before it."""
    memset(padded, 0, SCAN_BEHIND)
    if n > 0:
        memcpy(padded + SCAN_BEHIND, p, n)
    return padded + SCAN_BEHIND


cdef inline int head_request(const uint8_t* p, uint32_t n, Head* h) noexcept nogil:
    cdef const uint8_t* end = p + n
    cdef const uint8_t* s
    cdef Seen seen
    head_clear(h)
    s = head_skip_empty_lines(p, end, h, EMPTY_LINES, R_EMPTY_LINES)
    if s != NULL:
        s = head_request_line(p, s, end, h)
    if s != NULL:
        s = field_lines(p, s, end, h, &seen, True)
    if s != NULL:
        h.size = <uint32_t> (s - p)
        h.rule = framing_request(p, h, &seen)
    if h.rule != R_NONE:
        h.error = rule_status(h.rule)
        return P_BAD
    return P_DONE if s != NULL else P_MORE


cdef inline int head_response(const uint8_t* p, uint32_t n, Head* h) noexcept nogil:
    cdef const uint8_t* end = p + n
    cdef const uint8_t* s
    cdef Seen seen
    head_clear(h)
    s = p
    if unlikely(h.lenient & LX_EMPTY):
        s = head_skip_empty_lines(p, end, h, 1, R_VERSION)
        if s != NULL and s > p:
            h.lax |= LX_EMPTY
    if s != NULL:
        s = head_status_line(p, s, end, h)
    if s != NULL:
        s = field_lines(p, s, end, h, &seen, False)
    if s != NULL:
        h.size = <uint32_t> (s - p)
        h.rule = framing_response(p, h, &seen)
    if h.rule != R_NONE:
        h.error = 502
        return P_BAD
    return P_DONE if s != NULL else P_MORE


cdef inline void head_clear(Head* h) noexcept nogil:
    """Zero but for what is the caller's."""
    cdef Head fresh
    memset(&fresh, 0, sizeof(Head))
    fresh.content_length = -1
    fresh.fields = h.fields
    fresh.max_fields = h.max_fields
    fresh.max_target = h.max_target
    fresh.lenient = h.lenient
    h[0] = fresh


# ---------------------------------------------------------------- request line

cdef inline const uint8_t* head_skip_empty_lines(
    const uint8_t* p, const uint8_t* end, Head* h, uint32_t most, uint16_t rule,
) noexcept nogil:
    """Up to `most` empty lines, one more breaks the rule. Returns what follows."""
    cdef const uint8_t* s = p
    while s < end and unlikely(s[0] == c"\r" or field_lone_lf(s, h)):
        if most == 0:
            return field_refuse(h, p, s, rule)
        if s[0] == c"\r":
            if end - s < 2:
                return NULL
            if s[1] != c"\n":
                return field_refuse(h, p, s, R_LINE_CR)
            s += 1
        s += 1
        most -= 1
    h.start = <uint32_t> (s - p)
    return s


cdef inline const uint8_t* head_request_line(const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h) noexcept nogil:
    s = head_method(p, s, end, h)
    if s != NULL:
        s = head_target(p, s, end, h)
    if s != NULL:
        s = head_version(p, s, end, h)
    if s != NULL:
        s = head_line_end(p, s, end, h, R_VERSION)
    return s


cdef inline const uint8_t* head_method(const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h) noexcept nogil:
    """A token and a space; returns what follows."""
    cdef const uint8_t* start = s
    if end - s >= 4 and lb_same(s, b"GET ", 4):
        h.method = M_GET
        h.method_len = 3
        return s + 4
    s = lb_scan_class(s, end, LB_TCHAR)
    if s - start > METHOD_MAX:
        return field_refuse(h, p, start + METHOD_MAX, R_METHOD_LONG)
    if s == end:
        return NULL
    if s[0] != c" " or s == start:
        return field_refuse(h, p, s, R_METHOD_BYTE)
    h.method_len = <uint32_t> (s - start)
    h.method = head_method_id(start, h.method_len)
    if h.method == M_CONNECT or h.method == M_TRACE:
        return field_refuse(h, p, start, R_METHOD_REFUSED)
    return s + 1


cdef inline uint8_t head_method_id(const uint8_t* s, uint32_t n) noexcept nogil:
    """Methods are case-sensitive (RFC 9110 9.1): `get` is another one."""
    if n == 3:
        return M_GET if lb_same(s, b"GET", 3) else M_PUT if lb_same(s, b"PUT", 3) else M_OTHER
    elif n == 4:
        return M_POST if lb_same(s, b"POST", 4) else M_HEAD if lb_same(s, b"HEAD", 4) else head_webdav_id(s, n)
    elif n == 5:
        return M_PATCH if lb_same(s, b"PATCH", 5) else M_TRACE if lb_same(s, b"TRACE", 5) else head_webdav_id(s, n)
    elif n == 6:
        return M_DELETE if lb_same(s, b"DELETE", 6) else head_webdav_id(s, n)
    elif n == 7:
        return M_OPTIONS if lb_same(s, b"OPTIONS", 7) else M_CONNECT if lb_same(s, b"CONNECT", 7) else M_OTHER
    return head_webdav_id(s, n)


cdef inline uint8_t head_webdav_id(const uint8_t* s, uint32_t n) noexcept nogil:
    """Methods of RFC 4918."""
    if n == 4:
        return M_COPY if lb_same(s, b"COPY", 4) else M_MOVE if lb_same(s, b"MOVE", 4) else (
            M_LOCK if lb_same(s, b"LOCK", 4) else M_OTHER)
    elif n == 5:
        return M_MKCOL if lb_same(s, b"MKCOL", 5) else M_OTHER
    elif n == 6:
        return M_UNLOCK if lb_same(s, b"UNLOCK", 6) else M_OTHER
    elif n == 8:
        return M_PROPFIND if lb_same(s, b"PROPFIND", 8) else M_OTHER
    elif n == 9:
        return M_PROPPATCH if lb_same(s, b"PROPPATCH", 9) else M_OTHER
    return M_OTHER


cdef inline const uint8_t* head_target(const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h) noexcept nogil:
    """A request-target (RFC 9112 3.2) and a space; returns what follows."""
    cdef const uint8_t* start = s
    h.target = <uint32_t> (s - p)
    if s == end:
        return NULL
    if s[0] == c"*" and h.method == M_OPTIONS:
        h.form = T_ASTERISK
        s += 1
    else:
        if s[0] != c"/":
            s = head_absolute_form(p, s, end, h)
        if s != NULL:
            s = head_path_and_query(p, s, end, h)
    if s == NULL or s == end:
        return NULL
    if s[0] != c" ":
        return field_refuse(h, p, s, head_odd_target_byte(s[0]))
    h.target_len = <uint32_t> (s - start)
    return s + 1


cdef inline uint16_t head_odd_target_byte(uint8_t c) noexcept nogil:
    if c == c"\r" or c == c"\n":
        return R_NO_VERSION
    return R_TARGET_FRAGMENT if c == c"#" else R_TARGET_BYTE


cdef inline const uint8_t* head_path_and_query(
    const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h,
) noexcept nogil:
    """absolute-path [ "?" query ], from the first byte on (RFC 3986 3.3, 3.4). Returns where it ends.

    The path will be decoded (message/h1/uri.pxd), so its escapes must be some; a query's are its reader's.
    """
    cdef const uint8_t* start = s
    cdef uint32_t dots = 0, ignored = 0
    cdef uint32_t* pairs = &dots
    cdef bint percent = False
    h.path = <uint32_t> (s - p)
    while True:
        if s == end or s[0] != c"%":        # escapes come in rows
            s = lb_scan_target(s, end, pairs)
        if unlikely(h.max_target > 0 and s - p - h.target > h.max_target):
            return field_refuse(h, p, p + h.target + h.max_target, R_TARGET_LONG)
        if s == end:
            return s
        if s[0] == c"?":
            pairs = &ignored
        elif s[0] == c"%" and pairs == &dots:
            percent = True
            if (end - s > 1 and not lb_class[s[1]] & LB_HEX) or (end - s > 2 and not lb_class[s[2]] & LB_HEX):
                return field_refuse(h, p, s, R_TARGET_PERCENT)
            if end - s < 3:
                return NULL
            s += 2
        elif not lb_class[s[0]] & LB_TARGET and s[0] != c"%":
            break
        s += 1
    h.path_len = <uint32_t> (s - start)
    if percent or dots:
        h.flags |= H_TARGET_QUOTED
    return s


cdef inline const uint8_t* head_absolute_form(
    const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h,
) noexcept nogil:
    """ "http://" authority, "https://" too where TLS is spoken (LX_HTTPS); returns where the path begins."""
    cdef const char* scheme = b"http://"
    cdef const uint8_t* start
    cdef uint32_t i
    for i in range(7):
        if s == end:
            return NULL
        if i == 4 and h.lenient & LX_HTTPS and s[0] | 32 == c"s":
            s += 1
            if s == end:
                return NULL
        if s[0] != scheme[i] and (i > 3 or (s[0] | 32) != scheme[i]):
            return field_refuse(h, p, s, R_TARGET_FORM)
        s += 1
    start = s
    while s < end and (lb_class[s[0]] & LB_HOST or s[0] == c":" or s[0] == c"[" or s[0] == c"]"):
        s += 1
    if s == end:
        return NULL
    if s[0] != c"/" and s[0] != c"?" and s[0] != c" ":          # "@" above all: no userinfo
        return field_refuse(h, p, s, head_odd_target_byte(s[0]))
    if not host_authority(start, <uint32_t> (s - start), &h.host_len, &h.authority_len):
        return field_refuse(h, p, start, R_TARGET_HOST)
    h.form = T_ABSOLUTE
    h.host = h.authority = <uint32_t> (start - p)
    return s


cdef inline const uint8_t* head_version(const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h) noexcept nogil:
    """HTTP-version; returns what follows."""
    cdef const char* name = b"HTTP/0.0"
    cdef uint32_t i
    if end - s >= 8 and lb_same(s, b"HTTP/1.1", 8):
        h.minor = 1
        return s + 8
    for i in range(8):
        if s + i == end:
            return NULL
        if s[i] != name[i] and (name[i] != c"0" or s[i] < c"0" or s[i] > c"9"):
            return field_refuse(h, p, s + i, R_VERSION)
    if s[5] != c"1":
        return field_refuse(h, p, s + 5, R_VERSION if s[5] == c"0" else R_VERSION_MAJOR)
    h.minor = s[7] != c"0"
    return s + 8


cdef inline const uint8_t* head_line_end(
    const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h, uint16_t other,
) noexcept nogil:
    """CRLF, or LF where the caller is lenient; `other` is the rule that any other byte than CR and LF breaks here."""
    if end - s >= 2 and s[0] == c"\r" and s[1] == c"\n":
        return s + 2
    if s == end or (s[0] == c"\r" and end - s == 1):
        return NULL
    if field_lone_lf(s, h):
        return s + 1
    return field_refuse(h, p, s, R_LINE_CR if s[0] == c"\r" else R_LINE_LF if s[0] == c"\n" else other)


# ---------------------------------------------------------------- status line

cdef inline const uint8_t* head_status_line(const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h) noexcept nogil:
    s = head_version(p, s, end, h)
    if s != NULL:
        s = head_status_code(p, s, end, h)
    if s == NULL or s == end:
        return NULL
    h.target = <uint32_t> (s - p)
    if s[0] == c" ":
        h.target += 1
        s = field_lax_value(lb_scan_value(s, end), end, h)
        h.target_len = <uint32_t> (s - p) - h.target
    return head_line_end(p, s, end, h, R_REASON_BYTE)


cdef inline const uint8_t* head_status_code(const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h) noexcept nogil:
    """SP 3DIGIT, from 100 to 999, and then SP or the end of the line; returns what follows the digits."""
    cdef uint32_t i
    if s == end:
        return NULL
    if s[0] != c" ":
        return field_refuse(h, p, s, R_VERSION)
    for i in range(1, 4):
        if s + i == end:
            return NULL
        if s[i] < c"0" or s[i] > c"9" or (i == 1 and s[i] == c"0"):
            return field_refuse(h, p, s + i, R_STATUS_CODE)
        h.status = h.status * 10 + s[i] - c"0"
    s += 4
    if s == end or s[0] == c" " or s[0] == c"\r" or s[0] == c"\n":
        return s
    return field_refuse(h, p, s, R_STATUS_CODE)
