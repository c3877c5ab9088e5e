"""HTTP/1's row of Encoder: all text of HTTP/1 that leaves lb, requests to servers and answers to clients alike.

What it says is decided before (Message.framing, .length); here it is put into words (RFC 9112). Fields between the steps
of a head are lines already, so HEAD_END has only the empty line to add.
"""


cdef void h1_head(Message* m, int part) noexcept nogil:
    if part == HEAD_START:
        if m.status:
            h1_status_line(m)
        else:
            h1_request_start(m)
    elif part == HEAD_FRAMING:
        h1_framing(m)
        if m.status:
            h1_connection(m)
        elif m.r.loc.http10 and not (m.r.loc.overridden >> F_CONNECTION) & 1:
            out_put(&m.front, b"Connection: close\r\n", 19)
    else:
        out_put(&m.front, b"\r\n", 2)


cdef inline void h1_status_line(Message* m) noexcept nogil:
    out_put(&m.front, b"HTTP/1.1 ", 9)
    out_padded(&m.front, m.status, 3)
    out_char(&m.front, 32)
    out_str(&m.front, m.phrase)
    out_put(&m.front, b"\r\n", 2)


cdef inline void h1_request_start(Message* m) noexcept nogil:
    if not h1_request_line(&m.front, m.r, &loop.env):
        log_request(LOG_ERR, m.r, b"invalid method in \"proxy_method\"", 0, b"")
        m.r.flags |= RQ_GAVE_UP


cdef inline void h1_framing(Message* m) noexcept nogil:
    if m.framing == B_CHUNKED:
        out_put(&m.front, b"Transfer-Encoding: chunked\r\n", 28)
    elif m.length >= 0:
        out_put(&m.front, b"Content-Length: ", 16)
        out_int(&m.front, m.length)
        out_put(&m.front, b"\r\n", 2)


cdef inline void h1_connection(Message* m) noexcept nogil:
    """What becomes of the client's connection."""
    if m.status == 101:
        out_put(&m.front, b"Connection: upgrade\r\nUpgrade: ", 30)
        out_str(&m.front, m.upgrade)
        out_put(&m.front, b"\r\n", 2)
    elif not m.r.flags & RQ_KEEP:
        out_put(&m.front, b"Connection: close\r\n", 19)
    else:
        out_put(&m.front, b"Connection: keep-alive\r\n", 24)
        if m.r.loc.keepalive_header:
            out_put(&m.front, b"Keep-Alive: timeout=", 20)
            out_uint(&m.front, m.r.loc.keepalive_header)
            out_put(&m.front, b"\r\n", 2)


cdef void h1_body(Message* m, uint64_t n) noexcept nogil:
    """A chunk of its own around these bytes, where the framing is in chunks; else they go as they are."""
    if m.framing == B_CHUNKED:
        out_hex(&m.front, n)
        out_put(&m.front, b"\r\n", 2)
        out_put(&m.back, b"\r\n", 2)


cdef void h1_end(Message* m, const char* trailers, uint32_t n) noexcept nogil:
    """The last chunk; the trailers' lines lie in `back` itself, at least 5 bytes behind its last and before its end."""
    if m.framing != B_CHUNKED:
        return
    out_put(&m.back, b"0\r\n", 3)
    if n:
        memmove(m.back.p, trailers, n)
        m.back.p += n
    out_put(&m.back, b"\r\n", 2)


cdef bint h1_abort(Message* m) noexcept nogil:
    """A body that ends with the connection would look whole: it is reset. Others show the break by what is missing."""
    if m.framing == B_CLOSE:
        conn_reset(m.to)
        return True
    conn_abort(m.to)
    return False


cdef Encoder h1_encoder
h1_encoder.head = h1_head
h1_encoder.body = h1_body
h1_encoder.end = h1_end
h1_encoder.abort = h1_abort
