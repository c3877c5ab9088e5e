"""Bytes of a connection to frames: one read, all whole frames in it, and DATA as far as it has come.

    h2_read -> h2_frames -> h2_frame_begin -> h2_on_*; h2_data_piece

The bytes lie in a buffer of their own (loop.h2_in), since a request that begins uses loop.scratch. What is no whole frame waits
in Conn.inb: at most FRAME_MOST, for DATA is taken in pieces.
"""


cdef bint h2_buffers() noexcept nogil:
    """The worker's, at its first connection."""
    if loop.h2_in == NULL:
        loop.h2_in = <char*> malloc(loop.h2_in_room)
    if loop.h2_text == NULL:
        loop.h2_text = <char*> malloc(2 * H2_TEXT)
    if loop.h2_side == NULL:
        loop.h2_side = <char*> malloc(2 * H2_TEXT)
    return loop.h2_in != NULL and loop.h2_text != NULL and loop.h2_side != NULL


cdef void h2_read(Conn* c) noexcept nogil:
    """One read. Its end, and its failure, are in c.flags."""
    cdef H2* h = c.h2
    cdef Buf* b = c.inb
    cdef char* p = loop.h2_in
    cdef uint32_t n = 0, used
    cdef ssize_t got = 0
    if b != NULL:
        n = buf_len(b)
        memcpy(p, buf_data(b) + b.off, n)
    if c.ready & R_READ:
        got = conn_recv(c, p + n, loop.h2_in_room - n)
        if got == IO_END or got == IO_FAILED:
            c.flags |= CF_EOF
            return
        if got > 0:
            loop.st.bytes_in += got
            n += <uint32_t> got
    if got <= 0 and h.flags & H2_SETTINGS:
        return
    if b != NULL:
        c.inb = NULL
        buf_free_chain(&loop.pool, b)
    h.turn = 0
    used = h2_frames(h, <const uint8_t*> p, n)
    if used < n:
        conn_keep(c, p + used, n - used)
    if c.ready & R_READ:
        loop_post(c)


cdef uint32_t h2_frames(H2* h, const uint8_t* p, uint32_t n) noexcept nogil:
    """How many of these bytes are done with."""
    cdef uint32_t at = 0, took
    cdef Frame f
    if not h.flags & H2_PREFACE:
        if not h2_is_preface(<const char*> p, n):
            h2_fault(h, FE_PROTOCOL_ERROR, b"client sent an invalid preface")
            return n
        if n < FRAME_PREFACE:
            return 0
        h.flags |= H2_PREFACE
        at = FRAME_PREFACE
    while not h.flags & H2_BROKEN and not h.conn.flags & CF_FAILED:
        if h.data_left:
            took = h2_data_piece(h, <const char*> p + at, n - at)
            at += took
            if h.data_left:
                return at
            continue
        if n - at < FRAME_HEAD:
            return at
        frame_read(p + at, &f)
        took = h2_frame_begin(h, &f, p + at + FRAME_HEAD, n - at - FRAME_HEAD)
        if took == 0:
            return at
        at += took
    return n


cdef inline bint h2_is_preface(const char* p, uint32_t n) noexcept nogil:
    """Or the beginning of one."""
    return memcmp(p, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", min(n, <uint32_t> FRAME_PREFACE)) == 0


cdef uint32_t h2_frame_begin(H2* h, const Frame* f, const uint8_t* p, uint32_t n) noexcept nogil:
    """p: its payload, of which n bytes are there. Bytes of it that are done with, its head among them; 0: it is not whole."""
    cdef uint32_t error = frame_fault(f)
    if not h.flags & H2_SETTINGS and (f.type != FT_SETTINGS or f.flags & FF_ACK):
        error = FE_PROTOCOL_ERROR
    elif h.block_id and (f.type != FT_CONTINUATION or f.id != h.block_id):
        error = FE_PROTOCOL_ERROR
    if error:
        h2_fault(h, error, b"client sent an invalid frame")
        return FRAME_HEAD
    if f.type == FT_DATA:
        if f.flags & FF_PADDED and f.n and n == 0:
            return 0
        h2_on_data(h, f, p)
        return FRAME_HEAD + (1 if f.flags & FF_PADDED and f.n else 0)
    if n < f.n:
        return 0
    h2_on_frame(h, f, p)
    return FRAME_HEAD + f.n


cdef void h2_on_frame(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    """A whole one."""
    if f.type == FT_HEADERS:
        h2_on_headers(h, f, p)
    elif f.type == FT_CONTINUATION:
        h2_on_continuation(h, f, p)
    elif f.type == FT_WINDOW_UPDATE:
        h2_on_window(h, f, p)
    elif f.type == FT_RST_STREAM:
        h2_on_reset(h, f, p)
    elif f.type == FT_SETTINGS:
        h2_on_settings(h, f, p)
    elif f.type == FT_PING:
        h2_on_ping(h, f, p)
    elif f.type == FT_PRIORITY:
        h2_on_priority(h, f, p)
    elif f.type == FT_PRIORITY_UPDATE:
        h2_on_priority_update(h, f, p)
    else:                               # GOAWAY: its streams go on; and what nobody knows
        h2_count_idle(h)


# ---- DATA

cdef void h2_on_data(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    """Its head, and its first byte where that says how much padding there is."""
    cdef H2Stream* s = h2_find(h, f.id)
    cdef bint padded = f.flags & FF_PADDED
    h.data_id = f.id
    h.data_left = f.n
    h.data_flags = f.flags
    h.data_pad = 0
    if padded:
        if f.n == 0 or p[0] >= f.n:
            h2_fault(h, FE_PROTOCOL_ERROR, b"client sent DATA with too much padding")
            return
        h.data_pad = p[0]
        h.data_left -= 1
    if f.n > h.open:
        h2_fault(h, FE_FLOW_CONTROL_ERROR, b"client sent more DATA than the connection's window allows")
        return
    h.open -= f.n
    if h.open < FRAME_WINDOW_MOST // 2:
        h2_frame_u32(h, FT_WINDOW_UPDATE, 0, FRAME_WINDOW_MOST - h.open)
        h.open = FRAME_WINDOW_MOST
    if s == NULL:
        h2_data_stray(h, f.id)
    else:
        h2_data_begins(s, f, h.data_left - h.data_pad)
    if f.n == 0 or (f.n <= 256 and h.data_left == h.data_pad):
        if not f.flags & FF_END_STREAM:
            h2_count_idle(h)
    if h.data_left == 0:
        h2_data_ends(h)


cdef void h2_data_stray(H2* h, uint32_t id) noexcept nogil:
    """Of a stream that is not there."""
    if id > h.last_id or not id & 1:
        h2_fault(h, FE_PROTOCOL_ERROR, b"client sent DATA for an idle stream")
    elif not h2_was_reset(h, id):
        h2_refuse(h, id, FE_STREAM_CLOSED)
    else:
        h2_count_idle(h)


cdef void h2_data_begins(H2Stream* s, const Frame* f, uint32_t data) noexcept nogil:
    if s.flags & HS_ENDED:
        h2_stream_refuse(s, FE_STREAM_CLOSED)
        return
    if <int64_t> f.n > s.open:
        h2_stream_refuse(s, FE_FLOW_CONTROL_ERROR)
        return
    s.open -= <int32_t> f.n
    if s.flags & HS_LENGTH:
        s.left -= data
        if s.left < 0:
            log_request(LOG_INFO, s.conn.req, b"client sent more data than specified in \"Content-Length\"", 0, b"")
            h2_stream_refuse(s, FE_PROTOCOL_ERROR)
            return
    if f.n > data:
        h2_stream_open(s, f.n - data)           # padding takes no room


cdef uint32_t h2_data_piece(H2* h, const char* p, uint32_t n) noexcept nogil:
    """As much of the present DATA as is here. Bytes."""
    cdef H2Stream* s
    cdef uint32_t took = min(n, h.data_left), data
    cdef Buf* b
    if took == 0:
        return 0
    data = min(took, h.data_left - h.data_pad) if h.data_left > h.data_pad else 0
    s = h2_find(h, h.data_id)
    if data and s != NULL and not s.flags & (HS_RESET | HS_ENDED):
        b = buf_append(&loop.pool, s.come, p, data)
        if b == NULL:
            h.conn.flags |= CF_FAILED
            return took
        s.come = b
        s.conn.ready |= R_READ
        loop_post(s.conn)
    h.data_left -= took
    if h.data_left == 0:
        h2_data_ends(h)
    return took


cdef void h2_data_ends(H2* h) noexcept nogil:
    cdef H2Stream* s
    if not h.data_flags & FF_END_STREAM or h.flags & H2_BROKEN:
        return
    s = h2_find(h, h.data_id)
    if s != NULL:
        h2_stream_ended(s)


cdef void h2_stream_ended(H2Stream* s) noexcept nogil:
    """END_STREAM of the client."""
    s.flags |= HS_ENDED
    if s.flags & HS_LENGTH and s.left > 0:
        log_request(LOG_INFO, s.conn.req, b"client prematurely closed stream: less data than specified in \"Content-Length\"",
                    0, b"")
        h2_stream_refuse(s, FE_PROTOCOL_ERROR)
        return
    s.conn.ready |= R_READ
    loop_post(s.conn)
