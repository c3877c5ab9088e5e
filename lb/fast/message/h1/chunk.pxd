"""Chunked bodies: the data bytes out of their framing, in place, strictly.

    chunked-body   = *chunk last-chunk trailer-section CRLF              RFC 9112 7.1
    chunk          = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
    chunk-size     = 1*15HEXDIG                                          15: fits in 60 bits
    chunk-ext      = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
    trailer-section = *( field-line CRLF )                               checked as lines, then dropped, or kept

A machine of one byte a step between runs of data, so that every split of the input gives the same. The whole state is
the caller's Chunked, all zero before the first byte but for what it asks for (`keep`, `lenient`). Lenient takes sizes that
are padded with white space or zeros, and control bytes in trailer values; never another line end than CRLF.
Bounded: the extensions of one chunk (EXT_MAX), those of the whole body beyond what its data pays for (EXCESS_MAX), the
trailer section (TRAILER_MAX).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from lb.fast.message.h1.fields cimport field_value_rule
from lb.fast.c.simd cimport LB_HEX, LB_QDTEXT, LB_TCHAR, LB_VALUE, lb_class, lb_hex
from lb.fast.c.sys cimport memmove
from lb.fast.types cimport (
    Chunked, P_BAD, P_DONE, P_MORE, R_CHUNK_END, R_CHUNK_EXT, R_CHUNK_EXT_LONG, R_CHUNK_LINE, R_CHUNK_SIZE,
    R_CHUNK_SIZE_LONG, R_END_CR, R_FOLDED, R_NAME_BYTE, R_NAME_EMPTY, R_NAME_SPACE, R_NO_COLON, R_NONE, R_TRAILER_LONG,
    R_VALUE_BYTE, R_VALUE_CR,
)

cdef enum:
    SIZE_DIGITS = 15
    EXT_MAX = 1024
    EXCESS_MAX = 16384
    EXCESS_FREE = 16        # bytes of extension that every chunk may bring, besides as many as it has data
    TRAILER_MAX = 8192
    PADDED_MAX = 64         # white space and digits of a size, where the caller is lenient

cdef enum ChunkState:       # what the next byte is
    CK_SIZE = 0             # first digit
    CK_DIGITS = 1           # further digits, or the end of the size
    CK_EXT_WAIT = 2         # white space before ";"
    CK_EXT_NAME = 3         # white space, or first byte of a name
    CK_EXT_NAMED = 4        # further bytes of a name
    CK_EXT_EQUALS = 5       # white space after a name
    CK_EXT_VALUE = 6        # white space, or first byte of a value
    CK_EXT_TOKEN = 7        # further bytes of a token
    CK_EXT_QUOTED = 8       # within quotes
    CK_EXT_ESCAPED = 9      # after a backslash
    CK_EXT_CLOSED = 10      # after the closing quote
    CK_LINE_LF = 11         # LF of the size line
    CK_DATA = 12
    CK_DATA_CR = 13
    CK_DATA_LF = 14
    CK_TRAILER = 15         # first byte of a trailer line, or of the last CRLF
    CK_NAME = 16
    CK_VALUE = 17
    CK_VALUE_LF = 18
    CK_END_LF = 19
    CK_END = 20             # the body is whole


cdef inline int chunk_decode(Chunked* s, char* p, uint32_t n, uint32_t* used, uint32_t* out_len) noexcept nogil:
    """Decodes p[0:n] and moves its data bytes to p[0:out_len]. `used` bytes were taken: all n, unless the body ends.

    P_MORE: feed what comes next. P_DONE: p[used:n] belongs to the next message. P_BAD: s.bad says why, `used` is the
    offset of the byte (the data before it stands in p[0:out_len]); stays so.
    """
    cdef uint8_t* b = <uint8_t*> p
    cdef uint32_t i = 0, w = 0, take
    while i < n and s.state != CK_END and s.bad == R_NONE:
        if s.state == CK_DATA:
            take = n - i if s.left > n - i else <uint32_t> s.left
            if w != i:
                memmove(b + w, b + i, take)
            i += take
            w += take
            s.total += take
            s.left -= take
            if s.left == 0:
                s.state = CK_DATA_CR
        else:
            s.bad = chunk_framing_byte(s, b[i])
            i += s.bad == R_NONE
    used[0] = i
    out_len[0] = w
    if s.bad != R_NONE:
        return P_BAD
    return P_DONE if s.state == CK_END else P_MORE


cdef inline uint8_t chunk_framing_byte(Chunked* s, uint8_t c) noexcept nogil:
    """One byte that is no data. Returns the Rule that it breaks; R_NONE when it is taken."""
    if s.state <= CK_DIGITS:
        return chunk_size_byte(s, c)
    elif s.state < CK_LINE_LF:
        s.line += 1
        s.excess += 1
        if s.line > EXT_MAX or s.excess > EXCESS_MAX:
            return R_CHUNK_EXT_LONG
        return chunk_extension_byte(s, c)
    elif s.state == CK_LINE_LF:
        return chunk_data_begins(s) if c == c"\n" else R_CHUNK_LINE
    elif s.state == CK_DATA_CR:
        s.state = CK_DATA_LF
        return R_NONE if c == c"\r" else R_CHUNK_END
    elif s.state == CK_DATA_LF:
        s.state = CK_SIZE
        s.line = 0
        return R_NONE if c == c"\n" else R_CHUNK_END
    s.trailer += 1
    if s.trailer > TRAILER_MAX:
        return R_TRAILER_LONG
    if s.keep != NULL:
        s.keep[s.trailer - 1] = <char> (c if c != 127 and c >= 32 or c in (9, 10, 13) else 32)
    return chunk_trailer_byte(s, c)


cdef inline uint8_t chunk_size_byte(Chunked* s, uint8_t c) noexcept nogil:
    if lb_class[c] & LB_HEX:
        s.line += 1
        if chunk_too_long(s):
            return R_CHUNK_SIZE_LONG
        s.left = s.left << 4 | lb_hex(c)
        s.state = CK_DIGITS
        return R_NONE
    if s.state == CK_SIZE:
        s.line += 1
        return R_NONE if s.lenient and (c == c" " or c == c"\t") and s.line <= PADDED_MAX else R_CHUNK_SIZE
    s.line = 0
    if c == c"\r" or c == c";" or c == c" " or c == c"\t":
        return chunk_after_value(s, c)
    return R_CHUNK_LINE if c == c"\n" else R_CHUNK_SIZE


cdef inline bint chunk_too_long(Chunked* s) noexcept nogil:
    """Would one more digit be too much?"""
    if s.lenient:
        return s.line > PADDED_MAX or s.left >> 4 * (SIZE_DIGITS - 1)
    return s.line > SIZE_DIGITS


cdef inline bint chunk_lenient_takes(Chunked* s, uint8_t c) noexcept nogil:
    """Would a lenient decoder have taken this byte, which the strict one has refused?"""
    cdef Chunked again = s[0]
    if s.bad not in (R_CHUNK_SIZE, R_CHUNK_SIZE_LONG, R_CHUNK_EXT, R_VALUE_BYTE):
        return False
    again.lenient = 1
    again.bad = R_NONE
    again.keep = NULL
    return chunk_framing_byte(&again, c) == R_NONE


cdef inline uint8_t chunk_data_begins(Chunked* s) noexcept nogil:
    """The size line is whole."""
    cdef uint64_t paid = s.left + EXCESS_FREE
    s.excess = 0 if paid > s.excess else s.excess - <uint32_t> paid
    s.state = CK_DATA if s.left > 0 else CK_TRAILER
    return R_NONE


cdef inline uint8_t chunk_after_value(Chunked* s, uint8_t c) noexcept nogil:
    """What may follow a size or an extension: the end of the line, or the next extension."""
    if c == c"\r":
        s.state = CK_LINE_LF
    elif c == c";":
        s.state = CK_EXT_NAME
    elif c == c" " or c == c"\t":
        s.state = CK_EXT_WAIT
    else:
        return R_CHUNK_LINE if c == c"\n" else R_CHUNK_EXT
    return R_NONE


cdef inline uint8_t chunk_extension_byte(Chunked* s, uint8_t c) noexcept nogil:
    """RFC 9112 7.1.1, with the bad white space that a recipient must take."""
    cdef bint white = c == c" " or c == c"\t"
    cdef bint token = lb_class[c] & LB_TCHAR
    if s.state == CK_EXT_WAIT:
        if c == c"\r" and not s.lenient:
            return R_CHUNK_EXT          # white space at the end of the line is none of the grammar's
        return chunk_after_value(s, c)
    elif s.state == CK_EXT_NAME:
        if token:
            s.state = CK_EXT_NAMED
        return R_NONE if token or white else R_CHUNK_EXT
    elif s.state == CK_EXT_NAMED and token:
        return R_NONE
    elif s.state == CK_EXT_NAMED or s.state == CK_EXT_EQUALS:
        if c == c"=":
            s.state = CK_EXT_VALUE
            return R_NONE
        if white:
            s.state = CK_EXT_EQUALS
            return R_NONE
        return chunk_after_value(s, c) if c == c";" or s.state == CK_EXT_NAMED else R_CHUNK_EXT
    elif s.state == CK_EXT_VALUE:
        if not white:
            s.state = CK_EXT_QUOTED if c == c'"' else CK_EXT_TOKEN
        return R_NONE if token or white or c == c'"' else R_CHUNK_EXT
    elif s.state == CK_EXT_TOKEN:
        return R_NONE if token else chunk_after_value(s, c)
    elif s.state == CK_EXT_QUOTED:
        if c == c'"':
            s.state = CK_EXT_CLOSED
        elif c == c"\\":
            s.state = CK_EXT_ESCAPED
        elif not lb_class[c] & LB_QDTEXT:
            return R_CHUNK_EXT
        return R_NONE
    elif s.state == CK_EXT_ESCAPED:
        s.state = CK_EXT_QUOTED
        return R_NONE if lb_class[c] & LB_VALUE else R_CHUNK_EXT
    return chunk_after_value(s, c)


cdef inline uint8_t chunk_trailer_byte(Chunked* s, uint8_t c) noexcept nogil:
    """A field line (message/h1/fields.pxd) by single bytes, or the last CRLF."""
    if s.state == CK_TRAILER or s.state == CK_NAME:
        if lb_class[c] & LB_TCHAR:
            s.state = CK_NAME
            return R_NONE
        return chunk_name_ends(s, c)
    elif s.state == CK_VALUE:
        if c == c"\r":
            s.state = CK_VALUE_LF
            return R_NONE
        if lb_class[c] & LB_VALUE or (s.lenient and field_value_rule(c) == R_VALUE_BYTE):
            return R_NONE
        return field_value_rule(c)
    elif s.state == CK_VALUE_LF:
        s.state = CK_TRAILER
        return R_NONE if c == c"\n" else R_VALUE_CR
    s.state = CK_END
    return R_NONE if c == c"\n" else R_END_CR


cdef inline uint8_t chunk_name_ends(Chunked* s, uint8_t c) noexcept nogil:
    cdef bint empty = s.state == CK_TRAILER
    if c == c":":
        s.state = CK_VALUE
        return R_NAME_EMPTY if empty else R_NONE
    elif c == c"\r":
        s.state = CK_END_LF
        return R_NONE if empty else R_NO_COLON
    elif c == c" " or c == c"\t":
        return R_FOLDED if empty else R_NAME_SPACE
    return R_NO_COLON if c == c"\n" and not empty else R_NAME_BYTE
