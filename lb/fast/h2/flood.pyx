"""What a client may not do too often. Each rule ends with GOAWAY (ENHANCE_YOUR_CALM), and is counted by its name.

    rapid reset           streams that the client resets, or makes us reset, before their answer is whole: H2_RESETS at once, then
                          H2_RESETS_SECOND a second
    frames without use    SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, frames of closed streams: H2_IDLE, and
                          H2_IDLE_SECOND a second, more than H2_IDLE_FRAME for each DATA of ours
    unread answers        SETTINGS and PING that wait for a client which reads nothing: H2_ANSWERS
    field blocks          CONTINUATION (H2_PARTS), bytes of a block (H2_BLOCK)
    streams               more in one read than twice the limit
"""

cdef enum:
    H2_RESETS = 1000
    H2_RESETS_SECOND = 33
    H2_IDLE = 10000
    H2_IDLE_SECOND = 100
    H2_IDLE_FRAME = 4           # of them a frame of ours pays for: a client may answer each DATA with two WINDOW_UPDATE
    H2_ANSWERS = 1000
    H2_PARTS = 8                # CONTINUATIONs of one block
    H2_BLOCK = 65536            # bytes of one


cdef void h2_count_reset(H2* h) noexcept nogil:
    cdef int64_t gain = (loop.now - h.resets_at) * H2_RESETS_SECOND // 1000
    if gain > 0:
        h.resets = <int32_t> (h.resets - gain) if h.resets > gain else 0
        h.resets_at = loop.now
    h.resets += 1
    if h.resets > H2_RESETS:
        loop.st.h2_flood_reset += 1
        h2_fault(h, FE_ENHANCE_YOUR_CALM, b"too many streams were reset")


cdef inline bint h2_count_idle(H2* h) noexcept nogil:
    """False: that was one too many."""
    h.idle += 1
    return likely(h.idle <= H2_IDLE) or h2_idle_allowed(h)


cdef bint h2_idle_allowed(H2* h) noexcept nogil:
    """The budget is used up, but for what the time since then has brought."""
    cdef int64_t gain = (loop.now - h.idle_at) * H2_IDLE_SECOND // 1000
    h.idle_at = loop.now
    h.idle = <int32_t> (h.idle - gain) if gain < h.idle else 0
    if h.idle <= H2_IDLE:
        return True
    loop.st.h2_flood_idle += 1
    h2_fault(h, FE_ENHANCE_YOUR_CALM, b"too many frames without use")
    return False


cdef bint h2_count_answer(H2* h) noexcept nogil:
    """An answer is due to a SETTINGS or a PING. False: too many wait."""
    if h.conn.out == NULL:
        h.answers = 0
    h.answers += 1
    if likely(h.answers <= H2_ANSWERS):
        return True
    loop.st.h2_flood_answers += 1
    h2_fault(h, FE_ENHANCE_YOUR_CALM, b"too many SETTINGS or PING are to be answered")
    return False
