"""How a stream ends: its exchange closes its Conn, or the client, a fault or the connection's end make it do so.

    exchange over: conn_close -> h2_stream_close: nothing | RST_STREAM
    RST_STREAM came: h2_stream_cut -> R_ERR, the room's event -> conn_close
    the client broke a rule: h2_stream_refuse (RST_STREAM first), then the same
"""


cdef void h2_stream_close(Conn* c) noexcept nogil:
    """The transport's close. What is not whole ends with a RST_STREAM; so does a request that nobody reads to its end."""
    cdef H2Stream* s = h2_stream_of(c)
    cdef H2* h = s.h2
    if not s.flags & HS_RESET and not h.flags & H2_DEAD:
        if s.flags & HS_TUNNEL and s.flags & HS_HEAD and not s.flags & HS_DONE and c.out == NULL:
            h2_stream_finish(s)
        if not s.flags & HS_DONE:
            h2_reset(h, s.id, FE_INTERNAL_ERROR)
        elif not s.flags & HS_ENDED:
            h2_reset(h, s.id, FE_NO_ERROR)      # RFC 9113 section 8.1: an early answer
    if c.loc != NULL:
        h.conn.loc = c.loc              # how the connection idles
    h2_stream_unlink(s)
    buf_free_chain(&loop.pool, s.come)
    if s.trailers != NULL:
        buf_free(&loop.pool, s.trailers)
    c.io_state = NULL
    c.secure = 0
    s.chain = loop.h2_free
    loop.h2_free = s
    loop.st.h2_streams_open -= 1
    h2_touch(h)


cdef void h2_reset(H2* h, uint32_t id, uint32_t code) noexcept nogil:
    """RST_STREAM. Frames of it may still be on their way, which are no fault."""
    h2_frame_u32(h, FT_RST_STREAM, id, code)
    h.recent[h.nrecent % H2_RECENT] = id
    h.nrecent += 1
    if code != FE_NO_ERROR:
        loop.st.h2_resets_sent += 1


cdef bint h2_was_reset(H2* h, uint32_t id) noexcept nogil:
    """By us, not long ago?"""
    cdef uint32_t i
    for i in range(<uint32_t> H2_RECENT):
        if h.recent[i] == id:
            return True
    return False


cdef void h2_stream_cut(H2Stream* s, uint32_t code) noexcept nogil:
    """It is reset, by either side: its exchange ends now, in whatever phase it is."""
    cdef Conn* c = s.conn
    cdef uint32_t gen = c.gen
    s.flags |= HS_RESET
    s.code = code
    c.ready |= R_READ | R_WRITE | R_HUP | R_ERR
    client_event(c)
    if c.gen == gen:                    # it waits for something else: limit_req, the disk
        client_drain(c)


cdef void h2_stream_refuse(H2Stream* s, uint32_t code) noexcept nogil:
    """The client broke a rule of the stream (RFC 9113 section 5.4.2)."""
    cdef H2* h = s.h2
    h2_reset(h, s.id, code)
    s.flags |= HS_DONE
    h2_stream_cut(s, code)
    h2_count_reset(h)


cdef void h2_refuse(H2* h, uint32_t id, uint32_t code) noexcept nogil:
    """The same for a stream that is not there."""
    h2_reset(h, id, code)
    h2_count_reset(h)
