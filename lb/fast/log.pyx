"""Access and error logs: lines gather in a buffer per file and leave with one write per turn of the loop.

Never blocks for long and never grows: the files are opened for appending by the master; a line that finds the buffer full,
or a file that takes nothing, is dropped and counted. Texts and their order are nginx's, so that scripts find them.
"""

cdef enum:
    LOG_EMERG = 1
    LOG_ALERT = 2
    LOG_CRIT = 3
    LOG_ERR = 4
    LOG_WARN = 5
    LOG_NOTICE = 6
    LOG_INFO = 7
    LOG_DEBUG = 8
    LOG_ROOM = 131072           # bytes of a file's buffer
    LOG_LINE = 4096             # longest line of the error log


# ---- files

cdef bint log_room(LogFile* f, Out* o, uint32_t need) noexcept nogil:
    """Point `o` at room for one line; write out what waits when there is too little."""
    if f.fd < 0:
        return False
    if LOG_ROOM - f.n < need:
        log_write(f)
    if LOG_ROOM - f.n < need:
        f.dropped += 1
        loop.st.log_dropped += 1
        return False
    out_init(o, f.buf + f.n, LOG_ROOM - f.n)
    return True


cdef void log_commit(LogFile* f, Out* o) noexcept nogil:
    if o.full:                          # a line longer than a whole buffer
        f.dropped += 1
        loop.st.log_dropped += 1
        return
    f.n = <uint32_t> (o.p - f.buf)


cdef void log_write(LogFile* f) noexcept nogil:
    """One write. What the file does not take at once (a full disk, a full pipe) is dropped, whole lines, and counted."""
    cdef ssize_t got
    cdef uint32_t i, at
    if f.n == 0:
        return
    got = write(f.fd, f.buf, f.n)
    at = <uint32_t> got if got > 0 else 0
    for i in range(at, f.n):
        if f.buf[i] == 10:
            f.dropped += 1
            loop.st.log_dropped += 1
    f.n = 0


cdef void logs_flush() noexcept nogil:
    cdef uint32_t i
    for i in range(loop.nlogs):
        if loop.logs[i].n:
            log_write(&loop.logs[i])


cdef void logs_reopen() noexcept nogil:
    """Python threads left new fds (USR1): what waits goes to the old ones."""
    cdef uint32_t i
    cdef LogFile* f
    logs_flush()
    for i in range(loop.nlogs):
        f = &loop.logs[i]
        if f.fresh >= 0:
            if f.fd > 2:
                close(f.fd)
            f.fd = <int> f.fresh
            f.fresh = -1


# ---- error log

cdef const char* level_name(int level) noexcept nogil:
    if level == LOG_EMERG: return b"emerg"
    if level == LOG_ALERT: return b"alert"
    if level == LOG_CRIT: return b"crit"
    if level == LOG_ERR: return b"error"
    if level == LOG_WARN: return b"warn"
    if level == LOG_NOTICE: return b"notice"
    if level == LOG_INFO: return b"info"
    return b"debug"


cdef bint error_begin(Out* o, int level) noexcept nogil:
    """2026/11/22 15:00:00 [error] 123#0: """
    if level > <int> loop.log_level or not log_room(loop.error_log, o, LOG_LINE):
        return False
    out_log_time(o, &loop.env.local)
    out_put(o, b" [", 2)
    out_text(o, level_name(level))
    out_put(o, b"] ", 2)
    out_uint(o, loop.env.pid)
    out_put(o, b"#0: ", 4)
    return True


cdef void error_end(Out* o) noexcept nogil:
    out_char(o, 10)
    log_commit(loop.error_log, o)


cdef void error_number(Out* o, int e) noexcept nogil:
    """ (111: Connection refused)"""
    cdef char text[128]
    if e == 0:
        return
    out_put(o, b" (", 2)
    out_int(o, e)
    out_put(o, b": ", 2)
    out_text(o, strerror_r(e, text, sizeof(text)))
    out_char(o, 41)


cdef void log_line(int level, const char* text) noexcept nogil:
    cdef Out o
    if not error_begin(&o, level):
        return
    out_text(&o, text)
    error_end(&o)


cdef void log_errno(int level, const char* text, int e) noexcept nogil:
    cdef Out o
    if not error_begin(&o, level):
        return
    out_text(&o, text)
    error_number(&o, e)
    error_end(&o)


cdef void error_connection(Out* o, Conn* c) noexcept nogil:
    out_char(o, 42)
    out_uint(o, c.number)
    out_char(o, 32)


cdef void error_client(Out* o, Conn* c) noexcept nogil:
    out_put(o, b", client: ", 10)
    write_address(o, c.addr, c.addr_len)


cdef void log_client(int level, Conn* c, const char* text) noexcept nogil:
    cdef Out o
    if not error_begin(&o, level):
        return
    error_connection(&o, c)
    out_text(&o, text)
    error_client(&o, c)
    error_end(&o)


cdef void error_context(Out* o, Request* r) noexcept nogil:
    """, client: C, server: S, request: "LINE", upstream: "http://P/", host: "H" """
    error_client(o, r.client)
    if r.flags & RQ_TCP:
        out_put(o, b", server: ", 10)
        out_str(o, r.client.lst.addr)
        if r.peer != NULL:
            out_put(o, b", upstream: \"", 13)
            out_str(o, r.peer.name)
            out_char(o, 34)
        return
    out_put(o, b", server: ", 10)
    out_str(o, r.srv.name)
    out_put(o, b", request: \"", 12)
    error_request_line(o, r)
    out_char(o, 34)
    if r.ups != NULL:
        out_put(o, b", upstream: \"http://", 20)
        out_str(o, r.peer.name if r.peer != NULL else r.ups.name)
        if r.h.path_len and r.h.path_len < 1024:
            out_escaped(o, r.head + r.h.path, r.h.path_len)
        out_char(o, 34)
    if r.h.authority_len and r.h.authority_len < 512:
        out_put(o, b", host: \"", 9)
        out_escaped(o, r.head + r.h.authority, r.h.authority_len)
        out_char(o, 34)


cdef void error_request_line(Out* o, Request* r) noexcept nogil:
    """The request line, at most 1 KiB of it: it comes from the client."""
    cdef uint32_t n = 0
    if r.head == NULL:
        return
    while n < 1024 and r.head[r.h.start + n] not in (0, 10, 13):
        n += 1
    out_escaped(o, r.head + r.h.start, n)


cdef void log_request(int level, Request* r, const char* text, int e, const char* phase) noexcept nogil:
    """nginx's line with the whole context of an exchange."""
    cdef Out o
    if not error_begin(&o, level):
        return
    error_connection(&o, r.client)
    out_text(&o, text)
    error_number(&o, e)
    if phase[0]:
        out_char(&o, 32)
        out_text(&o, phase)
    error_context(&o, r)
    error_end(&o)


cdef void log_try(Request* r, const char* text, int e, const char* phase) noexcept nogil:
    log_request(LOG_ERR, r, text, e, phase)


cdef void log_peer(Peer* p, const char* text) noexcept nogil:
    cdef Out o
    if not error_begin(&o, LOG_WARN):
        return
    out_text(&o, text)
    out_put(&o, b": ", 2)
    out_str(&o, p.name)
    out_put(&o, b" in upstream \"", 14)
    out_str(&o, p.ups.name)
    out_char(&o, 34)
    error_end(&o)


cdef void log_refused(Request* r, Head* h) noexcept nogil:
    """client sent invalid request: bare LF at byte 41, client: ... (http-strictness rule 11)"""
    cdef Out o
    if not error_begin(&o, LOG_INFO):
        return
    error_connection(&o, r.client)
    if h.error == 408:
        out_text(&o, b"client timed out while reading client request headers")
    elif h.rule == 0:
        out_text(&o, b"client sent too large request head")
    else:
        out_text(&o, b"client sent invalid request: ")
        log_rule(&o, r.head, h)
    error_context(&o, r)
    error_end(&o)


cdef void log_rule(Out* o, const char* head, Head* h) noexcept nogil:
    """bare CR in field value in "X" at byte 41"""
    out_text(o, rule_text(h.rule))
    if head != NULL and h.error_name_len and h.error_name_len < 128 and h.error_name + h.error_name_len <= 256:
        out_put(o, b" in \"", 5)
        out_escaped(o, head + h.error_name, h.error_name_len)
        out_char(o, 34)
    out_put(o, b" at byte ", 9)
    out_uint(o, h.error_at)


cdef void log_invalid(Request* r, Head* h, bint big) noexcept nogil:
    """upstream sent invalid answer: ... while reading response header from upstream"""
    cdef Out o
    if not error_begin(&o, LOG_ERR):
        return
    error_connection(&o, r.client)
    if big:
        out_text(&o, b"upstream sent too big header")
    elif h.status == 101:
        out_text(&o, b"upstream switched protocols though nobody asked")
    else:
        out_text(&o, b"upstream sent invalid answer: ")
        log_rule(&o, NULL, h)
    out_text(&o, b" while reading response header from upstream")
    error_context(&o, r)
    error_end(&o)


# ---- access log

cdef void log_field(Out* o, Request* r, int field) noexcept nogil:
    """"VALUE" of a request field, or "-"."""
    cdef Field* f = find_field(r, field) if r.h.nfields else NULL
    out_char(o, 34)
    if f == NULL:
        out_char(o, 45)
    else:
        out_escaped(o, r.head + f.value, f.value_len)
    out_char(o, 34)


cdef void log_access(LogFile* f, Request* r) noexcept nogil:
    """nginx's `combined` format."""
    cdef Out o
    cdef uint32_t n = 0
    if not log_room(f, &o, LOG_LINE):
        return
    write_address(&o, r.client.addr, r.client.addr_len)
    out_put(&o, b" - - [", 6)
    out_local(&o, &loop.env.local)
    out_put(&o, b"] \"", 3)
    if r.head != NULL:
        while r.head[r.h.start + n] not in (0, 10, 13):
            n += 1
        out_escaped(&o, r.head + r.h.start, n)
    out_put(&o, b"\" ", 2)
    out_padded(&o, r.status, 3)
    out_char(&o, 32)
    out_uint(&o, r.body_sent)
    out_char(&o, 32)
    log_field(&o, r, F_REFERER)
    out_char(&o, 32)
    log_field(&o, r, F_USER_AGENT)
    out_char(&o, 10)
    log_commit(f, &o)
