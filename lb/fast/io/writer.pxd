"""A bounded writer: text into memory, never past its end. `full` says that something did not fit."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from lb.fast.types cimport Out, Str
from lb.fast.c.sys cimport gmtime_r, memcpy, memset, strlen, time_t, tm


cdef inline void out_init(Out* o, char* p, uint32_t n) noexcept nogil:
    o.p = p
    o.end = p + n
    o.full = 0
    o.missing = 0


cdef inline void out_put(Out* o, const char* p, uint32_t n) noexcept nogil:
    if <size_t> (o.end - o.p) < n:
        o.full = 1
        return
    if n:                               # `p` may be NULL without bytes
        memcpy(o.p, p, n)
        o.p += n


cdef inline void out_str(Out* o, Str s) noexcept nogil:
    if s.n:                             # what is not there has no address either
        out_put(o, s.p, s.n)


cdef inline void out_text(Out* o, const char* s) noexcept nogil:
    out_put(o, s, <uint32_t> strlen(s))


cdef inline void out_char(Out* o, char c) noexcept nogil:
    if o.p == o.end:
        o.full = 1
        return
    o.p[0] = c
    o.p += 1


cdef inline void out_uint(Out* o, uint64_t x) noexcept nogil:
    cdef char digits[20]
    cdef int i = 20
    while True:
        i -= 1
        digits[i] = <char> (48 + x % 10)
        x //= 10
        if x == 0:
            break
    out_put(o, digits + i, 20 - i)


cdef inline void out_int(Out* o, int64_t x) noexcept nogil:
    if x < 0:
        out_char(o, 45)
        out_uint(o, <uint64_t> 0 - <uint64_t> x)
    else:
        out_uint(o, <uint64_t> x)


cdef inline void out_padded(Out* o, uint32_t x, int width) noexcept nogil:
    """Decimal with leading zeros; `x` has at most `width` (<= 9) digits."""
    cdef char digits[9]
    cdef int i = width
    while i > 0:
        i -= 1
        digits[i] = <char> (48 + x % 10)
        x //= 10
    out_put(o, digits, width)


cdef inline void out_seconds(Out* o, int64_t ms) noexcept nogil:
    """1234 -> 1.234, nginx's form of $request_time and $msec."""
    if ms < 0:
        ms = 0
    out_uint(o, <uint64_t> (ms // 1000))
    out_char(o, 46)
    out_padded(o, <uint32_t> (ms % 1000), 3)


cdef inline void out_hex(Out* o, uint64_t x) noexcept nogil:
    cdef char digits[16]
    cdef int i = 16
    cdef int d
    while True:
        i -= 1
        d = <int> (x & 15)
        digits[i] = <char> (48 + d if d < 10 else 87 + d)
        x >>= 4
        if x == 0:
            break
    out_put(o, digits + i, 16 - i)


cdef inline void out_date(Out* o, tm* t) noexcept nogil:
    """IMF-fixdate of RFC 9110 section 5.6.7: Sun, 06 Nov 1994 08:49:37 GMT."""
    out_put(o, <const char*> b"SunMonTueWedThuFriSat" + 3 * t.tm_wday, 3)
    out_put(o, b", ", 2)
    out_padded(o, t.tm_mday, 2)
    out_char(o, 32)
    out_put(o, <const char*> b"JanFebMarAprMayJunJulAugSepOctNovDec" + 3 * t.tm_mon, 3)
    out_char(o, 32)
    out_padded(o, t.tm_year + 1900, 4)
    out_char(o, 32)
    out_clock(o, t)
    out_put(o, b" GMT", 4)


cdef enum:
    DATE_MOST = 253402300799            # the last second of the year 9999: IMF-fixdate has four digits for it


cdef inline void out_date_at(Out* o, int64_t seconds) noexcept nogil:
    """IMF-fixdate of seconds since 1970; what lies outside 1970 to 9999 is the nearest in it (nginx: at least 1970)."""
    cdef tm t
    cdef time_t at = 0 if seconds < 0 else <int64_t> DATE_MOST if seconds > <int64_t> DATE_MOST else seconds
    if gmtime_r(&at, &t) == NULL:       # beyond what its tm can hold: not after these bounds
        memset(&t, 0, sizeof(t))
    out_date(o, &t)


cdef inline void out_clock(Out* o, tm* t) noexcept nogil:
    out_padded(o, t.tm_hour, 2)
    out_char(o, 58)
    out_padded(o, t.tm_min, 2)
    out_char(o, 58)
    out_padded(o, t.tm_sec, 2)


cdef inline void out_zone(Out* o, tm* t, bint colon) noexcept nogil:
    cdef long off = t.tm_gmtoff // 60
    out_char(o, 43 if off >= 0 else 45)
    if off < 0:
        off = -off
    out_padded(o, <uint32_t> (off // 60), 2)
    if colon:
        out_char(o, 58)
    out_padded(o, <uint32_t> (off % 60), 2)


cdef inline void out_local(Out* o, tm* t) noexcept nogil:
    """$time_local: 28/Sep/1970:12:00:00 +0600."""
    out_padded(o, t.tm_mday, 2)
    out_char(o, 47)
    out_put(o, <const char*> b"JanFebMarAprMayJunJulAugSepOctNovDec" + 3 * t.tm_mon, 3)
    out_char(o, 47)
    out_padded(o, t.tm_year + 1900, 4)
    out_char(o, 58)
    out_clock(o, t)
    out_char(o, 32)
    out_zone(o, t, False)


cdef inline void out_iso(Out* o, tm* t) noexcept nogil:
    """$time_iso8601: 1970-09-28T12:00:00+06:00."""
    out_padded(o, t.tm_year + 1900, 4)
    out_char(o, 45)
    out_padded(o, t.tm_mon + 1, 2)
    out_char(o, 45)
    out_padded(o, t.tm_mday, 2)
    out_char(o, 84)
    out_clock(o, t)
    out_zone(o, t, True)


cdef inline void out_log_time(Out* o, tm* t) noexcept nogil:
    """error log: 2026/11/22 15:00:00."""
    out_padded(o, t.tm_year + 1900, 4)
    out_char(o, 47)
    out_padded(o, t.tm_mon + 1, 2)
    out_char(o, 47)
    out_padded(o, t.tm_mday, 2)
    out_char(o, 32)
    out_clock(o, t)


cdef inline void out_json(Out* o, const char* p, uint32_t n) noexcept nogil:
    """Inside a JSON string: `"`, `\\` and control bytes are escaped (nginx's `escape=json`)."""
    cdef uint32_t i, start = 0
    cdef unsigned char c
    for i in range(n):
        c = <unsigned char> p[i]
        if c >= 32 and c != 34 and c != 92:
            continue
        out_put(o, p + start, i - start)
        start = i + 1
        if c == 34 or c == 92:
            out_char(o, 92)
            out_char(o, <char> c)
        elif 8 <= c <= 13 and c != 11:
            out_char(o, 92)
            out_put(o, <const char*> b"btn.fr" + (c - 8), 1)
        else:
            out_put(o, b"\\u00", 4)
            out_put(o, <const char*> b"0123456789ABCDEF" + (c >> 4), 1)
            out_put(o, <const char*> b"0123456789ABCDEF" + (c & 15), 1)
    out_put(o, p + start, n - start)


cdef inline void out_escaped(Out* o, const char* p, uint32_t n) noexcept nogil:
    """Log escaping, nginx's `escape=default`: `"`, `\\`, control bytes and bytes above 126 become \\xHH."""
    cdef uint32_t i, start = 0
    cdef unsigned char c
    for i in range(n):
        c = <unsigned char> p[i]
        if c >= 32 and c < 127 and c != 34 and c != 92:
            continue
        out_put(o, p + start, i - start)
        start = i + 1
        out_put(o, b"\\x", 2)
        out_put(o, <const char*> b"0123456789ABCDEF" + (c >> 4), 1)
        out_put(o, <const char*> b"0123456789ABCDEF" + (c & 15), 1)
    out_put(o, p + start, n - start)
