"""A field block becomes a request: HPACK, lines of a head, the parser of HTTP/1, and then what any request does.

    h2_on_headers [h2_on_continuation ...] -> h2_block -> h2_request -> lines_field ... -> head_parse_request -> request_begin
                                                        | h2_trailers: looked at, dropped
                                                        | h2_skip: of a stream that is not wanted, for the table alone
A head that is refused gets its status as over HTTP/1; one that RFC 9113 calls malformed gets RST_STREAM, and 400 in the log.
"""

cdef enum:
    H2_TEXT = 65536 + 4096      # a head (HEAD_MOST, and what no limit counts); one decoded text
    H2_TABLE = 1024             # bytes of the encoder's table: what answers have alike is less


cdef void h2_on_headers(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    cdef const uint8_t* block = p
    cdef uint32_t n = f.n
    if not frame_strip(f, &block, &n):
        h2_fault(h, FE_FRAME_SIZE_ERROR if f.n < frame_fixed(f) else FE_PROTOCOL_ERROR,
                 b"client sent HEADERS with too much padding")
        return
    if not f.id & 1:
        h2_fault(h, FE_PROTOCOL_ERROR, b"client sent HEADERS for an impossible stream")
        return
    h.block_flags = f.flags & FF_END_STREAM
    if f.flags & FF_PRIORITY and frame_depends(f, p) == f.id:
        h.block_flags |= FF_PRIORITY        # it depends on itself
    if f.flags & FF_END_HEADERS:
        h2_block(h, f.id, block, n)
        return
    h.block_id = f.id
    h.block_parts = 0
    h.block = buf_copy(&loop.pool, <const char*> block, n)
    if h.block == NULL:
        h.conn.flags |= CF_FAILED
    timer_set(&loop.wheel, &h.conn.timer, loop.now + h.conn.lst.fallback.fallback.header_timeout)


cdef void h2_on_continuation(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    cdef Buf* b = h.block
    cdef uint32_t id = h.block_id
    if b == NULL:
        h2_fault(h, FE_PROTOCOL_ERROR, b"client sent CONTINUATION without HEADERS")
        return
    h.block_parts += 1
    if h.block_parts > H2_PARTS or buf_len(b) + f.n > H2_BLOCK:
        loop.st.h2_flood_continuation += 1
        h2_fault(h, FE_ENHANCE_YOUR_CALM, b"client sent too large a field block")
        return
    if b.cap - b.end < f.n:
        b = buf_new(&loop.pool, buf_len(h.block) + f.n)
        if b == NULL:
            h.conn.flags |= CF_FAILED
            return
        memcpy(buf_data(b), buf_data(h.block), h.block.end)
        b.end = h.block.end
        buf_free(&loop.pool, h.block)
        h.block = b
    memcpy(buf_data(b) + b.end, p, f.n)
    b.end += f.n
    if not f.flags & FF_END_HEADERS:
        return
    h.block = NULL
    h.block_id = 0
    timer_clear(&h.conn.timer)
    h2_block(h, id, <const uint8_t*> buf_data(b), b.end)
    buf_free(&loop.pool, b)


cdef void h2_block(H2* h, uint32_t id, const uint8_t* p, uint32_t n) noexcept nogil:
    """A whole one."""
    cdef H2Stream* s
    if id <= h.last_id:
        s = h2_find(h, id)
        if s != NULL:
            h2_trailers(h, s, p, n)
        elif h2_was_reset(h, id):
            h2_skip(h, p, n)
        else:
            h2_fault(h, FE_STREAM_CLOSED, b"client sent HEADERS for a closed stream")
        return
    h.last_id = id
    if h.flags & H2_GONE:               # it will be asked of another connection (RFC 9113 section 6.8)
        h2_skip(h, p, n)
        return
    h.turn += 1
    if h.turn > 2 * h.conn.lst.fallback.h2_streams:
        loop.st.h2_flood_streams += 1
        h2_fault(h, FE_ENHANCE_YOUR_CALM, b"client began too many streams at once")
        return
    if h.nstreams >= h.conn.lst.fallback.h2_streams:
        if h2_skip(h, p, n):
            log_client_of(LOG_INFO, h.conn, b"concurrent streams exceeded", h.conn.lst.fallback.name)
            loop.st.h2_refused += 1
            h2_refuse(h, id, FE_REFUSED_STREAM)
        return
    if h.block_flags & FF_PRIORITY:
        if h2_skip(h, p, n):
            h2_refuse(h, id, FE_PROTOCOL_ERROR)
        return
    h2_request(h, id, p, n)


cdef bint h2_skip(H2* h, const uint8_t* p, uint32_t n) noexcept nogil:
    """For the table alone. False: the connection ends."""
    cdef HpackField f
    cdef uint32_t at = 0
    cdef int rc = HPACK_FIELD
    memset(&f, 0, sizeof(f))
    while rc == HPACK_FIELD:
        rc = hpack_next(&h.in_, p, n, &at, loop.h2_side, H2_TEXT, &f)
    if rc == HPACK_BAD:
        h2_fault(h, FE_COMPRESSION_ERROR, b"client sent an invalid field block")
    return rc == HPACK_END


cdef void h2_trailers(H2* h, H2Stream* s, const uint8_t* p, uint32_t n) noexcept nogil:
    """Behind a body. As those of HTTP/1's chunks they do not go to servers."""
    cdef HpackField f
    cdef uint32_t at = 0
    cdef int rc = HPACK_FIELD
    cdef bint good = h.block_flags & FF_END_STREAM
    memset(&f, 0, sizeof(f))
    while True:
        rc = hpack_next(&h.in_, p, n, &at, loop.h2_side, H2_TEXT, &f)
        if rc != HPACK_FIELD:
            break
        good = good and lines_trailer_good(&f)
    if rc == HPACK_BAD:
        h2_fault(h, FE_COMPRESSION_ERROR, b"client sent an invalid field block")
    elif s.flags & HS_ENDED:
        h2_stream_refuse(s, FE_STREAM_CLOSED)
    elif not good:
        h2_stream_refuse(s, FE_PROTOCOL_ERROR)
    else:
        h2_stream_ended(s)


# ---- a new stream

cdef void h2_request(H2* h, uint32_t id, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef Lines l
    cdef H2Stream* s
    if not h2_request_lines(h, &l, p, n):
        return
    s = h2_stream_new(h, id)
    if s == NULL:
        h2_refuse(h, id, FE_REFUSED_STREAM)
        return
    h.served += 1
    conn_state(s.conn, S_HEAD)
    conn_state(h.conn, S_BUSY)
    if h.block_flags & FF_END_STREAM:
        s.flags |= HS_ENDED
    else:
        s.conn.ready |= R_READ          # the first read opens the window (h2_stream_read)
    if l.priority.p != NULL:
        h2_prioritise(s, l.priority.p, l.priority.n)
    if l.fault == LINES_MALFORMED:
        h2_malformed(s, &l)
    else:
        h2_parse(s, &l)
    if (h.served >= h.conn.lst.fallback.fallback.keepalive_requests
            or loop.now - h.conn.opened > h.conn.lst.fallback.fallback.keepalive_time):
        h2_gone(h)


cdef bint h2_request_lines(H2* h, Lines* l, const uint8_t* p, uint32_t n) noexcept nogil:
    """The block as lines, whatever is wrong with them. False: it is no field block, and the connection ends."""
    cdef HpackField f
    cdef char key[24]
    cdef uint32_t at = 0
    cdef int rc
    cdef bint wanted = True
    memset(&f, 0, sizeof(f))
    lines_begin(l, loop.h2_text, H2_TEXT, loop.h2_text + H2_TEXT, H2_TEXT)
    while True:
        rc = hpack_next(&h.in_, p, n, &at, loop.h2_side, H2_TEXT, &f)
        if rc != HPACK_FIELD:
            break
        wanted = wanted and lines_field(l, &f)
    if rc == HPACK_BAD:
        h2_fault(h, FE_COMPRESSION_ERROR, b"client sent an invalid field block")
        return False
    h2_key(l, key)
    lines_end(l)
    return True


cdef void h2_key(Lines* l, char* key) noexcept nogil:
    """A WebSocket over HTTP/2 has no Sec-WebSocket-Key, a server of HTTP/1.1 wants one: 16 bytes in base64."""
    cdef const char* letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    cdef uint64_t dice = 0
    cdef int i
    if l.protocol.n != 9 or memcmp(l.protocol.p, b"websocket", 9) != 0:
        return
    for i in range(21):
        if i % 10 == 0:
            dice = var_random(&loop.env)
        key[i] = letters[dice & 63]
        dice >>= 6
    key[21] = letters[dice & 48]            # four bits of it count
    key[22] = key[23] = c"="
    l.key.p = key
    l.key.n = 24


cdef void h2_parse(H2Stream* s, Lines* l) noexcept nogil:
    cdef Conn* c = s.conn
    cdef Head h
    cdef Request* r
    cdef int rc
    cdef uint32_t n = <uint32_t> (l.text.p - l.begin)
    client_head_room(c, &h)
    rc = head_parse_request(l.begin, n, &h)
    if l.fault == LINES_LARGE or n > c.lst.head_most:
        h.error = 431
        h.rule = 0
        h.error_at = c.lst.head_most
        rc = P_BAD
    if rc != P_DONE:
        client_refuse(c, l.begin, n, &h)
        return
    if l.protocol.p != NULL:
        s.flags |= HS_TUNNEL
    if s.flags & HS_ENDED and h.content_length > 0:
        l.why = b"client sent no body, against its \"Content-Length\""
        h2_malformed(s, l)
        return
    r = request_new(c, h.size + h.nfields * sizeof(Field))
    if r == NULL or not request_copy_head(r, l.begin, &h):
        client_out_of_memory(c, r)
        return
    h2_version(r)
    r.received = h.size
    if not s.flags & (HS_ENDED | HS_TUNNEL) and h.content_length >= 0:
        s.flags |= HS_LENGTH
        s.left = h.content_length
    request_begin(r, NULL, 0)


cdef void h2_version(Request* r) noexcept nogil:
    """$request: the head that was parsed says HTTP/1.1."""
    memcpy(r.head + r.h.target + r.h.target_len + 6, b"2.0", 3)


cdef void h2_framing(Request* r) noexcept nogil:
    """The body's length: Content-Length, which h2_on_data holds it to, or where its stream ends."""
    cdef H2Stream* s = h2_stream_of(r.client)
    if s.flags & (HS_ENDED | HS_TUNNEL):
        r.inb.done = 1
    elif r.h.content_length < 0:
        r.inb.kind = B_STREAM
    elif r.h.content_length > 0:
        r.inb.kind = B_LENGTH
        r.inb.left = r.h.content_length
    else:
        r.inb.done = 1
    r.flags |= RQ_KEEP


cdef void h2_malformed(H2Stream* s, Lines* l) noexcept nogil:
    """RFC 9113 section 8.1.1: a stream error. The access log has 400, as for a head that is cut short."""
    cdef Conn* c = s.conn
    cdef Head h
    cdef Request* r
    cdef uint32_t n = <uint32_t> (l.text.p - l.begin)
    cdef H2* connection = s.h2
    client_head_room(c, &h)
    head_parse_request(l.begin, n, &h)
    r = request_refused(c, l.begin, n, &h)
    if r == NULL:
        client_out_of_memory(c, r)
        return
    loop.st.refused += 1
    log_request(LOG_INFO, r, l.why, 0, b"while processing HTTP/2 request header")
    r.status = 400
    h2_reset(connection, s.id, FE_PROTOCOL_ERROR)
    s.flags |= HS_DONE | HS_RESET
    conn_state(c, S_BUSY)
    request_log(r)
    request_free(r)
    conn_close(c)
    h2_count_reset(connection)
