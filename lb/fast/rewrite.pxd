"""Heads written anew: the request to a server, the answer to a client. Nothing of a received head is passed on as it came:
each line is written from what the parser found (http-strictness rule 1), so that no framing of others gets through.
"""

from libc.stdint cimport uint32_t
from lb.fast.types cimport (B_CHUNKED, B_LENGTH, Env, F_CONNECTION, F_CONTENT_LENGTH, F_DATE, F_EXPECT, F_HOST, F_KEEP_ALIVE,
                            F_PROXY, F_PROXY_CONNECTION, F_SERVER, F_TE, F_TRAILER, F_TRANSFER_ENCODING, F_UPGRADE,
                            F_X_ACCEL, F_X_PAD, FF_BAD_NAME, FF_HOP, Field, H_TARGET_QUOTED, Head, Location, Out, Request,
                            SetHeader)
from lb.fast.out cimport out_char, out_int, out_put, out_str, out_uint
from lb.fast.sys cimport memcmp, memcpy, strncasecmp
from lb.fast.uri cimport uri_escape
from lb.fast.value cimport write_path, write_value


cdef inline void write_field(Out* o, const char* head, Field* f) noexcept nogil:
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


cdef inline bint is_set(Location* l, const char* head, Field* f) noexcept nogil:
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


cdef inline void write_target(Out* o, Request* r) noexcept nogil:
    """The target as received (origin form), or with proxy_pass's URI in place of the location's prefix."""
    cdef uint32_t skip
    cdef Location* l = r.loc
    if l.uri.p == NULL:
        write_path(o, r)
        return
    out_str(o, l.uri)
    skip = l.pattern.n if l.pattern.n < r.uri_len else r.uri_len
    if o.p + 3 * (r.uri_len - skip) > o.end:
        o.full = 1
        return
    o.p += uri_escape(r.uri + skip, r.uri_len - skip, o.p)
    if r.args_len:
        out_char(o, 63)
        out_put(o, r.head + r.h.target + r.args, r.args_len)


cdef inline void write_set(Out* o, Request* r, Env* env, SetHeader* s) noexcept nogil:
    """One proxy_set_header; an empty value leaves the field out (nginx). Bytes of a parsed head or of the configuration hold
    no line end, those of a decoded path ($uri) may: each control byte becomes a space (RFC 9110 section 5.5)."""
    cdef char* start = o.p
    cdef char* value
    cdef char* p
    out_str(o, s.name)
    out_put(o, b": ", 2)
    value = o.p
    write_value(o, r, env, &s.value)
    if o.p == value:
        o.p = start
        return
    if r.h.flags & H_TARGET_QUOTED:
        p = value
        while p < o.p:
            if 0 <= <signed char> p[0] < 32 or p[0] == 127:
                p[0] = 32
            p += 1
    out_put(o, b"\r\n", 2)


cdef inline bint drop_request(Field* f) noexcept nogil:
    """Fields of the client that never go to a server as they are."""
    if f.flags & (FF_HOP | FF_BAD_NAME):
        return True
    return f.id in (F_HOST, F_CONTENT_LENGTH, F_TRANSFER_ENCODING, F_CONNECTION, F_KEEP_ALIVE, F_PROXY_CONNECTION, F_PROXY,
                    F_TE, F_TRAILER, F_UPGRADE, F_EXPECT)


cdef inline void write_up_head(Out* o, Request* r, Env* env) noexcept nogil:
    """The request head for the chosen upstream."""
    cdef uint32_t i
    cdef Location* l = r.loc
    cdef Field* f
    out_put(o, r.head + r.h.start, r.h.method_len)
    out_char(o, 32)
    write_target(o, r)
    out_put(o, b" HTTP/1.0\r\n" if l.http10 else b" HTTP/1.1\r\n", 11)
    if not (l.overridden >> F_HOST) & 1:
        out_put(o, b"Host: ", 6)
        out_str(o, l.proxy_host)
        out_put(o, b"\r\n", 2)
    for i in range(l.nsets):
        write_set(o, r, env, &l.sets[i])
    if l.http10 and not (l.overridden >> F_CONNECTION) & 1:
        out_put(o, b"Connection: close\r\n", 19)
    for i in range(r.h.nfields):
        f = &r.h.fields[i]
        if not drop_request(f) and not is_set(l, r.head, f):
            write_field(o, r.head, f)
    if r.inb.chunk_out:
        out_put(o, b"Transfer-Encoding: chunked\r\n", 28)
    elif r.inb.kind == B_CHUNKED:
        out_put(o, b"Content-Length: ", 16)
        out_uint(o, r.inb.seen)
        out_put(o, b"\r\n", 2)
    elif r.h.content_length >= 0:
        out_put(o, b"Content-Length: ", 16)
        out_int(o, r.h.content_length)
        out_put(o, b"\r\n", 2)
    out_put(o, b"\r\n", 2)


cdef inline bint drop_answer(Field* f) noexcept nogil:
    """Fields of a server that do not go to the client: hop-by-hop, framing, and what nginx hides."""
    if f.flags & FF_HOP:
        return True
    return f.id in (F_CONTENT_LENGTH, F_TRANSFER_ENCODING, F_CONNECTION, F_KEEP_ALIVE, F_PROXY_CONNECTION, F_TE, F_TRAILER,
                    F_UPGRADE, F_DATE, F_SERVER, F_X_ACCEL, F_X_PAD)


cdef inline void write_answer_fields(Out* o, Request* r, const char* head, Head* h) noexcept nogil:
    """The answer's own fields, and its framing."""
    cdef uint32_t i
    for i in range(h.nfields):
        if not drop_answer(&h.fields[i]):
            write_field(o, head, &h.fields[i])
    if r.outb.chunk_out:
        out_put(o, b"Transfer-Encoding: chunked\r\n", 28)
    elif h.content_length >= 0 and not h.status == 204 and not r.outb.kind == B_CHUNKED:
        out_put(o, b"Content-Length: ", 16)
        out_int(o, h.content_length)
        out_put(o, b"\r\n", 2)
