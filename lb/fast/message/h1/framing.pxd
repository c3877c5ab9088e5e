"""What the fields of a head mean together: its host, its body's framing, what Connection says, what it expects.

Works on the Head that field_lines filled. One framing by construction: Content-Length once, or Transfer-Encoding once
with the single coding `chunked` in HTTP/1.1, or no body (RFC 9112 6.1, 6.3; RFC 9110 8.6). Each function returns the
Rule that was broken, R_NONE if none, and points h.error_at to it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from lb.fast.message.h1.fields cimport HOP_IDS, Seen, field_id
from lb.fast.message.h1.host cimport host_authority
from lb.fast.c.simd cimport LB_TCHAR, lb_is, lb_scan_class
from lb.fast.c.sys cimport strncasecmp
from lb.fast.types cimport (
    F_CONNECTION, F_CONTENT_LENGTH, F_CONTENT_TYPE, F_DATE, F_ETAG, F_EXPECT, F_EXPIRES, F_HOST, F_LAST_MODIFIED, F_LOCATION,
    F_REFRESH, F_SERVER, F_TRANSFER_ENCODING, F_UPGRADE, F_X_ACCEL, F_X_FORWARDED_FOR, FF_HOP, Field,
    LX_CODING, H_ACCEL, H_CHUNKED, H_CLOSE, H_EXPECT_100, H_HAS_HOST, H_KEEP_ALIVE, H_UPGRADE, Head, R_CODING, R_CODING_10,
    R_CODING_NOT_LAST, R_CODING_TWICE, R_CODING_UNKNOWN, R_CONNECTION, R_CONNECTION_MANY, R_CONNECTION_NAMES, R_EXPECT,
    R_EXPECT_TWICE, R_HOST, R_HOST_MISSING, R_HOST_TWICE, R_INTERIM_BODY, R_LENGTH, R_LENGTH_AND_CODING,
    R_LENGTH_TWICE, R_NONE, T_ABSOLUTE,
)

cdef enum:
    LENGTH_DIGITS = 18      # < 2^63 without a check for overflow
    CONNECTION_NAMES = 32   # members of Connection that may name fields: bounds names x fields
    FIRST_COUNTS = (
        1ull << F_CONTENT_TYPE | 1ull << F_DATE | 1ull << F_ETAG | 1ull << F_EXPIRES | 1ull << F_LAST_MODIFIED
        | 1ull << F_LOCATION | 1ull << F_REFRESH | 1ull << F_SERVER
    )


cdef inline int framing_request(const uint8_t* p, Head* h, Seen* seen) noexcept nogil:
    cdef int rule = framing_host(p, h, seen)
    if rule == R_NONE:
        rule = framing_body(p, h, seen)
    if rule == R_NONE:
        rule = framing_connection_fields(p, h, seen, True)
    if rule == R_NONE and seen.once & 1ull << F_EXPECT:
        rule = framing_expect(p, h, seen)
    return rule


cdef inline int framing_response(const uint8_t* p, Head* h, Seen* seen) noexcept nogil:
    cdef int rule = framing_body(p, h, seen)
    if seen.once & 1ull << F_X_ACCEL:
        h.flags |= H_ACCEL
    if seen.twice & FIRST_COUNTS:
        framing_drop_repeated(h)
    if rule == R_NONE:
        rule = framing_connection_fields(p, h, seen, False)
    if rule == R_NONE and h.status < 200 and (h.content_length > 0 or h.flags & H_CHUNKED):
        return framing_fault(h, seen, F_TRANSFER_ENCODING if h.flags & H_CHUNKED else F_CONTENT_LENGTH, R_INTERIM_BODY)
    return rule


cdef inline void framing_drop_repeated(Head* h) noexcept nogil:
    """Of a field that an answer may have once, the first counts, as in nginx; the others do not go on."""
    cdef uint32_t i, bit, had = 0
    for i in range(h.nfields):
        bit = (<uint32_t> 1 << h.fields[i].id) & FIRST_COUNTS
        if had & bit:
            h.fields[i].flags |= FF_HOP
        had |= bit


cdef inline Field* framing_field(Head* h, Seen* seen, int known) noexcept nogil:
    return &h.fields[seen.at[known]]


cdef inline int framing_fault(Head* h, Seen* seen, int known, int rule) noexcept nogil:
    return framing_fault_at(h, framing_field(h, seen, known), rule)


cdef inline int framing_fault_at(Head* h, Field* f, int rule) noexcept nogil:
    h.error_at = f.value
    h.error_name = f.name
    h.error_name_len = f.name_len
    return rule


# ---------------------------------------------------------------- Host

cdef inline int framing_host(const uint8_t* p, Head* h, Seen* seen) noexcept nogil:
    """RFC 9112 3.2: exactly one in HTTP/1.1, never more; the absolute-form's authority goes before it, see 3.2.2."""
    cdef Field* f
    cdef uint32_t host_len = 0, whole = 0
    if not seen.once & 1ull << F_HOST:
        if h.minor == 0:
            return R_NONE
        h.error_at = h.size - 1
        return R_HOST_MISSING
    if seen.twice & 1ull << F_HOST:
        return framing_fault(h, seen, F_HOST, R_HOST_TWICE)
    f = framing_field(h, seen, F_HOST)
    if not host_authority(p + f.value, f.value_len, &host_len, &whole):
        return framing_fault(h, seen, F_HOST, R_HOST)
    h.flags |= H_HAS_HOST
    if h.form != T_ABSOLUTE:
        h.host = f.value
        h.host_len = host_len
        h.authority = f.value
        h.authority_len = whole
    return R_NONE


# ---------------------------------------------------------------- Content-Length, Transfer-Encoding

cdef inline int framing_body(const uint8_t* p, Head* h, Seen* seen) noexcept nogil:
    cdef uint64_t both = 1ull << F_CONTENT_LENGTH | 1ull << F_TRANSFER_ENCODING
    cdef uint64_t have = seen.once & both
    cdef Field* f
    cdef int rule
    if have == 0:
        return R_NONE
    if have == both:
        return framing_fault(h, seen, F_TRANSFER_ENCODING, R_LENGTH_AND_CODING)
    if have == 1ull << F_CONTENT_LENGTH:
        f = framing_field(h, seen, F_CONTENT_LENGTH)
        h.content_length = framing_length(p + f.value, f.value_len)
        rule = R_LENGTH_TWICE if seen.twice & both else R_LENGTH if h.content_length < 0 else R_NONE
    else:
        f = framing_field(h, seen, F_TRANSFER_ENCODING)
        h.flags |= H_CHUNKED
        rule = R_CODING_TWICE if seen.twice & both else framing_coding_rule(p + f.value, f.value_len, h)
    return rule if rule == R_NONE else framing_fault_at(h, f, rule)


cdef inline int64_t framing_length(const uint8_t* s, uint32_t n) noexcept nogil:
    """1*DIGIT, at most LENGTH_DIGITS of them; -1: not that. The only reader of lengths."""
    cdef int64_t value = 0
    cdef uint32_t i
    if n == 0 or n > LENGTH_DIGITS:
        return -1
    for i in range(n):
        if s[i] < c"0" or s[i] > c"9":
            return -1
        value = value * 10 + s[i] - c"0"
    return value


cdef inline int framing_coding_rule(const uint8_t* s, uint32_t n, Head* h) noexcept nogil:
    """R_NONE for the one value that lb takes, `chunked`; else which rule a Transfer-Encoding of 1#token breaks."""
    cdef const uint8_t* end = s + n
    cdef const uint8_t* token
    cdef bint chunked = False, early = False, final = False
    if n == 7 and lb_is(s, b"chunked", 7):
        return R_NONE if h.minor > 0 or framing_lax_coding(h) else R_CODING_10
    while True:
        token = s
        s = lb_scan_class(s, end, LB_TCHAR)
        if s == token:
            return R_CODING
        early |= chunked
        chunked = s - token == 7 and lb_is(token, b"chunked", 7)
        final = chunked or not framing_compression(token, s - token)
        s = framing_skip_white(s, end)
        if s == end:
            break
        if s[0] != c",":
            return R_CODING
        s = framing_skip_white(s + 1, end)
    # Content that ends with a known coding other than chunked has no end (RFC 9112 6.3); the rest is "not implemented"
    return R_CODING_NOT_LAST if early or not final else R_CODING_UNKNOWN


cdef inline bint framing_lax_coding(Head* h) noexcept nogil:
    """Chunked in HTTP/1.0, where the caller takes it: read as it says, and nothing behind it (RFC 9112 6.1)."""
    if not h.lenient & LX_CODING:
        return False
    h.lax |= LX_CODING
    h.flags |= H_CLOSE
    return True


cdef inline bint framing_compression(const uint8_t* s, size_t n) noexcept nogil:
    """The transfer codings of RFC 9112 7.2, which lb does not undo."""
    if n > 2 and lb_is(s, b"x-", 2):
        s += 2
        n -= 2
    if n == 4:
        return lb_is(s, b"gzip", 4)
    if n == 7:
        return lb_is(s, b"deflate", 7)
    return n == 8 and lb_is(s, b"compress", 8)


cdef inline const uint8_t* framing_skip_white(const uint8_t* s, const uint8_t* end) noexcept nogil:
    while s < end and (s[0] == c" " or s[0] == c"\t"):
        s += 1
    return s


# ---------------------------------------------------------------- Connection, Upgrade

cdef inline int framing_connection_fields(const uint8_t* p, Head* h, Seen* seen, bint request) noexcept nogil:
    """Sets H_CLOSE, H_KEEP_ALIVE and H_UPGRADE, and FF_HOP on what Connection names (RFC 9110 7.6.1, 7.8)."""
    cdef int rule = R_NONE, names = CONNECTION_NAMES
    cdef uint32_t i
    cdef Field* f
    if not seen.once & 1ull << F_CONNECTION:
        return R_NONE
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.id == F_CONNECTION and not framing_plain_connection(p + f.value, f.value_len, h):
            rule = framing_connection_list(p, f, h, &names)
            if rule != R_NONE and request:
                return framing_fault_at(h, f, rule)
            if rule != R_NONE:
                h.flags |= H_CLOSE          # a response's framing does not hang on this: just do not go on after it
    if not seen.once & 1ull << F_UPGRADE or h.minor == 0:
        h.flags &= ~H_UPGRADE
    return R_NONE


cdef inline bint framing_plain_connection(const uint8_t* s, size_t n, Head* h) noexcept nogil:
    """Is this member one of the options that name no field of their own? Its flag is set then."""
    if n == 10 and lb_is(s, b"keep-alive", 10):
        h.flags |= H_KEEP_ALIVE
        return True
    if n == 5 and lb_is(s, b"close", 5):
        h.flags |= H_CLOSE
        return True
    if n == 7 and lb_is(s, b"upgrade", 7):
        h.flags |= H_UPGRADE
        return True
    return False


cdef inline int framing_connection_list(const uint8_t* p, Field* f, Head* h, int* names) noexcept nogil:
    """#token, with empty members (RFC 9110 5.6.1)."""
    cdef const uint8_t* s = p + f.value
    cdef const uint8_t* end = s + f.value_len
    cdef const uint8_t* token
    while True:
        s = framing_skip_white(s, end)
        token = s
        s = lb_scan_class(s, end, LB_TCHAR)
        if s > token and not framing_plain_connection(token, s - token, h):
            names[0] -= 1
            if names[0] < 0:
                return R_CONNECTION_MANY
            if framing_must_stay(token, s - token):
                return R_CONNECTION_NAMES
            framing_mark_hop(p, token, s - token, h)
        s = framing_skip_white(s, end)
        if s == end:
            return R_NONE
        if s[0] != c",":
            return R_CONNECTION
        s += 1


cdef inline bint framing_must_stay(const uint8_t* s, size_t n) noexcept nogil:
    """Is this a field that Connection must not have removed, because it frames, routes or says where a request is from?

    X-Forwarded-For is not: the client's is removed as named, and the proxy adds its own (wire case H02).
    """
    cdef int known = field_id(s, n)
    if known == F_HOST or known == F_CONTENT_LENGTH or known == F_TRANSFER_ENCODING:
        return True
    if n == 3:
        return lb_is(s, b"via", 3)
    if n == 9:
        return lb_is(s, b"forwarded", 9)
    return n > 12 and known != F_X_FORWARDED_FOR and lb_is(s, b"x-forwarded-", 12)


cdef inline void framing_mark_hop(const uint8_t* p, const uint8_t* name, size_t n, Head* h) noexcept nogil:
    cdef uint32_t i
    cdef Field* f
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.name_len == n and strncasecmp(<const char*> p + f.name, <const char*> name, n) == 0:
            f.flags |= FF_HOP


# ---------------------------------------------------------------- Expect

cdef inline int framing_expect(const uint8_t* p, Head* h, Seen* seen) noexcept nogil:
    """RFC 9110 10.1.1: 100-continue or nothing; in HTTP/1.0 it means nothing. Without a body it is answered all the same, as
    nginx does: a client that asks waits."""
    cdef Field* f = framing_field(h, seen, F_EXPECT)
    if seen.twice & 1ull << F_EXPECT:
        return framing_fault(h, seen, F_EXPECT, R_EXPECT_TWICE)
    if f.value_len != 12 or not lb_is(p + f.value, b"100-continue", 12):
        return framing_fault(h, seen, F_EXPECT, R_EXPECT)
    if h.minor > 0:
        h.flags |= H_EXPECT_100
    return R_NONE
