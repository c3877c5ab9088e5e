"""Field lines: bytes to Field structs, with the ids of the fields that lb reads.

    field-line  = field-name ":" OWS field-value OWS CRLF       RFC 9112 5, RFC 9110 5.1, 5.5
    field-name  = 1*tchar                                       nothing between it and the colon
    field-value = *( VCHAR / obs-text / SP / HTAB )             no CR, LF, NUL or other control byte; no folding

Where the caller is lenient (Head.lenient), LF alone ends a line, and a value may hold control bytes; never CR, LF or NUL.

This room knows lines only; what the fields mean is message/h1/framing.pxd's. Positions are pointers while parsing; NULL says
stop: refused if `h.rule` is set, else more bytes are needed.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from lb.fast.c.simd cimport LB_TCHAR, lb_class, lb_is, lb_scan_name, lb_scan_value
from lb.fast.c.sys cimport unlikely
from lb.fast.types cimport (
    F_ACCEPT_ENCODING, F_AUTHORIZATION, F_CONNECTION, F_CONTENT_LENGTH, F_CONTENT_TYPE, F_COOKIE, F_DATE,
    F_ETAG, F_EXPECT, F_EXPIRES,
    F_HOST, F_IF_MODIFIED_SINCE, F_KEEP_ALIVE, F_KNOWN, F_LAST_MODIFIED, F_LOCATION, F_OTHER, F_PROXY,
    F_PROXY_CONNECTION, F_RANGE, F_REFERER, F_REFRESH, F_SERVER, F_SET_COOKIE, F_TE, F_TRAILER, F_TRANSFER_ENCODING, F_UPGRADE,
    F_USER_AGENT, F_X_ACCEL, F_X_FORWARDED_FOR, F_X_PAD, FF_BAD_NAME, FF_HOP, Field, H_BAD_NAMES, Head, R_END_CR, R_FIELDS,
    R_FOLDED, R_NAME_BYTE, R_NAME_EMPTY, R_NAME_LONG, R_NAME_SPACE, R_NO_COLON, R_SPACE_FIRST, R_VALUE_BYTE, R_VALUE_CR,
    LX_BYTES, LX_LF, R_VALUE_LF, R_VALUE_NUL,
)

cdef enum:
    NAME_MAX = 65535        # Field.name_len
    # RFC 9110 7.6.1; Proxy is how HTTP_PROXY gets into CGI programs; Trailer goes as the trailers themselves do
    HOP_IDS = (
        1ull << F_CONNECTION | 1ull << F_TRANSFER_ENCODING | 1ull << F_TE | 1ull << F_TRAILER | 1ull << F_UPGRADE
        | 1ull << F_KEEP_ALIVE | 1ull << F_PROXY_CONNECTION | 1ull << F_PROXY
    )

ctypedef struct Seen:       # which known fields a head has
    uint64_t once           # a bit per FieldId
    uint64_t twice          # of those, the ones that came more than once
    uint16_t at[F_KNOWN]    # place in Head.fields of the last one; unset where the bit is not


cdef inline const uint8_t* field_refuse(Head* h, const uint8_t* p, const uint8_t* at, uint16_t rule) noexcept nogil:
    h.rule = rule
    h.error_at = <uint32_t> (at - p)
    return NULL


cdef inline const uint8_t* field_lines(
    const uint8_t* p, const uint8_t* s, const uint8_t* end, Head* h, Seen* seen, bint request,
) noexcept nogil:
    """The field section at s, its empty line included; returns the first byte behind it."""
    cdef const uint8_t* name
    cdef const uint8_t* value
    cdef const uint8_t* stop
    cdef uint32_t n = 0
    cdef uint64_t once = 0, twice = 0, bit
    cdef size_t length
    cdef bint odd
    cdef Field* f
    while s < end and s[0] != c"\r":
        name = s
        s = lb_scan_name(s, end)
        odd = s == end or s[0] != c":" or s == name
        if unlikely(odd):
            if s == name and s < end and field_lone_lf(s, h):
                break
            s = field_odd_name(p, name, s, end, h, n == 0)
            if s == NULL:
                return NULL
        length = s - name
        s += 1
        if s < end and s[0] == c" ":                # one space, as nearly always
            s += 1
        while unlikely(s < end and (s[0] == c" " or s[0] == c"\t")):
            s += 1
        value = s
        s = lb_scan_value(s, end)
        if unlikely(end - s < 2 or s[0] != c"\r" or s[1] != c"\n"):
            s = field_odd_value(p, name, length, s, end, h)
            if s == NULL:
                return NULL
        stop = s
        while stop > value and ((stop - 1)[0] == c" " or (stop - 1)[0] == c"\t"):
            stop -= 1
        s += 1 + (s[0] == c"\r")
        if unlikely(n == h.max_fields or length > NAME_MAX):
            return field_refuse(h, p, name, R_NAME_LONG if length > NAME_MAX else R_FIELDS)
        f = &h.fields[n]
        f.name = <uint32_t> (name - p)
        f.name_len = <uint16_t> length
        f.value = <uint32_t> (value - p)
        f.value_len = <uint32_t> (stop - value)
        f.id = field_id(name, length)
        f.flags = HOP_IDS >> f.id & 1               # FF_HOP is 1
        if unlikely(odd and request):
            f.flags = FF_BAD_NAME
            h.flags |= H_BAD_NAMES
        bit = 1ull << f.id
        twice |= once & bit
        once |= bit
        seen.at[f.id] = <uint16_t> n
        n += 1
    h.nfields = <uint16_t> n
    seen.once = once
    seen.twice = twice
    if s < end and s[0] == c"\n":
        return s + 1
    if end - s < 2:
        return NULL
    return s + 2 if s[1] == c"\n" else field_refuse(h, p, s, R_END_CR)


cdef inline const uint8_t* field_odd_name(
    const uint8_t* p, const uint8_t* name, const uint8_t* s, const uint8_t* end, Head* h, bint first,
) noexcept nogil:
    """A name with other tchars than letters, digits and "-": returns its colon. Else says what is wrong."""
    while s < end and lb_class[s[0]] & LB_TCHAR:
        s = lb_scan_name(s + 1, end)
    if s == end:
        return NULL
    if s == name:
        if s[0] == c" " or s[0] == c"\t":
            return field_refuse(h, p, s, R_SPACE_FIRST if first else R_FOLDED)
        return field_refuse(h, p, s, R_NAME_EMPTY if s[0] == c":" else R_NAME_BYTE)
    if s[0] == c":":
        return s
    if s[0] == c" " or s[0] == c"\t":
        return field_refuse(h, p, s, R_NAME_SPACE)
    return field_refuse(h, p, s, R_NO_COLON if s[0] == c"\r" or s[0] == c"\n" else R_NAME_BYTE)


cdef inline const uint8_t* field_odd_value(
    const uint8_t* p, const uint8_t* name, size_t length, const uint8_t* s, const uint8_t* end, Head* h,
) noexcept nogil:
    """The value stops at s without CRLF. Where its line ends, if the caller is that lenient; NULL: it is not whole, or what is
    wrong with it is said."""
    s = field_lax_value(s, end, h)
    if s < end and field_lone_lf(s, h):
        return s
    if end - s >= 2 and s[0] == c"\r" and s[1] == c"\n":
        return s
    if s == end or (s[0] == c"\r" and end - s == 1):
        return NULL
    h.error_name = <uint32_t> (name - p)
    h.error_name_len = <uint16_t> length if length <= NAME_MAX else 0
    return field_refuse(h, p, s, field_value_rule(s[0]))


cdef inline bint field_lone_lf(const uint8_t* s, Head* h) noexcept nogil:
    """Does LF alone, at s, end a line here?"""
    if s[0] != c"\n" or not h.lenient & LX_LF:
        return False
    h.lax |= LX_LF
    return True


cdef inline const uint8_t* field_lax_value(const uint8_t* s, const uint8_t* end, Head* h) noexcept nogil:
    """Where a value stops that lb_scan_value stopped at s, over control bytes that the caller takes."""
    while s < end and h.lenient & LX_BYTES and field_value_rule(s[0]) == R_VALUE_BYTE:
        h.lax |= LX_BYTES
        s = lb_scan_value(s + 1, end)
    return s


cdef inline uint16_t field_value_rule(uint8_t c) noexcept nogil:
    """The Rule that the byte c breaks in a field value, where CR is one without LF."""
    if c == c"\r":
        return R_VALUE_CR
    elif c == c"\n":
        return R_VALUE_LF
    return R_VALUE_NUL if c == 0 else R_VALUE_BYTE


cdef inline uint8_t field_id(const uint8_t* s, size_t n) noexcept nogil:
    """The FieldId of a name in any case."""
    if n == 2:
        return F_TE if lb_is(s, b"te", 2) else F_OTHER
    elif n == 4:
        if lb_is(s, b"host", 4):
            return F_HOST
        return F_DATE if lb_is(s, b"date", 4) else F_ETAG if lb_is(s, b"etag", 4) else F_OTHER
    elif n == 5:
        if lb_is(s, b"range", 5):
            return F_RANGE
        return F_PROXY if lb_is(s, b"proxy", 5) else F_X_PAD if lb_is(s, b"x-pad", 5) else F_OTHER
    elif n == 6:
        if lb_is(s, b"cookie", 6):
            return F_COOKIE
        return F_SERVER if lb_is(s, b"server", 6) else F_EXPECT if lb_is(s, b"expect", 6) else F_OTHER
    elif n == 7:
        if lb_is(s, b"referer", 7):
            return F_REFERER
        if lb_is(s, b"refresh", 7):
            return F_REFRESH
        if lb_is(s, b"expires", 7):
            return F_EXPIRES
        return F_UPGRADE if lb_is(s, b"upgrade", 7) else F_TRAILER if lb_is(s, b"trailer", 7) else F_OTHER
    elif n == 8:
        return F_LOCATION if lb_is(s, b"location", 8) else F_OTHER
    elif n == 10:
        if lb_is(s, b"connection", 10):
            return F_CONNECTION
        if lb_is(s, b"user-agent", 10):
            return F_USER_AGENT
        return F_SET_COOKIE if lb_is(s, b"set-cookie", 10) else F_KEEP_ALIVE if lb_is(s, b"keep-alive", 10) else F_OTHER
    elif n == 12:
        if lb_is(s, b"content-type", 12):
            return F_CONTENT_TYPE
    elif n == 13:
        if lb_is(s, b"last-modified", 13):
            return F_LAST_MODIFIED
        if lb_is(s, b"authorization", 13):
            return F_AUTHORIZATION
    elif n == 14:
        if lb_is(s, b"content-length", 14):
            return F_CONTENT_LENGTH
    elif n == 15:
        if lb_is(s, b"accept-encoding", 15):
            return F_ACCEPT_ENCODING
        if lb_is(s, b"x-forwarded-for", 15):
            return F_X_FORWARDED_FOR
    elif n == 16:
        if lb_is(s, b"proxy-connection", 16):
            return F_PROXY_CONNECTION
    elif n == 17:
        if lb_is(s, b"transfer-encoding", 17):
            return F_TRANSFER_ENCODING
        if lb_is(s, b"if-modified-since", 17):
            return F_IF_MODIFIED_SINCE
    return F_X_ACCEL if n > 8 and lb_is(s, b"x-accel-", 8) else F_OTHER
