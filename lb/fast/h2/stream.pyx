"""A stream as a transport: a Conn of kind K_STREAM without a descriptor, whose bytes are those of its DATA frames.

    DATA -> H2Stream.come -> h2_stream_recv, which opens the window again          conn_send -> h2_stream_send -> DATA
    the client resets it, or the connection ends: R_ERR, then IO_FAILED

What does not fit into the windows, or would wait behind a full socket, stays with its sender (Conn.out): a stream holds what an
HTTP/1 client would, and reading from its server stops the same way.
"""

cdef enum:
    H2_WINDOW = 65536           # least window of a stream whose body is read

cdef Transport h2_stream


cdef void h2_init() noexcept nogil:
    h2_stream.name = b"http2"
    h2_stream.recv = h2_stream_recv
    h2_stream.send = h2_stream_send
    h2_stream.peek = h2_stream_peek
    h2_stream.pending = h2_stream_pending
    h2_stream.handshake = NULL
    h2_stream.shutdown = h2_stream_shutdown
    h2_stream.reset = h2_stream_no_reset
    h2_stream.close = h2_stream_close
    h2_stream.error = h2_stream_error_of
    h2_stream.local = h2_stream_local


cdef inline H2Stream* h2_stream_of(Conn* c) noexcept nogil:
    return <H2Stream*> c.io_state


cdef inline Conn* h2_connection_of(Conn* c) noexcept nogil:
    """The connection below a client's stream; another client is one itself."""
    return c.h2.conn if c.kind == K_STREAM else c


cdef inline H2Stream* h2_find(H2* h, uint32_t id) noexcept nogil:
    cdef H2Stream* s = h.streams[(id >> 1) & (H2_HASH - 1)]
    while s != NULL and s.id != id:
        s = s.chain
    return s


cdef H2Stream* h2_stream_new(H2* h, uint32_t id) noexcept nogil:
    """A stream and its Conn, which is its connection's client in all that can be asked of it. NULL: memory is out."""
    cdef H2Stream* s = loop.h2_free
    cdef Conn* t = h.conn
    cdef Conn* c
    if s != NULL:
        loop.h2_free = s.chain
    else:
        s = <H2Stream*> malloc(sizeof(H2Stream))
        if s == NULL:
            return NULL
    c = conn_slot(-1, K_STREAM)
    if c == NULL:
        s.chain = loop.h2_free
        loop.h2_free = s
        return NULL
    memset(s, 0, sizeof(H2Stream))
    s.h2 = h
    s.conn = c
    s.id = id
    s.urgency = H2_URGENCY
    s.flags = HS_INCREMENTAL            # until it says otherwise: who knows nothing of priorities gets all a little
    s.window = <int32_t> h.initial
    s.open = <int32_t> t.lst.fallback.h2_preread
    s.chain = h.streams[(id >> 1) & (H2_HASH - 1)]
    h.streams[(id >> 1) & (H2_HASH - 1)] = s
    s.prev = h.last
    if h.last != NULL:
        h.last.next = s
    else:
        h.first = s
    h.last = s
    h.nstreams += 1
    h2_stream_conn(c, t, s)
    return s


cdef void h2_stream_conn(Conn* c, Conn* t, H2Stream* s) noexcept nogil:
    c.io = &h2_stream
    c.io_state = s
    c.h2 = s.h2
    c.enc = &h2_encoder
    c.lst = t.lst
    c.ready = R_WRITE
    c.flags |= t.flags & CF_UNIX
    c.opened = t.opened
    c.began = c.born = loop.now
    c.secure = t.secure
    c.debug = t.debug
    c.number = t.number
    c.piped = 0
    c.served = s.h2.served
    c.addr_len = t.addr_len
    memcpy(c.addr, t.addr, sizeof(c.addr))
    if t.proxy_protocol != NULL:
        c.proxy_protocol = buf_copy(&loop.pool, buf_data(t.proxy_protocol),
                                    sizeof(ProxyProtocol) + (<ProxyProtocol*> buf_data(t.proxy_protocol)).tlvs)
    loop.st.h2_streams += 1
    loop.st.h2_streams_open += 1


cdef void h2_stream_unlink(H2Stream* s) noexcept nogil:
    cdef H2* h = s.h2
    cdef H2Stream** at = &h.streams[(s.id >> 1) & (H2_HASH - 1)]
    while at[0] != s:
        at = &at[0].chain
    at[0] = s.chain
    if s.prev != NULL:
        s.prev.next = s.next
    else:
        h.first = s.next
    if s.next != NULL:
        s.next.prev = s.prev
    else:
        h.last = s.prev
    h.nstreams -= 1


# ---- the client's bytes

cdef ssize_t h2_stream_recv(Conn* c, char* p, size_t n) noexcept nogil:
    cdef H2Stream* s = h2_stream_of(c)
    cdef Buf* b
    cdef size_t had = 0, some
    if s.flags & HS_RESET:
        return h2_stream_failed(c)
    if not s.flags & HS_OPENED:
        h2_stream_read(s)
    while s.come != NULL and had < n:
        b = s.come
        some = min(n - had, <size_t> buf_len(b))
        memcpy(p + had, buf_data(b) + b.off, some)
        had += some
        b.off += <uint32_t> some
        if b.off == b.end:
            s.come = b.next
            buf_free(&loop.pool, b)
    if had:
        h2_stream_open(s, <uint32_t> had)
        if s.come == NULL and s.flags & (HS_ENDED | HS_LENGTH) != HS_ENDED:
            c.ready &= ~R_READ
        return had
    c.ready &= ~R_READ
    if not s.flags & HS_ENDED:
        return IO_AGAIN
    c.flags |= CF_EOF
    return IO_END


cdef ssize_t h2_stream_failed(Conn* c) noexcept nogil:
    c.flags |= CF_FAILED
    c.ready &= ~(R_READ | R_WRITE)
    return IO_FAILED


cdef void h2_stream_read(H2Stream* s) noexcept nogil:
    """Somebody begins to read: a window that http2_body_preread_size has kept small grows."""
    cdef uint32_t preread = s.h2.conn.lst.fallback.h2_preread
    s.flags |= HS_OPENED
    if preread < H2_WINDOW:
        h2_stream_open(s, H2_WINDOW - preread)


cdef void h2_stream_open(H2Stream* s, uint32_t n) noexcept nogil:
    """n bytes were taken: the client may send as many more, which is said once it is half of the window."""
    s.taken += n
    if s.flags & HS_ENDED or s.taken < max(s.h2.conn.lst.fallback.h2_preread, <uint32_t> H2_WINDOW) // 2:
        return
    h2_frame_u32(s.h2, FT_WINDOW_UPDATE, s.id, s.taken)
    s.open += <int32_t> s.taken
    s.taken = 0


cdef ssize_t h2_stream_peek(Conn* c, char* p, size_t n) noexcept nogil:
    """At most what lies in the first block."""
    cdef H2Stream* s = h2_stream_of(c)
    if s.flags & HS_RESET:
        return h2_stream_failed(c)
    if s.come == NULL:
        return IO_END if s.flags & HS_ENDED else IO_AGAIN
    n = min(n, <size_t> buf_len(s.come))
    memcpy(p, buf_data(s.come) + s.come.off, n)
    return n


cdef int h2_stream_pending(Conn* c) noexcept nogil:
    cdef H2Stream* s = h2_stream_of(c)
    cdef int ready = 0
    if s.flags & HS_RESET:
        return R_READ | R_WRITE | R_HUP | R_ERR
    if s.come != NULL or (s.flags & HS_ENDED and not c.flags & CF_EOF and not s.flags & HS_LENGTH):
        ready = R_READ
    if h2_stream_may_send(s):
        ready |= R_WRITE
    return ready


# ---- ours

cdef inline uint32_t h2_stream_may_send(H2Stream* s) noexcept nogil:
    """Bytes of its body that may leave now."""
    cdef H2* h = s.h2
    cdef int32_t most = min(h.window, s.window)
    if most <= 0 or h.conn.out != NULL or h.conn.flags & CF_FAILED:
        return 0
    return min(<uint32_t> most, h.share) if h.share else <uint32_t> most


cdef ssize_t h2_stream_send(Conn* c, const char* p, size_t n) noexcept nogil:
    """DATA of http2_chunk_size at most; the last one says that it is."""
    cdef H2Stream* s = h2_stream_of(c)
    cdef H2* h = s.h2
    cdef size_t gone = 0
    cdef uint32_t some, may, chunk = min(c.req.loc.h2_chunk, h.frame_most)
    cdef uint8_t flags
    cdef char* to
    if s.flags & (HS_RESET | HS_DONE):
        return h2_stream_failed(c)
    may = h2_stream_may_send(s)
    while gone < n and may:
        some = <uint32_t> min(n - gone, <size_t> min(may, chunk))
        flags = h2_stream_framed(s, some)
        to = h2_frame(h, some, FT_DATA, flags, s.id)
        if to == NULL:
            return h2_stream_failed(c)
        memcpy(to, p + gone, some)
        gone += some
        s.window -= <int32_t> some
        h.window -= <int32_t> some
        c.put += FRAME_HEAD
        c.req.head_n += FRAME_HEAD
        h.idle -= H2_IDLE_FRAME
        may = 0 if h.conn.out != NULL else may - some
    if h.idle < 0:
        h.idle = 0
    if gone < n:
        h2_stream_waits(s)
    elif s.flags & HS_FIN and s.pending == 0 and not s.flags & HS_DONE:
        h2_stream_finish(s)
    return gone


cdef inline uint8_t h2_stream_framed(H2Stream* s, uint32_t n) noexcept nogil:
    """n bytes of the body go into a frame: its flags."""
    if s.flags & HS_TUNNEL:
        return 0
    BUG_ON(n > s.pending)
    s.pending -= n
    if s.pending or not s.flags & HS_FIN or s.trailers != NULL:
        return 0
    s.flags |= HS_DONE
    return FF_END_STREAM


cdef void h2_stream_waits(H2Stream* s) noexcept nogil:
    """Its sender is told when more may go: h2_on_window, or h2_schedule where it waits for others."""
    s.conn.ready &= ~R_WRITE
    s.flags |= HS_WAITS
    if s.window > 0:
        s.h2.flags |= H2_STARVED


cdef void h2_stream_finish(H2Stream* s) noexcept nogil:
    """Nothing is left but to say so: trailers, or an empty DATA."""
    cdef int64_t made = FRAME_HEAD
    s.flags |= HS_DONE
    if s.trailers != NULL:
        made = h2_send_block(s, 0, buf_data(s.trailers), buf_len(s.trailers), FF_END_STREAM)
        buf_free(&loop.pool, s.trailers)
        s.trailers = NULL
    elif h2_frame(s.h2, 0, FT_DATA, FF_END_STREAM, s.id) == NULL:
        made = -1
    if made < 0:
        s.conn.flags |= CF_FAILED
        return
    s.conn.put += made
    if s.conn.req != NULL:
        s.conn.req.head_n += <uint32_t> made


cdef void h2_stream_shutdown(Conn* c) noexcept nogil:
    """Of a tunnel: our direction has ended."""
    cdef H2Stream* s = h2_stream_of(c)
    if not s.flags & (HS_DONE | HS_RESET) and s.flags & HS_HEAD:
        h2_stream_finish(s)


cdef void h2_stream_no_reset(Conn* c) noexcept nogil:
    """A close before the end is one."""


cdef int h2_stream_error_of(Conn* c) noexcept nogil:
    return ECONNRESET if h2_stream_of(c).flags & HS_RESET else 0


cdef bint h2_stream_local(Conn* c, char* sa, uint32_t* n) noexcept nogil:
    return c.h2.conn.io.local(c.h2.conn, sa, n)
