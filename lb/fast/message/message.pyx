"""The way out of every message, whatever its protocol: a head, pieces of a body, an end.

    message_begin -> enc.head, lines of fields, enc.head -> [filters]
        -> message_frame (enc.body, enc.end) -> message_send | message_send_copy

One send: `front` (head, size of a chunk) is put before the body's bytes where they lie, `back` (end of a chunk, trailers)
stands behind them. An Encoder's row says what front and back are; HTTP/1's is message/h1/encode.pyx.
"""

cdef enum:
    FRAME_ROOM = 32         # of `front`, for what frames a piece of body
    TRAILER_FRONT = 16      # of `back`, for what stands before trailers


cdef inline void message_begin(Message* m, Request* r, Conn* to, char* front, uint32_t room) noexcept nogil:
    """Of nothing yet; `front`: memory for head and framing. What its head says is its maker's to set."""
    m.r = r
    m.to = to
    m.begin = front
    m.floor = loop.scratch
    out_init(&m.front, front, room)
    m.phrase.n = 0
    m.upgrade.n = 0
    m.length = -1
    m.status = 0
    m.framing = B_NONE
    m.last = 0
    m.body = 0
    m.trailers.n = 0


cdef inline void message_status(Message* m, int status, const char* phrase, uint32_t n) noexcept nogil:
    """An answer's head begins."""
    m.status = <uint16_t> status
    m.phrase.p = <char*> phrase
    m.phrase.n = n
    m.to.enc.head(m, HEAD_START)


cdef inline bint message_full(Message* m) noexcept nogil:
    """Was the head too large?"""
    return m.front.full or m.front.end - m.front.p < FRAME_ROOM


cdef inline uint32_t message_front(Message* m) noexcept nogil:
    return <uint32_t> (m.front.p - m.begin)


cdef inline void message_frame(Message* m, uint64_t n, bint last, char* behind, uint32_t room) noexcept nogil:
    """The framing of n bytes of body, and of the message's end when they are its `last`; `back` is put at `behind`."""
    cdef char* lines = behind + TRAILER_FRONT
    cdef uint32_t trailers = 0
    m.behind = behind
    out_init(&m.back, behind, room)
    if n:
        m.to.enc.body(m, n)
    if last:
        if m.status and m.framing == B_CHUNKED:
            lines += m.back.p - behind
            trailers = response_trailers(m.r, lines, <uint32_t> (m.back.end - lines))
        m.to.enc.end(m, lines, trailers)


cdef inline bint message_send(Message* m, char* data, uint32_t n) noexcept nogil:
    """Front, the n bytes at `data`, and back, which message_frame was told to put behind them: one send, when front fits
    between floor and data. False: the connection failed."""
    cdef uint32_t front = message_front(m)
    if unlikely(m.to.enc.send != NULL):
        return m.to.enc.send(m, data, n)
    n += <uint32_t> (m.back.p - m.behind)
    m.front.p = m.begin
    if front > data - m.floor:          # a head with very long values: by itself
        if not conn_send(m.to, m.begin, front):
            return False
    elif front:
        data -= front
        memcpy(data, m.begin, front)
        n += front
    return n == 0 or conn_send(m.to, data, n)


cdef bint message_send_head(Message* m) noexcept nogil:
    """A head by itself, whose end is not that of the message."""
    if m.to.enc.send != NULL:
        return m.to.enc.send(m, NULL, 0)
    return conn_send(m.to, m.begin, message_front(m))


cdef bint message_send_copy(Message* m, const char* data, uint64_t n) noexcept nogil:
    """As message_send, for bytes with no room around them: one send when they fit behind front."""
    cdef uint32_t back = <uint32_t> (m.back.p - m.behind)
    cdef uint64_t front = message_front(m)
    if unlikely(m.to.enc.send != NULL):
        return m.to.enc.send(m, data, n)
    m.front.p = m.begin
    if front + n + back == 0:
        return True
    if n + back > <uint64_t> (m.front.end - m.begin) - front:
        return (conn_send(m.to, m.begin, front) and (n == 0 or conn_send(m.to, data, n))
                and (back == 0 or conn_send(m.to, m.behind, back)))
    if n:
        memcpy(m.begin + front, data, n)
    memcpy(m.begin + front + n, m.behind, back)
    return conn_send(m.to, m.begin, front + n + back)
