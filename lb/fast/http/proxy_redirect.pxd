"""Answers' fields that name hosts and paths of the server, in the client's terms: proxy_redirect for Location and Refresh,
proxy_cookie_domain, proxy_cookie_path and proxy_cookie_flags for Set-Cookie.

A rule (RedirectRule) is a beginning that is replaced, or a regular expression that makes the whole text anew; the first that
fits counts. Every field line whose value lb made itself ends in `header_end_field`, which lets no line end into a head: a
value may hold what a client sent. What a parser has passed goes on by message/h1/write.pxd's h1_field.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from lb.fast.types cimport (CookieRule, Env, F_LOCATION, F_REFRESH, Field, Location, Out, Request, SC_HTTPONLY,
                            SC_NO_HTTPONLY, SC_NO_SAMESITE, SC_NO_SECURE, SC_SAMESITE, SC_SECURE, HeaderFilter, Str, RedirectRule)
from lb.fast.io.writer cimport out_char, out_init, out_put, out_str
from lb.fast.c.simd cimport LB_VALUE, lb_class
from lb.fast.c.sys cimport memchr, memcmp, memcpy, memmove, strncasecmp
from lb.fast.route.variables.request cimport var_host, var_local, var_write_value


cdef inline void header_end_field(Out* o, char* value) noexcept nogil:
    """The end of a field line whose value is what was written since `value`: its control bytes become spaces (RFC 9110
    section 5.5), whatever they are made of."""
    cdef char* p = value
    while p < o.p:
        if p[0] == 9 or not lb_class[<uint8_t> p[0]] & LB_VALUE:
            p[0] = 32
        p += 1
    out_put(o, b"\r\n", 2)


cdef inline void header_write_line(Out* o, const char* name, uint32_t n, const char* value, uint32_t len) noexcept nogil:
    cdef char* start
    out_put(o, name, n)
    out_put(o, b": ", 2)
    start = o.p
    out_put(o, value, len)
    header_end_field(o, start)


# ---- proxy_redirect

cdef inline void header_write_local_address(Out* o, Request* r) noexcept nogil:
    """The address that the client connected to, in brackets if it is IPv6."""
    cdef char* start = o.p
    var_local(o, r, False)
    if o.p > start and memchr(start, 58, o.p - start) != NULL and o.p + 2 <= o.end and memcmp(start, b"unix", 4) != 0:
        memmove(start + 1, start, o.p - start)
        start[0] = c"["
        o.p[1] = c"]"
        o.p += 2


cdef inline void header_write_origin(Out* o, Request* r) noexcept nogil:
    """http[s]://HOST[:PORT] of lb: what a Location that is a path is put behind (server_name_in_redirect, port_in_redirect)."""
    cdef Location* l = r.loc
    cdef Str port = r.client.lst.port
    cdef bint usual = port.n == 2 and memcmp(port.p, b"80", 2) == 0
    if r.client.secure:
        usual = port.n == 3 and memcmp(port.p, b"443", 3) == 0
        out_put(o, b"https://", 8)
    else:
        out_put(o, b"http://", 7)
    if l.server_name_in_redirect and r.srv.name.n:
        out_str(o, r.srv.name)
    elif r.h.host_len:
        var_host(o, r)
    else:
        header_write_local_address(o, r)
    if l.port_in_redirect and not r.client.lst.local and not usual:
        out_char(o, 58)
        out_str(o, port)


cdef inline bint proxy_redirect_fits(
    Out* o, Request* r, Env* env, RedirectRule* s, const char* p, uint32_t n, bint domain, uint32_t* taken,
) noexcept nogil:
    """Does the rule's pattern fit the n bytes at p? `taken`: how many of them the replacement stands for."""
    cdef char* start = o.p
    cdef uint32_t m
    if s.regex != NULL:
        taken[0] = n
        return env.match(r, s.regex, p, n)
    var_write_value(o, r, env, &s.pattern)
    m = <uint32_t> (o.p - start)
    o.p = start
    taken[0] = m
    if m > n or (domain and m != n):
        return False
    return (strncasecmp(start, p, m) if domain else memcmp(start, p, m)) == 0


cdef inline bint proxy_redirect_write(
    Out* o, Request* r, Env* env, RedirectRule* s, uint32_t rules, const char* p, uint32_t n, bint domain,
) noexcept nogil:
    """The first rule's replacement for what it fits of the n bytes at p, then the rest. `domain`: a rule without a regular
    expression fits the whole, in any case, less a dot before it, which stays. False: no rule fits, nothing is written."""
    cdef uint32_t i, dot, taken = 0
    for i in range(rules):
        dot = 1 if domain and s[i].regex == NULL and n and p[0] == 46 else 0
        if not proxy_redirect_fits(o, r, env, &s[i], p + dot, n - dot, domain, &taken):
            continue
        out_put(o, p, dot)
        var_write_value(o, r, env, &s[i].replacement)
        out_put(o, p + dot + taken, n - dot - taken)
        return True
    return False


cdef inline void proxy_redirect_location(Out* o, Request* r, Env* env, const char* head, Field* f) noexcept nogil:
    """Location, or Refresh from its `url=` on. A new Location that is a path becomes absolute, as nginx."""
    cdef char room[320]
    cdef Out origin
    cdef uint32_t skip = 0, k, n
    cdef char* start = o.p
    cdef char* value
    cdef HeaderFilter* s = r.loc.header_filter
    cdef const char* p = head + f.value
    if f.id == F_REFRESH:
        while skip + 4 <= f.value_len and strncasecmp(p + skip, b"url=", 4) != 0:
            skip += 1
        skip += 4
    out_put(o, head + f.name, f.name_len)
    out_put(o, b": ", 2)
    out_put(o, p, skip if skip < f.value_len else 0)
    value = o.p
    if skip > f.value_len or not proxy_redirect_write(o, r, env, s.redirects, s.nredirects, p + skip, f.value_len - skip, False):
        o.p = start
        header_write_line(o, head + f.name, f.name_len, p, f.value_len)
        return
    if f.id == F_LOCATION and r.loc.absolute_redirect and o.p > value and value[0] == 47:
        out_init(&origin, room, sizeof(room))
        header_write_origin(&origin, r)
        k = <uint32_t> (origin.p - room)
        n = <uint32_t> (o.p - value)
        if o.p + k > o.end:
            o.full = 1
            return
        memmove(value + k, value, n)
        memcpy(value, room, k)
        o.p += k
    header_end_field(o, value)


# ---- Set-Cookie

cdef inline bint cookie_word_is(const char* p, uint32_t n, const char* word, uint32_t len) noexcept nogil:
    return n == len and strncasecmp(p, word, len) == 0


cdef inline uint16_t cookie_word(const char* p, uint32_t n) noexcept nogil:
    """The CookieFlag of a word of proxy_cookie_flags; 0: it is none."""
    if cookie_word_is(p, n, b"secure", 6): return SC_SECURE
    if cookie_word_is(p, n, b"nosecure", 8): return SC_NO_SECURE
    if cookie_word_is(p, n, b"httponly", 8): return SC_HTTPONLY
    if cookie_word_is(p, n, b"nohttponly", 10): return SC_NO_HTTPONLY
    if cookie_word_is(p, n, b"nosamesite", 10): return SC_NO_SAMESITE
    if cookie_word_is(p, n, b"samesite=strict", 15): return SC_SAMESITE // 3
    if cookie_word_is(p, n, b"samesite=lax", 12): return SC_SAMESITE // 3 * 2
    if cookie_word_is(p, n, b"samesite=none", 13): return SC_SAMESITE
    return 0


cdef inline uint16_t cookie_flags(Out* o, Request* r, Env* env, CookieRule* c) noexcept nogil:
    """What a rule says for this request: its words, and what its variables come to (the last samesite counts)."""
    cdef uint32_t i
    cdef uint16_t flags = 0, word
    cdef char* start = o.p
    for i in range(c.n):
        var_write_value(o, r, env, &c.words[i])
        word = cookie_word(start, <uint32_t> (o.p - start))
        o.p = start
        if word & SC_SAMESITE:
            flags &= ~SC_SAMESITE
        flags |= word
    return flags


cdef inline CookieRule* cookie_rule(Out* o, Request* r, Env* env, const char* name, uint32_t n) noexcept nogil:
    """The first proxy_cookie_flags for the cookie of this name, or NULL."""
    cdef uint32_t i, m
    cdef char* start = o.p
    cdef CookieRule* c
    for i in range(r.loc.header_filter.nflags):
        c = &r.loc.header_filter.flags[i]
        if c.regex != NULL:
            if env.match(r, c.regex, name, n):
                return c
            continue
        var_write_value(o, r, env, &c.name)
        m = <uint32_t> (o.p - start)
        o.p = start
        if m == n and strncasecmp(start, name, n) == 0:
            return c
    return NULL


cdef inline Str cookie_samesite(uint16_t flags) noexcept nogil:
    cdef Str s
    s.p = <char*> (b"None" if flags & SC_SAMESITE == SC_SAMESITE else b"Lax" if flags & 32 else b"Strict")
    s.n = 4 if flags & SC_SAMESITE == SC_SAMESITE else 3 if flags & 32 else 6
    return s


cdef inline void cookie_write_flags(Out* o, uint16_t flags) noexcept nogil:
    """The flags that the cookie did not have."""
    if flags & SC_SECURE:
        out_put(o, b"; Secure", 8)
    if flags & SC_HTTPONLY:
        out_put(o, b"; HttpOnly", 10)
    if flags & SC_SAMESITE:
        out_put(o, b"; SameSite=", 11)
        out_str(o, cookie_samesite(flags))


cdef inline bint cookie_write_flag(Out* o, uint16_t* flags, const char* p, uint32_t key, uint32_t n) noexcept nogil:
    """An attribute that proxy_cookie_flags speaks of: it stays, goes, or gets another value. False: it is none of them.

    `flags` loses what the cookie has already.
    """
    cdef Str value
    cdef uint16_t on, off
    if cookie_word_is(p, key, b"secure", 6):
        on, off = SC_SECURE, SC_NO_SECURE
    elif cookie_word_is(p, key, b"httponly", 8):
        on, off = SC_HTTPONLY, SC_NO_HTTPONLY
    elif cookie_word_is(p, key, b"samesite", 8):
        on, off = SC_SAMESITE, SC_NO_SAMESITE
    else:
        return False
    if not flags[0] & on and flags[0] & off:
        return True
    out_put(o, b"; ", 2)
    value = cookie_samesite(flags[0])
    if on == SC_SAMESITE and flags[0] & on and (n - key != value.n + 1 or strncasecmp(p + key + 1, value.p, value.n) != 0):
        out_put(o, b"SameSite=", 9)
        out_str(o, value)
    else:
        out_put(o, p, n)
    flags[0] &= ~on
    return True


cdef inline bint cookie_write_attribute(
    Out* o, Request* r, Env* env, const char* p, uint32_t key, uint32_t n,
) noexcept nogil:
    """One attribute of n bytes, whose name has `key` of them, with Domain and Path rewritten. True: something changed."""
    cdef HeaderFilter* s = r.loc.header_filter
    cdef uint32_t at = key + 1
    out_put(o, b"; ", 2)
    if key < n and (cookie_word_is(p, key, b"domain", 6) or cookie_word_is(p, key, b"path", 4)):
        out_put(o, p, at)
        if key == 6 and proxy_redirect_write(o, r, env, s.domains, s.ndomains, p + at, n - at, True):
            return True
        if key == 4 and proxy_redirect_write(o, r, env, s.paths, s.npaths, p + at, n - at, False):
            return True
        out_put(o, p + at, n - at)
        return False
    out_put(o, p, n)
    return False


cdef inline void cookie_write(Out* o, Request* r, Env* env, const char* head, Field* f) noexcept nogil:
    """Set-Cookie attribute by attribute; as it came where no rule changes it."""
    cdef const char* p = head + f.value
    cdef uint32_t i = 0, start, end, key
    cdef uint16_t flags = 0
    cdef bint changed = False, first = True
    cdef char* begin = o.p
    cdef char* value
    cdef CookieRule* rule
    out_put(o, head + f.name, f.name_len)
    out_put(o, b": ", 2)
    value = o.p
    while i < f.value_len:
        while i < f.value_len and (p[i] == 32 or p[i] == 9):
            i += 1
        start = i
        key = f.value_len
        while i < f.value_len and p[i] != 59:
            if p[i] == 61 and key == f.value_len:
                key = i - start
            i += 1
        end = i - start
        i += 1
        if key > end:
            key = end
        if first:
            rule = cookie_rule(o, r, env, p + start, key)
            flags = cookie_flags(o, r, env, rule) if rule != NULL else 0
            changed = flags != 0
            out_put(o, p + start, end)
            first = False
        elif not cookie_write_flag(o, &flags, p + start, key, end) and cookie_write_attribute(o, r, env, p + start, key, end):
            changed = True
    if not changed:
        o.p = begin
        header_write_line(o, head + f.name, f.name_len, p, f.value_len)
        return
    cookie_write_flags(o, flags)
    header_end_field(o, value)
