"""check_status: the module's page, byte for byte, in its three formats. One file with the text beside the code.

    GET /status[?format=html|csv|json][&status=up|down] -> check_status_reply: counted, then written into one block

The order is that of the module: upstreams, their primaries, their backups; servers that are `down` are in none. A server that
has no place in the memory of checks is not checked, and up.
"""

cdef enum CheckFormat:
    CF_HTML = 0
    CF_CSV = 1
    CF_JSON = 2

cdef enum:
    CHECK_ROW = 512             # bytes of a server's text besides its names
    CHECK_PAGE = 2048           # of what is around them

cdef struct CheckPage:
    Out out
    int format
    int only                    # 1: those that are up, 2: down, 0: all
    uint32_t shown              # servers of the page
    uint32_t index              # of the next server, shown or not
    uint32_t left               # to be written

cdef const char* CHECK_NOBODY = (
    b"http upstream check module can not find any check server, make sure you've added the check servers")
cdef const char* CHECK_HTML_HEAD = (
    b"<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\n"
    b"\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\n"
    b"<html xmlns=\"http://www.w3.org/1999/xhtml\">\n"
    b"<head>\n"
    b"  <title>Nginx http upstream check status</title>\n"
    b"</head>\n"
    b"<body>\n"
    b"<h1>Nginx http upstream check status</h1>\n"
    b"<h2>Check upstream server number: ")
cdef const char* CHECK_HTML_COLUMNS = (
    b"</h2>\n"
    b"<table style=\"background-color:white\" cellspacing=\"0\"        cellpadding=\"3\" border=\"1\">\n"
    b"  <tr bgcolor=\"#C0C0C0\">\n"
    b"    <th>Index</th>\n"
    b"    <th>Upstream</th>\n"
    b"    <th>Name</th>\n"
    b"    <th>Status</th>\n"
    b"    <th>Rise counts</th>\n"
    b"    <th>Fall counts</th>\n"
    b"    <th>Check type</th>\n"
    b"    <th>Check port</th>\n"
    b"  </tr>\n")


cdef void check_status_reply(Request* r) noexcept nogil:
    cdef CheckPage page
    cdef Buf* b
    cdef uint64_t room = CHECK_PAGE
    if r.h.method != M_GET and r.h.method != M_HEAD:
        reply_status(r, 405)
        return
    if not check_status_room(&room):
        log_request(LOG_ERR, r, CHECK_NOBODY, 0, b"")
        reply_status(r, 500)
        return
    page.format = r.loc.check_format
    page.only = 0
    check_status_asked(r, &page)
    b = buf_new(&loop.pool, <uint32_t> room)
    if b == NULL:
        reply_status(r, 500)
        return
    check_status_count(&page)
    out_init(&page.out, buf_data(b), <uint32_t> room)
    check_status_write(&page)
    reply(r, 200, check_status_type(page.format), buf_data(b), <uint64_t> (page.out.p - buf_data(b)))
    buf_free(&loop.pool, b)


cdef const char* check_status_type(int format) noexcept nogil:
    if format == CF_CSV:
        return b"text/plain"
    return b"application/json" if format == CF_JSON else b"text/html"


cdef bint check_status_room(uint64_t* room) noexcept nogil:
    """How long the page may become. False: nobody is checked."""
    cdef uint32_t i, k
    cdef bint any = False
    cdef Upstream* u
    for i in range(loop.nups):
        u = &loop.ups[i]
        if u.check == NULL or u.table == NULL:
            continue
        any = True
        for k in range(u.table.n):
            room[0] += CHECK_ROW + 6 * (u.name.n + u.table.entries[k].peer.name.n)
    return any


cdef void check_status_asked(Request* r, CheckPage* page) noexcept nogil:
    """What the query string asks for; what it can't have is said in the error log, and the rest holds."""
    cdef Str value = check_status_argument(r, b"format", 6)
    if check_status_is(value, b"html"):
        page.format = CF_HTML
    elif check_status_is(value, b"csv"):
        page.format = CF_CSV
    elif check_status_is(value, b"json"):
        page.format = CF_JSON
    elif value.n:
        check_status_bad(r, value)
    value = check_status_argument(r, b"status", 6)
    if check_status_is(value, b"up"):
        page.only = 1
    elif check_status_is(value, b"down"):
        page.only = 2
    elif value.n:
        check_status_bad(r, value)


cdef Str check_status_argument(Request* r, const char* name, uint32_t n) noexcept nogil:
    """Of the query string; empty when it is not there."""
    cdef Str value
    cdef const char* p = r.args
    cdef const char* end = r.args + r.args_len
    cdef const char* stop
    value.p = NULL
    value.n = 0
    while p < end:
        stop = p
        while stop < end and stop[0] != 38:
            stop += 1
        if stop - p > n and p[n] == 61 and strncasecmp(p, name, n) == 0:
            value.p = <char*> p + n + 1
            value.n = <uint32_t> (stop - p) - n - 1
            return value
        p = stop + 1
    return value


cdef inline bint check_status_is(Str value, const char* word) noexcept nogil:
    return value.n == strlen(word) and strncasecmp(value.p, word, value.n) == 0


cdef void check_status_bad(Request* r, Str value) noexcept nogil:
    cdef Out o
    if not error_begin(&o, error_logs_of(r), LOG_ERR):
        return
    error_connection(&o, r.client)
    out_text(&o, b"http upstream check, bad argument: \"")
    out_escaped(&o, value.p, value.n)
    out_char(&o, 34)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), LOG_ERR)


# ---- the servers

cdef inline bint check_status_down(Peer* p) noexcept nogil:
    return health_out(p)


cdef inline bint check_status_shows(CheckPage* page, Peer* p) noexcept nogil:
    return page.only == 0 or (page.only == 2) == check_status_down(p)


cdef void check_status_count(CheckPage* page) noexcept nogil:
    cdef uint32_t i, k
    cdef int rank
    cdef Upstream* u
    page.shown = page.index = 0
    for i in range(loop.nups):
        u = &loop.ups[i]
        if u.check == NULL or u.table == NULL:
            continue
        for rank in range(2):
            for k in range(u.table.rank[rank].n):
                page.shown += check_status_shows(page, u.table.rank[rank].peers[k])
    page.left = page.shown


cdef void check_status_write(CheckPage* page) noexcept nogil:
    cdef uint32_t i, k
    cdef int rank
    cdef Upstream* u
    check_status_begin(page)
    for i in range(loop.nups):
        u = &loop.ups[i]
        if u.check == NULL or u.table == NULL:
            continue
        for rank in range(2):
            for k in range(u.table.rank[rank].n):
                if check_status_shows(page, u.table.rank[rank].peers[k]) and page.left:
                    page.left -= 1
                    check_status_row(page, u, u.table.rank[rank].peers[k])
                page.index += 1
    if page.format == CF_HTML:
        out_text(&page.out, b"</table>\n</body>\n</html>\n")
    elif page.format == CF_JSON:
        out_text(&page.out, b"  ]\n}}\n")


cdef void check_status_begin(CheckPage* page) noexcept nogil:
    cdef Out* o = &page.out
    cdef uint64_t generation = loop.health.epoch + 1 if loop.health != NULL else 1
    if page.format == CF_HTML:
        out_text(o, CHECK_HTML_HEAD)
        out_uint(o, page.shown)
        out_text(o, b", generation: ")
        out_uint(o, generation)
        out_text(o, CHECK_HTML_COLUMNS)
    elif page.format == CF_JSON:
        out_text(o, b"{\"servers\": {\n  \"total\": ")
        out_uint(o, page.shown)
        out_text(o, b",\n  \"generation\": ")
        out_uint(o, generation)
        out_text(o, b",\n  \"server\": [\n")


cdef void check_status_row(CheckPage* page, Upstream* u, Peer* p) noexcept nogil:
    cdef const char* form = CHECK_ROWS[page.format]
    cdef Out* o = &page.out
    cdef uint64_t rise = p.health.rise if p.health != NULL else 0
    cdef uint64_t fall = p.health.fall if p.health != NULL else 0
    while form[0]:
        if form[0] != 37:               # %
            out_char(o, form[0])
        else:
            form += 1
            if form[0] == b"i": out_uint(o, page.index)
            elif form[0] == b"u": check_status_text(page, u.name)
            elif form[0] == b"n": check_status_text(page, p.name)
            elif form[0] == b"s": out_text(o, b"down" if check_status_down(p) else b"up")
            elif form[0] == b"r": out_uint(o, rise)
            elif form[0] == b"f": out_uint(o, fall)
            elif form[0] == b"t": out_text(o, u.check.type.name)
            elif form[0] == b"p": out_uint(o, u.check.port)
            elif form[0] == b"c" and check_status_down(p): out_text(o, b" bgcolor=\"#FF0000\"")
            elif form[0] == b"," and page.left: out_char(o, 44)
        form += 1


cdef void check_status_text(CheckPage* page, Str s) noexcept nogil:
    if page.format == CF_JSON:
        out_json(&page.out, s.p, s.n)
    else:
        out_str(&page.out, s)


cdef const char* CHECK_ROWS[3]
CHECK_ROWS[:] = [
    b"  <tr%c>\n    <td>%i</td>\n    <td>%u</td>\n    <td>%n</td>\n    <td>%s</td>\n    <td>%r</td>\n    <td>%f</td>\n"
    b"    <td>%t</td>\n    <td>%p</td>\n  </tr>\n",
    b"%i,%u,%n,%s,%r,%f,%t,%p\n",
    b"    {\"index\": %i, \"upstream\": \"%u\", \"name\": \"%n\", \"status\": \"%s\", \"rise\": %r, \"fall\": %f, "
    b"\"type\": \"%t\", \"port\": %p}%,\n"]
