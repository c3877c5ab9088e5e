"""Variables about the answer and the servers that were asked: $upstream_*, $sent_http_*, and how long things took.

A request keeps a `Try` for each server that it has left; the present one is in the request itself. The heads of the server's
answer and of ours are kept only where the location's values use them (Location.uses).
"""

from libc.stdint cimport int64_t, uint32_t
from lb.fast.io.buf cimport buf_data, buf_len
from lb.fast.types cimport Buf, DO_PROXY, DO_TRY, Env, Head, Out, Piece, Request, Str, Try
from lb.fast.io.writer cimport out_char, out_put, out_seconds, out_str, out_uint
from lb.fast.c.sys cimport memcmp

cdef enum UpstreamVar:          # Variable numbers of their own, behind those of route/variables/request.pxd
    V_UPSTREAM = 1000
    V_UPSTREAM_ADDR, V_UPSTREAM_STATUS, V_UPSTREAM_CONNECT_TIME, V_UPSTREAM_HEADER_TIME, V_UPSTREAM_RESPONSE_TIME
    V_UPSTREAM_RESPONSE_LENGTH, V_UPSTREAM_BYTES_SENT, V_UPSTREAM_BYTES_RECEIVED
    V_UPSTREAM_HTTP_, V_UPSTREAM_COOKIE_, V_SENT_HTTP_, V_SENT_TRAILER_, V_UPSTREAM_TRAILER_

cdef enum Uses:             # Location.uses: what must be kept for its values
    USES_SENT_HEAD = 1
    USES_UP_HEAD = 2
    USES_SENT_TRAILERS = 4
    USES_UP_TRAILERS = 8


cdef inline void var_missing(Out* o) noexcept nogil:
    o.missing = 1


# ---- the servers that were asked

cdef inline void var_time(Out* o, int64_t ms) noexcept nogil:
    if ms < 0:
        out_char(o, 45)
    else:
        out_seconds(o, ms)


cdef inline void var_try(Out* o, Try* t, int var) noexcept nogil:
    if var == V_UPSTREAM_ADDR:
        out_str(o, t.addr)
    elif var == V_UPSTREAM_STATUS:
        if t.status:
            out_uint(o, t.status)
        else:
            out_char(o, 45)
    elif var == V_UPSTREAM_CONNECT_TIME:
        var_time(o, t.connect)
    elif var == V_UPSTREAM_HEADER_TIME:
        var_time(o, t.header)
    elif var == V_UPSTREAM_RESPONSE_TIME:
        var_time(o, t.response)
    elif var == V_UPSTREAM_RESPONSE_LENGTH:
        out_uint(o, t.length)
    elif var == V_UPSTREAM_BYTES_SENT:
        out_uint(o, t.sent)
    elif var == V_UPSTREAM_BYTES_RECEIVED:
        out_uint(o, t.received)


cdef inline void var_try_now(Request* r, int64_t now, Try* t) noexcept nogil:
    """The present try as far as it has come."""
    t.addr = r.peer.name
    t.status = r.up_status
    t.connect = r.up_connect
    t.header = r.up_header
    t.response = r.up_response if r.up_response >= 0 else now - r.up_start
    t.length = r.outb.raw
    t.sent = r.up_sent
    t.received = r.up_received
    if r.up != NULL:
        t.sent = r.up.put - r.up_put
        t.received = r.up.got - r.up_got
    t.redirect = 0


cdef inline void var_tries(Out* o, Request* r, Env* env, int var) noexcept nogil:
    """nginx's `a, b : c`: one value for each server that was asked, `:` where an internal redirect lies between."""
    cdef Try last
    cdef Try* t = r.first_try
    cdef bint any = False
    while t != NULL:
        if any:
            out_put(o, b" : " if t.redirect else b", ", 3 if t.redirect else 2)
        var_try(o, t, var)
        any = True
        t = t.next
    if r.peer != NULL:
        var_try_now(r, env.now, &last)
        if any:
            out_put(o, b" : " if r.redirected else b", ", 3 if r.redirected else 2)
        var_try(o, &last, var)
        any = True
    if not any:
        var_missing(o)


# ---- the client's body

cdef inline void var_request_body(Out* o, Request* r) noexcept nogil:
    """$request_body: what http/request_buffering.pyx has in memory; not there when it lies in a file, or is not read."""
    cdef Buf* b = r.body
    if b == NULL or r.loc == NULL or r.loc.handler not in (DO_PROXY, DO_TRY) or not r.inb.done:
        var_missing(o)
        return
    while b != NULL:
        out_put(o, buf_data(b) + b.off, buf_len(b))
        b = b.next


cdef inline void var_request_body_file(Out* o, Request* r) noexcept nogil:
    if r.body_file == NULL:
        var_missing(o)
    else:
        out_str(o, r.body_file.path)


# ---- heads

cdef inline bint var_name_is(const char* field, const char* var, uint32_t n) noexcept nogil:
    """Does this field name match the rest of a variable's name: any case, `-` written as `_`?"""
    cdef uint32_t i
    cdef unsigned char c
    for i in range(n):
        c = <unsigned char> field[i]
        if 65 <= c <= 90:
            c += 32
        elif c == 45:
            c = 95
        if c != <unsigned char> var[i]:
            return False
    return True


cdef inline void var_up_field(Out* o, Request* r, Str name) noexcept nogil:
    """$upstream_http_NAME: all fields of that name in the last server's answer."""
    cdef uint32_t i
    cdef bint any = False
    if r.up_text != NULL:
        for i in range(r.up_head.nfields):
            if r.up_head.fields[i].name_len == name.n and var_name_is(r.up_text + r.up_head.fields[i].name, name.p, name.n):
                if any:
                    out_put(o, b", ", 2)
                out_put(o, r.up_text + r.up_head.fields[i].value, r.up_head.fields[i].value_len)
                any = True
    if not any:
        var_missing(o)


cdef inline void var_up_cookie(Out* o, Request* r, Str name) noexcept nogil:
    """$upstream_cookie_NAME: the value in the last server's Set-Cookie."""
    cdef uint32_t i, n, end
    cdef const char* p
    if r.up_text != NULL:
        for i in range(r.up_head.nfields):
            if r.up_head.fields[i].name_len != 10 or not var_name_is(r.up_text + r.up_head.fields[i].name, b"set_cookie", 10):
                continue
            p = r.up_text + r.up_head.fields[i].value
            n = r.up_head.fields[i].value_len
            if n <= name.n or not var_name_is(p, name.p, name.n) or p[name.n] != 61:
                continue
            end = name.n + 1
            while end < n and p[end] != 59:
                end += 1
            out_put(o, p + name.n + 1, end - name.n - 1)
            return
    var_missing(o)


cdef inline bint var_is_white(char c) noexcept nogil:
    return c == 32 or c == 9


cdef inline void var_line_field(Out* o, Str lines, Str name) noexcept nogil:
    """$sent_http_NAME, $sent_trailer_NAME, $upstream_trailer_NAME: all fields of that name in these lines."""
    cdef const char* p = lines.p
    cdef const char* end = p + lines.n
    cdef uint32_t n, at, last
    cdef bint any = False
    while p < end:
        n = 0
        while p + n < end and p[n] != 13:
            n += 1
        if n > name.n and p[name.n] == 58 and var_name_is(p, name.p, name.n):
            at = name.n + 1
            while at < n and var_is_white(p[at]):
                at += 1
            last = n
            while last > at and var_is_white(p[last - 1]):
                last -= 1
            if any:
                out_put(o, b", ", 2)
            out_put(o, p + at, last - at)
            any = True
        p += n + 2
    if not any:
        var_missing(o)


cdef inline Str var_up_trailers(Request* r) noexcept nogil:
    """The lines of the server's trailer section, once it is whole and if it was kept."""
    cdef Str s
    s.p = r.up_trailers
    s.n = r.outb.ch.trailer - 2 if s.p != NULL and r.outb.done and r.outb.ch.trailer > 2 else 0
    return s


cdef inline bint var_upstream(Out* o, Request* r, Env* env, Piece* v) noexcept nogil:
    """A variable of this room."""
    if v.var == V_UPSTREAM_HTTP_:
        var_up_field(o, r, v.text)
    elif v.var == V_UPSTREAM_COOKIE_:
        var_up_cookie(o, r, v.text)
    elif v.var == V_SENT_HTTP_:
        var_line_field(o, r.sent_head, v.text)
    elif v.var == V_SENT_TRAILER_:
        var_line_field(o, r.sent_trailers, v.text)
    elif v.var == V_UPSTREAM_TRAILER_:
        var_line_field(o, var_up_trailers(r), v.text)
    else:
        var_tries(o, r, env, v.var)
    return True
