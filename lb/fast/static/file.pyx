"""Static files: error pages, health files, small assets. open(2) happens on the loop, as in nginx without aio.

    file_serve: method -> static/path.pyx: its name -> open, fstat -> 304 | 412 | 416 | head
      up to FILE_SMALL bytes: read at once, head and body in one send, as a text of `return`
      more:                   head, then r.response_file is the file: http/response_buffering.pyx sends it on, share by share

A request owns its open file through r.response_file (request_free closes it); nothing of a file waits in memory for a slow
client. Only regular files: O_NONBLOCK lets no fifo hold the loop up, and what was opened is what is looked at.
"""

cdef enum:
    FILE_SMALL = 16384
    RANGE_MOST = 288230376151711744     # 1 << 58: longer than any file

cdef enum Kept:             # what the conditions of a request say
    KEPT_NO = 0             # the file
    KEPT_YES = 304
    KEPT_REFUSED = 412

ctypedef struct Part:       # what is sent of a file
    int64_t size
    int64_t modified        # seconds since 1970, to the year 9999; -1: no date of HTTP can say it
    int64_t start
    int64_t n
    char etag[40]           # with its quotes; "" with `etag off`


cdef void file_serve(Request* r) noexcept nogil:
    cdef Str path
    cdef int status, fd
    cdef stat_t st
    if r.h.method != M_GET and r.h.method != M_HEAD and r.h.method != M_POST:
        reply_status(r, 405)
        return
    if r.uri_len and r.uri[r.uri_len - 1] == c"/":
        path_index(r)
        return
    status = path_file(r, path_request_uri(r), path_no_text(), &path)
    if status:
        reply_status(r, status)
        return
    if debug_on(r.client):
        debug_quoted(r.client, b"http filename:", path.p, path.n)
    fd = file_open(path.p, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0)
    if fd < 0:
        reply_status(r, file_failed(r, path, errno))
        return
    if fstat(fd, &st) != 0:
        path_log(LOG_CRIT, r, b"fstat() ", path, b" failed", errno)
        st.st_mode = 0
    if (st.st_mode & S_IFMT) == S_IFREG and r.h.method != M_POST:
        file_send(r, fd, path, &st)
        return
    close(fd)
    if (st.st_mode & S_IFMT) == S_IFDIR:
        reply_slash(r)
    elif (st.st_mode & S_IFMT) == S_IFREG:
        reply_status(r, 405)
    else:
        path_log(LOG_CRIT, r, b"", path, b" is not a regular file", 0)
        reply_status(r, 404)


cdef int file_failed(Request* r, Str path, int e) noexcept nogil:
    """The status for a file that does not open; logged as nginx does."""
    cdef bint missing = e == ENOENT or e == ENOTDIR or e == ENAMETOOLONG
    cdef bint refused = e == EACCES or e == ELOOP
    if not missing or not r.loc.files.quiet:
        path_log(LOG_ERR if missing or refused else LOG_CRIT, r, b"open() ", path, b" failed", e)
    return 404 if missing else 403 if refused else 500


cdef void file_send(Request* r, int fd, Str path, stat_t* st) noexcept nogil:
    """An open regular file: what the request's conditions make of it. Takes the fd."""
    cdef Part part
    cdef Out etag
    cdef int status = r.err_status if r.err_status else 200
    part.size = part.n = st.st_size
    part.modified = st.st_mtime
    part.start = 0
    part.etag[0] = 0
    if not r.loc.files.no_etag:
        out_init(&etag, part.etag, sizeof(part.etag) - 1)
        out_char(&etag, 34)
        out_hex(&etag, <uint64_t> part.modified)
        out_char(&etag, 45)
        out_hex(&etag, <uint64_t> part.size)
        out_char(&etag, 34)
        etag.p[0] = 0
    if part.modified < 0:               # before 1970: nginx says 1970
        part.modified = 0
    elif part.modified > <int64_t> DATE_MOST:
        part.modified = -1
    if status == 200:
        status = file_kept(r, &part)
        if status == KEPT_REFUSED:
            close(fd)
            reply_status(r, 412)
            return
        if status == KEPT_NO:
            status = 200 if file_zipped(r, &part, 200) else file_range(r, &part)
        if status == 416:
            close(fd)
            r.unfit = part.size + 1
            reply_status(r, 416)
            return
        r.err_status = 0                # of `error_page ... =200`: now it is what came of it
    else:
        file_zipped(r, &part, status)
    file_reply(r, fd, path, &part, status)


cdef bint file_zipped(Request* r, Part* part, int status) noexcept nogil:
    """Does the whole file leave through gzip? Then there are no ranges of it."""
    if r.loc.gzip == NULL:
        return False
    r.status = <uint16_t> status
    return gzip_reply(r, reply_media_type(r), part.size, part.modified, part.etag[0] != 0)


# ---- conditions (RFC 9110 section 13, in nginx's order)

cdef Str file_field(Request* r, const char* name, uint32_t n) noexcept nogil:
    """The value of this field of the request; p NULL: it is not there."""
    cdef Str s
    cdef uint32_t i
    s.p = NULL
    s.n = 0
    for i in range(r.h.nfields):
        if r.h.fields[i].name_len == n and strncasecmp(r.head + r.h.fields[i].name, name, n) == 0:
            s.p = r.head + r.h.fields[i].value
            s.n = r.h.fields[i].value_len
            break
    return s


cdef int64_t file_date(Str s) noexcept nogil:
    """Seconds since 1970 of a date in any of HTTP's three forms (RFC 9110 section 5.6.7), -1: it is none."""
    cdef char imf[29]
    cdef const char* comma = <const char*> memchr(s.p, c",", s.n)
    memcpy(imf, b"Sun, 00 Jan 1900 00:00:00 GMT", 29)
    if comma == NULL and s.n == 24:     # Sun Nov  6 08:49:37 1994
        memcpy(imf + 5, s.p + 8, 2)
        if imf[5] == c" ":
            imf[5] = c"0"
        memcpy(imf + 8, s.p + 4, 3)
        memcpy(imf + 12, s.p + 20, 4)
        memcpy(imf + 17, s.p + 11, 8)
    elif comma != NULL and s.p + s.n - comma == 24:     # Sunday, 06-Nov-94 08:49:37 GMT
        memcpy(imf + 5, comma + 2, 2)
        memcpy(imf + 8, comma + 5, 3)
        if comma[9] < c"7":
            memcpy(imf + 12, b"20", 2)
        memcpy(imf + 14, comma + 9, 2)
        memcpy(imf + 17, comma + 12, 8)
    else:
        return header_date_seconds(s.p, s.n)
    return header_date_seconds(imf, 29)


cdef int file_kept(Request* r, Part* part) noexcept nogil:
    cdef Str since = file_field(r, b"if-unmodified-since", 19)
    cdef Str match = file_field(r, b"if-match", 8)
    if since.p != NULL and file_date(since) < part.modified:
        return KEPT_REFUSED
    if match.p != NULL and not file_etag_in(match, part.etag, False):
        return KEPT_REFUSED
    since = file_field(r, b"if-modified-since", 17)
    match = file_field(r, b"if-none-match", 13)
    if since.p == NULL and match.p == NULL:
        return KEPT_NO
    if since.p != NULL and file_newer(r, since, part.modified):
        return KEPT_NO
    if match.p != NULL and not file_etag_in(match, part.etag, True):
        return KEPT_NO
    return KEPT_YES


cdef bint file_newer(Request* r, Str since, int64_t modified) noexcept nogil:
    """Does If-Modified-Since ask for the file? By if_modified_since."""
    cdef int64_t at = file_date(since)
    if r.loc.files.since == SINCE_OFF:
        return True
    return modified < 0 or at != modified and (r.loc.files.since == SINCE_EXACT or at < modified)


cdef bint file_etag_in(Str s, const char* etag, bint weak) noexcept nogil:
    """Is the tag in a list of them, or the list `*`? `weak`: W/ before one does not matter."""
    cdef uint32_t i = 0, n = <uint32_t> strlen(etag), start
    if s.n == 1 and s.p[0] == c"*":
        return True
    while n and i < s.n:
        if weak and i + 2 < s.n and s.p[i] == c"W" and s.p[i + 1] == c"/":
            i += 2
        start = i
        if s.p[i] == c"\"":             # a comma may stand in a tag
            i += 1
            while i < s.n and s.p[i] != c"\"":
                i += 1
        while i < s.n and s.p[i] not in (c",", c" ", c"\t"):
            i += 1
        if i - start == n and memcmp(s.p + start, etag, n) == 0:
            return True
        while i < s.n and s.p[i] in (c",", c" ", c"\t"):
            i += 1
    return False


# ---- Range (RFC 9110 section 14)

cdef int file_range(Request* r, Part* part) noexcept nogil:
    """200; 206 with part.start and part.n; or 416. Several ranges: the whole file."""
    cdef Str range = file_field(r, b"range", 5)
    cdef Str unless = file_field(r, b"if-range", 8)
    if range.p == NULL or part.size == 0 or r.loc.files.no_ranges or range.n < 7 or strncasecmp(range.p, b"bytes=", 6) != 0:
        return 200
    if unless.p != NULL:
        if unless.n >= 2 and unless.p[unless.n - 1] == c"\"":
            if not reply_same(unless, part.etag, <uint32_t> strlen(part.etag)):
                return 200
        elif part.modified < 0 or file_date(unless) != part.modified:
            return 200
    if memchr(range.p, c",", range.n) != NULL:
        return 200
    return 206 if file_range_parse(range.p + 6, range.n - 6, part) else 416


cdef bint file_range_parse(const char* p, uint32_t n, Part* part) noexcept nogil:
    """`A-B`, `A-`, `-N` of a file of part.size bytes. False: it is none of them, or lies behind the end."""
    cdef int64_t first = -1, last = -1
    cdef uint32_t i = 0
    i = file_range_number(p, n, file_range_space(p, n, 0), &first)
    i = file_range_space(p, n, i)
    if i >= n or p[i] != c"-":
        return False
    i = file_range_number(p, n, file_range_space(p, n, i + 1), &last)
    if file_range_space(p, n, i) != n or (first < 0 and last < 0):
        return False
    if first < 0:                       # the last N bytes
        first = part.size - last if last < part.size else 0
        last = part.size - 1 if last else -1
    elif last < 0 or last >= part.size:
        last = part.size - 1
    if first >= part.size or first > last:
        return False
    part.start = first
    part.n = last - first + 1
    return True


cdef uint32_t file_range_space(const char* p, uint32_t n, uint32_t i) noexcept nogil:
    while i < n and p[i] == c" ":
        i += 1
    return i


cdef uint32_t file_range_number(const char* p, uint32_t n, uint32_t i, int64_t* x) noexcept nogil:
    """Digits at i: where they end. What is too large for any file stays so."""
    while i < n and c"0" <= p[i] <= c"9":
        if x[0] < 0:
            x[0] = 0
        if x[0] < <int64_t> RANGE_MOST:
            x[0] = x[0] * 10 + p[i] - 48
        i += 1
    return i


# ---- the answer

cdef void file_reply(Request* r, int fd, Str path, Part* part, int status) noexcept nogil:
    """Head and body. Takes the fd."""
    cdef Message m
    cdef char* small = loop.scratch + HEADROOM
    cdef bint body = r.h.method != M_HEAD and status != 204 and status != 304 and part.n > 0
    if body and part.n <= FILE_SMALL and pread(fd, small, part.n, part.start) != part.n:
        path_log(LOG_ERR, r, b"read() ", path, b" gave less than its length", 0)
        close(fd)
        reply_status(r, 500)
        return
    status = reply_begin(&m, r, status)
    file_fields(&m.front, r, part, status)
    if status != 204 and status != 304:
        reply_framing(&m, part.n)
    response_head_end(&m, part.modified)
    if body and part.n > FILE_SMALL:
        if file_hold(r, fd, path, part):
            loop_post(r.client)              # the file goes on from client_event
            reply_send(&m, NULL, 0, False)
        return
    close(fd)
    reply_send(&m, small, part.n if body else 0, True)


cdef void file_fields(Out* o, Request* r, Part* part, int status) noexcept nogil:
    cdef const char* kind
    if status != 204 and status != 304:
        kind = reply_media_type(r)
        if kind[0]:                     # `default_type ""`
            header_write_line(o, b"Content-Type", 12, kind, <uint32_t> strlen(kind))
    if part.modified >= 0 and (status == 200 or status == 206 or status == 304):
        out_put(o, b"Last-Modified: ", 15)
        out_date_at(o, part.modified)
        out_put(o, b"\r\n", 2)
    if part.etag[0]:
        out_put(o, b"ETag: W/", 8 if r.coded & CODED_GZIP else 6)
        out_text(o, part.etag)
        out_put(o, b"\r\n", 2)
    if status == 206:
        out_put(o, b"Content-Range: bytes ", 21)
        out_uint(o, part.start)
        out_char(o, 45)
        out_uint(o, part.start + part.n - 1)
        out_char(o, 47)
        out_uint(o, part.size)
        out_put(o, b"\r\n", 2)
    elif status == 200 and not r.loc.files.no_ranges and not r.coded & CODED_GZIP:
        out_put(o, b"Accept-Ranges: bytes\r\n", 22)


cdef bint file_hold(Request* r, int fd, Str path, Part* part) noexcept nogil:
    """The open file becomes r.response_file. False: no memory, and the request has got its 500."""
    cdef TempFile* s = <TempFile*> request_memory(r, sizeof(TempFile))
    BUG_ON(r.response_file != NULL)
    if s == NULL:
        close(fd)
        reply_status(r, 500)
        return False
    memset(s, 0, sizeof(TempFile))
    s.fd = fd
    s.ours = 1
    s.path = path
    s.at = part.start
    s.size = part.start + part.n
    r.response_file = s
    return True
