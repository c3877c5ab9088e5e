"""Sticky sessions: a step before the balancing method, for upstreams with `sticky`.

    publish: sticky_route, sticky_routes -> a table of places by the hash of their server's route, for each rank
    balance_choose -> sticky_choose: the request's key -> the server of its route, if it may have it; else the method's
    the head of any answer: sticky_write_cookie
    learn: sticky_head_came, sticky_answered -> the zone (upstream/sessions.pxd)

A retry goes by the method: a server that has failed this request is not asked again. Finding a server costs the same with 3
and with 10,000.
"""

import hashlib

ctypedef struct StickyKey:      # what a request asks for
    uint64_t hash           # of a route; 0: nothing
    Str text                # that route; p NULL: the hash is all that is known (learn)


# ---- a table's routes, off the loop

cdef int sticky_route(Entry* e, object server) except -1:
    """Its `route=`, or as nginx the MD5 of its address, in hex."""
    cdef bytes text = os.fsencode(server.route) or hashlib.md5(e.peer.name.p[:e.peer.name.n],
                                                              usedforsecurity=False).hexdigest().encode()
    if len(text) > ROUTE_MOST:
        raise ValueError(f"route is longer than {ROUTE_MOST}: {server.route}")
    e.route.n = <uint8_t> len(text)
    memcpy(e.route.text, <char*> text, e.route.n)
    e.route.hash = sticky_hash(e.route.text, e.route.n)
    return 0


cdef int sticky_routes(Table* t, int rank) except -1:
    """Group.routes: at most half full. Of servers with one route the first in the list counts, as in nginx."""
    cdef Group* g = &t.rank[rank]
    cdef uint32_t i, at, size = 4
    while size < 2 * g.nall:
        size *= 2
    g.routes = <uint32_t*> publish_need(size * sizeof(uint32_t))
    g.routes_mask = size - 1
    for i in range(t.n):
        if t.entries[i].backup != rank:
            continue
        at = t.entries[i].route.hash & g.routes_mask
        while g.routes[at] and t.entries[g.routes[at] - 1].route.hash != t.entries[i].route.hash:
            at = (at + 1) & g.routes_mask
        if g.routes[at] == 0:
            g.routes[at] = i + 1
    return 0


# ---- the server of a request

cdef inline Peer* sticky_find(Table* t, int rank, StickyKey* k) noexcept nogil:
    """The server with this route, or NULL."""
    cdef Group* g = &t.rank[rank]
    cdef uint32_t at = k.hash & g.routes_mask
    cdef Entry* e
    while g.routes[at]:
        e = &t.entries[g.routes[at] - 1]
        if e.route.hash == k.hash:
            if k.text.p == NULL or (k.text.n == e.route.n and memcmp(k.text.p, e.route.text, e.route.n) == 0):
                return e.peer
            return NULL
        at = (at + 1) & g.routes_mask
    return NULL


cdef inline bint sticky_may_take(Request* r, Peer* p, int64_t now) noexcept nogil:
    """As balance_may_take, but one that drains has what is bound to it."""
    return not p.down & PEER_DOWN and peer_able(p, now) and not (r.ntried and balance_was_tried(r, p))


cdef Str sticky_text(Request* r, Value* values, uint32_t n) noexcept nogil:
    """The first of the values that is not empty; n 0: all are."""
    cdef Str text
    cdef uint32_t i
    text.p = NULL
    text.n = 0
    for i in range(n):
        text = var_text(r, &values[i])
        if text.n:
            break
    return text


cdef void sticky_key(Request* r, Sticky* s, StickyKey* k) noexcept nogil:
    """What the request says of itself."""
    k.text = sticky_text(r, s.lookup, s.nlookup)
    k.hash = 0
    if k.text.n == 0 or (s.kind != STICKY_LEARN and k.text.n > ROUTE_MOST):
        return
    k.hash = sticky_hash(k.text.p, k.text.n)
    if s.kind == STICKY_LEARN:
        k.text.p = NULL
        k.hash = sticky_session_route(s.sets, s.nsets, k.hash, loop.now, s.timeout)


cdef Peer* sticky_choose(Upstream* u, Request* r, Env* env) noexcept nogil:
    """A server for this request: of each rank the one that it is bound to, or else the method's. NULL: there is none."""
    cdef Table* t = u.table
    cdef Peer* p = NULL
    cdef StickyKey k
    cdef int rank
    k.hash = 0
    if r.ntried == 0:
        sticky_key(r, u.sticky, &k)
    for rank in range(2):
        if k.hash:
            p = sticky_find(t, rank, &k)
            if p != NULL and not sticky_may_take(r, p, env.now):
                p = NULL
        if p == NULL and (rank == 0 or t.rank[1].n):
            p = u.method.pick(u, &t.rank[rank], &u.pos[rank], r, env)
        if p != NULL:
            break
    sticky_note(r, u.sticky, p)
    return p


cdef void sticky_note(Request* r, Sticky* s, Peer* p) noexcept nogil:
    """r.stuck: the server that it has now; the peer itself may be gone before the answer. Without memory: nothing is said."""
    if s.kind == STICKY_ROUTE or p == NULL:
        r.stuck = NULL
        return
    if r.stuck == NULL:
        r.stuck = <Stuck*> request_memory(r, sizeof(Stuck))
    if r.stuck != NULL:
        r.stuck.by = s
        r.stuck.route = p.route


# ---- cookie

cdef void sticky_write_cookie(Out* o, Request* r) noexcept nogil:
    """The Set-Cookie of a head, in nginx's words and order. Only if r.stuck is there."""
    cdef Sticky* s = r.stuck.by
    cdef char* value
    if s.kind != STICKY_COOKIE:
        return
    out_put(o, b"Set-Cookie: ", 12)
    value = o.p
    out_str(o, s.name)
    out_char(o, 61)
    out_put(o, r.stuck.route.text, r.stuck.route.n)
    if s.expires != STICKY_NO_EXPIRES:
        sticky_write_expires(o, s.expires)
    sticky_write_attribute(o, r, b"; domain=", &s.domain)
    if s.httponly:
        out_text(o, b"; httponly")
    if s.secure:
        out_text(o, b"; secure")
    sticky_write_samesite(o, r, &s.samesite)
    if s.path.n:
        out_text(o, b"; path=")
        out_str(o, s.path)
    header_end_field(o, value)


cdef void sticky_write_expires(Out* o, int64_t seconds) noexcept nogil:
    """; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000: years of four digits only from 2038 on, as nginx."""
    cdef char date[32]
    cdef Out d
    cdef int64_t at = 2145916555 if seconds == STICKY_EXPIRES_MAX else loop.env.wall // 1000 + seconds
    cdef uint32_t digits = 4 if at >= 2145916800 else 2     # of the year
    out_init(&d, date, sizeof(date))
    out_date_at(&d, at)
    out_text(o, b"; expires=")
    out_put(o, date, 7)                 # Thu, 31 Dec 2037 23:55:55 GMT
    out_char(o, 45)
    out_put(o, date + 8, 3)
    out_char(o, 45)
    out_put(o, date + 16 - digits, digits)
    out_put(o, date + 16, 13)
    out_text(o, b"; max-age=")
    out_int(o, 315360000 if seconds == STICKY_EXPIRES_MAX else seconds)


cdef void sticky_write_attribute(Out* o, Request* r, const char* name, Value* v) noexcept nogil:
    """Name and value; neither where the value is empty. A value that would end the attribute ends there."""
    cdef char* start = o.p
    cdef char* value
    cdef char* end
    if v.n == 0:
        return
    out_text(o, name)
    value = o.p
    var_write_value(o, r, &loop.env, v)
    if o.p == value:
        o.p = start
        return
    end = <char*> memchr(value, 59, o.p - value)
    if end != NULL:                     # a client may have sent it: no attributes of its own
        o.p = end


cdef void sticky_write_samesite(Out* o, Request* r, Value* v) noexcept nogil:
    """As it is written, if it is one of the three; another word is strict, and none at all leaves it out, as nginx."""
    cdef char* start = o.p
    cdef char* value = o.p + 11
    cdef uint32_t n
    sticky_write_attribute(o, r, b"; samesite=", v)
    if o.p == start or o.full:
        return
    n = <uint32_t> (o.p - value)
    if not ((n == 6 and strncasecmp(value, b"strict", 6) == 0) or (n == 3 and strncasecmp(value, b"lax", 3) == 0)
            or (n == 4 and strncasecmp(value, b"none", 4) == 0)):
        o.p = value
        out_text(o, b"strict")


# ---- learn

cdef void sticky_head_came(Request* r, const char* head, Head* h) noexcept nogil:
    """The head of a server's answer, which is passed on. Only if r.stuck is there."""
    cdef Sticky* s = r.stuck.by
    if s.kind != STICKY_LEARN or r.ups.sticky != s:
        return
    if s.uses & USES_UP_HEAD and not r.loc.uses & USES_UP_HEAD:
        response_keep_head(r, head, h)
    if s.header:
        sticky_learn(r)


cdef void sticky_answered(Request* r) noexcept nogil:
    """The answer is whole, or lb has seen enough of it. Only if r.stuck is there."""
    cdef Sticky* s = r.stuck.by
    if s.kind == STICKY_LEARN and r.ups.sticky == s and not s.header:
        sticky_learn(r)


cdef void sticky_learn(Request* r) noexcept nogil:
    cdef Sticky* s = r.stuck.by
    cdef Str text = sticky_text(r, s.create, s.ncreate)
    if text.n:
        sticky_session_bind(s.sets, s.nsets, sticky_hash(text.p, text.n), r.stuck.route.hash, loop.now)
