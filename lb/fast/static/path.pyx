"""Which file a path stands for: `root`, `alias`, `index`, `path_try_files`.

    path_file:  root + path | alias + what follows the location's prefix | alias (of a regular expression: the whole name)
    path_try_files:  the first name that is there becomes the request's path, then the location's handler
    path_index: /dir/ -> the first index that is there, by an internal redirect

The path that a client sent has no `..` any more (message/h1/uri.pxd). What variables, `alias` and rewrites make of it may:
nothing that the configuration did not write itself leads above its root (path_file), whatever nginx does there. Symbolic
links are followed.
"""


cdef Str path_root(Request* r, uint32_t* trusted) noexcept nogil:
    """`root` or `alias` with its variables, absolute. trusted: how much of it the configuration itself wrote."""
    cdef Files* f = r.loc.files
    cdef Str root = var_text(r, &f.root)
    trusted[0] = f.trusted
    if root.n and root.p[0] == c"/":
        return root
    trusted[0] = f.prefix.n
    return path_two(r, f.prefix, root)


cdef int path_file(Request* r, Str uri, Str tail, Str* path) noexcept nogil:
    """The name of the file, with a NUL behind it: root, what of `uri` follows the prefix, tail. 0, or the status that answers."""
    cdef Files* f = r.loc.files
    cdef uint32_t skip = <uint32_t> f.alias if f.alias > 0 else 0, trusted = 0
    cdef Str root = path_root(r, &trusted)
    if f.alias and r.flags & RQ_NO_LOCATION:
        log_request(LOG_ALERT, r, b"\"alias\" cannot be used in a location where the path was rewritten", 0, b"")
        return 500
    if (f.alias < 0 and not r.flags & RQ_ALIAS_URI) or skip > uri.n:
        skip = uri.n
    uri.p += skip
    uri.n -= skip
    path[0] = path_two(r, path_two(r, root, uri), tail)
    if path.n != root.n + uri.n + tail.n:
        return 500                      # out of memory
    if path_leaves(path.p, path.n, trusted) or (
            f.alias >= 0 and path.n > root.n and path_goes_on(root, path.p[root.n], f.alias > 0)):
        path_log(LOG_ERR, r, b"", path[0], b" leads out of its root", 0)
        return 403
    return 0


cdef inline bint path_goes_on(Str root, char c, bint alias) noexcept nogil:
    """Would the name of the directory go on with this byte? /files-x of `location /files { alias /srv/files; }` is none of its
    files, as /srvx is not below /srv."""
    return c != c"/" and not (alias and root.n and root.p[root.n - 1] == c"/")


cdef Str path_two(Request* r, Str a, Str b) noexcept nogil:
    """One behind the other in the request's memory, and a NUL. Empty without memory."""
    cdef Str s
    s.n = a.n + b.n
    s.p = <char*> request_memory(r, s.n + 1)
    if s.p == NULL:
        return path_no_text()
    memcpy(s.p, a.p, a.n)
    memcpy(s.p + a.n, b.p, b.n)
    s.p[s.n] = 0
    return s


cdef bint path_leaves(const char* p, uint32_t n, uint32_t trusted) noexcept nogil:
    """Is there a NUL, or a segment `..` that the first `trusted` bytes did not bring?"""
    cdef uint32_t i = trusted if trusted < n else n
    if i < n and p[i] != c"/":
        while i and p[i - 1] != c"/":   # the start of the segment that goes on here
            i -= 1
    return memchr(p, 0, n) != NULL or accel_path_climbs(p + i, n - i)


cdef inline Str path_request_uri(Request* r) noexcept nogil:
    cdef Str s
    s.p = r.uri
    s.n = r.uri_len
    return s


cdef inline Str path_no_text() noexcept nogil:
    cdef Str s
    s.p = <char*> b""
    s.n = 0
    return s


cdef void path_var(Out* o, Request* r, int var) noexcept nogil:
    """Env.file: $document_root, $realpath_root, $request_filename."""
    cdef char real[4096]
    cdef uint32_t trusted
    cdef Str path
    if r.loc == NULL:
        return
    if var == V_REQUEST_FILENAME:
        if path_file(r, path_request_uri(r), path_no_text(), &path) == 0:
            out_str(o, path)
        return
    path = path_two(r, path_root(r, &trusted), path_no_text())
    if var == V_DOCUMENT_ROOT:
        out_str(o, path)
    elif realpath(path.p, real) != NULL:
        out_text(o, real)
    else:
        path_log(LOG_CRIT, r, b"realpath() ", path, b" failed", errno)


cdef void path_log(int level, Request* r, const char* what, Str path, const char* how, int e) noexcept nogil:
    """open() "/srv/x" failed (2: No such file or directory), client: ..."""
    cdef Out o
    if not error_begin(&o, error_logs_of(r), level):
        return
    error_connection(&o, r.client)
    out_text(&o, what)
    out_char(&o, 34)
    out_escaped(&o, path.p, path.n if path.n < 1024 else 1024)
    out_char(&o, 34)
    out_text(&o, how)
    error_number(&o, e)
    error_context(&o, r)
    error_end(&o, error_logs_of(r), level)


# ---- path_try_files

cdef bint path_try_files(Request* r) noexcept nogil:
    """True: the request goes on with its location's handler; else it went elsewhere, or was answered."""
    cdef Files* f = r.loc.files
    cdef uint32_t i
    cdef int status
    cdef Str uri, args
    for i in range(f.ntries):
        status = path_try_file(r, f, &f.tries[i])
        if status == 200:
            return True
        if status:
            reply_status(r, status)
            return False
    if f.try_status == 444:
        reply_none(r)
    elif f.try_status and f.try_status < 300:
        reply(r, f.try_status, reply_media_type(r), b"", 0)
    elif f.try_status:
        reply_status(r, f.try_status)
    else:
        uri = var_text(r, &f.try_last)
        if uri.n and uri.p[0] == c"@":
            redirect_named(r, f.try_named if f.try_named != NULL else redirect_named_find(r, uri), uri)
        else:
            args = redirect_cut_query(&uri)
            redirect_internal(r, uri, args)
    return False


cdef int path_try_file(Request* r, Files* f, TryName* t) noexcept nogil:
    """200: it is there, and the request's path now; 0: it is not; else the status of a refusal."""
    cdef stat_t st
    cdef Str path
    cdef Str tail = var_text(r, &t.name)
    cdef Str head = path_no_text()
    cdef int status
    if f.alias > 0:
        head.p = r.uri
        head.n = <uint32_t> f.alias if <uint32_t> f.alias < r.uri_len else r.uri_len
        if (t.name.n > 1 or t.name.pieces[0].var != V_LITERAL) and tail.n >= head.n and memcmp(tail.p, head.p, head.n) == 0:
            tail.p += head.n
            tail.n -= head.n
    status = path_file(r, head, tail, &path)
    if status:
        return 0 if status == 403 else status
    if stat(path.p, &st) != 0:
        if errno not in (ENOENT, ENOTDIR, ENAMETOOLONG):
            path_log(LOG_CRIT, r, b"stat() ", path, b" failed", errno)
        return 0
    if ((st.st_mode & S_IFMT) == S_IFDIR) != t.is_dir:
        return 0
    if f.alias < 0:
        if t.is_dir:
            return 200
        r.flags |= RQ_ALIAS_URI
    head = path_two(r, head, tail)
    r.uri = head.p
    r.uri_len = head.n
    return 200


# ---- index

cdef void path_index(Request* r) noexcept nogil:
    """The path ends in a slash: on to its index, or 403, 404."""
    cdef Files* f = r.loc.files
    cdef stat_t st
    cdef Str name, path, args
    cdef uint32_t i
    cdef int status, e
    cdef bint tested = False
    args.p = r.args
    args.n = r.args_len
    for i in range(f.nindex):
        name = var_text(r, &f.index[i])
        if name.n == 0:
            continue
        if name.p[0] == c"/":
            redirect_internal(r, name, args)
            return
        status = path_file(r, path_request_uri(r), name, &path)
        if status == 0 and stat(path.p, &st) == 0:
            redirect_internal(r, path_two(r, path_request_uri(r), name), args)
            return
        e = errno
        if status == 0:
            status = path_index_missing(r, path, name.n, e, &tested)
        if status:
            reply_status(r, status)
            return
    status = path_file(r, path_request_uri(r), path_no_text(), &path)
    if status == 0:
        path_log(LOG_ERR, r, b"directory index of ", path, b" is forbidden", 0)
    reply_status(r, status if status else 403)


cdef int path_index_missing(Request* r, Str path, uint32_t n, int e, bint* tested) noexcept nogil:
    """An index whose name has n bytes is not there. 0: on to the next one; else the status."""
    cdef stat_t st
    cdef int e_dir = 0
    if e == ELOOP:
        return 403
    if e == ENOENT and not tested[0]:   # is the directory?
        tested[0] = True
        path.p[path.n - n - 1] = 0
        e_dir = errno if stat(path.p, &st) != 0 else 0
        path.p[path.n - n - 1] = c"/"
    if e == EACCES:
        path_log(LOG_ERR, r, b"", path, b" is forbidden", e)
        return 403
    if e == ENOTDIR or e == ENAMETOOLONG or e_dir == ENOENT:
        if not r.loc.files.quiet:
            path_log(LOG_ERR, r, b"", path, b" is not found", e)
        return 404
    if e != ENOENT:
        path_log(LOG_CRIT, r, b"stat() ", path, b" failed", e)
        return 500
    return 0
