"""proxy_buffering on: a server is not held up by a client that reads slowly. Only when the client blocks does anything wait:
up to proxy_buffers in memory (Conn.out), then up to proxy_max_temp_file_size on disk (Request.response_file); then the server
waits.

    response_pass: to the client at once | Conn.out | r.response_file
    client_event, client_flush -> response_buffer_feed: r.response_file to the client

What is on disk is the body as it left the filters: its framing is made when it is sent (response_buffer_frame), a piece as
long as what is there. While bytes lie in r.response_file all later ones go there too, so that their order stays. A static
file (static/file.pyx) is sent the same way, through the filters if it has any:
it is an r.response_file that is whole from the start.
"""

cdef enum:
    SENDFILE_SHARE = 262144         # bytes of one sendfile: four of them are a connection's share of a turn


cdef uint64_t response_buffer_waiting(Conn* c) noexcept nogil:
    """Bytes in memory for the client."""
    cdef Buf* b = c.out
    cdef uint64_t n = 0
    while b != NULL:
        n += buf_len(b)
        b = b.next
    return n


cdef bint response_held(Request* r) noexcept nogil:
    """Does part of the answer wait for the client?"""
    return r.client.out != NULL or temp_file_left(r.response_file)


cdef bint response_may_read_on(Request* r) noexcept nogil:
    """May more of the answer be read from the server now?"""
    if not response_held(r):
        return True
    if not r.flags & RQ_HOLD or r.phase != PH_READING_BODY:
        return False
    if temp_file_left(r.response_file):
        return r.response_file.size < r.loc.temp_max
    return r.loc.temp_max > 0 or response_buffer_waiting(r.client) < r.loc.buffers


cdef bint response_to_disk(Request* r, uint32_t n) noexcept nogil:
    """Must n bytes of the body that come now wait on disk? A file is there then."""
    if not response_held(r) or not r.flags & RQ_HOLD:
        return False
    if temp_file_left(r.response_file):
        return True
    if r.loc.temp_max == 0 or n == 0 or response_buffer_waiting(r.client) + n <= r.loc.buffers:
        return False
    if r.response_file == NULL:
        r.response_file = temp_file_new(r, &r.loc.temp_path, False)
        if r.response_file == NULL:              # the server waits from here on
            r.flags &= ~RQ_HOLD
            return False
    return True


cdef bint response_pass(Message* m, char* data, uint32_t n, bint last) noexcept nogil:
    """What has left the filters: n bytes with room before and behind them, and the end of the answer when they are the `last`.
    To the client at once, or to where they wait for it: on disk without framing. False: the client's connection failed, or
    the disk."""
    cdef Request* r = m.r
    if message_front(m) == 0 and response_to_disk(r, n):     # a head, and what came with it, waits in memory
        return n == 0 or temp_file_write(r, r.response_file, data, n)
    message_frame(m, n, last, data + n, TAILROOM)
    return message_send(m, data, n)


cdef bint response_buffer_pipe(Request* r) noexcept nogil:
    """The client blocks while bytes are in the server's pipe: they go to disk, and reading goes on. False: it has failed."""
    cdef Conn* u = r.up
    cdef ssize_t got
    if r.response_file == NULL:
        r.response_file = temp_file_new(r, &r.loc.temp_path, False)
        if r.response_file == NULL:
            r.flags &= ~RQ_HOLD
            return True
    while u.pipe.filled:
        got = splice_pipe_read(u.pipe, loop.scratch, SCRATCH)
        if got <= 0:
            return False
        if not temp_file_write(r, r.response_file, loop.scratch, <uint32_t> got):
            return False
    splice_pipe_give(u)
    u.flags &= ~CF_BULK
    return True


cdef bint response_buffer_feed(Request* r) noexcept nogil:
    """From disk to the client, a bounded share of this turn. False: the exchange has ended."""
    cdef Conn* c = r.client
    cdef TempFile* s = r.response_file
    cdef ssize_t got
    cdef int _i
    if s.ours and r.filters != NULL:
        return response_buffer_filter(r)
    for _i in range(4):
        if s.at >= s.framed and temp_file_left(s) and not response_buffer_frame(r, s.size - s.at, False):
            client_broken(c)
            return False
        if c.out != NULL or not c.ready & R_WRITE or not temp_file_left(s):
            break
        got = response_buffer_sendfile(c, s)
        if got == -1:
            client_broken(c)
            return False
        if got == 0 and c.ready & R_WRITE:
            log_request(LOG_ERR, r, b"sendfile() reported that a file ends before its length", 0, b"")
            client_cut(r)
            return False
    if not temp_file_left(s) and not response_buffer_end(r):
        client_broken(c)
        return False
    if c.ready & R_WRITE and c.out == NULL and temp_file_left(s):
        loop_post(c)
    timer_set(&loop.wheel, &c.timer, loop.now + r.loc.send_timeout)
    return True


cdef bint response_buffer_filter(Request* r) noexcept nogil:
    """A static file through the filters, a bounded share of this turn. False: the exchange has ended."""
    cdef Conn* c = r.client
    cdef TempFile* s = r.response_file
    cdef char* p = loop.scratch + HEADROOM
    cdef Message m
    cdef uint32_t n
    cdef int _i
    for _i in range(4):
        if c.out != NULL or not c.ready & R_WRITE or not temp_file_left(s):
            break
        n = temp_file_read(r, s, p, SCRATCH)
        if n == 0:
            client_cut(r)
            return False
        message_begin(&m, r, c, loop.heads, HEADS)
        m.status = r.status
        m.framing = r.outb.out
        if not filter_run(&m, p, n, FLOW_MORE if temp_file_left(s) else FLOW_LAST):
            client_broken(c)
            return False
    if c.ready & R_WRITE and c.out == NULL and temp_file_left(s):
        loop_post(c)
    timer_set(&loop.wheel, &c.timer, loop.now + r.loc.send_timeout)
    return True


cdef bint response_buffer_frame(Request* r, uint64_t n, bint last) noexcept nogil:
    """The framing behind the piece that the file gave, and that of the next n bytes of it, or of the answer's end. False:
    the client's connection failed."""
    cdef TempFile* s = r.response_file
    cdef Message m
    cdef char behind[TAILROOM]
    message_begin(&m, r, r.client, loop.heads, HEADS)
    m.status = r.status
    m.framing = r.outb.out
    out_put(&m.front, s.back, s.nback)
    s.framed = s.at + n
    message_frame(&m, n, last, behind, sizeof(behind))
    s.nback = 0
    if n:
        s.nback = <uint8_t> (m.back.p - m.behind)
        BUG_ON(s.nback > sizeof(s.back))
        memcpy(s.back, behind, s.nback)
        m.back.p = m.behind
    return message_send_copy(&m, NULL, 0)


cdef ssize_t response_buffer_sendfile(Conn* c, TempFile* s) noexcept nogil:
    """Once from file to client. Bytes; 0: it takes none now, or (with R_WRITE up) the file has ended; -1: failed."""
    cdef uint64_t left = s.framed - s.at
    cdef ssize_t got = conn_sendfile(c, s.fd, s.at, left if left < SENDFILE_SHARE else SENDFILE_SHARE)
    if got < 0:
        return -1
    s.at += got
    return got


cdef bint response_buffer_end(Request* r) noexcept nogil:
    """All of the file is on its way, and with the answer whole this is its end: a temporary one begins anew. False: the
    client's connection failed."""
    cdef TempFile* s = r.response_file
    if not response_buffer_frame(r, 0, r.phase == PH_ANSWERED and not r.flags & RQ_BROKEN):
        return False
    if not s.ours and s.size:
        s.at = s.size = s.framed = 0
        ftruncate(s.fd, 0)
    return True


cdef bint response_buffer_again(Request* r) noexcept nogil:
    """Feed the client from disk; the end of the answer when that was all. False: the exchange has ended."""
    cdef Conn* c = r.client
    if not response_buffer_feed(r):
        return False
    if c.out != NULL or temp_file_left(r.response_file):
        return True
    if r.phase == PH_ANSWERED:
        timer_clear(&c.timer)
        request_done(r)
        return False
    if r.phase in (PH_READING_HEAD, PH_READING_BODY):
        proxy_timers(r)
        if r.up.ready & R_READ:
            loop_post(r.up)
    return True
