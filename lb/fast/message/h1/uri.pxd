"""Paths: normalised for finding a location, and escaped again when lb writes a new one to a server, both as nginx does.

    uri_normalise   "/a/%62//../c?x"  ->  "/a/c", query at "x"
    uri_escape      "/a b"            ->  "/a%20b"

Owns nothing. nginx decodes first and looks for segments afterwards, so that %2e is a dot and %2f a slash; what is
decoded to "%", "?" or "#" is that byte and nothing more. The target goes out as it came, unless proxy_pass has a URI.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.c.simd cimport LB_ESCAPE, LB_HEX, lb_class, lb_hex, lb_scan_target
from lb.fast.c.sys cimport memcpy
from lb.fast.types cimport P_BAD, P_DONE, R_NONE, R_PATH_ABOVE_ROOT, R_PATH_NUL, R_PATH_START, R_TARGET_PERCENT

cdef enum:
    URI_SCAN_BEHIND = 18    # c/simd.h loads 17 bytes before the end, and the scan starts at the second one


cdef inline int uri_normalise(
    const char* p, uint32_t n, char* out, uint32_t* out_len, uint32_t* args_off, bint merge,
) noexcept nogil:
    """The path of p[0:n] (Head.path) to `out` (room for n bytes): decoded, dot segments resolved, slashes merged
    (`merge`).

    args_off: offset of the query, behind its "?"; 0: none. A "#" in the path ends it (head_parse_request lets none through).
    An empty path before "?" is "/". On P_BAD, *out_len is the offset of the byte and *args_off the Rule.
    """
    cdef const uint8_t* s = <const uint8_t*> p
    cdef uint8_t* o = <uint8_t*> out
    cdef uint32_t i = uri_literal_prefix(s, n), w = i, rule = R_NONE, before
    cdef uint8_t c
    if i > 0:
        memcpy(o, s, i)
    elif n > 0 and s[0] == c"?":
        o[0] = c"/"
        w = 1
    elif n == 0 or s[0] != c"/":
        rule = R_PATH_START
    while rule == R_NONE and i < n and s[i] != c"?" and s[i] != c"#":
        c = s[i]
        if c == c"%":
            rule = uri_decoded(s + i, n - i, &c)
            if rule != R_NONE:
                break
            i += 2
        before = w
        if c == c"/":
            rule = uri_segment_ends(o, &w)
        elif c == 0:
            rule = R_PATH_NUL
        if rule != R_NONE:
            break
        # the slash behind a dot segment went with it
        if c != c"/" or w == 0 or o[w - 1] != c"/" or (not merge and w == before):
            o[w] = c
            w += 1
        i += 1
    if rule == R_NONE:
        rule = uri_segment_ends(o, &w)
    out_len[0] = w if rule == R_NONE else i
    args_off[0] = rule if rule != R_NONE else i + 1 if i < n and s[i] == c"?" else 0
    return P_DONE if rule == R_NONE else P_BAD


cdef inline uint32_t uri_literal_prefix(const uint8_t* s, uint32_t n) noexcept nogil:
    """How much of the path is its own normal form, as far as one look tells; 0: no more than the slow way finds out.

    Whole paths mostly. One that has "//" or "/." up to the point where the scan stopped counts as nothing.
    """
    cdef const uint8_t* end = s + n
    cdef const uint8_t* stop
    cdef uint32_t dots = 0
    if n < URI_SCAN_BEHIND or s[0] != c"/":
        return 0
    stop = lb_scan_target(s + 1, end, &dots)
    return 0 if dots else <uint32_t> (stop - s)


cdef inline uint32_t uri_decoded(const uint8_t* s, uint32_t n, uint8_t* c) noexcept nogil:
    """The byte that the percent sign at s stands for. Returns a Rule."""
    if n < 3 or not lb_class[s[1]] & LB_HEX or not lb_class[s[2]] & LB_HEX:
        return R_TARGET_PERCENT
    c[0] = lb_hex(s[1]) << 4 | lb_hex(s[2])
    return R_PATH_NUL if c[0] == 0 else R_NONE      # here, to point to the percent sign


cdef inline uint32_t uri_segment_ends(uint8_t* o, uint32_t* w) noexcept nogil:
    """Resolves the last segment of o[0:w] if it is "." or "..". Returns a Rule."""
    cdef uint32_t n = w[0]
    if n < 2 or o[n - 1] != c".":
        return R_NONE
    if o[n - 2] == c"/":
        w[0] = n - 1
        return R_NONE
    if n < 3 or o[n - 2] != c"." or o[n - 3] != c"/":
        return R_NONE
    n -= 3
    if n == 0:
        return R_PATH_ABOVE_ROOT
    while o[n - 1] != c"/":
        n -= 1
    w[0] = n
    return R_NONE


cdef inline uint32_t uri_escape(const char* p, uint32_t n, char* out) noexcept nogil:
    """Writes a decoded path so that it reads back the same; returns its length, at most 3 n. As nginx since 1.21.1."""
    cdef const uint8_t* s = <const uint8_t*> p
    cdef const char* digits = b"0123456789ABCDEF"
    cdef uint32_t i, w = 0
    for i in range(n):
        if lb_class[s[i]] & LB_ESCAPE:
            out[w] = c"%"
            out[w + 1] = digits[s[i] >> 4]
            out[w + 2] = digits[s[i] & 15]
            w += 3
        else:
            out[w] = p[i]
            w += 1
    return w


cdef inline uint32_t uri_escape_args(const char* p, uint32_t n, char* out) noexcept nogil:
    """Text as part of a query: space # % & + ; ? and bytes that are no printable ASCII. Returns its length, at most 3 n."""
    cdef const char* digits = b"0123456789ABCDEF"
    cdef uint32_t i, w = 0
    cdef uint8_t c
    for i in range(n):
        c = <uint8_t> p[i]
        if c <= 32 or c >= 127 or c in (c"#", c"%", c"&", c"+", c";", c"?"):
            out[w] = c"%"
            out[w + 1] = digits[c >> 4]
            out[w + 2] = digits[c & 15]
            w += 3
        else:
            out[w] = p[i]
            w += 1
    return w
