"""Lines of heads written anew: the request to a server, the answer to a client (their order and framing: encode.pyx). Nothing
of a received head is passed on as it came: each line is written from what the parser found (http-strictness rule 1), so that
no framing of others gets through.

What variables bring is not what a parser passed: a request line is written by h1_request_line alone, a made field's end by
header_end_field (http/proxy_redirect.pxd), and there it is made clean, whichever directive it came by.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from lb.fast.message.h1.fields cimport field_id
from lb.fast.types cimport (CODED_GZIP, Env, F_AUTHORIZATION, F_CONNECTION, F_CONTENT_LENGTH, F_CONTENT_TYPE, F_DATE, F_ETAG,
                            F_EXPECT, F_HOST, F_KEEP_ALIVE, F_LOCATION, F_OTHER, F_PROXY, F_PROXY_CONNECTION, F_SERVER,
                            F_SET_COOKIE, F_TE, F_TRAILER, F_TRANSFER_ENCODING, F_UPGRADE, F_X_ACCEL, F_X_PAD,
                            FF_BAD_NAME, FF_HOP, Field,
                            Head, Location, Out, RQ_HEAD_SENT, RQ_NO_LOCATION, RQ_URI_NEW, Request, SetHeader, Str)
from lb.fast.io.writer cimport out_char, out_put, out_str
from lb.fast.route.variables.upstream cimport var_is_white, var_up_trailers
from lb.fast.http.header_filter cimport header_coded, header_named, header_write
from lb.fast.http.proxy_redirect cimport header_end_field, header_write_line
from lb.fast.c.simd cimport LB_TARGET, LB_TCHAR, lb_class, lb_scan_class
from lb.fast.c.sys cimport memchr, memcmp, memcpy, strncasecmp
from lb.fast.message.h1.uri cimport uri_escape
from lb.fast.route.variables.request cimport var_path, var_write_value


cdef inline void h1_field(Out* o, const char* head, Field* f) noexcept nogil:
    """Name: value CRLF"""
    cdef uint32_t n = f.name_len + f.value_len + 4
    cdef char* p = o.p
    if <size_t> (o.end - p) < n:
        o.full = 1
        return
    memcpy(p, head + f.name, f.name_len)
    p += f.name_len
    p[0] = 58
    p[1] = 32
    memcpy(p + 2, head + f.value, f.value_len)
    p += 2 + f.value_len
    p[0] = 13
    p[1] = 10
    o.p = p + 2


cdef inline bint h1_is_set(Location* l, const char* head, Field* f) noexcept nogil:
    """Does proxy_set_header replace this field?"""
    cdef uint32_t i
    if f.id:
        return (l.overridden >> f.id) & 1
    if not l.sets_other:
        return False
    for i in range(l.nsets):
        if l.sets[i].name.n == f.name_len and strncasecmp(l.sets[i].name.p, head + f.name, f.name_len) == 0:
            return True
    return False


cdef inline void h1_target(Out* o, Request* r) noexcept nogil:
    """The target as received (origin form), or with proxy_pass's URI in place of the location's prefix, or as rewritten; what
    does not begin with a slash then gets one."""
    cdef uint32_t skip = 0
    cdef Location* l = r.loc
    if r.proxy_uri.p == NULL and not r.flags & RQ_URI_NEW:
        var_path(o, r)
        return
    if r.proxy_uri.p != NULL and not r.flags & RQ_NO_LOCATION:
        out_str(o, r.proxy_uri)
        if l.proxy_url != NULL:         # made of variables: it is the whole target
            return
        skip = l.pattern.n if l.pattern.n < r.uri_len else r.uri_len
    elif r.uri_len == 0 or r.uri[0] != c"/":
        out_char(o, c"/")
    if <size_t> (o.end - o.p) < 3 * <size_t> (r.uri_len - skip):
        o.full = 1
        return
    o.p += uri_escape(r.uri + skip, r.uri_len - skip, o.p)
    if r.args_len:
        out_char(o, 63)
        out_put(o, r.args, r.args_len)


cdef inline void h1_quote_target(Out* o, char* start) noexcept nogil:
    """Makes escapes of what was written since `start` and may not stand in a target: control bytes, SP, DEL, "#"."""
    cdef const char* digits = b"0123456789ABCDEF"
    cdef char* p
    cdef char* to
    cdef uint32_t odd = 0
    cdef uint8_t c
    p = start
    while p < o.p:
        odd += not lb_class[<uint8_t> p[0]] & LB_TARGET and p[0] != c"%"
        p += 1
    if odd == 0:
        return
    if <size_t> (o.end - o.p) < 2 * <size_t> odd:
        o.full = 1
        return
    to = o.p + 2 * odd
    o.p = to
    while to > p:                       # from the end, until as many bytes lie before it as were there
        p -= 1
        c = <uint8_t> p[0]
        if lb_class[c] & LB_TARGET or c == c"%":
            to -= 1
            to[0] = <char> c
        else:
            to -= 3
            to[0] = c"%"
            to[1] = digits[c >> 4]
            to[2] = digits[c & 15]


cdef inline bint h1_request_line(Out* o, Request* r, Env* env) noexcept nogil:
    """The request line, and RQ_HEAD_SENT. The only writer of one: what values bring gets no further than its own word.

    False: what proxy_method comes to is no method.
    """
    cdef char* start = o.p
    cdef Location* l = r.loc
    if l.method.n:
        var_write_value(o, r, env, &l.method)
    else:
        out_str(o, r.method)
    if o.p == start or lb_scan_class(<uint8_t*> start, <uint8_t*> o.p, LB_TCHAR) != <uint8_t*> o.p:
        return o.full                   # there was no room for it: that is told by `full`
    r.flags &= ~<uint64_t> RQ_HEAD_SENT
    if o.p - start == 4 and memcmp(start, b"HEAD", 4) == 0:
        r.flags |= RQ_HEAD_SENT
    out_char(o, 32)
    start = o.p
    h1_target(o, r)
    h1_quote_target(o, start)
    out_put(o, b" HTTP/1.0\r\n" if l.http10 else b" HTTP/1.1\r\n", 11)
    return True


cdef inline void h1_set_header(Out* o, Request* r, Env* env, SetHeader* s) noexcept nogil:
    """One proxy_set_header; an empty value leaves the field out, but Host is $proxy_host then (nginx)."""
    cdef char* start = o.p
    cdef char* value
    out_str(o, s.name)
    out_put(o, b": ", 2)
    value = o.p
    var_write_value(o, r, env, &s.value)
    if o.p == value and s.id == F_HOST:
        out_str(o, r.proxy_host)
    if o.p == value:
        o.p = start
        return
    header_end_field(o, value)


cdef inline bint h1_drops(Field* f) noexcept nogil:
    """Fields of the client that never go to a server as they are."""
    if f.flags & (FF_HOP | FF_BAD_NAME):
        return True
    return f.id in (F_HOST, F_CONTENT_LENGTH, F_TRANSFER_ENCODING, F_CONNECTION, F_KEEP_ALIVE, F_PROXY_CONNECTION, F_PROXY,
                    F_TE, F_TRAILER, F_UPGRADE, F_EXPECT)


cdef inline void h1_request_fields(Out* o, Request* r, Env* env) noexcept nogil:
    """The request's fields for the chosen upstream, but for its framing."""
    cdef uint32_t i
    cdef Location* l = r.loc
    cdef Field* f
    if not (l.overridden >> F_HOST) & 1:
        header_write_line(o, b"Host", 4, r.proxy_host.p, r.proxy_host.n)
    for i in range(l.nsets):
        h1_set_header(o, r, env, &l.sets[i])
    for i in range(0 if l.bare else r.h.nfields):
        f = &r.h.fields[i]
        if not h1_drops(f) and not h1_is_set(l, r.head, f):
            h1_field(o, r.head, f)


cdef enum:      # fields of a server that do not go to the client: hop-by-hop, framing, and what nginx hides
    HIDDEN = (1ull << F_CONTENT_LENGTH | 1ull << F_TRANSFER_ENCODING | 1ull << F_CONNECTION | 1ull << F_KEEP_ALIVE
              | 1ull << F_PROXY_CONNECTION | 1ull << F_TE | 1ull << F_TRAILER | 1ull << F_UPGRADE | 1ull << F_DATE
              | 1ull << F_SERVER | 1ull << F_X_ACCEL | 1ull << F_X_PAD)
    NO_TRAILER = (1ull << F_HOST | 1ull << F_CONTENT_TYPE | 1ull << F_SET_COOKIE | 1ull << F_LOCATION | 1ull << F_EXPECT
                  | 1ull << F_AUTHORIZATION)
    MAY_PASS = 1ull << F_DATE | 1ull << F_SERVER | 1ull << F_X_ACCEL | 1ull << F_X_PAD      # with proxy_pass_header


cdef inline void h1_response_fields(Out* o, Request* r, Env* env, const char* head, Head* h) noexcept nogil:
    """The answer's own fields, but for its framing."""
    cdef uint32_t i
    cdef uint64_t special = HIDDEN | r.loc.special
    if r.coded & CODED_GZIP:
        special |= 1 << F_ETAG | 1 << F_OTHER
    cdef Field* f
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.flags & FF_HOP:
            continue
        if not (special >> f.id) & 1:
            h1_field(o, head, f)
        elif r.coded & CODED_GZIP and header_coded(o, r, head, f):
            pass
        elif r.loc.header_filter != NULL and not ((HIDDEN & ~MAY_PASS) >> f.id) & 1:
            header_write(o, r, env, head, f, (HIDDEN >> f.id) & 1)
        elif not (HIDDEN >> f.id) & 1:
            h1_field(o, head, f)


cdef inline void h1_trailers(Out* o, Request* r) noexcept nogil:
    """The server's trailer section, less what has no place there (RFC 9110 section 6.5.1) and what proxy_hide_header names."""
    cdef Str lines = var_up_trailers(r)
    cdef char* p = lines.p
    cdef char* end = p + lines.n
    cdef uint32_t n, key, at, last
    cdef int id
    while p < end:
        n = last = <uint32_t> (<char*> memchr(p, 13, end - p) - p)
        key = <uint32_t> (<char*> memchr(p, 58, n) - p)
        id = field_id(<uint8_t*> p, key)
        at = key + 1
        while at < n and var_is_white(p[at]):
            at += 1
        while last > at and var_is_white(p[last - 1]):
            last -= 1
        if not ((HIDDEN | NO_TRAILER) >> id) & 1 and (
                r.loc.header_filter == NULL or not header_named(r.loc.header_filter.hide, r.loc.header_filter.nhide, p, key)):
            header_write_line(o, p, key, p + at, last - at)
        p += n + 2
