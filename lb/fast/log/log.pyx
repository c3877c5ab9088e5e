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
    LOG_PAGE = 4096             # PIPE_BUF: what a pipe that takes anything takes whole
    LOG_LINE = 4096             # longest line of the error log
    LOG_SYSLOG = 384            # what goes before a line to syslog, at most


# ---- files

cdef bint log_room(LogFile* f, Out* o, uint32_t need, int level) noexcept nogil:
    """Point `o` at room for one line; write out what waits when there is too little. `level`: of an error log's line, else 0."""
    if f.fd < 0 and f.syslog == NULL:
        return False
    if f.room - f.n < need:
        log_write(f)
    if f.room - f.n < need:
        log_lost(f)
        return False
    out_init(o, f.buf + f.n, f.room - f.n)
    if f.syslog != NULL:
        syslog_head(f, o, level)
    return True


cdef void log_lost(LogFile* f) noexcept nogil:
    """A line has no place."""
    f.dropped += 1
    loop.st.log_dropped += 1
    if f.syslog != NULL:
        loop.st.syslog_dropped += 1


cdef void log_commit(LogFile* f, Out* o) noexcept nogil:
    """The line that `o` holds, begun by log_room, is whole."""
    cdef uint32_t n = <uint32_t> (o.p - f.buf)
    if o.full:                          # a line longer than a whole buffer
        log_lost(f)
        return
    if f.syslog != NULL:
        syslog_commit(f, n)
        return
    if f.n == 0:
        log_first(f)
    if f.keep and n > f.keep and f.n:   # as nginx: the buffer is written when a line does not fit in it
        log_write_first(f, n)
        return
    f.n = n


cdef void log_first(LogFile* f) noexcept nogil:
    """The first line of a buffer has come: its time runs from here."""
    f.since = loop.now
    if f.flush and (loop.flush_at == 0 or loop.now + f.flush < loop.flush_at):
        loop.flush_at = loop.now + f.flush


cdef void log_write_first(LogFile* f, uint32_t end) noexcept nogil:
    """Write what waited before the line that ends at `end`, and keep that line."""
    cdef uint32_t was = f.n, n = end - f.n
    log_write(f)
    memmove(f.buf + f.n, f.buf + was, n)
    f.n += n
    log_first(f)


cdef void log_write(LogFile* f) noexcept nogil:
    """One write, which never waits: files are opened O_NONBLOCK (but see log_some).

    A pipe that is full keeps its lines here until the buffer is full too; what a file refuses (a full disk) is dropped.
    Lines are counted when they are dropped, and never torn.
    """
    cdef ssize_t got
    cdef uint32_t gone
    if f.n == 0 and f.zip == NULL:
        return
    if f.syslog != NULL:
        syslog_write(f)
        return
    if f.zip != NULL:
        log_zip_write(f)
        return
    got = log_put(f, f.buf, f.n)
    if got == <ssize_t> f.n:
        f.n = 0
        f.torn = 0
        return
    if got < 0 and errno != EAGAIN and errno != EINTR:
        log_drop(f)
        return
    gone = <uint32_t> got if got > 0 else 0
    if gone:
        f.torn = f.buf[gone - 1] != 10
        memmove(f.buf, f.buf + gone, f.n - gone)
        f.n -= gone


cdef ssize_t log_put(LogFile* f, const char* at, uint32_t n) noexcept nogil:
    return log_some(f, at, n) if f.waits else write(f.fd, at, n)


cdef ssize_t log_some(LogFile* f, const char* at, uint32_t n) noexcept nogil:
    """write(2) to a pipe, socket or terminal that would wait for its reader: a page at a time, while there is room for one."""
    cdef pollfd p
    cdef ssize_t got
    cdef uint32_t done = 0
    p.fd = f.fd
    p.events = POLLOUT
    while done < n:
        if poll(&p, 1, 0) != 1 or p.revents != POLLOUT:
            break
        got = write(f.fd, at + done, n - done if n - done < LOG_PAGE else LOG_PAGE)
        if got < 0:
            return done if done else -1
        done += <uint32_t> got
    return done


cdef void log_open(LogFile* f, int fd) noexcept nogil:
    f.fd = fd
    f.waits = not fcntl(fd, F_GETFL, 0) & O_NONBLOCK


cdef void log_drop(LogFile* f) noexcept nogil:
    """Drop the lines that wait; the rest of one that was begun stays, so that the next one is whole."""
    cdef uint32_t i, keep = 0
    if f.torn:
        while keep < f.n and f.buf[keep] != 10:
            keep += 1
        keep = keep + 1 if keep < f.n else 0
    for i in range(keep, f.n):
        if f.buf[i] == 10:
            log_lost(f)
    f.n = keep


cdef void log_flush_all(bint all) noexcept nogil:
    """At the end of a turn: everything without buffer=, and buffers whose time is up; `all`: these too."""
    cdef uint32_t i
    cdef LogFile* f
    cdef bint due = loop.flush_at != 0 and loop.now >= loop.flush_at
    if due:
        loop.flush_at = 0
    for i in range(loop.nlogs):
        f = &loop.logs[i]
        if f.n == 0 and (f.zip == NULL or f.zip.off == f.zip.n):
            continue
        if all or f.keep == 0 or (due and f.flush and loop.now - f.since >= f.flush):
            log_write(f)
        elif due and f.flush and (loop.flush_at == 0 or f.since + f.flush < loop.flush_at):
            loop.flush_at = f.since + f.flush


cdef void log_tell_all() noexcept nogil:
    """Lost lines, once a second at most, in the error log; and each place of COUNT_IF when it has first counted."""
    cdef Out o
    if unlikely(lb_glitches != loop.told_glitches):
        log_tell_glitches()
    if loop.told_dropped == loop.st.log_dropped + loop.st.syslog_errors or loop.now - loop.told_at < 1000:
        return
    loop.told_at = loop.now
    loop.told_dropped = loop.st.log_dropped + loop.st.syslog_errors
    syslog_tell_all()
    if loop.st.log_dropped == loop.told_lines:
        return
    loop.told_lines = loop.st.log_dropped
    if error_begin(&o, &loop.errors, LOG_ERR):
        out_uint(&o, loop.told_lines)
        out_text(&o, b" log lines were dropped by this worker: a log is full or not read")
        error_end(&o, &loop.errors, LOG_ERR)


cdef void log_tell_glitches() noexcept nogil:
    """What should not have happened: the first time of each place."""
    cdef const uint64_t* counts = <const uint64_t*> loop.st
    cdef int i
    cdef uint64_t bit
    cdef Out o
    loop.told_glitches = lb_glitches
    for i in range(LB_COUNTERS_N):
        bit = <uint64_t> 1 << i
        if lb_counters[i].glitch and counts[lb_counters[i].at] and not loop.told_places & bit:
            loop.told_places |= bit
            if error_begin(&o, &loop.errors, LOG_ALERT):
                out_text(&o, b"glitch: ")
                out_text(&o, lb_counters[i].help)
                error_end(&o, &loop.errors, LOG_ALERT)


cdef void log_reopen_all() noexcept nogil:
    """Python threads left new fds (USR1): what waits goes to the old ones."""
    cdef uint32_t i
    cdef LogFile* f
    cdef int64_t fd
    log_flush_all(True)
    log_caches_drop()
    for i in range(loop.nlogs):
        f = &loop.logs[i]
        fd = <int64_t> lb_atomic_swap(<void**> &f.fresh, <void*> <size_t> -1)
        if fd >= 0:
            if f.fd > 2:
                close(f.fd)
            log_open(f, <int> fd)


# ---- error log

cdef const char* log_level_name(int level) noexcept nogil:
    if level == LOG_EMERG: return b"emerg"
    if level == LOG_ALERT: return b"alert"
    if level == LOG_CRIT: return b"crit"
    if level == LOG_ERR: return b"error"
    if level == LOG_WARN: return b"warn"
    if level == LOG_NOTICE: return b"notice"
    if level == LOG_INFO: return b"info"
    return b"debug"


cdef bint error_begin(Out* o, ErrorLogs* e, int level) noexcept nogil:
    """2026/11/22 15:00:00 [error] 123#0: """
    if level > <int> e.most:
        return False
    out_init(o, loop.line, LOG_LINE - 1)
    out_log_time(o, &loop.env.local)
    out_put(o, b" [", 2)
    out_text(o, log_level_name(level))
    out_put(o, b"] ", 2)
    out_uint(o, loop.env.pid)
    out_put(o, b"#0: ", 4)
    return True


cdef void error_end(Out* o, ErrorLogs* e, int level) noexcept nogil:
    """The line goes to each log of this level."""
    cdef Out f
    cdef uint32_t i, n
    o.p[0] = 10
    n = <uint32_t> (o.p - loop.line) + 1
    for i in range(e.n):
        if level <= <int> e.levels[i] and log_room(e.files[i], &f, n + LOG_SYSLOG, level):
            out_put(&f, loop.line, n)
            log_commit(e.files[i], &f)


cdef ErrorLogs* error_logs_of(Request* r) noexcept nogil:
    cdef ErrorLogs* e = r.settings.errors
    return e.loud if r.client.debug & DEBUG_CLIENT else e


cdef ErrorLogs* error_logs_of_client(Conn* c) noexcept nogil:
    cdef ErrorLogs* e = c.lst.settings.errors
    return e.loud if c.debug & DEBUG_CLIENT else e


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
    if not error_begin(&o, &loop.errors, level):
        return
    out_text(&o, text)
    error_end(&o, &loop.errors, level)


cdef void log_errno(int level, const char* text, int e) noexcept nogil:
    cdef Out o
    if not error_begin(&o, &loop.errors, level):
        return
    out_text(&o, text)
    error_number(&o, e)
    error_end(&o, &loop.errors, level)
