"""The life of one exchange: its memory, made when a head is whole or a session accepted, freed when it is logged.

A Request lies at the start of its first block; what it needs later (the head, its fields, texts) follows in the same block.
"""


cdef Request* request_new(Conn* c, uint32_t more) noexcept nogil:
    """A zeroed exchange for this client with room for `more` bytes in its first block, or NULL without memory."""
    cdef uint32_t need = (sizeof(Request) + 15) & ~15u
    cdef Buf* b = buf_new(&loop.pool, need + more + 256)
    cdef Request* r
    if b == NULL:
        return NULL
    r = <Request*> buf_data(b)
    memset(r, 0, sizeof(Request))
    b.end = need
    r.mem = b
    r.client = c
    r.start = loop.now
    r.put_at = r.put_told = c.put
    c.req = r
    return r


cdef void request_phase(Request* r, int phase) noexcept nogil:
    """The one place where Request.phase changes."""
    BUG_ON(not request_phase_follows(r.phase, phase))
    COUNT_WALK(r.phase, phase)
    r.phase = <uint8_t> phase


cdef inline bint request_phase_follows(int old, int phase) noexcept nogil:
    """May it come after the old one? While nothing of an answer has gone to the client, an internal redirect leads back to
    PH_ROUTING, and another server to PH_CONNECTING."""
    if phase == PH_DONE:
        return old != PH_DONE
    if old == PH_ROUTING:
        return phase in (PH_ROUTING, PH_DELAYED, PH_ACCESS, PH_BODY, PH_CONNECTING, PH_ANSWERED)
    if old == PH_DELAYED or old == PH_ACCESS:
        return phase == PH_ROUTING
    if old == PH_BODY:
        return phase in (PH_ROUTING, PH_CONNECTING, PH_ANSWERED)
    if old == PH_CONNECTING:
        return phase in (PH_ROUTING, PH_CONNECTING, PH_READING_HEAD, PH_TUNNEL, PH_ANSWERED)
    if old == PH_READING_HEAD:
        return phase in (PH_ROUTING, PH_CONNECTING, PH_READING_BODY, PH_ANSWERED)
    if old == PH_READING_BODY:
        return phase in (PH_ROUTING, PH_CONNECTING, PH_TUNNEL, PH_ANSWERED)
    return old == PH_ANSWERED and phase == PH_DISCARDING


cdef void* request_memory(Request* r, uint32_t n) noexcept nogil:
    """n bytes that live as long as the request, aligned to 8; NULL without memory."""
    cdef Buf* b = r.mem
    cdef void* at
    n = (n + 7) & ~7u
    if b.cap - b.end < n:
        b = buf_new(&loop.pool, n)
        if b == NULL:
            return NULL
        b.next = r.mem
        r.mem = b
    at = buf_data(b) + b.end
    b.end += n
    return at


cdef RequestExtra* request_extra(Request* r) noexcept nogil:
    """What few requests have, made when first used; NULL without memory."""
    if r.extra == NULL:
        r.extra = <RequestExtra*> request_memory(r, sizeof(RequestExtra))
        if r.extra != NULL:
            memset(r.extra, 0, sizeof(RequestExtra))
    return r.extra


cdef void request_keep_sent_head(Request* r, const char* p, uint32_t n) noexcept nogil:
    """For $sent_http_*: only where the location's values use them."""
    r.sent_head.p = <char*> request_memory(r, n)
    r.sent_head.n = n if r.sent_head.p != NULL else 0
    if r.sent_head.p != NULL:
        memcpy(r.sent_head.p, p, n)


cdef void response_keep_challenge(Request* r, const char* p, Head* h) noexcept nogil:
    """The WWW-Authenticate lines of a 401: they go with the error_page that stands for it, as nginx."""
    cdef Out o
    cdef uint32_t i
    r.challenge.n = 0
    r.challenge.p = <char*> request_memory(r, h.size)
    if r.challenge.p == NULL:
        return
    out_init(&o, r.challenge.p, h.size)
    for i in range(h.nfields):
        if h.fields[i].name_len == 16 and strncasecmp(p + h.fields[i].name, b"www-authenticate", 16) == 0:
            h1_field(&o, p, &h.fields[i])
    if not o.full:
        r.challenge.n = <uint32_t> (o.p - r.challenge.p)


cdef void request_keep_sent_trailers(Request* r, const char* p, uint32_t n) noexcept nogil:
    """For $sent_trailer_*."""
    r.sent_trailers.p = <char*> request_memory(r, n)
    r.sent_trailers.n = n if r.sent_trailers.p != NULL else 0
    if r.sent_trailers.p != NULL:
        memcpy(r.sent_trailers.p, p, n)


cdef void response_keep_head(Request* r, const char* p, Head* h) noexcept nogil:
    """For $upstream_http_* and $upstream_cookie_*: the server's head and where its fields lie."""
    cdef uint32_t n = h.nfields * sizeof(Field)
    cdef Head* copy = <Head*> request_memory(r, sizeof(Head) + n)
    r.up_text = <char*> request_memory(r, h.size)
    if copy == NULL or r.up_text == NULL:
        r.up_text = NULL
        return
    copy[0] = h[0]
    copy.fields = <Field*> (<char*> copy + sizeof(Head))
    memcpy(copy.fields, h.fields, n)
    memcpy(r.up_text, p, h.size)
    r.up_head = copy


cdef void request_free(Request* r) noexcept nogil:
    """Its memory; the client connection is free for the next one. The server must have been released."""
    BUG_ON(r.up != NULL)
    request_phase(r, PH_DONE)
    if r.client != NULL:
        r.client.req = NULL
        if r.own != NULL:
            realip_end(r)
    if r.body != NULL:
        buf_free_chain(&loop.pool, r.body)
    temp_file_free(r.body_file)
    temp_file_free(r.response_file)
    if r.filters != NULL:
        filter_reset(r)
    if unlikely(r.extra != NULL):
        auth_forget(r)
    proxy_pass_drop(r)
    buf_free_chain(&loop.pool, r.mem)


cdef bint request_copy_head(Request* r, const char* p, Head* h) noexcept nogil:
    """Keep the head and its fields: the reader's buffer will be used again."""
    cdef uint32_t n = h.nfields * sizeof(Field)
    r.h = h[0]
    r.head = <char*> request_memory(r, h.size + 1)
    r.h.fields = <Field*> request_memory(r, n if n else 8)
    if r.head == NULL or r.h.fields == NULL:
        return False
    memcpy(r.head, p, h.size)
    r.head[h.size] = 0
    memcpy(r.h.fields, h.fields, n)
    return True
