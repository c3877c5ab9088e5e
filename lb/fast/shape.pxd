"""What a location makes of an answer's fields: hidden ones, proxy_redirect, cookies, add_header, expires, trailers.

Only fields whose bit is in the location's mask come here (rewrite.pxd); a location that shapes nothing has no Shape at all.
No value gets a line end into a head: `clean` makes spaces of them, for a value may hold what a client sent.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t
from lb.fast.types cimport (AddField, CookieRule, Env, EX_DAILY, EX_EPOCH, EX_MAX, EX_MODIFIED, EX_OFF, F_LOCATION, F_REFRESH,
                            F_SET_COOKIE, Field, Out, Request, SC_HTTPONLY, SC_NO_HTTPONLY, SC_NO_SAMESITE, SC_NO_SECURE,
                            SC_SAMESITE, SC_SECURE, Shape, Str, Swap)
from lb.fast.out cimport out_char, out_date, out_init, out_int, out_put, out_str, out_text
from lb.fast.sys cimport gmtime_r, memcmp, memcpy, memmove, strncasecmp, time_t, tm
from lb.fast.value cimport write_host, write_value


cdef inline void clean(char* p, char* end) noexcept nogil:
    """Control bytes become spaces (RFC 9110 section 5.5)."""
    while p < end:
        if 0 <= <signed char> p[0] < 32 or p[0] == 127:
            p[0] = 32
        p += 1


cdef inline bint usual(int status) noexcept nogil:
    """Statuses that add_header and expires speak of without `always`."""
    return status in (200, 201, 204, 206, 301, 302, 303, 304, 307, 308)


cdef inline bint named(Str* names, uint32_t n, const char* name, uint32_t len) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if names[i].n == len and strncasecmp(names[i].p, name, len) == 0:
            return True
    return False


cdef inline void write_line(Out* o, const char* name, uint32_t n, const char* value, uint32_t len) noexcept nogil:
    out_put(o, name, n)
    out_put(o, b": ", 2)
    out_put(o, value, len)
    out_put(o, b"\r\n", 2)


# ---- proxy_redirect

cdef inline void write_origin(Out* o, Request* r) noexcept nogil:
    """http://HOST[:PORT] of lb as the client sees it: what a Location that is a path is put behind."""
    out_put(o, b"http://", 7)
    write_host(o, r)
    if not r.client.lst.local and not (r.client.lst.port.n == 2 and memcmp(r.client.lst.port.p, b"80", 2) == 0):
        out_char(o, 58)
        out_str(o, r.client.lst.port)


cdef inline bint write_swapped(
    Out* o, Request* r, Env* env, Swap* s, uint32_t n, const char* p, uint32_t len, bint domain,
) noexcept nogil:
    """p with the first rule's replacement in place of the pattern that it begins with (`domain`: is, in any case)."""
    cdef uint32_t i, m
    cdef char* start = o.p
    for i in range(n):
        write_value(o, r, env, &s[i].pattern)
        m = <uint32_t> (o.p - start)
        o.p = start
        if m > len or (domain and m != len):
            continue
        if (strncasecmp(start, p, m) if domain else memcmp(start, p, m)) != 0:
            continue
        write_value(o, r, env, &s[i].replacement)
        clean(start, o.p)
        out_put(o, p + m, len - m)
        return True
    return False


cdef inline void write_location(Out* o, Request* r, Env* env, const char* head, Field* f) noexcept nogil:
    """Location, or Refresh from its `url=` on. A new Location that is a path becomes absolute, as nginx."""
    cdef char room[320]
    cdef Out origin
    cdef uint32_t skip = 0, k, n
    cdef char* start = o.p
    cdef char* value
    cdef Shape* s = r.loc.shape
    cdef const char* p = head + f.value
    if f.id == F_REFRESH:
        while skip + 4 <= f.value_len and strncasecmp(p + skip, b"url=", 4) != 0:
            skip += 1
        skip += 4
    out_put(o, head + f.name, f.name_len)
    out_put(o, b": ", 2)
    out_put(o, p, skip if skip < f.value_len else 0)
    value = o.p
    if skip > f.value_len or not write_swapped(o, r, env, s.redirects, s.nredirects, p + skip, f.value_len - skip, False):
        o.p = start
        write_line(o, head + f.name, f.name_len, p, f.value_len)
        return
    if f.id == F_LOCATION and o.p > value and value[0] == 47:
        out_init(&origin, room, sizeof(room))
        write_origin(&origin, r)
        k = <uint32_t> (origin.p - room)
        n = <uint32_t> (o.p - value)
        if o.p + k > o.end:
            o.full = 1
            return
        memmove(value + k, value, n)
        memcpy(value, room, k)
        o.p += k
    out_put(o, b"\r\n", 2)


# ---- Set-Cookie

cdef inline uint16_t cookie_rule(Out* o, Request* r, Env* env, const char* name, uint32_t n) noexcept nogil:
    """The flags (CookieFlag) of the first proxy_cookie_flags for this cookie; 0: none."""
    cdef uint32_t i, m
    cdef char* start = o.p
    cdef CookieRule* c
    for i in range(r.loc.shape.nflags):
        c = &r.loc.shape.flags[i]
        write_value(o, r, env, &c.name)
        m = <uint32_t> (o.p - start)
        o.p = start
        if m == n and strncasecmp(start, name, n) == 0:
            return c.flags
    return 0


cdef inline bint cookie_drops(uint16_t flags, const char* key, uint32_t n) noexcept nogil:
    """Does a rule take this attribute away, or write it anew at the end?"""
    if n == 6 and strncasecmp(key, b"secure", 6) == 0:
        return flags & (SC_SECURE | SC_NO_SECURE)
    if n == 8 and strncasecmp(key, b"httponly", 8) == 0:
        return flags & (SC_HTTPONLY | SC_NO_HTTPONLY)
    if n == 8 and strncasecmp(key, b"samesite", 8) == 0:
        return flags & (SC_SAMESITE | SC_NO_SAMESITE)
    return False


cdef inline void write_cookie_flags(Out* o, uint16_t flags) noexcept nogil:
    if flags & SC_SECURE:
        out_put(o, b"; Secure", 8)
    if flags & SC_HTTPONLY:
        out_put(o, b"; HttpOnly", 10)
    if flags & SC_SAMESITE == SC_SAMESITE:
        out_put(o, b"; SameSite=None", 15)
    elif flags & SC_SAMESITE == SC_SAMESITE // 3:
        out_put(o, b"; SameSite=Strict", 17)
    elif flags & SC_SAMESITE:
        out_put(o, b"; SameSite=Lax", 14)


cdef inline bint write_attribute(
    Out* o, Request* r, Env* env, const char* p, uint32_t key, uint32_t n,
) noexcept nogil:
    """One attribute of n bytes, whose name has `key` of them, with Domain and Path rewritten. True: something changed."""
    cdef Shape* s = r.loc.shape
    cdef uint32_t dot = 0
    if key < n and key == 6 and strncasecmp(p, b"domain", 6) == 0:
        dot = 1 if key + 1 < n and p[key + 1] == 46 else 0
        out_put(o, p, key + 1 + dot)
        if write_swapped(o, r, env, s.domains, s.ndomains, p + key + 1 + dot, n - key - 1 - dot, True):
            return True
        out_put(o, p + key + 1 + dot, n - key - 1 - dot)
        return False
    if key < n and key == 4 and strncasecmp(p, b"path", 4) == 0:
        out_put(o, p, key + 1)
        if write_swapped(o, r, env, s.paths, s.npaths, p + key + 1, n - key - 1, False):
            return True
        out_put(o, p + key + 1, n - key - 1)
        return False
    out_put(o, p, n)
    return False


cdef inline void write_cookie(Out* o, Request* r, Env* env, const char* head, Field* f) noexcept nogil:
    """Set-Cookie attribute by attribute; as it came where no rule changes it."""
    cdef const char* p = head + f.value
    cdef uint32_t i = 0, start, end, key
    cdef uint16_t flags = 0
    cdef bint changed = False, first = True
    cdef char* begin = o.p
    out_put(o, head + f.name, f.name_len)
    out_put(o, b": ", 2)
    while i < f.value_len:
        while i < f.value_len and p[i] == 32:
            i += 1
        start = i
        key = end = 0
        while i < f.value_len and p[i] != 59:
            if p[i] == 61 and key == 0:
                key = i - start
            i += 1
        end = i - start
        i += 1
        key = key if key else end
        if first:
            flags = cookie_rule(o, r, env, p + start, key)
            changed = flags != 0
            out_put(o, p + start, end)
            first = False
            continue
        if cookie_drops(flags, p + start, key):
            continue
        out_put(o, b"; ", 2)
        if write_attribute(o, r, env, p + start, key, end):
            changed = True
    if not changed:
        o.p = begin
        write_line(o, head + f.name, f.name_len, p, f.value_len)
        return
    write_cookie_flags(o, flags)
    out_put(o, b"\r\n", 2)


# ---- one field of a server's answer that is not simply passed on

cdef inline void write_shaped(Out* o, Request* r, Env* env, const char* head, Field* f, bint hidden) noexcept nogil:
    """`hidden`: one of those that never pass by themselves."""
    cdef Shape* s = r.loc.shape
    cdef const char* name = head + f.name
    if hidden:
        if not named(s.passed, s.npassed, name, f.name_len):
            return
    elif s.nhide and named(s.hide, s.nhide, name, f.name_len):
        return
    if s.expires and usual(r.status) and (
            (f.name_len == 7 and strncasecmp(name, b"expires", 7) == 0)
            or (f.name_len == 13 and strncasecmp(name, b"cache-control", 13) == 0)) and s.expires != EX_OFF:
        return
    if (f.id == F_LOCATION or f.id == F_REFRESH) and s.nredirects:
        write_location(o, r, env, head, f)
    elif f.id == F_SET_COOKIE and (s.ndomains or s.npaths or s.nflags):
        write_cookie(o, r, env, head, f)
    else:
        write_line(o, name, f.name_len, head + f.value, f.value_len)


# ---- what is added

cdef inline void write_added(Out* o, Request* r, Env* env, AddField* a, uint32_t n) noexcept nogil:
    """add_header or add_trailer; an empty value adds nothing."""
    cdef uint32_t i
    cdef char* start
    cdef char* value
    for i in range(n):
        if not a[i].always and not usual(r.status):
            continue
        start = o.p
        out_str(o, a[i].name)
        out_put(o, b": ", 2)
        value = o.p
        write_value(o, r, env, &a[i].value)
        if o.p == value:
            o.p = start
            continue
        clean(value, o.p)
        out_put(o, b"\r\n", 2)


cdef inline void write_expires(Out* o, Env* env, int kind, int64_t seconds, int64_t modified) noexcept nogil:
    """`modified`: seconds since 1970 of Last-Modified, -1: none."""
    cdef tm t
    cdef time_t at
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
    elif kind == EX_MODIFIED and modified >= 0:
        age = modified + seconds - now
    at = now + age
    gmtime_r(&at, &t)
    out_put(o, b"Expires: ", 9)
    out_date(o, &t)
    if age < 0 or (seconds < 0 and kind != EX_DAILY):
        out_text(o, b"\r\nCache-Control: no-cache\r\n")
        return
    out_text(o, b"\r\nCache-Control: max-age=")
    out_int(o, age)
    out_put(o, b"\r\n", 2)


cdef inline void write_shape_end(Out* o, Request* r, Env* env, int64_t modified) noexcept nogil:
    """The last fields of a head: expires, then add_header. `modified`: as write_expires."""
    cdef Shape* s = r.loc.shape
    if s.expires != EX_OFF and usual(r.status):
        write_expires(o, env, s.expires, s.expires_seconds, modified)
    write_added(o, r, env, s.adds, s.nadds)


cdef inline bint has_trailers(Request* r) noexcept nogil:
    """Will this answer end with add_trailer's fields? Then it leaves in chunks."""
    cdef uint32_t i
    cdef Shape* s = r.loc.shape
    if s == NULL or s.ntrailers == 0 or r.h.minor == 0:
        return False
    for i in range(s.ntrailers):
        if s.trailers[i].always or usual(r.status):
            return True
    return False


cdef inline int64_t date_seconds(const char* p, uint32_t n) noexcept nogil:
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
