"""What a location makes of an answer's fields: hidden ones, those that http/proxy_redirect.pxd rewrites, add_header, expires,
trailers.

Only fields whose bit is in the location's mask come here (message/h1/write.pxd); a location that shapes nothing has no
HeaderFilter at all.
"""

from libc.stdint cimport int64_t, uint32_t
from lb.fast.types cimport (AddField, Env, EX_ACCESS, EX_DAILY, EX_EPOCH, EX_MAX, EX_MODIFIED, EX_OFF, EX_TEXT, F_ETAG,
                            F_LOCATION, F_REFRESH, F_SET_COOKIE, Field, Out, Request, HeaderFilter, Str)
from lb.fast.io.writer cimport out_date_at, out_int, out_put, out_str, out_text
from lb.fast.http.proxy_redirect cimport header_end_field, cookie_write, header_write_line, proxy_redirect_location
from lb.fast.c.sys cimport memchr, memcmp, memmove, strncasecmp
from lb.fast.route.variables.request cimport var_write_value


cdef inline bint header_usual(int status) noexcept nogil:
    """Statuses that add_header and expires speak of without `always`."""
    return status in (200, 201, 204, 206, 301, 302, 303, 304, 307, 308)


cdef inline bint header_named(Str* names, uint32_t n, const char* name, uint32_t len) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if names[i].n == len and strncasecmp(names[i].p, name, len) == 0:
            return True
    return False


# ---- one field of a server's answer that is not simply passed on

cdef inline void header_write(Out* o, Request* r, Env* env, const char* head, Field* f, bint hidden) noexcept nogil:
    """`hidden`: one of those that never pass by themselves."""
    cdef HeaderFilter* s = r.loc.header_filter
    cdef const char* name = head + f.name
    if hidden:
        if not header_named(s.passed, s.npassed, name, f.name_len):
            return
    elif s.nhide and header_named(s.hide, s.nhide, name, f.name_len):
        return
    if (f.id == F_LOCATION or f.id == F_REFRESH) and s.nredirects:
        proxy_redirect_location(o, r, env, head, f)
    elif f.id == F_SET_COOKIE and (s.ndomains or s.npaths or s.nflags):
        cookie_write(o, r, env, head, f)
    else:
        header_write_line(o, name, f.name_len, head + f.value, f.value_len)


cdef inline bint header_coded(Out* o, Request* r, const char* head, Field* f) noexcept nogil:
    """Fields that mean another thing once lb has coded the body: its tag is weak, there are no ranges. True: this was one,
    and has been seen to, unless the location hides it."""
    cdef HeaderFilter* s = r.loc.header_filter
    cdef const char* tag = head + f.value
    if f.id != F_ETAG:
        return f.name_len == 13 and strncasecmp(head + f.name, b"accept-ranges", 13) == 0
    if s != NULL and s.nhide and header_named(s.hide, s.nhide, head + f.name, f.name_len):
        return True
    if f.value_len == 0 or (tag[0] != 34 and not (f.value_len > 2 and tag[0] == 87 and tag[1] == 47)):
        return True                     # no tag at all
    out_put(o, head + f.name, f.name_len)
    out_put(o, b": W/", 4 if tag[0] == 34 else 2)
    out_put(o, tag, f.value_len)
    out_put(o, b"\r\n", 2)
    return True


# ---- what is added

cdef inline void header_write_added(Out* o, Request* r, Env* env, AddField* a, uint32_t n, bint head) noexcept nogil:
    """add_header (`head`) or add_trailer; an empty value adds nothing. A field sees those before it in $sent_http_*."""
    cdef uint32_t i
    cdef char* start
    cdef char* value
    for i in range(n):
        if not a[i].always and not header_usual(r.status):
            continue
        start = o.p
        out_str(o, a[i].name)
        out_put(o, b": ", 2)
        value = o.p
        if head and r.sent_head.p != NULL:
            r.sent_head.n = <uint32_t> (start - r.sent_head.p)
        var_write_value(o, r, env, &a[i].value)
        if o.p == value:
            o.p = start
            continue
        header_end_field(o, value)


cdef inline void header_drop_expires(Out* o, char* start) noexcept nogil:
    """Takes Expires and Cache-Control out of the head that is written so far from `start` on."""
    cdef char* p = start
    cdef uint32_t n
    while p < o.p:
        n = <uint32_t> (<char*> memchr(p, 10, o.p - p) - p) + 1
        if (n > 8 and strncasecmp(p, b"expires:", 8) == 0) or (n > 14 and strncasecmp(p, b"cache-control:", 14) == 0):
            memmove(p, p + n, o.p - p - n)
            o.p -= n
        else:
            p += n


cdef inline int header_expires_value(Out* o, Request* r, Env* env, int64_t* seconds) noexcept nogil:
    """What the text of `expires $variable` comes to: an ExpiresKind. What is no such text changes nothing, as nginx."""
    cdef HeaderFilter* s = r.loc.header_filter
    cdef char* p = o.p
    cdef uint32_t n, sign
    var_write_value(o, r, env, &s.expires_text)
    n = <uint32_t> (o.p - p)
    o.p = p
    if o.full or n == 0:
        return EX_OFF
    if not s.expires_modified:
        if n == 5 and memcmp(p, b"epoch", 5) == 0:
            return EX_EPOCH
        if n == 3 and memcmp(p, b"max", 3) == 0:
            return EX_MAX
    sign = 1 if p[0] in (43, 45, 64) else 0         # + - @
    seconds[0] = header_time_seconds(p + sign, n - sign)
    if seconds[0] < 0 or (p[0] == 64 and (s.expires_modified or seconds[0] > 86400)):
        return EX_OFF
    if p[0] == 45:
        seconds[0] = -seconds[0]
    return EX_DAILY if p[0] == 64 else EX_MODIFIED if s.expires_modified else EX_ACCESS


cdef inline int64_t header_time_seconds(const char* p, uint32_t n) noexcept nogil:
    """1y2M3w4d5h6m7s, in this order, each at most once; a plain number is seconds. -1: not of that form."""
    cdef int64_t total = 0, value = 0
    cdef uint32_t i
    cdef int rank = 0, now
    cdef bint any = False
    for i in range(n):
        if 48 <= p[i] <= 57:
            value = value * 10 + p[i] - 48
            if value > 0x7FFFFFFF:
                return -1
            any = True
            continue
        now = header_unit_rank(p[i])
        if now <= rank or (p[i] == c"m" and i + 1 < n and p[i + 1] == c"s"):     # also a unit that is none, and ms
            return -1
        total += value * header_unit_seconds(now)
        value = 0
        rank = now
    total += value
    return total if any and total <= 0x7FFFFFFF else -1


cdef inline int header_unit_rank(char c) noexcept nogil:
    if c == c"y": return 1
    if c == c"M": return 2
    if c == c"w": return 3
    if c == c"d": return 4
    if c == c"h": return 5
    if c == c"m": return 6
    return 7 if c == c"s" else 0


cdef inline int64_t header_unit_seconds(int rank) noexcept nogil:
    if rank == 1: return 31536000
    if rank == 2: return 2592000
    if rank == 3: return 604800
    if rank == 4: return 86400
    if rank == 5: return 3600
    return 60 if rank == 6 else 1


cdef inline void header_write_expires(Out* o, Env* env, int kind, int64_t seconds, int64_t modified) noexcept nogil:
    """`modified`: seconds since 1970 of Last-Modified, -1: none."""
    cdef int64_t now = env.wall // 1000, age = seconds
    if kind == EX_EPOCH:
        out_text(o, b"Expires: Thu, 01 Jan 1970 00:00:01 GMT\r\nCache-Control: no-cache\r\n")
        return
    if kind == EX_MAX:
        out_text(o, b"Expires: Thu, 31 Dec 2037 23:55:55 GMT\r\nCache-Control: max-age=315360000\r\n")
        return
    if kind == EX_DAILY:                # the next time that the local clock shows it
        age = seconds - (env.local.tm_hour * 3600 + env.local.tm_min * 60 + env.local.tm_sec)
        if age <= 0:
            age += 86400
    elif kind == EX_MODIFIED and modified >= 0 and seconds != 0:
        age = modified + seconds - now
    out_put(o, b"Expires: ", 9)
    out_date_at(o, now + age)
    if age < 0 or (seconds < 0 and kind != EX_DAILY):
        out_text(o, b"\r\nCache-Control: no-cache\r\n")
        return
    out_text(o, b"\r\nCache-Control: max-age=")
    out_int(o, age)
    out_put(o, b"\r\n", 2)


cdef inline bint header_is_past(Env* env, int64_t at) noexcept nogil:
    """`at`: seconds since 1970."""
    return at < env.wall // 1000


cdef inline void header_write_end(Out* o, Request* r, Env* env, char* start, int64_t modified) noexcept nogil:
    """The last fields of a head, which begins at `start`: expires, then add_header. `modified`: as header_write_expires."""
    cdef HeaderFilter* s = r.loc.header_filter
    cdef int kind = s.expires
    cdef int64_t seconds = s.expires_seconds
    if kind != EX_OFF and header_usual(r.status):
        if kind == EX_TEXT:
            kind = header_expires_value(o, r, env, &seconds)
        if kind != EX_OFF and not o.full:
            header_drop_expires(o, start)
            header_write_expires(o, env, kind, seconds, modified)
            if r.sent_head.p != NULL:   # $sent_http_* of what follows
                r.sent_head.n = <uint32_t> (o.p - start)
    header_write_added(o, r, env, s.adds, s.nadds, True)


cdef inline bint header_has_trailers(Request* r) noexcept nogil:
    """Will this answer end with add_trailer's fields? Then it leaves in chunks."""
    cdef uint32_t i
    cdef HeaderFilter* s = r.loc.header_filter
    if s == NULL or s.ntrailers == 0 or r.h.minor == 0 or r.loc.no_chunks:
        return False
    for i in range(s.ntrailers):
        if s.trailers[i].always or header_usual(r.status):
            return True
    return False


cdef inline int64_t header_date_seconds(const char* p, uint32_t n) noexcept nogil:
    """Seconds since 1970 of an IMF-fixdate (RFC 9110 section 5.6.7), -1: it is none."""
    cdef int64_t y, m, d
    cdef int i
    if n != 29 or p[3] != 44 or p[25] != 32:
        return -1
    for i in range(5, 25):
        if (0x1B6F060u >> i) & 1 and (p[i] < 48 or p[i] > 57):
            return -1
    m = 0
    for i in range(12):
        if memcmp(<const char*> b"JanFebMarAprMayJunJulAugSepOctNovDec" + 3 * i, p + 8, 3) == 0:
            m = i + 1
    if m == 0:
        return -1
    d = (p[5] - 48) * 10 + p[6] - 48
    y = (p[12] - 48) * 1000 + (p[13] - 48) * 100 + (p[14] - 48) * 10 + p[15] - 48
    if m < 3:                           # years that begin in March: the leap day is their last
        y -= 1
        m += 12
    d += 365 * y + y // 4 - y // 100 + y // 400 + (153 * (m - 3) + 2) // 5 - 719469
    return (d * 24 + (p[17] - 48) * 10 + p[18] - 48) * 3600 + ((p[20] - 48) * 10 + p[21] - 48) * 60 \
        + (p[23] - 48) * 10 + p[24] - 48
