"""HTTP/2's row of Encoder: answers to clients. A head's lines become a field block when they leave, not before: what is never
sent must not be in the table of both sides.

    h2_head, lines -> h2_body, h2_end: what follows -> message_send -> h2_send: HEADERS, then the body by the stream's transport
"""


cdef void h2_head(Message* m, int part) noexcept nogil:
    """`:status` is Message.status; there is nothing to say of the connection."""
    if part == HEAD_FRAMING and m.length >= 0:
        out_put(&m.front, b"Content-Length: ", 16)
        out_int(&m.front, m.length)
        out_put(&m.front, b"\r\n", 2)


cdef void h2_body(Message* m, uint64_t n) noexcept nogil:
    m.body += n


cdef void h2_end(Message* m, const char* trailers, uint32_t n) noexcept nogil:
    m.last = 1
    m.trailers.p = <char*> trailers
    m.trailers.n = n


cdef bint h2_abort(Message* m) noexcept nogil:
    """Its end is a RST_STREAM."""
    return True


cdef Encoder h2_encoder
h2_encoder.head = h2_head
h2_encoder.body = h2_body
h2_encoder.end = h2_end
h2_encoder.abort = h2_abort
h2_encoder.send = h2_send


cdef bint h2_send(Message* m, const char* data, uint64_t n) noexcept nogil:
    cdef Conn* c = m.to
    cdef H2Stream* s = h2_stream_of(c)
    cdef uint32_t front = message_front(m)
    if s.flags & (HS_RESET | HS_DONE) or c.flags & CF_FAILED:
        c.flags |= CF_FAILED
        return False
    s.pending += m.body
    m.body = 0
    if m.last:
        m.last = 0
        s.flags |= HS_FIN
        if m.trailers.n:
            s.trailers = buf_copy(&loop.pool, m.trailers.p, m.trailers.n)
    if front or m.status in (100, 103) and not s.flags & HS_HEAD:
        m.front.p = m.begin
        if not h2_send_head(s, m, front):
            return False
    if n:
        return conn_send(c, data, n)
    if s.flags & HS_FIN and s.pending == 0 and not s.flags & HS_DONE:
        h2_stream_finish(s)
    return not c.flags & CF_FAILED


cdef bint h2_send_head(H2Stream* s, Message* m, uint32_t n) noexcept nogil:
    """The lines of m's head in HEADERS; also the end of the stream, where nothing follows."""
    cdef uint8_t flags = 0
    cdef bint interim = m.status < 200 and m.status != 101
    cdef int64_t made
    if unlikely(s.flags & HS_TUNNEL and not interim and m.status != 101 and m.status < 300):
        h2_reset(s.h2, s.id, FE_HTTP_1_1_REQUIRED)      # a tunnel's client would take it for one (RFC 8441 section 5)
        s.flags |= HS_RESET
        s.conn.flags |= CF_FAILED
        return False
    if not interim:
        s.flags |= HS_HEAD
        if s.flags & HS_FIN and s.pending == 0 and s.trailers == NULL:
            flags = FF_END_STREAM
            s.flags |= HS_DONE
    made = h2_send_block(s, 200 if m.status == 101 else m.status, m.begin, n, flags)
    if made < 0:
        s.conn.flags |= CF_FAILED
        return False
    s.conn.put += made
    if interim:                         # what its maker has counted are the lines
        m.r.interim_n += <uint32_t> made - n
    else:
        m.r.head_n = <uint32_t> made
    return True


cdef int64_t h2_send_block(H2Stream* s, int status, char* lines, uint32_t n, uint8_t flags) noexcept nogil:
    """`Name: value CRLF`..., behind `:status` (0: these are trailers), as HEADERS and CONTINUATION. Bytes; -1: memory is out."""
    cdef H2* h = s.h2
    cdef Buf* b = buf_new(&loop.pool, n + n // 16 + 64)
    cdef char* start
    cdef char* end
    cdef char* p
    cdef uint32_t left, some
    cdef uint8_t type = FT_HEADERS
    cdef int64_t made = 0
    if b == NULL:
        return -1
    start = buf_data(b)
    end = h2_write_block(&h.out_, start, status, lines, lines + n)
    BUG_ON(end - start > b.cap)
    left = <uint32_t> (end - start)
    while left or type == FT_HEADERS:
        some = min(left, h.frame_most)
        left -= some
        p = h2_frame(h, some, type, flags | (0 if left else FF_END_HEADERS), s.id)
        if p == NULL:
            buf_free(&loop.pool, b)
            return -1
        memcpy(p, start, some)
        start += some
        made += FRAME_HEAD + some
        type = FT_CONTINUATION
        flags = 0
    buf_free(&loop.pool, b)
    return made


cdef char* h2_write_block(HpackTable* t, char* out, int status, char* p, char* end) noexcept nogil:
    cdef char* value
    cdef char* last
    cdef uint32_t name_n
    cdef char digits[3]
    out = hpack_write_size(t, out)
    if status:
        digits[0] = <char> (48 + status // 100)
        digits[1] = <char> (48 + status // 10 % 10)
        digits[2] = <char> (48 + status % 10)
        out = h2_write_status(t, out, digits, status)
    while p < end:
        last = <char*> memchr(p, 13, end - p)
        value = <char*> memchr(p, 58, last - p)
        name_n = <uint32_t> (value - p)
        h2_lower(p, name_n)
        value += 1
        while value < last and value[0] in (32, 9):
            value += 1
        if not lines_of_connection(p, name_n) and not (name_n == 20 and memcmp(p, b"sec-websocket-accept", 20) == 0):
            out = hpack_write(t, out, p, name_n, value, h2_value_length(value, last),
                              h2_how(p, name_n, <uint32_t> (last - value)))
        p = last + 2
    return out


cdef inline uint32_t h2_value_length(const char* value, const char* last) noexcept nogil:
    """Without white space at its end."""
    while last > value and (last - 1)[0] in (32, 9):
        last -= 1
    return <uint32_t> (last - value)


cdef inline char* h2_write_status(HpackTable* t, char* out, const char* digits, int status) noexcept nogil:
    cdef int index = (8 if status == 200 else 9 if status == 204 else 10 if status == 206 else 11 if status == 304
                      else 12 if status == 400 else 13 if status == 404 else 14 if status == 500 else 0)
    if index:
        out[0] = <char> (0x80 | index)
        return out + 1
    return hpack_write(t, out, b":status", 7, digits, 3, HPACK_KEEP)


cdef inline void h2_lower(char* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if 65 <= p[i] <= 90:
            p[i] |= 32


cdef inline int h2_how(const char* p, uint32_t n, uint32_t value_n) noexcept nogil:
    """Fields that answers of one connection have alike go into the table; those that differ each time would push them out."""
    if value_n > 96:
        return HPACK_ONCE
    if n == 4:
        return HPACK_KEEP if memcmp(p, b"date", 4) == 0 or memcmp(p, b"vary", 4) == 0 else HPACK_ONCE
    if n == 6:
        return HPACK_KEEP if memcmp(p, b"server", 6) == 0 else HPACK_ONCE
    if n == 12:
        return HPACK_KEEP if memcmp(p, b"content-type", 12) == 0 else HPACK_ONCE
    if n == 13:
        return HPACK_KEEP if memcmp(p, b"cache-control", 13) == 0 or memcmp(p, b"accept-ranges", 13) == 0 else HPACK_ONCE
    if n == 15:
        return HPACK_KEEP if memcmp(p, b"x-frame-options", 15) == 0 else HPACK_ONCE
    if n == 16:
        return HPACK_KEEP if memcmp(p, b"content-encoding", 16) == 0 else HPACK_ONCE
    if n == 22:
        return HPACK_KEEP if memcmp(p, b"x-content-type-options", 22) == 0 else HPACK_ONCE
    if n == 25:
        return HPACK_KEEP if memcmp(p, b"strict-transport-security", 25) == 0 else HPACK_ONCE
    return HPACK_KEEP if n == 27 and memcmp(p, b"access-control-allow-origin", 27) == 0 else HPACK_ONCE
