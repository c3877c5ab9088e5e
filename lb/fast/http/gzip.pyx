"""gzip: which answers leave compressed, and the body filter that does it.

    gzip_reply | gzip_response -> gzip_choose: rules of the answer, of the client -> r.coded, filter_add
    gzip_body: deflate into loop.zipped, a piece at a time -> filter_next      gzip_write_fields: Vary, Content-Encoding

zlib's states (268 KiB each) are a worker's: at most DEFLATERS_MOST in use, beyond which answers leave as they are, and
DEFLATERS_KEPT idle ones. A state goes back when its answer is compressed, or with the exchange.
"""

cdef extern from "zlib.h" nogil:
    int deflateParams(z_stream* z, int level, int strategy) noexcept
    enum:
        Z_NO_FLUSH, Z_SYNC_FLUSH, Z_BUF_ERROR

cdef enum:
    DEFLATERS_KEPT = 16
    DEFLATERS_MOST = 1024

ctypedef struct Deflater:
    Deflater* next          # idle
    int32_t level
    z_stream z

ctypedef struct Gzip:
    BodyFilter filter       # first
    Request* r
    Deflater* d             # NULL: done
    uint32_t piece          # bytes of one piece that leaves
    uint8_t held            # it took bytes since it was flushed

ctypedef struct GzipFacts:  # what of an answer the rules ask for
    const char* head        # of a server, with its fields; NULL: lb's own answer
    Head* h
    Str kind                # media type
    int64_t length          # -1: unknown
    int64_t modified        # seconds since 1970 of Last-Modified; -1: none
    uint8_t etag            # has one


# ---- zlib's states

cdef Deflater* gzip_deflater_take(int level) noexcept nogil:
    """NULL: all are in use, or there is no memory."""
    cdef Deflater* d = <Deflater*> loop.deflaters
    if loop.deflaters_out >= DEFLATERS_MOST:
        return NULL
    if loop.zipped == NULL:
        loop.zipped = <char*> malloc(HEADROOM + SCRATCH + TAILROOM)
        if loop.zipped == NULL:
            return NULL
    if d != NULL:
        loop.deflaters = d.next
        loop.ndeflaters -= 1
        if d.level != level:            # nothing was written yet: no output comes of it
            d.level = level
            deflateParams(&d.z, level, Z_DEFAULT_STRATEGY)
    else:
        d = <Deflater*> calloc(1, sizeof(Deflater))
        if d == NULL or deflateInit2(&d.z, level, Z_DEFLATED, ZIP_BITS, ZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK:
            free(d)
            return NULL
        d.level = level
    loop.deflaters_out += 1
    return d


cdef void gzip_deflater_give(Deflater* d) noexcept nogil:
    loop.deflaters_out -= 1
    if loop.ndeflaters >= DEFLATERS_KEPT or deflateReset(&d.z) != Z_OK:
        deflateEnd(&d.z)
        free(d)
        return
    d.next = <Deflater*> loop.deflaters
    loop.deflaters = d
    loop.ndeflaters += 1


cdef void gzip_drop() noexcept nogil:
    """The worker ends: the idle states."""
    cdef Deflater* d
    BUG_ON(loop.deflaters_out != 0)
    while loop.deflaters != NULL:
        d = <Deflater*> loop.deflaters
        loop.deflaters = d.next
        deflateEnd(&d.z)
        free(d)
    loop.ndeflaters = 0
    free(loop.zipped)
    loop.zipped = NULL


# ---- the filter

cdef bint gzip_add(Request* r) noexcept nogil:
    """The answer's body goes through gzip. False: no room for one more."""
    cdef Gzip* g = <Gzip*> request_memory(r, sizeof(Gzip))
    if g == NULL:
        return False
    memset(g, 0, sizeof(Gzip))
    g.d = gzip_deflater_take(r.loc.gzip.level)
    if g.d == NULL:
        return False
    g.r = r
    g.piece = r.loc.gzip.buffers
    g.filter.body = gzip_body
    g.filter.free = gzip_free
    r.gzip_in = r.gzip_out = 0
    filter_add(r, &g.filter)
    return True


cdef void gzip_free(BodyFilter* f) noexcept nogil:
    cdef Gzip* g = <Gzip*> f
    if g.d != NULL:
        gzip_deflater_give(g.d)
        g.d = NULL


cdef bint gzip_body(BodyFilter* f, Message* m, char* p, uint32_t n, int flow) noexcept nogil:
    cdef Gzip* g = <Gzip*> f
    cdef z_stream* z = &g.d.z
    cdef int rc, how = Z_NO_FLUSH
    cdef uint32_t made
    g.held |= n != 0
    g.r.gzip_in += n
    if flow == FLOW_LAST:
        how = Z_FINISH
    elif flow == FLOW_FLUSH and g.held:
        how = Z_SYNC_FLUSH
        g.held = 0
    elif n == 0:
        return True
    z.next_in = <unsigned char*> p
    z.avail_in = n
    while True:
        z.next_out = <unsigned char*> loop.zipped + HEADROOM
        z.avail_out = g.piece
        rc = deflate(z, how)
        BUG_ON(rc != Z_OK and rc != Z_STREAM_END and rc != Z_BUF_ERROR)
        made = g.piece - z.avail_out
        g.r.gzip_out += made
        m.floor = loop.zipped
        if rc == Z_STREAM_END:
            gzip_free(f)
            return filter_next(f, m, loop.zipped + HEADROOM, made, FLOW_LAST)
        if made and not filter_next(f, m, loop.zipped + HEADROOM, made, FLOW_MORE if z.avail_out == 0 else flow):
            return False
        if z.avail_out:
            return True


# ---- which answers

cdef bint gzip_reply(Request* r, const char* kind, int64_t length, int64_t modified, bint etag) noexcept nogil:
    """For an answer of lb's own with r.status, of `length` bytes. Is it compressed?"""
    cdef GzipFacts a
    a.head = NULL
    a.h = NULL
    a.kind.p = <char*> kind
    a.kind.n = <uint32_t> strlen(kind) if kind != NULL else 0
    a.length = length
    a.modified = modified
    a.etag = etag
    return gzip_choose(r, &a)


cdef bint gzip_response(Request* r, const char* head, Head* h) noexcept nogil:
    """For a server's answer with r.status."""
    cdef GzipFacts a
    cdef Field* f
    cdef uint32_t i
    cdef Str at
    a.head = head
    a.h = h
    a.kind = r.kept_type
    a.length = h.content_length
    a.etag = 0
    a.modified = -1
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.id == F_CONTENT_TYPE and not f.flags & FF_HOP:
            a.kind.p = <char*> head + f.value
            a.kind.n = f.value_len
        elif f.id == F_LAST_MODIFIED:
            at.p = <char*> head + f.value
            at.n = f.value_len
            a.modified = file_date(at)
        elif f.id == F_ETAG:
            a.etag = 1
        elif f.value_len and f.name_len == 16 and strncasecmp(head + f.name, b"content-encoding", 16) == 0:
            filter_reset(r)
            return False
    return gzip_choose(r, &a)


cdef bint gzip_choose(Request* r, GzipFacts* a) noexcept nogil:
    """nginx's rules, in its order: those of the answer alone decide whether it varies."""
    cdef GzipRules* g = r.loc.gzip
    cdef uint8_t before = r.coded
    filter_reset(r)
    if r.unfit:                         # the file that would have varied
        r.coded = before & CODED_VARY
    if r.status not in (200, 403, 404) or (0 <= a.length < g.min_length) or not gzip_type_fits(g, a.kind):
        return False
    r.coded = CODED_VARY
    if not gzip_accepted(file_field(r, b"accept-encoding", 15)) or (g.msie6 and gzip_is_msie6(r)):
        return False
    if r.h.minor < g.minor:
        return False
    if file_field(r, b"via", 3).p != NULL and not gzip_proxied_fits(r, a):
        return False
    if gzip_disabled(r) or (r.h.method != M_HEAD and not gzip_add(r)):
        return False
    r.coded |= CODED_GZIP
    return True


cdef bint gzip_type_fits(GzipRules* g, Str kind) noexcept nogil:
    """The media type without its parameters, in any case; a space before those is part of it, as in nginx."""
    cdef char low[128]
    cdef const char* end = <const char*> memchr(kind.p, c";", kind.n) if kind.n else NULL
    cdef uint32_t n = kind.n if end == NULL else <uint32_t> (end - kind.p)
    if g.types == NULL:
        return True
    if n == 0 or n > sizeof(low):
        return False
    dict_lower_into(low, kind.p, n)
    return dict_find(g.types, low, n) != NULL


cdef bint gzip_accepted(Str s) noexcept nogil:
    """Does Accept-Encoding name gzip, and not with q=0? Only its first field is looked at, as in nginx."""
    cdef uint32_t i = 0
    while i + 4 <= s.n:
        if strncasecmp(s.p + i, b"gzip", 4) == 0 and (i == 0 or s.p[i - 1] in (c",", c" ")):
            return gzip_parameter(s.p + i + 4, s.p + s.n)
        i += 1
    return False


cdef bint gzip_parameter(const char* p, const char* end) noexcept nogil:
    """What follows the name: nothing, the next one, or a q that is not 0."""
    while p < end and p[0] == c" ":
        p += 1
    if p == end or p[0] == c",":
        return True
    if p[0] != c";":
        return False
    p += 1
    while p < end and p[0] == c" ":
        p += 1
    return end - p >= 3 and p[0] in (c"q", c"Q") and p[1] == c"=" and gzip_quality(p + 2, end)


cdef bint gzip_quality(const char* p, const char* end) noexcept nogil:
    """A qvalue (RFC 9110 section 12.4.2) above 0."""
    cdef int whole = p[0] - c"0", sum = 0, n = 0
    if whole != 0 and whole != 1:
        return False
    p += 1
    if p == end or p[0] in (c",", c" "):
        return whole == 1
    if p[0] != c".":
        return False
    p += 1
    while p < end and p[0] not in (c",", c" "):
        if p[0] < c"0" or p[0] > c"9":
            return False
        sum += p[0] - c"0"
        n += 1
        p += 1
    return n <= 3 and (sum == 0 if whole else sum > 0)


cdef bint gzip_is_msie6(Request* r) noexcept nogil:
    """MSIE 4 to 6, but not 6 with SV1, nor Opera that says so."""
    cdef Str agent = var_field_value(r, F_USER_AGENT)
    cdef const char* at = request_find_text(agent, b"MSIE ") if agent.p != NULL else NULL
    if at == NULL or at + 7 >= agent.p + agent.n or at[6] != c"." or request_find_text(agent, b"Opera") != NULL:
        return False
    return at[5] in (c"4", c"5") or (at[5] == c"6" and request_find_text(agent, b"SV1") == NULL)


cdef bint gzip_disabled(Request* r) noexcept nogil:
    """gzip_disable, by User-Agent. The request's captures stay as they are."""
    cdef Str agent
    cdef uint32_t i
    if r.loc.gzip.ndisable == 0:
        return False
    agent = var_field_value(r, F_USER_AGENT)
    for i in range(r.loc.gzip.ndisable if agent.p != NULL else 0):
        if pcre2_match(<pcre2_code*> r.loc.gzip.disable[i].code, <unsigned char*> agent.p, agent.n, 0, 0,
                       <pcre2_match_data*> loop.match_data, <pcre2_match_context*> loop.match_context) >= 0:
            return True
    return False


# ---- gzip_proxied

cdef bint gzip_proxied_fits(Request* r, GzipFacts* a) noexcept nogil:
    cdef uint32_t mask = r.loc.gzip.proxied
    cdef int expired, cached
    if mask & (GP_OFF | GP_ANY):
        return not mask & GP_OFF
    if mask & GP_AUTH and var_field_value(r, F_AUTHORIZATION).p != NULL:
        return True
    expired = gzip_expired(r, a)
    if expired >= 0:
        return mask & GP_EXPIRED and expired == 1
    cached = gzip_cache_fits(r, a, mask)
    if cached >= 0:
        return cached == 1
    return not (mask & GP_NO_MODIFIED and a.modified >= 0) and not (mask & GP_NO_ETAG and a.etag)


cdef int gzip_expired(Request* r, GzipFacts* a) noexcept nogil:
    """Does Expires, of `expires` or the server's own, lie in the past? -1: there is none."""
    cdef HeaderFilter* s = r.loc.header_filter
    cdef char room[128]
    cdef Out o
    cdef int kind = s.expires if s != NULL and header_usual(r.status) else EX_OFF
    cdef int64_t seconds = s.expires_seconds if s != NULL else 0
    cdef int64_t at = -1
    cdef Str value
    if kind == EX_TEXT:
        out_init(&o, room, sizeof(room))
        kind = header_expires_value(&o, r, &loop.env, &seconds)
    if kind == EX_EPOCH:
        return 1
    if kind in (EX_MAX, EX_DAILY):
        return 0
    if kind == EX_ACCESS:
        return seconds < 0
    if kind == EX_MODIFIED:
        return header_is_past(&loop.env, a.modified + seconds) if a.modified >= 0 else seconds < 0
    value = gzip_field(a, b"expires")
    if value.p == NULL:
        return -1
    at = file_date(value)
    return at >= 0 and header_is_past(&loop.env, at)


cdef Str gzip_field(GzipFacts* a, const char* name) noexcept nogil:
    """The first of a server's fields of that name; p NULL: none."""
    cdef uint32_t i, n = <uint32_t> strlen(name)
    cdef Str s
    s.p = NULL
    s.n = 0
    for i in range(a.h.nfields if a.h != NULL else 0):
        if a.h.fields[i].name_len == n and strncasecmp(a.head + a.h.fields[i].name, name, n) == 0:
            s.p = <char*> a.head + a.h.fields[i].value
            s.n = a.h.fields[i].value_len
            break
    return s


cdef int gzip_cache_fits(Request* r, GzipFacts* a, uint32_t mask) noexcept nogil:
    """1: a Cache-Control, the server's or of add_header, says one of the words in mask; 0: none of them; -1: there is
    none."""
    cdef HeaderFilter* s = r.loc.header_filter
    cdef char room[512]
    cdef Out o
    cdef uint32_t i
    cdef int found = -1
    for i in range(a.h.nfields if a.h != NULL else 0):
        if a.h.fields[i].name_len == 13 and strncasecmp(a.head + a.h.fields[i].name, b"cache-control", 13) == 0:
            found = found == 1 or gzip_cache_says(a.head + a.h.fields[i].value, a.h.fields[i].value_len, mask)
    for i in range(s.nadds if s != NULL else 0):
        if s.adds[i].name.n == 13 and strncasecmp(s.adds[i].name.p, b"cache-control", 13) == 0 and (
                s.adds[i].always or header_usual(r.status)):
            out_init(&o, room, sizeof(room))
            var_write_value(&o, r, &loop.env, &s.adds[i].value)
            if o.p != room:
                found = found == 1 or gzip_cache_says(room, <uint32_t> (o.p - room), mask)
    return found


cdef bint gzip_cache_says(const char* p, uint32_t n, uint32_t mask) noexcept nogil:
    """Is one of the directives in mask a member of this Cache-Control?"""
    cdef uint32_t i = 0, start, end
    while i < n:
        while i < n and p[i] in (c" ", c"\t", c",", c";"):
            i += 1
        start = i
        while i < n and p[i] not in (c",", c";"):
            i += 1
        end = i
        while end > start and p[end - 1] in (c" ", c"\t"):
            end -= 1
        if (mask & GP_NO_CACHE and end - start == 8 and strncasecmp(p + start, b"no-cache", 8) == 0) or (
                mask & GP_NO_STORE and end - start == 8 and strncasecmp(p + start, b"no-store", 8) == 0) or (
                mask & GP_PRIVATE and end - start == 7 and strncasecmp(p + start, b"private", 7) == 0):
            return True
    return False


# ---- fields

cdef void gzip_write_fields(Out* o, Request* r) noexcept nogil:
    """Of an answer in a location with gzip."""
    if r.coded & CODED_VARY and r.loc.gzip.vary:
        out_put(o, b"Vary: Accept-Encoding\r\n", 23)
    if r.coded & CODED_GZIP:
        out_put(o, b"Content-Encoding: gzip\r\n", 24)
