"""Frames out: all of a turn gather in one buffer of their connection, and leave in one send at its end.

    h2_frame, h2_room -> H2.out -> [full: h2_push] -> h2_flush_all -> h2_push: conn_send -> h2_settle

A connection that may have to be looked at is on loop.h2_dirty, whether it has frames or not.
"""

cdef enum:
    H2_OUT_LEAST = 4096         # of the buffer, as long as that is enough
    H2_OUT = 65536              # then it is of this size; more than that is sent within the turn


cdef inline void h2_touch(H2* h) noexcept nogil:
    """The end of this turn will see to it."""
    if not h.flags & H2_DIRTY:
        h.flags |= H2_DIRTY
        h.dirty = loop.h2_dirty
        loop.h2_dirty = h


cdef inline char* h2_room(H2* h, uint32_t n) noexcept nogil:
    """Room for n bytes behind what is in h.out; who fills it adds them to h.out.end. NULL: memory is out, and the connection
    has failed."""
    cdef Buf* b = h.out
    if likely(b != NULL and b.cap - b.end >= n):
        return buf_data(b) + b.end
    return h2_room_made(h, n)


cdef char* h2_room_made(H2* h, uint32_t n) noexcept nogil:
    cdef Buf* b = h.out
    cdef Buf* more
    if b != NULL and b.end + n > H2_OUT:
        h2_push(h)
        b = NULL
    more = buf_new(&loop.pool, max(n, <uint32_t> H2_OUT) if b != NULL else max(n, <uint32_t> H2_OUT_LEAST))
    if more == NULL:
        h.conn.flags |= CF_FAILED
        h2_touch(h)
        return NULL
    if b != NULL:
        memcpy(buf_data(more), buf_data(b), b.end)
        more.end = b.end
        buf_free(&loop.pool, b)
    h.out = more
    h2_touch(h)
    return buf_data(more) + more.end


cdef char* h2_frame(H2* h, uint32_t n, uint8_t type, uint8_t flags, uint32_t id) noexcept nogil:
    """A frame's head; where its n bytes are to be written. NULL: the connection has failed."""
    cdef char* p = h2_room(h, FRAME_HEAD + n)
    if p == NULL:
        return NULL
    h.out.end += FRAME_HEAD + n
    return frame_put(p, n, type, flags, id)


cdef void h2_frame_u32(H2* h, uint8_t type, uint32_t id, uint32_t x) noexcept nogil:
    """RST_STREAM, WINDOW_UPDATE."""
    cdef char* p = h2_frame(h, 4, type, 0, id)
    if p != NULL:
        frame_put_u32(p, x)


cdef void h2_push(H2* h) noexcept nogil:
    """What has gathered goes to the socket, or waits for it in Conn.out."""
    cdef Buf* b = h.out
    if b == NULL:
        return
    h.out = NULL
    if not h.conn.flags & CF_FAILED and not conn_send(h.conn, buf_data(b), b.end):
        h.conn.flags |= CF_FAILED
    buf_free(&loop.pool, b)


cdef void h2_flush_all() noexcept nogil:
    """The end of a turn. Ends of streams and connections may bring others onto the list."""
    cdef H2* h
    while loop.h2_dirty != NULL:
        h = loop.h2_dirty
        loop.h2_dirty = h.dirty
        h.flags &= ~<uint32_t> H2_DIRTY
        h2_push(h)
        h2_settle(h)


cdef void h2_untouch(H2* h) noexcept nogil:
    """It ends: off the list."""
    cdef H2** at = &loop.h2_dirty
    if not h.flags & H2_DIRTY:
        return
    while at[0] != h:
        at = &at[0].dirty
    at[0] = h.dirty
    h.flags &= ~<uint32_t> H2_DIRTY
