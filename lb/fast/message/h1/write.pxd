"""Lines of heads written anew: the request to a server, the answer to a client (start line and framing: encode.pyx).

Nothing of a received head is passed on as it came: each line is written from what the parser found (http-strictness rule
1), so that no framing of others gets through.
"""

from libc.stdint cimport uint8_t, uint32_t
from lb.fast.message.h1.fields cimport field_id
from lb.fast.types cimport (CODED_GZIP, Env, F_AUTHORIZATION, F_CONNECTION, F_CONTENT_LENGTH, F_CONTENT_TYPE, F_DATE, F_ETAG,
                            F_EXPECT, F_HOST, F_KEEP_ALIVE, F_LOCATION, F_OTHER, F_PROXY, F_PROXY_CONNECTION, F_SERVER,
                            F_SET_COOKIE, F_TE, F_TRAILER, F_TRANSFER_ENCODING, F_UPGRADE, F_X_ACCEL, F_X_PAD, FF_BAD_NAME, FF_HOP, Field,
                            Head, Location, Out, RQ_NO_LOCATION, RQ_URI_NEW, Request, SetHeader, Str)
from lb.fast.io.writer cimport out_char, out_put, out_str
from lb.fast.route.variables.upstream cimport var_is_white, var_up_trailers
from lb.fast.http.header_filter cimport header_coded, header_named, header_write
from lb.fast.http.proxy_redirect cimport header_clean, header_write_line
from lb.fast.c.sys cimport memchr, memcpy, strncasecmp
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
    """The target as received (origin form), or with proxy_pass's URI in place of the location's prefix, or as rewritten."""
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
    if <size_t> (o.end - o.p) < 3 * <size_t> (r.uri_len - skip):
        o.full = 1
        return
    o.p += uri_escape(r.uri + skip, r.uri_len - skip, o.p)
    if r.args_len:
        out_char(o, 63)
        out_put(o, r.args, r.args_len)


cdef inline void h1_set_header(Out* o, Request* r, Env* env, SetHeader* s) noexcept nogil:
    """One proxy_set_header; an empty value leaves the field out (nginx). Decoded values ($uri, $remote_user) may hold line
    ends: each control byte becomes a space (RFC 9110 section 5.5)."""
    cdef char* start = o.p
    cdef char* value
    out_str(o, s.name)
    out_put(o, b": ", 2)
    value = o.p
    var_write_value(o, r, env, &s.value)
    if o.p == value:
        o.p = start
        return
    header_clean(value, o.p)
    out_put(o, b"\r\n", 2)


cdef inline bint h1_drops(Field* f) noexcept nogil:
    """Fields of the client that never go to a server as they are."""
    if f.flags & (FF_HOP | FF_BAD_NAME):
        return True
    return f.id in (F_HOST, F_CONTENT_LENGTH, F_TRANSFER_ENCODING, F_CONNECTION, F_KEEP_ALIVE, F_PROXY_CONNECTION, F_PROXY,
                    F_TE, F_TRAILER, F_UPGRADE, F_EXPECT)


cdef inline void h1_request_line(Out* o, Request* r, Env* env) noexcept nogil:
    if r.loc.method.n:
        var_write_value(o, r, env, &r.loc.method)
    else:
        out_str(o, r.method)
    out_char(o, 32)
    h1_target(o, r)
    out_put(o, b" HTTP/1.0\r\n" if r.loc.http10 else b" HTTP/1.1\r\n", 11)


cdef inline void h1_request_fields(Out* o, Request* r, Env* env) noexcept nogil:
    """The request's fields for the chosen upstream, but for its framing."""
    cdef uint32_t i
    cdef Location* l = r.loc
    cdef Field* f
    if not (l.overridden >> F_HOST) & 1:
        out_put(o, b"Host: ", 6)
        out_str(o, r.proxy_host)
        out_put(o, b"\r\n", 2)
    for i in range(l.nsets):
        h1_set_header(o, r, env, &l.sets[i])
    for i in range(0 if l.bare else r.h.nfields):
        f = &r.h.fields[i]
        if not h1_drops(f) and not h1_is_set(l, r.head, f):
            h1_field(o, r.head, f)


cdef enum:      # fields of a server that do not go to the client: hop-by-hop, framing, and what nginx hides
    HIDDEN = (1 << F_CONTENT_LENGTH | 1 << F_TRANSFER_ENCODING | 1 << F_CONNECTION | 1 << F_KEEP_ALIVE
              | 1 << F_PROXY_CONNECTION | 1 << F_TE | 1 << F_TRAILER | 1 << F_UPGRADE | 1 << F_DATE | 1 << F_SERVER
              | 1 << F_X_ACCEL | 1 << F_X_PAD)
    NO_TRAILER = 1 << F_HOST | 1 << F_CONTENT_TYPE | 1 << F_SET_COOKIE | 1 << F_LOCATION | 1 << F_EXPECT | 1 << F_AUTHORIZATION
    MAY_PASS = 1 << F_DATE | 1 << F_SERVER | 1 << F_X_ACCEL | 1 << F_X_PAD      # with proxy_pass_header


cdef inline void h1_response_fields(Out* o, Request* r, Env* env, const char* head, Head* h) noexcept nogil:
    """The answer's own fields, but for its framing."""
    cdef uint32_t i, special = HIDDEN | r.loc.special
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
