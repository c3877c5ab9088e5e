"""Access logs whose names have variables: each line goes to the file that its request names, at once.

    log_named -> the name -> log_named_fd: a file of open_log_file_cache, or opened for this line -> one write

The worker opens these files with its own rights. A name in which the variables put `..` or a NUL is refused: it comes from
clients. A cache holds at most `max` names; the one used longest ago gives way; USR1 closes all files. A pipe that nobody
reads, a full disk, a directory that is not there: the line is dropped and counted, the first failure of a second is told.
"""


cdef void log_named(AccessLog* log, Request* r) noexcept nogil:
    cdef Out o
    cdef LogFile* f = log.file
    cdef OpenLog* kept = NULL
    cdef uint32_t n
    cdef int fd
    out_init(&o, loop.log_name, LOG_LINE - 1)
    var_write_value(&o, r, &loop.env, log.name)
    n = <uint32_t> (o.p - loop.log_name)
    o.p[0] = 0
    if o.full or log_name_climbs(loop.log_name, n, log.name.pieces[0].text.n):
        log_lost(f)
        return
    fd = log_named_fd(log.cache, n, &kept)
    if fd < 0:
        log_named_failed(r, errno)
        log_lost(f)
        return
    out_init(&o, f.buf, f.room)
    access_log_line(&o, log, r)
    if o.full or write(fd, f.buf, <size_t> (o.p - f.buf)) != o.p - f.buf:
        log_lost(f)
    log_named_used(log.cache, kept, fd)


cdef bint log_name_climbs(const char* name, uint32_t n, uint32_t literal) noexcept nogil:
    """`..` or a NUL behind the first literal, its last byte included."""
    literal -= 1
    return memmem(name + literal, n - literal, b"..", 2) != NULL or memchr(name + literal, 0, n - literal) != NULL


cdef void log_named_failed(Request* r, int e) noexcept nogil:
    """As nginx, but once a second: clients may choose the name."""
    cdef Out o
    cdef ErrorLogs* errors = error_logs_of(r)
    if loop.now - loop.name_told < 1000 or not error_begin(&o, errors, LOG_CRIT):
        return
    loop.name_told = loop.now
    error_connection(&o, r.client)
    out_put(&o, b"open() \"", 8)
    out_escaped(&o, loop.log_name, <uint32_t> strlen(loop.log_name))
    out_put(&o, b"\" failed", 8)
    error_number(&o, e)
    out_text(&o, b" while logging request")
    error_context(&o, r)
    error_end(&o, errors, LOG_CRIT)


# ---- files that stay open

cdef int log_named_open() noexcept nogil:
    """loop.log_name for appending. O_NONBLOCK: a pipe without a reader is an error, one with a slow reader loses lines."""
    return file_open(loop.log_name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0o644)


cdef uint32_t log_name_hash(const char* p, uint32_t n) noexcept nogil:
    """FNV-1a."""
    cdef uint32_t i, h = 2166136261u
    for i in range(n):
        h = (h ^ <unsigned char> p[i]) * 16777619u
    return h


cdef int log_named_fd(LogCache* cache, uint32_t n, OpenLog** kept) noexcept nogil:
    """A descriptor for loop.log_name, or -1 with errno."""
    cdef OpenLog* e
    cdef uint32_t h
    if cache == NULL:
        return log_named_open()
    h = log_name_hash(loop.log_name, n)
    e = cache.chains[h & cache.mask]
    while e != NULL and (e.hash != h or e.n != n or memcmp(e.name, loop.log_name, n) != 0):
        e = e.chain
    if e == NULL:
        e = log_cache_add(cache, h, n)
        if e == NULL:
            return log_named_open()
    else:
        log_cache_unlink(cache, e)
    log_cache_link(cache, e)
    e.used = loop.now
    e.uses += 1
    if e.fd >= 0 and loop.now - e.checked >= cache.valid and not log_still_there(e):
        close(e.fd)
        e.fd = -1
    if e.fd < 0:
        e.fd = log_named_open()
        log_still_there(e)
    kept[0] = e
    return e.fd


cdef bint log_still_there(OpenLog* e) noexcept nogil:
    """Is its file the one that the name means now? Remembers the one that it means."""
    cdef stat_t st
    cdef uint64_t device = e.device, inode = e.inode
    e.checked = loop.now
    if stat(e.name, &st) != 0:
        return False
    e.device = st.st_dev
    e.inode = st.st_ino
    return device == e.device and inode == e.inode


cdef void log_named_used(LogCache* cache, OpenLog* e, int fd) noexcept nogil:
    """The line is written: does the file stay open?"""
    if e == NULL:
        close(fd)
    elif e.uses < cache.min_uses:
        close(fd)
        e.fd = -1


cdef void log_cache_link(LogCache* cache, OpenLog* e) noexcept nogil:
    """As the one used last."""
    e.prev = NULL
    e.next = cache.first
    if cache.first != NULL:
        cache.first.prev = e
    else:
        cache.last = e
    cache.first = e


cdef void log_cache_unlink(LogCache* cache, OpenLog* e) noexcept nogil:
    if e.prev != NULL:
        e.prev.next = e.next
    else:
        cache.first = e.next
    if e.next != NULL:
        e.next.prev = e.prev
    else:
        cache.last = e.prev


cdef OpenLog* log_cache_add(LogCache* cache, uint32_t h, uint32_t n) noexcept nogil:
    """A place for loop.log_name, not yet linked to the others; NULL without memory."""
    cdef OpenLog* e
    if cache.n >= cache.most:
        log_cache_drop(cache, cache.last)
    e = <OpenLog*> malloc(sizeof(OpenLog) + n + 1)
    if e == NULL:
        return NULL
    memset(e, 0, sizeof(OpenLog))
    e.fd = -1
    e.hash = h
    e.n = n
    e.name = <char*> e + sizeof(OpenLog)
    memcpy(e.name, loop.log_name, n + 1)
    e.chain = cache.chains[h & cache.mask]
    cache.chains[h & cache.mask] = e
    cache.n += 1
    return e


cdef void log_cache_drop(LogCache* cache, OpenLog* e) noexcept nogil:
    cdef OpenLog** at = &cache.chains[e.hash & cache.mask]
    while at[0] != e:
        at = &at[0].chain
    at[0] = e.chain
    log_cache_unlink(cache, e)
    cache.n -= 1
    if e.fd >= 0:
        close(e.fd)
    free(e)


cdef void log_caches_expire() noexcept nogil:
    """Once a second: close what was not used for `inactive`."""
    cdef LogCache* cache = loop.log_caches
    loop.caches_at = loop.now
    while cache != NULL:
        while cache.last != NULL and loop.now - cache.last.used >= cache.inactive:
            log_cache_drop(cache, cache.last)
        cache = cache.next


cdef void log_caches_drop() noexcept nogil:
    """USR1, and the end."""
    cdef LogCache* cache = loop.log_caches
    while cache != NULL:
        while cache.last != NULL:
            log_cache_drop(cache, cache.last)
        cache = cache.next
