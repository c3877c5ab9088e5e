"""Temporary files: where bytes wait that memory should not hold, a request's body or an answer for a slow client.

Plain write and pread: they meet the page cache. A disk that is slow makes them wait: each has its time taken and counts as a
heartbeat, and when a turn has spent DISK_TURN_US on them, bodies that are gathered wait for the next turn (temp_file_busy),
so that other clients get theirs. A TempFile lies in its request's memory and goes with it (request_free); its file goes too,
unless client_body_in_file_only keeps it.
"""

cdef enum:
    DISK_TURN_US = 50000


cdef int64_t temp_file_clock() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return <int64_t> ts.tv_sec * 1000000 + ts.tv_nsec // 1000


cdef void temp_file_took(int64_t since) noexcept nogil:
    """A write or read that began at `since` is over: the worker lives, though this turn lasts."""
    loop.disk_us += temp_file_clock() - since
    loop.st.heartbeat_ms += 1              # until the turn's end sets it: the master looks for a change


cdef inline bint temp_file_busy() noexcept nogil:
    return loop.disk_us >= DISK_TURN_US


cdef TempFile* temp_file_new(Request* r, TempPath* t, bint named) noexcept nogil:
    """A new, empty file under `t`; without `named` it has no name. NULL: it cannot be made, which is logged."""
    cdef TempFile* s = <TempFile*> request_memory(r, sizeof(TempFile))
    cdef char* path = <char*> request_memory(r, t.dir.n + 24)
    cdef int _i
    if s == NULL or path == NULL:
        return NULL
    memset(s, 0, sizeof(TempFile))
    s.path.p = path
    for _i in range(64):                # numbers of other workers, and of kept files
        loop.temps += 1
        s.path.n = temp_file_name(t, loop.temps, path)
        s.fd = file_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if s.fd < 0 and errno == ENOENT:
            temp_file_dirs(t, path, s.path.n)
            s.fd = file_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if s.fd >= 0 or errno != EEXIST:
            break
        loop.temps += <uint32_t> loop.env.pid * 97 % 9973
    if s.fd < 0:
        temp_file_failed(r, b"open() of a temporary file failed", path)
        return NULL
    if debug_on(r.client):
        debug_quoted(r.client, b"http temporary file:", path, s.path.n)
    if not named:
        unlink(path)
        s.path.n = 0
    loop.st.temp_files += 1
    return s


cdef uint32_t temp_file_name(TempPath* t, uint32_t number, char* path) noexcept nogil:
    """DIR[/LEVEL...]/0000000012: each level takes its digits from the end of the number, as nginx."""
    cdef char digits[10]
    cdef Out o
    cdef int i, end = 10
    for i in range(9, -1, -1):
        digits[i] = <char> (48 + number % 10)
        number //= 10
    out_init(&o, path, t.dir.n + 23)
    out_str(&o, t.dir)
    for i in range(t.n):
        out_char(&o, 47)
        out_put(&o, digits + end - t.levels[i], t.levels[i])
        end -= t.levels[i]
    out_char(&o, 47)
    out_put(&o, digits, 10)
    o.p[0] = 0
    return <uint32_t> (o.p - path)


cdef void temp_file_dirs(TempPath* t, char* path, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(t.dir.n, n):
        if path[i] == 47:
            path[i] = 0
            mkdir(path, 0o700)
            path[i] = 47


cdef void temp_file_failed(Request* r, const char* text, const char* path) noexcept nogil:
    """[crit], as nginx: nobody's request goes on like this."""
    log_request(LOG_CRIT, r, text, errno, b"")


cdef bint temp_file_write(Request* r, TempFile* s, const char* p, uint32_t n) noexcept nogil:
    """Add bytes at the end. False: they do not fit (logged)."""
    cdef ssize_t got
    cdef int64_t since
    while n:
        since = temp_file_clock()
        got = pwrite(s.fd, p, n, s.size)
        temp_file_took(since)
        if got <= 0:
            if got < 0 and errno == EINTR:
                continue
            temp_file_failed(r, b"write() to a temporary file failed", s.path.p)
            return False
        p += got
        n -= <uint32_t> got
        s.size += got
    return True


cdef uint32_t temp_file_read(Request* r, TempFile* s, char* p, uint32_t n) noexcept nogil:
    """The next bytes, at most n; 0: the file cannot be read (logged)."""
    cdef ssize_t got
    cdef int64_t since = temp_file_clock()
    if s.size - s.at < n:
        n = <uint32_t> (s.size - s.at)
    got = pread(s.fd, p, n, s.at)
    temp_file_took(since)
    if got <= 0:
        temp_file_failed(r, b"read() of a temporary file failed", s.path.p)
        return 0
    s.at += got
    return <uint32_t> got


cdef inline bint temp_file_left(TempFile* s) noexcept nogil:
    return s != NULL and s.at < s.size


cdef void temp_file_free(TempFile* s) noexcept nogil:
    if s == NULL:
        return
    close(s.fd)
    if s.ours:
        return
    if s.path.n and not s.keep:
        unlink(s.path.p)
    loop.st.temp_files -= 1
