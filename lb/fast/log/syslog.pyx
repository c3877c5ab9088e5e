"""Log lines as datagrams to a syslog server (RFC 3164, in nginx's form), over UDP or a unix socket.

    log_room: <PRI>date host tag: | the line | log_commit: its length before it      records in LogFile.buf
    log_write -> syslog_write: a send for each record; what cannot leave now stays, in order, until the buffer is full

A socket that takes nothing (its reader is slow), or a server that is not there, costs lines when 128 KiB of them wait, never
time: after a failure the socket is made anew, at most once a second. What UDP loses on its way nobody learns.
"""

cdef enum:
    SYSLOG_HEAD = 4             # bytes of a record's length
    SYSLOG_LATER = -1           # what syslog_send says: the record stays
    SYSLOG_LOST = 0
    SYSLOG_SENT = 1


cdef void syslog_head(LogFile* f, Out* o, int level) noexcept nogil:
    """Room for the length, and `<PRI>Nov 22 15:00:00 host tag: `; `level` 0: the severity of the target."""
    cdef tm* t = &loop.env.local
    o.p += SYSLOG_HEAD
    out_char(o, 60)
    out_uint(o, f.syslog.facility * 8 + (level - 1 if level else f.syslog.severity))
    out_char(o, 62)
    out_put(o, <const char*> b"JanFebMarAprMayJunJulAugSepOctNovDec" + 3 * t.tm_mon, 3)
    out_char(o, 32)
    out_char(o, <char> (48 + t.tm_mday // 10) if t.tm_mday > 9 else 32)
    out_char(o, <char> (48 + t.tm_mday % 10))
    out_char(o, 32)
    out_clock(o, t)
    out_str(o, f.syslog.head)


cdef void syslog_commit(LogFile* f, uint32_t end) noexcept nogil:
    """The record from f.n to `end` is whole, but for its length; the line's newline does not travel."""
    cdef uint32_t n = end - f.n - SYSLOG_HEAD - 1
    memcpy(f.buf + f.n, &n, sizeof(n))
    f.n = end - 1


cdef void syslog_write(LogFile* f) noexcept nogil:
    cdef uint32_t at = 0, n = 0
    cdef int rc
    if f.fd < 0 and not syslog_open(f):
        return
    while at < f.n:
        memcpy(&n, f.buf + at, sizeof(n))
        rc = syslog_send(f, f.buf + at + SYSLOG_HEAD, n)
        if rc == SYSLOG_LATER:
            break
        if rc == SYSLOG_LOST:
            syslog_lost(f)
        else:
            loop.st.syslog_sent += 1
        at += SYSLOG_HEAD + n
    memmove(f.buf, f.buf + at, f.n - at)
    f.n -= at


cdef void syslog_lost(LogFile* f) noexcept nogil:
    f.dropped += 1
    loop.st.log_dropped += 1
    loop.st.syslog_dropped += 1


cdef int syslog_send(LogFile* f, const char* p, uint32_t n) noexcept nogil:
    """One datagram. A refusal tells of an earlier one: over UDP the socket still serves, a unix socket's server has gone."""
    cdef int _i
    for _i in range(2):
        if send(f.fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0:
            f.syslog.error = 0
            return SYSLOG_SENT
        if errno in (EAGAIN, EINTR, ENOBUFS):
            return SYSLOG_LATER
        if errno == EMSGSIZE:
            return SYSLOG_LOST
        if errno == ECONNREFUSED and f.syslog.family != AF_UNIX:
            syslog_failed(f, errno)
            syslog_lost(f)
            continue
        syslog_failed(f, errno)
        close(f.fd)
        f.fd = -1
        if not syslog_open(f):          # a server that was started anew has a new socket
            return SYSLOG_LATER
    return SYSLOG_LATER


cdef bint syslog_open(LogFile* f) noexcept nogil:
    """A connected socket for this target, unless that failed within the last second."""
    if loop.now < f.syslog.retry_at:
        return False
    f.fd = socket(f.syslog.family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if f.fd >= 0 and connect(f.fd, <sockaddr*> f.syslog.sa, f.syslog.sa_len) == 0:
        return True
    syslog_failed(f, errno)
    f.syslog.retry_at = loop.now + 1000
    if f.fd >= 0:
        close(f.fd)
    f.fd = -1
    return False


cdef void syslog_failed(LogFile* f, int e) noexcept nogil:
    """To be told by log_tell_all, once until something was sent again: not from here, in the middle of a write to a log."""
    loop.st.syslog_errors += 1
    if f.syslog.error == 0:
        f.syslog.told = 0
    f.syslog.error = e


cdef void syslog_tell_all() noexcept nogil:
    cdef Out o
    cdef uint32_t i
    cdef LogFile* f
    for i in range(loop.nlogs):
        f = &loop.logs[i]
        if f.syslog == NULL or f.syslog.error == 0 or f.syslog.told:
            continue
        f.syslog.told = 1
        if not error_begin(&o, &loop.errors, LOG_ERR):
            return
        out_text(&o, b"send() failed")
        error_number(&o, f.syslog.error)
        out_text(&o, b" while logging to syslog, server: ")
        out_str(&o, f.syslog.server)
        error_end(&o, &loop.errors, LOG_ERR)


cdef void syslog_end_all() noexcept nogil:
    """What could not be sent is lost with this worker; the sockets are ours."""
    cdef uint32_t i, at, n = 0
    cdef LogFile* f
    for i in range(loop.nlogs):
        f = &loop.logs[i]
        if f.syslog == NULL:
            continue
        at = 0
        while at < f.n:
            memcpy(&n, f.buf + at, sizeof(n))
            at += SYSLOG_HEAD + n
            syslog_lost(f)
        f.n = 0
        if f.fd >= 0:
            close(f.fd)
        f.fd = -1
