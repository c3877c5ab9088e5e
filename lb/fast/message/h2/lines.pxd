"""A request's fields as they leave HPACK, written as the head of an HTTP/1.1 message: what follows (the parser and its strict
rules, routing, rules, logs, the head that goes to a server) need not know where it came from.

    lines_begin -> lines_field ... -> lines_end: METHOD SP path SP HTTP/1.1, Host, the fields, cookies in one

Pure and bounded. What RFC 9113 section 8 calls malformed is said to be so here, above all what would be another line or another
framing in HTTP/1: CR, LF and NUL in any text, an upper-case name, fields of a connection. All that is left is the parser's.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.c.simd cimport LB_TCHAR, lb_class
from lb.fast.c.sys cimport memchr, memcmp, memcpy, strncasecmp
from lb.fast.io.writer cimport out_char, out_init, out_put, out_str
from lb.fast.message.h2.hpack cimport HpackField
from lb.fast.types cimport Out, Str

cdef enum LinesFault:
    LINES_GOOD = 0
    LINES_MALFORMED = 1         # RFC 9113 section 8.1.1
    LINES_LARGE = 2             # there was no room for all of it

ctypedef struct Lines:
    Out text                    # the head
    char* begin
    Out side                    # pseudo-header fields, then cookies
    char* side_begin
    Str method
    Str scheme
    Str authority
    Str path
    Str protocol                # RFC 8441
    Str host                    # the value of a Host field, in `text`
    Str key                     # for lines_end: Sec-WebSocket-Key of an extended CONNECT
    Str priority                # that of Priority (RFC 9218), in `text`
    const char* why             # LINES_MALFORMED: what is wrong
    uint8_t fault               # LinesFault
    uint8_t started             # the request line is written: no pseudo-header field may follow
    uint8_t cookies             # some are in `side`


cdef inline void lines_begin(Lines* l, char* text, uint32_t room, char* side, uint32_t side_room) noexcept nogil:
    cdef Lines fresh
    fresh.begin = text
    fresh.side_begin = side
    out_init(&fresh.text, text, room)
    out_init(&fresh.side, side, side_room)
    fresh.method.p = fresh.scheme.p = fresh.authority.p = fresh.path.p = fresh.protocol.p = NULL
    fresh.host.p = fresh.priority.p = fresh.key.p = NULL
    fresh.method.n = fresh.scheme.n = fresh.authority.n = fresh.path.n = fresh.protocol.n = fresh.host.n = fresh.priority.n = 0
    fresh.key.n = 0
    fresh.why = NULL
    fresh.fault = LINES_GOOD
    fresh.started = fresh.cookies = 0
    l[0] = fresh


cdef inline void lines_malformed(Lines* l, const char* why) noexcept nogil:
    if l.fault != LINES_MALFORMED:
        l.fault = LINES_MALFORMED
        l.why = why


cdef inline bint lines_name_good(const char* p, uint32_t n) noexcept nogil:
    """Section 8.2: a token in lower case."""
    cdef uint32_t i
    cdef uint8_t c
    for i in range(n):
        c = <uint8_t> p[i]
        if not lb_class[c] & LB_TCHAR or 65 <= c <= 90:
            return False
    return n > 0


cdef inline bint lines_value_good(const char* p, uint32_t n) noexcept nogil:
    """Section 8.2.1: no NUL, CR or LF; no white space around it."""
    if n == 0:
        return True
    if p[0] in (32, 9) or p[n - 1] in (32, 9):
        return False
    return memchr(p, 10, n) == NULL and memchr(p, 13, n) == NULL and memchr(p, 0, n) == NULL


cdef inline bint lines_word_good(const char* p, uint32_t n) noexcept nogil:
    """One word of a request line: no control byte, no space. What else it may be is the parser's to say."""
    cdef uint32_t i
    for i in range(n):
        if <uint8_t> p[i] <= 32 or p[i] == 127:
            return False
    return n > 0


cdef inline bint lines_of_connection(const char* p, uint32_t n) noexcept nogil:
    """Section 8.2.2: fields that HTTP/2 has none of."""
    if n == 7:
        return memcmp(p, b"upgrade", 7) == 0
    if n == 10:
        return memcmp(p, b"connection", 10) == 0 or memcmp(p, b"keep-alive", 10) == 0
    if n == 16:
        return memcmp(p, b"proxy-connection", 16) == 0
    return n == 17 and memcmp(p, b"transfer-encoding", 17) == 0


cdef inline bint lines_field(Lines* l, const HpackField* f) noexcept nogil:
    """One more. False: it is known what to say, and the rest of the block is for the table alone."""
    if l.fault == LINES_MALFORMED:
        return False
    if f.cut:
        l.fault = LINES_LARGE
        return False
    if f.name_n and f.name[0] == c":":
        lines_pseudo(l, f)
    elif not lines_name_good(f.name, f.name_n):
        lines_malformed(l, b"client sent an invalid field name")
    elif not lines_value_good(f.value, f.value_n):
        lines_malformed(l, b"client sent an invalid field value")
    elif lines_of_connection(f.name, f.name_n):
        lines_malformed(l, b"client sent a field of HTTP/1 connections")
    else:
        if not l.started:
            lines_start(l)
        lines_regular(l, f)
    if l.text.full or l.side.full:
        l.fault = LINES_LARGE if l.fault == LINES_GOOD else l.fault
    return l.fault == LINES_GOOD


cdef inline void lines_pseudo(Lines* l, const HpackField* f) noexcept nogil:
    """Section 8.3.1."""
    cdef Str* to = NULL
    if l.started:
        lines_malformed(l, b"client sent a pseudo-header field behind others")
        return
    if f.name_n == 7 and memcmp(f.name, b":method", 7) == 0:
        to = &l.method
    elif f.name_n == 7 and memcmp(f.name, b":scheme", 7) == 0:
        to = &l.scheme
    elif f.name_n == 10 and memcmp(f.name, b":authority", 10) == 0:
        to = &l.authority
    elif f.name_n == 5 and memcmp(f.name, b":path", 5) == 0:
        to = &l.path
    elif f.name_n == 9 and memcmp(f.name, b":protocol", 9) == 0:
        to = &l.protocol
    if to == NULL:
        lines_malformed(l, b"client sent an unknown pseudo-header field")
    elif to.p != NULL:
        lines_malformed(l, b"client sent a pseudo-header field twice")
    elif not lines_word_good(f.value, f.value_n):
        lines_malformed(l, b"client sent an empty or invalid pseudo-header field")
    else:
        to.p = l.side.p
        to.n = f.value_n
        out_put(&l.side, f.value, f.value_n)


cdef inline bint lines_connects(Lines* l) noexcept nogil:
    return l.method.n == 7 and memcmp(l.method.p, b"CONNECT", 7) == 0


cdef inline void lines_start(Lines* l) noexcept nogil:
    """The request line and Host. An extended CONNECT (RFC 8441) is what HTTP/1 calls an upgrade."""
    cdef bint connects = lines_connects(l)
    l.started = 1
    if l.method.p == NULL or (connects and l.protocol.p == NULL and (l.authority.p == NULL or l.path.p != NULL
                                                                     or l.scheme.p != NULL)):
        lines_malformed(l, b"client sent too few pseudo-header fields")
    elif (not connects or l.protocol.p != NULL) and (l.scheme.p == NULL or l.path.p == NULL):
        lines_malformed(l, b"client sent too few pseudo-header fields")
    elif l.protocol.p != NULL and not connects:
        lines_malformed(l, b"client sent \":protocol\" without CONNECT")
    elif l.path.p != NULL and l.path.p[0] != c"/" and not (l.path.n == 1 and l.path.p[0] == c"*"):
        lines_malformed(l, b"client sent an invalid \":path\"")
    if l.fault:
        return
    if l.protocol.p != NULL:
        out_put(&l.text, b"GET", 3)
    else:
        out_str(&l.text, l.method)
    out_char(&l.text, 32)
    out_str(&l.text, l.path if l.path.p != NULL else l.authority)
    out_put(&l.text, b" HTTP/1.1\r\n", 11)
    if l.authority.p != NULL:
        lines_put(l, b"Host", 4, l.authority.p, l.authority.n)


cdef inline Str lines_put(Lines* l, const char* name, uint32_t name_n, const char* value, uint32_t value_n) noexcept nogil:
    """A line; where its value lies."""
    cdef Str at
    out_put(&l.text, name, name_n)
    out_put(&l.text, b": ", 2)
    at.p = l.text.p
    at.n = value_n
    out_put(&l.text, value, value_n)
    out_put(&l.text, b"\r\n", 2)
    return at


cdef inline void lines_regular(Lines* l, const HpackField* f) noexcept nogil:
    if f.name_n == 6 and memcmp(f.name, b"cookie", 6) == 0:
        lines_cookie(l, f)
        return
    if f.name_n == 4 and memcmp(f.name, b"host", 4) == 0:
        if l.authority.p != NULL:
            if f.value_n != l.authority.n or strncasecmp(f.value, l.authority.p, f.value_n) != 0:
                lines_malformed(l, b"client sent a \"Host\" that is not \":authority\"")
            return
    elif f.name_n == 2 and memcmp(f.name, b"te", 2) == 0:
        if f.value_n != 8 or strncasecmp(f.value, b"trailers", 8) != 0:
            lines_malformed(l, b"client sent a \"te\" that is not \"trailers\"")
            return
    elif l.protocol.p != NULL and f.name_n == 17 and memcmp(f.name, b"sec-websocket-key", 17) == 0:
        return                              # ours goes to the server (RFC 8441 section 5)
    elif f.name_n == 8 and memcmp(f.name, b"priority", 8) == 0:
        l.priority = lines_put(l, f.name, f.name_n, f.value, f.value_n)
        return
    lines_put(l, f.name, f.name_n, f.value, f.value_n)


cdef inline void lines_cookie(Lines* l, const HpackField* f) noexcept nogil:
    """Section 8.2.3: parts of one field in HTTP/1. They lie behind the pseudo-header fields."""
    if not l.cookies:
        l.side_begin = l.side.p
        l.cookies = 1
    elif l.side.p > l.side_begin:
        out_put(&l.side, b"; ", 2)
    out_put(&l.side, f.value, f.value_n)


cdef inline void lines_end(Lines* l) noexcept nogil:
    """The block is whole, and so is the head: l.begin to l.text.p, where `fault` says LINES_GOOD."""
    if l.fault == LINES_GOOD and not l.started:
        lines_start(l)
    if l.fault == LINES_GOOD and l.cookies:
        lines_put(l, b"cookie", 6, l.side_begin, <uint32_t> (l.side.p - l.side_begin))
    if l.fault == LINES_GOOD and l.protocol.p != NULL:
        lines_put(l, b"Upgrade", 7, l.protocol.p, l.protocol.n)
        lines_put(l, b"Connection", 10, b"upgrade", 7)
        if l.key.n:
            lines_put(l, b"Sec-WebSocket-Key", 17, l.key.p, l.key.n)
    out_put(&l.text, b"\r\n", 2)
    if l.fault == LINES_GOOD and (l.text.full or l.side.full):
        l.fault = LINES_LARGE


cdef inline bint lines_trailer_good(const HpackField* f) noexcept nogil:
    """A field of a trailer section: they are looked at, and go nowhere."""
    return (f.cut or (lines_name_good(f.name, f.name_n) and lines_value_good(f.value, f.value_n)
                      and not lines_of_connection(f.name, f.name_n)))
