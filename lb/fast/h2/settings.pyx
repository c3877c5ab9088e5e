"""Frames about the connection itself: SETTINGS, PING, GOAWAY, windows, priorities."""


cdef void h2_say_settings(H2* h) noexcept nogil:
    """What we begin with (RFC 9113 section 3.4): SETTINGS, and a window for all bodies together that is never in the way."""
    cdef Server* s = h.conn.lst.fallback
    cdef char* p = h2_frame(h, 30, FT_SETTINGS, 0, 0)
    if p == NULL:
        return
    p = h2_put_setting(p, FS_MAX_CONCURRENT_STREAMS, s.h2_streams)
    p = h2_put_setting(p, FS_INITIAL_WINDOW_SIZE, s.h2_preread)
    p = h2_put_setting(p, FS_MAX_HEADER_LIST_SIZE, h.conn.lst.head_most)
    p = h2_put_setting(p, FS_ENABLE_CONNECT_PROTOCOL, 1)
    h2_put_setting(p, FS_NO_RFC7540_PRIORITIES, 1)
    h2_frame_u32(h, FT_WINDOW_UPDATE, 0, FRAME_WINDOW_MOST - FRAME_WINDOW)
    h.open = FRAME_WINDOW_MOST


cdef inline char* h2_put_setting(char* p, uint32_t id, uint32_t x) noexcept nogil:
    p[0] = 0
    p[1] = <char> id
    frame_put_u32(p + 2, x)
    return p + 6


cdef void h2_on_settings(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    cdef uint32_t at, error
    if f.flags & FF_ACK:
        h2_count_idle(h)
        return
    if h.flags & H2_SETTINGS and not h2_count_idle(h):
        return
    h.flags |= H2_SETTINGS
    if not h2_count_answer(h):
        return
    for at in range(0, f.n, 6):
        error = h2_set(h, <uint32_t> p[at] << 8 | p[at + 1], frame_u32(p + at + 2))
        if error:
            h2_fault(h, error, b"client sent an invalid SETTINGS")
            return
    h2_frame(h, 0, FT_SETTINGS, FF_ACK, 0)


cdef uint32_t h2_set(H2* h, uint32_t id, uint32_t x) noexcept nogil:
    """0, or a FrameError."""
    if id == FS_HEADER_TABLE_SIZE:
        x = min(x, <uint32_t> H2_TABLE)
        if x != h.out_.most:
            hpack_resize(&h.out_, x)
            h.out_.told = 1
    elif id == FS_ENABLE_PUSH:
        return FE_PROTOCOL_ERROR if x > 1 else 0
    elif id == FS_INITIAL_WINDOW_SIZE:
        return h2_set_window(h, x)
    elif id == FS_MAX_FRAME_SIZE:
        if x < FRAME_MOST or x > 16777215:
            return FE_PROTOCOL_ERROR
        h.frame_most = x
    return 0


cdef uint32_t h2_set_window(H2* h, uint32_t x) noexcept nogil:
    """Section 6.9.2: of the streams that are there, too."""
    cdef H2Stream* s = h.first
    cdef int64_t change = <int64_t> x - h.initial
    if x > FRAME_WINDOW_MOST:
        return FE_FLOW_CONTROL_ERROR
    h.initial = x
    while s != NULL:
        if s.window + change > FRAME_WINDOW_MOST:
            return FE_FLOW_CONTROL_ERROR
        s.window += <int32_t> change
        h2_stream_may_go(s)
        s = s.next
    return 0


cdef void h2_stream_may_go(H2Stream* s) noexcept nogil:
    """Its window has changed."""
    if s.flags & HS_WAITS and s.window > 0:
        s.h2.flags |= H2_STARVED
        h2_touch(s.h2)                  # h2_schedule


cdef void h2_on_ping(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    cdef char* to
    if not h2_count_idle(h) or f.flags & FF_ACK or not h2_count_answer(h):
        return
    to = h2_frame(h, 8, FT_PING, FF_ACK, 0)
    if to != NULL:
        memcpy(to, p, 8)


cdef void h2_on_window(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    cdef uint32_t more = frame_u32(p) & 0x7FFFFFFF
    cdef H2Stream* s
    if not h2_count_idle(h):
        return
    if f.id == 0:
        if more == 0 or <int64_t> h.window + more > FRAME_WINDOW_MOST:
            h2_fault(h, FE_FLOW_CONTROL_ERROR if more else FE_PROTOCOL_ERROR, b"client sent an invalid WINDOW_UPDATE")
            return
        h.window += <int32_t> more
        h2_touch(h)
        return
    s = h2_find(h, f.id)
    if s == NULL:
        if f.id > h.last_id or not f.id & 1:
            h2_fault(h, FE_PROTOCOL_ERROR, b"client sent WINDOW_UPDATE for an idle stream")
        return
    if more == 0 or <int64_t> s.window + more > FRAME_WINDOW_MOST:
        h2_stream_refuse(s, FE_FLOW_CONTROL_ERROR if more else FE_PROTOCOL_ERROR)
        return
    s.window += <int32_t> more
    h2_stream_may_go(s)


cdef void h2_on_reset(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    cdef H2Stream* s = h2_find(h, f.id)
    if s == NULL:
        if f.id > h.last_id or not f.id & 1:
            h2_fault(h, FE_PROTOCOL_ERROR, b"client sent RST_STREAM for an idle stream")
        else:
            h2_count_idle(h)
        return
    loop.st.h2_resets += 1
    log_request(LOG_INFO, s.conn.req, b"client terminated stream", 0, b"")
    h2_stream_cut(s, frame_u32(p))
    h2_count_reset(h)


cdef void h2_on_priority(H2* h, const Frame* f, const uint8_t* p) noexcept nogil:
    """RFC 9113 section 5.3.2: of no meaning any more, but for its form."""
    cdef H2Stream* s
    if not h2_count_idle(h):
        return
    if f.n != 5 or frame_u32(p) & 0x7FFFFFFF == f.id:
        s = h2_find(h, f.id)
        if s != NULL:
            h2_stream_refuse(s, FE_FRAME_SIZE_ERROR if f.n != 5 else FE_PROTOCOL_ERROR)
        else:
            h2_refuse(h, f.id, FE_FRAME_SIZE_ERROR if f.n != 5 else FE_PROTOCOL_ERROR)


cdef void h2_goaway(H2* h, uint32_t last, uint32_t code) noexcept nogil:
    cdef char* p = h2_frame(h, 8, FT_GOAWAY, 0, 0)
    if p == NULL:
        return
    frame_put_u32(p, last)
    frame_put_u32(p + 4, code)


cdef void h2_going(H2* h) noexcept nogil:
    """The connection will end: streams that are on their way are still taken."""
    if not h.flags & (H2_GOING | H2_GONE):
        h.flags |= H2_GOING
        h2_goaway(h, FRAME_WINDOW_MOST, FE_NO_ERROR)


cdef void h2_gone(H2* h) noexcept nogil:
    """No other stream is taken, and with the last one the connection ends."""
    if not h.flags & H2_GONE:
        h.flags |= H2_GONE
        h2_goaway(h, h.last_id, FE_NO_ERROR)


cdef void h2_fault(H2* h, uint32_t code, const char* why) noexcept nogil:
    """The client broke a rule of the connection (RFC 9113 section 5.4.1): GOAWAY, and h2_settle ends it."""
    if h.flags & H2_BROKEN:
        return
    log_client_of(LOG_INFO, h.conn, why, h.conn.lst.fallback.name)
    h.flags |= H2_BROKEN | H2_GONE
    loop.st.h2_faults += 1
    h2_goaway(h, h.last_id, code)
