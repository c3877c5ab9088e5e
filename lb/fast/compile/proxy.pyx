"""The settings of a proxied location from the model (lb/model/__init__.py) to the structs that the rooms read. With the GIL.

Memory and texts are the arena's (compiled.pyx).
"""

cdef frozenset FRAMING = frozenset({"content-length", "transfer-encoding"})
cdef dict BODY_FILES = {"off": BODY_FILE_OFF, "on": BODY_FILE_ON, "clean": BODY_FILE_CLEAN}
cdef dict TIMED = {"connect": TIMED_CONNECT, "header": TIMED_HEADER, "last_byte": TIMED_LAST}
cdef dict NEXT = {"error": NX_ERROR, "timeout": NX_TIMEOUT, "invalid_header": NX_INVALID, "http_500": NX_500,
                  "http_502": NX_502, "http_503": NX_503, "http_504": NX_504, "http_403": NX_403, "http_404": NX_404,
                  "http_429": NX_429, "non_idempotent": NX_NON_IDEMPOTENT}
cdef dict GZIP_PROXIED = {"off": GP_OFF, "expired": GP_EXPIRED, "no-cache": GP_NO_CACHE, "no-store": GP_NO_STORE,
                          "private": GP_PRIVATE, "no_last_modified": GP_NO_MODIFIED, "no_etag": GP_NO_ETAG,
                          "auth": GP_AUTH, "any": GP_ANY}
cdef dict EXPIRES = {"epoch": EX_EPOCH, "max": EX_MAX, "access": EX_ACCESS, "modified": EX_MODIFIED, "daily": EX_DAILY,
                     "text": EX_TEXT}


cdef int compile_proxy(Compiled e, Location* l, settings) except -1:
    l.bare = not settings.proxy_pass_request_headers
    l.no_body = not settings.proxy_pass_request_body
    l.method = e.value(settings.proxy_method or ())
    if settings.proxy_set_body is not None:
        l.has_body = 1
        l.body = e.value(settings.proxy_set_body)
    l.stream_body = not settings.proxy_request_buffering
    l.body_buffer = settings.client_body_buffer_size
    l.body_file = BODY_FILES[settings.client_body_in_file_only]
    l.single_buffer = settings.client_body_in_single_buffer
    l.buffering = settings.proxy_buffering
    l.pass_trailers = settings.proxy_pass_trailers
    l.lenient = LX_ANSWER if settings.proxy_lenient else 0
    l.ignore = (("x-accel-redirect" in settings.proxy_ignore_headers) * IGN_REDIRECT
                | ("x-accel-buffering" in settings.proxy_ignore_headers) * IGN_BUFFERING)
    l.head_max = min(settings.proxy_buffer_size, MAX_HEAD)
    e.conf.up_head_most = max(e.conf.up_head_most, l.head_max)
    l.buffers = settings.proxy_buffers
    l.temp_max = settings.proxy_max_temp_file_size
    l.nhints = len(settings.early_hints)
    l.hints = <Value*> e.mem(l.nhints * sizeof(Value))
    for i, value in enumerate(settings.early_hints):
        l.hints[<int> i] = e.value(value)
    compile_temp(e, &l.body_path, settings.client_body_temp)
    compile_temp(e, &l.temp_path, settings.proxy_temp)
    for word in settings.next_upstream:
        l.settings.next.mask |= <uint16_t> NEXT[word]
    compile_header_filter(e, l, settings.header_filter)
    compile_gzip(e, l, settings.gzip)
    return 0


cdef int compile_gzip(Compiled e, Location* l, gzip) except -1:
    """l.gzip stays NULL where it is off."""
    cdef GzipRules* g
    if gzip is None:
        return 0
    g = l.gzip = <GzipRules*> e.mem(sizeof(GzipRules))
    if "*" not in gzip.types:
        g.types = <Dict*> e.mem(sizeof(Dict))
        compile_dict(e, g.types, [(name.encode(), 1) for name in gzip.types])
    g.level = gzip.level
    g.min_length = gzip.min_length
    g.buffers = min(gzip.buffers, SCRATCH)
    for word in gzip.proxied:
        g.proxied |= <uint16_t> GZIP_PROXIED[word]
    g.minor = gzip.http_version == "1.1"
    g.vary = gzip.vary
    g.msie6 = gzip.disable_msie6
    g.ndisable = len(gzip.disable)
    g.disable = <Regex**> e.mem(g.ndisable * sizeof(Regex*))
    for i, regex in enumerate(gzip.disable):
        g.disable[<int> i] = compile_regex(e, regex)
    return 0


cdef int compile_settings(Compiled e, Settings* s, settings) except -1:
    """Of a location or of a stream server: these fields have the same names in the model."""
    compile_outgoing(e, &s.out, settings)
    s.connect_timeout = settings.proxy_connect_timeout_ms
    s.next.tries = min(settings.next_upstream_tries, 65535)
    s.next.timeout = settings.next_upstream_timeout_ms
    if settings.next_upstream_budget is not None:
        s.next.budget = 1
        s.next.share, s.next.least = settings.next_upstream_budget
    s.nlogs = len(settings.access_logs)
    s.logs = compile_access_logs(e, settings.access_logs)
    s.errors = compile_errors(e, settings.error_logs)
    compile_access(e, &s.access, settings.access)
    s.realip = compile_realip(e, settings.realip)
    s.up_sni = settings.proxy_tls_sni
    s.up_name = e.value(settings.proxy_tls_name)
    return 0


cdef int compile_outgoing(Compiled e, Outgoing* o, settings) except -1:
    o.keepalive = settings.proxy_socket_keepalive
    o.rcvbuf = settings.proxy_socket_rcvbuf
    o.sndbuf = settings.proxy_socket_sndbuf
    if settings.proxy_bind is not None:
        o.bound = 1
        o.transparent = settings.proxy_bind.transparent
        o.local = e.value(settings.proxy_bind.address)
    return 0


cdef int compile_temp(Compiled e, TempPath* t, path) except -1:
    t.dir = e.text(path.directory)
    t.n = len(path.levels)
    for i, level in enumerate(path.levels):
        t.levels[<int> i] = level
    return 0


cdef int compile_header_filter(Compiled e, Location* l, header_filter) except -1:
    """l.header_filter stays NULL where answers pass as they are."""
    cdef HeaderFilter* s
    if header_filter == type(header_filter)():
        return 0
    s = l.header_filter = <HeaderFilter*> e.mem(sizeof(HeaderFilter))
    s.hide, s.nhide = compile_names(e, header_filter.hide), len(header_filter.hide)
    s.passed, s.npassed = compile_names(e, header_filter.passed), len(header_filter.passed)
    for name in header_filter.passed:
        s.own |= compile_name_bit(name) & (1ull << F_DATE | 1ull << F_SERVER)
    s.redirects, s.nredirects = compile_redirect_rules(e, header_filter.redirects), len(header_filter.redirects)
    s.domains, s.ndomains = compile_redirect_rules(e, header_filter.cookie_domains), len(header_filter.cookie_domains)
    s.paths, s.npaths = compile_redirect_rules(e, header_filter.cookie_paths), len(header_filter.cookie_paths)
    compile_cookie_flags(e, s, header_filter.cookie_flags)
    s.adds, s.nadds = compile_adds(e, header_filter.add), len(header_filter.add)
    s.trailers, s.ntrailers = compile_adds(e, header_filter.trailers), len(header_filter.trailers)
    if header_filter.expires is not None:
        s.expires = EXPIRES[header_filter.expires.kind]
        s.expires_seconds = header_filter.expires.seconds
        s.expires_text = e.value(header_filter.expires.text)
        s.expires_modified = header_filter.expires.modified
    l.special = compile_special_bits(s, header_filter)
    return 0


cdef uint64_t compile_name_bit(str name) except? 0:
    cdef bytes raw = name.encode()
    return 1ull << field_id(<uint8_t*> <char*> raw, len(raw))


cdef uint64_t compile_special_bits(HeaderFilter* s, header_filter) except? 0:
    """Which fields header_write must see."""
    cdef uint64_t bits = 0
    for name in header_filter.hide:
        bits |= compile_name_bit(name)
    if s.nredirects:
        bits |= 1ull << F_LOCATION | 1ull << F_REFRESH
    if s.ndomains or s.npaths or s.nflags:
        bits |= 1ull << F_SET_COOKIE
    return bits


cdef Str* compile_names(Compiled e, names) except NULL:
    cdef Str* found = <Str*> e.mem(len(names) * sizeof(Str))
    for i, name in enumerate(names):
        found[<int> i] = e.text(name)
    return found


cdef RedirectRule* compile_redirect_rules(Compiled e, rules) except NULL:
    cdef RedirectRule* found = <RedirectRule*> e.mem(len(rules) * sizeof(RedirectRule))
    for i, rule in enumerate(rules):
        found[<int> i].regex = NULL if rule.regex is None else compile_regex(e, rule.regex)
        found[<int> i].pattern = e.value(rule.pattern)
        found[<int> i].replacement = e.value(rule.replacement)
    return found


cdef AddField* compile_adds(Compiled e, fields) except NULL:
    cdef AddField* found = <AddField*> e.mem(len(fields) * sizeof(AddField))
    for i, field in enumerate(fields):
        found[<int> i].name = e.text(field.name)
        found[<int> i].value = e.value(field.value)
        found[<int> i].always = field.always
    return found


cdef int compile_cookie_flags(Compiled e, HeaderFilter* s, rules) except -1:
    cdef CookieRule* c
    s.nflags = len(rules)
    s.flags = <CookieRule*> e.mem(s.nflags * sizeof(CookieRule))
    for i, rule in enumerate(rules):
        c = &s.flags[<int> i]
        c.regex = NULL if rule.regex is None else compile_regex(e, rule.regex)
        c.name = e.value(rule.name)
        c.n = len(rule.flags)
        c.words = <Value*> e.mem(c.n * sizeof(Value))
        for k, word in enumerate(rule.flags):
            c.words[<int> k] = e.value(word)
    return 0
